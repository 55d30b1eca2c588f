"""Models written as ONNX: the checker accepts them, and another runtime computes the same."""

import inspect
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from funcnn import layers, models, ops, residual, serial, tree
from funcnn.combinators import frozen, graph
from funcnn.combinators import parallel as side_by_side
from funcnn.layer import parameterless
from funcnn.onnx import to_onnx

onnxruntime.set_default_logger_severity(3)

IMAGE, COLOURED, ROW, VOLUME = (9, 7, 4), (12, 12, 3), (11, 4), (5, 6, 4, 4)
L = layers
# Each layer with the settings that make a difference, and the shape of an example.
CASES = {
    name: [(getattr(L, name)(), IMAGE), (getattr(L, name)(), (5,))]
    for name in (
        *("relu", "prelu", "relu6", "selu", "silu", "mish", "softplus", "softsign", "tanh", "sigmoid", "log_sigmoid"),
        *("hard_tanh", "hard_swish", "leaky_relu", "identity"),
    )
} | {
    "leaky_relu": [(L.leaky_relu(0.3), IMAGE)],
    "elu": [(L.elu(0.7), IMAGE)],
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
    "batch_norm": [(L.batch_norm(), IMAGE), (serial(L.conv2d(3, 3), L.batch_norm(eps=0.1)), IMAGE)],
    "channel_affine": [(L.channel_affine(), IMAGE), (serial(L.conv2d(3, 3), L.channel_affine()), IMAGE)],
    "local_response_norm": [
        (L.local_response_norm(5, alpha=0.5, beta=0.6, k=2.0), IMAGE),
        (serial(L.conv2d(6, 3), L.local_response_norm(1, alpha=0.5)), IMAGE),
    ],
    "layer_norm": [(L.layer_norm(), IMAGE), (L.layer_norm(axes=(1, 3), eps=0.1), IMAGE)],
    "rms_norm": [(L.rms_norm(), IMAGE), (L.rms_norm(axes=(1, 2, 3)), IMAGE)],
    "group_norm": [(L.group_norm(2), IMAGE)],
    "instance_norm": [(L.instance_norm(), IMAGE)],
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
    "lenet5": (models.lenet5(), (28, 28, 1)),
    "vgg": (models.vgg(blocks=((8,), (16, 16)), hidden=(32,)), (16, 16, 3)),
    "resnet": (models.resnet(blocks=(1, 1, 1)), (19, 16, 3)),
    "mobilenet": (models.mobilenet(), (32, 32, 3)),
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


def test_every_layer_has_its_cases():
    assert set(CASES) == FACTORIES


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [pytest.param(*case, id=f"{name}-{i}") for name in CASES for i, case in enumerate(CASES[name])],
)
def test_layer(layer, in_shape):
    agree(layer, in_shape)


@pytest.mark.parametrize(("model", "in_shape"), COMBINATIONS.values(), ids=COMBINATIONS)
def test_combination(model, in_shape):
    agree(model, in_shape)


def test_every_model_is_there():
    assert set(MODELS) == set(models.__all__)


@pytest.mark.parametrize(("model", "in_shape"), MODELS.values(), ids=MODELS)
def test_model(model, in_shape):
    proto = agree(model, in_shape)
    assert proto.opset_import[0].version == 17 and proto.producer_name == "funcnn"


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
        (L.local_response_norm(4), r"an odd size, not \(9, 7\) and 4", "0_serial / 1_local_response_norm"),
        (L.pad((9, 6), mode="reflect"), r"less than the size \(9, 7\)", "0_serial / 1_pad"),
        (side_by_side(L.relu(), join=lambda x: ops.relu(x)), "with the join", "0_serial / 1_parallel"),
    ],
    ids=["unknown op", "wrap", "uneven", "ceil_mode", "dilation", "channels", "reflect", "join"],
)
def test_what_cannot_be_written_is_named(layer, words, path):
    model = serial(serial(L.relu(), layer))
    params, state, _ = model.init((0,), IMAGE)
    with pytest.raises(ValueError, match=words) as error:
        to_onnx(model, params, state, IMAGE)
    assert error.value.__notes__ == [f"in layer {path}"]


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
