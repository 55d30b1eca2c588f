"""Cross-correlation followed by the maximum over 2x2 windows side by side, without its output in between.

A method that computes several outputs at once has them in an order of its own, in which the four cells of a window can
lie in four long runs, so that their maximum is quicker to take there than from the image; and a quarter is left to be
laid out as one. Here those are strips of two rows (`funcnn.kernels.strips`), whose weights are arranged so that all
first cells of windows come first, then all second ones, and so on; and Winograd's tiles (`funcnn.kernels.winograd`).

Geometries have two dimensions, no stride and no dilation, and there is one group; what a window lacks at the end of an
odd number of outputs is left out, as `max_pool` does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.kernels import columns, strips, unrolled, winograd
from funcnn.kernels.convolution import correlate_adjoint_w, correlate_adjoint_x
from funcnn.kernels.geometry import Geometry, geometry
from funcnn.kernels.lowering import choose
from funcnn.kernels.pooling import first_met, maximum, winners_adjoint
from funcnn.tree import Array

_SIDE = 2
_WIDEST = 192  # columns of a product, at most
_ROW = 4000  # the maximum over a row of windows, and back, takes as long as so many multiplications, besides its length


@lru_cache(maxsize=1024)
def choose_pooled(g: Geometry, n: int, inner: int, outer: int, dtype: np.dtype[Any], *, exact: bool) -> str | None:
    """Return the method by which convolution and maximum are to be taken together, or None if they are not to be.

    They are where the convolution alone would go by strips or by Winograd's tiles.
    """
    plain = len(g.size) == 2 and g.stride == g.dilation == (1, 1) and min(g.out) >= _SIDE and dtype.kind == "f"
    if not plain or 0 in (n, inner, outer):
        return None
    method = choose(g, n, inner, outer, 1, dtype, exact=exact)
    if method == "strips" and 4 * outer > _WIDEST:
        return None
    return method if method in ("strips", "winograd") else None


def correlate_max(x: Array, w: Array, g: Geometry, method: str, *, numbered: bool) -> tuple[Array, Array | None]:
    """Return y (N, out // 2..., O), the maximum of the windows, and if ``numbered`` which cell holds it, 0 to 3."""
    if method == "winograd":
        return winograd.correlate_max(x, w, g, numbered)
    of_strips, strip = _geometries(g, *w.shape[-2:])
    weights = unrolled.matrix(w, strip, even_first=True).reshape(*of_strips.window, w.shape[-2], -1)
    outputs = columns.correlate(x, weights, of_strips, 1)
    cells = outputs.shape[-1] // 4
    taps = [outputs[..., k * cells : (k + 1) * cells] for k in range(4)]
    most = maximum(taps)
    return _rows(most, g, w.shape[-1]), _rows(first_met(taps, most), g, w.shape[-1]) if numbered else None


def adjoints(
    x: Array,
    w: Array,
    dy: Array,
    winner: Array,
    g: Geometry,
    method: str,
    *,
    input_gradient: bool,
    per_example: bool,
    wish: str,
) -> tuple[Array, Array | None]:
    """Return dw and, if wanted, dx: each dy goes to the winner of its window, and from there back to w and x.

    The ``wish`` is that of `funcnn.kernels.convolution` for what is not computed together.
    """
    if method == "winograd" or per_example:
        shape = (len(dy), *g.out, dy.shape[-1])
        dz = winners_adjoint(winner, dy, _windows(g), (0, 1), shape)
        dw = correlate_adjoint_w(x, dz, g, 1, per_example, wish)
        return dw, correlate_adjoint_x(dz, w, g, 1, wish) if input_gradient else None
    inner, outer = w.shape[-2:]
    of_strips, strip = _geometries(g, inner, outer)
    dy, winner = (_of_strips(a, of_strips, strip) for a in (dy, winner))
    cells = dy.shape[-1]
    dz = np.empty((*dy.shape[:-1], 4 * cells), dy.dtype)
    for k in range(4):
        np.multiply(dy, winner == k, out=dz[..., k * cells : (k + 1) * cells])
    pairs = columns.correlate_adjoint_w(x, dz, of_strips, 1).reshape(-1, 4 * cells)
    dw = unrolled.matrix_adjoint(pairs, strip, inner, outer, even_first=True)
    if not input_gradient:
        return dw, None
    return dw, strips.add_up(dz, unrolled.matrix(w, strip, even_first=True), g, of_strips)


@lru_cache(maxsize=256)
def _windows(g: Geometry) -> Geometry:
    return geometry("max_pool", g.out, _SIDE, stride=_SIDE)


@lru_cache(maxsize=256)
def _geometries(g: Geometry, inner: int, outer: int) -> tuple[Geometry, Geometry]:
    """Return the windows that hold a strip each, of two rows and those columns that cost least, and the windows of w
    within one of these.
    """
    (height, width), (rows, row) = g.window, (o // _SIDE for o in g.out)

    def cost(pairs: int) -> int:
        cells = (height + 1) * (width + 2 * pairs - 1) * inner
        return -(-row // pairs) * (cells * (4 * pairs * outer + strips.COPY) + _ROW)

    pairs = min(range(1, max(1, min(row, _WIDEST // (4 * outer))) + 1), key=cost)
    count = -(-row // pairs)
    window, stride, out = (height + 1, width + 2 * pairs - 1), (_SIDE, 2 * pairs), (rows, count)
    reach = (step * (o - 1) + k for step, o, k in zip(stride, out, window, strict=True))
    padding = tuple((lo, r - s - lo) for r, s, (lo, _) in zip(reach, g.size, g.padding, strict=True))
    none = ((0, 0), (0, 0))
    return (
        Geometry(g.size, window, stride, padding, (1, 1), out),
        Geometry(window, g.window, (1, 1), none, (1, 1), (_SIDE, 2 * pairs)),
    )


def _rows(of_strips: Array, g: Geometry, outer: int) -> Array:
    """Take (N, rows, strips, pairs * O) to (N, rows, columns, O)."""
    n, rows, count, cells = of_strips.shape
    row = g.out[1] // _SIDE
    y = of_strips.reshape(n, rows, count * cells // outer, outer)
    return y if y.shape[2] == row else np.ascontiguousarray(y[:, :, :row])


def _of_strips(y: Array, of_strips: Geometry, strip: Geometry) -> Array:
    """Take (N, rows, columns, O) to (N, rows, strips, pairs * O)."""
    n, rows, row, outer = y.shape
    pairs, count = strip.out[1] // 2, of_strips.out[1]
    if count * pairs > row:
        y = np.concatenate([y, np.zeros((n, rows, count * pairs - row, outer), y.dtype)], axis=2)
    return y.reshape(n, rows, count, pairs * outer)
