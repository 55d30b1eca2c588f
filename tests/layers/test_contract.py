"""What every layer promises: a new one joins by adding its line, and cannot be public without one."""

import inspect

import numpy as np
import pytest
from arrays import normal

from funcnn import initializers, layers, ops
from funcnn.combinators import serial
from funcnn.layers import conv2d, dense, dropout, flatten, max_pool, relu, tanh
from funcnn.testing import check_layer

IMAGE = (5, 6, 4)


def of_positive(layer):
    """The layer on positive numbers."""
    return serial(layers.exp(), layer)._replace(name=layer.name)


LAYERS = {
    "add": [
        (layers.add(), (IMAGE, IMAGE, IMAGE)),
        (layers.add(), ((4,),)),
        (layers.add(broadcast=True), (IMAGE, (1, 1, 4))),
    ],
    "concat": [(layers.concat(), (IMAGE, (5, 6, 1))), (layers.concat(axis=1), ((2, 3), (1, 3), (4, 3)))],
    "multiply": [(layers.multiply(), (IMAGE, IMAGE)), (layers.multiply(broadcast=True), (IMAGE, (1, 1, 4), (5, 1, 1)))],
    "divide": [(layers.divide(), (IMAGE, IMAGE)), (layers.divide(broadcast=True), (IMAGE, (1, 6, 1)))],
    "maximum": [(layers.maximum(), (IMAGE, IMAGE)), (layers.maximum(broadcast=True), ((4, 1), (1, 3), (4, 3)))],
    "minimum": [(layers.minimum(), (IMAGE, IMAGE)), (layers.minimum(broadcast=True), ((4, 1), (1, 3)))],
    "subtract": [(layers.subtract(), (IMAGE, IMAGE)), (layers.subtract(broadcast=True), ((1, 1, 4), IMAGE))],
    "avg_pool": [(layers.avg_pool(2), IMAGE), (layers.avg_pool(3, stride=2, padding=1, count_include_pad=True), IMAGE)],
    "conv1d": [
        (layers.conv1d(3, 3, bias=False), (7, 2)),
        (layers.conv1d(4, 2, stride=2, groups=2, padding="same"), (7, 2)),
    ],
    "conv2d": [(conv2d(3, 3), IMAGE), (conv2d(4, (2, 3), stride=2, padding=1, dilation=(2, 1), groups=4), IMAGE)],
    "conv3d": [(layers.conv3d(2, 2), (3, 3, 2, 2)), (layers.conv3d(2, (1, 2, 2), groups=2), (3, 3, 2, 2))],
    "dense": [
        (dense(4), (6,)),
        (dense(4, w_init=initializers.lecun_normal, b_init=initializers.ones), (3, 6)),
        (dense(4, bias=False), (6,)),
    ],
    "dropout": [(dropout(0.5), IMAGE), (dropout(0.5, shared_axes=(1, 2)), IMAGE), (dropout(0.0), IMAGE)],
    "flatten": [(flatten(), IMAGE), (flatten(), (3,))],
    "global_avg_pool": [(layers.global_avg_pool(), IMAGE)],
    "global_max_pool": [(layers.global_max_pool(), IMAGE)],
    "identity": [(layers.identity(), IMAGE)],
    "leaky_relu": [(layers.leaky_relu(), IMAGE), (layers.leaky_relu(0.3), (4,))],
    "log_softmax": [(layers.log_softmax(), (4,)), (layers.log_softmax(axis=1), IMAGE)],
    "max_pool": [(max_pool(2), IMAGE), (max_pool(3, stride=1, padding=1), IMAGE), (max_pool(2, ceil_mode=True), IMAGE)],
    "relu": [(relu(), IMAGE)],
    "sigmoid": [(layers.sigmoid(), IMAGE)],
    "softmax": [(layers.softmax(), (4,)), (layers.softmax(axis=1), IMAGE)],
    "relu6": [(layers.relu6(), IMAGE)],
    "hard_tanh": [(layers.hard_tanh(), IMAGE)],
    "hard_sigmoid": [(layers.hard_sigmoid(), IMAGE), (layers.hard_sigmoid(0.3, 0.4), IMAGE)],
    "clip": [(layers.clip(-0.6, 0.9), IMAGE), (layers.clip(upper=0.9), (4,))],
    "hard_swish": [(layers.hard_swish(), IMAGE)],
    "selu": [(layers.selu(), IMAGE)],
    "silu": [(layers.silu(), IMAGE)],
    "mish": [(layers.mish(), IMAGE)],
    "softplus": [(layers.softplus(), IMAGE)],
    "softsign": [(layers.softsign(), IMAGE)],
    "log_sigmoid": [(layers.log_sigmoid(), IMAGE)],
    "elu": [(layers.elu(), IMAGE), (layers.elu(0.5), IMAGE)],
    "celu": [(layers.celu(), IMAGE), (layers.celu(0.5), IMAGE)],
    "gelu": [(layers.gelu(), IMAGE), (layers.gelu(approximate=True), IMAGE)],
    "pad": [(layers.pad(1), IMAGE), (layers.pad(((1, 2), (3, 0)), mode="wrap"), IMAGE)],
    "upsample": [(layers.upsample(2), IMAGE), (layers.upsample((1, 3)), IMAGE)],
    "depth_to_space": [(layers.depth_to_space(2), IMAGE), (layers.depth_to_space((1, 2)), IMAGE)],
    "space_to_depth": [(layers.space_to_depth((5, 2)), IMAGE)],
    "prelu": [
        (layers.prelu(), IMAGE),
        (layers.prelu(slope_shape=(5, 1, 4)), IMAGE),
        (layers.prelu(initial_slope=0.1), (4,)),
    ],
    "parameter": [(layers.parameter((2, 3)), IMAGE), (layers.parameter((), value_init=initializers.ones), (4,))],
    "tanh": [(tanh(), IMAGE)],
    "conv_transpose1d": [(layers.conv_transpose1d(3, 3, stride=2, output_padding=1), (4, 2))],
    "conv_transpose2d": [
        (layers.conv_transpose2d(3, 3), IMAGE),
        (layers.conv_transpose2d(6, (2, 3), stride=2, padding=1, dilation=(2, 1), groups=2), IMAGE),
        (layers.conv_transpose2d(3, 3, stride=2, padding="same", bias=False), IMAGE),
    ],
    "conv_transpose3d": [(layers.conv_transpose3d(2, (1, 2, 2), stride=(1, 2, 1), groups=2), (3, 3, 2, 2))],
    "depthwise_conv1d": [(layers.depthwise_conv1d(3), (7, 2))],
    "depthwise_conv2d": [
        (layers.depthwise_conv2d(3, multiplier=2, stride=2, padding="same"), IMAGE),
        (layers.depthwise_conv2d((2, 1), dilation=2, bias=False), IMAGE),
    ],
    "depthwise_conv3d": [(layers.depthwise_conv3d((2, 1, 2)), (3, 3, 2, 2))],
    "separable_conv1d": [(layers.separable_conv1d(3, 3), (7, 2))],
    "separable_conv2d": [
        (layers.separable_conv2d(3, 3, padding="same"), IMAGE),
        (layers.separable_conv2d(3, 3, multiplier=2, stride=2, bias=False), IMAGE),
    ],
    "separable_conv3d": [(layers.separable_conv3d(3, (1, 2, 2)), (3, 3, 2, 2))],
    "adaptive_avg_pool": [(layers.adaptive_avg_pool((2, 4)), IMAGE), (layers.adaptive_avg_pool(7), IMAGE)],
    "adaptive_max_pool": [(layers.adaptive_max_pool((2, 4)), IMAGE), (layers.adaptive_max_pool(7), IMAGE)],
    "batch_norm": [(layers.batch_norm(), IMAGE), (layers.batch_norm(decay=0.5, eps=0.1), (4,))],
    "local_response_norm": [(layers.local_response_norm(3, alpha=0.5), IMAGE), (layers.local_response_norm(9), (4,))],
    "group_norm": [(layers.group_norm(2), IMAGE), (layers.group_norm(2, eps=0.1), (4,))],
    "instance_norm": [(layers.instance_norm(), IMAGE), (layers.instance_norm(eps=0.1), (3, 2, 2, 2))],
    "layer_norm": [(layers.layer_norm(), IMAGE), (layers.layer_norm(axes=(1, 3), eps=0.1), IMAGE)],
    "rms_norm": [(layers.rms_norm(), IMAGE), (layers.rms_norm(axes=(1, 2, 3), eps=0.1), IMAGE)],
    "affine": [(layers.affine(), IMAGE), (layers.affine(scale_shape=(6, 1), bias_shape=False), IMAGE)],
    "matmul": [
        (layers.matmul(), ((3, 4), (4, 2))),
        (layers.matmul(broadcast=True), ((2, 1, 3, 4), (1, 5, 4, 2))),
    ],
    "broadcast_to": [(layers.broadcast_to((5, 6, 4)), (5, 1, 4))],
    "crop": [(layers.crop([(1, 5, 2), (5, -1, -2), (2, 3, 1)]), IMAGE)],
    "erf": [(layers.erf(), IMAGE)],
    "exp": [(layers.exp(), IMAGE)],
    "log": [(of_positive(layers.log()), IMAGE)],
    "negative": [(layers.negative(), IMAGE)],
    "power": [(layers.power(2), IMAGE)],
    "reduce_max": [(layers.reduce_max((1, 2)), IMAGE)],
    "reduce_mean": [(layers.reduce_mean(-1, keepdims=True), IMAGE)],
    "reduce_sum": [(layers.reduce_sum((1, 3)), IMAGE)],
    "reshape": [(layers.reshape((3, -1)), IMAGE)],
    "resize": [(layers.resize((7, 3)), IMAGE), (layers.resize(4, mode="nearest"), IMAGE)],
    "sqrt": [(of_positive(layers.sqrt()), IMAGE)],
    "transpose": [(layers.transpose((0, 3, 1, 2)), IMAGE)],
}
OF_IDS = {"embedding"}  # its inputs are integers: see test_embedding
EVERY = [(name, layer, shape) for name, cases in LAYERS.items() for layer, shape in cases]
# One example without positions gives batch_norm nothing to take statistics of.
FOR_ONE_EXAMPLE = [case for case in EVERY if not (case[0] == "batch_norm" and len(case[2]) == 1)]


def test_every_public_layer_is_here():
    assert sorted([*LAYERS, *OF_IDS]) == sorted(layers.__all__)


@pytest.mark.parametrize(("name", "layer", "in_shape"), EVERY)
def test_contract(name, layer, in_shape):
    assert layer.name == name
    check_layer(layer, in_shape, strict=True)


@pytest.mark.parametrize(("name", "layer", "in_shape"), FOR_ONE_EXAMPLE)
def test_contract_for_one_example(name, layer, in_shape):
    check_layer(layer, in_shape, batch=1, strict=True)


def test_there_is_a_layer_for_each_op():
    # conv is conv1d, conv2d and conv3d, and its adjoint likewise
    not_layers = {"conv", "conv_transpose"}
    assert set(ops.__all__) - not_layers <= set(layers.__all__)


def test_layers_are_the_ops():
    x = normal(2, *IMAGE)
    layer = conv2d(4, 3, stride=2, padding=1, groups=2)
    params, state, _ = layer.init((0,), IMAGE)
    y, vjp, _ = layer.forward(params, x, state, train=True)
    y2, vjp2 = ops.conv(params, x, stride=2, padding=1, groups=2)
    assert np.array_equal(y, y2)
    assert np.array_equal(vjp(y)[0]["w"], vjp2(y)[0]["w"])


@pytest.mark.parametrize("name", sorted(set(ops.__all__) & set(layers.__all__)))
def test_a_layers_options_have_the_defaults_of_its_op(name):
    of_op, of_layer = (inspect.signature(getattr(module, name)).parameters for module in (ops, layers))
    for option in of_op.keys() & of_layer.keys():
        assert of_layer[option].default == of_op[option].default


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dense(0), ValueError, "features must be at least 1, got 0"),
        (lambda: dense(2.5), TypeError, "features must be an int, not 2.5"),
        (lambda: conv2d(0, 3), ValueError, "features must be at least 1"),
        (lambda: conv2d(4, 0), ValueError, "kernel_size must be at least 1, got 0"),
        (lambda: conv2d(4, (3, 3, 3)), ValueError, r"kernel_size \(3, 3, 3\) has 3 entries, not 2"),
        (lambda: conv2d(4, 1.5), TypeError, "kernel_size must be an int or a tuple of 2 ints, not 1.5"),
        (
            lambda: conv2d(4, 3).init((0,), (64,)),
            ValueError,
            r"examples must be of shape \(height, width, channels\), got .*\(64,\)",
        ),
        (lambda: conv2d(4, 3, groups=3).init((0,), IMAGE), ValueError, "groups 3 must divide the 4 input and the 4"),
        (lambda: conv2d(4, 3, stride=0).init((0,), IMAGE), ValueError, "stride must be at least 1"),
        (lambda: dense(4).init((0,), ()), ValueError, r"examples must be of shape \(\.\.\., features\)"),
        (lambda: layers.concat(0), ValueError, "axis must not be 0, the axis of the examples"),
        (
            lambda: layers.add().init((0,), IMAGE),
            TypeError,
            r"in_shape must be a tuple of shapes, one for each source of its node, not \(5, 6, 4\)",
        ),
        (
            lambda: layers.add().forward({}, normal(2, 4), {}, train=False),
            TypeError,
            "x must be a tuple of arrays, one for each source of its node, not ndarray",
        ),
        (lambda: dropout(1.0), ValueError, r"rate, the fraction dropped, must be in \[0, 1\), not 1.0"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
