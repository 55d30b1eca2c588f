"""Cross-correlation of tiny images by a Toeplitz matrix, which maps whole images to whole outputs.

The matrix holds w[k] at (position, o) wherever output o reads that position with its tap k, and 0 elsewhere. Most of
its products are by 0; where it is small, one multiplication still costs less than copying windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from funcnn.kernels.bias import add_bias, ones
from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    return prepare(x, w, g, groups, b, relu)(x)


def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    to_outputs, shape = matrix(w, g), (len(x), *g.out, w.shape[-1])

    def correlate_images(x: Array) -> Array:
        return add_bias(x.reshape(len(x), len(to_outputs)).dot(to_outputs).reshape(shape), b, relu)

    return correlate_images


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_x`."""
    to_positions = matrix(w, g).T
    return dy.reshape(len(dy), len(to_positions)).dot(to_positions).reshape(len(dy), *g.size, w.shape[-2])


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    positions, outputs = math.prod(x.shape[1:]), math.prod(dy.shape[1:])
    pairs = x.reshape(len(x), positions).T.dot(dy.reshape(len(dy), outputs))
    return matrix_adjoint(pairs, g, x.shape[-1], dy.shape[-1])


def matrix(w: Array, g: Geometry, *, even_first: bool = False) -> Array:
    """Return the matrix (size * I, out * O) of w (window..., I, O).

    With ``even_first``, the columns of each row of outputs, an even number, are ordered 0, 2, 4, ..., 1, 3, 5, ...
    """
    columns = math.prod(g.out) * w.shape[-1]
    padded, inside, offset, shape, strides = _copies(g, *w.shape[-2:], even_first, w.itemsize)
    to_outputs = np.zeros((*padded, w.shape[-2] * columns), w.dtype)
    np.ndarray(shape, w.dtype, to_outputs, offset, strides)[...] = w
    return to_outputs[inside].reshape(-1, columns)


class _Copies(NamedTuple):
    """Where the matrix holds w: a view of it, (out..., window..., I, O), has one copy of w for each output.

    Attributes
    ----------
    padded : tuple of int
        The size of the image with its padding, which has rows of its own at first.
    inside : tuple of slice
        The rows that are no padding.
    offset : int
    shape, strides : tuple of int
        Of the view; offset and strides in bytes.
    """

    padded: tuple[int, ...]
    inside: tuple[slice, ...]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@lru_cache(maxsize=256)
def _copies(g: Geometry, in_channels: int, out_channels: int, even_first: bool, itemsize: int) -> _Copies:
    padded = tuple(s + max(lo, 0) + max(hi, 0) for s, (lo, hi) in zip(g.size, g.padding, strict=True))
    inside = tuple(slice(max(lo, 0), max(lo, 0) + s) for s, (lo, _) in zip(g.size, g.padding, strict=True))
    axes, output = range(len(g.out)), out_channels * itemsize
    column = [output * math.prod(g.out[a + 1 :]) for a in axes]
    row = math.prod(g.out) * output
    position = [row * in_channels * math.prod(padded[a + 1 :]) for a in axes]
    # the next output's copy is a stride of positions down, and a column to the right
    shape, strides = [*g.out], [p * step + c for p, step, c in zip(position, g.stride, column, strict=True)]
    if even_first:
        half, step = g.out[-1] // 2, position[-1] * g.stride[-1]
        shape[-1:], strides[-1:] = [half, 2], [2 * step + output, step + half * output]
    shape += [*g.window, in_channels, out_channels]
    strides += [*(p * d for p, d in zip(position, g.dilation, strict=True)), row, itemsize]
    offset = sum(p * max(-lo, 0) for p, (lo, _) in zip(position, g.padding, strict=True))
    return _Copies(padded, inside, offset, tuple(shape), tuple(strides))


def matrix_adjoint(
    pairs: Array, g: Geometry, in_channels: int, out_channels: int, *, even_first: bool = False
) -> Array:
    """Return dw (window..., I, O): for each entry of w, the sum of those of ``pairs`` where `matrix` holds that entry.

    ``pairs`` (size * I, out * O) has the products of every position with every output's cotangent.
    """
    entries, reads_padding = _flat_indices(g, in_channels, out_channels, even_first)
    # the sum over outputs as a product with ones, which is faster than NumPy's sum over a leading axis
    dw = ones(len(entries), pairs.dtype).dot((_append_zero(pairs) if reads_padding else pairs).take(entries))
    return dw.reshape(*g.window, in_channels, out_channels)


def _append_zero(a: Array) -> Array:
    return np.concatenate((a.ravel(), np.zeros(1, a.dtype)))


class _FlatIndices(NamedTuple):
    """Indices into the flattened matrix; the index after the last one stands for a 0.

    Attributes
    ----------
    entries : array (out, w.size)
        For each output and each entry of w, its index in the matrix.
    reads_padding : bool
        Whether some taps read padding, and so have no entry in the matrix.
    """

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
    reads_padding = bool((rows == positions).any())
    return _FlatIndices(entries.reshape(outputs, -1), reads_padding)
