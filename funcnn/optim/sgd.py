"""Stochastic gradient descent."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np

from funcnn import tree
from funcnn.kernels.updates import descend, momentum_update
from funcnn.optim.optimizer import (
    FusedUpdate,
    Optimizer,
    as_arrays,
    check_range,
    check_rate,
    current_rate,
    next_rate,
    rate_state,
    scaling,
)
from funcnn.optim.per_array import flushed
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import add_params
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
        rate, new_state, l2 = current_rate(opt_state), next_rate(learning_rate, opt_state), weight_decay
        if not momentum:
            grads, scale = add_params(grads, weight_decay, params), as_arrays(-rate)
            if not applied:
                return tree.map(scaling(-rate), grads), new_state
            return tree.map(lambda p, g: descend(g, p, *scale(g.dtype)), params, grads), new_state
        if dampening and opt_state["step"] > 0:
            grads, l2 = tree.map(lambda g: (1 - dampening) * g, add_params(grads, l2, params)), 0.0
        numbers = as_arrays(l2, momentum, -rate)

        def momentum_step(p: Array, g: Array, m: Array) -> tuple[Array, Array]:
            options: Any = *numbers(p.dtype), nesterov, applied
            return momentum_update(g, m, p, *options)

        results = tree.map(momentum_step, params, grads, opt_state["momentum"])
        new_state["momentum"] = flushed(tree.map(itemgetter(1), results), int(new_state["step"]))
        return tree.map(itemgetter(0), results), new_state

    return Optimizer(init, FusedUpdate(advance), "sgd")
