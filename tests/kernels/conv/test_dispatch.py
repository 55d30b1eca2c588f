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
        (32, 9, 64, "im2col", "winograd"),  # 78 %
        (32, 5, 64, "im2col", "im2col"),
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
    for compiled in (False, True):
        chosen = [
            choose(g, 1, *channels, 1, np.dtype(np.float32), exact=False, prepared=prepared, compiled=compiled)
            for g, channels in ((tiles, (64, 64)), (few, (6, 32)))
            for prepared in (False, True)
        ]
        assert chosen == ["im2col", "winograd", "im2col", "row_blocks"]


@pytest.mark.parametrize(
    ("kernel", "side", "in_channels", "out_channels", "method", "compiled"),
    [
        (3, 16, 8, 16, "row_blocks", "row_blocks"),  # little to copy
        (3, 16, 12, 12, "winograd", "row_blocks"),  # less than a vector
        (3, 16, 16, 16, "winograd", "winograd"),
        (5, 16, 16, 32, "im2col", "im2col"),
        (5, 64, 16, 32, "row_blocks", "im2col"),  # windows of an image that do not stay in the cache
        (5, 16, 32, 16, "row_blocks", "row_blocks"),  # wide windows; outputs that are a vector
        (5, 16, 32, 2, "row_blocks", "im2col"),
        (2, 16, 32, 16, "im2col", "row_blocks"),
        (3, 16, 16, 1, "winograd", "im2col"),
        (1, 16, 1, 8, "depthwise", "im2col"),
        (1, 16, 1, 1, "depthwise", "depthwise"),
        (7, 8, 8, 8, "toeplitz", "row_blocks"),
        (3, 4, 8, 16, "toeplitz", "im2col"),  # tiny
    ],
)
def test_few_channels_have_methods_of_their_own(kernel, side, in_channels, out_channels, method, compiled):
    g, single = geometry("conv", (side, side), kernel, padding="same"), np.dtype(np.float32)
    assert choose(g, 64, in_channels, out_channels, 1, single, exact=False) == method
    assert choose(g, 64, in_channels, out_channels, 1, single, exact=False, compiled=True) == compiled


@pytest.mark.parametrize(
    ("kernel", "in_channels", "out_channels", "method"),
    [(3, 8, 16, "im2col"), (5, 8, 16, "row_blocks"), (5, 8, 32, "im2col"), (3, 1, 8, "row_blocks")],
)
def test_windows_longer_than_two_strides_share_enough(kernel, in_channels, out_channels, method):
    g, single = geometry("conv", (32, 32), kernel, stride=2, padding="same"), np.dtype(np.float32)
    for compiled in (False, True):
        assert choose(g, 64, in_channels, out_channels, 1, single, exact=False, compiled=compiled) == method


def test_compiled_row_blocks_give_dx_as_a_correlation_unless_there_are_very_few_channels():
    g, single = geometry("conv", (16, 16), 3, padding="same"), np.dtype(np.float32)
    chosen = [choose(g, 64, i, 16, 1, single, exact=False, adjoint_x=True, compiled=True) for i in (3, 4)]
    assert chosen == ["row_blocks", "im2col"]
    assert choose(g, 64, 16, 4, 1, single, exact=False, compiled=True) == "row_blocks"
