"""Winograd's method: chunks of tiles of images of several sizes."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.kernels.conv import winograd


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


def test_the_matrices_of_winograd_are_those_of_the_points():
    """Evaluation at 0, 1, -1, 2, -2 and infinity, and its inverse, with each row's factor moved from B^T to G."""

    def evaluation(coefficients):
        finite = [[point**i for i in range(coefficients)] for point in (0, 1, -1, 2, -2)]
        return np.array([*finite, [0] * (coefficients - 1) + [1]], float)

    factors = np.array([4, -6, -6, 24, 24, 1])[:, None]
    np.testing.assert_array_equal(winograd._A.T, evaluation(4))
    np.testing.assert_allclose(winograd._G, evaluation(3) / factors)
    np.testing.assert_allclose(winograd._B, np.linalg.inv(evaluation(6)).T * factors, atol=1e-14)
