"""Cross-correlation of tiny images as one matrix that takes whole images to whole outputs.

The matrix holds w[k] at (position, o) wherever output o reads that position by its tap k, and 0 elsewhere. It wastes
most of its products on zeros, yet where it is small, one multiplication costs less than gathering windows does.
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
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    to_outputs = matrix(w, g)
    return x.reshape(len(x), len(to_outputs)).dot(to_outputs).reshape(len(x), *g.out, w.shape[-1])


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_x`."""
    to_positions = matrix(w, g).T
    return dy.reshape(len(dy), len(to_positions)).dot(to_positions).reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    positions, outputs = _places(g, x.shape[-1], dy.shape[-1]).taps.shape
    pairs = x.reshape(len(x), positions).T.dot(dy.reshape(len(dy), outputs))
    return matrix_adjoint(pairs, g, x.shape[-1], dy.shape[-1])


def matrix(w: Array, g: Geometry, *, even_first: bool = False) -> Array:
    """Return the matrix (size * I, out * O) of w (window..., I, O); if ``even_first``, of each row of outputs those at
    even places come before those at odd ones.
    """
    return _with_zero(w).take(_places(g, *w.shape[-2:], even_first).taps)


def matrix_adjoint(
    pairs: Array, g: Geometry, in_channels: int, out_channels: int, *, even_first: bool = False
) -> Array:
    """Add up the entries (size * I, out * O) that `matrix` fills with the same number of w."""
    _, entries, beyond = _places(g, in_channels, out_channels, even_first)
    dw = ones(len(entries), pairs.dtype).dot((_with_zero(pairs) if beyond else pairs).take(entries))
    return dw.reshape(*g.window, in_channels, out_channels)


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
def _places(g: Geometry, in_channels: int, out_channels: int, even_first: bool = False) -> _Places:
    positions, outputs, window = math.prod(g.size), math.prod(g.out), math.prod(g.window)
    numbers = pad(np.arange(positions).reshape(1, *g.size, 1), g.padding, positions)
    rows = windows(numbers, g).reshape(outputs, window, 1, 1)
    row, order = g.out[-1], np.arange(g.out[-1])
    if even_first:
        order = np.where(order % 2, (row + order) // 2, order // 2)
    columns = (np.arange(0, outputs, row)[:, None] + order).reshape(-1, 1, 1, 1)
    i, o = np.arange(in_channels)[:, None], np.arange(out_channels)
    nowhere = positions * in_channels * outputs * out_channels
    entries = np.where(rows < positions, ((rows * in_channels + i) * outputs + columns) * out_channels + o, nowhere)
    taps = np.full(nowhere + 1, window * in_channels * out_channels)
    taps[entries] = np.arange(window * in_channels * out_channels).reshape(window, in_channels, out_channels)
    beyond = bool((rows == positions).any())
    return _Places(
        taps[:-1].reshape(positions * in_channels, outputs * out_channels), entries.reshape(outputs, -1), beyond
    )
