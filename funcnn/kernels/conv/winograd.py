"""Cross-correlation with 3x3 kernels by Winograd's minimal filtering, F(4x4, 3x3).

A tile of 4x4 outputs y reads 6x6 positions d. With the matrices B, G and A below,

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

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import first_argmax, maximum
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
_TILE, _POSITIONS = 4, 6  # outputs and positions of a tile along an axis
# Tiles times channels of a chunk: its planes then stay near the size of a core's cache.
_CHUNK = 1 << 13
_RUN = 1 << 8  # numbers of a position, those of several images side by side, that are worth a product of their own


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    y = np.empty((len(x), *g.out, w.shape[-1]), np.result_type(x, w))
    for images, rows, tiles in _tiles(x, w, g):
        _scatter(tiles, y[images], rows)
    return y


def correlate_max(x: Array, w: Array, g: Geometry, return_argmax: bool) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.correlate_max`: the positions of a 2x2 window lie at one place of four planes
    of tiles.
    """
    shape = (len(x), *(o // 2 for o in g.out), w.shape[-1])
    y = np.empty(shape, np.result_type(x, w))
    argmax = np.empty(shape, np.uint8) if return_argmax else None
    for images, rows, tiles in _tiles(x, w, g):
        taps = [tiles[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        maxima = maximum(taps)
        _scatter(maxima, y[images], rows)
        if argmax is not None:
            _scatter(first_argmax(taps, maxima), argmax[images], rows)
    return y, argmax


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    dtype, before = np.result_type(x, dy), tuple(lo for lo, _ in g.padding)
    b, a = _B.astype(dtype), _A.T.astype(dtype)
    dweights = np.zeros((_POSITIONS * _POSITIONS, in_channels, out_channels), dtype)
    for images, rows in _chunks(len(x), g, max(in_channels, out_channels)):
        planes = _planes(x[images], b, g, rows, before)
        dweights += planes.mT @ _planes(dy[images], a, g, rows, (0, 0))
    return _both_sides(_G.T.astype(dtype), dweights.reshape(_POSITIONS, _POSITIONS, -1)).reshape(
        3, 3, in_channels, out_channels
    )


def _tiles(x: Array, w: Array, g: Geometry) -> Iterator[tuple[slice, slice, Array]]:
    """Yield images, rows of tiles, and their outputs (4, 4, rows, columns, n, O), chunk by chunk."""
    in_channels, out_channels = w.shape[-2:]
    dtype, before, across = np.result_type(x, w), tuple(lo for lo, _ in g.padding), -(-g.out[1] // _TILE)
    b, a = _B.astype(dtype), _A.astype(dtype)
    weights = _both_sides(_G.astype(dtype), w.astype(dtype).reshape(3, 3, -1)).reshape(-1, in_channels, out_channels)
    for images, rows in _chunks(len(x), g, max(in_channels, out_channels)):
        planes = _planes(x[images], b, g, rows, before)
        tiles = _both_sides(a, (planes @ weights).reshape(_POSITIONS, _POSITIONS, -1))
        yield images, rows, tiles.reshape(_TILE, _TILE, rows.stop - rows.start, across, -1, out_channels)


def _both_sides(m: Array, planes: Array) -> Array:
    """Return m planes m^T, planes (rows, columns, X) being a matrix for each of the last axis."""
    half = np.empty((len(m), *planes.shape[1:]), planes.dtype)
    np.matmul(m, planes.transpose(1, 0, 2), out=half.transpose(1, 0, 2))
    return m @ half


def _chunks(n: int, g: Geometry, channels: int) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into chunks, of some images and some rows of their tiles."""
    down, across = (-(-o // _TILE) for o in g.out)
    row = across * channels
    together = max(1, min(n, _RUN // channels))
    rows = min(down, max(1, _CHUNK // (row * together)))
    parts = -(-down // rows)
    rows, images = -(-down // parts), max(1, _CHUNK // (row * rows))
    for i in range(0, n, images):
        yield from ((slice(i, min(i + images, n)), slice(r, min(r + rows, down))) for r in range(0, down, rows))


def _planes(x: Array, m: Array, g: Geometry, rows: slice, before: tuple[int, ...]) -> Array:
    """Return m d m^T for all tiles d of x, with ``before`` positions of zeros in front: (36, rows * columns * n, C).

    The images' numbers are laid side by side first, so that a position is a run of n * C numbers. The tiles, which
    overlap, are then views, down the rows and across them.
    """
    positions, n, channels = m.shape[1], len(x), x.shape[-1]
    count, across = rows.stop - rows.start, -(-g.out[1] // _TILE)
    height, width = ((k - 1) * _TILE + positions for k in (count, across))
    top, left = rows.start * _TILE - before[0], -before[1]
    inside = x[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)].transpose(1, 2, 0, 3)
    up, aside = max(-top, 0), max(-left, 0)
    whole = inside.shape[:2] == (height, width)
    side_by_side = (np.empty if whole else np.zeros)((height, width, n, channels), m.dtype)
    side_by_side[up : up + inside.shape[0], aside : aside + inside.shape[1]] = inside
    run, size = n * channels, m.dtype.itemsize
    line = width * run
    down = m @ view(side_by_side, (count, positions, line), (_TILE * line * size, line * size, size))
    columns = (count, len(m), across, positions, run)
    strides = (len(m) * line * size, line * size, _TILE * run * size, run * size, size)
    planes = np.empty((len(m), len(m), count, across, run), m.dtype)
    np.matmul(m, view(down, columns, strides), out=planes.transpose(2, 0, 3, 1, 4))
    return planes.reshape(len(m) ** 2, count * across * n, channels)


def _scatter(tiles: Array, y: Array, rows: slice) -> None:
    """Write tiles (side, side, rows, columns, n, O) where they belong in y (n, height, width, O)."""
    side, _, count, across, n, out_channels = tiles.shape
    placed = tiles.transpose(4, 2, 0, 3, 1, 5)
    target = y[:, rows.start * side : rows.stop * side]
    if target.shape[1:3] == (count * side, across * side):
        target.reshape(n, count, side, across, side, out_channels)[...] = placed
    else:
        image = placed.reshape(n, count * side, across * side, out_channels)
        target[...] = image[:, : target.shape[1], : target.shape[2]]
