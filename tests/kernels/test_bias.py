"""Adding the bias, for every shape of the output."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops


@pytest.mark.parametrize("out_channels", [1, 3, 130])
@pytest.mark.parametrize("size", [(1, 4, 5), (1, 40, 41), (2, 900), (5, 90, 13), (1, 9, 10, 11)])
def test_the_bias_is_added_to_every_position(size, out_channels):
    x, w, b = normal(*size, 2), normal(*(1,) * (len(size) - 1), 2, out_channels), normal(out_channels)
    without, with_bias = ops.conv({"w": w}, x, bias=False)[0], ops.conv({"w": w, "b": b}, x)[0]
    assert np.array_equal(with_bias, without + b)
