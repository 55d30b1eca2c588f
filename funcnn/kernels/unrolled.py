"""Cross-correlation of tiny images as one matrix that takes whole images to whole outputs.

The matrix holds w[k] at (cell, o) wherever output o reads that cell by its tap k, and 0 elsewhere. It wastes most of
its products on zeros, yet where it is small, one multiplication costs less than gathering windows does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from funcnn.kernels.bias import ones
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    y = x.reshape(len(x), math.prod(x.shape[1:])).dot(matrix(w, g))
    return y.reshape(len(x), *g.out, w.shape[-1])


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_x`."""
    dx = dy.reshape(len(dy), math.prod(dy.shape[1:])).dot(matrix(w, g).T)
    return dx.reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    pairs = x.reshape(len(x), math.prod(x.shape[1:])).T.dot(dy.reshape(len(dy), math.prod(dy.shape[1:])))
    return matrix_adjoint(pairs, g, x.shape[-1], dy.shape[-1])


def matrix(w: Array, g: Geometry) -> Array:
    """Return the matrix (size * I, out * O) of w (window..., I, O)."""
    taps, _ = _places(g, *w.shape[-2:])
    return _with_zero(w).take(taps)


def matrix_adjoint(pairs: Array, g: Geometry, inner: int, outer: int) -> Array:
    """Add up the entries (size * I, out * O) that `matrix` fills with the same number of w."""
    _, entries = _places(g, inner, outer)
    # what lies beyond the end of pairs are the taps that read padding
    padded = _with_zero(pairs) if any(lo > 0 or hi > 0 for lo, hi in g.padding) else pairs
    dw = ones(len(entries), pairs.dtype).dot(padded.take(entries))
    return dw.reshape(*g.window, inner, outer)


def _with_zero(a: Array) -> Array:
    return np.concatenate((a.ravel(), np.zeros(1, a.dtype)))


@lru_cache(maxsize=32)
def _places(g: Geometry, inner: int, outer: int) -> tuple[Array, Array]:
    """Return for each entry of the matrix its place in w, and for each output and number of w its place in the matrix.

    The place after the last stands for 0.
    """
    cells, outputs, window = math.prod(g.size), math.prod(g.out), math.prod(g.window)
    numbers = pad(np.arange(cells).reshape(1, *g.size, 1), g.padding, cells)
    rows = windows(numbers, g).reshape(outputs, window, 1, 1)
    columns, i, o = np.arange(outputs).reshape(-1, 1, 1, 1), np.arange(inner)[:, None], np.arange(outer)
    nowhere = cells * inner * outputs * outer
    entries = np.where(rows < cells, ((rows * inner + i) * outputs + columns) * outer + o, nowhere)
    taps = np.full(nowhere + 1, window * inner * outer)
    taps[entries] = np.arange(window * inner * outer).reshape(window, inner, outer)
    return taps[:-1].reshape(cells * inner, outputs * outer), entries.reshape(outputs, -1)
