"""Twins of `funcnn.kernels.updates`, bit for bit: each array is read and written once.

Threads that have computed the gradients and still wait for more work take part, each with a part of the arrays, which
`funcnn.kernels.compiled.products` mostly gives to the same thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels.compiled.parallel import ALONE, awake_team, in_parallel
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array

_MIN_SHARED = 1 << 14  # numbers: fewer take one thread so little time that sharing them gains nothing


def _shares(size: int) -> tuple[Array, int]:
    """Return a team, and how many numbers each of its members updates."""
    team, members = awake_team() if size >= _MIN_SHARED else (ALONE, 1)
    return team, max(-(-size // (16 * members)) * 16, 1)


def adam_update(
    g: Array, m: Array, v: Array, p: Array,
    l2: Array, b1: Array, rest1: Array, b2: Array, rest2: Array, eps: Array, scale: Array, decay: Array, applied: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """See `funcnn.kernels.updates.adam_update`."""
    if not g.shape == m.shape == v.shape == p.shape or not same_floats(g, m, v, p, scale):
        return NotImplemented
    update, new_m, new_v = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
    arrays: Any = g.ravel(), m.ravel(), v.ravel(), p.ravel(), update.ravel(), new_m.ravel(), new_v.ravel()
    numbers: Any = l2[()], b1[()], rest1[()], b2[()], rest2[()], eps[()], scale[()], decay[()], applied
    _adam_updates(*_shares(g.size), *arrays, *numbers)
    return update, new_m, new_v


@routine("void(R[::1], R[::1], R[::1], R[::1], T[::1], T[::1], T[::1], T, T, T, T, T, T, T, T, boolean)", exact=True)
def _adam_update(
    g: Array, m: Array, v: Array, p: Array, update: Array, new_m: Array, new_v: Array,
    l2: float, b1: float, rest1: float, b2: float, rest2: float, eps: float, scale: float, decay: float, applied: bool,
) -> None:  # fmt: skip
    for i in range(len(g)):
        slope = g[i] + l2 * p[i] if l2 != 0 else g[i]
        new_m[i] = b1 * m[i] + rest1 * slope
        new_v[i] = b2 * v[i] + rest2 * (slope * slope)
        u = scale * (new_m[i] / (np.sqrt(new_v[i]) + eps))
        u = u + decay * p[i] if decay != 0 else u
        update[i] = p[i] + u if applied else u


@in_parallel
def _adam_share(arguments, thread, index):  # type: ignore[no-untyped-def]
    share, g, m, v, p, update, new_m, new_v, l2, b1, rest1, b2, rest2, eps, scale, decay, applied = arguments
    first, last = index * share, (index + 1) * share
    _adam_update(
        g[first:last], m[first:last], v[first:last], p[first:last], update[first:last], new_m[first:last],
        new_v[first:last], l2, b1, rest1, b2, rest2, eps, scale, decay, applied,
    )  # fmt: skip


@routine("void(i8[::1], i8, R[::1], R[::1], R[::1], R[::1], T[::1], T[::1], T[::1], T, T, T, T, T, T, T, T, boolean)")
def _adam_updates(
    team: Array, share: int, g: Array, m: Array, v: Array, p: Array, update: Array, new_m: Array, new_v: Array,
    l2: float, b1: float, rest1: float, b2: float, rest2: float, eps: float, scale: float, decay: float, applied: bool,
) -> None:  # fmt: skip
    arguments = share, g, m, v, p, update, new_m, new_v, l2, b1, rest1, b2, rest2, eps, scale, decay, applied
    _adam_share(team, arguments, (len(g) + share - 1) // share)


def momentum_update(
    g: Array, m: Array, p: Array, l2: Array, momentum: Array, scale: Array, nesterov: bool, applied: bool
) -> tuple[Array, Array]:
    """See `funcnn.kernels.updates.momentum_update`."""
    if not g.shape == m.shape == p.shape or not same_floats(g, m, p, scale):
        return NotImplemented
    update, new_m = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
    numbers: Any = l2[()], momentum[()], scale[()], nesterov, applied
    arrays: Any = g.ravel(), m.ravel(), p.ravel(), update.ravel(), new_m.ravel()
    _momentum_updates(*_shares(g.size), *arrays, *numbers)
    return update, new_m


@routine("void(R[::1], R[::1], R[::1], T[::1], T[::1], T, T, T, boolean, boolean)", exact=True)
def _momentum_update(
    g: Array, m: Array, p: Array, update: Array, new_m: Array,
    l2: float, momentum: float, scale: float, nesterov: bool, applied: bool,
) -> None:  # fmt: skip
    for i in range(len(g)):
        slope = g[i] + l2 * p[i] if l2 != 0 else g[i]
        mean = momentum * m[i] + slope
        u = scale * (momentum * mean + slope if nesterov else mean)
        new_m[i] = mean
        update[i] = p[i] + u if applied else u


@in_parallel
def _momentum_share(arguments, thread, index):  # type: ignore[no-untyped-def]
    share, g, m, p, update, new_m, l2, momentum, scale, nesterov, applied = arguments
    first, last = index * share, (index + 1) * share
    _momentum_update(
        g[first:last], m[first:last], p[first:last], update[first:last], new_m[first:last], l2, momentum, scale,
        nesterov, applied,
    )  # fmt: skip


@routine("void(i8[::1], i8, R[::1], R[::1], R[::1], T[::1], T[::1], T, T, T, boolean, boolean)")
def _momentum_updates(
    team: Array, share: int, g: Array, m: Array, p: Array, update: Array, new_m: Array,
    l2: float, momentum: float, scale: float, nesterov: bool, applied: bool,
) -> None:  # fmt: skip
    arguments = share, g, m, p, update, new_m, l2, momentum, scale, nesterov, applied
    _momentum_share(team, arguments, (len(g) + share - 1) // share)


def descend(g: Array, p: Array, scale: Array) -> Array:
    """See `funcnn.kernels.updates.descend`."""
    if g.shape != p.shape or not same_floats(g, p, scale):
        return NotImplemented
    new_p = np.empty(g.shape, g.dtype)
    arrays: Any = g.ravel(), p.ravel(), new_p.ravel(), scale[()]
    _descents(*_shares(g.size), *arrays)
    return new_p


@routine("void(R[::1], R[::1], T[::1], T)", exact=True)
def _descend(g: Array, p: Array, new_p: Array, scale: float) -> None:
    for i in range(len(g)):
        new_p[i] = p[i] + scale * g[i]


@in_parallel
def _descent_share(arguments, thread, index):  # type: ignore[no-untyped-def]
    share, g, p, new_p, scale = arguments
    first, last = index * share, (index + 1) * share
    _descend(g[first:last], p[first:last], new_p[first:last], scale)


@routine("void(i8[::1], i8, R[::1], R[::1], T[::1], T)")
def _descents(team: Array, share: int, g: Array, p: Array, new_p: Array, scale: float) -> None:
    _descent_share(team, (share, g, p, new_p, scale), (len(g) + share - 1) // share)
