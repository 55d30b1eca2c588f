"""Optimizers that are defined by a recurrence for one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from funcnn import tree
from funcnn.kernels.updates import apply_in_place
from funcnn.optim.optimizer import FusedUpdate, Optimizer, current_rate, next_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask, where_decay
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

    def whole(t: int, rate: float, decay: float, applied: bool) -> Callable[..., tuple[Any, ...]]:
        of_slots, factor = step(t, rate), -rate * decay

        def whole_step(p: Any, g: Any, *old: Any) -> tuple[Any, ...]:
            update, *new = of_slots(*old, g + l2 * p if l2 else g)
            if factor:
                update = update + factor * p
            return apply_in_place(p, update) if applied else update, *new

        return whole_step

    return fused_recurrence(name, learning_rate, slots, whole, decay=decay, mask=mask, flush=flush)


def fused_recurrence(
    name: str,
    learning_rate: float | Schedule,
    slots: Mapping[str, Callable[[Array], Array]],
    step: Callable[[int, float, float, bool], Callable[..., tuple[Any, ...]]],
    *,
    decay: float,
    mask: Mask | None,
    flush: bool,
) -> Optimizer:
    """Make an optimizer as `recurrence` does, from a step that includes weight decay and `apply_updates`.

    ``step(t, rate, decay, applied)`` returns ``(p, g, *slots) -> update, *new_slots``, or if ``applied`` the new
    parameters instead of the update.
    """

    def init(params: Tree) -> Tree:
        return {**rate_state(learning_rate, 0), **{slot: tree.map(initial, params) for slot, initial in slots.items()}}

    def advance(grads: Tree, opt_state: Tree, params: Tree, applied: bool) -> tuple[Tree, Tree]:
        t, rate = int(opt_state["step"]) + 1, current_rate(opt_state)
        leaf_step = step(t, rate, decay, applied)
        trees = [params, grads, *(opt_state[slot] for slot in slots)]
        if mask is not None and decay:
            decaying, other = leaf_step, step(t, rate, 0.0, applied)

            def leaf_step(p: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
                return (decaying if rest[-1] else other)(p, g, *rest[:-1])

            trees.append(where_decay(mask, params))
        results = tree.map(leaf_step, *trees)
        new_state = next_rate(learning_rate, opt_state)
        for i, slot in enumerate(slots, start=1):
            new_state[slot] = tree.map(itemgetter(i), results)
            if flush:
                new_state[slot] = flushed(new_state[slot], t)
        return tree.map(itemgetter(0), results), new_state

    return Optimizer(init, FusedUpdate(advance), name)


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
