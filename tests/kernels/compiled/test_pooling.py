"""Compiled pooling gives the results of NumPy's, for every geometry."""

import numpy as np
import pytest
from arrays import normal

from funcnn.kernels import pooling
from funcnn.kernels.geometry import geometry
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba")

# size, window, options
GEOMETRIES = {
    "2x2": ((6, 8), 2, {"stride": 2}),
    "an odd size": ((7, 5), 2, {"stride": 2}),
    "overlapping and padded": ((7, 6), 3, {"stride": 2, "padding": 1}),
    "beyond the end": ((6, 7), 3, {"stride": 2, "ceil_mode": True}),
    "far apart and dilated": ((9, 8), 2, {"stride": (4, 3), "dilation": (1, 3)}),
    "1-D": ((9,), 5, {"padding": ((3, 1),)}),
    "3-D": ((4, 5, 4), (2, 3, 2), {"stride": (1, 2, 2), "padding": "same"}),
    "hundreds of positions": ((17, 17), 16, {}),
}
geometries = pytest.mark.parametrize(
    "g", [geometry("pool", s, w, **o) for s, w, o in GEOMETRIES.values()], ids=GEOMETRIES
)


def on_both(kernel, *args):
    results = []
    for choice in ("numpy", "compiled"):
        with use_kernels(choice):
            results.append(kernel(*args))
    return results


def images(g, channels, dtype, images=3):
    """Few different numbers, so that there are ties; a view that is neither contiguous nor writeable."""
    x = np.random.default_rng(0).integers(-2, 2, (images, channels, *g.size)).astype(dtype)
    x.flags.writeable = False
    return np.moveaxis(x, 1, -1)


@geometries
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.float32), (5, np.float64), (33, np.float32)])
def test_maxima_and_the_way_back_are_those_of_numpy(g, channels, dtype):
    x = images(g, channels, dtype)
    (y, argmaxes), (compiled_y, compiled_argmaxes) = on_both(pooling.max_pool, x, g)
    assert np.array_equal(y, compiled_y) and compiled_y.dtype == dtype
    assert np.array_equal(y, on_both(pooling.max_pool, x, g, False)[1][0])
    dy = np.asfortranarray(np.round(8 * normal(*y.shape)).astype(dtype))  # whole numbers: sums are exact in any order
    dx = on_both(pooling.max_pool_adjoint, dy, argmaxes, g)
    dx += on_both(pooling.max_pool_adjoint, dy, compiled_argmaxes, g)  # whichever of the kernels found the maxima
    assert all(np.array_equal(dx[0], other) and other.dtype == dtype for other in dx)


@geometries
def test_sums_and_the_way_back_are_those_of_numpy(g):
    x = images(g, 5, np.float32)
    y, compiled_y = on_both(pooling.window_sums, x, g)
    assert np.array_equal(y, compiled_y) and compiled_y.dtype == x.dtype
    assert np.array_equal(*on_both(pooling.window_sums_adjoint, y, g))


@pytest.mark.parametrize("padding", [0, 1])
def test_nan_is_the_maximum_and_the_first_one_the_argmax(padding):
    g = geometry("pool", (6, 6), 3, stride=2, padding=padding)
    x = normal(2, 6, 6, 4).astype(np.float32)
    x[0, 1, :3, 0] = x[1, 2, 2, 1] = np.nan
    x[1, :, :, 2], x[1, :, :, 3] = -np.inf, np.inf
    (y, argmaxes), (compiled_y, compiled_argmaxes) = on_both(pooling.max_pool, x, g)
    assert np.array_equal(y, compiled_y, equal_nan=True)
    with use_kernels("numpy"):
        dx = [pooling.max_pool_adjoint(np.ones_like(y), found, g) for found in (argmaxes, compiled_argmaxes)]
    assert np.array_equal(*dx)


def test_no_images_and_other_numbers():
    g = geometry("pool", (4, 4), 2, stride=2)
    with use_kernels("compiled"):
        y, argmaxes = pooling.max_pool(np.empty((0, 4, 4, 3)), g)
        assert y.shape == (0, 2, 2, 3) and pooling.max_pool_adjoint(y, argmaxes, g).shape == (0, 4, 4, 3)
        x = normal(1, 4, 4, 3) + 1j
        y, argmaxes = pooling.max_pool(x, g)
        assert pooling.max_pool_adjoint(y, argmaxes, g).dtype == pooling.window_sums(x, g).dtype == np.complex128


def test_positions_found_by_other_kernels_are_scattered():
    g = geometry("pool", (5, 4), 2, stride=2)
    argmax, dy = np.random.default_rng(0).integers(0, 4, (3, 2, 2, 7)).astype(np.uint8), normal(3, 2, 2, 7)
    assert np.array_equal(*on_both(pooling.scatter_argmax, argmax, dy, g, (0, 1), (3, 5, 4, 7)))
