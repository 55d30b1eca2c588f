"""Winograd's method: chunks of tiles of images of several sizes."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops


@pytest.mark.parametrize("size", [(3, 70, 70), (2, 40, 9), (40, 12, 12)])
def test_winograd_in_chunks_equals_im2col(size):
    # a chunk is 8,192 tiles times channels, of some images and some rows of their tiles
    params, x = {"w": normal(3, 3, 24, 10), "b": normal(10)}, normal(*size, 24)
    results = []
    for method in ("winograd", "im2col"):
        y, vjp = ops.conv(params, x, padding=1, method=method)
        results.append([y, *vjp(np.cos(y))[0].values(), vjp(np.cos(y))[1]])
    for by_winograd, by_im2col in zip(*results, strict=True):
        np.testing.assert_allclose(by_winograd, by_im2col, rtol=0, atol=1e-12 * abs(by_im2col).max())
