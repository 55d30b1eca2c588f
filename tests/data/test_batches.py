"""Batches: each example once, in an order that the key decides."""

import numpy as np
import pytest

from funcnn import data


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


@pytest.mark.parametrize(("n", "size", "name"), [(0, 3, "n"), (3, 0, "batch_size")])
def test_no_batches(n, size, name):
    with pytest.raises(ValueError, match=f"batches: {name} must be at least 1, got 0"):
        data.batches(n, size)
