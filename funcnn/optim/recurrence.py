"""Optimizers written as recurrences of one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, next_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask, add_params
from funcnn.tree import Array, Tree


def recurrence(
    learning_rate: float | Schedule,
    slots: Mapping[str, Callable[[Array], Array]],
    step: Callable[[int, float], Callable[..., tuple[Any, ...]]],
    *,
    l2: float = 0.0,
    decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """Make an optimizer of what it does to one array.

    Parameters
    ----------
    learning_rate : float or schedule
    slots : dict of callable
        What the state holds for each parameter: ``slot(p)`` is its initial value.
    step : callable
        ``step(t, rate)``, t counting from 1, returns the recurrence of that step: a function of the slots, in their
        order, and the gradient, that returns the update and the new slots.
    l2 : float
        This times the parameters is added to the gradient.
    decay : float
        This times the learning rate times the parameters is taken off, where the mask is true.
    mask : callable, optional
        ``mask(path) -> bool``.

    Returns
    -------
    Optimizer
    """

    def init(params: Tree) -> Tree:
        return {**rate_state(learning_rate, 0), **{name: tree.map(slot, params) for name, slot in slots.items()}}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t, rate = int(opt_state["step"]) + 1, float(opt_state["learning_rate"])
        grads = add_params(grads, l2, params)
        results = tree.map(step(t, rate), *(opt_state[name] for name in slots), grads)
        new_state = next_rate(learning_rate, opt_state)
        for i, name in enumerate(slots, start=1):
            new_state[name] = tree.map(itemgetter(i), results)
        return add_params(tree.map(itemgetter(0), results), -rate * decay, params, mask), new_state

    return Optimizer(init, update)


def running(weight: float, old: Array, new: Array) -> Array:
    """Return the running mean: ``weight`` of the old value, the rest of the new one."""
    return weight * old + (1 - weight) * new
