"""Cross-correlation by im2col: windows are copied to the rows of a matrix, which is multiplied by the weights.

Every routine splits the batch into chunks whose im2col matrix fits roughly into a core's cache. Copying is then cheap
compared with the multiplication, and no buffer grows with the batch times the kernel's area.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from funcnn.kernels.bias import add_bias
from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.selection import active, compilable
from funcnn.kernels.windows import pad, shape_and_strides, view, windows
from funcnn.tree import Array

# ``scripts/bench --job lenet`` and ``--job vgg`` measure these constants again.

# Bytes of a chunk's im2col matrix. Larger chunks make fewer NumPy calls, smaller ones stay in the cache.
_CHUNK_BYTES = 1 << 20
# The same where the weights take more bytes: each chunk reads all weights once, so it is made as large as they are, at
# most of this size. ``scripts/bench --methods`` measures it again.
_LARGE_CHUNK_BYTES = 1 << 22
# Contiguous numbers of a window. Copying a strided view moves one contiguous run at a time; up to this length, `take`
# with a list of indices is faster.
_SHORT_RUN = 6
# Bytes of such a list. Longer lists save NumPy calls, and leave the cache.
_INDEX_BYTES = 1 << 20
# Multiply-adds of a matrix product. OpenBLAS has a faster routine for small products, up to about this many.
_SMALL_PRODUCT = 1_000_000
# Columns of a product's result. Up to this many, small products are faster even than large ones on several threads.
_NARROW_RESULT = 8


@compilable
def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    shape, dtype = (x.shape[0], *g.out, w.shape[-1]), np.result_type(x, w)
    parts = chunks(x.shape[0], g, x.shape[-1] * dtype.itemsize, w.nbytes)
    if groups == 1 and len(parts) == 1:
        return _correlate_chunk(x, _matrix(w), g, b, relu)
    matrix, y = _grouped_matrix(w, groups), np.empty(shape, dtype)
    for chunk in parts:
        if groups == 1:
            blocked_matmul(_im2col(x[chunk], g, 1)[0], matrix[0], y[chunk].reshape(-1, w.shape[-1]))
        else:
            np.matmul(_im2col(x[chunk], g, groups), matrix, out=_by_group(y[chunk], groups))
    return add_bias(y, b, relu)


@compilable
def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    if groups > 1 or not _in_one_chunk(x, w, g) or active(x.size, x.dtype):
        return lambda x: correlate(x, w, g, groups, b, relu)
    matrix, shape = _matrix(w), (len(x), *g.out, w.shape[-1])
    rows = prepare_rows(x, w, g)
    if rows is None:
        return lambda x: _correlate_chunk(x, matrix, g, b, relu)
    return lambda x: add_bias(rows(x).dot(matrix).reshape(shape), b, relu)


def prepare_rows(x: Array, w: Array, g: Geometry) -> Callable[[Array], Array] | None:
    """Return what copies the windows of an array like x to the rows of a matrix, in fewer calls than `_im2col`.

    None where there is padding, windows are short, or the product with w is not a single one.
    """
    depth, count = math.prod(w.shape[:-1]), len(x) * math.prod(g.out)
    if any(map(any, g.padding)) or not _has_long_runs(x, g) or not _in_one_chunk(x, w, g):
        return None
    if _rows_per_block(count, depth, w.shape[-1]):
        return None
    shape, strides = shape_and_strides(np.ascontiguousarray(x), g)

    def rows(x: Array) -> Array:
        return view(np.ascontiguousarray(x), shape, strides).reshape(count, depth)

    return rows


def _in_one_chunk(x: Array, w: Array, g: Geometry) -> bool:
    return len(chunks(len(x), g, x.shape[-1] * x.itemsize, w.nbytes)) == 1


def _correlate_chunk(x: Array, matrix: Array, g: Geometry, b: Array | None, relu: bool) -> Array:
    y = blocked_matmul(_im2col(x, g, 1)[0], matrix)
    return add_bias(y.reshape(len(x), *g.out, matrix.shape[1]), b, relu)


def _matrix(w: Array) -> Array:
    return w.reshape(math.prod(w.shape[:-1]), w.shape[-1])


@compilable
def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    in_channels, out_channels = x.shape[-1] // groups, dy.shape[-1] // groups
    dw = np.zeros((groups, math.prod(g.window) * in_channels, out_channels), np.result_type(x, dy))
    for chunk in chunks(x.shape[0], g, x.shape[-1] * dw.itemsize, dw.nbytes):
        matrix = _im2col(x[chunk], g, groups)
        if groups == 1:
            _add_product(matrix[0], dy[chunk].reshape(-1, out_channels), dw[0])
        else:
            dw += matrix.transpose(0, 2, 1) @ _by_group(dy[chunk], groups)
    return _by_tap(dw, g)


def example_adjoints_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """Return dw of each example, (N, window..., I/groups, O): `correlate_adjoint_w` without its sum over n."""
    positions, out_channels = math.prod(g.out), dy.shape[-1] // groups
    rows = math.prod(g.window) * x.shape[-1] // groups
    dw = np.empty((groups, len(x), rows, out_channels), np.result_type(x, dy))
    for chunk in chunks(len(x), g, x.shape[-1] * dw.itemsize):
        matrix, dys = _im2col(x[chunk], g, groups), _by_group(dy[chunk], groups)
        matrix, dys = (a.reshape(groups, -1, positions, a.shape[-1]) for a in (matrix, dys))
        np.matmul(matrix.mT, dys, out=dw[:, chunk])
    return _by_tap(dw, g)


@lru_cache(maxsize=1024)
def chunks(n: int, g: Geometry, position_bytes: int, weight_bytes: int = 0) -> tuple[slice, ...]:
    """Split a batch into equal chunks whose im2col matrices take `_CHUNK_BYTES` each, or more for large weights."""
    image_bytes = math.prod(g.out) * math.prod(g.window) * position_bytes
    chunk_bytes = min(max(_CHUNK_BYTES, weight_bytes), _LARGE_CHUNK_BYTES)
    step = max(1, -(-n // max(1, round(n * image_bytes / chunk_bytes))))
    return tuple(slice(start, min(n, start + step)) for start in range(0, n, step))


def blocked_matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return a b, written to ``out`` if given; computed in blocks of rows, each a small product, where possible."""
    rows, block = len(a), _rows_per_block(len(a), b.shape[0], b.shape[1], 32 if b.shape[1] <= _NARROW_RESULT else 64)
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
    """Add a^T b to ``out``, in blocks of rows of a and b as in `blocked_matmul`, or else in blocks of columns of a."""
    rows, block = len(a), _rows_per_block(len(a), a.shape[1], b.shape[1])
    if not block and b.shape[1] <= _NARROW_RESULT and (columns := _rows_per_block(a.shape[1], rows, b.shape[1])):
        whole = a.shape[1] // columns * columns
        parts = a[:, :whole].reshape(rows, -1, columns).transpose(1, 2, 0) @ b
        out[:whole] += parts.reshape(whole, -1)
        out[whole:] += a[:, whole:].T @ b
        return
    whole = rows // block * block if block else 0
    if whole:
        parts = a[:whole].reshape(-1, block, a.shape[1]).mT @ b[:whole].reshape(-1, block, b.shape[1])
        out += parts.sum(axis=0)
    if whole < rows:
        out += a[whole:].T @ b[whole:]


def _rows_per_block(rows: int, depth: int, width: int, least: int = 64) -> int:
    """Return the number of rows of a block that makes a small product with a (depth, width) matrix.

    0 stands for a single product: it is small already, or a small one would have fewer than ``least`` rows.
    """
    largest = min(_SMALL_PRODUCT // max(depth * width, 1), 1024) // 32 * 32
    if largest < least or rows <= largest:
        return 0
    parts = -(-rows // largest)
    return min(largest, -(-rows // (32 * parts)) * 32)


def _im2col(x: Array, g: Geometry, groups: int) -> Array:
    """Copy the windows of ``x`` to the rows of one matrix per group: (groups, n * out, window * I/groups)."""
    rows = x.shape[0] * math.prod(g.out)
    width = math.prod(g.window) * (x.shape[-1] // groups)
    x = pad(x, g.padding)
    if groups == 1 and not _has_long_runs(x, g):
        return _take_windows(x, g).reshape(1, rows, width)
    view = windows(x, g)
    if groups > 1:
        view = np.moveaxis(view.reshape(*view.shape[:-1], groups, -1), -2, 0)
    return view.reshape(groups, rows, width)


def _has_long_runs(x: Array, g: Geometry) -> bool:
    return x.shape[-1] * (g.window[-1] if g.dilation[-1] == 1 else 1) > _SHORT_RUN


def _take_windows(x: Array, g: Geometry) -> Array:
    """Return the windows' entries of the padded ``x`` as (n, out * window * C), by indices.

    The indices of the whole image would be larger than its windows. So those of a block of lines, windows at the same
    place on the first axis, serve one block after the other.
    """
    lines, positions = _line_positions(x.shape[1:], g)
    if lines == g.out[0]:
        return x.reshape(len(x), math.prod(x.shape[1:])).take(positions, axis=1)
    taken = np.empty((len(x), g.out[0], len(positions) // lines), x.dtype)
    line, step = math.prod(x.shape[2:]), g.stride[0]
    flat = x.reshape(len(x), x.shape[1] * line)
    for first in range(0, g.out[0], lines):
        block = taken[:, first : first + lines]
        here = positions[: math.prod(block.shape[1:])].reshape(block.shape[1:])
        flat[:, first * step * line :].take(here, axis=1, out=block, mode="clip")  # "raise" would buffer the output
    return taken


@cached_arrays
def _line_positions(padded: tuple[int, ...], g: Geometry) -> tuple[int, Array]:
    """Return a number of lines of windows, and the flat indices in a padded image (size..., I) of their entries."""
    line = math.prod(g.out[1:]) * math.prod(g.window) * padded[-1] * np.dtype(np.intp).itemsize
    lines = min(g.out[0], max(1, _INDEX_BYTES // max(line, 1)))
    read = g.stride[0] * (lines - 1) + g.dilation[0] * (g.window[0] - 1) + 1
    numbers = np.arange(read * math.prod(padded[1:])).reshape(1, read, *padded[1:])
    return lines, windows(numbers, g._replace(out=(lines, *g.out[1:]))).reshape(-1)


def _by_group(y: Array, groups: int) -> Array:
    """View (n, out..., O) as (groups, n * out, O/groups)."""
    rows = math.prod(y.shape[:-1])
    return y.reshape(rows, groups, y.shape[-1] // groups).transpose(1, 0, 2)


def _grouped_matrix(w: Array, groups: int) -> Array:
    """Reshape w (window..., I/groups, O) to (groups, window * I/groups, O/groups)."""
    rows = math.prod(w.shape[:-1])
    return w.reshape(rows, groups, w.shape[-1] // groups).transpose(1, 0, 2)


def _by_tap(matrix: Array, g: Geometry) -> Array:
    """Reshape (groups, ..., window * I/groups, O/groups) to (..., window..., I/groups, O), the shape of w."""
    groups, *batch, rows, out_channels = matrix.shape
    return np.moveaxis(matrix, 0, -2).reshape(*batch, *g.window, rows // math.prod(g.window), groups * out_channels)
