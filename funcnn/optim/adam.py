"""Adam and AdamW."""

from __future__ import annotations

import math

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, check_range, check_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array, Tree


def adam(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam: steps scaled, entry by entry, by running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2 : float in [0, 1)
        Weights of the old value in the running means of the gradient and of its square.
    eps : float
        Added to the root in the denominator.
    weight_decay : float
        This times the parameters is added to the gradient (L2 regularisation); see `adamw` for decay proper.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Notes
    -----
    m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  p <- p - learning_rate * m' / (sqrt(v') + eps), where m' = m /
    (1-b1^t) and v' = v / (1-b2^t) undo the bias of means that start at 0, t counting from 1. D. Kingma and J. Ba,
    Adam, 2014 (arXiv:1412.6980).

    Examples
    --------
    >>> optimizer, params = adam(0.1), {"w": np.array([1.0])}
    >>> updates, _ = optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)
    >>> updates["w"].round(6)
    array([-0.1])
    """
    return _adam("adam", learning_rate, b1, b2, eps, l2=weight_decay, decay=0.0)


def adamw(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with the weight decay outside the adaptive scaling: p shrinks by learning_rate * weight_decay * p a step.

    I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, 2017 (arXiv:1711.05101).

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps : float
        As in `adam`.
    weight_decay : float

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> optimizer, params = adamw(0.1, weight_decay=0.5), {"w": np.array([1.0])}
    >>> updates, _ = optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)
    >>> updates["w"].round(6)
    array([-0.15])
    """
    return _adam("adamw", learning_rate, b1, b2, eps, l2=0.0, decay=weight_decay)


def _adam(
    name: str, learning_rate: float | Schedule, b1: float, b2: float, eps: float, *, l2: float, decay: float
) -> Optimizer:
    check_rate(name, learning_rate)
    check_range(name, "b1", b1, 1.0)
    check_range(name, "b2", b2, 1.0)
    check_range(name, "eps", eps)
    check_range(name, "weight_decay", l2 + decay)

    def init(params: Tree) -> Tree:
        zeros = tree.map(np.zeros_like, params)
        return {**rate_state(learning_rate, 0), "mean": zeros, "square": zeros}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t = int(opt_state["step"]) + 1
        rate = float(opt_state["learning_rate"])
        scale = -rate / (1 - b1**t)
        unbias = 1 / math.sqrt(1 - b2**t)
        if l2:
            grads = tree.map(lambda g, p: g + l2 * p, grads, params)

        def next_mean(m: Array, g: Array) -> Array:
            return b1 * m + (1 - b1) * g

        def next_square(v: Array, g: Array) -> Array:
            return b2 * v + (1 - b2) * (g * g)

        def step(m: Array, v: Array) -> Array:
            return scale * m / (unbias * np.sqrt(v) + eps)

        mean = tree.map(next_mean, opt_state["mean"], grads)
        square = tree.map(next_square, opt_state["square"], grads)
        updates = tree.map(step, mean, square)
        if decay:
            updates = tree.map(lambda u, p: u - rate * decay * p, updates, params)
        return updates, {**rate_state(learning_rate, t), "mean": mean, "square": square}

    return Optimizer(init, update)
