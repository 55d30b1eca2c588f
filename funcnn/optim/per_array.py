"""Optimizers that are defined by a recurrence for one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, current_rate, next_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask, add_params
from funcnn.tree import Array, Tree

# Steps between two flushes. In so many, a mean with the usual weights of up to 0.9 does not fall from `_SMALLEST` times
# the smallest normal number below that number; a flush takes up to an update's time. ``optim.adam`` on a million
# parameters of which 90 % had no gradient for a thousand steps measures both again.
FLUSH_EVERY = 64
_SMALLEST = 1024


def recurrence(
    name: str,
    learning_rate: float | Schedule,
    slots: Mapping[str, Callable[[Array], Array]],
    step: Callable[[int, float], Callable[..., tuple[Any, ...]]],
    *,
    l2: float = 0.0,
    decay: float = 0.0,
    mask: Mask | None = None,
    flush: bool = True,
) -> Optimizer:
    """Make an optimizer from its recurrence for one array, which is applied to each leaf.

    Parameters
    ----------
    name : str
        Of the optimizer.
    learning_rate : float or schedule
    slots : dict of callable
        The arrays that the state holds for each parameter p, by name: ``slot(p)`` returns the initial value.
    step : callable
        ``step(t, rate)``, with t counted from 1, returns the recurrence of step t: a function ``(*slots, g) -> update,
        *new_slots``, with the slots in the order of ``slots``. The update is a new array, none of the others.
    l2 : float
        L2 regularisation: l2 times the parameters is added to the gradient.
    decay : float
        Decoupled weight decay: decay * rate * params is subtracted from the parameters where the mask is true.
    mask : callable, optional
        ``mask(path) -> bool``.
    flush : bool
        Whether `flushed` may set numbers in the slots to 0. It must not where the step divides by a slot without eps.

    Returns
    -------
    Optimizer
    """

    def init(params: Tree) -> Tree:
        return {**rate_state(learning_rate, 0), **{slot: tree.map(initial, params) for slot, initial in slots.items()}}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t, rate = int(opt_state["step"]) + 1, current_rate(opt_state)
        grads = add_params(grads, l2, params)
        results = tree.map(step(t, rate), *(opt_state[slot] for slot in slots), grads)
        new_state = next_rate(learning_rate, opt_state)
        for i, slot in enumerate(slots, start=1):
            new_state[slot] = tree.map(itemgetter(i), results)
            if flush:
                new_state[slot] = flushed(new_state[slot], t)
        return add_params(tree.map(itemgetter(0), results), -rate * decay, params, mask), new_state

    return Optimizer(init, update, name, fresh=True)


def running(weight: float, old: Array, new: Array) -> Array:
    """Return the running mean ``weight * old + (1 - weight) * new``."""
    return weight * old + (1 - weight) * new


def flushed(means: Any, t: int) -> Any:
    """Return a tree of running means, in some steps t with 0 for numbers near the smallest normal one.

    The mean of a gradient that has become 0, as of a unit that is always off, decays to subnormal numbers and, rounded
    to nearest, stays there. A processor computes with these several to a hundred times more slowly.
    """
    if t % FLUSH_EVERY:
        return means
    return tree.map(_without_subnormal, means)


def _without_subnormal(mean: Any) -> Any:
    mean = np.asarray(mean)
    if mean.dtype.kind not in "fc":
        return mean
    return np.where(abs(mean) < _SMALLEST * np.finfo(mean.dtype).tiny, mean.dtype.type(0), mean)
