"""Cross-correlation with 3x3 kernels by Winograd's minimal filtering, F(4x4, 3x3).

A tile of 4x4 outputs y reads 6x6 cells d. With the matrices B, G and A below,

    y = A^T [ (G w G^T) * (B^T d B) ] A,    * elementwise over the 36 places, summed over channels,

so 36 products a channel stand for the 144 of the definition. At each of the 36 places the sum over channels is a matrix
product of all tiles with the weights there. Everything is linear, so the gradient of w is the transpose,

    dw = G^T [ (B^T d B)^T (A dy A^T) ] G,    the inner product one over tiles.

S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural
Networks, 2015 (arXiv:1509.09308), whose points 0, 1, -1, 2, -2 and infinity these are. The transforms cancel some
digits: the error is about 1e-5 of the largest output in float32, 2e-14 in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import first_met, maximum
from funcnn.kernels.windows import view
from funcnn.tree import Array

# B^T, G and A^T
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_TILE, _CELLS = 4, 6  # outputs and cells of a tile along an axis
# Tiles times channels of a piece: its planes then stay near the size of a core's cache.
_PIECE = 1 << 13


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    y = np.empty((len(x), *g.out, w.shape[-1]), np.result_type(x, w))
    for images, rows, tiles in _tiles(x, w, g):
        _scatter(tiles, y[images], rows)
    return y


def correlate_max(x: Array, w: Array, g: Geometry, numbered: bool) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.pooled.correlate_max`: the cells of a 2x2 window lie at one place of four planes of tiles."""
    shape = (len(x), *(o // 2 for o in g.out), w.shape[-1])
    y = np.empty(shape, np.result_type(x, w))
    winner = np.empty(shape, np.uint8) if numbered else None
    for images, rows, tiles in _tiles(x, w, g):
        taps = [tiles[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        most = maximum(taps)
        _scatter(most, y[images], rows)
        if winner is not None:
            _scatter(first_met(taps, most), winner[images], rows)
    return y, winner


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    inner, outer = x.shape[-1], dy.shape[-1]
    dtype, before = np.result_type(x, dy), tuple(lo for lo, _ in g.padding)
    b, a = _B.astype(dtype), _A.astype(dtype)
    dweights = np.zeros((_CELLS * _CELLS, inner, outer), dtype)
    for images, rows in _pieces(len(x), g, max(inner, outer)):
        cells = _gather(x[images], g, rows, _CELLS, before, dtype)
        planes = _both_sides(b, cells.reshape(_CELLS, _CELLS, -1)).reshape(len(dweights), -1, inner)
        tiles = _gather(dy[images], g, rows, _TILE, (0, 0), dtype)
        dplanes = _both_sides(a.T.copy(), tiles.reshape(_TILE, _TILE, -1)).reshape(len(dweights), -1, outer)
        dweights += planes.mT @ dplanes
    return _both_sides(_G.T.astype(dtype), dweights.reshape(_CELLS, _CELLS, -1)).reshape(3, 3, inner, outer)


def _tiles(x: Array, w: Array, g: Geometry) -> Iterator[tuple[slice, slice, Array]]:
    """Yield images, rows of tiles, and their outputs (4, 4, n, rows, columns, O), piece by piece."""
    inner, outer = w.shape[-2:]
    dtype, before = np.result_type(x, w), tuple(lo for lo, _ in g.padding)
    b, a = _B.astype(dtype), _A.astype(dtype)
    weights = _both_sides(_G.astype(dtype), w.astype(dtype).reshape(3, 3, -1)).reshape(-1, inner, outer)
    for images, rows in _pieces(len(x), g, max(inner, outer)):
        cells = _gather(x[images], g, rows, _CELLS, before, dtype)
        planes = _both_sides(b, cells.reshape(_CELLS, _CELLS, -1)).reshape(len(weights), -1, inner)
        tiles = _both_sides(a, (planes @ weights).reshape(_CELLS, _CELLS, -1))
        yield images, rows, tiles.reshape(_TILE, _TILE, *cells.shape[2:-1], outer)


def _both_sides(m: Array, planes: Array) -> Array:
    """Return m planes m^T, planes (rows, columns, X) being a matrix for each of the last axis."""
    half = np.empty((len(m), *planes.shape[1:]), planes.dtype)
    np.matmul(m, planes.transpose(1, 0, 2), out=half.transpose(1, 0, 2))
    return m @ half


def _pieces(n: int, g: Geometry, channels: int) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into pieces: some images whole, or where one is too large some rows of its tiles."""
    down, across = (-(-o // _TILE) for o in g.out)
    row = across * channels
    if down * row <= _PIECE:
        step = _PIECE // (down * row)
        yield from ((slice(i, min(i + step, n)), slice(0, down)) for i in range(0, n, step))
    else:
        parts = -(-down // max(1, _PIECE // row))
        step = -(-down // parts)
        for i in range(n):
            yield from ((slice(i, i + 1), slice(r, min(r + step, down))) for r in range(0, down, step))


def _gather(x: Array, g: Geometry, rows: slice, cells: int, before: tuple[int, ...], dtype: Any) -> Array:
    """Copy the tiles of x, with ``before`` cells of zeros in front, as (cells, cells, n, rows, columns, C)."""
    count, across = rows.stop - rows.start, -(-g.out[1] // _TILE)
    height, width = ((k - 1) * _TILE + cells for k in (count, across))
    top, left = rows.start * _TILE - before[0], -before[1]
    inside = x[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    padded = inside
    if inside.shape[1:3] != (height, width):
        padded = np.zeros((len(x), height, width, x.shape[-1]), dtype)
        up, aside = max(-top, 0), max(-left, 0)
        padded[:, up : up + inside.shape[1], aside : aside + inside.shape[2]] = inside
    n, h, w, c = padded.strides
    shape, strides = (cells, cells, len(x), count, across, x.shape[-1]), (h, w, n, _TILE * h, _TILE * w, c)
    tiles = view(padded, shape, strides)
    return np.ascontiguousarray(tiles, dtype)


def _scatter(tiles: Array, y: Array, rows: slice) -> None:
    """Write tiles (side, side, n, rows, columns, O) where they belong in y (n, height, width, O)."""
    side, _, n, count, across, outer = tiles.shape
    placed = tiles.transpose(2, 3, 0, 4, 1, 5)
    target = y[:, rows.start * side : rows.stop * side]
    if target.shape[1:3] == (count * side, across * side):
        target.reshape(n, count, side, across, side, outer)[...] = placed
    else:
        image = placed.reshape(n, count * side, across * side, outer)
        target[...] = image[:, : target.shape[1], : target.shape[2]]
