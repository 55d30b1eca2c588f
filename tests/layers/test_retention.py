"""What a layer's VJP keeps alive between forward and backward, against what its gradient requires.

A closure that holds on to an array it does not need costs no test its gradient, only memory. Here the arrays are
counted that can be reached from the closure: x and y by name, for they are often kept by a neighbour anyway, and in
bytes for each entry of x what the layer keeps besides. Parameters and state are alive in any case.
"""

import gc
from types import FunctionType, ModuleType

import numpy as np
import pytest
from arrays import normal

from funcnn import layers, tree
from funcnn.combinators import frozen, graph, parallel, residual, serial
from funcnn.kernels.selection import use_kernels
from funcnn.layers import conv2d, relu

SHAPE = (16, 16, 4)
LINE, VOLUME = (256, 4), (4, 8, 8, 4)
SMALL = 1024  # bytes: vectors of a number for each channel, example or position
ENTRY = np.dtype(np.float32).itemsize

# layer, shape of an example, which of x and y its gradient needs, and how many bytes for each entry of x besides
KEPT = {
    "adaptive_avg_pool": (layers.adaptive_avg_pool(8), SHAPE, "", 0),
    "adaptive_max_pool": (layers.adaptive_max_pool(8), SHAPE, "", 0.75),  # argmax along one axis, then the other
    "add": (graph((layers.add(), -1, -1)), SHAPE, "", 0),
    "avg_pool": (layers.avg_pool(2), SHAPE, "", 0),
    "batch_norm": (layers.batch_norm(), SHAPE, "x", 0),
    "celu": (layers.celu(), SHAPE, "x", 0),
    "divide": (graph((layers.divide(), -1, -1)), SHAPE, "xy", 0),
    "maximum": (graph((layers.maximum(), -1, -1)), SHAPE, "", 1),  # which of the arrays
    "minimum": (graph((layers.minimum(), -1, -1)), SHAPE, "", 1),
    "subtract": (graph((layers.subtract(), -1, -1)), SHAPE, "", 0),
    "clip": (layers.clip(-1, 1), SHAPE, "x", 0),
    "concat": (graph((layers.concat(), -1, -1)), SHAPE, "", 0),
    "conv1d": (layers.conv1d(4, 3), LINE, "x", 0),
    "conv2d": (conv2d(4, 3, padding="same"), SHAPE, "x", 0),
    "conv3d": (layers.conv3d(4, 3, stride=2), VOLUME, "x", 0),
    "conv_transpose1d": (layers.conv_transpose1d(4, 3), LINE, "x", 0),
    "conv_transpose2d": (layers.conv_transpose2d(4, 3, stride=2), SHAPE, "x", 0),
    "conv_transpose3d": (layers.conv_transpose3d(4, 3), VOLUME, "x", 0),
    "dense": (layers.dense(4), SHAPE, "x", 0),
    "depth_to_space": (layers.depth_to_space(2), SHAPE, "", 0),
    "depthwise_conv1d": (layers.depthwise_conv1d(3), LINE, "x", 0),
    "depthwise_conv2d": (layers.depthwise_conv2d(3), SHAPE, "x", 0),
    "depthwise_conv3d": (layers.depthwise_conv3d(3), VOLUME, "x", 0),
    "dropout": (layers.dropout(0.5), SHAPE, "", 1),  # what was kept
    "elu": (layers.elu(), SHAPE, "x", 0),
    "flatten": (layers.flatten(), SHAPE, "", 0),
    "gelu": (layers.gelu(), SHAPE, "", ENTRY),  # the derivative
    "global_avg_pool": (layers.global_avg_pool(), SHAPE, "", 0),
    "global_max_pool": (layers.global_max_pool(), SHAPE, "", 0),
    "group_norm": (layers.group_norm(2), SHAPE, "", ENTRY),  # z
    "hard_sigmoid": (layers.hard_sigmoid(), SHAPE, "x", 0),
    "hard_swish": (layers.hard_swish(), SHAPE, "x", 0),
    "hard_tanh": (layers.hard_tanh(), SHAPE, "x", 0),
    "identity": (layers.identity(), SHAPE, "", 0),
    "instance_norm": (layers.instance_norm(), SHAPE, "", ENTRY),  # z
    "layer_norm": (layers.layer_norm(), SHAPE, "", ENTRY + ENTRY / 4),  # z, and r at each position
    "leaky_relu": (layers.leaky_relu(), SHAPE, "", 1),  # the branch
    "local_response_norm": (layers.local_response_norm(3), SHAPE, "x", ENTRY),  # the sums of squares
    "log_sigmoid": (layers.log_sigmoid(), SHAPE, "x", 0),
    "log_softmax": (layers.log_softmax(), SHAPE, "y", 0),
    "max_pool": (layers.max_pool(2), SHAPE, "", 0.25),  # the argmax of each window
    "mish": (layers.mish(), SHAPE, "", ENTRY),  # the derivative
    "multiply": (graph((layers.multiply(), -1, -1)), SHAPE, "x", 0),
    "pad": (layers.pad(1), SHAPE, "", 0),
    "parameter": (layers.parameter((4,)), SHAPE, "", 0),
    "prelu": (layers.prelu(), SHAPE, "x", 0),
    "relu": (relu(), SHAPE, "y", 0),
    "relu6": (layers.relu6(), SHAPE, "x", 0),
    "rms_norm": (layers.rms_norm(), SHAPE, "", ENTRY + ENTRY / 4),  # z, and r at each position
    "selu": (layers.selu(), SHAPE, "x", 0),
    "separable_conv1d": (layers.separable_conv1d(4, 3, padding="same"), LINE, "x", ENTRY),  # what is between the two
    "separable_conv2d": (layers.separable_conv2d(4, 3, padding="same"), SHAPE, "x", ENTRY),
    "separable_conv3d": (layers.separable_conv3d(4, 3, padding="same"), VOLUME, "x", ENTRY),
    "sigmoid": (layers.sigmoid(), SHAPE, "", ENTRY),  # exp(-|x|): 1 - y would lose the digits of small slopes
    "silu": (layers.silu(), SHAPE, "", ENTRY),  # the derivative
    "softmax": (layers.softmax(), SHAPE, "y", 0),
    "softplus": (layers.softplus(), SHAPE, "x", 0),
    "softsign": (layers.softsign(), SHAPE, "", ENTRY),  # 1 + |x|
    "space_to_depth": (layers.space_to_depth(2), SHAPE, "", 0),
    "tanh": (layers.tanh(), SHAPE, "y", 0),
    "upsample": (layers.upsample(2), SHAPE, "", 0),
    "affine": (layers.affine(), SHAPE, "x", 0),
    "broadcast_to": (layers.broadcast_to((16, 16, 4)), (1, 16, 4), "", 0),
    "crop": (layers.crop([(1, 9, 1), (0, 16, 2), (0, 4, 1)]), SHAPE, "", 0),
    "erf": (layers.erf(), SHAPE, "x", 0),
    "exp": (layers.exp(), SHAPE, "y", 0),
    "log": (layers.log(), SHAPE, "x", 0),
    "matmul": (graph((layers.matmul(), -1, -1)), (16, 8, 8), "x", 0),
    "negative": (layers.negative(), SHAPE, "", 0),
    "power": (layers.power(3), SHAPE, "x", 0),
    "reduce_max": (layers.reduce_max((1, 2)), SHAPE, "", 0),
    "reduce_mean": (layers.reduce_mean((1, 2)), SHAPE, "", 0),
    "reduce_sum": (layers.reduce_sum((1, 2)), SHAPE, "", 0),
    "reshape": (layers.reshape((-1,)), SHAPE, "", 0),
    "resize": (layers.resize(8), SHAPE, "", 0),
    "sqrt": (layers.sqrt(), SHAPE, "y", 0),
    "transpose": (layers.transpose((0, 3, 1, 2)), SHAPE, "", 0),
}
# what neighbours share is kept once
COMPOSED = {
    "conv, relu, conv": (serial(conv2d(4, 3, padding="same"), relu(), conv2d(4, 3)), "x", ENTRY),
    "conv, norm, relu, dense": (
        serial(conv2d(4, 3, padding="same"), layers.batch_norm(), relu(), layers.dense(4)),
        "x",
        2 * ENTRY,
    ),
    "overlapping max_pool": (layers.max_pool(3, stride=2, padding=1), "", 0.8125),
    # fused: neither the convolution's whole output nor its positive part, but the argmax of each window
    "conv, relu, max_pool": (serial(conv2d(4, 3, padding="same"), relu(), layers.max_pool(2)), "xy", 0.25),
    "conv, max_pool": (serial(conv2d(4, 3, padding="same"), layers.max_pool(2)), "x", 0.25),
    "relu, max_pool": (serial(relu(), layers.max_pool(2)), "y", 0.25),
    # fused: the maxima of x, and the argmax of each window
    "norm, relu, max_pool": (serial(layers.batch_norm(), relu(), layers.max_pool(2)), "xy", ENTRY / 4 + 0.25),
    "a bias": (layers.affine(scale_shape=False), "", 0),
    "identity around tanh": (residual(layers.tanh()), "", ENTRY),  # tanh's output
    "conv, relu, max_pool in a graph": (
        graph((conv2d(4, 3, padding="same"), -1), (relu(), 0), (layers.max_pool(2), 1)),
        "xy",
        0.25,
    ),
    "tanh, read twice": (graph((layers.tanh(), -1), (relu(), 0), (layers.add(), 0, 1)), "", 2 * ENTRY),
    "frozen": (frozen(serial(conv2d(4, 3, padding="same"), layers.tanh(), layers.sigmoid())), "x", 0),
    "side by side": (parallel(conv2d(4, 1), conv2d(4, 3, padding="same")), "x", 0),
}
CASES = {**KEPT, **{name: (layer, SHAPE, needed, own) for name, (layer, needed, own) in COMPOSED.items()}}


def test_every_public_layer_is_here():
    assert sorted([*KEPT, "embedding"]) == sorted(layers.__all__)  # embedding keeps ids, which are not entries


@pytest.mark.parametrize(("layer", "shape", "needed", "own"), CASES.values(), ids=CASES.keys())
def test_nothing_is_kept_that_the_gradient_does_not_need(layer, shape, needed, own):
    params, state, _ = layer.init((0,), shape)
    x = normal(8, *shape).astype(np.float32)
    with use_kernels("numpy"):  # compiled pooling has one argmax where this has one for each axis
        y, vjp, _ = layer.forward(params, x, state, train=True, key=(0,))
    kept = reachable(vjp)
    named = {"x": memory(x), "y": memory(y)}
    assert {name for name, array in named.items() if id(array) in kept} == set(needed)
    alive_anyway = {id(memory(a)) for a in (x, y, *tree.leaves(params), *tree.leaves(state))}
    besides = sum(array.nbytes for key, array in kept.items() if key not in alive_anyway)
    assert own * x.size <= besides <= own * x.size + SMALL


def reachable(closure):
    """The arrays that own the memory of all arrays that can be reached from a closure, by id."""
    arrays, seen, ahead = {}, set(), [closure]
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen or isinstance(thing, ModuleType | type):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            arrays[id(memory(thing))] = memory(thing)
        elif isinstance(thing, FunctionType):  # its globals are not its own
            ahead += [cell.cell_contents for cell in thing.__closure__ or ()]
        else:
            ahead += gc.get_referents(thing)
    return arrays


def memory(array):
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
