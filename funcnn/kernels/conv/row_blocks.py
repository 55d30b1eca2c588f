"""Cross-correlation of images with few channels, in blocks of several neighbouring outputs of a row.

With few channels, the im2col matrix has too few columns, and so has the matrix of outputs, for a fast product. A block
of t neighbouring outputs is itself the output of a wider window with t times as many output channels. The weights of
that window are t copies of w, each shifted by one more stride, and zeros elsewhere: a Toeplitz matrix
(`funcnn.kernels.conv.toeplitz.matrix`). The products by 0 cost less than the wider matrices gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from funcnn.kernels.bias import add_bias
from funcnn.kernels.conv import im2col, toeplitz
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.selection import active, compilable
from funcnn.tree import Array

# The cost model of `_length`; ``scripts/bench --methods`` measures again whether its choices are the fastest.

_MAX_WIDTH = 128  # columns of a product: beyond these, the products by 0 cost more than wider matrices gain
_VECTOR = 16  # columns that are multiplied in one step: a product's width counts as the next multiple
COPY = 33  # multiply-adds that take as long as copying one number
_ROW = 500  # multiply-adds: the fixed cost of adding one row of positions to dx


@compilable
def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    return _prepare(x, w, g, b, relu)(x)


def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    if active(x.size, x.dtype):
        return lambda x: correlate(x, w, g, groups, b, relu)
    return _prepare(x, w, g, b, relu)


def _prepare(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool) -> Callable[[Array], Array]:
    in_channels, out_channels = w.shape[-2:]
    length = _length(g, in_channels, out_channels)
    blocks, within_block = _geometries(g, length)
    weights = toeplitz.matrix(w, within_block).reshape(*blocks.window, in_channels, length * out_channels)
    correlate_blocks = im2col.prepare(x, weights, blocks, 1)
    return lambda x: add_bias(_join_blocks(correlate_blocks(x), g, out_channels), b, relu)


@compilable
def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    length = _length(g, in_channels, out_channels)
    blocks, within_block = _geometries(g, length)
    pairs = im2col.correlate_adjoint_w(x, _split_into_blocks(dy, blocks, length), blocks, 1)
    return toeplitz.matrix_adjoint(pairs.reshape(-1, length * out_channels), within_block, in_channels, out_channels)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_x`."""
    in_channels, out_channels = w.shape[-2:]
    length = _length(g, in_channels, out_channels, adding=True)
    blocks, within_block = _geometries(g, length)
    return adjoint_x_of_blocks(_split_into_blocks(dy, blocks, length), toeplitz.matrix(w, within_block), g, blocks)


@compilable
def adjoint_x_of_blocks(dys: Array, weights: Array, g: Geometry, blocks: Geometry) -> Array:
    """Return dx, the sum of what each block contributes to the positions of its window.

    The contributions are dys (N, blocks.out..., outputs) times weights (positions * I, outputs)^T; they are added to dx
    row by row.
    """
    in_channels = len(weights) // math.prod(blocks.window)
    weights = weights.T.copy()
    *rows, count = blocks.out
    padded = tuple(
        max(s + lo + max(hi, 0), step * (o - 1) + d * (k - 1) + 1)
        for s, (lo, hi), step, o, d, k in zip(
            g.size, blocks.padding, blocks.stride, blocks.out, blocks.dilation, blocks.window,
            strict=True,
        )
    )  # fmt: skip
    dx = np.zeros((len(dys), *padded, in_channels), np.result_type(dys, weights))
    width, spacing = blocks.window[-1], blocks.stride[-1]
    for chunk in im2col.chunks(len(dys), blocks, in_channels * dx.itemsize):
        outputs = dys[chunk].reshape(-1, len(weights))
        positions = np.empty((len(outputs), weights.shape[1]), dx.dtype)
        im2col.blocked_matmul(outputs, weights, positions)
        positions = positions.reshape(-1, *rows, count, *blocks.window, in_channels)
        for tap in product(*map(range, blocks.window[:-1])):
            lines = tuple(
                slice(k * d, k * d + step * (o - 1) + 1, step)
                for k, d, step, o in zip(tap, blocks.dilation, blocks.stride, rows, strict=False)
            )
            row_of_window: Any = (..., *tap, slice(None), slice(None))
            target, source = dx[chunk][:, *lines], positions[row_of_window]
            if spacing == width:  # the windows neither overlap nor leave gaps: add all of them in one operation
                adjacent = target[..., : count * width, :]
                # a view, because reshape only splits an axis
                adjacent = adjacent.reshape(*adjacent.shape[:-2], count, width, in_channels)
                adjacent += source
                continue
            for i in range(count):
                target[..., i * spacing : i * spacing + width, :] += source[..., i, :, :]
    return dx[:, *(slice(lo, lo + s) for s, (lo, _) in zip(g.size, g.padding, strict=True))]


@lru_cache(maxsize=256)
def _length(g: Geometry, in_channels: int, out_channels: int, *, adding: bool = False) -> int:
    """Return the number of outputs of a block that costs least, by a model in multiply-adds.

    Long blocks copy fewer positions twice, but multiply more zeros. If the length does not divide the row, the last
    block extends beyond the end of the row, and cropping it copies all outputs. ``adding`` is for
    `correlate_adjoint_x`, which also adds rows of positions to dx.
    """
    row, lines = g.out[-1], math.prod(g.window[:-1])
    span, step = g.dilation[-1] * (g.window[-1] - 1) + 1, g.stride[-1]

    def cost(length: int) -> int:
        positions = (span + step * (length - 1)) * in_channels
        width = -(-length * out_channels // _VECTOR) * _VECTOR
        cropping = COPY * row * out_channels if row % length else 0
        return -(-row // length) * lines * (positions * (width + COPY) + _ROW * adding) + cropping

    return min(range(1, max(1, min(row, _MAX_WIDTH // max(out_channels, 1))) + 1), key=cost)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, length: int) -> tuple[Geometry, Geometry]:
    """Return two geometries: one window per block, sliding over the image, and w sliding within one such window."""
    *_, step = g.stride
    width = g.dilation[-1] * (g.window[-1] - 1) + 1 + step * (length - 1)
    count = -(-g.out[-1] // length)
    lo, _ = g.padding[-1]
    blocks = g._replace(
        window=(*g.window[:-1], width),
        stride=(*g.stride[:-1], step * length),
        padding=(*g.padding[:-1], (lo, step * length * (count - 1) + width - g.size[-1] - lo)),
        dilation=(*g.dilation[:-1], 1),
        out=(*g.out[:-1], count),
    )
    one = (1,) * (len(g.size) - 1)
    within_block = Geometry(
        (*g.window[:-1], width), g.window, (*one, step), ((0, 0),) * len(g.size), (*one, g.dilation[-1]), (*one, length)
    )
    return blocks, within_block


def _split_into_blocks(dy: Array, blocks: Geometry, length: int) -> Array:
    """Reshape dy (N, out..., O) to (N, blocks.out..., length * O), padded by zeros where the last block is longer."""
    n, *rows, out, out_channels = dy.shape
    missing = blocks.out[-1] * length - out
    if missing:
        dy = np.concatenate([dy, np.zeros((n, *rows, missing, out_channels), dy.dtype)], axis=-2)
    return dy.reshape(n, *blocks.out, length * out_channels)


def _join_blocks(y: Array, g: Geometry, out_channels: int) -> Array:
    """Reshape (N, blocks.out..., length * O) to (N, out..., O), without what extends beyond the row."""
    y = y.reshape(len(y), *g.out[:-1], math.prod(y.shape[-2:]) // out_channels, out_channels)
    return y if y.shape[-2] == g.out[-1] else np.ascontiguousarray(y[..., : g.out[-1], :])
