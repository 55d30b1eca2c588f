"""Cross-correlation of images with few channels, several neighbouring outputs of a row at once.

With few channels a window is too short a row, and the outputs at a place too few columns, for a fast product. A strip
of t outputs of one row is a window too, some cells wider, with t times as many output channels; its weights are w
placed t times, each a stride further, with zeros between (`funcnn.kernels.unrolled.matrix`). The zeros cost some
products more, and the longer rows and columns gain more than that.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from funcnn.kernels import columns, unrolled
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_WIDEST = 128  # columns of a product, at most
# Columns are multiplied in vectors of so many numbers, and copying a number takes as long as so many multiplications.
# Adding a row of a strip to where it belongs takes as long as _ROW besides.
_VECTOR, COPY, _ROW = 16, 33, 500


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    inner, outer = w.shape[-2:]
    length = _length(g, inner, outer)
    of_strips, strip = _geometries(g, length)
    weights = unrolled.matrix(w, strip).reshape(*of_strips.window, inner, length * outer)
    y = columns.correlate(x, weights, of_strips, 1)
    return _outputs(y, g, outer)


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    inner, outer = x.shape[-1], dy.shape[-1]
    length = _length(g, inner, outer)
    of_strips, strip = _geometries(g, length)
    pairs = columns.correlate_adjoint_w(x, _strips(dy, of_strips, length), of_strips, 1)
    return unrolled.matrix_adjoint(pairs.reshape(-1, length * outer), strip, inner, outer)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_x`."""
    inner, outer = w.shape[-2:]
    length = _length(g, inner, outer, adding=True)
    of_strips, strip = _geometries(g, length)
    return add_up(_strips(dy, of_strips, length), unrolled.matrix(w, strip), g, of_strips)


def add_up(dys: Array, weights: Array, g: Geometry, of_strips: Geometry) -> Array:
    """Return dx: dys (N, out of strips..., outputs) times weights (cells * I, outputs)^T, each strip's cells added up
    row by row where they lie.
    """
    inner = len(weights) // math.prod(of_strips.window)
    weights = weights.T.copy()
    *rows, count = of_strips.out
    padded = tuple(
        max(s + lo + max(hi, 0), step * (o - 1) + d * (k - 1) + 1)
        for s, (lo, hi), step, o, d, k in zip(
            g.size, of_strips.padding, of_strips.stride, of_strips.out, of_strips.dilation, of_strips.window,
            strict=True,
        )
    )  # fmt: skip
    dx = np.zeros((len(dys), *padded, inner), np.result_type(dys, weights))
    width, apart = of_strips.window[-1], of_strips.stride[-1]
    for piece in columns.pieces(len(dys), of_strips, inner * dx.itemsize):
        outputs = dys[piece].reshape(-1, len(weights))
        cells = np.empty((len(outputs), weights.shape[1]), dx.dtype)
        columns.multiply(outputs, weights, cells)
        cells = cells.reshape(-1, *rows, count, *of_strips.window, inner)
        for tap in product(*map(range, of_strips.window[:-1])):
            lines = tuple(
                slice(k * d, k * d + step * (o - 1) + 1, step)
                for k, d, step, o in zip(tap, of_strips.dilation, of_strips.stride, rows, strict=False)
            )
            of_tap: Any = (..., *tap, slice(None), slice(None))
            to, from_strips = dx[piece][:, *lines], cells[of_tap]
            if apart == width:  # side by side: all at once
                beside = to[..., : count * width, :]
                beside = beside.reshape(*beside.shape[:-2], count, width, inner)  # a view, for an axis is only split
                beside += from_strips
                continue
            for i in range(count):
                to[..., i * apart : i * apart + width, :] += from_strips[..., i, :, :]
    return dx[:, *(slice(lo, lo + s) for s, (lo, _) in zip(g.size, g.padding, strict=True))]


@lru_cache(maxsize=256)
def _length(g: Geometry, inner: int, outer: int, *, adding: bool = False) -> int:
    """Return how many outputs of a row to take at once: those at the least cost.

    Long strips share cells that short ones gather twice, but multiply more zeros. Those that do not make up a row reach
    beyond its end, and all outputs are copied to cut that off. For ``adding``, it is the way back to x that counts.
    """
    row, lines = g.out[-1], math.prod(g.window[:-1])
    span, step = g.dilation[-1] * (g.window[-1] - 1) + 1, g.stride[-1]

    def cost(length: int) -> int:
        cells = (span + step * (length - 1)) * inner
        width = -(-length * outer // _VECTOR) * _VECTOR
        beyond = COPY * row * outer if row % length else 0
        return -(-row // length) * lines * (cells * (width + COPY) + _ROW * adding) + beyond

    return min(range(1, max(1, min(row, _WIDEST // max(outer, 1))) + 1), key=cost)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, length: int) -> tuple[Geometry, Geometry]:
    """Return the windows that hold a strip each, and the windows within one of these."""
    *_, step = g.stride
    width = g.dilation[-1] * (g.window[-1] - 1) + 1 + step * (length - 1)
    count = -(-g.out[-1] // length)
    lo, _ = g.padding[-1]
    of_strips = g._replace(
        window=(*g.window[:-1], width),
        stride=(*g.stride[:-1], step * length),
        padding=(*g.padding[:-1], (lo, step * length * (count - 1) + width - g.size[-1] - lo)),
        dilation=(*g.dilation[:-1], 1),
        out=(*g.out[:-1], count),
    )
    one = (1,) * (len(g.size) - 1)
    strip = Geometry(
        (*g.window[:-1], width), g.window, (*one, step), ((0, 0),) * len(g.size), (*one, g.dilation[-1]), (*one, length)
    )
    return of_strips, strip


def _strips(dy: Array, of_strips: Geometry, length: int) -> Array:
    """View or copy dy (N, out..., O) as (N, out of strips..., length * O)."""
    n, *rows, out, outer = dy.shape
    missing = of_strips.out[-1] * length - out
    if missing:
        dy = np.concatenate([dy, np.zeros((n, *rows, missing, outer), dy.dtype)], axis=-2)
    return dy.reshape(n, *of_strips.out, length * outer)


def _outputs(y: Array, g: Geometry, outer: int) -> Array:
    """Take (N, out of strips..., length * O) back to (N, out..., O)."""
    y = y.reshape(len(y), *g.out[:-1], math.prod(y.shape[-2:]) // outer, outer)
    return y if y.shape[-2] == g.out[-1] else np.ascontiguousarray(y[..., : g.out[-1], :])
