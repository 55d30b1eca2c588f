"""What a layer computes is known by its op: names decide nothing, and what is not known is not guessed."""

import copy
import functools

import numpy as np
import onnxruntime
import pytest
from arrays import normal

from funcnn import losses, ops, training, tree
from funcnn.combinators import map_layers, parallel, residual, serial
from funcnn.derivatives import per_example_gradients
from funcnn.intermediates import activations
from funcnn.layer import Layer, OpForward, parameterless, parametric
from funcnn.layers import (
    avg_pool,
    batch_norm,
    conv1d,
    conv2d,
    conv_transpose2d,
    dense,
    depthwise_conv2d,
    dropout,
    embedding,
    flatten,
    layer_norm,
    max_pool,
    relu,
    tanh,
    upsample,
)
from funcnn.onnx import to_onnx
from funcnn.summary import summary
from funcnn.testing import check_layer


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


def test_the_forward_of_another_layer_is_exported_as_that_layer():
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
    assert set(tree.paths(params)) == {"0_conv2d/b", "0_conv2d/w"}


def test_options_cannot_be_changed_behind_the_layers_back():
    with pytest.raises(TypeError):
        relu().forward.options["slope"] = 1.0
    layer = conv2d(2, 3)
    with pytest.raises(TypeError):
        layer.forward.options["stride"] = (2, 2)


IMAGE = (5, 6, 4)


def test_the_mode_has_no_default():
    with pytest.raises(TypeError, match="train"):
        relu().forward({}, normal(2, 3), {})


def test_leaves_for_a_layer_without_any():
    with pytest.raises(ValueError, match=r"relu: has no params, but was given \['w'\]"):
        relu().forward({"w": normal(1)}, normal(2, 3), {}, train=False)
    with pytest.raises(ValueError, match=r"dense: has no state, but was given \['mean'\]"):
        dense(1).forward({"w": normal(3, 1), "b": normal(1)}, normal(2, 3), {"mean": 0}, train=False)
    with pytest.raises(ValueError, match=r"dropout: has no params"):
        dropout(0.5).forward({"w": normal(1)}, normal(2, 3), {}, train=False)


def test_a_hand_written_layer_needs_no_more_than_the_protocol():
    def init(key, in_shape):
        return {"gain": np.ones(in_shape)}, {"calls": np.zeros(())}, in_shape

    def forward(params, x, state, *, train, key=None):
        if params.keys() != {"gain"}:
            raise ValueError(f"gain: params has the keys {sorted(params)}")

        def gain_vjp(dy):  # without the keyword that leaves dx out
            if dy.shape != x.shape:
                raise ValueError("dy has a wrong shape")
            return {"gain": (dy * x).sum(0)}, dy * params["gain"]

        return params["gain"] * x, gain_vjp, {"calls": state["calls"] + train}

    gain = Layer("gain", init, forward)
    check_layer(gain, (3,), strict=True)
    check_layer(serial(gain, tanh(), gain), (3,), strict=True)
    check_layer(residual(gain), (3,), strict=True)


def test_an_op_and_its_initial_values_make_a_layer():
    def scale(params, x):
        def scale_vjp(dy):
            if np.shape(dy) != y.shape:
                raise ValueError("dy has a wrong shape")
            return {"scale": (dy * x).sum(axis=tuple(range(x.ndim - 1)))}, dy * params["scale"]

        if params.keys() != {"scale"}:
            raise ValueError("scale: unexpected leaves")
        y = x * params["scale"]
        return y, scale_vjp

    layer = parametric("scale", lambda key, in_shape: {"scale": np.ones(in_shape[-1:], np.float32)}, scale)
    check_layer(layer, IMAGE, strict=True)
    check_layer(serial(layer, conv2d(2, 3), layer), IMAGE, strict=True)


def test_a_combination_whose_children_were_replaced_is_described_by_what_it_computes():
    for children in ((tanh()._replace(name="relu"),), (), (relu(), relu())):
        model = serial(flatten(), serial(relu())._replace(children=children))
        assert exported(model, (2, 2, 1)) == ["Flatten", "Relu"]
        assert [path for path, _ in leaves_of(model)] == ["0_flatten", "1_serial"]
    as_list = serial(relu())
    assert [path for path, _ in leaves_of(as_list._replace(children=list(as_list.children)))] == ["0_relu"]
    for twin in (copy.copy(as_list), copy.deepcopy(as_list), copy.deepcopy(residual(as_list))):
        assert all(path.endswith(("0_relu", "1_identity")) for path, _ in leaves_of(twin))


class OddOp:
    """A callable that cannot be hashed, and is compared entry by entry as arrays are."""

    __hash__ = None

    def __init__(self, op):
        self.op = op

    def __eq__(self, other):
        return np.array([True, True])

    def __call__(self, *xs, **options):
        return self.op(*xs, **options)


def test_ops_are_distinguished_by_identity():
    odd = parameterless("relu", OddOp(ops.relu))
    model, plain = (serial(conv2d(2, 3, padding=1), layer, max_pool(2)) for layer in (odd, relu()))
    params, state, _ = model.init((0,), (6, 6, 1))
    x = normal(2, 6, 6, 1)
    assert np.array_equal(*(each.forward(params, x, state, train=True)[0] for each in (model, plain)))
    assert [row.multiply_adds for row in summary(model, (6, 6, 1))] == [648, 0, 0]
    with pytest.raises(ValueError, match="relu: cannot be exported to ONNX"):
        to_onnx(model, params, state, (6, 6, 1))
    joined = parallel(relu(), tanh(), join=OddOp(ops.add))
    with pytest.raises(ValueError, match="cannot be exported to ONNX with the join"):
        to_onnx(joined, *joined.init((0,), (3,))[:2], (3,))


def test_options_are_read_only_and_include_defaults():
    layer = conv2d(2, 3)
    with pytest.raises(TypeError, match="does not support item assignment"):
        layer.forward.options["stride"] = (2, 2)
    options = {"window": 2}
    pool = parameterless("pool", ops.max_pool, options)
    options["window"] = 3
    assert pool.init((0,), (6, 6, 1))[2] == (3, 3, 1) and pool.forward.options["window"] == 2
    assert OpForward(ops.max_pool, {"window": 2}, pool.forward.call).options["ceil_mode"] is False


def test_an_op_without_its_options_is_an_error_where_it_is_called():
    model = serial(conv2d(2, 3), parameterless("pool", ops.max_pool))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'window'") as raised:
        model.init((0,), (6, 6, 1))
    assert raised.value.__notes__ == ["in layer 1_pool"]


@pytest.mark.parametrize("spelling", [list, np.array])
def test_options_of_a_lifted_op_may_be_lists_and_arrays(spelling):
    def init_params(key, in_shape):
        return {"w": normal(3, 3, in_shape[-1], 8).astype(np.float32), "b": np.zeros(8, np.float32)}

    options = {"stride": spelling([1, 1]), "padding": spelling([1, 1]), "dilation": spelling([1, 1])}
    pool = parameterless("pool", ops.max_pool, {"window": spelling([2, 2])})
    model = serial(parametric("conv", init_params, ops.conv, options), relu(), pool)
    plain = serial(parametric("conv", init_params, ops.conv, {"padding": 1}), relu(), max_pool(2)._replace(name="pool"))
    params, state, out_shape = model.init((0,), (16, 16, 3))
    assert out_shape == (8, 8, 8) and summary(model, (16, 16, 3))[0].multiply_adds == 16 * 16 * 8 * 27
    x = normal(4, 16, 16, 3).astype(np.float32)
    assert np.array_equal(*(each.forward(params, x, state, train=True)[0] for each in (model, plain)))
    assert exported(model, (16, 16, 3)) == ["Transpose", "Conv", "Relu", "MaxPool", "Transpose"]


@pytest.mark.parametrize("name", ["a/b", "/", None, 3])
def test_names_are_parts_of_paths(name):
    for combinator in (serial, parallel, residual):
        with pytest.raises(ValueError, match="a layer's name is a str without '/', which separates names in paths"):
            combinator(relu()._replace(name=name))


def test_ids_have_no_gradient_in_branches_either():
    model = serial(residual(embedding(5, 3), embedding(5, 3)), flatten(), dense(2))
    params, state, _ = model.init((0,), (4,))
    y, vjp, _ = model.forward(params, np.array([[1, 2, 3, 0]]), state, train=True)
    dparams, dx = vjp(np.ones_like(y))
    assert dx is None and tree.paths(dparams) == tree.paths(params)


def test_a_join_with_too_few_cotangents_is_named():
    model = parallel(relu(), tanh(), join=lambda a, b: (a + b, lambda dy: (dy,)))
    params, state, _ = model.init((0,), (3,))
    _, vjp, _ = model.forward(params, np.ones((2, 3)), state, train=True)
    with pytest.raises(ValueError, match="the VJP of join returned 1 cotangents for 2 branches") as raised:
        vjp(np.ones((2, 3)))
    assert not hasattr(raised.value, "__notes__")


def test_parameters_may_be_lists_for_tools_as_they_may_for_ops():
    cases = [
        (conv2d(2, 2), (4, 4, 1)),
        (conv_transpose2d(2, 2), (4, 4, 1)),
        (depthwise_conv2d(2), (4, 4, 1)),
        (dense(2), (3,)),
        (layer_norm(), (3,)),
        (batch_norm(), (3,)),
    ]
    for layer, in_shape in cases:
        params, state, _ = layer.init((0,), in_shape)
        listed = [{name: leaf.tolist() for name, leaf in leaves.items()} for leaves in (params, state)]
        x, targets = normal(3, *in_shape), 0.0 * layer.forward(params, normal(3, *in_shape), state, train=False)[0]
        outputs = training.predict(layer, *listed, x, threads=2)
        np.testing.assert_allclose(outputs, training.predict(layer, params, state, x), rtol=1e-5, atol=1e-6)
        of_lists, of_arrays = (
            per_example_gradients(layer, losses.mse, *trees, x, targets) for trees in (listed, (params, state))
        )
        for a, b in zip(tree.leaves(of_lists), tree.leaves(of_arrays), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        protos = [to_onnx(layer, *trees, in_shape) for trees in (listed, (params, state))]
        assert [n.op_type for n in protos[0].graph.node] == [n.op_type for n in protos[1].graph.node]
