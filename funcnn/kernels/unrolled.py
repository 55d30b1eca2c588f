"""Cross-correlation of tiny images as one matrix that takes whole images to whole outputs.

The matrix holds w[k] at (cell, o) wherever output o reads that cell by its tap k, and 0 elsewhere. It wastes most of
its products on zeros, yet where it is small, one multiplication costs less than gathering windows does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array

_LARGEST_MATRIX = 1 << 13


def is_tiny(g: Geometry, inner: int, outer: int, groups: int) -> bool:
    """Say whether the matrix is small enough to be quicker."""
    return groups == 1 and math.prod(g.size) * inner * math.prod(g.out) * outer <= _LARGEST_MATRIX


def correlate(x: Array, w: Array, g: Geometry) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    y = x.reshape(len(x), math.prod(x.shape[1:])) @ _matrix(w, g)
    return y.reshape(len(x), *g.out, w.shape[-1])


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_x`."""
    dx = dy.reshape(len(dy), math.prod(dy.shape[1:])) @ _matrix(w, g).T
    return dx.reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    cells, inner, outer = math.prod(g.size), x.shape[-1], dy.shape[-1]
    rows, columns = _entries(g)
    pairs = x.reshape(len(x), cells * inner).T @ dy.reshape(len(dy), math.prod(dy.shape[1:]))
    blocks = np.zeros((cells + 1, math.prod(g.out), inner, outer), pairs.dtype)
    blocks[:-1] = pairs.reshape(cells, inner, -1, outer).transpose(0, 2, 1, 3)
    return blocks[rows, columns].sum(axis=0).reshape(*g.window, inner, outer)


def _matrix(w: Array, g: Geometry) -> Array:
    cells, (inner, outer) = math.prod(g.size), w.shape[-2:]
    rows, columns = _entries(g)
    blocks = np.zeros((cells + 1, math.prod(g.out), inner, outer), w.dtype)
    blocks[rows, columns] = w.reshape(-1, inner, outer)
    return blocks[:-1].transpose(0, 2, 1, 3).reshape(cells * inner, -1)


@lru_cache(maxsize=64)
def _entries(g: Geometry) -> tuple[Array, Array]:
    """Return the entries' rows and columns, for each output (first axis) and tap (second): the cell read, the output.

    The cell after the last stands for the padding.
    """
    cells = math.prod(g.size)
    numbers = pad(np.arange(cells).reshape(1, *g.size, 1), g.padding, cells)
    rows = windows(numbers, g).reshape(math.prod(g.out), math.prod(g.window))
    return rows, np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
