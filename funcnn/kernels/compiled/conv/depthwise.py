"""Twins of `funcnn.kernels.conv.depthwise`: one pass over the outputs, with a vector of channels in a register.

Images of one and two dimensions are computed as ones of three. A tap that reads padding is left out, so which taps an
output has depends on its position; neighbouring outputs mostly have the same ones.
"""

from __future__ import annotations

import math

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.compiled.conv.volumes import as_volume, bias_or_zeros, tap_ranges, volume_geometry
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.kernels.compiled.vectors import LANES, add_product, load, positive, store
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_BLOCK = 1 << 15  # entries of a block of outputs, where several threads share them
_TAP = 6  # multiply-adds of a matrix product that take as long as a tap's


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    if not same_floats(x, w, b) or w.shape[-1] < LANES[x.dtype]:
        return NotImplemented
    out_channels = w.shape[-1]
    y = np.empty((len(x), *g.out, out_channels), x.dtype)
    parts = threads.worth(_TAP * math.prod(w.shape[:-1]) * y.size)
    rows = max(1, _BLOCK // max(y.shape[-2] * out_channels, 1)) if parts > 1 else max(1, y.size)
    _correlate(
        team(parts), as_volume(_channel_per_output(x, out_channels)), np.ascontiguousarray(w).reshape(-1, out_channels),
        bias_or_zeros(b, out_channels, x.dtype), volume_geometry(g), tap_ranges(g), relu, LANES[x.dtype], rows,
        as_volume(y),
    )  # fmt: skip
    return y


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    if not same_floats(x, dy) or dy.shape[-1] < LANES[x.dtype]:
        return NotImplemented
    out_channels = dy.shape[-1]
    dw = np.zeros((*g.window, 1, out_channels), x.dtype)
    x = as_volume(_channel_per_output(x, out_channels))
    _correlate_adjoint_w(
        x, as_volume(dy), volume_geometry(g), tap_ranges(g), LANES[x.dtype], dw.reshape(-1, out_channels)
    )
    return dw


def _channel_per_output(x: Array, out_channels: int) -> Array:
    """Return x with one copy of a channel for each of its filters."""
    return x if x.shape[-1] == out_channels else np.repeat(x, out_channels // x.shape[-1], axis=-1)


@helper
def _offsets(d, h, w, g, channels, of):  # type: ignore[no-untyped-def]
    """Write where x and w of each tap in the three ranges start, seen from tap 0, and return the number of taps."""
    taps = 0
    for kd in range(d[0], d[1]):
        for kh in range(h[0], h[1]):
            for kw in range(w[0], w[1]):
                of[0, taps] = ((kd * g[0, 4] * g[1, 0] + kh * g[1, 4]) * g[2, 0] + kw * g[2, 4]) * channels
                of[1, taps] = ((kd * g[1, 1] + kh) * g[2, 1] + kw) * channels
                taps += 1
    return taps


@in_parallel
def _block(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write some rows of outputs, counted over all images."""
    x, w, b, g, ranges, relu, lanes, rows, y = arguments
    images, depth, height, width, channels = y.shape
    step = g[2, 2] * channels
    of_row = ranges[depth + height :]
    of = np.empty((2, len(w)), np.int64)
    for row in range(index * rows, min((index + 1) * rows, images * depth * height)):
        n, od, oh, o = row // (depth * height), row // height % depth, row % height, row * width * channels
        d, d_range = ranges[od, 0], (ranges[od, 1], ranges[od, 2])
        h, h_range = ranges[depth + oh, 0], (ranges[depth + oh, 1], ranges[depth + oh, 2])
        ow, first, end, taps = 0, 0, -1, 0
        while ow < width:
            v = of_row[ow, 0]
            if of_row[ow, 1] != first or of_row[ow, 2] != end:
                first, end = of_row[ow, 1], of_row[ow, 2]
                taps = _offsets(d_range, h_range, (first, end), g, channels, of)
            start = (((n * g[0, 0] + d) * g[1, 0] + h) * g[2, 0] + v) * channels
            four = ow + 3 < width and of_row[ow + 3, 1] == first and of_row[ow + 3, 2] == end
            for block in range(0, channels, lanes):
                c = min(block, channels - lanes)  # the last two vectors overlap
                y0 = load(b, c)
                if four:  # with the same taps: their weights are loaded once
                    y1, y2, y3 = y0, y0, y0
                    for t in range(taps):
                        p, weights = start + of[0, t] + c, load(w, of[1, t] + c)
                        y0 = add_product(y0, load(x, p), weights)
                        y1 = add_product(y1, load(x, p + step), weights)
                        y2 = add_product(y2, load(x, p + 2 * step), weights)
                        y3 = add_product(y3, load(x, p + 3 * step), weights)
                    store(y, o + channels + c, positive(y1) if relu else y1)
                    store(y, o + 2 * channels + c, positive(y2) if relu else y2)
                    store(y, o + 3 * channels + c, positive(y3) if relu else y3)
                else:
                    for t in range(taps):
                        y0 = add_product(y0, load(x, start + of[0, t] + c), load(w, of[1, t] + c))
                store(y, o + c, positive(y0) if relu else y0)
            ow += 4 if four else 1
            o += 4 * channels if four else channels


@routine("void(i8[::1], R[:,:,:,:,::1], R[:,::1], R[::1], i8[:,::1], i8[:,::1], b1, i8, i8, T[:,:,:,:,::1])")
def _correlate(
    team: Array, x: Array, w: Array, b: Array, g: Array, ranges: Array, relu: bool, lanes: int, rows: int, y: Array
) -> None:
    count = y.shape[0] * y.shape[1] * y.shape[2]
    _block(team, (x, w, b, g, ranges, relu, lanes, rows, y), (count + rows - 1) // rows)


@routine("void(R[:,:,:,:,::1], R[:,:,:,:,::1], i8[:,::1], i8[:,::1], i8, T[:,::1])")
def _correlate_adjoint_w(x: Array, dy: Array, g: Array, ranges: Array, lanes: int, dw: Array) -> None:
    images, depth, height, width, channels = dy.shape
    step = g[2, 2] * channels
    of_row = ranges[depth + height :]
    of = np.empty((2, len(dw)), np.int64)
    whole = channels // lanes * lanes
    of_line = np.zeros_like(dw)  # sums of a line are added to dw, so that sums of many numbers stay accurate
    o = 0
    for n in range(images):
        for od in range(depth):
            d, d_range = ranges[od, 0], (ranges[od, 1], ranges[od, 2])
            for oh in range(height):
                h, h_range = ranges[depth + oh, 0], (ranges[depth + oh, 1], ranges[depth + oh, 2])
                ow = 0
                while ow < width:
                    v, first, end = of_row[ow, 0], of_row[ow, 1], of_row[ow, 2]
                    last = ow + 1  # of the outputs of the line that have the same taps
                    while last < width and of_row[last, 1] == first and of_row[last, 2] == end:
                        last += 1
                    taps = _offsets(d_range, h_range, (first, end), g, channels, of)
                    start = (((n * g[0, 0] + d) * g[1, 0] + h) * g[2, 0] + v) * channels
                    for c in range(0, whole, lanes):
                        for t in range(taps):
                            total = load(of_line, of[1, t] + c)
                            for i in range(last - ow):
                                p, q = start + of[0, t] + i * step + c, o + i * channels + c
                                total = add_product(total, load(x, p), load(dy, q))
                            store(of_line, of[1, t] + c, total)
                    for t in range(taps):
                        for i in range(last - ow):
                            for c in range(whole, channels):
                                p, q = start + of[0, t] + i * step + c, o + i * channels + c
                                of_line.flat[of[1, t] + c] += x.flat[p] * dy.flat[q]
                    o += (last - ow) * channels
                    ow = last
                dw += of_line
                of_line[:] = 0
