"""Networks through `from_onnx`: the same numbers as ONNX's runtime, and gradients that are proven.

Weights, statistics and inputs are random, and outputs are taken before a softmax, so that a wrong layer is seen.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from imported import assert_agrees, in_float64, model_of, onnx_runs, run
from imported_networks import (
    NETWORKS,
    SHAPE,
    Writer,
    dense_block,
    depthwise,
    flattened_map,
    inception,
    network,
    resnet_block,
    unet,
)
from light_networks import SMALLER, light_network
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from funcnn import tree
from funcnn.onnx import from_onnx
from funcnn.onnx.reading import read
from funcnn.testing import check_layer

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_network_agrees_with_onnxruntime(build):
    for n in (1, 3):
        x = np.random.default_rng(n).standard_normal((n, *SHAPE)).astype(np.float32)
        expected = onnx_runs(network(build), x)
        assert np.ptp(expected) > 0.1
        assert_agrees(run(network(build), x), expected)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_network_is_differentiated_by_complex_step(build):
    check_layer(in_float64(from_onnx(network(build))), (6, 8, 3), rtol=1e-10)


@pytest.mark.parametrize("name", SMALLER)
def test_network_of_the_wheel(name):
    model, x = light_network(name, smaller=True)
    expected = onnx_runs(model, x)
    assert np.ptp(expected) > 0.1
    assert_agrees(run(model, x).reshape(expected.shape), expected)


def test_networks_of_the_wheel_show_another_weight():
    model, x = light_network("squeezenet", smaller=True)
    expected = onnx_runs(model, x)
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    w = numpy_helper.to_array(tensor).copy()
    w[0, 0, 0, 0] += 0.1
    tensor.CopyFrom(numpy_helper.from_array(w, tensor.name))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_agrees(run(model, x).reshape(expected.shape), expected)


# Of the 82 cases that ONNX converted from PyTorch, all of opset 6
CONVERTED = 81
NOT_CONVERTED = {"test_PoissonNLLLLoss_no_reduce": r"\(10, 10\) does not fit"}  # another constant for each example


def upgraded(model):
    """Return a model of opset 6 as opset 7 has it: without two attributes, and slopes of PRelu that broadcast."""
    version = model.opset_import[0]
    for node in model.graph.node if version.version == 6 else ():
        kept = [a for a in node.attribute if a.name not in ("is_test", "broadcast", "consumed_inputs")]
        del node.attribute[:]
        node.attribute.extend(kept)
        for tensor in model.graph.initializer:
            if node.op_type == "PRelu" and tensor.name == node.input[1]:
                rank = len(model.graph.input[0].type.tensor_type.shape.dim)
                tensor.dims.extend([1] * (rank - 2))
    version.version = max(version.version, 7)
    return model


def converted(folder):
    def tensor(name):
        return numpy_helper.to_array(onnx.TensorProto.FromString((folder / "test_data_set_0" / name).read_bytes()))

    return upgraded(onnx.load(folder / "model.onnx")), tensor("input_0.pb"), tensor("output_0.pb")


def test_cases_converted_from_pytorch():
    passed = 0
    for folder in sorted((DATA / "pytorch-converted").iterdir()):
        model, x, expected = converted(folder)
        if folder.name in NOT_CONVERTED:
            with pytest.raises(ValueError, match=NOT_CONVERTED[folder.name]):
                from_onnx(model)
        else:
            assert_agrees(run(model, x), expected)
            passed += 1
    assert passed >= CONVERTED


def test_a_bias_is_merged_only_where_nothing_else_reads_the_sum_without_it():
    w = Writer()
    x = w.conv("x", 3, 4, bias=False)
    shifted = w.node("Add", w.node("Identity", x), w.random(4, 1, 1))
    scaled = w.node("Mul", shifted, w.random(4, 1, 1))
    model = w.model(w.node("Mul", w.node("Relu", x), w.node("Add", scaled, shifted)), SHAPE)
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    assert_agrees(run(model, x), onnx_runs(model, x))


def test_arithmetic_by_constants_is_one_layer():
    w = Writer()
    x = w.node("Sub", "x", w.random(3, 1, 1))
    x = w.node("Mul", w.node("Div", x, w.random(1, 3, 1, 1, scale=0.1, shift=2)), np.float32(3))
    model = w.model(w.node("Relu", w.node("Add", x, w.random(3, 1, 1))), SHAPE)
    assert [layer.name for layer in from_onnx(model).children] == ["affine", "relu"]
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    assert_agrees(run(model, x), onnx_runs(model, x))


def test_an_ordinary_network_has_no_transposition():
    for build in (resnet_block, depthwise, dense_block, inception, flattened_map, unet):
        assert "transpose" not in [layer.name for layer in from_onnx(network(build)).children], build.__name__


def test_features_are_what_the_last_layer_with_weights_reads():
    body = from_onnx(network(resnet_block), output="features")
    params, state, shape = body.init((0,), (6, 8, 3))
    assert shape == (12,)
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    whole = from_onnx(network(resnet_block))
    w = whole.init((0,), (6, 8, 3))[0]["18_dense"]
    y = body.forward(params, x, state, train=False)[0] @ w["w"] + w["b"]
    expected = onnx_runs(network(resnet_block), np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_the_last_layer_with_weights_may_have_computed_ones():
    w = Writer()
    x = w.node("Flatten", w.node("GlobalAveragePool", w.conv("x", 3, 8)))
    scores = w.node("MatMul", x, w.node("Transpose", w.random(4, 8), perm=[1, 0]))
    body = from_onnx(w.model(w.node("Softmax", scores), SHAPE), output="features")
    assert body.init((0,), (6, 8, 3))[2] == (8,)


def first(operator, *constants, **attributes):
    """Nodes that begin with this operator, and the constants that it reads."""
    names = [f"c{i}" for i in range(len(constants))]
    return [helper.make_node(operator, ["x", *names], ["images"], **attributes)], dict(
        zip(names, constants, strict=True)
    )


def both(begin):
    """The same, of which two nodes read x."""
    nodes, constants = begin
    again = onnx.NodeProto.FromString(nodes[0].SerializeToString())
    again.output[0] = "others"
    return [*nodes, again], constants


TO_FRONT = {
    "transposed": (first("Transpose", perm=[0, 3, 1, 2]), (6, 8, 3)),
    "transposed twice": (both(first("Transpose", perm=[0, 3, 1, 2])), (6, 8, 3)),
    "one channel, reshaped": (first("Reshape", np.array([-1, 1, 6, 8])), (6, 8, 1)),
    "no channel, reshaped": (first("Reshape", np.array([0, 1, 6, 8])), (6, 8)),
    "no channel, an axis added": (first("Unsqueeze", np.array([1])), (6, 8)),
}


@pytest.mark.parametrize("case", TO_FRONT.values(), ids=TO_FRONT.keys())
def test_inputs_that_are_channels_last_in_the_file_stay_as_they_are(case):
    (nodes, constants), shape = case
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, shape[2] if len(shape) > 2 else 1, 3, 2)).astype(np.float32)
    convs = [helper.make_node("Conv", [node.output[0], f"w{i}"], [f"y{i}"]) for i, node in enumerate(nodes)]
    total = helper.make_node("Sum", [conv.output[0] for conv in convs], ["y"])
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    model = model_of([*nodes, *convs, total], {"x": x}, ["y"], {**constants, "w0": w, "w1": -2 * w})
    for in_shape in (None, shape):
        layer = from_onnx(model, in_shape=in_shape)
        params, state, _ = layer.init((0,), shape)
        y, _, _ = layer.forward(params, x, state, train=False)
        np.testing.assert_allclose(y, np.moveaxis(onnx_runs(model, x), 1, -1), rtol=1e-5, atol=1e-5)


def test_whoever_writes_into_the_weights_does_not_change_the_network():
    layer = from_onnx(network(resnet_block))
    params, _, _ = layer.init((0,), (6, 8, 3))
    expected = tree.flatten(params)
    with pytest.raises(ValueError, match="read-only"):
        tree.leaves(params)[0][...] = 0
    for of_layer in params.values():
        of_layer.clear()
    again = tree.flatten(layer.init((0,), (6, 8, 3))[0])
    assert again.keys() == expected.keys() and all(again[path] is expected[path] for path in again)


def test_the_weights_of_the_file_are_in_memory_once_when_they_are_reordered():
    model = read(network(resnet_block).SerializeToString())
    assert model.initializers and not model.graph.initializer


def branch(*nodes, constants=None):
    return model_of(nodes, {}, [nodes[-1].output[0]], constants).graph


def choice(then_branch, else_branch, output):
    return helper.make_node("If", ["fits"], [output], then_branch=then_branch, else_branch=else_branch)


def test_the_branch_that_shapes_choose_stands_for_an_if():
    """PyTorch exports ``squeeze`` so, and with it local response normalisation."""
    normal = np.random.default_rng(0).standard_normal
    squeezed = branch(helper.make_node("Det", ["x"], ["q"]))  # that of the other branch does not matter
    inner = branch(
        helper.make_node("Mul", ["conv", "k"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("Add", ["q", "r"], ["s"]),
        constants={"k": normal((4, 1, 1), np.float32)},
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"]),
        helper.make_node("Shape", ["conv"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["channels"]),
        helper.make_node("Equal", ["channels", "one"], ["fits"]),
        choice(squeezed, inner, "a"),
        choice(squeezed, branch(choice(squeezed, inner, "q")), "b"),  # the same names in another scope
        helper.make_node("Sub", ["a", "conv"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["y"]),
    ]
    x = normal((3, 3, 6, 8), np.float32)
    model = model_of(nodes, {"x": x}, ["y"], {"w": normal((4, 3, 3, 3), np.float32), "one": np.array(1)})
    for n in (1, 3):
        assert_agrees(run(model, x[:n]), ReferenceEvaluator(model).run(None, {"x": x[:n]})[0])
