"""Adding one number a channel, and its adjoint."""

from __future__ import annotations

import numpy as np

from funcnn.tree import Array


def add_bias(y: Array, b: Array | None) -> Array:
    """Return y + b, b (C,) along the last axis; ``y`` is used up, for the caller has just allocated it."""
    if b is None:
        return y
    if np.result_type(y, b) != y.dtype:
        return y + b
    y += b
    return y


def channel_sum(dy: Array, per_example: bool = False) -> Array:
    """Sum (N, ..., C) to (C,), or ``per_example`` to (N, C)."""
    if per_example:
        return dy.sum(axis=tuple(range(1, dy.ndim - 1)))
    channels = dy.shape[-1]
    rows = dy.reshape(dy.size // max(channels, 1), channels)
    # a product with ones is quicker than NumPy's sum over leading axes
    return np.ones(rows.shape[0], dy.dtype) @ rows
