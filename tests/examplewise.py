"""Every op that treats its examples one by one, and random arguments for it."""

from functools import partial

import numpy as np
from arrays import normal

from funcnn import ops

IMAGE = (4, 4, 6)
W, B = (3, 2, 2, 9), (9,)
AFFINE = {"scale": (6,), "bias": (6,)}


def of_positive(op):
    """The op of 1/2 + x^2, for one that is defined for positive numbers."""

    def f(x):
        y, vjp = op(x * x + 0.5)
        return y, lambda dy: vjp(dy) * 2 * x

    return f


# name: the op as a function of its differentiable arguments, and the shape of each: for params a dict of shapes,
# for arrays what follows the batch axis. Ops that are not named here take one image.
SPECIAL = {
    "adaptive_avg_pool": (partial(ops.adaptive_avg_pool, size=3), IMAGE),
    "adaptive_max_pool": (partial(ops.adaptive_max_pool, size=3), IMAGE),
    "add": (ops.add, IMAGE, IMAGE),
    "affine": (ops.affine, AFFINE, IMAGE),
    "avg_pool": (partial(ops.avg_pool, window=3, stride=2, padding=1), IMAGE),
    # in training, an example's output needs the others
    "batch_norm": (
        lambda params, x: ops.batch_norm(params, x, stats={"mean": np.ones(6), "var": np.full(6, 2.0)})[:2],
        AFFINE,
        IMAGE,
    ),
    "broadcast_to": (partial(ops.broadcast_to, shape=(3, 4, 6)), (3, 1, 6)),
    "crop": (partial(ops.crop, bounds=((0, 4, 1), (0, 4, 1), (0, 6, 1))), IMAGE),
    "divide": (ops.divide, IMAGE, IMAGE),
    "concat": (ops.concat, IMAGE, (4, 4, 1)),
    "conv": (partial(ops.conv, stride=2, padding=1, groups=3), {"w": W, "b": B}, IMAGE),
    "conv_transpose": (
        partial(ops.conv_transpose, stride=2, padding=1, groups=3),
        {"w": (3, 2, 4, 6), "b": (12,)},
        IMAGE,
    ),
    "dense": (ops.dense, {"w": (6, 3), "b": (3,)}, (6,)),
    "depth_to_space": (partial(ops.depth_to_space, block=(2, 3)), IMAGE),
    # one decision for all examples, or else an example would depend on its position in the batch
    "maximum": (ops.maximum, IMAGE, IMAGE),
    "minimum": (ops.minimum, IMAGE, IMAGE),
    "subtract": (partial(ops.subtract, broadcast=True), IMAGE, (1, 1, 6)),
    "dropout": (partial(ops.dropout, rate=0.4, key=(1,), shared_axes=(0,)), IMAGE),
    "group_norm": (partial(ops.group_norm, groups=2), AFFINE, IMAGE),
    "instance_norm": (ops.instance_norm, AFFINE, IMAGE),
    "layer_norm": (ops.layer_norm, AFFINE, IMAGE),
    "local_response_norm": (partial(ops.local_response_norm, size=3, alpha=0.5), IMAGE),
    "log": (of_positive(ops.log), IMAGE),
    "matmul": (ops.matmul, IMAGE, (4, 6, 2)),
    "max_pool": (partial(ops.max_pool, window=3, stride=2, padding=1), IMAGE),
    "multiply": (ops.multiply, IMAGE, IMAGE),
    "pad": (partial(ops.pad, widths=((1, 2), (0, 1)), mode="reflect"), IMAGE),
    "parameter": (ops.parameter, {"value": (2, 5)}, IMAGE),
    "power": (partial(ops.power, exponent=2), IMAGE),
    "prelu": (ops.prelu, {"slope": (6,)}, IMAGE),
    "reduce_max": (partial(ops.reduce_max, axes=(1, 2)), IMAGE),
    "reduce_mean": (partial(ops.reduce_mean, axes=-1), IMAGE),
    "reduce_sum": (partial(ops.reduce_sum, axes=(1, 3), keepdims=True), IMAGE),
    "reshape": (partial(ops.reshape, shape=(2, -1)), IMAGE),
    "resize": (partial(ops.resize, size=(7, 3)), IMAGE),
    "rms_norm": (ops.rms_norm, AFFINE, IMAGE),
    "space_to_depth": (partial(ops.space_to_depth, block=(2, 4)), IMAGE),
    "sqrt": (of_positive(ops.sqrt), IMAGE),
    "transpose": (partial(ops.transpose, axes=(0, 3, 1, 2)), IMAGE),
    "upsample": (partial(ops.upsample, factor=(3, 2)), IMAGE),
}
EXAMPLEWISE = {name: SPECIAL.get(name, (getattr(ops, name), IMAGE)) for name in ops.__all__ if name != "embedding"}


def arguments(shapes, n, seed):
    """Random params, and a batch of n examples for every other argument."""
    return [
        {leaf: normal(*s, seed=seed) for leaf, s in shape.items()}
        if isinstance(shape, dict)
        else normal(n, *shape, seed=seed + i)
        for i, shape in enumerate(shapes)
    ]


def each(cotangents):
    return cotangents if isinstance(cotangents, tuple) else (cotangents,)
