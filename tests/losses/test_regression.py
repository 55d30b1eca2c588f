"""Losses of numbers: errors beyond delta and beyond overflow, and targets that are missing."""

import numpy as np
import pytest
from arrays import normal

from funcnn import losses

LOSSES_OF_NUMBERS = [losses.mse, losses.mae, losses.huber]


def test_absolute_errors():
    value, vjp = losses.mae(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(value, 2 / 3)
    np.testing.assert_allclose(vjp(3.0), [-1, 0, 1])  # nothing pulls at the one that is right
    assert losses.mae(np.array([0.0, np.inf]), np.zeros(2))[0] == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huber_at_and_beyond_delta(dtype):
    value, vjp = losses.huber(np.array([2.0, -2.0, 1.0, 5.0], dtype), np.zeros(4), delta=2)
    assert value == (2 + 2 + 0.5 + 8) / 4
    assert vjp(4.0).tolist() == [2, -2, 1, 2]
    # the square of the error would overflow
    value, vjp = losses.huber(np.array([1e30, -np.inf], dtype), np.zeros(2))
    assert value == np.inf and vjp(2.0).tolist() == [1, -1]
    np.testing.assert_allclose(losses.huber(np.array([1e30], dtype), np.zeros(1))[0], 1e30, rtol=1e-6)


def test_huber_of_any_delta_up_to_squares():
    p, t = normal(5, 3), normal(5, 3, seed=1)
    for delta in (1e9, np.inf):
        np.testing.assert_allclose(losses.huber(p, t, delta=delta)[0], losses.mse(p, t)[0] / 2, rtol=1e-13)
    np.testing.assert_allclose(losses.huber(p, t, delta=1e-9)[0], 1e-9 * losses.mae(p, t)[0], rtol=1e-6)
    for delta in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=f"huber: delta must be above 0, got {delta}"):
            losses.huber(p, t, delta=delta)


@pytest.mark.parametrize("loss", LOSSES_OF_NUMBERS)
def test_targets_without_weight_may_be_missing(loss):
    value, vjp = loss(normal(3, 2), np.array([[1.0, 2.0], [np.nan, np.nan], [0.0, 1.0]]), sample_weight=[1, 0, 1])
    assert value == loss(normal(3, 2)[::2], np.array([[1.0, 2.0], [0.0, 1.0]]))[0]
    assert not vjp(1.0)[1].any()
