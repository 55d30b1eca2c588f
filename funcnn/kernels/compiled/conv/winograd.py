"""Twins of `funcnn.kernels.conv.winograd`: a whole convolution, or adjoint, is one call.

A segment is some neighbouring tiles in a row of tiles, a chunk is some segments. The routines go from chunk to chunk,
whose 36 planes, each (tiles, channels), stay in the cache. A transform m d m^T is a loop along the height and one along
the width, over all tiles and channels of a segment at once: a line of x is first copied so that position left + q + 4t
is at (q, t, channel) for q = 0 to 3, with zeros outside of x. Then the positions at one place in the tiles of a segment
are contiguous.

Scratch is flat, with rows at constant distances: so the compiler knows that rows do not overlap, and vectorises loops
that write several. An index as `u` of it, which is never negative, spares the test for a negative one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from funcnn.blas import one_thread
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.conv.volumes import bias_or_zeros
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_MAX_CHANNELS = 1 << 11
# Distances of planes and lines, and of the rows of a block. They are no multiples of 4,096 bytes: a processor takes a
# read for one of what was just written if the addresses are equal modulo that, and waits.
_PLANE, _ROW = (1 << 14) + 160, _MAX_CHANNELS + 160
_DOWN = 6 * _PLANE + 80  # where the six lines of B^T d or A dy begin, after the lines d or dy
_BLOCK = 1 << 8  # tiles times channels of a block
_LINE = 1 << 13  # positions times channels of a line: longer rows of tiles are split into several segments
# Tiles times channels of a chunk, by channels from so many on: smaller weights are read anew for each chunk at no cost.
_CHUNKS = ((256, 1 << 14), (128, 1 << 13), (0, 1 << 12))
_WORK = 1_000_000  # multiply-adds of a product: up to here OpenBLAS copies no factor
# exact in both dtypes; Python's numbers would make float64 of float32
_2, _4, _5, _6, _8, _12, _24 = (np.float32(factor) for factor in (2, 4, 5, 6, 8, 12, 24))
u = np.uint64
NO_ARGMAX = np.empty((0, 0, 0, 0), np.uint8)


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    if not computes(g, x, w, b):
        return NotImplemented
    y = np.empty((len(x), *g.out, w.shape[-1]), x.dtype)
    correlate_to(x, NO_ARGMAX, w, g, b, relu, y, NO_ARGMAX)
    return y


def correlate_max(
    x: Array, w: Array, g: Geometry, return_argmax: bool, b: Array | None = None
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.correlate_max`."""
    shape = (len(x), *(o // 2 for o in g.out), w.shape[-1])
    if not computes(g, x, w, b) or 0 in shape:
        return NotImplemented
    y, argmax = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    correlate_to(x, NO_ARGMAX, w, g, b, False, y, argmax)
    return y, argmax if return_argmax else None


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    return adjoint_w(x, dy, NO_ARGMAX, g) if computes(g, x, dy) else NotImplemented


def computes(g: Geometry, x: Array, y: Array, b: Array | None = None) -> bool:
    """Return whether all arrays are of one dtype, and neither empty nor of too many channels."""
    channels = x.shape[-1], y.shape[-1]
    return same_floats(x, y, b) and x.size > 0 and y.size > 0 and 0 not in g.out and max(channels) <= _MAX_CHANNELS


def correlate_to(
    x: Array, x_argmax: Array, w: Array, g: Geometry, b: Array | None, relu: bool, y: Array, y_argmax: Array
) -> None:
    """Write the convolution to y; or with a ``y_argmax`` its maxima over 2x2 windows, and to that their positions.

    With an ``x_argmax``, x has one number for each 2x2 window of the input, with zeros at its other positions.
    """
    in_channels, out_channels = w.shape[-2:]
    weights = np.empty((36, in_channels, out_channels), x.dtype)
    low = x.dtype.type(0 if relu else -np.inf)
    with one_thread:
        _transform_weights(np.ascontiguousarray(w).reshape(-1), weights.reshape(36, -1))
        _correlate(
            GEMM[x.dtype], np.ascontiguousarray(x), np.ascontiguousarray(x_argmax), weights,
            bias_or_zeros(b, out_channels, x.dtype), low, *_plan(len(x), g, x, y), y, y_argmax,
        )  # fmt: skip


def adjoint_w(x: Array, dy: Array, argmax: Array, g: Geometry) -> Array:
    """Return dw. With an ``argmax``, dy has one number for each 2x2 window, with zeros at its other positions."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    dweights = np.zeros((36, in_channels, out_channels), x.dtype)
    dw = np.empty((3, 3, in_channels, out_channels), x.dtype)
    with one_thread:
        _correlate_adjoint_w(
            GEMM[x.dtype], np.ascontiguousarray(x), np.ascontiguousarray(dy), NO_ARGMAX,
            np.ascontiguousarray(argmax), *_plan(len(x), g, x, dy), dweights,
        )  # fmt: skip
        _transform_dweights(dweights.reshape(-1), dw.reshape(9, -1))
    return dw


def _plan(n: int, g: Geometry, x: Array, y: Array) -> tuple[int, int, int, int, int, int, int]:
    """Return the padding before x, the images, rows of tiles, their segments, a segment's tiles, a chunk's segments."""
    channels = max(x.shape[-1], y.shape[-1])
    rows, columns = (-(-o // 4) for o in g.out)
    parts = -(-columns // max(1, _LINE // (4 * channels) - 1))
    tiles = -(-columns // parts)
    chunk = max(1, next(size for least, size in _CHUNKS if channels >= least) // (tiles * channels))
    return g.padding[0][0], g.padding[1][0], n, rows, parts, tiles, min(chunk, n * rows * parts)


@njit
def _bt(d0, d1, d2, d3, d4, d5):  # type: ignore[no-untyped-def]
    """Return B^T d."""
    even, odd, even2, odd2 = d4 - _4 * d2, d3 - _4 * d1, d4 - d2, _2 * (d3 - d1)
    return _4 * d0 - _5 * d2 + d4, even + odd, even - odd, even2 + odd2, even2 - odd2, _4 * d1 - _5 * d3 + d5


@njit
def _a(u0, u1, u2, u3):  # type: ignore[no-untyped-def]
    """Return A u."""
    even, odd, even2, odd2 = u0 + u2, u1 + u3, u0 + _4 * u2, _2 * (u1 + _4 * u3)
    return u0, even + odd, even - odd, even2 + odd2, even2 - odd2, u3


@njit
def _at(m0, m1, m2, m3, m4, m5):  # type: ignore[no-untyped-def]
    """Return A^T m."""
    even, odd, even2, odd2 = m1 + m2, m1 - m2, m3 + m4, _2 * (m3 - m4)
    return m0 + even + even2, odd + odd2, even + _4 * even2, odd + _4 * odd2 + m5


@njit
def _g(w0, w1, w2):  # type: ignore[no-untyped-def]
    """Return G w."""
    even, even2, odd2 = w0 + w2, w0 + _4 * w2, _2 * w1
    return w0 / _4, -(even + w1) / _6, (w1 - even) / _6, (even2 + odd2) / _24, (even2 - odd2) / _24, w2


@njit
def _gt(u0, u1, u2, u3, u4, u5):  # type: ignore[no-untyped-def]
    """Return G^T u."""
    even, odd, even2, odd2 = (u1 + u2) / _6, (u2 - u1) / _6, u3 + u4, u3 - u4
    return u0 / _4 - even + even2 / _24, odd + odd2 / _12, even2 / _6 - even + u5


@njit
def _bt_rows(count, d, o0, o1, o2, o3, o4, o5, v, at):  # type: ignore[no-untyped-def]
    """Write B^T d to six rows of v, where d are the rows of d that begin at the offsets."""
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _bt(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)], d[u(o3 + i)], d[u(o4 + i)], d[u(o5 + i)])
        k = at + i
        v[u(k)], v[u(k + _PLANE)], v[u(k + 2 * _PLANE)] = d0, d1, d2
        v[u(k + 3 * _PLANE)], v[u(k + 4 * _PLANE)], v[u(k + 5 * _PLANE)] = d3, d4, d5


@njit
def _a_rows(count, d, o0, o1, o2, o3, v, at):  # type: ignore[no-untyped-def]
    """Write A d to six rows of v."""
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _a(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)], d[u(o3 + i)])
        k = at + i
        v[u(k)], v[u(k + _PLANE)], v[u(k + 2 * _PLANE)] = d0, d1, d2
        v[u(k + 3 * _PLANE)], v[u(k + 4 * _PLANE)], v[u(k + 5 * _PLANE)] = d3, d4, d5


@njit
def _at_rows(count, d, at, step, v, to):  # type: ignore[no-untyped-def]
    """Write A^T d to four rows of v, where d are the rows of d that begin ``step`` apart."""
    for i in range(count):
        k = at + i
        y0, y1, y2, y3 = _at(
            d[u(k)], d[u(k + step)], d[u(k + 2 * step)], d[u(k + 3 * step)], d[u(k + 4 * step)], d[u(k + 5 * step)]
        )
        k = to + i
        v[u(k)], v[u(k + _ROW)], v[u(k + 2 * _ROW)], v[u(k + 3 * _ROW)] = y0, y1, y2, y3


@njit
def _g_rows(count, d, o0, o1, o2, v, at):  # type: ignore[no-untyped-def]
    """Write G d to six rows of v."""
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _g(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)])
        k = at + i
        v[u(k)], v[u(k + _ROW)], v[u(k + 2 * _ROW)] = d0, d1, d2
        v[u(k + 3 * _ROW)], v[u(k + 4 * _ROW)], v[u(k + 5 * _ROW)] = d3, d4, d5


@njit
def _gt_rows(count, d, at, step, v, to):  # type: ignore[no-untyped-def]
    """Write G^T d to three rows of v, where d are the rows of d that begin ``step`` apart."""
    for i in range(count):
        k = at + i
        y0, y1, y2 = _gt(
            d[u(k)], d[u(k + step)], d[u(k + 2 * step)], d[u(k + 3 * step)], d[u(k + 4 * step)], d[u(k + 5 * step)]
        )
        v[u(to + i)], v[u(to + i + _ROW)], v[u(to + i + 2 * _ROW)] = y0, y1, y2


@njit
def _max_rows(count, z, at, maxima, argmax, to):  # type: ignore[no-untyped-def]
    """Write the maximum over four rows of z, those of a 2x2 window, and its index: of the first one, or of a NaN."""
    for i in range(count):
        best, index = z[u(at + i)], np.uint8(0)
        for k in range(1, 4):
            value = z[u(at + (k // 2 * 4 + k % 2) * _ROW + i)]
            larger = best == best and not value <= best
            best, index = (value, np.uint8(k)) if larger else (best, index)
        maxima[u(to + i)], argmax[u(to + i)] = best, index


@njit
def _load(x, argmax, n, h, left, tiles, line, at):  # type: ignore[no-untyped-def]
    """Copy line h of image n: position left + q + 4t to (q, t) of (4, tiles) in line[at:], zeros outside of x.

    With an ``argmax``, x has one number for each 2x2 window, which is at this position of it, with zeros elsewhere.
    """
    zero, channels = x.dtype.type(0), x.shape[3]
    side = 2 if argmax.size > 0 else 1
    for q in range(4):
        for t in range(tiles):
            w = left + q + 4 * t
            to = at + (q * tiles + t) * channels
            if h < 0 or h >= side * x.shape[1] or w < 0 or w >= side * x.shape[2]:
                for c in range(channels):
                    line[u(to + c)] = zero
            elif side == 1:
                for c in range(channels):
                    line[u(to + c)] = x[n, h, w, c]
            else:
                k = np.uint8(2 * (h % 2) + w % 2)
                for c in range(channels):
                    line[u(to + c)] = x[n, h // 2, w // 2, c] if argmax[n, h // 2, w // 2, c] == k else zero


@njit
def _input_planes(x, argmax, n, row, above, left, tiles, follows, lines, planes, at):  # type: ignore[no-untyped-def]
    """Write B^T d B of a segment's tiles to the planes, from ``at`` on.

    Rows of tiles share two lines, which are still there if the segment above was the last one: line r of row 0 stays at
    r, and the next ones take its place in turn.
    """
    channels, first = x.shape[3], 4 * row
    run, part = tiles * channels, (tiles + 1) * channels
    for r in range(first + (2 if follows else 0), first + 6):
        _load(x, argmax, n, r - above, left, tiles + 1, lines, r % 6 * _PLANE)
    d0, d1, d2 = first % 6 * _PLANE, (first + 1) % 6 * _PLANE, (first + 2) % 6 * _PLANE
    d3, d4, d5 = (first + 3) % 6 * _PLANE, (first + 4) % 6 * _PLANE, (first + 5) % 6 * _PLANE
    _bt_rows(4 * part, lines, d0, d1, d2, d3, d4, d5, lines, _DOWN)
    for r in range(6):
        d, to = _DOWN + r * _PLANE, 6 * r * _PLANE + at
        after = d + channels  # the next tile
        _bt_rows(run, lines, d, d + part, d + 2 * part, d + 3 * part, after, after + part, planes, to)


@njit
def _output_planes(dy, argmax, n, top, left, tiles, lines, planes, at):  # type: ignore[no-untyped-def]
    """Write A dy A^T of a segment's tiles to the planes, from ``at`` on."""
    run = tiles * dy.shape[3]
    for r in range(4):
        _load(dy, argmax, n, top + r, left, tiles, lines, r * _PLANE)
    _a_rows(4 * run, lines, 0, _PLANE, 2 * _PLANE, 3 * _PLANE, lines, _DOWN)
    for r in range(6):
        d = _DOWN + r * _PLANE
        _a_rows(run, lines, d, d + run, d + 2 * run, d + 3 * run, planes, 6 * r * _PLANE + at)


@njit
def _plane(planes, k, tiles, channels):  # type: ignore[no-untyped-def]
    return planes[k * _PLANE : k * _PLANE + tiles * channels].reshape(tiles, channels)


_ARGMAX = "Array(uint8, 4, 'C', readonly=True)"
_PLAN = "intp, intp, intp, intp, intp, intp, intp"


@routine(f"void(intp, R[:,:,:,::1], {_ARGMAX}, T[:,:,::1], R[::1], T, {_PLAN}, T[:,:,:,::1], u1[:,:,:,::1])")
def _correlate(
    address: int, x: Array, x_argmax: Array, weights: Array, b: Array, low: Any, above: int, before: int, count: int,
    rows: int, parts: int, tiles: int, chunk: int, y: Array, y_argmax: Array,
) -> None:  # fmt: skip
    _, in_channels, out_channels = weights.shape
    dtype, count = x.dtype, count * rows * parts
    lines, planes = np.empty(12 * _PLANE, dtype), np.empty(36 * _PLANE, dtype)
    products, half, outputs = np.empty(36 * _PLANE, dtype), np.empty(24 * _ROW, dtype), np.empty(16 * _ROW, dtype)
    maxima, argmax = np.empty(4 * _ROW, dtype), np.empty(4 * _ROW, np.uint8)
    side = 2 if y_argmax.size > 0 else 4  # outputs of a tile
    block, rows_at_once = max(1, _BLOCK // out_channels), max(1, _WORK // (in_channels * out_channels))
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        for s in range(first, last):
            row, left, at = s // parts % rows, 4 * (s % parts) * tiles - before, (s - first) * tiles * in_channels
            follows = parts == 1 and row > 0
            _input_planes(x, x_argmax, s // (rows * parts), row, above, left, tiles, follows, lines, planes, at)
        total = (last - first) * tiles
        for k in range(36):
            v, m = _plane(planes, k, total, in_channels), _plane(products, k, total, out_channels)
            for i in range(0, total, rows_at_once):
                gemm(address, v[i : i + rows_at_once], False, weights[k], False, 0, m[i : i + rows_at_once])
        for start in range(0, total, block):
            stop = min(start + block, total)
            size = (stop - start) * out_channels
            for k in range(6):
                _at_rows(size, products, k * _PLANE + start * out_channels, 6 * _PLANE, half, 4 * k * _ROW)
            for p in range(4):
                _at_rows(size, half, p * _ROW, 4 * _ROW, outputs, 4 * p * _ROW)
            if side == 2:
                for k in range(4):
                    _max_rows(size, outputs, (k // 2 * 8 + k % 2 * 2) * _ROW, maxima, argmax, k * _ROW)
            z = maxima if side == 2 else outputs
            for t in range(start, stop):
                s = first + t // tiles
                n, top, left = s // (rows * parts), side * (s // parts % rows), side * (s % parts * tiles + t % tiles)
                for h in range(top, min(top + side, y.shape[1])):
                    for w in range(left, min(left + side, y.shape[2])):
                        at = (side * (h - top) + w - left) * _ROW + (t - start) * out_channels
                        for c in range(out_channels):
                            value = z[u(at + c)] + b[c]
                            y[n, h, w, c] = low if value < low else value
                        if side == 2:
                            for c in range(out_channels):
                                y_argmax[n, h, w, c] = argmax[u(at + c)]


@routine(f"void(intp, R[:,:,:,::1], R[:,:,:,::1], {_ARGMAX}, {_ARGMAX}, {_PLAN}, T[:,:,::1])")
def _correlate_adjoint_w(
    address: int, x: Array, dy: Array, x_argmax: Array, argmax: Array, above: int, before: int, count: int, rows: int, parts: int,
    tiles: int, chunk: int, dweights: Array,
) -> None:  # fmt: skip
    _, in_channels, out_channels = dweights.shape
    dtype, count = x.dtype, count * rows * parts
    lines, planes = np.empty(12 * _PLANE, dtype), np.empty(36 * _PLANE, dtype)
    dlines, dproducts = np.empty(12 * _PLANE, dtype), np.empty(36 * _PLANE, dtype)
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        for s in range(first, last):
            n, row, left, at = s // (rows * parts), s // parts % rows, 4 * (s % parts) * tiles, (s - first) * tiles
            follows = parts == 1 and row > 0
            _input_planes(x, x_argmax, n, row, above, left - before, tiles, follows, lines, planes, at * in_channels)
            _output_planes(dy, argmax, n, 4 * row, left, tiles, dlines, dproducts, at * out_channels)
        total = (last - first) * tiles
        for k in range(36):
            v, m = _plane(planes, k, total, in_channels), _plane(dproducts, k, total, out_channels)
            gemm(address, v, True, m, False, 1, dweights[k])


@routine("void(R[::1], T[:,::1])")
def _transform_weights(w: Array, weights: Array) -> None:
    """Write G w G^T of each 3x3 matrix w, (9 * I * O), to (36, I * O)."""
    count = weights.shape[1]
    half, block = np.empty(18 * _ROW, w.dtype), np.empty(6 * _ROW, w.dtype)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        for k in range(3):
            o = k * count + start
            _g_rows(size, w, o, o + 3 * count, o + 6 * count, half, 6 * k * _ROW)
        for r in range(6):
            _g_rows(size, half, r * _ROW, (6 + r) * _ROW, (12 + r) * _ROW, block, 0)
            for k in range(6):
                for i in range(size):
                    weights[6 * r + k, start + i] = block[u(k * _ROW + i)]


@routine("void(T[::1], T[:,::1])")
def _transform_dweights(dweights: Array, dw: Array) -> None:
    """Write G^T u G of each 6x6 matrix u, (36 * I * O), to (9, I * O)."""
    count = dw.shape[1]
    half, block = np.empty(18 * _ROW, dw.dtype), np.empty(3 * _ROW, dw.dtype)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        for k in range(6):
            _gt_rows(size, dweights, k * count + start, 6 * count, half, 3 * k * _ROW)
        for r in range(3):
            _gt_rows(size, half, r * _ROW, 3 * _ROW, block, 0)
            for k in range(3):
                for i in range(size):
                    dw[3 * r + k, start + i] = block[u(k * _ROW + i)]
