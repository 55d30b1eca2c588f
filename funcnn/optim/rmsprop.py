"""RMSprop."""

from __future__ import annotations

from functools import partial

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import FusedUpdate, Optimizer, chain, check_range, check_rate, step
from funcnn.optim.per_array import flushed, running
from funcnn.optim.schedules import Schedule
from funcnn.optim.sgd import sgd
from funcnn.optim.weight_decay import add_params
from funcnn.tree import Array, Tree


def rmsprop(
    learning_rate: float | Schedule,
    *,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RMSprop: each entry of the gradient is divided by the root of a running mean of its square.

    Parameters
    ----------
    learning_rate : float or schedule
    decay : float in [0, 1)
        Weight of the old value in the running means (alpha in PyTorch, rho in Keras).
    eps : float
        Added to the root, in the denominator.
    momentum : float in [0, 1)
        As in `sgd`, applied to the divided gradients.
    centered : bool
        Divide by the running standard deviation: subtract the square of the mean from the mean square.
    weight_decay : float

    Notes
    -----
    v <- decay v + (1-decay) g^2;  m <- momentum * m + g / (sqrt(v) + eps);  p <- p - learning_rate * m. If
    ``centered``, a <- decay a + (1-decay) g, and v - a^2 replaces v under the root. G. Hinton, Neural Networks for
    Machine Learning, lecture 6, 2012; centered: A. Graves, 2013 (arXiv:1308.0850). PyTorch computes the same. Keras and
    optax have a default decay of 0.9, add eps under the root, and multiply by the learning rate before the momentum.

    Examples
    --------
    >>> optimizer, params = rmsprop(0.1, decay=0.75), {"w": np.array([1.0])}
    >>> optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)[0]["w"].round(6)
    array([-0.2])
    """
    check_rate("rmsprop", learning_rate)
    decay = check_range("rmsprop", "decay", decay, 1.0)
    eps = check_range("rmsprop", "eps", eps)
    momentum = check_range("rmsprop", "momentum", momentum, 1.0)
    weight_decay = check_range("rmsprop", "weight_decay", weight_decay)

    def init(params: Tree) -> Tree:
        square = tree.map(np.zeros_like, params)
        return {"square": square, "mean": tree.map(np.zeros_like, params)} if centered else {"square": square}

    def next_square(v: Array, g: Array) -> Array:
        return running(decay, v, g * g)

    def next_mean(a: Array, g: Array) -> Array:
        return running(decay, a, g)

    def divided(g: Array, v: Array) -> Array:
        return g / (np.sqrt(v) + eps)

    def divided_by_deviation(g: Array, v: Array, a: Array) -> Array:
        return g / (np.sqrt(np.maximum(v - a * a, 0)) + eps)  # rounding can make the variance negative

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        grads = add_params(grads, weight_decay, params)
        square = tree.map(next_square, opt_state["square"], grads)
        if not centered:
            return tree.map(divided, grads, square), {"square": square}
        mean = tree.map(next_mean, opt_state["mean"], grads)
        return tree.map(divided_by_deviation, grads, square, mean), {"square": square, "mean": mean}

    chained = chain(Optimizer(init, update), sgd(learning_rate, momentum=momentum))

    def advance(grads: Tree, opt_state: Tree, params: Tree, applied: bool) -> tuple[Tree, Tree]:
        one = partial(step, chained) if applied else chained.update
        results, new_state = one(grads, opt_state, params)
        means, of_sgd = new_state["0"], new_state["1"]
        return results, {"0": flushed(means, int(of_sgd["step"])) if eps else means, "1": of_sgd}

    return Optimizer(chained.init, FusedUpdate(advance), "rmsprop")
