"""Stochastic gradient descent."""

from __future__ import annotations

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, check_range, check_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.tree import Tree


def sgd(
    learning_rate: float | Schedule, *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> Optimizer:
    """Stochastic gradient descent, with momentum if wished.

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float in [0, 1)
    nesterov : bool
        Step from where the momentum leads; needs momentum > 0.
    weight_decay : float
        This times the parameters is added to the gradient (L2 regularisation).

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Notes
    -----
    g = gradient + weight_decay * p;  m <- momentum * m + g;  p <- p - learning_rate * (g + momentum * m if nesterov
    else m). The learning rate scales the step, not the momentum, so a schedule takes effect at once. Y. Nesterov
    1983; I. Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    Examples
    --------
    >>> optimizer, params = sgd(0.1, momentum=0.9), {"w": np.array([1.0])}
    >>> opt_state = optimizer.init(params)
    >>> updates, opt_state = optimizer.update({"w": np.array([2.0])}, opt_state, params)
    >>> updates, optimizer.update({"w": np.array([2.0])}, opt_state, params)[0]
    ({'w': array([-0.2])}, {'w': array([-0.38])})
    """
    check_rate("sgd", learning_rate)
    check_range("sgd", "momentum", momentum, 1.0)
    check_range("sgd", "weight_decay", weight_decay)
    if nesterov and not momentum:
        raise ValueError("sgd: nesterov needs a momentum above 0")

    def init(params: Tree) -> Tree:
        state = rate_state(learning_rate, 0)
        return {**state, "momentum": tree.map(np.zeros_like, params)} if momentum else state

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = float(opt_state["learning_rate"])
        new_state = rate_state(learning_rate, int(opt_state["step"]) + 1)
        if weight_decay:
            grads = tree.map(lambda g, p: g + weight_decay * p, grads, params)
        if not momentum:
            return tree.map(lambda g: -rate * g, grads), new_state
        new_state["momentum"] = tree.map(lambda m, g: momentum * m + g, opt_state["momentum"], grads)
        if nesterov:
            return tree.map(lambda g, m: -rate * (g + momentum * m), grads, new_state["momentum"]), new_state
        return tree.map(lambda m: -rate * m, new_state["momentum"]), new_state

    return Optimizer(init, update)
