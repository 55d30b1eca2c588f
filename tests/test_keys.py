"""Keys name streams of random numbers: equal keys equal streams, all others independent."""

import numpy as np
import pytest

from funcnn.initializers import he_normal
from funcnn.keys import fold_in, generator


def test_fold_in_extends():
    assert fold_in(fold_in((7,), 0), 3) == (7, 0, 3)


def test_generator_is_numpys_seed_sequence_with_a_spawn_key():
    expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(0, 3))).random(4)
    assert np.array_equal(generator((7, 0, 3)).random(4), expected)


def test_nothing_is_consumed_and_streams_differ():
    keys = [(0,), (1,), (0, 0), (0, 1), (0, 0, 0), (1, 0)]
    draws = [generator(key).random(8) for key in keys]
    for i, key in enumerate(keys):
        assert np.array_equal(draws[i], generator(key).random(8))
        assert all(not np.array_equal(draws[i], other) for other in draws[:i])


@pytest.mark.parametrize("key", [0, [0], (0.5,), ("a",), (True,), None, (0, (1,))])
def test_what_is_not_a_tuple_of_ints_is_no_key(key):
    with pytest.raises(TypeError, match="a key must be a tuple of ints"):
        generator(key)


@pytest.mark.parametrize("key", [(), (-1,), (0, -2)])
def test_keys_are_not_empty_or_negative(key):
    with pytest.raises(ValueError, match="a non-empty tuple of ints >= 0"):
        generator(key)


def test_no_array_is_made_of_a_negative_key():
    with pytest.raises(ValueError, match="a non-empty tuple of ints >= 0"):
        he_normal(fold_in((-1,), 0), (2, 2))


def test_fold_in_checks_both():
    with pytest.raises(TypeError, match="a key must be a tuple"):
        fold_in(0, 1)
    with pytest.raises(ValueError, match=">= 0"):
        fold_in((0,), -1)


def test_numpy_ints_will_do():
    assert np.array_equal(generator((np.int64(3), np.uint8(1))).random(2), generator((3, 1)).random(2))
