"""Updates of optimizers for one array: the arithmetic of `funcnn.optim.adam` and of `funcnn.optim.sgd`.

Numbers are given as arrays of no axes in the arrays' dtype, which saves converting them in each operation. ``l2 * p``
is added to the gradient g of the parameters p. If ``applied``, a kernel returns p + update instead of the update, bit
for bit. All results are new arrays.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from funcnn.kernels.selection import compilable
from funcnn.tree import Array


@partial(compilable, least=1)
def adam_update(
    g: Array, m: Array, v: Array, p: Array,
    l2: Array, b1: Array, rest1: Array, b2: Array, rest2: Array, eps: Array, scale: Array, decay: Array, applied: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return scale * m' / (sqrt(v') + eps) + decay * p, m' = b1 m + rest1 g and v' = b2 v + rest2 g^2."""
    if l2:
        g = g + l2 * p
    # three new arrays in all: allocating memory takes longer than the arithmetic
    update = np.asarray(rest1 * g)
    m = b1 * m
    m += update
    np.multiply(g, g, out=update)
    update *= rest2
    v = b2 * v
    v += update
    np.sqrt(v, out=update)
    update += eps
    np.divide(m, update, out=update)
    update *= scale
    if decay:
        update += decay * p
    return (apply_in_place(p, update) if applied else update), m, v


@partial(compilable, least=1)
def momentum_update(
    g: Array, m: Array, p: Array, l2: Array, momentum: Array, scale: Array, nesterov: bool, applied: bool
) -> tuple[Array, Array]:
    """Return scale * m' and m' = momentum * m + g; with ``nesterov``, scale * (momentum * m' + g) and m'."""
    if l2:
        g = g + l2 * p
    m = momentum * m
    m += g
    if nesterov:
        update = np.asarray(momentum * m)
        update += g
        update *= scale
    else:
        update = scale * m
    return (apply_in_place(p, update) if applied else update), m


@partial(compilable, least=1 << 16)  # from there on, threads that wait take part
def descend(g: Array, p: Array, scale: Array) -> Array:
    """Return p + scale * g in the dtype of p."""
    return apply_in_place(p, scale * g)


def apply_update(p: Any, u: Any) -> Any:
    """Return p + u in the dtype of p, or raise a ValueError if their shapes differ."""
    if u.shape != p.shape:
        raise ValueError(f"apply_updates: a parameter has shape {p.shape}, its update {u.shape}")
    total = p + u
    return total if total.dtype is p.dtype or total.dtype == p.dtype else total.astype(p.dtype)


def apply_in_place(p: Any, u: Any) -> Any:
    """Return `apply_update` of p and u, written over u if that is an array of the same dtype."""
    if type(u) is not np.ndarray or u.shape != p.shape or u.dtype != p.dtype:
        return apply_update(p, u)
    u += p
    return u
