"""Sums and affine maps channel by channel, for x (..., C) of any size.

Each routine goes through x a block at a time, so that its intermediate results stay in the cache: several passes over a
block cost little more than one over the whole. And it lays neighbouring positions end to end, with the channels'
numbers repeated as often, since NumPy works a row at a time and rows of C are short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from funcnn.kernels.bias import channel_sum
from funcnn.tree import Array

_BLOCK_BYTES = 1 << 19
_ROW = 1 << 13


def centred_product_sum(x: Array, mean: Array, dy: Array | None = None) -> Array:
    """Return sum (x - mean) dy over all axes but the last; without ``dy``, sum (x - mean)^2."""
    channels = x.shape[-1]
    rows = _folded(x)
    dy_rows = None if dy is None else dy.reshape(rows.shape)
    mean = _repeated(mean, rows)
    dtype = x.dtype if dy is None else np.result_type(x, dy)
    total = np.zeros(rows.shape[1], dtype)
    work = np.empty((min(len(rows), _block_rows(rows)), rows.shape[1]), dtype)
    ones = np.ones(len(work), dtype)
    for block in _blocks(rows):
        n = block.stop - block.start
        np.subtract(rows[block], mean, out=work[:n])
        work[:n] *= work[:n] if dy_rows is None else dy_rows[block]
        total += ones[:n].dot(work[:n])
    return total if total.size == channels else channel_sum(total.reshape(total.size // channels, channels))


def affine(x: Array, mean: Array, factor: Array, shift: Array) -> Array:
    """Return (x - mean) factor + shift."""
    y = np.empty(x.shape, np.result_type(x, mean, factor, shift))
    rows = _folded(x)
    y_rows = y.reshape(rows.shape)
    mean, factor, shift = (_repeated(v, rows) for v in (mean, factor, shift))
    for block in _blocks(rows):
        part = y_rows[block]
        np.subtract(rows[block], mean, out=part)
        part *= factor
        part += shift
    return y


def affine_of_two(x: Array, mean: Array, slope: Array, dy: Array, shift: Array, factor: Array) -> Array:
    """Return ((x - mean) slope + dy + shift) factor."""
    dx = np.empty(x.shape, np.result_type(x, mean, slope, dy, shift, factor))
    rows = _folded(x)
    dy_rows, dx_rows = dy.reshape(rows.shape), dx.reshape(rows.shape)
    mean, slope, shift, factor = (_repeated(v, rows) for v in (mean, slope, shift, factor))
    for block in _blocks(rows):
        part = dx_rows[block]
        np.subtract(rows[block], mean, out=part)
        part *= slope
        part += dy_rows[block]
        part += shift
        part *= factor
    return dx


def _folded(x: Array) -> Array:
    """Return x as a matrix with several positions, a power of two, in a row; one, if x is small."""
    channels, positions = x.shape[-1], math.prod(x.shape[:-1])
    fold = math.gcd(positions, 1 << ((_ROW // channels).bit_length() - 1)) if x.size > _ROW >= channels else 1
    return x.reshape(positions // fold, fold * channels)


def _repeated(v: Array, rows: Array) -> Array:
    """Return the channels' numbers once for each position in a row."""
    if v.size == rows.shape[1]:
        return v
    return np.broadcast_to(v, (rows.shape[1] // v.size, v.size)).reshape(-1)


def _block_rows(rows: Array) -> int:
    return max(1, _BLOCK_BYTES // max(1, rows.shape[1] * rows.itemsize))


def _blocks(rows: Array) -> Iterator[slice]:
    step = _block_rows(rows)
    for start in range(0, len(rows), step):
        yield slice(start, min(start + step, len(rows)))
