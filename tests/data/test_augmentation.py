"""Augmentation: pure functions of keys and arrays, that do what they say to every image."""

import itertools

import numpy as np
import pytest
from arrays import normal

from funcnn import data


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


@pytest.mark.parametrize(
    ("max_shift", "error", "message"),
    [
        (-1, ValueError, "at least 0, got -1"),
        (0.5, TypeError, "an int, not 0.5"),
        (True, TypeError, "an int, not True"),
    ],
)
def test_shift_by_an_invalid_number_of_positions(max_shift, error, message):
    with pytest.raises(error, match=f"random_shift: max_shift must be {message}"):
        data.random_shift((0,), normal(1, 4, 4, 1), max_shift)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.one_hot(np.ones(3), 3), TypeError, "one_hot: labels must be integers, not float64"),
        (lambda: data.one_hot(np.array([0, 3]), 3), ValueError, r"labels must lie in 0\.\.2 .* from 0 to 3"),
        (lambda: data.one_hot(np.array([-1]), 3), ValueError, "from -1 to -1"),
        (lambda: data.one_hot(np.array([0]), 0), ValueError, "classes must be at least 1, got 0"),
        (
            lambda: data.random_flip((0,), normal(2, 4, 4, 1), axis=0),
            ValueError,
            r"axis must be a spatial axis of x .*, got 0",
        ),
        (lambda: data.random_flip((0,), normal(2, 4, 4, 1), axis=-1), ValueError, "must be a spatial axis"),
        (lambda: data.random_flip((0,), normal(2, 4, 4, 1), axis=4), ValueError, "random_flip: axis 4 is out of range"),
        (lambda: data.random_flip((0,), normal(2, 4, 1), probability=1.5), ValueError, r"must be in \[0, 1\], got 1.5"),
        (lambda: data.random_flip((0,), normal(2, 4)), ValueError, r"random_flip: x must be .* got shape \(2, 4\)"),
        (
            lambda: data.random_crop((0,), normal(2, 4, 4, 1), 5),
            ValueError,
            "random_crop: the window spans 5 positions",
        ),
        (lambda: data.random_crop((0,), normal(2, 4, 4, 1), 0), ValueError, "random_crop: window must be at least 1"),
        (lambda: data.random_crop((0,), normal(2, 4, 4, 1), (2, 2, 2)), ValueError, "has 3 entries, the input has 2"),
        (lambda: data.random_crop((0,), normal(2, 4, 4, 1), 2, padding=-1), ValueError, "padding must be at least 0"),
        (lambda: data.cutout((0,), normal(2, 4, 4, 1), 0), ValueError, "cutout: size must be at least 1, got 0"),
        (
            lambda: data.cutout((0,), normal(2, 4, 4, 1), 1.5),
            TypeError,
            "cutout: size must be an int or a tuple of 2 ints",
        ),
        (
            lambda: data.mixup((0,), normal(2, 4), np.array([0, 1])),
            TypeError,
            "not int64; make .* of labels by one_hot",
        ),
        (lambda: data.mixup((0,), normal(2, 4), normal(3, 4)), ValueError, r"x \(2, 4\) and targets \(3, 4\) must be"),
        (lambda: data.mixup((0,), normal(2, 4), normal(2), alpha=0.0), ValueError, "alpha must be positive and finite"),
        (lambda: data.mixup((0,), normal(2, 4), normal(2), alpha=np.inf), ValueError, "alpha must be positive"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_hot():
    labels = np.random.default_rng(0).integers(0, 5, (4, 3))
    hot = data.one_hot(labels, 5)
    assert hot.shape == (4, 3, 5) and hot.dtype == np.float32
    assert np.array_equal(hot.argmax(-1), labels) and (hot.sum(-1) == 1).all()
    assert data.one_hot(labels[:0], 5).shape == (0, 3, 5)


@pytest.mark.parametrize(
    ("shape", "size", "padding"),
    [
        ((60, 9, 2), 4, 0),
        ((60, 5, 6, 2), (3, 4), 1),
        ((60, 5, 6, 1), (5, 6), ((0, 1), (2, 0))),
        ((60, 3, 4, 3, 1), (2, 4, 2), 0),
    ],
)
def test_every_crop_is_a_window_of_its_image_and_all_windows_occur(shape, size, padding):
    x = normal(*shape)
    y = data.random_crop((3,), x, size, padding=padding)
    rank = len(shape) - 2
    window = size if isinstance(size, tuple) else (size,) * rank
    widths = padding if isinstance(padding, tuple) else ((padding, padding),) * rank
    assert y.shape == (shape[0], *window, shape[-1])
    around = np.pad(x, ((0, 0), *widths, (0, 0)))
    starts = [range(s - w + 1) for s, w in zip(around.shape[1:-1], window, strict=True)]
    seen = [set() for _ in starts]
    for image, crop in zip(around, y, strict=True):
        matches = [
            start
            for start in itertools.product(*starts)
            if np.array_equal(crop, image[tuple(slice(a, a + w) for a, w in zip(start, window, strict=True))])
        ]
        assert len(matches) == 1
        for axis, start in enumerate(matches[0]):
            seen[axis].add(start)
    assert seen == [set(p) for p in starts]


@pytest.mark.parametrize(("shape", "axis"), [((400, 5, 1), -2), ((400, 3, 4, 2), 1), ((400, 2, 3, 4, 1), -2)])
def test_half_of_the_images_are_mirrored(shape, axis):
    x = normal(*shape)
    y = data.random_flip((0,), x, axis=axis)
    mirrored = np.array([np.array_equal(b, np.flip(a[None], axis)[0]) for a, b in zip(x, y, strict=True)])
    assert all(np.array_equal(a, b) for a, b, m in zip(x, y, mirrored, strict=True) if not m)
    assert 150 < mirrored.sum() < 250
    assert np.array_equal(data.random_flip((0,), x, axis=axis, probability=0.0), x)
    assert np.array_equal(data.random_flip((0,), x, axis=axis, probability=1.0), np.flip(x, axis))


@pytest.mark.parametrize(("shape", "size"), [((200, 7, 2), 3), ((400, 5, 6, 2), (2, 3)), ((90, 3, 3, 3, 1), 9)])
def test_a_square_is_cut_out_around_any_position(shape, size):
    x = 1 + abs(normal(*shape))
    y = data.cutout((2,), x, size)
    sizes = size if isinstance(size, tuple) else (size,) * (len(shape) - 2)
    seen = set()
    for image, cut in zip(x, y, strict=True):
        holes = {}
        for centre in np.ndindex(shape[1:-1]):
            expected = image.copy()
            expected[tuple(slice(max(c - w // 2, 0), c - w // 2 + w) for c, w in zip(centre, sizes, strict=True))] = 0
            holes[centre] = np.array_equal(cut, expected)
        matches = [centre for centre, same in holes.items() if same]
        assert matches
        seen.update(matches)
    assert seen == set(np.ndindex(shape[1:-1]))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_takes_targets_along_with_examples(alpha):
    labels = np.random.default_rng(0).permutation(np.arange(500) % 250)
    targets = data.one_hot(labels, 250)
    x = (targets @ normal(250, 3)).reshape(500, 3, 1, 1)
    mixed, mixed_targets = data.mixup((0,), x, targets, alpha=alpha)
    assert mixed.shape == x.shape and mixed_targets.dtype == np.float32
    np.testing.assert_allclose(
        mixed.reshape(500, 3), mixed_targets @ normal(250, 3), atol=1e-5
    )  # x is linear in targets
    np.testing.assert_allclose(mixed_targets.sum(1), 1, rtol=1e-6)
    assert (np.count_nonzero(mixed_targets, axis=1) <= 2).all()
    # each of the two proportions is from Beta(alpha, alpha): mean 1/2, variance 1/4 / (2 alpha + 1)
    share = mixed_targets[np.arange(500), labels]
    assert abs(share.mean() - 0.5) < 0.08
    assert abs(share.var() - 0.25 / (2 * alpha + 1)) < 0.03
    assert len(np.unique(share)) > 200  # a share for each pair, not one for all


def test_mixup_of_outcomes_and_of_none():
    x, y = data.mixup((0,), normal(6, 2), normal(6), alpha=1.0)
    assert x.shape == (6, 2) and y.shape == (6,)
    x, y = data.mixup((0,), normal(0, 2), normal(0))
    assert x.shape == (0, 2) and y.shape == (0,)


AUGMENTATIONS = {
    "random_crop": lambda key, x: data.random_crop(key, x, 3, padding=1),
    "random_flip": data.random_flip,
    "cutout": lambda key, x: data.cutout(key, x, 2),
    "jitter": data.jitter,
    "random_scale": data.random_scale,
    "mixup": lambda key, x: data.mixup(key, x, np.linspace(0, 1, len(x)))[0],
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_augmentation_is_pure(augment):
    x = normal(20, 4, 4, 1).astype(np.float32)
    x.flags.writeable = False
    y = augment((0,), x)
    assert y.dtype == np.float32
    assert np.array_equal(y, augment((0,), x))
    assert not np.array_equal(y, augment((1,), x))
    assert augment((0,), x[:0]).shape == (0, *y.shape[1:])


def test_jitter_adds_noise_of_a_deviation():
    x = normal(50, 40, 2)
    noise = data.jitter((0,), x, 0.2) - x
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 0.2) < 0.01


def test_each_channel_of_each_series_has_one_factor():
    x = np.abs(normal(400, 5, 2)) + 1
    factors = data.random_scale((0,), x, 0.2) / x
    assert np.allclose(factors, factors[:, :1]) and len(np.unique(factors[:, 0].round(12))) == 800
    assert abs(factors.mean() - 1) < 0.02 and abs(factors.std() - 0.2) < 0.02


@pytest.mark.parametrize("augment", [data.jitter, data.random_scale])
@pytest.mark.parametrize("std", [-0.1, float("nan"), float("inf")])
def test_deviations_out_of_range(augment, std):
    with pytest.raises(ValueError, match=f"{augment.__name__}: std must be a finite number >= 0, got {std}"):
        augment((0,), normal(2, 3, 1), std)
