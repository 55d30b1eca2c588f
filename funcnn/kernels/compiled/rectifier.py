"""Twins of `funcnn.kernels.rectifier`."""

from __future__ import annotations

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array

_BLOCK = 1 << 15  # numbers, that a thread takes at once


def rectify(x: Array, out: Array | None = None) -> Array:
    """See `funcnn.kernels.rectifier.rectify`. On one thread, or in place, NumPy is as fast, and computes."""
    parts = threads.worth_passes(x.size)
    if parts == 1 or out is not None or not same_floats(x):
        return NotImplemented
    y = np.empty(x.shape, x.dtype)
    _rectify(team(parts), np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


def rectify_adjoint(y: Array, dy: Array) -> Array:
    """See `funcnn.kernels.rectifier.rectify_adjoint`."""
    if y.shape != dy.shape or not same_floats(y, dy):
        return NotImplemented
    dx = np.empty(dy.shape, dy.dtype)
    arrays = np.ascontiguousarray(y).reshape(-1), np.ascontiguousarray(dy).reshape(-1), dx.reshape(-1)
    _rectify_adjoint(team(threads.worth_passes(dy.size)), *arrays)
    return dx


@in_parallel
def _block_rectified(arguments, thread, block):  # type: ignore[no-untyped-def]
    first, last = block * _BLOCK, (block + 1) * _BLOCK
    # of a slice, no index is below 0, so that the loop becomes one of vectors
    x, y = arguments[0][first:last], arguments[1][first:last]
    zero = x.dtype.type(0)
    for i in range(len(x)):
        y[i] = zero if x[i] <= 0 else x[i]


@routine("void(i8[::1], R[::1], T[::1])")
def _rectify(team: Array, x: Array, y: Array) -> None:
    _block_rectified(team, (x, y), (len(x) + _BLOCK - 1) // _BLOCK)


@in_parallel
def _block_adjoint(arguments, thread, block):  # type: ignore[no-untyped-def]
    first, last = block * _BLOCK, (block + 1) * _BLOCK
    y, dy, dx = arguments[0][first:last], arguments[1][first:last], arguments[2][first:last]
    zero = dy.dtype.type(0)
    for i in range(len(dx)):
        dx[i] = dy[i] if y[i] > 0 else zero


@routine("void(i8[::1], R[::1], R[::1], T[::1])")
def _rectify_adjoint(team: Array, y: Array, dy: Array, dx: Array) -> None:
    _block_adjoint(team, (y, dy, dx), (len(dx) + _BLOCK - 1) // _BLOCK)
