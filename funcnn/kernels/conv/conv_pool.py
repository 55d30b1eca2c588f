"""Cross-correlation followed by the maximum over 2x2 windows side by side, without its output in between.

A method that computes several outputs at once has them in an order of its own, in which the four positions of a window
can lie in four long runs, so that their maximum is quicker to take there than from the image; and a quarter is left to
be laid out as one. Here those are row blocks of two rows (`funcnn.kernels.conv.row_blocks`), whose weights are arranged
so that all first positions of windows come first, then all second ones, and so on; and Winograd's tiles
(`funcnn.kernels.conv.winograd`).

Geometries have two dimensions, no stride and no dilation, and there is one group; what a window lacks at the end of an
odd number of outputs is left out, as `max_pool` does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.kernels.conv import im2col, row_blocks, toeplitz, winograd
from funcnn.kernels.conv.dispatch import choose, correlate_adjoint_w, correlate_adjoint_x
from funcnn.kernels.geometry import Geometry, geometry
from funcnn.kernels.pooling import first_argmax, maximum, scatter_argmax
from funcnn.tree import Array

_SIDE = 2
_WIDEST = 192  # columns of a product, at most
_ROW = 4000  # the maximum over a row of windows, and back, takes as long as so many multiplications, besides its length


@lru_cache(maxsize=1024)
def choose_conv_pool(
    g: Geometry, n: int, in_channels: int, out_channels: int, dtype: np.dtype[Any], *, exact: bool
) -> str | None:
    """Return the method by which convolution and maximum are to be taken together, or None if they are not to be.

    They are where the convolution alone would go by row blocks or by Winograd's tiles.
    """
    plain = len(g.size) == 2 and g.stride == g.dilation == (1, 1) and min(g.out) >= _SIDE and dtype.kind == "f"
    if not plain or 0 in (n, in_channels, out_channels):
        return None
    method = choose(g, n, in_channels, out_channels, 1, dtype, exact=exact)
    if method == "row_blocks" and 4 * out_channels > _WIDEST:
        return None
    return method if method in ("row_blocks", "winograd") else None


def correlate_max(x: Array, w: Array, g: Geometry, method: str, *, return_argmax: bool) -> tuple[Array, Array | None]:
    """Return y (N, out // 2..., O), the maximum of the windows, and if ``return_argmax`` which position holds it, 0 to
    3.
    """
    if method == "winograd":
        return winograd.correlate_max(x, w, g, return_argmax)
    of_blocks, block = _geometries(g, *w.shape[-2:])
    weights = toeplitz.matrix(w, block, even_first=True).reshape(*of_blocks.window, w.shape[-2], -1)
    outputs = im2col.correlate(x, weights, of_blocks, 1)
    positions = outputs.shape[-1] // 4
    taps = [outputs[..., k * positions : (k + 1) * positions] for k in range(4)]
    maxima = maximum(taps)
    return _rows(maxima, g, w.shape[-1]), _rows(first_argmax(taps, maxima), g, w.shape[-1]) if return_argmax else None


def adjoints(
    x: Array,
    w: Array,
    dy: Array,
    argmax: Array,
    g: Geometry,
    method: str,
    *,
    input_gradient: bool,
    per_example: bool,
    preference: str,
) -> tuple[Array, Array | None]:
    """Return dw and, if wanted, dx: each dy goes to the argmax of its window, and from there back to w and x.

    The ``preference`` is that of `funcnn.kernels.conv.dispatch` for what is not computed together.
    """
    if method == "winograd" or per_example:
        shape = (len(dy), *g.out, dy.shape[-1])
        dz = scatter_argmax(argmax, dy, _windows(g), (0, 1), shape)
        dw = correlate_adjoint_w(x, dz, g, 1, per_example, preference)
        return dw, correlate_adjoint_x(dz, w, g, 1, preference) if input_gradient else None
    in_channels, out_channels = w.shape[-2:]
    of_blocks, block = _geometries(g, in_channels, out_channels)
    dy, argmax = (_of_strips(a, of_blocks, block) for a in (dy, argmax))
    positions = dy.shape[-1]
    dz = np.empty((*dy.shape[:-1], 4 * positions), dy.dtype)
    for k in range(4):
        np.multiply(dy, argmax == k, out=dz[..., k * positions : (k + 1) * positions])
    pairs = im2col.correlate_adjoint_w(x, dz, of_blocks, 1).reshape(-1, 4 * positions)
    dw = toeplitz.matrix_adjoint(pairs, block, in_channels, out_channels, even_first=True)
    if not input_gradient:
        return dw, None
    return dw, row_blocks.add_up(dz, toeplitz.matrix(w, block, even_first=True), g, of_blocks)


@lru_cache(maxsize=256)
def _windows(g: Geometry) -> Geometry:
    return geometry("max_pool", g.out, _SIDE, stride=_SIDE)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, in_channels: int, out_channels: int) -> tuple[Geometry, Geometry]:
    """Return the windows that hold a block each, of two rows and those columns that cost least, and the windows of w
    within one of these.
    """
    (height, width), (rows, row) = g.window, (o // _SIDE for o in g.out)

    def cost(pairs: int) -> int:
        positions = (height + 1) * (width + 2 * pairs - 1) * in_channels
        return -(-row // pairs) * (positions * (4 * pairs * out_channels + row_blocks.COPY) + _ROW)

    pairs = min(range(1, max(1, min(row, _WIDEST // (4 * out_channels))) + 1), key=cost)
    count = -(-row // pairs)
    window, stride, out = (height + 1, width + 2 * pairs - 1), (_SIDE, 2 * pairs), (rows, count)
    reach = (step * (o - 1) + k for step, o, k in zip(stride, out, window, strict=True))
    padding = tuple((lo, r - s - lo) for r, s, (lo, _) in zip(reach, g.size, g.padding, strict=True))
    none = ((0, 0), (0, 0))
    return (
        Geometry(g.size, window, stride, padding, (1, 1), out),
        Geometry(window, g.window, (1, 1), none, (1, 1), (_SIDE, 2 * pairs)),
    )


def _rows(of_blocks: Array, g: Geometry, out_channels: int) -> Array:
    """Take (N, rows, row blocks, pairs * O) to (N, rows, columns, O)."""
    n, rows, count, positions = of_blocks.shape
    row = g.out[1] // _SIDE
    y = of_blocks.reshape(n, rows, count * positions // out_channels, out_channels)
    return y if y.shape[2] == row else np.ascontiguousarray(y[:, :, :row])


def _of_strips(y: Array, of_blocks: Geometry, block: Geometry) -> Array:
    """Take (N, rows, columns, O) to (N, rows, row blocks, pairs * O)."""
    n, rows, row, out_channels = y.shape
    pairs, count = block.out[1] // 2, of_blocks.out[1]
    if count * pairs > row:
        y = np.concatenate([y, np.zeros((n, rows, count * pairs - row, out_channels), y.dtype)], axis=2)
    return y.reshape(n, rows, count, pairs * out_channels)
