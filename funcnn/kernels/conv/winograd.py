"""Cross-correlation with 3x3 kernels by Winograd's minimal filtering, F(4x4, 3x3).

Along one axis, a tile of 4 outputs y reads 6 positions d. The matrices come from the product of two polynomials: one
with the 4 coefficients u, and one with the 3 coefficients w. It has 6 coefficients, so its values at 6 points determine
it, and at each point the values of the two are multiplied. The points are 0, 1, -1, 2, -2 and infinity, where the value
is the leading coefficient. With the matrices of evaluation A (6, 4) and G (6, 3), with the powers of a point in each
row, and B (6, 6), the inverse of the evaluation of 6 coefficients, the product has the coefficients

    B [ (G w) * (A u) ]

with * entry by entry. Coefficient m of the product is the sum of u_j w_k over j + k = m: a matrix with w_k at row j + k
and column j. Its transpose takes d to the sum over k of d[j + k] w_k, which is the cross-correlation. So transpose:

    y = A^T [ (G w) * (B^T d) ]

This takes 6 products for 4 outputs, not 12. A factor of a row may be moved from B^T to G, so that B has integers alone.
The same along both axes gives, for a tile of 4x4 outputs y, which reads 6x6 positions d,

    y = A^T [ (G w G^T) * (B^T d B) ] A

summed over channels, with 36 products per channel instead of the 144 of the definition. For each of the 36 entries, the
sum over channels is one matrix product: all tiles' values of that entry (tiles, I) times the transformed weights' (I,
O). The map is linear in w, so the gradient of w is its transpose. With the product in brackets a sum over tiles, entry
by entry,

    dw = G^T [ (B^T d B)^T (A dy A^T) ] G

In the code, `_planes` computes B^T d B (or A dy A^T) of all tiles as a stack of 36 planes (tiles, C), one per entry.
`_transform` computes m [...] m^T for the outer pairs A and G.

S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural
Networks, 2015 (arXiv:1509.09308). The transforms cancel some digits: the error is about 1e-5 of the largest output in
float32, 2e-14 in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from funcnn.kernels.bias import add_bias
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import first_argmax, maximum
from funcnn.kernels.selection import compilable
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
# ``scripts/bench --job vgg`` and ``scripts/bench --methods`` measure the following constants again.

# Tiles times channels of a chunk: larger chunks make fewer NumPy calls, the planes of smaller ones stay in the cache.
_CHUNK = 1 << 13
# The same from so many channels on: a smaller chunk has few tiles, so that its products' matrices have few rows.
_MANY_CHANNELS, _LARGE_CHUNK = 1 << 8, 1 << 14
# Images times channels of a chunk, at least: the contiguous numbers of one position, which make a product's rows long.
_RUN = 1 << 8


@compilable
def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    return _correlate(x, _transformed(x, w), g, b, relu)


@compilable
def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    weights = _transformed(x, w)
    return lambda x: _correlate(x, weights, g, b, relu)


def _correlate(x: Array, weights: Array, g: Geometry, b: Array | None, relu: bool) -> Array:
    y = np.empty((len(x), *g.out, weights.shape[-1]), weights.dtype)
    for images, rows, tiles in _tiles(x, weights, g):
        _write_tiles(tiles, y[images], rows)
    return add_bias(y, b, relu)


@compilable
def correlate_max(
    x: Array, w: Array, g: Geometry, return_argmax: bool, b: Array | None = None
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.correlate_max`.

    A tile has four pooling windows. ``tiles[i::2, j::2]`` holds position (i, j) of all windows, so the maximum is an
    elementwise one over four arrays.
    """
    return _correlate_max(x, _transformed(x, w), g, return_argmax, b)


@compilable
def prepare_max(x: Array, w: Array, g: Geometry, b: Array | None = None) -> Callable[[Array], Array]:
    """Return what computes the maxima of `correlate_max` for any array of x's shape."""
    weights = _transformed(x, w)
    return lambda x: _correlate_max(x, weights, g, False, b)[0]


def _correlate_max(
    x: Array, weights: Array, g: Geometry, return_argmax: bool, b: Array | None
) -> tuple[Array, Array | None]:
    shape = (len(x), *(o // 2 for o in g.out), weights.shape[-1])
    y = np.empty(shape, weights.dtype)
    argmax = np.empty(shape, np.uint8) if return_argmax else None
    for images, rows, tiles in _tiles(x, weights, g):
        taps = [tiles[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        maxima = maximum(taps)
        _write_tiles(maxima, y[images], rows)
        if argmax is not None:
            _write_tiles(first_argmax(taps, maxima), argmax[images], rows)
    return add_bias(y, b), argmax


@compilable
def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    dtype, before = np.result_type(x, dy), tuple(lo for lo, _ in g.padding)
    b, a = _B.astype(dtype), _A.T.astype(dtype)
    dweights = np.zeros((_POSITIONS * _POSITIONS, in_channels, out_channels), dtype)
    for images, rows in _chunks(len(x), g, max(in_channels, out_channels)):
        planes = _planes(x[images], b, g, rows, before)
        dweights += planes.mT @ _planes(dy[images], a, g, rows, (0, 0))
    return _transform(_G.T.astype(dtype), dweights.reshape(_POSITIONS, _POSITIONS, -1)).reshape(
        3, 3, in_channels, out_channels
    )


def _transformed(x: Array, w: Array) -> Array:
    """Return G w G^T as (36, I, O), in the dtype of the products."""
    dtype = np.result_type(x, w)
    return _transform(_G.astype(dtype), w.astype(dtype).reshape(3, 3, -1)).reshape(-1, *w.shape[-2:])


def _tiles(x: Array, weights: Array, g: Geometry) -> Iterator[tuple[slice, slice, Array]]:
    """Yield for each chunk its images, its rows of tiles, and their outputs (4, 4, rows, columns, n, O)."""
    in_channels, out_channels = weights.shape[-2:]
    dtype, before, across = weights.dtype, tuple(lo for lo, _ in g.padding), -(-g.out[1] // _TILE)
    b, a = _B.astype(dtype), _A.astype(dtype)
    for images, rows in _chunks(len(x), g, max(in_channels, out_channels)):
        planes = _planes(x[images], b, g, rows, before)
        tiles = _transform(a, (planes @ weights).reshape(_POSITIONS, _POSITIONS, -1))
        yield images, rows, tiles.reshape(_TILE, _TILE, rows.stop - rows.start, across, -1, out_channels)


def _transform(m: Array, planes: Array) -> Array:
    """Return m p m^T for each matrix p = planes[:, :, i]."""
    half = np.empty((len(m), *planes.shape[1:]), planes.dtype)
    np.matmul(m, planes.transpose(1, 0, 2), out=half.transpose(1, 0, 2))
    return m @ half


def _chunks(n: int, g: Geometry, channels: int) -> Iterator[tuple[slice, slice]]:
    """Split a batch into chunks: some of the images, and some rows of their tiles."""
    down, across = (-(-o // _TILE) for o in g.out)
    row, chunk = across * channels, _CHUNK if channels < _MANY_CHANNELS else _LARGE_CHUNK
    min_images = max(1, min(n, _RUN // channels))
    rows = min(down, max(1, chunk // (row * min_images)))
    parts = -(-down // rows)
    rows, images = -(-down // parts), max(1, chunk // (row * rows))
    for i in range(0, n, images):
        yield from ((slice(i, min(i + images, n)), slice(r, min(r + rows, down))) for r in range(0, down, rows))


def _planes(x: Array, m: Array, g: Geometry, rows: slice, before: tuple[int, ...]) -> Array:
    """Return m d m^T for all tiles d of x, as (36, rows * columns * n, C).

    The tiles start ``before`` positions above and left of x, in zeros. x is first transposed to (height, width, n, C),
    so that each position is a run of n * C contiguous numbers. The tiles overlap, so they are taken as views: first
    along the height, multiplied by m, then along the width.
    """
    positions, n, channels = m.shape[1], len(x), x.shape[-1]
    count, across = rows.stop - rows.start, -(-g.out[1] // _TILE)
    height, width = ((k - 1) * _TILE + positions for k in (count, across))
    top, left = rows.start * _TILE - before[0], -before[1]
    inside = x[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)].transpose(1, 2, 0, 3)
    zeros_above, zeros_left = max(-top, 0), max(-left, 0)
    whole = inside.shape[:2] == (height, width)
    padded = (np.empty if whole else np.zeros)((height, width, n, channels), m.dtype)
    padded[zeros_above : zeros_above + inside.shape[0], zeros_left : zeros_left + inside.shape[1]] = inside
    run, size = n * channels, m.dtype.itemsize
    line = width * run
    down = m @ view(padded, (count, positions, line), (_TILE * line * size, line * size, size))
    columns = (count, len(m), across, positions, run)
    strides = (len(m) * line * size, line * size, _TILE * run * size, run * size, size)
    planes = np.empty((len(m), len(m), count, across, run), m.dtype)
    np.matmul(m, view(down, columns, strides), out=planes.transpose(2, 0, 3, 1, 4))
    return planes.reshape(len(m) ** 2, count * across * n, channels)


def _write_tiles(tiles: Array, y: Array, rows: slice) -> None:
    """Write ``rows`` of tiles, (side, side, rows, columns, n, O), to y (n, height, width, O)."""
    side, _, count, across, n, out_channels = tiles.shape
    by_image = tiles.transpose(4, 2, 0, 3, 1, 5)
    target = y[:, rows.start * side : rows.stop * side]
    if target.shape[1:3] == (count * side, across * side):
        target.reshape(n, count, side, across, side, out_channels)[...] = by_image
    else:
        image = by_image.reshape(n, count * side, across * side, out_channels)
        target[...] = image[:, : target.shape[1], : target.shape[2]]
