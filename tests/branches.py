"""A model with branches, its parameters and examples, and how to cut it in two."""

import numpy as np
from arrays import normal

from funcnn import tree
from funcnn.combinators import parallel, residual, serial
from funcnn.layers import batch_norm, conv2d, dense, dropout, flatten, max_pool, relu, tanh
from funcnn.ops import concat

BRANCHES = serial(
    conv2d(4, 3, padding=1),
    batch_norm(),
    residual(serial(conv2d(4, 3, padding=1), tanh(), dropout(0.5))),
    max_pool(2),
    parallel(conv2d(2, 1), serial(relu(), conv2d(3, 1)), join=concat),
    relu(),
    flatten(),
    dense(3),
)


def frozen(array):
    array.flags.writeable = False
    return array


def made(model, in_shape, n=5, seed=0):
    """A model's parameters with biases that are not 0, its state, and examples, all in double precision, read-only."""
    params, state, _ = model.init((seed,), in_shape)
    params = tree.map(lambda leaf: frozen(leaf + 0.1 * normal(*leaf.shape, seed=1)), params)
    state = tree.map(lambda leaf: frozen(leaf.astype(np.float64)), state)
    return params, state, frozen(normal(n, *in_shape))


def outputs(model, params, state, x):
    return model.forward(params, x, state, train=False)[0]


def cut(model, params, state, i):
    """The two halves of a model in sequence, after ``i`` layers, each with its parameters and state."""
    names = list(params)
    halves = []
    for part, chosen in ((model.children[:i], names[:i]), (model.children[i:], names[i:])):
        half = serial(*part)
        renamed = [f"{k}_{layer.name}" for k, layer in enumerate(part)]
        trees = ({new: t[old] for new, old in zip(renamed, chosen, strict=True)} for t in (params, state))
        halves.append((half, *trees))
    return halves
