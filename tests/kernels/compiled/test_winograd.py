"""Winograd's method, compiled, gives what NumPy's gives: over all edges of tiles, segments and chunks."""

import numpy as np
import pytest
from arrays import normal

from funcnn.kernels.conv import conv_pool, winograd
from funcnn.kernels.geometry import geometry
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba")

CASES = [  # images, size, input and output channels, padding
    (3, (8, 8), 16, 16, 1),
    (2, (9, 11), 5, 7, 1),
    (1, (6, 5), 3, 20, ((0, 2), (2, 1))),
    (2, (3, 3), 8, 8, 0),  # a single output
    (1, (2, 7), 4, 6, ((1, 3), (5, 0))),  # tiles in the padding alone
    (5, (4, 4), 40, 24, 1),
    (2, (5, 70), 40, 12, 1),  # a row of tiles in several segments
    (9, (12, 12), 24, 10, 1),  # several chunks
    (1, (6, 6), 600, 9, 1),
    (1, (5, 5), 9, 2048, 1),
]


def problem(n, size, in_channels, out_channels, padding, dtype):
    g = geometry("conv", size, 3, padding=padding)
    shapes = (n, *size, in_channels), (3, 3, in_channels, out_channels), (out_channels,), (n, *g.out, out_channels)
    arrays = [normal(*shape, seed=k).astype(dtype) for k, shape in enumerate(shapes)]
    for a in arrays:
        a.flags.writeable = False
    return g, *arrays


def by_both(kernel, *args, **options):
    results = []
    for kernels in ("numpy", "compiled"):
        with use_kernels(kernels):
            results.append(kernel(*args, **options))
    return results


def assert_close(a, b, dtype):
    assert a.dtype == b.dtype == dtype and a.flags.writeable and b.flags.c_contiguous
    np.testing.assert_allclose(b, a, rtol=0, atol=(1e-4 if dtype == np.float32 else 1e-13) * abs(a).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_adjoint(case, dtype):
    g, x, w, b, dy = problem(*case, dtype)
    assert_close(*by_both(winograd.correlate, x, w, g, 1), dtype)
    assert_close(*by_both(winograd.correlate, x[:, ::-1], w[::-1, ::-1], g, 1, b[::-1], True), dtype)
    assert_close(*by_both(winograd.correlate_adjoint_w, x, dy, g, 1), dtype)
    transposed = w[::-1, ::-1].swapaxes(2, 3)
    back = geometry("conv", g.out, 3, padding=2)  # with the padding's gradient
    assert_close(*by_both(winograd.correlate, dy, transposed, back, 1), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [*CASES, (3, (9, 11), 130, 128, 1)], ids=str)
def test_prepared_weights(case, dtype):
    g, x, w, b, _ = problem(*case, dtype)
    assert_close(*by_both(lambda: winograd.prepare(np.empty_like(x), w, g, 1, b, True)(x)), dtype)
    if min(g.out) > 1:
        assert_close(*by_both(lambda: winograd.prepare_max(np.empty_like(x), w, g, b)(x)), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [case for case in CASES if case[1] != (3, 3)], ids=str)
def test_convolution_with_maximum_and_its_adjoints(case, dtype):
    g, x, w, b, dz = problem(*case, dtype)
    (y, argmax), (y_compiled, argmax_compiled) = by_both(winograd.correlate_max, x, w, g, True, b)
    assert_close(y, y_compiled, dtype)
    if dtype == np.float64:
        tie = abs(y - b) < 1e-9  # all four positions read padding alone
        np.testing.assert_array_equal(argmax[~tie], argmax_compiled[~tie])
    dy = np.ascontiguousarray(dz[:, : y.shape[1], : y.shape[2]])
    for input_gradient in (True, False):
        (dw, dx), (dw_compiled, dx_compiled) = by_both(
            conv_pool.adjoints, x, w, dy, argmax, g, "winograd", input_gradient=input_gradient, preference="auto"
        )
        assert_close(dw, dw_compiled, dtype)
        if input_gradient:
            assert_close(dx, dx_compiled, dtype)
        else:
            assert dx is dx_compiled is None


def test_sums_in_float32_are_as_accurate():
    """Over 50,000 positions, dw in float32 differs from that in float64 no more than NumPy's."""
    g, x, _, _, dy = problem(32, (40, 40), 3, 2, 1, np.float64)
    exact = winograd.correlate_adjoint_w(x, dy + 1, g, 1)
    with_numpy, compiled = by_both(winograd.correlate_adjoint_w, x.astype("f"), (dy + 1).astype("f"), g, 1)
    assert abs(compiled - exact).max() <= 2 * abs(with_numpy - exact).max()


def test_nan_reaches_the_tiles_that_read_it_and_the_maximum():
    g, x, w, _, _ = problem(1, (12, 12), 4, 5, 1, np.float32)
    x = x.copy()
    x[0, 5, 9, 1] = np.nan
    for relu in (False, True):
        with_numpy, compiled = by_both(winograd.correlate, x, w, g, 1, None, relu)
        np.testing.assert_array_equal(np.isnan(with_numpy), np.isnan(compiled))
        assert np.isnan(compiled).any() and not np.isnan(compiled).all()
    (y, argmax), (y_compiled, argmax_compiled) = by_both(winograd.correlate_max, x, w, g, True)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(y_compiled))
    np.testing.assert_array_equal(argmax, argmax_compiled)


def test_the_first_of_equal_maxima_is_taken():
    g = geometry("conv", (8, 8), 3, padding=1)
    x, w = np.ones((1, 8, 8, 2), np.float32), np.zeros((3, 3, 2, 3), np.float32)
    with use_kernels("compiled"):
        y, argmax = winograd.correlate_max(x, w, g, True)
    assert not y.any() and not argmax.any()


@pytest.mark.parametrize(("x_dtype", "w_dtype"), [("f", "d"), ("D", "D"), ("e", "e")])
def test_other_dtypes_are_left_to_numpy(x_dtype, w_dtype):
    g = geometry("conv", (6, 6), 3, padding=1)
    x, w = normal(1, 6, 6, 4).astype(x_dtype), normal(3, 3, 4, 4).astype(w_dtype)
    np.testing.assert_array_equal(*by_both(winograd.correlate, x, w, g, 1))


@pytest.mark.parametrize(("n", "in_channels", "out_channels"), [(0, 4, 4)])
def test_empty_arrays(n, in_channels, out_channels):
    g, x, w, b, dy = problem(n, (6, 6), in_channels, out_channels, 1, np.float32)
    np.testing.assert_array_equal(*by_both(winograd.correlate, x, w, g, 1, b))
    np.testing.assert_array_equal(*by_both(winograd.correlate_adjoint_w, x, dy, g, 1))
