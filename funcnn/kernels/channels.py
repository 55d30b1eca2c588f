"""Sums and affine maps per channel, for x (..., C) of any size.

Each routine processes x in blocks, so that its intermediate results stay in the cache: several passes over a block cost
little more than one pass over the whole. NumPy's loops run over the last axis, slowly if it is short, so x is reshaped
to longer rows of several neighbouring positions, and the per-channel arguments are repeated to match.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from funcnn.kernels.bias import channel_sum
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import Argmax, max_pool_adjoint
from funcnn.kernels.rectifier import rectify, rectify_adjoint
from funcnn.kernels.selection import compilable
from funcnn.tree import Array, Tree

# ``scripts/bench --job bnnet`` measures both again.
_BLOCK_BYTES = 1 << 19  # of x: larger blocks make fewer NumPy calls, smaller ones stay in the cache
_ROW = 1 << 13  # numbers of a row, at most: longer rows make faster loops, but the repeated arguments cost as much


@compilable
def channel_moments(x: Array) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance over all axes but the last; 0 if there are no numbers."""
    count = max(x.size // max(x.shape[-1], 1), 1)
    mean = channel_sum(x) / count
    return mean, centred_product_sum(x, mean) / count


def centred_product_sum(x: Array, mean: Array, dy: Array | None = None) -> Array:
    """Return sum (x - mean) dy over all axes but the last; without ``dy``, sum (x - mean)^2."""
    channels = x.shape[-1]
    rows = long_rows(x)
    dy_rows = None if dy is None else dy.reshape(rows.shape)
    mean = repeat_channels(mean, rows)
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


@compilable
def affine(x: Array, mean: Array, factor: Array, shift: Array, relu: bool = False) -> Array:
    """Return (x - mean) factor + shift; with ``relu``, its positive part."""
    y = np.empty(x.shape, np.result_type(x, mean, factor, shift))
    rows = long_rows(x)
    y_rows = y.reshape(rows.shape)
    mean, factor, shift = (repeat_channels(v, rows) for v in (mean, factor, shift))
    for block in _blocks(rows):
        part = y_rows[block]
        np.subtract(rows[block], mean, out=part)
        part *= factor
        part += shift
    return rectify(y, y) if relu else y


class Pooled(NamedTuple):
    """The array that was pooled, and what `funcnn.kernels.pooling.max_pool` returned beside the maxima."""

    x: Array
    argmaxes: list[Argmax]
    geometry: Geometry


@compilable
def affine_adjoint(
    x: Array, mean: Array, factor: Array, shift: Array, y: Array | None, dy: Array, pooled: Pooled | None = None
) -> tuple[Array, Array, Callable[[Array, Array], Array]]:
    """Return sum (x - mean) dy, sum dy, and ``combine``.

    ``combine(slope, offset)`` returns ((x - mean) slope + dy + offset) factor. If y is given, the result of `affine`
    with ``relu``, all of them take 0 in place of dy where y is not above 0. If x are the maxima of ``pooled``,
    ``combine`` takes ``pooled.x`` in place of x, and the adjoint of max pooling at dy in place of dy.
    """
    dy = dy if y is None else rectify_adjoint(y, dy)

    def combine(slope: Array, offset: Array) -> Array:
        if pooled is None:
            return _affine_of_two(x, mean, slope, dy, offset, factor, overwrite_dy=y is not None)
        dx = max_pool_adjoint(dy, pooled.argmaxes, pooled.geometry)
        return _affine_of_two(pooled.x, mean, slope, dx, offset, factor, overwrite_dy=True)

    return centred_product_sum(x, mean, dy), channel_sum(dy), combine


def normalization_affine(params: Tree, stats: Tree, eps: float, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return factor and shift with which batch normalisation by given statistics is factor x + shift.

    They are computed in ``dtype``; complex params stay complex.
    """
    mean, var = (stats[name].astype(np.empty(0, dtype).real.dtype, copy=False) for name in ("mean", "var"))
    with np.errstate(all="ignore"):
        factor = params["scale"].astype(dtype, copy=False) / np.sqrt(var + eps)
        return factor, params["bias"] - mean * factor


def _affine_of_two(
    x: Array, mean: Array, slope: Array, dy: Array, shift: Array, factor: Array, *, overwrite_dy: bool
) -> Array:
    """Return ((x - mean) slope + dy + shift) factor, an affine map of the two arrays x and dy.

    With ``overwrite_dy`` it may be written to dy, which saves memory traffic.
    """
    dtype = np.result_type(x, mean, slope, dy, shift, factor)
    in_place = overwrite_dy and dy.flags.c_contiguous and dy.dtype == dtype
    dx = dy if in_place else np.empty(x.shape, dtype)
    rows = long_rows(x)
    dy_rows, dx_rows = dy.reshape(rows.shape), dx.reshape(rows.shape)
    mean, slope, shift, factor = (repeat_channels(v, rows) for v in (mean, slope, shift, factor))
    work = np.empty((min(len(rows), _block_rows(rows)), rows.shape[1]), dtype)
    for block in _blocks(rows):
        part, centred = dx_rows[block], work[: block.stop - block.start]
        np.subtract(rows[block], mean, out=centred)
        centred *= slope
        np.add(centred, dy_rows[block], out=part)
        part += shift
        part *= factor
    return dx


def long_rows(x: Array, row: int = _ROW) -> Array:
    """Reshape x to a matrix of up to ``row`` columns: several positions, a power of two; one position if x is small."""
    channels, positions = x.shape[-1], math.prod(x.shape[:-1])
    fold = math.gcd(positions, 1 << ((row // channels).bit_length() - 1)) if x.size > row >= channels else 1
    return x.reshape(positions // fold, fold * channels)


def repeat_channels(v: Array, rows: Array) -> Array:
    """Repeat v (C,) once for each position of a row."""
    if v.size == rows.shape[1]:
        return v
    return np.broadcast_to(v, (rows.shape[1] // v.size, v.size)).reshape(-1)


def _block_rows(rows: Array) -> int:
    return max(1, _BLOCK_BYTES // max(1, rows.shape[1] * rows.itemsize))


def _blocks(rows: Array) -> Iterator[slice]:
    step = _block_rows(rows)
    for start in range(0, len(rows), step):
        yield slice(start, min(start + step, len(rows)))
