"""Cross-correlation of images with few channels, several neighbouring outputs of a row at once.

With few channels a window is too short a row, and the outputs at a place too few columns, for a fast product. A block
of t outputs of one row is a window too, some positions wider, with t times as many output channels; its weights are w
placed t times, each a stride further, with zeros between (`funcnn.kernels.conv.toeplitz.matrix`). The zeros cost some
products more, and the longer rows and columns gain more than that.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from funcnn.kernels.conv import im2col, toeplitz
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_WIDEST = 128  # columns of a product, at most
# Columns are multiplied in vectors of so many numbers, and copying a number takes as long as so many multiplications.
# Adding a row of a block to where it belongs takes as long as _ROW besides.
_VECTOR, COPY, _ROW = 16, 33, 500


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    in_channels, out_channels = w.shape[-2:]
    length = _length(g, in_channels, out_channels)
    of_blocks, block = _geometries(g, length)
    weights = toeplitz.matrix(w, block).reshape(*of_blocks.window, in_channels, length * out_channels)
    y = im2col.correlate(x, weights, of_blocks, 1)
    return _outputs(y, g, out_channels)


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    length = _length(g, in_channels, out_channels)
    of_blocks, block = _geometries(g, length)
    pairs = im2col.correlate_adjoint_w(x, _blocked(dy, of_blocks, length), of_blocks, 1)
    return toeplitz.matrix_adjoint(pairs.reshape(-1, length * out_channels), block, in_channels, out_channels)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_x`."""
    in_channels, out_channels = w.shape[-2:]
    length = _length(g, in_channels, out_channels, adding=True)
    of_blocks, block = _geometries(g, length)
    return add_up(_blocked(dy, of_blocks, length), toeplitz.matrix(w, block), g, of_blocks)


def add_up(dys: Array, weights: Array, g: Geometry, of_blocks: Geometry) -> Array:
    """Return dx: dys (N, out of row_blocks..., outputs) times weights (positions * I, outputs)^T, each block's
    positions added up row by row where they lie.
    """
    in_channels = len(weights) // math.prod(of_blocks.window)
    weights = weights.T.copy()
    *rows, count = of_blocks.out
    padded = tuple(
        max(s + lo + max(hi, 0), step * (o - 1) + d * (k - 1) + 1)
        for s, (lo, hi), step, o, d, k in zip(
            g.size, of_blocks.padding, of_blocks.stride, of_blocks.out, of_blocks.dilation, of_blocks.window,
            strict=True,
        )
    )  # fmt: skip
    dx = np.zeros((len(dys), *padded, in_channels), np.result_type(dys, weights))
    width, apart = of_blocks.window[-1], of_blocks.stride[-1]
    for chunk in im2col.chunks(len(dys), of_blocks, in_channels * dx.itemsize):
        outputs = dys[chunk].reshape(-1, len(weights))
        positions = np.empty((len(outputs), weights.shape[1]), dx.dtype)
        im2col.multiply(outputs, weights, positions)
        positions = positions.reshape(-1, *rows, count, *of_blocks.window, in_channels)
        for tap in product(*map(range, of_blocks.window[:-1])):
            lines = tuple(
                slice(k * d, k * d + step * (o - 1) + 1, step)
                for k, d, step, o in zip(tap, of_blocks.dilation, of_blocks.stride, rows, strict=False)
            )
            of_tap: Any = (..., *tap, slice(None), slice(None))
            to, from_strips = dx[chunk][:, *lines], positions[of_tap]
            if apart == width:  # side by side: all at once
                beside = to[..., : count * width, :]
                beside = beside.reshape(
                    *beside.shape[:-2], count, width, in_channels
                )  # a view, for an axis is only split
                beside += from_strips
                continue
            for i in range(count):
                to[..., i * apart : i * apart + width, :] += from_strips[..., i, :, :]
    return dx[:, *(slice(lo, lo + s) for s, (lo, _) in zip(g.size, g.padding, strict=True))]


@lru_cache(maxsize=256)
def _length(g: Geometry, in_channels: int, out_channels: int, *, adding: bool = False) -> int:
    """Return how many outputs of a row to take at once: those at the least cost.

    Long row blocks share positions that short ones gather twice, but multiply more zeros. Those that do not make up a
    row reach beyond its end, and all outputs are copied to cut that off. For ``adding``, it is the way back to x that
    counts.
    """
    row, lines = g.out[-1], math.prod(g.window[:-1])
    span, step = g.dilation[-1] * (g.window[-1] - 1) + 1, g.stride[-1]

    def cost(length: int) -> int:
        positions = (span + step * (length - 1)) * in_channels
        width = -(-length * out_channels // _VECTOR) * _VECTOR
        beyond = COPY * row * out_channels if row % length else 0
        return -(-row // length) * lines * (positions * (width + COPY) + _ROW * adding) + beyond

    return min(range(1, max(1, min(row, _WIDEST // max(out_channels, 1))) + 1), key=cost)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, length: int) -> tuple[Geometry, Geometry]:
    """Return the windows that hold a block each, and the windows within one of these."""
    *_, step = g.stride
    width = g.dilation[-1] * (g.window[-1] - 1) + 1 + step * (length - 1)
    count = -(-g.out[-1] // length)
    lo, _ = g.padding[-1]
    of_blocks = g._replace(
        window=(*g.window[:-1], width),
        stride=(*g.stride[:-1], step * length),
        padding=(*g.padding[:-1], (lo, step * length * (count - 1) + width - g.size[-1] - lo)),
        dilation=(*g.dilation[:-1], 1),
        out=(*g.out[:-1], count),
    )
    one = (1,) * (len(g.size) - 1)
    block = Geometry(
        (*g.window[:-1], width), g.window, (*one, step), ((0, 0),) * len(g.size), (*one, g.dilation[-1]), (*one, length)
    )
    return of_blocks, block


def _blocked(dy: Array, of_blocks: Geometry, length: int) -> Array:
    """View or copy dy (N, out..., O) as (N, out of row_blocks..., length * O)."""
    n, *rows, out, out_channels = dy.shape
    missing = of_blocks.out[-1] * length - out
    if missing:
        dy = np.concatenate([dy, np.zeros((n, *rows, missing, out_channels), dy.dtype)], axis=-2)
    return dy.reshape(n, *of_blocks.out, length * out_channels)


def _outputs(y: Array, g: Geometry, out_channels: int) -> Array:
    """Take (N, out of row_blocks..., length * O) back to (N, out..., O)."""
    y = y.reshape(len(y), *g.out[:-1], math.prod(y.shape[-2:]) // out_channels, out_channels)
    return y if y.shape[-2] == g.out[-1] else np.ascontiguousarray(y[..., : g.out[-1], :])
