"""Convolution over a grid of geometries: values against loops, VJPs against complex step and exact differences."""

import numpy as np
import oracles
import pytest
from arrays import layouts, normal

from funcnn import ops
from funcnn.kernels.conv.dispatch import AUTO_METHODS, METHODS, applies
from funcnn.kernels.geometry import geometry
from funcnn.testing import check_vjp

# x, w, options
GEOMETRIES = {
    "1-D": ((2, 9, 3), (4, 3, 2), {}),
    "1-D, kernel of one": ((2, 5, 3), (1, 3, 2), {}),
    "1-D, stride and dilation": ((2, 14, 2), (3, 2, 3), {"stride": 3, "dilation": 2}),
    "2-D": ((2, 6, 5, 3), (3, 3, 3, 4), {}),
    "the article's": ((2, 8, 8, 1), (3, 3, 1, 1), {}),
    "several tiles of Winograd's method and row blocks": ((2, 9, 23, 3), (3, 3, 3, 5), {"padding": 1}),
    "3x3 with asymmetric padding": ((2, 5, 7, 2), (3, 3, 2, 3), {"padding": ((0, 2), (3, 1))}),
    "even, oblong kernel": ((2, 6, 7, 2), (2, 4, 2, 3), {}),
    "stride that does not divide": ((2, 7, 8, 2), (3, 3, 2, 3), {"stride": 2}),
    "stride larger than the kernel": ((2, 9, 8, 2), (2, 2, 2, 3), {"stride": (3, 4)}),
    "a stride per axis": ((2, 6, 7, 2), (3, 2, 2, 3), {"stride": (1, 2), "padding": 1}),
    "kernel as large as the input": ((3, 4, 5, 2), (4, 5, 2, 3), {}),
    "kernel larger than the input, not than the padded": ((2, 3, 2, 2), (5, 4, 2, 3), {"padding": (1, 2)}),
    "padding beyond the kernel": ((2, 3, 4, 2), (2, 2, 2, 3), {"padding": 3}),
    "padding beyond the kernel, with stride": ((2, 3, 4, 2), (2, 2, 2, 3), {"padding": 3, "stride": 2}),
    "padding beyond the kernel on one side": ((2, 3, 4, 2), (2, 2, 2, 3), {"padding": ((3, 0), (0, 4))}),
    "padding an int per axis": ((2, 5, 6, 2), (3, 3, 2, 3), {"padding": (2, 0)}),
    "asymmetric padding": ((2, 5, 6, 2), (3, 2, 2, 3), {"padding": ((2, 1), (0, 3))}),
    "valid": ((2, 5, 6, 2), (3, 2, 2, 3), {"padding": "valid"}),
    "same": ((2, 5, 6, 2), (3, 3, 2, 3), {"padding": "same"}),
    "same, even kernel": ((2, 5, 6, 2), (2, 4, 2, 3), {"padding": "same"}),
    "same, stride": ((2, 7, 8, 2), (3, 3, 2, 3), {"padding": "same", "stride": (2, 3)}),
    "same, stride larger than the kernel": ((2, 7, 8, 2), (2, 1, 2, 3), {"padding": "same", "stride": 4}),
    "dilation": ((2, 9, 8, 2), (3, 3, 2, 3), {"dilation": (2, 3)}),
    "all options together": (
        (2, 9, 10, 4),
        (3, 2, 2, 6),
        {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 3), "groups": 2},
    ),
    "same, dilation and stride": ((2, 9, 10, 2), (3, 2, 2, 3), {"padding": "same", "dilation": 2, "stride": 2}),
    "groups": ((2, 5, 5, 6), (3, 3, 2, 9), {"groups": 3}),
    "groups with stride": ((2, 6, 5, 4), (3, 3, 2, 2), {"groups": 2, "stride": 2, "padding": 1}),
    "depthwise": ((2, 5, 6, 3), (3, 3, 1, 3), {"groups": 3, "padding": 1}),
    "depthwise with multiplier": ((2, 5, 6, 3), (3, 3, 1, 6), {"groups": 3}),
    "batch of one": ((1, 5, 6, 2), (3, 3, 2, 3), {}),
    "one pixel": ((2, 1, 1, 3), (1, 1, 3, 2), {}),
    "one pixel, padded": ((1, 1, 1, 1), (3, 3, 1, 1), {"padding": 1}),
    "3-D": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 3), {}),
    "3-D, everything": (
        (2, 5, 6, 4, 4),
        (2, 3, 2, 2, 4),
        {"stride": (2, 1, 2), "padding": ((0, 1), (1, 1), (2, 0)), "dilation": (1, 2, 1), "groups": 2},
    ),
}


def suits(method, x_shape, w_shape, options):
    """Whether a method can compute a geometry."""
    groups = options.get("groups", 1)
    spatial = {name: value for name, value in options.items() if name != "groups"}
    g = geometry("conv", x_shape[1:-1], w_shape[:-2], **spatial)
    return method in AUTO_METHODS or applies(method, g, x_shape[-1], w_shape[-1], groups)


BY_METHOD = {
    f"{name}, {method}": (x_shape, w_shape, {**options, "method": method})
    for name, (x_shape, w_shape, options) in GEOMETRIES.items()
    for method in ("auto", *METHODS)
    if suits(method, x_shape, w_shape, options)
}


@pytest.fixture(params=BY_METHOD.values(), ids=BY_METHOD.keys())
def case(request):
    x_shape, w_shape, options = request.param
    return {"w": normal(*w_shape), "b": normal(w_shape[-1], seed=1)}, normal(*x_shape, seed=2), options


def by_loops(x, params, options):
    geometry = {name: value for name, value in options.items() if name != "method"}
    return oracles.conv(x, params["w"], params["b"], **geometry)


def test_every_method_suits_some_geometries():
    for method in METHODS:
        assert sum(name.endswith(f", {method}") for name in BY_METHOD) >= 4


def test_value_is_that_of_the_loops(case):
    params, x, options = case
    y, _ = ops.conv(params, x, **options)
    np.testing.assert_allclose(y, by_loops(x, params, options), rtol=1e-12, atol=1e-12)


def test_value_in_float32(case):
    params, x, options = case
    single = {name: leaf.astype(np.float32) for name, leaf in params.items()}
    y, _ = ops.conv(single, x.astype(np.float32), **options)
    np.testing.assert_allclose(y, by_loops(x, params, options), rtol=1e-4, atol=1e-4)


def test_vjp_by_complex_step(case):
    params, x, options = case
    check_vjp(lambda params, x: ops.conv(params, x, **options), params, x, strict=True)


def test_vjp_by_exact_central_differences(case):
    params, x, options = case
    # linear in x, in w and in b, so a difference over any distance is the derivative
    check_vjp(
        lambda params, x: ops.conv(params, x, **options), params, x, method="central", step=1.0, rtol=1e-12, strict=True
    )


@pytest.mark.parametrize("method", ["im2col", "toeplitz", "row_blocks", "winograd"])
def test_every_entry_of_the_gradient_against_the_loops(method):
    x, w, b = normal(2, 4, 5, 2), normal(3, 3 if method == "winograd" else 2, 2, 3), normal(3)
    options = {"stride": 1 if method == "winograd" else (2, 1), "padding": ((1, 0), (0, 1))}
    y, vjp = ops.conv({"w": w, "b": b}, x, method=method, **options)
    dy = normal(*y.shape, seed=3)
    dparams, dx = vjp(dy)
    for array, gradient, position in ((x, dx, 0), (w, dparams["w"], 1), (b, dparams["b"], 2)):
        for index in np.ndindex(*array.shape):
            unit = np.zeros_like(array)
            unit[index] = 1.0
            arguments = [x, w, np.zeros_like(b)] if position != 2 else [x, np.zeros_like(w), b]
            arguments[position] = unit
            expected = (oracles.conv(*arguments, **options) * dy).sum()
            np.testing.assert_allclose(gradient[index], expected, rtol=1e-12, atol=1e-12)


def test_no_examples():
    params, x = {"w": normal(3, 3, 2, 4), "b": normal(4)}, np.zeros((0, 5, 5, 2))
    by_hand = [{"method": method} for method in ("im2col", "toeplitz", "row_blocks", "winograd")]
    for options in ({"stride": 2}, {"groups": 2}, {"groups": 2, "method": "im2col"}, *by_hand):
        w = normal(3, 3, 2 // options.get("groups", 1), 4)
        y, vjp = ops.conv({**params, "w": w}, x, **options)
        dparams, dx = vjp(np.zeros_like(y))
        assert y.shape[0] == 0
        assert dx.shape == x.shape
        assert not dparams["w"].any() and not dparams["b"].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 2}, {"groups": 2}, {"groups": 4}], ids=str)
def test_memory_layout_does_not_matter(options, method):
    x, w, b = normal(2, 5, 6, 4), normal(3, 3, 4 // options.get("groups", 1), 4), normal(4)
    if suits(method, x.shape, w.shape, options):
        options = {**options, "method": method}
    y, vjp = ops.conv({"w": w, "b": b}, x, **options)
    dy = normal(*y.shape)
    dparams, dx = vjp(dy)
    for name, laid_out in layouts(x).items():
        for weights, cotangent in ((w, dy), (layouts(w)[name], layouts(dy)[name])):
            y2, vjp2 = ops.conv({"w": weights, "b": layouts(b)[name]}, laid_out, **options)
            dparams2, dx2 = vjp2(cotangent)
            for a, b2 in ((y, y2), (dx, dx2), (dparams["w"], dparams2["w"]), (dparams["b"], dparams2["b"])):
                np.testing.assert_allclose(a, b2, rtol=1e-12, atol=1e-12, err_msg=name)


def test_eight_positions_and_three_taps_give_six():
    x = np.zeros((1, 8, 8, 1))
    params = {"w": np.zeros((3, 3, 1, 1)), "b": np.zeros(1)}
    assert ops.conv(params, x)[0].shape == (1, 6, 6, 1)
    assert ops.conv(params, x, padding=1)[0].shape == (1, 8, 8, 1)  # padding counts on both sides


def test_depthwise_filters_each_channel_separately():
    x, w = normal(2, 6, 6, 3), normal(3, 3, 1, 6)
    y, _ = ops.conv({"w": w, "b": np.zeros(6)}, x, groups=3)
    for channel in range(3):
        expected, _ = ops.conv(
            {"w": w[..., 2 * channel : 2 * channel + 2], "b": np.zeros(2)}, x[..., channel : channel + 1]
        )
        np.testing.assert_allclose(y[..., 2 * channel : 2 * channel + 2], expected, rtol=1e-12)


def test_input_gradient_can_be_left_out():
    _, vjp = ops.conv({"w": normal(3, 3, 2, 4), "b": normal(4)}, normal(2, 5, 5, 2))
    dy = normal(2, 3, 3, 4)
    dparams, dx = vjp(dy, input_gradient=False)
    assert dx is None
    assert np.array_equal(dparams["w"], vjp(dy)[0]["w"])


BAD = {
    "channels": ({}, (2, 8, 8, 5), {}, ValueError, r"x \(2, 8, 8, 5\) has 5 channels, but w \(3, 3, 2, 4\) .* takes 2"),
    "rank": ({}, (2, 8, 2), {}, ValueError, r"x \(2, 8, 2\) has 1 spatial axes, so w must have 3 axes"),
    "no spatial axis": ({}, (2, 8), {}, ValueError, r"x must be \(N, spatial\.\.\., C\)"),
    "kernel too large": (
        {},
        (2, 2, 8, 2),
        {"dilation": 2},
        ValueError,
        r"spans 5 positions on spatial axis 0, the padded input has 2: "
        r"input \(2, 8\), window \(3, 3\), stride \(1, 1\), padding \(\(0, 0\), \(0, 0\)\), dilation \(2, 2\)",
    ),
    "stride 0": ({}, (2, 8, 8, 2), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    "dilation 0": ({}, (2, 8, 8, 2), {"dilation": (1, 0)}, ValueError, r"dilation must be at least 1, got \(1, 0\)"),
    "stride of a half": ({}, (2, 8, 8, 2), {"stride": 0.5}, TypeError, "stride must be an int"),
    "three strides": ({}, (2, 8, 8, 2), {"stride": (1, 1, 1)}, ValueError, "has 3 entries, the input has 2"),
    "negative padding": ({}, (2, 8, 8, 2), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    "padding by a word": ({}, (2, 8, 8, 2), {"padding": "full"}, TypeError, "'valid' or 'same', not 'full'"),
    "padding of three axes": ({}, (2, 8, 8, 2), {"padding": (1, 1, 1)}, ValueError, "has 3 entries"),
    "groups do not divide": ({}, (2, 8, 8, 2), {"groups": 3}, ValueError, "groups 3 must divide the 2 input and the 4"),
    "groups 0": ({}, (2, 8, 8, 2), {"groups": 0}, ValueError, "groups 0"),
    "groups a float": ({}, (2, 8, 8, 2), {"groups": 2.0}, TypeError, "groups must be an int"),
    "method by another name": ({}, (2, 8, 8, 2), {"method": "fft"}, ValueError, "'exact' or one of .*, not 'fft'"),
    "method for other geometries": (
        {},
        (2, 8, 8, 2),
        {"method": "winograd", "stride": 2},
        ValueError,
        r"method 'winograd' cannot map 2 to 4 channels in 1 groups with input \(8, 8\), window \(3, 3\), stride \(2",
    ),
    "missing leaf": ({"b": None}, (2, 8, 8, 2), {}, ValueError, r"exactly the leaves \['w', 'b'\]; missing \['b'\]"),
    "extra leaf": ({"c": normal(1)}, (2, 8, 8, 2), {}, ValueError, r"unexpected \['c'\]"),
    "bias of another size": ({"b": normal(3)}, (2, 8, 8, 2), {}, ValueError, r"b must be \(4,\)"),
    "integer weights": ({"b": np.zeros(4, int)}, (2, 8, 8, 2), {}, TypeError, r"params\['b'\] has dtype int64"),
}


@pytest.mark.parametrize(("changes", "x_shape", "options", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(changes, x_shape, options, error, message):
    params = {"w": normal(3, 3, 2, 4), "b": normal(4), **changes}
    params = {name: leaf for name, leaf in params.items() if leaf is not None}
    with pytest.raises(error, match=message):
        ops.conv(params, normal(*x_shape), **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_unscaled_images_are_refused(dtype):
    with pytest.raises(TypeError, match=f"conv: x has dtype {np.dtype(dtype)}.*scale it first"):
        ops.conv({"w": normal(3, 3, 1, 1), "b": normal(1)}, np.zeros((1, 8, 8, 1), dtype))
