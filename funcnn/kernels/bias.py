"""Adding one number a channel, and its adjoint."""

from __future__ import annotations

import math

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


def channel_sum(dy: Array) -> Array:
    """Sum (..., C) to (C,): as a product with ones, which is quicker than NumPy's sum over leading axes."""
    channels = dy.shape[-1]
    rows = dy.reshape(dy.size // max(channels, 1), channels)
    return np.ones(rows.shape[0], dy.dtype) @ rows


def example_sums(dy: Array) -> Array:
    """Sum (N, ..., C) to (N, C), each example for itself."""
    return dy.reshape(dy.shape[0], math.prod(dy.shape[1:-1]), dy.shape[-1]).sum(axis=1)
