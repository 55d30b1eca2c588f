"""What an optimizer is, and how several make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcnn import tree
from funcnn.optim.schedules import Schedule
from funcnn.tree import Tree


class Optimizer(NamedTuple):
    """An optimizer: two pure functions.

    Attributes
    ----------
    init : callable
        ``init(params) -> opt_state``, a tree of arrays.
    update : callable
        ``update(grads, opt_state, params) -> updates, opt_state``; the updates are to be added to the parameters.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Return params + updates, in the parameters' dtypes.

    Parameters
    ----------
    params, updates : tree

    Returns
    -------
    tree

    Raises
    ------
    ValueError
        If they are not alike.

    Examples
    --------
    >>> apply_updates({"w": np.array([1.0])}, {"w": np.array([-0.25])})
    {'w': array([0.75])}
    """
    return tree.map(_added, params, updates)


def _added(p: Any, u: Any) -> Any:
    total = p + u
    return total if total.dtype == p.dtype else total.astype(p.dtype)


def chain(*optimizers: Optimizer) -> Optimizer:
    """One optimizer after the other, each taking the updates of the one before as its gradients.

    Transformations of gradients such as `clip_by_global_norm` come first, the optimizer that makes steps of them last.

    Parameters
    ----------
    *optimizers : Optimizer

    Returns
    -------
    Optimizer

    Examples
    --------
    >>> from funcnn.optim import clip_by_global_norm, sgd
    >>> optimizer = chain(clip_by_global_norm(1.0), sgd(0.5))
    >>> params = {"w": np.array([0.0, 0.0])}
    >>> optimizer.update({"w": np.array([3.0, 4.0])}, optimizer.init(params), params)[0]
    {'w': array([-0.3, -0.4])}
    """

    def init(params: Tree) -> Tree:
        return {str(i): optimizer.init(params) for i, optimizer in enumerate(optimizers)}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        new_state = {}
        for i, optimizer in enumerate(optimizers):
            grads, new_state[str(i)] = optimizer.update(grads, opt_state[str(i)], params)
        return grads, new_state

    return Optimizer(init, update)


def learning_rate(opt_state: Tree) -> float | None:
    """Return the learning rate of the next update, or None if no part of the optimizer has one.

    Parameters
    ----------
    opt_state : tree

    Returns
    -------
    float or None

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> learning_rate(chain(sgd(0.5)).init({}))
    0.5
    """
    for path, leaf in tree.flatten(opt_state).items():
        if path.rpartition("/")[2] == "learning_rate":
            return float(leaf)
    return None


def rate_state(rate: float | Schedule, step: int) -> Tree:
    """Return the step and its learning rate: the part of the state of every optimizer that has a learning rate."""
    value = rate(step) if callable(rate) else rate
    return {"step": np.asarray(step), "learning_rate": np.asarray(value, np.float64)}


def check_rate(optimizer: str, rate: float | Schedule) -> None:
    """Refuse a learning rate that is neither a schedule nor a number >= 0."""
    if not callable(rate) and not rate >= 0:
        raise ValueError(f"{optimizer}: the learning rate must be >= 0, got {rate}")


def check_range(optimizer: str, name: str, value: float, below: float = float("inf")) -> None:
    """Refuse a hyperparameter outside [0, below)."""
    if not 0 <= value < below:
        raise ValueError(f"{optimizer}: {name} must be in [0, {below}), got {value}")
