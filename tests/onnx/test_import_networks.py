"""Networks through `from_onnx`: the same numbers as ONNX's runtime, and gradients that are proven.

Weights, statistics and inputs are random, and outputs are taken before a softmax, so that a wrong layer is seen.
"""

import itertools
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from imported import assert_agrees, channels_last, model_of, run
from onnx import helper, numpy_helper

from funcnn import tree
from funcnn.onnx import from_onnx
from funcnn.onnx.importer import import_network
from funcnn.testing import check_layer

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


class Writer:
    """Writes a network of nodes with random weights, each method returning the name of its output."""

    def __init__(self, seed=0):
        self.nodes, self.constants, self.rng, self.count = [], {}, np.random.default_rng(seed), itertools.count()

    def constant(self, array):
        name = f"c{next(self.count)}"
        self.constants[name] = np.asarray(array)
        return name

    def random(self, *shape, scale=1.0, shift=0.0):
        return self.constant((self.rng.standard_normal(shape) * scale + shift).astype(np.float32))

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"v{next(self.count)}" for _ in range(outputs)]
        inputs = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, channels, features, size=3, stride=1, groups=1, bias=True):
        weights = self.random(
            features, channels // groups, size, size, scale=1 / math.sqrt(channels / groups * size**2)
        )
        more = [self.random(features)] if bias else []
        pads = [size // 2] * 4
        return self.node(
            "Conv", x, weights, *more, pads=pads, strides=[stride] * 2, group=groups, kernel_shape=[size] * 2
        )

    def norm(self, x, channels):
        mean, bias = self.random(channels), self.random(channels)
        scale, var = (self.constant(self.rng.uniform(0.5, 2, channels).astype(np.float32)) for _ in range(2))
        return self.node("BatchNormalization", x, scale, bias, mean, var, epsilon=1e-3)

    def conv_norm_relu(self, x, channels, features, **options):
        return self.node("Relu", self.norm(self.conv(x, channels, features, bias=False, **options), features))

    def linear(self, x, inputs, outputs):
        return self.node("Gemm", x, self.random(outputs, inputs, scale=inputs**-0.5), self.random(outputs), transB=1)

    def model(self, output, shape, **options):
        return model_of(self.nodes, {"x": ["N", *shape]}, [output], self.constants, **options)


def resnet_block(w):
    x = w.conv_norm_relu("x", 3, 8)
    body = w.norm(w.conv(w.conv_norm_relu(x, 8, 12, stride=2), 12, 12), 12)
    shortcut = w.norm(w.conv(x, 8, 12, size=1, stride=2), 12)
    x = w.node("Relu", w.node("Add", body, shortcut))
    x = w.node("Relu", w.node("Add", w.norm(w.conv(x, 12, 12), 12), x))
    return w.linear(w.node("Flatten", w.node("GlobalAveragePool", x)), 12, 4)


def squeeze_and_excitation(w):
    """As MobileNetV3 has it, with a mean that is reduced, and HardSwish written out."""
    x = w.conv("x", 3, 8)
    x = w.node(
        "Mul",
        x,
        w.node("Div", w.node("Clip", w.node("Add", x, np.float32(3)), np.float32(0), np.float32(6)), np.float32(6)),
    )
    s = w.node("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = w.conv(w.node("Relu", w.conv(s, 8, 4, size=1)), 4, 8, size=1)
    return w.node("Mul", w.node("HardSigmoid", s, alpha=1 / 6, beta=0.5), x)


def feature_pyramid(w):
    fine = w.conv_norm_relu("x", 3, 6)
    coarse = w.conv_norm_relu(fine, 6, 8, stride=2)
    sizes = w.node("Shape", fine)
    size = w.node(
        "Concat", w.node("Slice", w.node("Shape", coarse), [0], [2], [0]), w.node("Slice", sizes, [2], [4], [0]), axis=0
    )
    lateral = w.conv(fine, 6, 8, size=1)
    up = w.node("Resize", coarse, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    merged = w.node("Add", lateral, up)
    nearest = w.node(
        "Resize",
        coarse,
        "",
        np.float32([1, 1, 2, 2]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return w.conv(w.node("Concat", merged, nearest, axis=1), 16, 5)


def depthwise(w):
    x = w.node("Clip", w.conv("x", 3, 6), np.float32(0), np.float32(6))
    x = w.conv_norm_relu(x, 6, 6, groups=6, stride=2)
    x = w.conv(x, 6, 12, groups=3)
    return w.conv(w.node("LeakyRelu", x, alpha=0.1), 12, 4, size=1)


def dense_block(w):
    x, channels = w.conv("x", 3, 6), 6
    for _ in range(3):
        y = w.conv(w.node("Relu", w.norm(x, channels)), channels, 4, bias=False)
        x, channels = w.node("Concat", x, y, axis=1), channels + 4
    x = w.node("AveragePool", w.conv_norm_relu(x, channels, 8, size=1), kernel_shape=[2, 2], strides=[2, 2])
    return w.linear(w.node("Reshape", w.node("ReduceMean", x, axes=[2, 3], keepdims=0), [-1, 8]), 8, 5)


def inception(w):
    branches = [
        w.conv_norm_relu("x", 3, 4, size=1),
        w.conv_norm_relu(w.conv_norm_relu("x", 3, 3, size=1), 3, 5),
        w.conv_norm_relu("x", 3, 2, size=5),
        w.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
        w.node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], count_include_pad=1),
    ]
    x = w.node("Concat", *branches, axis=1)
    x = w.node("LRN", x, size=5, alpha=0.1, beta=0.75, bias=1.0)
    return w.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def channel_shuffle(w):
    x = w.conv("x", 3, 12)
    first, second = w.node("Split", x, [6, 6], axis=1, outputs=2)
    x = w.node("Concat", first, w.conv_norm_relu(second, 6, 6), axis=1)
    batch = w.node("Gather", w.node("Shape", x), np.int64(0), axis=0)
    split = w.node("Concat", w.node("Unsqueeze", batch, [0]), np.array([2, 6, 6, 8]), axis=0)
    x = w.node("Transpose", w.node("Reshape", x, split), perm=[0, 2, 1, 3, 4])
    joined = w.node("Concat", w.node("Unsqueeze", batch, [0]), np.array([12, 6, 8]), axis=0)
    return w.conv(w.node("Reshape", x, joined), 12, 4, groups=2)


def flattened_map(w):
    """A map that is not square, flattened before two dense layers, with arithmetic on the flat row."""
    x = w.node("Flatten", w.conv_norm_relu("x", 3, 5, stride=2))
    x = w.node("Mul", w.node("Add", x, w.random(60)), w.random(60))
    x = w.node("Relu", w.linear(x, 60, 7))
    return w.node("MatMul", w.node("Dropout", x), w.random(7, 3))


def unet(w):
    """Transposed convolution, padding to the size of what is joined, PyTorch's Pad and crop by Slice."""
    fine = w.conv("x", 3, 4)
    coarse = w.node("MaxPool", w.node("Elu", fine), kernel_shape=[2, 2], strides=[2, 2])
    up = w.node("ConvTranspose", coarse, w.random(4, 3, 3, 3, scale=0.3), w.random(3), strides=[2, 2], pads=[1] * 4)
    up = w.node("Pad", up, [0, 0, 1, 0, 0, 0, 0, 1], mode="reflect")
    x = w.node("Concat", fine, up, axis=1)
    x = w.node("PRelu", x, w.random(7, 1, 1))
    return w.node("Slice", w.conv(x, 7, 4), [1, 0], [-1, 2**31 - 1], [2, 3], [1, 2])


def decomposed_norms(w):
    """Batch normalisation that an exporter wrote as arithmetic, and a scale and shift behind a convolution."""
    x = w.node("Sub", w.conv("x", 3, 6), w.random(6, 1, 1))
    x = w.node("Mul", w.node("Div", x, w.random(1, 6, 1, 1, scale=0.1, shift=2)), w.random(6, 1, 1))
    x = w.node("Add", x, w.random(6, 1, 1))
    x = w.node("InstanceNormalization", x, w.random(6), w.random(6))
    mean = w.node("ReduceMean", x, axes=[1], keepdims=1)
    centred = w.node("Sub", x, mean)
    var = w.node("ReduceMean", w.node("Pow", centred, np.float32(2)), axes=[1], keepdims=1)
    x = w.node("Div", centred, w.node("Sqrt", w.node("Add", var, np.float32(1e-3))))
    return w.node("Add", w.node("Mul", x, w.random(6, 1, 1)), w.random(6, 1, 1))


def attention(w):
    """One head over the positions of a map, as a transformer reads an image."""
    x = w.conv("x", 3, 8, size=1)
    x = w.node("Transpose", w.node("Reshape", x, [0, 8, -1]), perm=[0, 2, 1])
    y = w.node("LayerNormalization", x, w.random(8), w.random(8), axis=-1)
    q, k, v = (w.node("Add", w.node("MatMul", y, w.random(8, 8, scale=0.3)), w.random(8)) for _ in range(3))
    scores = w.node("Div", w.node("MatMul", q, w.node("Transpose", k, perm=[0, 2, 1])), np.float32(math.sqrt(8)))
    x = w.node("Add", x, w.node("MatMul", w.node("Softmax", scores, axis=-1), v))
    return w.linear(w.node("ReduceMean", x, axes=[1], keepdims=0), 8, 3)


NETWORKS = [
    resnet_block,
    squeeze_and_excitation,
    feature_pyramid,
    depthwise,
    dense_block,
    inception,
    channel_shuffle,
    flattened_map,
    unet,
    decomposed_norms,
    attention,
]
SHAPE = 3, 6, 8


@cache
def network(build):
    writer = Writer()
    return writer.model(build(writer), SHAPE)


def onnx_runs(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_network_agrees_with_onnxruntime(build):
    for n in (1, 3):
        x = np.random.default_rng(n).standard_normal((n, *SHAPE)).astype(np.float32)
        expected = onnx_runs(network(build), x)
        assert np.ptp(expected) > 0.1
        assert_agrees(run(network(build), x), expected)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_network_is_differentiated_by_complex_step(build):
    layer = from_onnx(network(build))

    def init(key, in_shape):
        params, state, shape = layer.init(key, in_shape)
        return tree.map(np.float64, params), tree.map(np.float64, state), shape

    check_layer(layer._replace(init=init), (6, 8, 3), rtol=1e-10)


def with_random_weights(name):
    """Return a network of the wheel, whose weights are all one number, with random ones, and what is before a softmax."""
    model = onnx.load(DATA / "light" / f"light_{name}.onnx")
    rng = np.random.default_rng(0)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "ConstantOfShape":
            shape = shapes[node.input[0]]
            w = rng.standard_normal(shape).astype(np.float32)
            # convolutions and matrices keep the spread of what they are given; variances are positive
            w = np.abs(w) * 0.5 + 0.5 if len(shape) == 1 else w * np.sqrt(2 / (w.size / min(shape[:2])))
            model.graph.initializer.append(numpy_helper.from_array(w.astype(np.float32), node.output[0]))
            model.graph.node.remove(node)
    last = model.graph.node[-1]
    output = last.input[0] if last.op_type == "Softmax" else last.output[0]
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=output))
    return model


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_network_of_the_wheel(name):
    model = with_random_weights(name)
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    expected = onnx_runs(model, x)
    assert np.ptp(expected) > 0.1
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
