"""Adding one number a channel, and its adjoint."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.tree import Array

_LARGE, _SEVERAL, _MANY = 1 << 14, 1 << 12, 1 << 9  # numbers, and places, from which on a closer look pays


def add_bias(y: Array, b: Array | None) -> Array:
    """Return y + b, b (C,) along the last axis; ``y`` is used up, for the caller has just allocated it."""
    if b is None:
        return y
    if b.dtype != y.dtype and np.result_type(y, b) != y.dtype:
        return y + b
    channels = len(b)
    if y.size <= _MANY * channels or y.ndim == 2 or channels > 128 or not y.flags.c_contiguous:
        y += b
    # NumPy adds short rows a row at a time: lay the channels out as a whole image first, or as a line of it
    elif y.size >= _LARGE and len(y) >= 4:
        images = y.reshape(len(y), -1)
        images += np.broadcast_to(b, y.shape[1:]).ravel()
    else:
        lines = y.reshape(-1, y.shape[-2] * channels)
        lines += b.take(_channels_of_line(y.shape[-2], channels))
    return y


@lru_cache(maxsize=64)
def _channels_of_line(places: int, channels: int) -> Array:
    return np.tile(np.arange(channels), places)


def channel_sum(dy: Array, per_example: bool = False) -> Array:
    """Sum (N, ..., C) to (C,), or ``per_example`` to (N, C)."""
    channels = dy.shape[-1]
    if per_example:
        positions = math.prod(dy.shape[1:-1])
        return ones(positions, dy.dtype) @ dy.reshape(len(dy), positions, channels)
    # a product with ones is quicker than NumPy's sum over leading axes; where rows are short, with several in one
    if dy.size < _SEVERAL or channels >= 16:
        rows = dy if dy.ndim == 2 else dy.reshape(dy.size // max(channels, 1), channels)
        return ones(len(rows), dy.dtype).dot(rows)
    count = dy.size // channels
    together = math.gcd(count, 32)
    total = ones(count // together, dy.dtype).dot(dy.reshape(count // together, together * channels))
    return ones(together, dy.dtype).dot(total.reshape(together, channels))


def ones(count: int, dtype: np.dtype[Any]) -> Array:
    """Return a vector of ones, not to be written to; short ones are kept, for making them takes longer than using."""
    return _short_ones(count, dtype) if count <= 4096 else np.ones(count, dtype)


@lru_cache(maxsize=64)
def _short_ones(count: int, dtype: np.dtype[Any]) -> Array:
    vector = np.ones(count, dtype)
    vector.flags.writeable = False
    return vector
