"""The compiled methods of convolution give what NumPy's give, at odd sizes and at the edges of vectors and blocks."""

import numpy as np
import pytest
from arrays import normal

from funcnn.kernels import threads
from funcnn.kernels.conv import block_maxima, conv_pool, depthwise, im2col, row_blocks
from funcnn.kernels.conv.dispatch import correlate_adjoint_x
from funcnn.kernels.geometry import geometry
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba")

DEPTHWISE = [  # images, size, input channels, multiplier, kernel, stride, padding, dilation
    (2, (9, 7), 16, 1, 3, 1, 1, 1),
    (1, (5, 11), 33, 1, (1, 5), (2, 1), ((0, 0), (3, 0)), (1, 2)),
    (3, (6,), 9, 2, 4, 2, 5, 2),
    (2, (3, 4, 5), 17, 1, 2, 1, "same", 1),
    (1, (2, 2), 24, 1, 5, 1, 4, 1),
    (0, (4, 4), 16, 1, 3, 1, 1, 1),
]

IM2COL = [  # images, size, input channels, output channels, kernel, stride, padding, dilation
    (2, (9, 7), 3, 5, 3, 1, 1, 1),
    (3, (12, 10), 6, 16, 5, 1, 0, 1),
    (1, (15, 11), 3, 20, (7, 4), (2, 3), 3, 1),
    (2, (30,), 7, 3, 4, 2, 5, 1),
    (2, (3, 5, 4), 17, 2, 2, 1, "same", (2, 3, 1)),
    (2, (2, 2), 1, 8, 5, 1, 4, 1),
    (3, (7, 9), 13, 21, 1, 1, 0, 1),
    (3, (7, 9), 13, 21, 1, 2, 0, 1),
    (1, (40, 40), 32, 40, 3, 1, 1, 1),
    (1, (6, 6), 2, 3, 3, 1, 1, 2),
    (0, (4, 4), 2, 3, 3, 1, 1, 1),
    (1, (4, 4), 0, 3, 3, 1, 1, 1),
]


PREPARED = [
    *IM2COL,
    (2, (15, 11), 33, 192, 3, 2, 1, 1),
    (1, (1, 1), 1, 128, 1, 1, 0, 1),
    (3, (9, 9), 150, 128, 1, 1, 0, 1),  # enough work for two threads, which share rows
    (1, (7, 7), 700, 128, 1, 1, 0, 1),  # the same, with so few rows that they share columns
]


def kernels_agree(kernel, *args):
    """Call a kernel by NumPy and compiled; the results are equal to rounding, and the arguments are not written to."""
    for a in args:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    with use_kernels("numpy"):
        expected = kernel(*args)
    with use_kernels("compiled"):
        result = kernel(*args)
    assert result.dtype == expected.dtype and result.shape == expected.shape and result.flags.writeable
    limit = 1e-12 if expected.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(result, expected, rtol=0, atol=limit * max(1, abs(expected).max(initial=0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case, dtype):
    n, size, channels, multiplier, kernel, stride, padding, dilation = case
    g = geometry("conv", size, kernel, stride=stride, padding=padding, dilation=dilation)
    x, w, b = (
        normal(*shape).astype(dtype)
        for shape in ((n, *size, channels), (*g.window, 1, channels * multiplier), (channels * multiplier,))
    )
    dy = normal(n, *g.out, channels * multiplier).astype(dtype)
    kernels_agree(depthwise.correlate, x, w, g, channels)
    kernels_agree(depthwise.correlate, x[..., ::-1], w, g, channels, b, True)
    kernels_agree(depthwise.correlate_adjoint_w, x, dy, g, channels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", IM2COL, ids=str)
def test_im2col(case, dtype):
    n, size, channels, out_channels, kernel, stride, padding, dilation = case
    g = geometry("conv", size, kernel, stride=stride, padding=padding, dilation=dilation)
    shapes = (n, *size, channels), (*g.window, channels, out_channels), (out_channels,), (n, *g.out, out_channels)
    x, w, b, dy = (normal(*shape).astype(dtype) for shape in shapes)
    kernels_agree(im2col.correlate, x, w, g, 1)
    kernels_agree(im2col.correlate, x[::-1], w[..., ::-1], g, 1, b, True)
    kernels_agree(im2col.correlate_adjoint_w, x, dy, g, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", PREPARED, ids=str)
def test_prepared_weights_are_multiplied_in_panels(case, dtype):
    n, size, channels, out_channels, kernel, stride, padding, dilation = case
    g = geometry("conv", size, kernel, stride=stride, padding=padding, dilation=dilation)
    shapes = (n, *size, channels), (*g.window, channels, out_channels), (out_channels,)
    x, w, b = (normal(*shape).astype(dtype) for shape in shapes)

    def prepare_and_correlate(x, *args):
        return im2col.prepare(np.empty_like(x), *args)(x)

    for members in (1, 2):
        with threads.Limit(members):
            kernels_agree(prepare_and_correlate, x, w, g, 1)
            kernels_agree(prepare_and_correlate, x[::-1], w[..., ::-1], g, 1, b, True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", IM2COL, ids=str)
def test_adjoint_x_adds_what_windows_contribute(case, dtype):
    n, size, channels, out_channels, kernel, stride, padding, dilation = case
    g = geometry("conv", size, kernel, stride=stride, padding=padding, dilation=dilation)
    w, dy = normal(*g.window, channels, out_channels).astype(dtype), normal(n, *g.out, out_channels).astype(dtype)
    kernels_agree(correlate_adjoint_x, dy, w, g, 1, "im2col")
    if g.dilation[-1] == 1 and channels:
        kernels_agree(row_blocks.adjoint_x_of_blocks, dy, w.reshape(-1, out_channels), g, g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 2, 5, 8), (1, 4), (2, 68), (0, 12)])
def test_maxima_of_parts(shape, dtype):
    outputs = np.round(normal(*shape).astype(dtype))  # with ties
    outputs[:1, ..., 1] = np.nan
    outputs[:1, ..., -1:] = np.nan
    results = []
    for kernels in ("numpy", "compiled"):
        with use_kernels(kernels):
            maxima, argmax = block_maxima.maxima_of_parts(outputs, 4, True)
            assert block_maxima.maxima_of_parts(outputs, 4, False)[1] is None
            results.append((maxima, argmax, block_maxima.scatter_to_parts(maxima, argmax, 4)))
    for expected, result in zip(*results, strict=True):
        assert result.dtype == expected.dtype
    for expected, result in zip(results[0][:2], results[1][:2], strict=True):
        np.testing.assert_array_equal(result, expected)
    assert np.array_equal(np.nan_to_num(results[1][2]), np.nan_to_num(results[0][2]))


def test_infinity_and_nan_reach_the_outputs_that_read_them():
    x = np.zeros((1, 6, 40, 16), np.float32)
    x[0, 2, 5] = np.nan
    x[0, 2, 20] = np.inf
    g = geometry("conv", (6, 40), 3, padding=1)
    for method, w, groups in (
        (im2col, np.ones((3, 3, 16, 16), np.float32), 1),
        (depthwise, np.ones((3, 3, 1, 16), np.float32), 16),
    ):
        with use_kernels("compiled"):
            y = method.correlate(x, w, g, groups, None, True)
        assert np.isnan(y[0, 1:4, 4:7]).all() and np.isnan(y).sum() == 9 * 16
        assert np.isposinf(y[0, 1:4, 19:22]).all() and np.isinf(y).sum() == 9 * 16


DIRECT = [  # images, size, input channels, output channels, kernel, padding
    (3, (9, 7), 3, 5, 3, 1),
    (2, (12, 10), 6, 16, 5, 0),
    (1, (5, 26), 1, 6, (2, 5), ((0, 1), (3, 0))),
    (2, (6, 7), 8, 20, (4, 3), 2),
    (2, (2, 3), 1, 1, 1, 0),
    (1, (8, 9), 2, 33, 3, "same"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", DIRECT, ids=str)
def test_few_channels_without_blocks(case, dtype):
    n, size, in_channels, out_channels, kernel, padding = case
    g = geometry("conv", size, kernel, padding=padding)
    x, w, b = (
        normal(*shape).astype(dtype)
        for shape in ((n, *size, in_channels), (*g.window, in_channels, out_channels), (out_channels,))
    )
    kernels_agree(row_blocks.correlate, x[::-1], w, g, 1, b, True)
    kernels_agree(row_blocks.correlate, x, w, g, 1)
    dy = normal(n, *g.out, out_channels).astype(dtype)
    kernels_agree(row_blocks.correlate_adjoint_w, x, dy, g, 1)
    if min(g.out) > 1:
        kernels_agree(lambda *args: conv_pool.maxima_of_blocks(*args)[0], x, w, g, False, b)
        for relu in (False, True):
            kernels_agree(lambda x, *args: conv_pool.prepare_max_of_blocks(x, *args)(x), x, w, g, b, relu)
        with use_kernels("numpy"):
            maxima, argmax = conv_pool.maxima_of_blocks(x, w, g, True)
        for i in range(2):
            kernels_agree(lambda *args, i=i: conv_pool.adjoints_of_blocks(*args)[i], x, w, maxima, argmax, g, True)


def test_the_first_of_equal_maxima_and_of_nan():
    """A vector of channels belongs to one output, so that a NaN reaches no other window."""
    x = np.array([[1, 1, 2, np.nan], [1, 1, np.nan, 2]])[None, :, :, None]
    with use_kernels("compiled"):
        maxima, argmax = conv_pool.maxima_of_blocks(x, np.ones((1, 1, 1, 8)), geometry("conv", (2, 4), 1), True)
    np.testing.assert_array_equal(argmax[0, 0], [[0] * 8, [1] * 8])
    np.testing.assert_array_equal(maxima[0, 0], [[1] * 8, [np.nan] * 8])


@pytest.mark.parametrize(
    "case",  # size, input channels, output channels, kernel, stride, padding
    [((4, 4), 3, 5, 3, 1, 1), ((5, 6), 2, 3, 3, 2, 1), ((3, 2, 4), 2, 3, 2, 2, 1), ((7,), 1, 2, 5, 1, 1)],
    ids=str,
)
def test_many_tiny_images(case):
    size, in_channels, out_channels, kernel, stride, padding = case
    g = geometry("conv", size, kernel, stride=stride, padding=padding)
    x, w, b = normal(70, *size, in_channels), normal(*g.window, in_channels, out_channels), normal(out_channels)
    kernels_agree(im2col.correlate, x, w, g, 1, b, True)
    kernels_agree(im2col.correlate_adjoint_w, x, normal(70, *g.out, out_channels), g, 1)
