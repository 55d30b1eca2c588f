"""Optimizers that are defined by a recurrence for one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, current_rate, next_rate, rate_state
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
    """Make an optimizer from its recurrence for one array, which is applied to each leaf.

    Parameters
    ----------
    learning_rate : float or schedule
    slots : dict of callable
        The arrays that the state holds for each parameter p, by name: ``slot(p)`` returns the initial value.
    step : callable
        ``step(t, rate)``, with t counted from 1, returns the recurrence of step t: a function ``(*slots, g) -> update,
        *new_slots``, with the slots in the order of ``slots``.
    l2 : float
        L2 regularisation: l2 times the parameters is added to the gradient.
    decay : float
        Decoupled weight decay: decay * rate * params is subtracted from the parameters where the mask is true.
    mask : callable, optional
        ``mask(path) -> bool``.

    Returns
    -------
    Optimizer
    """

    def init(params: Tree) -> Tree:
        return {**rate_state(learning_rate, 0), **{name: tree.map(slot, params) for name, slot in slots.items()}}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t, rate = int(opt_state["step"]) + 1, current_rate(opt_state)
        grads = add_params(grads, l2, params)
        results = tree.map(step(t, rate), *(opt_state[name] for name in slots), grads)
        new_state = next_rate(learning_rate, opt_state)
        for i, name in enumerate(slots, start=1):
            new_state[name] = tree.map(itemgetter(i), results)
        return add_params(tree.map(itemgetter(0), results), -rate * decay, params, mask), new_state

    return Optimizer(init, update)


def running(weight: float, old: Array, new: Array) -> Array:
    """Return the running mean ``weight * old + (1 - weight) * new``."""
    return weight * old + (1 - weight) * new
