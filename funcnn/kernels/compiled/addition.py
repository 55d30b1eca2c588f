"""Twin of `funcnn.kernels.addition`: several threads add blocks. On one thread NumPy is as fast, and computes."""

from __future__ import annotations

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array

_BLOCK = 1 << 15  # numbers that a thread takes at once


def add(x: Array, y: Array) -> Array:
    """See `funcnn.kernels.addition.add`."""
    parts = threads.worth_passes(x.size)
    if parts == 1 or x.shape != y.shape or not same_floats(x, y):
        return NotImplemented
    total = np.empty(x.shape, x.dtype)
    _add(team(parts), np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(y).reshape(-1), total.reshape(-1))
    return total


@in_parallel
def _block(arguments, thread, block):  # type: ignore[no-untyped-def]
    first, last = block * _BLOCK, (block + 1) * _BLOCK
    # of a slice, no index is below 0, so that the loop becomes one of vectors
    x, y, total = arguments[0][first:last], arguments[1][first:last], arguments[2][first:last]
    for i in range(len(total)):
        total[i] = x[i] + y[i]


@routine("void(i8[::1], R[::1], R[::1], T[::1])")
def _add(team: Array, x: Array, y: Array, total: Array) -> None:
    _block(team, (x, y, total), (len(total) + _BLOCK - 1) // _BLOCK)
