"""Cross-correlation of tiny images as one matrix that takes whole images to whole outputs.

The matrix holds w[k] at (cell, o) wherever output o reads that cell by its tap k, and 0 elsewhere. It wastes most of
its products on zeros, yet where it is small, one multiplication costs less than gathering windows does.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from funcnn.kernels.bias import ones
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    to_outputs = matrix(w, g)
    return x.reshape(len(x), len(to_outputs)).dot(to_outputs).reshape(len(x), *g.out, w.shape[-1])


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_x`."""
    to_cells = matrix(w, g).T
    return dy.reshape(len(dy), len(to_cells)).dot(to_cells).reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    cells, outputs = _places(g, x.shape[-1], dy.shape[-1]).taps.shape
    pairs = x.reshape(len(x), cells).T.dot(dy.reshape(len(dy), outputs))
    return matrix_adjoint(pairs, g, x.shape[-1], dy.shape[-1])


def matrix(w: Array, g: Geometry, *, even_first: bool = False) -> Array:
    """Return the matrix (size * I, out * O) of w (window..., I, O); if ``even_first``, of each row of outputs those at
    even places come before those at odd ones.
    """
    return _with_zero(w).take(_places(g, *w.shape[-2:], even_first).taps)


def matrix_adjoint(pairs: Array, g: Geometry, inner: int, outer: int, *, even_first: bool = False) -> Array:
    """Add up the entries (size * I, out * O) that `matrix` fills with the same number of w."""
    _, entries, beyond = _places(g, inner, outer, even_first)
    dw = ones(len(entries), pairs.dtype).dot((_with_zero(pairs) if beyond else pairs).take(entries))
    return dw.reshape(*g.window, inner, outer)


def _with_zero(a: Array) -> Array:
    return np.concatenate((a.ravel(), np.zeros(1, a.dtype)))


class _Places(NamedTuple):
    """Places in arrays laid out in one line, the one after the last standing for 0.

    Attributes
    ----------
    taps : array (size * I, out * O)
        For each entry of the matrix, its place in w.
    entries : array (out, w.size)
        For each output and number of w, its place in the matrix.
    beyond : bool
        Whether there are taps without a place in the matrix, since they read padding.
    """

    taps: Array
    entries: Array
    beyond: bool


@lru_cache(maxsize=32)
def _places(g: Geometry, inner: int, outer: int, even_first: bool = False) -> _Places:
    cells, outputs, window = math.prod(g.size), math.prod(g.out), math.prod(g.window)
    numbers = pad(np.arange(cells).reshape(1, *g.size, 1), g.padding, cells)
    rows = windows(numbers, g).reshape(outputs, window, 1, 1)
    row, order = g.out[-1], np.arange(g.out[-1])
    if even_first:
        order = np.where(order % 2, (row + order) // 2, order // 2)
    columns = (np.arange(0, outputs, row)[:, None] + order).reshape(-1, 1, 1, 1)
    i, o = np.arange(inner)[:, None], np.arange(outer)
    nowhere = cells * inner * outputs * outer
    entries = np.where(rows < cells, ((rows * inner + i) * outputs + columns) * outer + o, nowhere)
    taps = np.full(nowhere + 1, window * inner * outer)
    taps[entries] = np.arange(window * inner * outer).reshape(window, inner, outer)
    beyond = bool((rows == cells).any())
    return _Places(taps[:-1].reshape(cells * inner, outputs * outer), entries.reshape(outputs, -1), beyond)
