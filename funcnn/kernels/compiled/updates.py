"""Twins of `funcnn.kernels.updates`: each array is read and written once."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array


def adam_update(
    g: Array, m: Array, v: Array, b1: Array, rest1: Array, b2: Array, rest2: Array, eps: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """See `funcnn.kernels.updates.adam_update`."""
    if not g.shape == m.shape == v.shape or not same_floats(g, m, v):
        return NotImplemented
    results = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
    numbers: Any = [g.dtype.type(number) for number in (b1, rest1, b2, rest2, eps, scale)]
    arrays: Any = [np.ascontiguousarray(a).reshape(-1) for a in (g, m, v, *results)]  # views of the results
    _adam_update(*arrays, *numbers)
    return results


@routine("void(R[::1], R[::1], R[::1], T[::1], T[::1], T[::1], T, T, T, T, T, T)")
def _adam_update(
    g: Array, m: Array, v: Array, update: Array, new_m: Array, new_v: Array,
    b1: float, rest1: float, b2: float, rest2: float, eps: float, scale: float,
) -> None:  # fmt: skip
    for i in range(len(g)):
        new_m[i] = b1 * m[i] + rest1 * g[i]
        new_v[i] = b2 * v[i] + rest2 * (g[i] * g[i])
        update[i] = scale * (new_m[i] / (np.sqrt(new_v[i]) + eps))


def momentum_update(g: Array, m: Array, momentum: Array, scale: Array, nesterov: bool) -> tuple[Array, Array]:
    """See `funcnn.kernels.updates.momentum_update`."""
    if g.shape != m.shape or not same_floats(g, m):
        return NotImplemented
    results = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
    numbers: Any = [g.dtype.type(number) for number in (momentum, scale)] + [nesterov]
    arrays: Any = [np.ascontiguousarray(a).reshape(-1) for a in (g, m, *results)]
    _momentum_update(*arrays, *numbers)
    return results


@routine("void(R[::1], R[::1], T[::1], T[::1], T, T, boolean)")
def _momentum_update(
    g: Array, m: Array, update: Array, new_m: Array, momentum: float, scale: float, nesterov: bool
) -> None:
    for i in range(len(g)):
        new_m[i] = momentum * m[i] + g[i]
        update[i] = scale * (momentum * new_m[i] + g[i] if nesterov else new_m[i])
