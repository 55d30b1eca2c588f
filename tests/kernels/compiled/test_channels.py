"""Compiled sums and affine maps per channel give the results of NumPy's."""

import numpy as np
import pytest
from arrays import normal

from funcnn.kernels import channels, pooling
from funcnn.kernels.geometry import geometry
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba")

SHAPES = [(1, 1), (2, 3), (70, 1), (5, 7, 3), (3, 5, 7, 2, 16), (2, 33, 70, 3), (3, 2, 700), (64, 33, 24), (0, 4, 3)]


def same(numpy, compiled, dtype, ulps=64):
    for a, b in zip(numpy, compiled, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(b, a, rtol=0, atol=ulps * np.finfo(dtype).eps * max(1, abs(a).max(initial=0)))


def on_both(kernel, *args):
    results = []
    for choice in ("numpy", "compiled"):
        with use_kernels(choice):
            results.append(kernel(*args))
    return results


def given(shape, dtype):
    """x and dy that cannot be written to, dy not contiguous, and mean, factor and shift."""
    x, dy = normal(*shape).astype(dtype), normal(*shape[::-1]).astype(dtype).T
    vectors = normal(3, shape[-1]).astype(dtype)
    x.flags.writeable = dy.flags.writeable = vectors.flags.writeable = False
    return x, dy, *vectors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_results_are_those_of_numpy(shape, dtype):
    x, dy, mean, factor, shift = given(shape, dtype)
    positions = max(x.size // shape[-1], 1)
    same(*on_both(channels.channel_moments, x), dtype)
    for relu in (False, True):
        y, compiled_y = on_both(channels.affine, x, mean, factor, shift, relu)
        same([y], [compiled_y], dtype)
        found = []
        for *sums, combine in on_both(channels.affine_adjoint, x, mean, factor, shift, y if relu else None, dy):
            found.append([*(s / np.sqrt(positions, dtype=dtype) for s in sums), combine(factor, mean)])
        same(*found, dtype)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("window", "options"), [(2, {"stride": 2}), (3, {"stride": 2, "padding": 1})], ids=str)
def test_the_adjoint_with_pooling_is_that_of_numpy(window, options, relu):
    g = geometry("pool", (7, 8), window, **options)
    for channels_of_x, dtype in ((3, np.float64), (48, np.float32)):
        x, _, mean, factor, shift = given((3, *g.size, channels_of_x), dtype)
        found = []
        for choice in ("numpy", "compiled"):
            with use_kernels(choice):
                maxima, argmaxes = pooling.max_pool(x, g)
                y, dy = channels.affine(maxima, mean, factor, shift, relu), np.cos(np.arange(maxima.size, dtype=dtype))
                pooled = channels.Pooled(x, argmaxes, g)
                dy = dy.reshape(maxima.shape)
                *sums, combine = channels.affine_adjoint(maxima, mean, factor, shift, y if relu else None, dy, pooled)
                found.append([*sums, combine(factor, mean)])
        same(*found, dtype)


def test_variances_keep_their_digits_where_the_mean_is_large():
    x = (normal(200, 500, 3) + 1e4).astype(np.float32)
    with use_kernels("compiled"):
        mean, var = channels.channel_moments(x)
    np.testing.assert_allclose(mean, x.mean((0, 1), dtype=float), rtol=1e-7)
    np.testing.assert_allclose(var, x.var((0, 1), dtype=float), rtol=1e-5)


def test_nan_and_infinities_are_those_of_numpy():
    x, dy, mean, factor, shift = given((40, 30, 5), np.float32)
    x = x.copy()
    x[3, 4, :3] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        for a, b in zip(*on_both(channels.channel_moments, x), strict=True):
            assert np.array_equal(np.isnan(a), np.isnan(b)) and np.array_equal(np.isinf(a), np.isinf(b))
        y, compiled_y = on_both(channels.affine, x, mean, factor, shift, True)
        np.testing.assert_allclose(compiled_y, y, rtol=1e-5, atol=1e-5)
        for *sums, combine in on_both(channels.affine_adjoint, x, mean, factor, shift, y, dy):
            assert np.isnan(sums[0][0]) and np.isfinite(sums[1][0])
            assert np.isnan(combine(factor, shift)[3, 4, 0])


def test_other_numbers_are_left_to_numpy():
    for dtype in (np.float16, np.complex128):
        x, dy, mean, factor, shift = given((4, 5, 3), dtype)
        with use_kernels("compiled"):
            assert channels.channel_moments(x)[0].dtype == channels.affine(x, mean, factor, shift).dtype == dtype
            *sums, combine = channels.affine_adjoint(x, mean, factor, shift, None, dy)
            assert all(a.dtype == dtype for a in (*sums, combine(factor, shift)))
    with use_kernels("compiled"):
        assert channels.affine(x.real, mean, factor, shift).dtype == np.complex128
