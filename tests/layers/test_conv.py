"""Convolutions as layers: the method that computes them."""

import functools

import numpy as np
import pytest
from arrays import normal

from funcnn import layers


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(layers.conv2d, 4, 3),
        functools.partial(layers.conv_transpose2d, 4, 3),
        functools.partial(layers.depthwise_conv2d, 3),
    ],
)
def test_a_convolution_takes_its_method_as_an_argument(make):
    params, _, _ = make().init((0,), (8, 8, 2))
    x = normal(2, 8, 8, 2)
    by_columns, _, _ = make(method="im2col").forward(params, x, {}, train=False)
    np.testing.assert_allclose(by_columns, make().forward(params, x, {}, train=False)[0], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="method must be 'auto', 'exact' or one of"):
        make(method="fast").init((0,), (8, 8, 2))
