"""Trees of parameters and gradients, and what an optimizer makes of them."""

import numpy as np
from arrays import normal

from funcnn import optim, tree

PARAMS = {"0_conv2d": {"w": normal(3, 3, 2, 4), "b": normal(4)}, "1_relu": {}, "2_dense": {"w": normal(5, 3)}}


def gradients(count, scale=1.0):
    rng = np.random.default_rng(7)
    return [tree.map(lambda p: scale * rng.normal(size=p.shape), PARAMS) for _ in range(count)]


def descend(optimizer, grads, params=PARAMS):
    """The parameters after each update, and the last state."""
    opt_state, path = optimizer.init(params), []
    for g in grads:
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
        path.append(params)
    return path, opt_state


def assert_close(a, b, rtol=1e-12):
    tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-14), a, b)


def transformed(transformation, grads, params=PARAMS):
    return transformation.update(grads, transformation.init(params), params)[0]
