"""What a layer computes is known by its op: names decide nothing, and what is not known is not guessed."""

import copy
import functools

import numpy as np
import onnxruntime
import pytest
from arrays import normal

from funcnn import ops, tree
from funcnn.combinators import map_layers, residual, serial
from funcnn.intermediates import activations
from funcnn.layer import OpForward, parameterless, parametric
from funcnn.layers import avg_pool, conv1d, conv2d, conv_transpose2d, dense, flatten, max_pool, relu, tanh, upsample
from funcnn.onnx import to_onnx
from funcnn.summary import summary


def exported(model, in_shape):
    """The operators of the model's ONNX graph, whose outputs are the model's own."""
    params, state, _ = model.init((0,), in_shape)
    proto = to_onnx(model, params, state, in_shape)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = normal(3, *in_shape).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, model.forward(params, x, state, train=False)[0], rtol=1e-5, atol=1e-6)
    return [node.op_type for node in proto.graph.node]


def test_a_layer_that_is_called_relu_but_computes_tanh_is_exported_as_tanh():
    assert exported(serial(flatten(), parameterless("relu", ops.tanh)), (2, 2, 1)) == ["Flatten", "Tanh"]


def test_a_forward_taken_from_another_layer_is_exported_as_that():
    assert exported(serial(flatten(), relu()._replace(forward=tanh().forward)), (2, 2, 1)) == ["Flatten", "Tanh"]


def test_a_renamed_convolution_is_a_convolution_everywhere():
    plain, renamed = serial(conv2d(8, 3), flatten()), serial(conv2d(8, 3)._replace(name="stem"), flatten())
    of_plain, of_renamed = (summary(model, (6, 6, 2)) for model in (plain, renamed))
    assert of_renamed[0].path == "0_stem" and of_renamed[0].multiply_adds == of_plain[0].multiply_adds == 4 * 4 * 8 * 18
    assert exported(renamed, (6, 6, 2)) == exported(plain, (6, 6, 2)) == ["Transpose", "Conv", "Transpose", "Flatten"]


@pytest.mark.parametrize("layer", [relu(), conv2d(2, 3), max_pool(2)], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    "wrap", [lambda f: lambda *a, **o: f(*a, **o), lambda f: functools.wraps(f)(lambda *a, **o: f(*a, **o))]
)
def test_a_wrapped_forward_is_described_by_nothing(layer, wrap):
    wrapped = layer._replace(forward=wrap(layer.forward))
    params, state, _ = wrapped.init((0,), (6, 6, 2))
    with pytest.raises(ValueError, match=f"{layer.name}: cannot be exported to ONNX"):
        to_onnx(wrapped, params, state, (6, 6, 2))
    assert summary(wrapped, (6, 6, 2))[0].multiply_adds == 0
    x = normal(2, 6, 6, 2)
    assert np.array_equal(*(each.forward(params, x, state, train=True)[0] for each in (layer, wrapped)))


def test_a_combination_whose_forward_was_replaced_is_neither_exported_nor_taken_apart():
    inner = serial(relu(), tanh())
    other = inner._replace(forward=lambda params, x, state, **o: (2 * x, lambda dy: (params, 2 * dy), state))
    model = serial(other, flatten())
    params, state, _ = model.init((0,), (2, 2, 1))
    with pytest.raises(ValueError, match="serial: cannot be exported to ONNX"):
        to_onnx(model, params, state, (2, 2, 1))
    x = normal(3, 2, 2, 1)
    assert np.array_equal(activations(model, params, state, x)["1_flatten"], 2 * x.reshape(3, 4))
    assert [path for path, _ in leaves_of(model)] == ["0_serial", "1_flatten"]


def leaves_of(model):
    seen = []
    map_layers(lambda path, layer: seen.append((path, layer)) or layer, model)
    return seen


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (conv2d(4, 3, stride=[1, 2]), {"stride": (1, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}),
        (conv2d(4, 3, padding="valid"), {"padding": ((0, 0), (0, 0))}),
        (conv2d(4, 3, padding="same"), {"padding": "same"}),
        (conv2d(4, 3, padding=[1, (0, 2)]), {"padding": ((1, 1), (0, 2))}),
        (conv1d(4, 3, stride=np.int64(2)), {"stride": (2,), "padding": ((0, 0),)}),
        (conv_transpose2d(4, 3, stride=2, output_padding=1), {"stride": (2, 2), "output_padding": (1, 1)}),
        (max_pool([2, 2]), {"window": (2, 2), "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}),
        (avg_pool(2, stride=[1, 2], padding="valid"), {"window": 2, "stride": (1, 2), "padding": 0}),
        (upsample([2, 3]), {"factor": (2, 3)}),
        (dense(3), {"bias": True}),
    ],
)
def test_options_have_one_spelling(layer, options):
    assert isinstance(layer.forward, OpForward)
    assert {name: layer.forward.options[name] for name in options} == options


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: conv2d(4, 3, stride=0), ValueError, "conv2d: stride must be at least 1, got 0"),
        (lambda: conv2d(4, 3, stride=(1, 1, 1)), ValueError, "conv2d: stride .* has 3 entries"),
        (lambda: conv2d(4, 3, padding=-1), ValueError, "conv2d: padding must be at least 0, got -1"),
        (lambda: conv2d(4, 3, padding="full"), TypeError, "conv2d: padding must be an int"),
        (lambda: conv2d(4, 3, dilation=1.5), TypeError, "conv2d: dilation must be an int"),
        (lambda: conv2d(4, 3, method="fast"), ValueError, "conv2d: method must be 'auto', 'exact' or one of"),
        (lambda: max_pool(0), ValueError, "max_pool: window must be at least 1, got 0"),
        (lambda: max_pool((2, "2")), TypeError, "max_pool: window must be an int"),
        (lambda: avg_pool(2, padding=(0, -1)), ValueError, "avg_pool: padding must be at least 0"),
    ],
)
def test_a_wrong_option_is_refused_where_the_layer_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_lifted_op_has_the_defaults_of_the_op():
    layer = parametric(
        "c", lambda key, s: {"w": np.ones((3, 3, s[-1], 2), np.float32), "b": np.zeros(2, np.float32)}, ops.conv
    )
    assert layer.forward.options["padding"] == 0 and layer.forward.options["bias"] is True
    assert summary(layer, (5, 5, 2))[0].multiply_adds == 9 * 2 * 18
    assert exported(serial(layer, flatten()), (5, 5, 2)) == ["Transpose", "Conv", "Transpose", "Flatten"]


def test_a_layer_can_be_copied_deeply():
    layer = residual(conv2d(2, 3, padding=1))
    twin = copy.deepcopy(layer)
    params, state, _ = twin.init((0,), (4, 4, 2))
    x = normal(1, 4, 4, 2)
    assert np.array_equal(twin.forward(params, x, state, train=True)[0], layer.forward(params, x, state, train=True)[0])
    assert twin.children[0].forward.op is ops.conv
    assert tree.paths(params) == ["0_conv2d/b", "0_conv2d/w"] or set(tree.paths(params)) == {"0_conv2d/b", "0_conv2d/w"}
