"""Add a bias to each channel; and the adjoint, the sum over everything but the channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.rectifier import rectify
from funcnn.tree import Array

# NumPy's loops run over the last axis, slowly if it is short, so both routines make longer rows of several positions.
# Below these sizes that only adds calls. ``scripts/bench --job digits32`` and ``--job lenet`` measure them again.
_ROW_BIAS_POSITIONS = 1 << 9  # positions: above these, add the bias repeated over a row, else let NumPy broadcast it
_IMAGE_BIAS_SIZE = 1 << 14  # entries of y: from here on, and from ...
_IMAGE_BIAS_IMAGES = 4  # ... so many images on, add the bias repeated over an image
_LONG_BIAS = 128  # channels: above these, rows are long enough for NumPy to broadcast the bias
_FOLDED_SUM_SIZE = 1 << 12  # entries of dy: from here on, sum several positions per row ...
_FOLDED_SUM_CHANNELS = 16  # ... if there are fewer channels than these
_CACHED_ONES = 4096  # entries of a vector of ones: up to here, allocating takes longer than using it


def add_bias(y: Array, b: Array | None, relu: bool = False) -> Array:
    """Return y + b, with b (C,) along the last axis; with ``relu``, max(y + b, 0).

    It writes to ``y``, which the caller must have allocated.
    """
    if b is not None:
        y = _add_bias(y, b)
    return rectify(y, y) if relu else y


def _add_bias(y: Array, b: Array) -> Array:
    if b.dtype != y.dtype and np.result_type(y, b) != y.dtype:
        return y + b
    channels = len(b)
    by_numpy = y.ndim == 2 or not 1 < channels <= _LONG_BIAS  # of a single channel, NumPy's loop runs over all axes
    if by_numpy or y.size <= _ROW_BIAS_POSITIONS * channels or not y.flags.c_contiguous:
        y += b
    elif y.size >= _IMAGE_BIAS_SIZE and len(y) >= _IMAGE_BIAS_IMAGES:
        images = y.reshape(len(y), -1)
        images += np.broadcast_to(b, y.shape[1:]).ravel()
    else:
        rows = y.reshape(-1, y.shape[-2] * channels)
        rows += repeat_bias(b, y.shape[-2])
    return y


def repeat_bias(b: Array, positions: int) -> Array:
    """Return the bias of several neighbouring positions as one vector."""
    return b.take(_channel_indices(positions, len(b)))


@cached_arrays
def _channel_indices(positions: int, channels: int) -> Array:
    return np.tile(np.arange(channels), positions)


def example_channel_sums(dy: Array) -> Array:
    """Sum (N, ..., C) over all positions to (N, C)."""
    positions = math.prod(dy.shape[1:-1])
    return ones(positions, dy.dtype) @ dy.reshape(len(dy), positions, dy.shape[-1])


def channel_sum(dy: Array) -> Array:
    """Sum (N, ..., C) over all axes but the last to (C,)."""
    channels = dy.shape[-1]
    # a product with ones is faster than NumPy's sum over leading axes
    if dy.size < _FOLDED_SUM_SIZE or channels >= _FOLDED_SUM_CHANNELS:
        rows = dy if dy.ndim == 2 else dy.reshape(dy.size // max(channels, 1), channels)
        return ones(len(rows), dy.dtype).dot(rows)
    count = dy.size // channels
    fold = math.gcd(count, 32)
    total = ones(count // fold, dy.dtype).dot(dy.reshape(count // fold, fold * channels))
    return ones(fold, dy.dtype).dot(total.reshape(fold, channels))


def ones(count: int, dtype: np.dtype[Any]) -> Array:
    """Return a vector of ones, which must not be written to: short ones are cached."""
    return _short_ones(count, dtype) if count <= _CACHED_ONES else np.ones(count, dtype)


@cached_arrays
def _short_ones(count: int, dtype: np.dtype[Any]) -> Array:
    vector = np.ones(count, dtype)
    vector.flags.writeable = False
    return vector
