"""Twins of `funcnn.kernels.updates`, bit for bit: each array is read and written once."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array


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
    _adam_update(*arrays, *numbers)
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


def momentum_update(
    g: Array, m: Array, p: Array, l2: Array, momentum: Array, scale: Array, nesterov: bool, applied: bool
) -> tuple[Array, Array]:
    """See `funcnn.kernels.updates.momentum_update`."""
    if not g.shape == m.shape == p.shape or not same_floats(g, m, p, scale):
        return NotImplemented
    update, new_m = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
    numbers: Any = l2[()], momentum[()], scale[()], nesterov, applied
    arrays: Any = g.ravel(), m.ravel(), p.ravel(), update.ravel(), new_m.ravel()
    _momentum_update(*arrays, *numbers)
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
