"""Cross-correlation and its two adjoints, by matrix multiplication of gathered windows.

Every routine works through the batch in pieces whose gathered windows stay near the size of a core's cache: gathering
is then cheap beside the multiplication, and no buffer grows with the batch times the kernel's area. Tiny images take
another road, `funcnn.kernels.unrolled`.

Shapes: x (N, size..., I), w (window..., I/groups, O), y (N, out..., O).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np

from funcnn.kernels import unrolled
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import crop, pad, windows
from funcnn.tree import Array

_PIECE_BYTES = 1 << 20
# Copying a view moves one run of neighbouring numbers at a time; below this length a list of indices is quicker.
_SHORT_RUN = 6


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """Return y[n, o] = sum over taps k of x[n, o*stride + k*dilation - lo] @ w[k], group by group."""
    if unrolled.is_tiny(g, x.shape[-1], w.shape[-1], groups):
        return unrolled.correlate(x, w, g)
    matrix = _grouped_matrix(w, groups)
    y = np.empty((x.shape[0], *g.out, w.shape[-1]), np.result_type(x, w))
    for piece in _pieces(x.shape[0], g, x.shape[-1] * y.itemsize):
        np.matmul(_columns(x[piece], g, groups), matrix, out=_by_group(y[piece], groups))
    return y


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int) -> Array:
    """Return dx: each dy[n, o] @ w[k].T added to the cell that its tap k read."""
    if unrolled.is_tiny(g, w.shape[-2], w.shape[-1], groups):
        return unrolled.correlate_adjoint_x(dy, w, g)
    if all(step == 1 for step in g.stride):
        # Without strides this is a correlation itself: of dy with the kernel flipped and its channels exchanged.
        kernel = np.flip(exchange_channels(w, groups), tuple(range(len(g.window))))
        reach = [d * (k - 1) for d, k in zip(g.dilation, g.window, strict=True)]
        padding = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, g.padding, strict=True))
        return correlate(dy, kernel, Geometry(g.out, g.window, g.stride, padding, g.dilation, g.size), groups)
    matrix = _grouped_matrix(w, groups).transpose(0, 2, 1)
    channels = matrix.shape[-1] // math.prod(g.window) * groups
    padded = tuple(s + lo + hi for s, (lo, hi) in zip(g.size, g.padding, strict=True))
    dx = np.zeros((dy.shape[0], *padded, channels), np.result_type(dy, w))
    for piece in _pieces(dy.shape[0], g, channels * dx.itemsize):
        n = dy[piece].shape[0]
        columns = _by_group(dy[piece], groups) @ matrix
        columns = columns.reshape(groups, n, *g.out, math.prod(g.window), channels // groups)
        for i, tap in enumerate(product(*map(range, g.window))):
            cells = tuple(
                slice(k * d, k * d + step * (o - 1) + 1, step)
                for k, d, step, o in zip(tap, g.dilation, g.stride, g.out, strict=True)
            )
            dx[piece][:, *cells] += np.moveaxis(columns[..., i, :], 0, -2).reshape(n, *g.out, channels)
    return crop(dx, g.padding)


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int, per_example: bool = False) -> Array:
    """Return dw[k] = sum over n, o of the outer product of the cell that tap k read and dy[n, o].

    With ``per_example``, dw[n, k] without the sum over n.
    """
    if per_example:
        return _correlate_adjoint_w_per_example(x, dy, g, groups)
    if unrolled.is_tiny(g, x.shape[-1], dy.shape[-1], groups):
        return unrolled.correlate_adjoint_w(x, dy, g)
    inner, outer = x.shape[-1] // groups, dy.shape[-1] // groups
    dw = np.zeros((groups, math.prod(g.window) * inner, outer), np.result_type(x, dy))
    for piece in _pieces(x.shape[0], g, x.shape[-1] * dw.itemsize):
        dw += _columns(x[piece], g, groups).transpose(0, 2, 1) @ _by_group(dy[piece], groups)
    return _by_tap(dw, g)


def _correlate_adjoint_w_per_example(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    cells, rows, outer = math.prod(g.out), math.prod(g.window) * x.shape[-1] // groups, dy.shape[-1] // groups
    dw = np.empty((groups, len(x), rows, outer), np.result_type(x, dy))
    for piece in _pieces(len(x), g, x.shape[-1] * dw.itemsize):
        columns, dys = _columns(x[piece], g, groups), _by_group(dy[piece], groups)
        columns, dys = (a.reshape(groups, -1, cells, a.shape[-1]) for a in (columns, dys))
        np.matmul(columns.mT, dys, out=dw[:, piece])
    return _by_tap(dw, g)


def exchange_channels(w: Array, groups: int) -> Array:
    """Turn (window..., I/groups, O) into (window..., O/groups, I), the weights that take y's channels back to x's."""
    split = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    return np.moveaxis(split, -1, -3).swapaxes(-1, -2).reshape(*w.shape[:-2], w.shape[-1] // groups, -1)


def _pieces(n: int, g: Geometry, cell_bytes: int) -> Iterator[slice]:
    image_bytes = math.prod(g.out) * math.prod(g.window) * cell_bytes
    step = max(1, _PIECE_BYTES // max(1, image_bytes))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def _columns(x: Array, g: Geometry, groups: int) -> Array:
    """Gather the windows of ``x`` as rows of a matrix for each group: (groups, n * out, window * I/groups)."""
    rows = x.shape[0] * math.prod(g.out)
    width = math.prod(g.window) * (x.shape[-1] // groups)
    x = pad(x, g.padding)
    run = x.shape[-1] * (g.window[-1] if g.dilation[-1] == 1 else 1)
    if groups == 1 and run <= _SHORT_RUN:
        cells = _window_cells(x.shape[1:], g)
        return x.reshape(x.shape[0], math.prod(x.shape[1:])).take(cells, axis=1).reshape(1, rows, width)
    view = windows(x, g)
    if groups > 1:
        view = np.moveaxis(view.reshape(*view.shape[:-1], groups, -1), -2, 0)
    return view.reshape(groups, rows, width)


@lru_cache(maxsize=64)
def _window_cells(padded: tuple[int, ...], g: Geometry) -> Array:
    """Number the cells of a padded image (size..., I), and list those of its windows one window after the other."""
    numbers = np.arange(math.prod(padded)).reshape(1, *padded)
    return windows(numbers, g).reshape(-1)


def _by_group(y: Array, groups: int) -> Array:
    """View (n, out..., O) as (groups, n * out, O/groups)."""
    rows = math.prod(y.shape[:-1])
    return y.reshape(rows, groups, y.shape[-1] // groups).transpose(1, 0, 2)


def _grouped_matrix(w: Array, groups: int) -> Array:
    """Lay w (window..., I/groups, O) out as (groups, window * I/groups, O/groups)."""
    rows = math.prod(w.shape[:-1])
    return w.reshape(rows, groups, w.shape[-1] // groups).transpose(1, 0, 2)


def _by_tap(matrix: Array, g: Geometry) -> Array:
    """Lay (groups, ..., window * I/groups, O/groups) out as (..., window..., I/groups, O), as w is."""
    groups, *batch, rows, outer = matrix.shape
    return np.moveaxis(matrix, 0, -2).reshape(*batch, *g.window, rows // math.prod(g.window), groups * outer)
