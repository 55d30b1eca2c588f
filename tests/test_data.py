"""Data: what the sets hold, and that batches, splits and shifts are pure functions of their keys."""

import numpy as np
import pytest
from arrays import normal

from funcnn import data


def test_digits():
    x, labels = data.digits()
    assert x.shape == (1797, 8, 8, 1) and x.dtype == np.float32
    assert x.min() == 0.0 and x.max() == 1.0
    assert np.array_equal(np.unique(labels), np.arange(10)) and labels.dtype == np.int64


def test_breast_cancer():
    x, labels = data.breast_cancer()
    assert x.shape == (569, 30) and x.dtype == np.float32
    assert np.bincount(labels).tolist() == [212, 357]


@pytest.mark.parametrize(("n", "size"), [(1, 1), (10, 3), (10, 5), (10, 100)])
def test_batches_cover_everything_once(n, size):
    for key in (None, (4,)):
        parts = list(data.batches(n, size, key=key))
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))
        assert all(len(part) == size for part in parts[:-1]) and 1 <= len(parts[-1]) <= size


def test_batches_are_shuffled_by_their_key():
    assert np.concatenate(list(data.batches(50, 7))).tolist() == list(range(50))
    first, again, other = (np.concatenate(list(data.batches(50, 7, key=k))) for k in ((0,), (0,), (1,)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("n", "size"), [(0, 3), (3, 0)])
def test_no_batches(n, size):
    with pytest.raises(ValueError, match=f"at least 1, got {n} and {size}"):
        data.batches(n, size)


def test_split():
    parts = data.split(100, [0.2, 0.1], key=(0,))
    assert [len(p) for p in parts] == [20, 10, 70]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    assert all(np.array_equal(a, b) for a, b in zip(parts, data.split(100, [0.2, 0.1], key=(0,)), strict=True))
    assert [len(p) for p in data.split(3, [1.0], key=(0,))] == [3, 0]
    for fractions in ([-0.1], [0.6, 0.6]):
        with pytest.raises(ValueError, match="fractions must be >= 0 and sum to at most 1"):
            data.split(10, fractions, key=(0,))


@pytest.mark.parametrize("shape", [(40, 9, 2), (60, 5, 6, 2), (80, 4, 5, 4, 1)])
@pytest.mark.parametrize("max_shift", [0, 1, 2])
def test_every_image_is_one_of_its_shifts_and_all_shifts_occur(shape, max_shift):
    x = normal(*shape)
    y = data.random_shift((3,), x, max_shift)
    rank = len(shape) - 2
    seen = set()
    for image, shifted in zip(x, y, strict=True):
        around = np.pad(image, [(max_shift, max_shift)] * rank + [(0, 0)])
        matches = [
            offset
            for offset in np.ndindex(*(2 * max_shift + 1,) * rank)
            if np.array_equal(
                shifted, around[tuple(slice(o, o + s) for o, s in zip(offset, image.shape[:-1], strict=True))]
            )
        ]
        assert len(matches) == 1
        seen.update(matches)
    axes = [{offset[a] for offset in seen} for a in range(rank)]
    assert axes == [set(range(2 * max_shift + 1))] * rank


def test_a_fraction_of_the_images_is_shifted():
    x = normal(3000, 3, 3, 1)
    y = data.random_shift((0,), x, 2, fraction=0.5)
    stayed = (x == y).all(axis=(1, 2, 3)).mean()
    assert abs(stayed - (0.5 + 0.5 / 25)) < 0.03  # one shift of 25 is none
    assert np.array_equal(data.random_shift((0,), x, 2, fraction=0.0), x)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
            data.random_shift((0,), x, fraction=fraction)


def test_shift_is_pure():
    x = normal(5, 4, 4, 1).astype(np.float32)
    x.flags.writeable = False
    y = data.random_shift((0,), x)
    assert y.dtype == np.float32
    assert np.array_equal(y, data.random_shift((0,), x))
    assert not np.array_equal(y, data.random_shift((1,), x))
    assert data.random_shift((0,), x[:0]).shape == (0, 4, 4, 1)


@pytest.mark.parametrize("max_shift", [-1, 0.5, True])
def test_shift_by_what_is_no_number_of_cells(max_shift):
    with pytest.raises(ValueError, match="max_shift is an int >= 0"):
        data.random_shift((0,), normal(1, 4, 4, 1), max_shift)
