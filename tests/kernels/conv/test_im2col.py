"""im2col: batches and products that are worked through in chunks."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops


def test_a_batch_larger_than_a_chunk_equals_its_images():
    # the im2col matrix of one image takes 24 * 24 * 9 * 8 * 8 bytes, so that a batch of 7 takes several chunks
    params, x = {"w": normal(3, 3, 8, 5), "b": normal(5)}, normal(7, 26, 26, 8)
    for options in ({}, {"stride": 2}):
        y, vjp = ops.conv(params, x, **options)
        dy = normal(*y.shape)
        dparams, dx = vjp(dy)
        dw = 0
        for n in range(7):
            y1, vjp1 = ops.conv(params, x[n : n + 1], **options)
            dparams1, dx1 = vjp1(dy[n : n + 1])
            dw = dw + dparams1["w"]
            np.testing.assert_allclose(y[n], y1[0], rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(dx[n], dx1[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(dparams["w"], dw, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("out_channels", [3, 8, 9])
def test_few_outputs_of_many_channels(out_channels):
    # 256 windows of 5 * 5 * 130 numbers, whose products are cut along either axis, with a rest
    params, x = {"w": normal(5, 5, 130, out_channels)}, normal(1, 20, 20, 130)
    y, vjp = ops.conv(params, x, bias=False, method="im2col")
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2))
    np.testing.assert_allclose(y, np.einsum("nijckl,klco->nijo", windows, params["w"]), rtol=0, atol=1e-11)
    dy = normal(*y.shape)
    expected = np.einsum("nijckl,nijo->klco", windows, dy)
    np.testing.assert_allclose(vjp(dy)[0]["w"], expected, rtol=0, atol=1e-11)
