"""Transposed convolution over a grid of geometries: values against loops that scatter, and the adjoint of conv."""

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import ops
from funcnn.kernels.conv.dispatch import METHODS, applies
from funcnn.kernels.geometry import transposed_geometry
from funcnn.testing import check_vjp

# x, w (kernel..., out/groups, in), options
GEOMETRIES = {
    "1-D": ((2, 5, 3), (4, 2, 3), {}),
    "1-D, stride and dilation": ((2, 4, 2), (3, 3, 2), {"stride": 3, "dilation": 2, "output_padding": 2}),
    "2-D": ((2, 4, 3, 3), (3, 3, 2, 3), {}),
    "even, oblong kernel": ((2, 4, 3, 2), (2, 4, 3, 2), {}),
    "stride": ((2, 3, 4, 2), (3, 3, 3, 2), {"stride": 2}),
    "stride larger than the kernel": ((2, 3, 2, 2), (2, 1, 3, 2), {"stride": (3, 4)}),
    "doubling": ((2, 3, 4, 2), (4, 4, 3, 2), {"stride": 2, "padding": 1}),
    "output padding": ((2, 3, 4, 2), (3, 3, 3, 2), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)}),
    "padding": ((2, 5, 4, 2), (3, 3, 3, 2), {"padding": 1}),
    "padding as large as the kernel": ((2, 5, 6, 2), (2, 2, 3, 2), {"padding": 2}),
    "asymmetric padding": ((2, 5, 4, 2), (3, 2, 3, 2), {"stride": 2, "padding": ((2, 1), (0, 3))}),
    "valid": ((2, 3, 4, 2), (3, 2, 3, 2), {"padding": "valid", "stride": 2}),
    "same": ((2, 3, 4, 2), (3, 4, 3, 2), {"padding": "same"}),
    "same, stride": ((2, 3, 4, 2), (3, 4, 3, 2), {"padding": "same", "stride": 2}),
    "same, stride larger than the kernel": ((2, 3, 4, 2), (2, 1, 3, 2), {"padding": "same", "stride": 3}),
    "dilation": ((2, 4, 3, 2), (3, 2, 3, 2), {"dilation": (2, 3)}),
    "groups": ((2, 3, 4, 6), (3, 3, 2, 6), {"groups": 3}),
    "one group for each channel": ((2, 3, 4, 3), (3, 3, 1, 3), {"groups": 3, "stride": 2}),
    "one pixel": ((2, 1, 1, 3), (4, 4, 2, 3), {}),
    "all options together": (
        (2, 3, 4, 4),
        (3, 2, 3, 4),
        {"stride": (2, 3), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2, "output_padding": (1, 0)},
    ),
    "3-D": ((2, 2, 3, 2, 2), (2, 3, 2, 3, 2), {"stride": 2}),
    "3-D, everything": (
        (2, 3, 3, 2, 4),
        (2, 3, 2, 2, 4),
        {"stride": (2, 1, 2), "padding": ((0, 1), (1, 1), (1, 0)), "dilation": (1, 2, 1), "groups": 2},
    ),
}


def suits(method, x_shape, w_shape, options):
    """Whether a method can compute a geometry."""
    groups, spatial = options.get("groups", 1), {name: value for name, value in options.items() if name != "groups"}
    g = transposed_geometry("conv_transpose", x_shape[1:-1], w_shape[:-2], **spatial)
    return method == "auto" or applies(method, g, w_shape[-2] * groups, x_shape[-1], groups)


BY_METHOD = {
    f"{name}, {method}": (x_shape, w_shape, {**options, "method": method})
    for name, (x_shape, w_shape, options) in GEOMETRIES.items()
    for method in ("auto", *METHODS)
    if suits(method, x_shape, w_shape, options)
}


@pytest.fixture(params=BY_METHOD.values(), ids=BY_METHOD.keys())
def case(request):
    x_shape, w_shape, options = request.param
    out_channels = w_shape[-2] * options.get("groups", 1)
    return {"w": normal(*w_shape), "b": normal(out_channels, seed=1)}, normal(*x_shape, seed=2), options


def test_value_is_that_of_the_loops(case):
    params, x, options = case
    y, _ = ops.conv_transpose(params, x, **options)
    options = {name: value for name, value in options.items() if name != "method"}
    np.testing.assert_allclose(
        y, oracles.conv_transpose(x, params["w"], params["b"], **options), rtol=1e-12, atol=1e-12
    )


def test_vjp(case):
    params, x, options = case
    check_vjp(lambda params, x: ops.conv_transpose(params, x, **options), params, x, strict=True)


def test_it_is_the_adjoint_of_conv(case):
    params, x, options = case
    options = {name: value for name, value in options.items() if name != "output_padding"} | {"bias": False}
    extra = case[2].get("output_padding", 0)
    w = {"w": params["w"]}
    y, _ = ops.conv_transpose(w, x, output_padding=extra, **options)
    u = normal(*y.shape, seed=3)
    forward, forward_vjp = ops.conv(w, u, **options)
    np.testing.assert_allclose((forward * x).sum(), (u * y).sum(), rtol=1e-11)
    np.testing.assert_allclose(forward_vjp(x)[1], y, rtol=1e-11, atol=1e-12)


def test_without_bias():
    w, x = normal(3, 3, 2, 4), normal(2, 3, 3, 4)
    y, vjp = ops.conv_transpose({"w": w}, x, bias=False)
    assert np.array_equal(y, ops.conv_transpose({"w": w, "b": np.zeros(2)}, x)[0])
    assert list(vjp(y)[0]) == ["w"]
    with pytest.raises(ValueError, match=r"exactly the leaves \['w'\]; missing \[\], unexpected \['b'\]"):
        ops.conv_transpose({"w": w, "b": np.zeros(2)}, x, bias=False)


@pytest.mark.parametrize(
    ("w_shape", "b", "options", "error", "message"),
    [
        ((3, 3, 2, 5), 2, {}, ValueError, r"x \(2, 3, 3, 4\) has 4 channels, but w \(3, 3, 2, 5\) takes 5"),
        ((3, 3, 2, 4), 3, {}, ValueError, r"b must be \(2,\) to match w \(3, 3, 2, 4\), not \(3,\)"),
        ((3, 2, 4), 2, {}, ValueError, r"w must have 4 axes"),
        ((3, 3, 2, 4), 2, {"groups": 3}, ValueError, "groups 3 must divide the 4 input and the 6 output channels"),
        (
            (3, 3, 2, 4),
            2,
            {"output_padding": 1},
            ValueError,
            r"output_padding \(1, 1\) must be less than the stride \(1",
        ),
        ((3, 3, 2, 4), 2, {"output_padding": -1}, ValueError, "output_padding must be at least 0, got -1"),
        ((3, 3, 2, 4), 2, {"output_padding": 0.5}, TypeError, "output_padding must be an int or a tuple"),
        (
            (3, 3, 2, 4),
            2,
            {"stride": 2, "output_padding": 1, "padding": "same"},
            ValueError,
            r"'same' fixes the output's size, so output_padding must be 0, not \(1, 1\)",
        ),
        (
            (3, 3, 2, 4),
            2,
            {"padding": 3},
            ValueError,
            r"leaves an output of \(-1, -1\): input \(3, 3\), window \(3, 3\)",
        ),
        ((3, 3, 2, 4), 2, {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((3, 3, 2, 4), 2, {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ],
)
def test_bad_input_is_named(w_shape, b, options, error, message):
    with pytest.raises(error, match=message):
        ops.conv_transpose({"w": normal(*w_shape), "b": normal(b)}, normal(2, 3, 3, 4), **options)


@pytest.mark.parametrize("groups", [None, "2", 1.0, True])
def test_groups_that_are_no_int_are_named(groups):
    params = {"w": np.ones((3, 1, 2)), "b": np.zeros(1)}
    with pytest.raises(TypeError, match="conv_transpose: groups must be an int, not"):
        ops.conv_transpose(params, np.ones((1, 4, 2)), groups=groups)
