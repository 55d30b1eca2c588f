"""Twins of `funcnn.kernels.conv.block_maxima`: one pass over the rows."""

from __future__ import annotations

import math

import numpy as np

from funcnn.kernels.compiled.conv.volumes import writable
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array


def maxima_of_parts(outputs: Array, parts: int, return_argmax: bool) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.block_maxima.maxima_of_parts`."""
    if not same_floats(outputs) or parts < 1:
        return NotImplemented
    *rows, width = outputs.shape
    maxima = np.empty((*rows, width // parts), outputs.dtype)
    argmax = np.empty(maxima.shape, np.uint8)
    count = math.prod(rows)
    if maxima.size:
        of_rows = np.ascontiguousarray(outputs).reshape(count, parts, width // parts)
        _maxima(of_rows, maxima.reshape(count, -1), argmax.reshape(count, -1))
    return maxima, argmax if return_argmax else None


def scatter_to_parts(dy: Array, argmax: Array, parts: int) -> Array:
    """See `funcnn.kernels.conv.block_maxima.scatter_to_parts`."""
    if not same_floats(dy) or argmax.dtype != np.uint8 or argmax.shape != dy.shape:
        return NotImplemented
    dz = np.empty((*dy.shape[:-1], parts * dy.shape[-1]), dy.dtype)
    if dz.size:
        size = dy.shape[-1]
        _scatter(writable(dy).reshape(-1, size), writable(argmax).reshape(-1, size), dz.reshape(-1, parts, size))
    return dz


@routine("void(R[:,:,::1], T[:,::1], u1[:,::1])")
def _maxima(outputs: Array, maxima: Array, argmax: Array) -> None:
    rows, parts, size = outputs.shape
    for r in range(rows):
        y, k = maxima[r], argmax[r]
        first = outputs[r, 0]
        for i in range(size):
            y[i] = first[i]
            k[i] = 0
        for part in range(1, parts):
            tap, number = outputs[r, part], np.uint8(part)
            for i in range(size):
                above = tap[i] > y[i] or (tap[i] != tap[i] and y[i] == y[i])  # the first NaN is the maximum
                y[i] = tap[i] if above else y[i]
                k[i] = number if above else k[i]


@routine("void(T[:,::1], u1[:,::1], T[:,:,::1])")
def _scatter(dy: Array, argmax: Array, dz: Array) -> None:
    zero = dy.dtype.type(0)
    rows, parts, size = dz.shape
    for r in range(rows):
        for part in range(parts):
            for i in range(size):
                dz[r, part, i] = dy[r, i] if argmax[r, i] == part else zero
