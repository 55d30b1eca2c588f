"""Cross-correlation by gathering windows as the rows of a matrix.

Every routine works through the batch in chunks whose gathered windows stay near the size of a core's cache: gathering
is then cheap beside the multiplication, and no buffer grows with the batch times the kernel's area.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad, windows
from funcnn.tree import Array

_CHUNK_BYTES = 1 << 20
# Copying a view moves one run of neighbouring numbers at a time; below this length a list of indices is quicker.
_SHORT_RUN = 6
# BLAS libraries multiply small matrices by a quicker road; OpenBLAS takes it up to this many products.
_SMALL_PRODUCT = 1_000_000
_NARROW = 8  # columns of a result for which small products are quicker than large ones on several threads, too


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    matrix, shape, dtype = _grouped_matrix(w, groups), (x.shape[0], *g.out, w.shape[-1]), np.result_type(x, w)
    parts = chunks(x.shape[0], g, x.shape[-1] * dtype.itemsize)
    if groups == 1 and len(parts) == 1:
        return multiply(_columns(x, g, 1)[0], matrix[0]).reshape(shape)
    y = np.empty(shape, dtype)
    for chunk in parts:
        if groups == 1:
            multiply(_columns(x[chunk], g, 1)[0], matrix[0], y[chunk].reshape(-1, w.shape[-1]))
        else:
            np.matmul(_columns(x[chunk], g, groups), matrix, out=_by_group(y[chunk], groups))
    return y


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int, per_example: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    if per_example:
        return _adjoint_w_per_example(x, dy, g, groups)
    in_channels, out_channels = x.shape[-1] // groups, dy.shape[-1] // groups
    dw = np.zeros((groups, math.prod(g.window) * in_channels, out_channels), np.result_type(x, dy))
    for chunk in chunks(x.shape[0], g, x.shape[-1] * dw.itemsize):
        columns = _columns(x[chunk], g, groups)
        if groups == 1:
            _add_product(columns[0], dy[chunk].reshape(-1, out_channels), dw[0])
        else:
            dw += columns.transpose(0, 2, 1) @ _by_group(dy[chunk], groups)
    return _by_tap(dw, g)


def chunks(n: int, g: Geometry, position_bytes: int) -> list[slice]:
    """Cut a batch evenly, so that the gathered windows of a chunk take about a mebibyte."""
    image_bytes = math.prod(g.out) * math.prod(g.window) * position_bytes
    step = max(1, -(-n // max(1, round(n * image_bytes / _CHUNK_BYTES))))
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]


def multiply(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return a b, in ``out`` if given, in blocks of rows that keep to small products where that is possible."""
    rows, block = len(a), _block(len(a), b.shape[0], b.shape[1], 32 if b.shape[1] <= _NARROW else 64)
    if not block:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((rows, b.shape[1]), np.result_type(a, b))
    whole = rows // block * block
    np.matmul(a[:whole].reshape(-1, block, a.shape[1]), b, out=out[:whole].reshape(-1, block, b.shape[1]))
    if whole < rows:
        np.matmul(a[whole:], b, out=out[whole:])
    return out


def _add_product(a: Array, b: Array, out: Array) -> None:
    """Add a^T b to ``out``, in blocks as `multiply`, of a's columns if those of its rows were too few."""
    rows, block = len(a), _block(len(a), a.shape[1], b.shape[1])
    if not block and b.shape[1] <= _NARROW and (across := _block(a.shape[1], rows, b.shape[1])):
        whole = a.shape[1] // across * across
        parts = a[:, :whole].reshape(rows, -1, across).transpose(1, 2, 0) @ b
        out[:whole] += parts.reshape(whole, -1)
        out[whole:] += a[:, whole:].T @ b
        return
    whole = rows // block * block if block else 0
    if whole:
        parts = a[:whole].reshape(-1, block, a.shape[1]).mT @ b[:whole].reshape(-1, block, b.shape[1])
        out += parts.sum(axis=0)
    if whole < rows:
        out += a[whole:].T @ b[whole:]


def _block(rows: int, depth: int, width: int, least: int = 64) -> int:
    """Return how many rows at a time make even, small products with a matrix of this shape; 0 if all are to go at once,
    for they are one small product, or fewer than ``least`` would make one.
    """
    largest = min(_SMALL_PRODUCT // max(depth * width, 1), 1024) // 32 * 32
    if largest < least or rows <= largest:
        return 0
    parts = -(-rows // largest)
    return min(largest, -(-rows // (32 * parts)) * 32)


def _adjoint_w_per_example(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    positions, rows, out_channels = (
        math.prod(g.out),
        math.prod(g.window) * x.shape[-1] // groups,
        dy.shape[-1] // groups,
    )
    dw = np.empty((groups, len(x), rows, out_channels), np.result_type(x, dy))
    for chunk in chunks(len(x), g, x.shape[-1] * dw.itemsize):
        columns, dys = _columns(x[chunk], g, groups), _by_group(dy[chunk], groups)
        columns, dys = (a.reshape(groups, -1, positions, a.shape[-1]) for a in (columns, dys))
        np.matmul(columns.mT, dys, out=dw[:, chunk])
    return _by_tap(dw, g)


def _columns(x: Array, g: Geometry, groups: int) -> Array:
    """Gather the windows of ``x`` as rows of a matrix for each group: (groups, n * out, window * I/groups)."""
    rows = x.shape[0] * math.prod(g.out)
    width = math.prod(g.window) * (x.shape[-1] // groups)
    x = pad(x, g.padding)
    run = x.shape[-1] * (g.window[-1] if g.dilation[-1] == 1 else 1)
    if groups == 1 and run <= _SHORT_RUN:
        positions = _window_positions(x.shape[1:], g)
        return x.reshape(x.shape[0], math.prod(x.shape[1:])).take(positions, axis=1).reshape(1, rows, width)
    view = windows(x, g)
    if groups > 1:
        view = np.moveaxis(view.reshape(*view.shape[:-1], groups, -1), -2, 0)
    return view.reshape(groups, rows, width)


@lru_cache(maxsize=64)
def _window_positions(padded: tuple[int, ...], g: Geometry) -> Array:
    """Number the positions of a padded image (size..., I), and list those of its windows one window after the other."""
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
    groups, *batch, rows, out_channels = matrix.shape
    return np.moveaxis(matrix, 0, -2).reshape(*batch, *g.window, rows // math.prod(g.window), groups * out_channels)
