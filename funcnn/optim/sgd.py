"""Stochastic gradient descent."""

from __future__ import annotations

import numpy as np

from funcnn import tree
from funcnn.kernels.updates import momentum_update, sgd_update
from funcnn.optim.optimizer import (
    FusedUpdate,
    Optimizer,
    as_arrays,
    check_range,
    check_rate,
    current_rate,
    next_rate,
    rate_state,
)
from funcnn.optim.per_array import flushed
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array, Tree


def sgd(
    learning_rate: float | Schedule,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Stochastic gradient descent with optional momentum.

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float in [0, 1)
    dampening : float in [0, 1)
        The fraction of each gradient but the first that is not added to the momentum. Requires momentum > 0.
    nesterov : bool
        Nesterov momentum. Requires momentum > 0 and no dampening.
    weight_decay : float

    Notes
    -----
    g = gradient + weight_decay * p;  m <- momentum * m + (1 - dampening) g;  p <- p - learning_rate * (g + momentum * m
    if nesterov else m). The learning rate multiplies m, so a change of it takes full effect in the next step, as in
    PyTorch and optax; in Keras it multiplies the gradient that is added to m. Y. Nesterov 1983; I. Sutskever et al., On
    the importance of initialization and momentum in deep learning, 2013.

    Examples
    --------
    >>> optimizer, params = sgd(0.1, momentum=0.9), {"w": np.array([1.0])}
    >>> opt_state = optimizer.init(params)
    >>> updates, opt_state = optimizer.update({"w": np.array([2.0])}, opt_state, params)
    >>> updates, optimizer.update({"w": np.array([2.0])}, opt_state, params)[0]
    ({'w': array([-0.2])}, {'w': array([-0.38])})
    """
    check_rate("sgd", learning_rate)
    momentum = check_range("sgd", "momentum", momentum, 1.0)
    dampening = check_range("sgd", "dampening", dampening, 1.0)
    weight_decay = check_range("sgd", "weight_decay", weight_decay)
    if nesterov and (dampening or not momentum):
        raise ValueError(f"sgd: nesterov requires momentum > 0 and no dampening, got {momentum} and {dampening}")
    if dampening and not momentum:
        raise ValueError(f"sgd: dampening {dampening} requires momentum > 0")

    def init(params: Tree) -> Tree:
        state = rate_state(learning_rate, 0)
        return {**state, "momentum": tree.map(np.zeros_like, params)} if momentum else state

    def advance(grads: Tree, opt_state: Tree, params: Tree, applied: bool) -> tuple[Tree, Tree]:
        rest = 1 - dampening if opt_state["step"] > 0 else 1
        numbers = as_arrays(weight_decay, rest, momentum, -current_rate(opt_state))
        new_state = next_rate(learning_rate, opt_state)

        def sgd_step(p: Array, g: Array) -> Array:
            l2, _, _, scale = numbers(p.dtype)
            return sgd_update(g, p, l2, scale, applied)

        def momentum_step(p: Array, g: Array, m: Array) -> tuple[Array, Array]:
            return momentum_update(g, m, p, *numbers(p.dtype), nesterov, applied)

        if not momentum:
            return tree.map(sgd_step, params, grads), new_state
        results, means = tree.map_unzipped(2, momentum_step, params, grads, opt_state["momentum"])
        return results, {**new_state, "momentum": flushed(means, int(new_state["step"]))}

    return Optimizer(init, FusedUpdate(advance), "sgd")
