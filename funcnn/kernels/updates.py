"""Updates of optimizers for one array: the arithmetic of `funcnn.optim.adam` and of `funcnn.optim.sgd` with momentum.

Numbers are given as arrays of no axes in the arrays' dtype, which saves converting them in each operation.
"""

from __future__ import annotations

import numpy as np

from funcnn.kernels.selection import compilable
from funcnn.tree import Array


@compilable
def adam_update(
    g: Array, m: Array, v: Array, b1: Array, rest1: Array, b2: Array, rest2: Array, eps: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """Return scale * m' / (sqrt(v') + eps), m' = b1 m + rest1 g and v' = b2 v + rest2 g^2, all of them new arrays."""
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
    return update, m, v


@compilable
def momentum_update(g: Array, m: Array, momentum: Array, scale: Array, nesterov: bool) -> tuple[Array, Array]:
    """Return scale * m' and m' = momentum * m + g, both new arrays; with ``nesterov``, scale * (momentum * m' + g)."""
    m = momentum * m + g
    if not nesterov:
        return scale * m, m
    update = np.asarray(momentum * m + g)
    update *= scale
    return update, m
