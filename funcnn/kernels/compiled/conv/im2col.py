"""Twins of `funcnn.kernels.conv.im2col`: windows are copied, multiplied, and get bias and ReLU, block by block.

A block of outputs is finished while its numbers are in the cache. A window that is a single position is not copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels import threads
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.conv import positions
from funcnn.kernels.compiled.conv.volumes import (
    as_volume,
    bias_or_zeros,
    tap_ranges,
    volume_geometry,
    volume_out,
    writable,
)
from funcnn.kernels.compiled.panels import in_panels, multiply
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.kernels.compiled.vectors import LANES, add, load, splat, store
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_SMALL_PRODUCT = 1_000_000  # multiply-adds: OpenBLAS has a faster routine for products up to about this size
_FEWEST_COLUMNS = 32  # of a block, where columns are divided among threads, too
_FEWEST_OUTPUTS = 256  # for dw on several threads: with fewer, adding up their sums takes as long as is saved
# For weights of more entries, which do not stay in the cache, panels gain only with so few rows: the products of one
# image of 7x7x512 took 0.8 of the time, and those of eight 1.05.
_LARGE_WEIGHTS, _FEW_ROWS = 1 << 20, 128
_BLOCKS_OF_GROUP = 4  # of dx on several threads
_FEWEST_ROWS = 48  # of a small product: with fewer rows than these, it is not faster
_MULTIPLE = 16  # rows of which the products leave none over
_BLOCK_BYTES = (
    1 << 19
)  # of a block's windows, which are to stay in a core's cache; more for weights larger than that ...
_LARGE_BLOCK_BYTES = 1 << 22  # ... but at most these, as each block reads all weights once


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    if groups > 1 or g.dilation[-1] > 1 or not same_floats(x, w, b):
        return NotImplemented
    y = np.empty((len(x), *g.out, w.shape[-1]), x.dtype)
    if positions.gains(g, len(x)) and x.size and w.size:
        positions.correlate(x, writable(w), g, b, relu, y)
        return y
    weights = writable(w).reshape(1, math.prod(w.shape[:-1]), w.shape[-1])
    _call(x, weights, y, g, bias_or_zeros(b, w.shape[-1], x.dtype), b is not None, relu, adjoint=False)
    return y


def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    out_channels = w.shape[-1]
    weights = in_panels(writable(w).reshape(-1, out_channels)) if w.size else w
    large = w.size > _LARGE_WEIGHTS and len(x) * math.prod(g.out) > _FEW_ROWS
    other = groups > 1 or g.dilation[-1] > 1 or positions.gains(g, len(x)) or not same_floats(x, w, b)
    if large or other or len(weights) == 1 or not x.size or not w.size:
        return NotImplemented
    bias = bias_or_zeros(b, out_channels, x.dtype)

    def correlate_panels(x: Array) -> Array:
        y = np.empty((len(x), *g.out, out_channels), x.dtype)
        _call(x, weights, y, g, bias, b is not None, relu, adjoint=False)
        return y

    return correlate_panels


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    if groups > 1 or g.dilation[-1] > 1 or not same_floats(x, dy):
        return NotImplemented
    shape = (*g.window, x.shape[-1], dy.shape[-1])
    if positions.gains(g, len(x)) and x.size and math.prod(shape):
        dw = np.zeros(shape, x.dtype)
        positions.correlate_adjoint_w(x, dw, g, writable(dy))
        return dw
    # each thread gets a group of blocks, which has sums of its own: they do not depend on which thread is faster
    enough = dy.size >= _FEWEST_OUTPUTS * dy.shape[-1]
    dws = np.zeros((threads.worth(dy.size * math.prod(shape[:-1])) if enough else 1, *shape), x.dtype)
    _call(x, dws, writable(dy), g, bias_or_zeros(None, 0, x.dtype), False, False, adjoint=True)
    return np.asarray(sum(dws[1:], dws[0]))


def _call(x: Array, w: Array, y: Array, g: Geometry, b: Array, biased: bool, relu: bool, *, adjoint: bool) -> None:
    """Compute the outputs y by w in panels; or if ``adjoint``, add to w (groups, window..., I, O)."""
    rows, depth, out_channels = math.prod(y.shape[:-1]), math.prod(g.window) * x.shape[-1], y.shape[-1]
    in_panels = not adjoint and len(w) > 1
    block = _rows_of_block(rows, depth, out_channels, x.itemsize, small=not in_panels)
    parts = len(w) if adjoint else threads.worth(rows * depth * out_channels)
    columns = max(out_channels, 1)
    if adjoint and parts > 1:  # a block for each group
        block = min(block, max(1, -(-rows // parts)))
    elif in_panels and rows >= parts * _FEWEST_ROWS:
        block = min(block, -(-rows // parts))
    elif parts > 1 and rows <= (2 * parts - 1) * block:  # too few blocks of rows
        multiple = w.shape[-1] if in_panels else _MULTIPLE
        columns = max(_FEWEST_COLUMNS, -(-out_channels // (parts * multiple)) * multiple)
    if _single_positions(g):
        x, windows = x.reshape(1, 1, 1, rows, depth), np.empty((0, 0, depth), x.dtype)
    else:  # a last row for a vector's numbers in excess
        windows = np.empty((parts, block + -(-LANES[x.dtype] // max(depth, 1)), depth), x.dtype)
    shape = volume_geometry(g), tap_ranges(g), volume_out(g), LANES[x.dtype], block
    x, y = as_volume(x), y.reshape(rows, out_channels)
    with one_thread:
        if adjoint:
            w = w.reshape(parts, depth, out_channels)
            _correlate_adjoint_w(team(parts), GEMM[x.dtype], x, w, *shape, windows, y)
        else:
            _correlate(team(parts), GEMM[x.dtype], x, w, b, biased, relu, *shape, columns, windows, y)


def adjoint_x(dy: Array, w: Array, g: Geometry) -> Array:
    """Return dx: the products of dy (N, out..., O) and w (window * I, O)^T, added to what the windows read."""
    depth, out_channels = w.shape
    rows, in_channels = math.prod(dy.shape[:-1]), depth // math.prod(g.window)
    dx = np.empty((len(dy), *g.size, in_channels), dy.dtype)
    parts = threads.worth(rows * depth * out_channels)
    # whole images, of which no two threads write the same: some blocks of each group, or all
    images, block = len(dy), _rows_of_block(rows, depth, out_channels, dy.itemsize)
    if parts > 1:
        images = min(-(-images // parts), max(1, _BLOCKS_OF_GROUP * block * images // rows))
        block = _rows_of_block(images * rows // len(dy), depth, out_channels, dy.itemsize)
    with one_thread:
        _adjoint_x(
            team(parts), GEMM[dy.dtype], np.ascontiguousarray(dy).reshape(rows, out_channels), np.ascontiguousarray(w),
            volume_geometry(g), tap_ranges(g), volume_out(g), LANES[dy.dtype],
            images, np.empty((parts, min(block, rows), depth), dy.dtype), as_volume(dx),
        )  # fmt: skip
    return dx


def _single_positions(g: Geometry) -> bool:
    """Return whether each window is one position, and all positions are windows."""
    return all(k == s == 1 for k, s in zip(g.window, g.stride, strict=True)) and not any(map(any, g.padding))


def _rows_of_block(rows: int, depth: int, width: int, itemsize: int, small: bool = True) -> int:
    """Return how many of the rows are a block: a ``small`` product if possible, and windows that stay in the cache."""
    if 0 in (rows, depth, width):
        return 1
    of_product = _SMALL_PRODUCT // (depth * width) if small else 0
    in_cache = min(max(_BLOCK_BYTES, depth * width * itemsize), _LARGE_BLOCK_BYTES) // (depth * itemsize)
    most = max(_FEWEST_ROWS, min(in_cache, of_product if of_product >= _FEWEST_ROWS else rows)) // _MULTIPLE * _MULTIPLE
    return rows if rows < most + _MULTIPLE else -(-rows // (-(-rows // most) * _MULTIPLE)) * _MULTIPLE


@helper
def _position(o, out):  # type: ignore[no-untyped-def]
    """Return the image and the position on three axes of an output; outputs are in row-major order."""
    ow, o = o % out[2], o // out[2]
    oh, o = o % out[1], o // out[1]
    return o // out[0], o % out[0], oh, ow


@helper
def _gather(x, g, ranges, out, first, rows, runs, lanes, windows):  # type: ignore[no-untyped-def]
    """Copy the windows of a block of outputs, from the given first one on, to the rows of a matrix.

    A window's taps along the last axis are a run of numbers in x. A run is copied in whole vectors: the numbers in
    excess are overwritten by the next run. What reads padding is 0.
    """
    zeros = splat(windows.dtype.type(0))
    (depth, height, width), channels = x.shape[1:4], x.shape[4]
    length = g[2, 1] * channels  # of a run
    excess = (length + lanes - 1) // lanes * lanes
    for kd in range(g[0, 1]):
        for kh in range(g[1, 1]):
            runs[kd * g[1, 1] + kh] = (kd * g[0, 4] * height + kh * g[1, 4]) * width * channels
    m, o, last = 0, first, first + rows
    while o < last:  # line by line
        n, od, oh, ow = _position(o, out)
        d, d_first, d_end = ranges[od, 0], ranges[od, 1], ranges[od, 2]
        h, h_first, h_end = ranges[out[0] + oh, 0], ranges[out[0] + oh, 1], ranges[out[0] + oh, 2]
        of_line = ranges[out[0] + out[1] + ow : out[0] + out[1] + min(out[2], ow + last - o)]
        line = ((n * depth + d) * height + h) * width
        whole_lines = (d_end - d_first) * (h_end - h_first) == len(runs)
        for j in range(len(of_line)):
            w_first, w_end = of_line[j, 1], of_line[j, 2]
            start = (line + of_line[j, 0]) * channels
            if whole_lines and w_end - w_first == g[2, 1] and start + runs[-1] + excess <= x.size:  # no padding
                for t in range(len(runs)):
                    i = 0  # a loop in steps of lanes: `range` would divide by them
                    while i < length:
                        store(windows, m + i, load(x, start + runs[t] + i))
                        i += lanes
                    m += length
                continue
            for kd in range(g[0, 1]):
                for kh in range(g[1, 1]):
                    for i in range(0, length, lanes):
                        store(windows, m + i, zeros)
                    if d_first <= kd < d_end and h_first <= kh < h_end:
                        p, end = start + runs[kd * g[1, 1] + kh], w_end * channels
                        whole = end - (end - w_first * channels) % lanes
                        for i in range(w_first * channels, whole, lanes):
                            store(windows, m + i, load(x, p + i))
                        for i in range(whole, end):
                            windows.flat[m + i] = x.flat[p + i]
                    m += length
        o += len(of_line)


@helper
def _finish(y, rows, columns, b, biased, relu):  # type: ignore[no-untyped-def]
    """Add the bias to some rows and columns of y, then apply ReLU."""
    zero, first, last = y.dtype.type(0), np.uint64(columns[0]), np.uint64(columns[1])
    for r in range(rows[0], rows[1]):
        row = y[r]
        if biased:
            for c in range(first, last):
                row[c] += b[c]
        if relu:
            for c in range(first, last):
                row[c] = zero if row[c] <= 0 else row[c]


@in_parallel
def _block(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write a block of rows, and some of their columns, of the outputs."""
    address, x, w, b, biased, relu, g, ranges, out, lanes, block, columns, windows, y = arguments
    parts = (y.shape[1] + columns - 1) // columns
    first, left = index // parts * block, index % parts * columns
    last, right = min(first + block, y.shape[0]), min(left + columns, y.shape[1])
    outputs = y[first:last, left:right]
    if len(windows) > 0:
        own = windows[thread]
        _gather(x, g, ranges, out, first, len(outputs), np.empty(g[0, 1] * g[1, 1], np.int64), lanes, own)
        multiply(address, own[: len(outputs)], w, left, right, outputs)
    else:
        multiply(address, x.reshape(-1, x.shape[4])[first:last], w, left, right, outputs)
    _finish(y, (first, last), (left, right), b, biased, relu)


_WINDOWS = "i8[:,::1], i8[:,::1], i8[::1], i8, i8"


@routine(f"void(i8[::1], intp, R[:,:,:,:,::1], T[:,:,::1], R[::1], b1, b1, {_WINDOWS}, i8, T[:,:,::1], T[:,::1])")
def _correlate(
    team: Array, address: int, x: Array, w: Array, b: Array, biased: bool, relu: bool, g: Array, ranges: Array,
    out: Array, lanes: int, block: int, columns: int, windows: Array, y: Array,
) -> None:  # fmt: skip
    blocks = (len(y) + block - 1) // block * ((y.shape[1] + columns - 1) // columns)
    _block(team, (address, x, w, b, biased, relu, g, ranges, out, lanes, block, columns, windows, y), blocks)


@in_parallel
def _group(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Add to the group's w what it is multiplied by, times y."""
    address, x, ws, g, ranges, out, lanes, block, all_windows, y = arguments
    w, runs, positions = ws[index], np.empty(g[0, 1] * g[1, 1], np.int64), x.reshape(-1, x.shape[4])
    blocks, groups = (len(y) + block - 1) // block, len(ws)
    for k in range(index * blocks // groups, (index + 1) * blocks // groups):
        first = k * block
        outputs = y[first : first + block]
        if len(all_windows) > 0:
            windows = all_windows[index]
            _gather(x, g, ranges, out, first, len(outputs), runs, lanes, windows)
            gemm(address, windows[: len(outputs)], True, outputs, False, 1, w)
        else:
            gemm(address, positions[first : first + block], True, outputs, False, 1, w)


@routine(f"void(i8[::1], intp, R[:,:,:,:,::1], T[:,:,::1], {_WINDOWS}, T[:,:,::1], T[:,::1])")
def _correlate_adjoint_w(
    team: Array, address: int, x: Array, w: Array, g: Array, ranges: Array, out: Array, lanes: int, block: int,
    windows: Array, y: Array,
) -> None:  # fmt: skip
    _group(team, (address, x, w, g, ranges, out, lanes, block, windows, y), len(w))


@in_parallel
def _images(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write some images: the sum of the products of dy and w^T, the rows of windows, where `_gather` reads them."""
    address, all_dy, w, g, ranges, out, lanes, images, all_windows, x = arguments
    (depth, height, width), channels, columns = x.shape[1:4], x.shape[4], all_windows.shape[2]
    length, windows = g[2, 1] * channels, all_windows[thread]  # the length of a run
    begun, outputs_of_image = index * images, len(all_dy) // len(x)
    start = begun * outputs_of_image
    # each image is set to 0 just before the first sum, which finds it in the cache
    for first in range(start, min(start + images * outputs_of_image, len(all_dy)), len(windows)):
        dy = all_dy[first : min(first + len(windows), start + images * outputs_of_image)]
        gemm(address, dy, False, w, True, 0, windows[: len(dy)])
        r = 0
        while r < len(dy):  # line by line
            n, od, oh, ow = _position(first + r, out)
            if n == begun:
                x[n] = 0
                begun += 1
            of_line = ranges[out[0] + out[1] + ow : out[0] + out[1] + min(out[2], ow + len(dy) - r)]
            line = ((n * depth + ranges[od, 0]) * height + ranges[out[0] + oh, 0]) * width
            for j in range(len(of_line)):
                begin, end = of_line[j, 1] * channels, of_line[j, 2] * channels
                for kd in range(ranges[od, 1], ranges[od, 2]):
                    for kh in range(ranges[out[0] + oh, 1], ranges[out[0] + oh, 2]):
                        m = (r + j) * columns + (kd * g[1, 1] + kh) * length
                        p = (line + of_line[j, 0] + (kd * g[0, 4] * height + kh * g[1, 4]) * width) * channels
                        c = begin
                        while c + lanes <= end:
                            store(x, p + c, add(load(x, p + c), load(windows, m + c)))
                            c += lanes
                        while c < end:
                            x.flat[p + c] += windows.flat[m + c]
                            c += 1
            r += len(of_line)


@routine("void(i8[::1], intp, R[:,::1], R[:,::1], i8[:,::1], i8[:,::1], i8[::1], i8, i8, T[:,:,::1], T[:,:,:,:,::1])")
def _adjoint_x(
    team: Array, address: int, dy: Array, w: Array, g: Array, ranges: Array, out: Array, lanes: int, images: int,
    windows: Array, x: Array,
) -> None:  # fmt: skip
    groups = (len(x) + images - 1) // images
    _images(team, (address, dy, w, g, ranges, out, lanes, images, windows, x), groups)
