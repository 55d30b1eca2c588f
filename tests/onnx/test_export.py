"""Models written as ONNX: the checker accepts them, and another runtime computes the same."""

import inspect
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from funcnn import layers, models, ops, residual, serial, tree
from funcnn.combinators import frozen, graph
from funcnn.combinators import parallel as side_by_side
from funcnn.descriptions import describe
from funcnn.initializers import standard_normal as normal
from funcnn.layer import parameterless
from funcnn.onnx import from_onnx, to_onnx

onnxruntime.set_default_logger_severity(3)

IMAGE, COLOURED, ROW, VOLUME = (9, 7, 4), (12, 12, 3), (11, 4), (5, 6, 4, 4)
L = layers
# Each layer with the settings that make a difference, and the shape of an example.
CASES = {
    name: [(getattr(L, name)(), IMAGE), (getattr(L, name)(), (5,))]
    for name in (
        *("relu", "relu6", "selu", "silu", "mish", "softplus", "softsign", "tanh", "sigmoid", "log_sigmoid"),
        *("hard_tanh", "hard_swish", "leaky_relu", "identity"),
    )
} | {
    "leaky_relu": [(L.leaky_relu(0.3), IMAGE)],
    "elu": [(L.elu(0.7), IMAGE)],
    "prelu": [
        (L.prelu(), IMAGE),
        (L.prelu(), (5,)),
        (L.prelu(slope_shape=IMAGE), IMAGE),
        (serial(L.conv2d(3, 3), L.prelu(slope_shape=(5, 1)), L.conv2d(2, 2)), IMAGE),
        (L.prelu(slope_shape=()), IMAGE),
    ],
    "parameter": [
        (graph((L.parameter(IMAGE, value_init=normal), -1), (L.maximum(), -1, 0)), IMAGE),
        (
            graph(
                (L.conv2d(4, 3), -1), (L.parameter((1, 5, 4), value_init=normal), 0), (L.minimum(broadcast=True), 1, 0)
            ),
            IMAGE,
        ),
        (graph((L.parameter((2, 4), value_init=normal), -1), (L.concat(axis=1), 0, -1)), ROW),
        (graph((L.parameter((4, 3), value_init=normal), -1), (L.matmul(), -1, 0)), ROW),
        (graph((L.parameter((9, 4, 3), value_init=normal), -1), (L.matmul(), -1, 0)), IMAGE),
        (graph((L.parameter((9, 5, 7), value_init=normal), -1), (L.matmul(), 0, -1)), IMAGE),
    ],
    "celu": [(L.celu(0.7), IMAGE)],
    "clip": [(L.clip(-0.5, 0.7), IMAGE), (L.clip(upper=0.7), (5,)), (L.clip(), (5,))],
    "hard_sigmoid": [(L.hard_sigmoid(), IMAGE), (L.hard_sigmoid(0.2, 0.4), (5,))],
    "gelu": [(L.gelu(), IMAGE), (L.gelu(approximate=True), IMAGE)],
    "softmax": [(L.softmax(), (5,)), (serial(L.conv2d(3, 3), L.softmax(axis=1)), IMAGE)],
    "log_softmax": [(L.log_softmax(), (5,)), (L.log_softmax(axis=2), IMAGE)],
    "dense": [(L.dense(6), (5,)), (L.dense(6, bias=False), IMAGE)],
    "embedding": [(serial(L.embedding(10, 4), L.flatten()), (3,))],
    "conv1d": [(L.conv1d(5, 3, stride=2, padding="same"), ROW)],
    "conv2d": [
        (L.conv2d(6, 3), IMAGE),
        (L.conv2d(6, (3, 2), stride=(2, 1), padding=((2, 0), (0, 1)), dilation=(1, 2), bias=False), IMAGE),
        (L.conv2d(6, 4, stride=2, padding="same", groups=2), IMAGE),
    ],
    "add": [(graph((L.tanh(), -1), (L.sigmoid(), -1), (L.add(), 0, -1, 1)), IMAGE)],
    "multiply": [(graph((L.conv2d(4, 1), -1), (L.multiply(), 0, -1)), IMAGE)],
    "subtract": [(graph((L.conv2d(4, 1), -1), (L.subtract(), 0, -1)), IMAGE)],
    "divide": [(graph((L.clip(1.0), -1), (L.divide(), -1, 0)), IMAGE)],
    "maximum": [
        (graph((L.conv2d(4, 1), -1), (L.tanh(), -1), (L.maximum(), 0, 1, -1)), IMAGE),
        (graph((L.adaptive_max_pool(1), -1), (L.sigmoid(), 0), (L.maximum(broadcast=True), 1, -1)), IMAGE),
    ],
    "minimum": [(graph((L.tanh(), -1), (L.minimum(), 0, -1)), (5,))],
    "concat": [
        (graph((L.conv2d(2, 1), -1), (L.concat(), 0, -1, 0)), IMAGE),
        (graph((L.max_pool(2), -1), (L.concat(axis=1), 0, 0)), IMAGE),
        (graph((L.flatten(), -1), (L.concat(axis=-1), 0, 0)), ROW),
    ],
    "matmul": [
        (graph((L.crop([(0, 1, 1), (0, 4, 1), (0, 4, 1)]), -1), (L.matmul(broadcast=True), -1, 0)), IMAGE),
        (graph((L.transpose((0, 2, 1)), -1), (L.matmul(), 0, -1)), ROW),
        (graph((L.conv2d(4, 1), -1), (L.transpose((0, 1, 3, 2)), 0), (L.matmul(), 0, 1)), IMAGE),
    ],
    "negative": [(L.negative(), IMAGE), (serial(L.conv2d(3, 3), L.negative()), IMAGE)],
    "erf": [(L.erf(), IMAGE)],
    "exp": [(L.exp(), IMAGE)],
    "log": [(serial(L.softplus(), L.log()), IMAGE)],
    "sqrt": [(serial(L.softplus(), L.sqrt()), IMAGE)],
    "power": [
        (L.power(3), IMAGE),
        (L.power(0), (5,)),
        (serial(L.clip(0.5), L.power(-1.5)), IMAGE),
        (serial(L.clip(0.5), L.power(-1)), IMAGE),
        (L.power([1, 2, 3, 0]), IMAGE),
        (serial(L.conv2d(3, 3), L.power([[[1], [2], [3], [0], [1]]]), L.conv2d(2, 2)), IMAGE),
    ],
    "reduce_sum": [(L.reduce_sum((1, 3)), IMAGE), (serial(L.conv2d(3, 3), L.reduce_sum(1, keepdims=True)), IMAGE)],
    "reduce_mean": [
        (L.reduce_mean((1, 2), keepdims=True), IMAGE),
        (serial(L.conv2d(3, 3), L.reduce_mean(2)), IMAGE),
        (serial(L.conv2d(3, 3), L.reduce_mean((-2, -3))), IMAGE),
    ],
    "reduce_max": [
        (L.reduce_max(()), IMAGE),
        (L.reduce_max((1, -3)), IMAGE),
        (L.reduce_max(-1), IMAGE),
        (serial(L.conv2d(3, 3), L.reduce_max(-1)), IMAGE),
        (serial(L.conv2d(3, 3), L.reduce_max((1, 2, 3))), IMAGE),
        (serial(L.conv3d(3, 2), L.reduce_max((1, 3)), L.conv1d(2, 2)), VOLUME),
    ],
    "reshape": [
        (L.reshape((7, -1)), IMAGE),
        (L.reshape((3, 4, 3, 12)), COLOURED),
        (serial(L.conv2d(4, 3), L.reshape((-1, 2, 2)), L.conv2d(2, 2)), IMAGE),
    ],
    "transpose": [
        (L.transpose((0, 2, 3, 1)), IMAGE),
        (L.transpose((0, 2, 1, 3)), IMAGE),
        (L.transpose((0, 1)), (5,)),
        (serial(L.conv2d(3, 3), L.transpose((0, 3, 1, 2)), L.reduce_sum(2)), IMAGE),
        (serial(L.conv2d(3, 3), L.transpose((0, 2, 1, 3)), L.conv2d(2, 2)), IMAGE),
        (serial(L.transpose((0, 2, 3, 1)), L.conv2d(3, 3)), IMAGE),
    ],
    "broadcast_to": [
        (L.broadcast_to((9, 3, 4)), (9, 1, 4)),
        (serial(L.conv2d(3, 3), L.adaptive_max_pool(1), L.broadcast_to((2, 5, 3)), L.conv2d(2, 2)), IMAGE),
    ],
    "crop": [
        (L.crop([(1, 9, 3), (0, 7, 1), (2, 3, 1)]), IMAGE),
        (serial(L.conv2d(3, 3), L.crop([(1, 6, 2), (0, 4, 1), (0, 2, 1)]), L.conv2d(2, 2)), IMAGE),
        (serial(L.conv2d(3, 3), L.crop([(6, 0, -2), (4, -1, -1), (2, 1, -1)]), L.conv2d(1, 2)), IMAGE),
    ],
    "resize": [
        (L.resize(size, mode=mode, coordinates=coordinates), IMAGE)
        for size in ((18, 21), (4, 10), (1, 7))
        for mode in ("linear", "nearest")
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
    ]
    + [
        # without positions halfway, where a runtime's coordinates of single precision decide
        (L.resize((10, 4), mode="nearest", rounding=rounding), IMAGE)
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ]
    + [
        (L.resize((18, 5), mode="nearest", coordinates="tf_half_pixel_for_nn", rounding="floor"), IMAGE),
        (L.resize((18, 5), coordinates="half_pixel_symmetric"), IMAGE),
        (L.resize((5, 10), factors=(0.6, 1.5)), IMAGE),
        *(
            (L.resize(size, mode=mode, coordinates="tf_crop_and_resize", roi=roi, outside=2.5), IMAGE)
            for mode in ("linear", "nearest")
            for size, roi in (((5, 4), None), ((7, 3), [(0.1, 0.7), (-0.4, 1.3)]), ((6, 1), [(0.9, 0.2), (0.3, 0.8)]))
        ),
        (L.resize(22), ROW),
        (L.resize((10, 3, 4)), VOLUME),
    ],
    "conv3d": [(L.conv3d(3, 2, padding=1), VOLUME)],
    "conv_transpose1d": [(L.conv_transpose1d(5, 3, stride=2, output_padding=1), ROW)],
    "conv_transpose2d": [
        (L.conv_transpose2d(6, 3, stride=2, padding="same"), IMAGE),
        (L.conv_transpose2d(6, 3, padding=((1, 0), (0, 2)), dilation=2, groups=2), IMAGE),
    ],
    "conv_transpose3d": [(L.conv_transpose3d(3, 2, stride=2), VOLUME)],
    "depthwise_conv1d": [(L.depthwise_conv1d(3), ROW)],
    "depthwise_conv2d": [(L.depthwise_conv2d(3, multiplier=2, stride=2, padding=1), IMAGE)],
    "depthwise_conv3d": [(L.depthwise_conv3d(2), VOLUME)],
    "separable_conv1d": [(L.separable_conv1d(5, 3), ROW)],
    "separable_conv2d": [(L.separable_conv2d(5, 3, padding="same"), IMAGE)],
    "separable_conv3d": [(L.separable_conv3d(5, 2), VOLUME)],
    "max_pool": [
        (L.max_pool(2), IMAGE),
        (L.max_pool(3, stride=2, padding=1, ceil_mode=True), COLOURED),
        (L.max_pool((2, 3), stride=1, dilation=2), IMAGE),
        (L.max_pool(2, stride=3, padding=1, dilation=2, ceil_mode=True), IMAGE),
        (L.max_pool(2, padding=((2, 2), (0, 1)), stride=(2, 3), dilation=4), COLOURED),
        (L.max_pool(2), ROW),
    ],
    "avg_pool": [
        (L.avg_pool(2, stride=3, padding=((0, 0), (0, 2))), (9, 8, 4)),
        (L.avg_pool(2), IMAGE),
        (L.avg_pool(3, stride=2, padding=1, ceil_mode=True), COLOURED),
        (L.avg_pool(3, stride=2, padding=1, count_include_pad=True), IMAGE),
    ],
    "global_avg_pool": [(L.global_avg_pool(), IMAGE), (serial(L.conv2d(3, 3), L.global_avg_pool()), IMAGE)],
    "global_max_pool": [(L.global_max_pool(), ROW), (serial(L.conv2d(3, 3), L.global_max_pool()), IMAGE)],
    "adaptive_avg_pool": [(L.adaptive_avg_pool((4, 3)), COLOURED)],
    "adaptive_max_pool": [(L.adaptive_max_pool(2), COLOURED)],
    "batch_norm": [
        (L.batch_norm(), IMAGE),
        (L.batch_norm(), (5,)),
        (serial(L.conv2d(3, 3), L.batch_norm(eps=0.1)), IMAGE),
    ],
    "affine": [
        (L.affine(), IMAGE),
        (serial(L.conv2d(3, 3), L.affine()), IMAGE),
        (L.affine(scale_shape=(IMAGE[1], 1), bias_shape=()), IMAGE),
    ],
    "local_response_norm": [
        (L.local_response_norm(5, alpha=0.5, beta=0.6, k=2.0), IMAGE),
        (serial(L.conv2d(6, 3), L.local_response_norm(1, alpha=0.5)), IMAGE),
    ],
    "layer_norm": [
        (L.layer_norm(), IMAGE),
        (L.layer_norm(axes=(2, 3)), IMAGE),
        (L.layer_norm(), (5,)),
        (L.layer_norm(axes=(1, 3), eps=0.1), IMAGE),
    ],
    "rms_norm": [(L.rms_norm(), IMAGE), (L.rms_norm(axes=(1, 2, 3)), IMAGE)],
    "group_norm": [(L.group_norm(2), IMAGE)],
    "instance_norm": [(L.instance_norm(), IMAGE), (L.instance_norm(eps=0.1), VOLUME)],
    "dropout": [(serial(L.dropout(0.5), L.relu()), IMAGE)],
    "flatten": [(L.flatten(), IMAGE), (serial(L.conv2d(3, 3), L.flatten()), IMAGE)],
    "pad": [
        (L.pad(((1, 2), (0, 3)), value=2.0), IMAGE),
        (L.pad(2, mode="reflect"), IMAGE),
        (L.pad(2, mode="edge"), ROW),
    ],
    "upsample": [(L.upsample((2, 3)), IMAGE), (L.upsample(2), ROW)],
    "depth_to_space": [(L.depth_to_space(2), IMAGE), (L.depth_to_space(2), ROW)],
    "space_to_depth": [(L.space_to_depth(3), COLOURED)],
}
FACTORIES = {name for name in layers.__all__ if inspect.isfunction(getattr(layers, name))}
COMBINATIONS = {
    "residual": (residual(serial(L.conv2d(4, 3, padding=1), L.relu())), IMAGE),
    "residual with a convolution aside": (
        residual(L.conv2d(6, 3, stride=2, padding=1), L.conv2d(6, 1, stride=2)),
        COLOURED,
    ),
    "concatenated": (side_by_side(L.conv2d(2, 3, padding=1), L.identity(), join=ops.concat), IMAGE),
    "multiplied": (serial(side_by_side(L.sigmoid(), L.tanh(), join=ops.multiply), L.flatten()), IMAGE),
    "a crossing graph": (
        graph(
            (L.conv2d(4, 3, padding=1), -1),
            (L.relu(), 0),
            (L.conv2d(4, 3, padding=1), 1),
            (L.batch_norm(), 0),
            (L.add(), 2, 3, 0),
            (L.concat(), 4, -1, 1),
            (L.global_avg_pool(), 5),
        ),
        IMAGE,
    ),
    "frozen": (serial(frozen(serial(L.conv2d(4, 3), L.batch_norm(), L.dropout(0.5))), L.relu(), L.flatten()), IMAGE),
    "a frozen graph": (frozen(graph((L.conv2d(2, 1), -1), (L.concat(), -1, 0))), IMAGE),
    "squeeze and excitation": (
        graph(
            (L.conv2d(6, 3), -1),
            (L.adaptive_avg_pool(1), 0),
            (L.conv2d(2, 1), 1),
            (L.relu(), 2),
            (L.conv2d(6, 1), 3),
            (L.hard_sigmoid(), 4),
            (L.multiply(broadcast=True), 0, 5),
            (L.conv2d(3, 3), 6),
        ),
        IMAGE,
    ),
    "nothing at all": (L.identity(), (5,)),
}
MODELS = {
    "seed_convnet": (models.seed_convnet(), (8, 8, 1)),
    "convnet": (models.convnet(), (8, 8, 1)),
    "mlp": (models.mlp(1), (30,)),
    "described": (models.described(describe(models.mlp(2, hidden=(3,)))), (5,)),
    "lenet5": (models.lenet5(), (28, 28, 1)),
    "vgg": (models.vgg(blocks=((8,), (16, 16)), hidden=(32,)), (16, 16, 3)),
    "resnet": (models.resnet(blocks=(1, 1, 1)), (19, 16, 3)),
    "mobilenet": (models.mobilenet(), (32, 32, 3)),
    "fcn": (models.fcn(channels=(4, 6), kernel_sizes=(8, 5)), (20, 2)),
    "resnet1d": (models.resnet1d(channels=(4, 6, 6)), (20, 2)),
    "inception_time": (models.inception_time(depth=3, channels=4), (20, 1)),
    "ensemble": (models.ensemble({"name": "mlp", "arguments": {"outputs": 3}}, members=3), (5,)),
    "fine_tuned": (
        models.fine_tuned({"name": "convnet", "arguments": {"outputs": 3, "channels": [4]}}, frozen_layers=2),
        (8, 8, 1),
    ),
    "network": (
        models.network([
            {"layer": "conv2d", "arguments": {"features": 4, "kernel_size": 3}},
            {"layer": "crop", "arguments": {"bounds": [(0, 6, 1), (0, 6, 1), (0, 2, 1)]}},
            {"layer": "concat", "sources": [1, 0]},
            {"layer": "reduce_mean", "arguments": {"axes": [1, 2]}},
        ]),
        (8, 8, 1),
    ),
}  # fmt: skip


def trained(model, in_shape):
    """Parameters and state in which nothing is as it was at the start."""
    rng = np.random.default_rng(0)
    params, state, _ = model.init((0,), in_shape)
    state = tree.map(lambda leaf: rng.uniform(0.5, 2, leaf.shape).astype(np.float32), state)
    return tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), params), state


def agree(model, in_shape, **options):
    params, state = trained(model, in_shape)
    proto = to_onnx(model, params, state, in_shape, **options)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    for n in (1, 3):
        ids = session.get_inputs()[0].type == "tensor(int64)"
        x = rng.integers(0, 10, (n, *in_shape)) if ids else rng.normal(0, 2, (n, *in_shape)).astype(np.float32)
        expected = model.forward(params, x, state, train=False)[0]
        (y,) = session.run(None, {"x": x})
        assert y.shape == expected.shape and y.dtype == expected.dtype
        assert np.allclose(y, expected, rtol=1e-5, atol=1e-5 * max(1.0, abs(expected).max()))
    return proto


# Layers that opset 17 has no operator for: the numbers in the formulas that are written come back as parameters.
AS_FORMULAS = {"gelu", "rms_norm", "group_norm"}


def come_back(model, in_shape, proto):
    """Import what was exported, and return whether both have equal parameters, of which the gradients are equal too."""
    params, state = trained(model, in_shape)
    body = from_onnx(proto)
    body_params, body_state, out_shape = body.init((0,), in_shape)
    ids = proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    rng = np.random.default_rng(1)
    x = rng.integers(0, 10, (3, *in_shape)) if ids else rng.normal(0, 2, (3, *in_shape)).astype(np.float32)
    expected, vjp, _ = model.forward(params, x, state, train=False)
    y, body_vjp, _ = body.forward(body_params, x, body_state, train=False)
    assert y.dtype == np.float32 and out_shape == expected.shape[1:]
    assert_close(y, expected)
    (dparams, dx), (body_dparams, body_dx) = (f(np.ones_like(expected)) for f in (vjp, body_vjp))
    if not ids:
        assert_close(body_dx, dx)
    expected_gradients, gradients = gradients_by_leaf(params, dparams), gradients_by_leaf(body_params, body_dparams)
    if gradients.keys() != expected_gradients.keys():
        return False
    for leaf, gradient in gradients.items():
        assert_close(gradient, expected_gradients[leaf])
    return True


def gradients_by_leaf(params, dparams):
    """Return the gradients by the numbers of the leaves: their paths and the order of the paths are the layers'."""
    leaves = [leaf.tobytes() for leaf in tree.leaves(params)]
    return dict(zip(leaves, (gradient.ravel() for gradient in tree.leaves(dparams)), strict=True))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * max(1.0, abs(expected).max(initial=0)))


def test_every_layer_has_its_cases():
    assert set(CASES) == FACTORIES


EVERY_CASE = [pytest.param(*case, id=f"{name}-{i}") for name in CASES for i, case in enumerate(CASES[name])]


@pytest.mark.parametrize(("layer", "in_shape"), EVERY_CASE)
def test_layer(layer, in_shape):
    proto = agree(layer, in_shape, fold=False)
    as_formula = layer.name in AS_FORMULAS or (layer.name == "layer_norm" and layer.forward.options["axes"] == (1, 3))
    assert come_back(layer, in_shape, proto) == (not as_formula)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combination(name):
    model, in_shape = COMBINATIONS[name]
    proto = agree(model, in_shape)
    assert come_back(model, in_shape, proto) == ("frozen" not in name)  # frozen parameters come back as parameters


def test_every_model_is_there():
    assert set(MODELS) == set(models.__all__)


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    model, in_shape = MODELS[name]
    proto = agree(model, in_shape, fold=False)
    assert proto.opset_import[0].version == 17 and proto.producer_name == "funcnn"
    assert come_back(model, in_shape, proto) == (name != "fine_tuned")  # frozen parameters come back as parameters
    agree(from_onnx(proto), in_shape)
    # one of a shortcut, or of joined branches, has no convolution of its own before it
    alone = {"inception_time": 3, "resnet1d": 1}.get(name, 0)
    operators = [node.op_type for node in agree(model, in_shape).graph.node]
    assert operators.count("BatchNormalization") == alone


def test_a_network_of_padded_series():
    model = models.inception_time(3, depth=3, channels=4, kernel_sizes=(8, 4), multivariate=True, masked=True)
    params, state = trained(model, (20, 3))
    x = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
    x[..., 0] = np.arange(20) < [[20], [19], [7], [1]]
    x *= x[..., :1]
    proto = to_onnx(model, params, state, (20, 3))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = model.forward(params, x, state, train=False)[0]
    assert_close(session.run(None, {"x": x})[0], expected)
    body = from_onnx(proto)
    body_params, body_state, _ = body.init((0,), (20, 3))
    assert_close(body.forward(body_params, x, body_state, train=False)[0], expected)


def test_a_convolutional_network_is_transposed_twice():
    params, state = trained(models.convnet(), (8, 8, 1))
    nodes = to_onnx(models.convnet(), params, state, (8, 8, 1)).graph.node
    assert [node.op_type for node in nodes].count("Transpose") == 2
    assert {node.name.split("#")[0] for node in nodes} >= {"0_conv2d", "8_dense"}


def test_scaling_probabilities_and_metadata():
    model = models.convnet()
    params, state = trained(model, (8, 8, 1))
    proto = to_onnx(
        model, params, state, (8, 8, 1), offset=3.0, scale=2.0, probabilities=True, metadata={"classes": "a,b"}
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(0, 1, (4, 8, 8, 1)).astype(np.float32)
    logits = model.forward(params, (x - 3) / 2, state, train=False)[0]
    assert np.allclose(session.run(None, {"x": x})[0], ops.softmax(logits)[0], atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map == {"classes": "a,b"}
    body = from_onnx(proto)
    body_params, body_state, _ = body.init((0,), (8, 8, 1))
    assert_close(body.forward(body_params, x, body_state, train=False)[0], ops.softmax(logits)[0])


@pytest.mark.parametrize(
    ("layer", "words", "path"),
    [
        (parameterless("mine", lambda x: ops.relu(x)), "mine: cannot be exported to ONNX", "0_serial / 1_mine"),
        (L.pad(1, mode="wrap"), "needs ONNX opset 19 or later, not 17", "0_serial / 1_pad"),
        (L.adaptive_avg_pool(2), r"size \(2, 2\) does not divide \(9, 7\)", "0_serial / 1_adaptive_avg_pool"),
        (
            L.avg_pool(2, count_include_pad=True, ceil_mode=True),
            "count_include_pad and ceil_mode cannot be exported",
            "0_serial / 1_avg_pool",
        ),
        (L.avg_pool(2, dilation=(1, 2)), r"dilation \(1, 2\) needs ONNX opset 19", "0_serial / 1_avg_pool"),
        (
            L.resize(4, factors=(0.4, 0.4)),
            r"resize: in ONNX, \(9, 7\) by the factors \(0.4, 0.4\)",
            "0_serial / 1_resize",
        ),
        (
            L.resize(4, factors=(0.45, 0.6), coordinates="half_pixel_symmetric"),
            "coordinates 'half_pixel_symmetric' are not in ONNX opset 17",
            "0_serial / 1_resize",
        ),
        (L.local_response_norm(4), r"an odd size, not \(9, 7\) and 4", "0_serial / 1_local_response_norm"),
        (L.pad((9, 6), mode="reflect"), r"less than the size \(9, 7\)", "0_serial / 1_pad"),
        (side_by_side(L.relu(), join=lambda x: ops.relu(x)), "with the join", "0_serial / 1_parallel"),
    ],
    ids=[
        "unknown op",
        "wrap",
        "uneven",
        "ceil_mode",
        "dilation",
        "factors",
        "coordinates",
        "channels",
        "reflect",
        "join",
    ],
)
def test_what_cannot_be_written_is_named(layer, words, path):
    model = serial(serial(L.relu(), layer))
    params, state, _ = model.init((0,), IMAGE)
    with pytest.raises(ValueError, match=words) as error:
        to_onnx(model, params, state, IMAGE)
    assert error.value.__notes__ == [f"in layer {path}"]


def test_feature_maps_of_an_exported_model_come_back_channels_last():
    model, in_shape = MODELS["convnet"]
    params, state = trained(model, in_shape)
    body = from_onnx(to_onnx(model, params, state, in_shape), output="0_conv2d#2")  # after a transposition
    body_params, body_state, out_shape = body.init((0,), in_shape)
    x = np.random.default_rng(0).normal(0, 1, (2, *in_shape)).astype(np.float32)
    expected, _ = ops.conv(params["0_conv2d"], x, padding="same")
    assert out_shape == (8, 8, 32)
    assert_close(body.forward(body_params, x, body_state, train=False)[0], expected)


def test_ids_are_not_scaled():
    model = layers.embedding(5, 3)
    params, state, _ = model.init((0,), (4,))
    with pytest.raises(ValueError, match="offset and scale are for inputs of floats"):
        to_onnx(model, params, state, (4,), offset=1.0)


def test_parameters_and_shapes_that_do_not_fit_are_the_layers_errors():
    model = serial(layers.flatten(), layers.dense(3))
    params, state, _ = model.init((0,), (2, 2, 1))
    with pytest.raises(ValueError, match="serial: params must have exactly the keys"):
        to_onnx(model, {}, state, (2, 2, 1))
    with pytest.raises(ValueError) as raised:
        to_onnx(model, params, state, (3, 2, 1))
    assert raised.value.__notes__ == ["in layer 1_dense"]


def test_without_onnx_the_error_names_the_extra():
    probe = "import sys; sys.modules['onnx'] = None; from funcnn.onnx import to_onnx"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert run.returncode == 1 and last.startswith("ImportError: funcnn.onnx needs onnx: pip install 'funcnn[onnx]'")


def test_bounds_and_fill_values_are_scalars():
    """As the specification has them; tract refuses arrays of one number."""
    model = serial(layers.clip(lower=-0.5, upper=0.5), layers.relu6(), layers.pad(1, value=0.25))
    params, state, _ = model.init((0,), (4, 4, 1))
    graph = to_onnx(model, params, state, (4, 4, 1)).graph
    dims = {constant.name: list(constant.dims) for constant in graph.initializer}
    scalars = [name for node in graph.node for name in node.input[1 if node.op_type == "Clip" else 2 :]]
    assert len(scalars) == 5 and all(dims[name] == [] for name in scalars)


@pytest.mark.parametrize(("name", "shape"), [("offset", (3,)), ("scale", (5, 4, 4, 1)), ("scale", (1, 4, 4, 1))])
def test_a_scaling_that_does_not_fit_is_refused(name, shape):
    model = layers.relu()
    with pytest.raises(ValueError, match=rf"{name} of shape \({shape[0]},.* does not broadcast to .* \(4, 4, 1\)"):
        to_onnx(model, {}, {}, (4, 4, 1), **{name: np.ones(shape)})
