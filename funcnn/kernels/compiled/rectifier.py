"""Twins of `funcnn.kernels.rectifier`."""

from __future__ import annotations

import numpy as np

from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array


def rectify_adjoint(y: Array, dy: Array) -> Array:
    """See `funcnn.kernels.rectifier.rectify_adjoint`."""
    if y.shape != dy.shape or not same_floats(y, dy):
        return NotImplemented
    dx = np.empty(dy.shape, dy.dtype)
    _rectify_adjoint(np.ascontiguousarray(y).reshape(-1), np.ascontiguousarray(dy).reshape(-1), dx.reshape(-1))
    return dx


@routine("void(R[::1], R[::1], T[::1])")
def _rectify_adjoint(y: Array, dy: Array, dx: Array) -> None:
    zero = dy.dtype.type(0)
    for i in range(len(dx)):
        dx[i] = dy[i] if y[i] > 0 else zero
