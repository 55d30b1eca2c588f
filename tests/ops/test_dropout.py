"""Dropout: what is dropped, by which key, and how the rest is scaled."""

import numpy as np
import pytest

from funcnn import ops
from funcnn.keys import generator


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_rate_is_the_fraction_dropped_and_the_mean_stays(rate):
    y, _ = ops.dropout(np.ones((400, 500)), rate=rate, key=(0,))
    assert abs((y == 0).mean() - rate) < 0.005
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-15)
    assert abs(y.mean() - 1) < 0.01


def test_the_key_decides():
    x = np.ones((20, 20))
    y, _ = ops.dropout(x, rate=0.5, key=(3, 1))
    assert np.array_equal(y, ops.dropout(x, rate=0.5, key=(3, 1))[0])
    assert not np.array_equal(y, ops.dropout(x, rate=0.5, key=(3, 2))[0])
    assert np.array_equal(y == 0, ops.dropout(x.astype(np.float32), rate=0.5, key=(3, 1))[0] == 0)


def test_shared_axes_drop_whole_maps():
    y, vjp = ops.dropout(np.ones((8, 5, 6, 16)), rate=0.5, key=(0,), shared_axes=(1, 2))
    assert np.array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert 0 < (y == 0).mean() < 1
    assert np.array_equal(vjp(np.ones_like(y)), y)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=r"rate, the fraction dropped, must be in \[0, 1\), not"):
        ops.dropout(np.ones(3), rate=rate, key=(0,))


def test_key_and_axes_are_checked():
    with pytest.raises(ValueError, match="a key is needed"):
        ops.dropout(np.ones(3), rate=0.5, key=None)
    with pytest.raises(TypeError, match="a key must be a tuple of ints"):
        ops.dropout(np.ones(3), rate=0.5, key=7)
    with pytest.raises(ValueError, match="axis 4 is out of range"):
        ops.dropout(np.ones(3), rate=0.5, key=(0,), shared_axes=(4,))


@pytest.mark.parametrize("shape", [(3, 5), (64, 33), (2, 3, 7), (1,), (0, 4)])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9999999, np.float32(0.3)])
def test_an_entry_is_kept_where_a_number_of_single_precision_reaches_the_rate(shape, rate):
    y, _ = ops.dropout(np.ones(shape), rate=rate, key=(5, 6))
    numbers = generator((5, 6)).random(shape, dtype=np.float32)
    np.testing.assert_array_equal(y != 0, numbers >= np.float32(rate))
