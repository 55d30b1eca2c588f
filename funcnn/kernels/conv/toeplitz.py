"""Cross-correlation of tiny images by a Toeplitz matrix, which maps whole images to whole outputs.

The matrix holds w[k] at (position, o) wherever output o reads that position with its tap k, and 0 elsewhere. Most of
its products are by 0; where it is small, one multiplication still costs less than copying windows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from funcnn.kernels.bias import add_bias, ones
from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array

# The fraction of the matrix that w fills: up to here, it is written to zeros. ``scripts/bench --job seed`` measures it.
_MOSTLY_ZEROS = 0.15


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    to_outputs = matrix(w, g)
    y = x.reshape(len(x), len(to_outputs)).dot(to_outputs).reshape(len(x), *g.out, w.shape[-1])
    return add_bias(y, b, relu)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_x`."""
    to_positions = matrix(w, g).T
    return dy.reshape(len(dy), len(to_positions)).dot(to_positions).reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    positions, outputs = _flat_indices(g, x.shape[-1], dy.shape[-1]).taps.shape
    pairs = x.reshape(len(x), positions).T.dot(dy.reshape(len(dy), outputs))
    return matrix_adjoint(pairs, g, x.shape[-1], dy.shape[-1])


def matrix(w: Array, g: Geometry, *, even_first: bool = False) -> Array:
    """Return the matrix (size * I, out * O) of w (window..., I, O).

    With ``even_first``, the columns of each row of outputs are ordered 0, 2, 4, ..., 1, 3, 5, ...
    """
    taps, entries, _ = _flat_indices(g, *w.shape[-2:], even_first)
    if entries.size > _MOSTLY_ZEROS * taps.size:
        return _append_zero(w).take(taps)
    flat = np.zeros(taps.size + 1, w.dtype)
    flat.put(entries, w)  # w again for each output
    return flat[:-1].reshape(taps.shape)


def matrix_adjoint(
    pairs: Array, g: Geometry, in_channels: int, out_channels: int, *, even_first: bool = False
) -> Array:
    """Return dw (window..., I, O): for each entry of w, the sum of those of ``pairs`` where `matrix` holds that entry.

    ``pairs`` (size * I, out * O) has the products of every position with every output's cotangent.
    """
    _, entries, reads_padding = _flat_indices(g, in_channels, out_channels, even_first)
    # the sum over outputs as a product with ones, which is faster than NumPy's sum over a leading axis
    dw = ones(len(entries), pairs.dtype).dot((_append_zero(pairs) if reads_padding else pairs).take(entries))
    return dw.reshape(*g.window, in_channels, out_channels)


def _append_zero(a: Array) -> Array:
    return np.concatenate((a.ravel(), np.zeros(1, a.dtype)))


class _FlatIndices(NamedTuple):
    """Indices into the flattened w and the flattened matrix; the index after the last one stands for a 0.

    Attributes
    ----------
    taps : array (size * I, out * O)
        For each entry of the matrix, its index in w.
    entries : array (out, w.size)
        For each output and each entry of w, its index in the matrix.
    reads_padding : bool
        Whether some taps read padding, and so have no entry in the matrix.
    """

    taps: Array
    entries: Array
    reads_padding: bool


@cached_arrays
def _flat_indices(g: Geometry, in_channels: int, out_channels: int, even_first: bool = False) -> _FlatIndices:
    positions, outputs, window = math.prod(g.size), math.prod(g.out), math.prod(g.window)
    numbers = pad(np.arange(positions).reshape(1, *g.size, 1), g.padding, positions)
    rows = windows(numbers, g).reshape(outputs, window, 1, 1)
    row, order = g.out[-1], np.arange(g.out[-1])
    if even_first:
        order = np.where(order % 2, (row + order) // 2, order // 2)
    columns = (np.arange(0, outputs, row)[:, None] + order).reshape(-1, 1, 1, 1)
    i, o = np.arange(in_channels)[:, None], np.arange(out_channels)
    zero = positions * in_channels * outputs * out_channels
    entries = np.where(rows < positions, ((rows * in_channels + i) * outputs + columns) * out_channels + o, zero)
    taps = np.full(zero + 1, window * in_channels * out_channels)
    taps[entries] = np.arange(window * in_channels * out_channels).reshape(window, in_channels, out_channels)
    reads_padding = bool((rows == positions).any())
    return _FlatIndices(
        taps[:-1].reshape(positions * in_channels, outputs * out_channels), entries.reshape(outputs, -1), reads_padding
    )
