"""The choice of the method: Winograd's in float32 unless exactness is requested, the definition in float64."""

import numpy as np
import pytest
from arrays import normal

import funcnn
from funcnn import ops
from funcnn.kernels.conv.dispatch import choose
from funcnn.kernels.geometry import geometry


def relative_errors(method):
    """The largest errors in float32 of y, dw and dx, relative to the largest entry of each."""
    params, x = {"w": normal(3, 3, 64, 64)}, normal(4, 16, 16, 64)
    exact, exact_vjp = ops.conv(params, x, padding=1, bias=False)
    single = {"w": params["w"].astype(np.float32)}
    y, vjp = ops.conv(single, x.astype(np.float32), padding=1, bias=False, method=method)
    dy = normal(*y.shape, seed=3)
    (exact_dparams, exact_dx), (dparams, dx) = exact_vjp(dy), vjp(dy.astype(np.float32))
    pairs = [(y, exact), (dparams["w"], exact_dparams["w"]), (dx, exact_dx)]
    assert all(a.dtype == np.float32 for a, _ in pairs)
    return [abs(a - b).max() / abs(b).max() for a, b in pairs]


def test_errors_in_float32_are_the_stated_ones():
    assert max(relative_errors("exact")) < 2e-6
    assert max(relative_errors("winograd")) < 2e-5
    assert min(relative_errors("winograd")) > max(relative_errors("exact"))
    assert relative_errors("auto") == relative_errors("winograd")


def test_exact_everywhere():
    with funcnn.exact():
        assert relative_errors("auto") == relative_errors("exact")
        x = np.ones((1, 8, 8, 8), np.float32)
        y, vjp = ops.conv({"w": np.ones((3, 3, 8, 8), np.float32)}, x / 3, bias=False)
    exactly, exact_vjp = ops.conv({"w": np.ones((3, 3, 8, 8), np.float32)}, x / 3, bias=False, method="exact")
    assert np.array_equal(y, exactly)
    assert np.array_equal(vjp(y)[1], exact_vjp(y)[1])  # outside the context, yet of a convolution made within


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_double_precision_is_exact_by_itself(dtype):
    params, x = {"w": normal(3, 3, 16, 16).astype(dtype)}, normal(2, 8, 8, 16).astype(dtype)
    (y, vjp), (exactly, exact_vjp) = (ops.conv(params, x, bias=False, method=method) for method in ("auto", "exact"))
    assert np.array_equal(y, exactly)
    assert np.array_equal(vjp(y)[1], exact_vjp(y)[1]) and np.array_equal(vjp(y)[0]["w"], exact_vjp(y)[0]["w"])


@pytest.mark.parametrize(("channels", "method"), [(256, "winograd"), (512, "im2col")])
def test_large_weights_are_not_transformed(channels, method):
    g = geometry("conv", (14, 14), 3, padding=1)
    for adjoint_x in (False, True):
        single = np.dtype(np.float32)
        assert choose(g, 8, channels, channels, 1, single, exact=False, adjoint_x=adjoint_x) == method


@pytest.mark.parametrize(
    ("images", "size", "channels", "method", "compiled"),
    [
        (32, 13, 64, "im2col", "winograd"),  # tiles cover half as much again
        (32, 9, 64, "im2col", "im2col"),
        (1, 28, 256, "winograd", "winograd"),  # 49 tiles
        (2, 14, 256, "winograd", "im2col"),  # 32
        (1, 16, 64, "winograd", "winograd"),
        (64, 4, 64, "winograd", "winograd"),  # tiny images, of one whole tile each ...
        (64, 4, 128, "winograd", "im2col"),  # ... with so many weights that im2col is faster
    ],
)
def test_compiled_transforms_pay_for_fewer_tiles(images, size, channels, method, compiled):
    single = np.dtype(np.float32)
    g = geometry("conv", (size, size), 3, padding=1)
    assert choose(g, images, channels, channels, 1, single, exact=False) == method
    assert choose(g, images, channels, channels, 1, single, exact=False, compiled=True) == compiled


def test_methods_with_weights_of_their_own_form_pay_for_fewer_images_if_these_are_prepared():
    tiles, few = geometry("conv", (8, 8), 3, padding=1), geometry("conv", (12, 12), 5)
    for kernels in ({"compiled": False}, {"compiled": True}):
        chosen = [
            choose(g, 1, *channels, 1, np.dtype(np.float32), exact=False, prepared=prepared, **kernels)
            for g, channels in ((tiles, (64, 64)), (few, (6, 16)))
            for prepared in (False, True)
        ]
        assert chosen == ["im2col", "winograd", "im2col", "row_blocks"]
