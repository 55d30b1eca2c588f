"""Reductions over the last axis, which NumPy takes a row at a time, at a cost where the rows are short."""

from __future__ import annotations

import math

import numpy as np

from funcnn.kernels.bias import ones
from funcnn.tree import Array

_SHORT_ROW = 32


def row_max(x: Array) -> Array:
    """Return the maximum over the last axis, which is kept with size 1."""
    if x.shape[-1] > _SHORT_ROW:
        return x.max(axis=-1, keepdims=True)
    if x.ndim > 2:
        return row_max(x.reshape(math.prod(x.shape[:-1]), x.shape[-1])).reshape(*x.shape[:-1], 1)
    return np.maximum.reduce(x.T.copy(), axis=0)[..., None]


def row_sum(x: Array) -> Array:
    """Return the sum over the last axis, by a product with ones."""
    return x.dot(ones(x.shape[-1], x.dtype))
