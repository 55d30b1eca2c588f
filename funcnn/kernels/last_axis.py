"""Reductions over the last axis, and indices into it. NumPy's own reduce row by row, slowly if rows are short."""

from __future__ import annotations

import math

import numpy as np

from funcnn.kernels.bias import ones
from funcnn.kernels.caching import cached_arrays
from funcnn.tree import Array

# Entries: up to here, reducing a transposed copy is faster. ``scripts/bench --job seed`` measures it again.
_SHORT_ROW = 32


def row_max(x: Array) -> Array:
    """Return the maximum over the last axis, as `np.max` with ``keepdims=True``."""
    if x.shape[-1] > _SHORT_ROW:
        return x.max(axis=-1, keepdims=True)
    if x.ndim > 2:
        return row_max(x.reshape(math.prod(x.shape[:-1]), x.shape[-1])).reshape(*x.shape[:-1], 1)
    return np.maximum.reduce(x.T.copy(), axis=0)[..., None]


def row_sum(x: Array) -> Array:
    """Return the sum over the last axis, computed as a product with ones."""
    return x.dot(ones(x.shape[-1], x.dtype))


def flat_index(entries: Array, width: int) -> Array:
    """Return the indices of entries (N, ...) of the last axis of an array (N, ..., C) into it when flattened."""
    return entries.astype(np.intp, copy=False) + _row_starts(entries.shape, width)


@cached_arrays
def _row_starts(shape: tuple[int, ...], width: int) -> Array:
    starts = np.arange(0, math.prod(shape) * width, width).reshape(shape)
    starts.flags.writeable = False
    return starts
