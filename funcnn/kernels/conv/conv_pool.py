"""Cross-correlation fused with max pooling over 2x2 windows of stride 2: the full-size output is never stored.

Two methods compute several neighbouring outputs in one product: blocks (`funcnn.kernels.conv.row_blocks`), here two
rows high, and Winograd's tiles (`funcnn.kernels.conv.winograd`). The four positions of every pooling window can be
arranged as four contiguous arrays there: block weights are ordered so that all first positions of pooling windows come
first, then all second ones, and so on. The maximum over four contiguous arrays is faster than over an image, and only
the maxima, a quarter of the outputs, are then rearranged to an image.

Geometries have two dimensions, no stride and no dilation, and there is one group. If the number of outputs on an axis
is odd, the last one belongs to no window, as in `max_pool`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from funcnn.kernels.bias import add_bias, repeat_bias
from funcnn.kernels.conv import im2col, row_blocks, toeplitz, winograd
from funcnn.kernels.conv.block_maxima import maxima_of_parts, scatter_to_parts
from funcnn.kernels.conv.dispatch import choose, correlate_adjoint_w, correlate_adjoint_x
from funcnn.kernels.geometry import Geometry, geometry
from funcnn.kernels.pooling import scatter_argmax
from funcnn.kernels.selection import compilable, for_size
from funcnn.tree import Array

_SIDE = 2  # of a pooling window
# The cost model of `_geometries`; ``scripts/bench --job digits32`` and ``--job lenet`` measure its constants again.
_MAX_WIDTH = 192  # columns of a product: beyond these, the products by 0 cost more than wider matrices gain
_ROW = 4000  # multiply-adds: the fixed cost of the maximum over one row of blocks and of its adjoint


@lru_cache(maxsize=1024)
def choose_conv_pool(
    g: Geometry,
    n: int,
    in_channels: int,
    out_channels: int,
    dtype: np.dtype[Any],
    *,
    exact: bool,
    compiled: bool,
    prepared: bool = False,
) -> str | None:
    """Return the method for the fused convolution and pooling, or None where they are faster one after the other.

    They are fused where `choose` takes "row_blocks" or "winograd" for the convolution alone.
    """
    plain = len(g.size) == 2 and g.stride == g.dilation == (1, 1) and min(g.out) >= _SIDE and dtype.kind == "f"
    if not plain or 0 in (n, in_channels, out_channels):
        return None
    method = choose(g, n, in_channels, out_channels, 1, dtype, exact=exact, compiled=compiled, prepared=prepared)
    if method == "row_blocks" and 4 * out_channels > _MAX_WIDTH:
        return None
    return method if method in ("row_blocks", "winograd") else None


def correlate_max(
    x: Array, w: Array, g: Geometry, method: str, b: Array | None = None, *, return_argmax: bool
) -> tuple[Array, Array | None]:
    """Return y = b + maxima (N, out // 2..., O) and, with ``return_argmax``, their positions 0 to 3 in the windows."""
    if method == "winograd":
        return winograd.correlate_max(x, w, g, return_argmax, b)
    return maxima_of_blocks(x, w, g, return_argmax, b)


@compilable
def maxima_of_blocks(
    x: Array, w: Array, g: Geometry, return_argmax: bool, b: Array | None = None
) -> tuple[Array, Array | None]:
    """Return the same as `correlate_max`, for "row_blocks"."""
    outputs = im2col.prepare(x, _block_weights(w, g), _geometries(g, *w.shape[-2:])[0], 1)(x)
    maxima, argmax = maxima_of_parts(outputs, 4, return_argmax)
    maxima = add_bias(_join_blocks(maxima, g, w.shape[-1]), b)
    return maxima, None if argmax is None else _join_blocks(argmax, g, w.shape[-1])


def prepare_max(x: Array, w: Array, g: Geometry, method: str, b: Array | None, relu: bool) -> Callable[[Array], Array]:
    """Return what computes the maxima of `correlate_max` for any array of x's shape, with ReLU if ``relu``.

    What depends on w alone is computed once.
    """
    if method == "winograd":
        maxima_of_tiles = winograd.prepare_max(x, w, g, b)
        return lambda x: add_bias(maxima_of_tiles(x), None, relu)
    return prepare_max_of_blocks(x, w, g, b, relu)


@partial(compilable, least=1)
def prepare_max_of_blocks(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool) -> Callable[[Array], Array]:
    """Return the same as `prepare_max`, for "row_blocks"."""
    out_channels, (blocks, _) = w.shape[-1], _geometries(g, *w.shape[-2:])
    weights = _block_weights(w, g)
    windows = weights.shape[-1] // (4 * out_channels)  # pooling windows of a block
    b_of_block = None if b is None else repeat_bias(b, windows)
    rows = im2col.prepare_rows(x, weights, blocks)
    if rows is not None:
        # a product for each position in the pooling windows: their maximum is then that of whole matrices
        of_positions = weights.reshape(-1, 4, windows * out_channels).swapaxes(0, 1).copy()
        shape = (len(x), *blocks.out, windows * out_channels)

        def multiply_and_max(x: Array) -> Array:
            y = np.matmul(rows(x), of_positions)
            y = np.maximum(y[:2], y[2:])
            maxima: Array = np.maximum(y[0], y[1])
            return _join_blocks(add_bias(maxima, b_of_block, relu).reshape(shape), g, out_channels)

        return multiply_and_max
    correlate_blocks = im2col.prepare(x, weights, blocks, 1)
    of_parts = for_size(maxima_of_parts, len(x) * math.prod(blocks.out) * weights.shape[-1])

    def correlate_and_max(x: Array) -> Array:
        maxima, _ = of_parts(correlate_blocks(x), 4, False)
        return _join_blocks(add_bias(maxima, b_of_block, relu), g, out_channels)

    return correlate_and_max


def _block_weights(w: Array, g: Geometry) -> Array:
    """Return the weights of a block's window, whose outputs are all of the block's."""
    blocks, within_block = _geometries(g, *w.shape[-2:])
    return toeplitz.matrix(w, within_block, even_first=True).reshape(*blocks.window, w.shape[-2], -1)


def adjoints(
    x: Array,
    w: Array,
    dy: Array,
    argmax: Array,
    g: Geometry,
    method: str,
    *,
    input_gradient: bool,
    preference: str,
) -> tuple[Array, Array | None]:
    """Return dw and, with ``input_gradient``, dx.

    The pooling's VJP sends each dy to the argmax of its window, which gives the cotangent dz of the convolution's
    output; dw and dx are the convolution's adjoints at dz. ``preference``, "auto" or "exact", chooses the method of
    adjoints that are not fused.
    """
    if method == "winograd":
        return adjoints_of_tiles(x, w, dy, argmax, g, input_gradient, preference)
    return adjoints_of_blocks(x, w, dy, argmax, g, input_gradient)


@compilable
def adjoints_of_blocks(
    x: Array, w: Array, dy: Array, argmax: Array, g: Geometry, input_gradient: bool
) -> tuple[Array, Array | None]:
    """Return the same as `adjoints`, for "row_blocks"."""
    in_channels, out_channels = w.shape[-2:]
    blocks, within_block = _geometries(g, in_channels, out_channels)
    dy, argmax = (_split_into_blocks(a, blocks, within_block) for a in (dy, argmax))
    dz = scatter_to_parts(dy, argmax, 4)
    pairs = im2col.correlate_adjoint_w(x, dz, blocks, 1).reshape(-1, dz.shape[-1])
    dw = toeplitz.matrix_adjoint(pairs, within_block, in_channels, out_channels, even_first=True)
    if not input_gradient:
        return dw, None
    return dw, row_blocks.adjoint_x_of_blocks(dz, toeplitz.matrix(w, within_block, even_first=True), g, blocks)


@compilable
def adjoints_of_tiles(
    x: Array, w: Array, dy: Array, argmax: Array, g: Geometry, input_gradient: bool, preference: str
) -> tuple[Array, Array | None]:
    """Return the same as `adjoints`, for "winograd"."""
    dz = scatter_argmax(argmax, dy, _pool_geometry(g), (0, 1), (len(dy), *g.out, dy.shape[-1]))
    dw = correlate_adjoint_w(x, dz, g, 1, preference)
    return dw, correlate_adjoint_x(dz, w, g, 1, preference) if input_gradient else None


@lru_cache(maxsize=256)
def _pool_geometry(g: Geometry) -> Geometry:
    return geometry("max_pool", g.out, _SIDE, stride=_SIDE)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, in_channels: int, out_channels: int) -> tuple[Geometry, Geometry]:
    """Return two geometries: one window per block, sliding over the image, and w sliding within one such window.

    A block is two rows high, and as wide as costs least by a model in multiply-adds.
    """
    (height, width), (rows, row) = g.window, (o // _SIDE for o in g.out)

    def cost(windows: int) -> int:
        positions = (height + 1) * (width + 2 * windows - 1) * in_channels
        return -(-row // windows) * (positions * (4 * windows * out_channels + row_blocks.COPY) + _ROW)

    windows = min(range(1, max(1, min(row, _MAX_WIDTH // (4 * out_channels))) + 1), key=cost)
    count = -(-row // windows)
    window, stride, out = (height + 1, width + 2 * windows - 1), (_SIDE, 2 * windows), (rows, count)
    extents = (step * (o - 1) + k for step, o, k in zip(stride, out, window, strict=True))
    padding = tuple((lo, r - s - lo) for r, s, (lo, _) in zip(extents, g.size, g.padding, strict=True))
    none = ((0, 0), (0, 0))
    return (
        Geometry(g.size, window, stride, padding, (1, 1), out),
        Geometry(window, g.window, (1, 1), none, (1, 1), (_SIDE, 2 * windows)),
    )


def _join_blocks(y: Array, g: Geometry, out_channels: int) -> Array:
    """Reshape (N, rows, blocks of a row, windows * O) to (N, rows, columns, O), without what extends beyond the row."""
    n, rows, count, positions = y.shape
    row = g.out[1] // _SIDE
    y = y.reshape(n, rows, count * positions // out_channels, out_channels)
    return y if y.shape[2] == row else np.ascontiguousarray(y[:, :, :row])


def _split_into_blocks(y: Array, blocks: Geometry, within_block: Geometry) -> Array:
    """Reshape (N, rows, columns, O) to (N, rows, blocks of a row, windows * O), the last block padded by zeros."""
    n, rows, row, out_channels = y.shape
    windows, count = within_block.out[1] // 2, blocks.out[1]
    if count * windows > row:
        y = np.concatenate([y, np.zeros((n, rows, count * windows - row, out_channels), y.dtype)], axis=2)
    return y.reshape(n, rows, count, windows * out_channels)
