"""Twins of `funcnn.kernels.conv.winograd`: a whole convolution is one call.

A segment is some neighbouring tiles of a row of tiles, a chunk is some segments. The routines go from chunk to chunk.
The 36 planes of a chunk stay in the cache, each (tiles, channels). Every transform of a matrix m d m^T is two loops,
along the height and along the width, over tiles and channels together: a line of x is first copied so that the
positions left + q + 4t, q = 0 to 3, are (q, tile t, channel), zeros where they are outside of x. Then the positions
that the tiles of a segment read are contiguous, one after the other for each position within a tile.

Arrays that the routines allocate have constant shapes: the compiler then knows that what a loop writes to several rows
is apart, and vectorises it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from funcnn.blas import one_thread
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_TILE, _POSITIONS, _PLANES = 4, 6, 36
_MAX_CHANNELS = 1 << 11
_LINE = 2 * _TILE * _MAX_CHANNELS  # numbers of a line, at most: positions of a tile and the next one, times channels
_PLANE = (1 << 14) + 16  # numbers of a plane, at most; not a power of two, which would share few places of the cache
_BLOCK = 512  # numbers of a plane whose outputs are computed at once
_SEGMENT = 1 << 12  # numbers of a line: from here on, a row of tiles is split
_CHUNK = 1 << 12
_WORK = 1_000_000  # multiply-adds of a product: up to here OpenBLAS copies no factor
# exact in both dtypes; an integer would make float64 of float32
_2, _4, _5, _6, _8, _12, _24 = (np.float32(factor) for factor in (2, 4, 5, 6, 8, 12, 24))


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.winograd.correlate`."""
    if not _computes(g, x, w, b):
        return NotImplemented
    y = np.empty((len(x), *g.out, w.shape[-1]), x.dtype)
    _correlate_to(x, _NO_ARGMAX, w, g, b, relu, y, _NO_ARGMAX)
    return y


def correlate_max(x: Array, w: Array, g: Geometry, return_argmax: bool) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.winograd.correlate_max`."""
    if not _computes(g, x, w):
        return NotImplemented  # type: ignore[return-value]
    shape = (len(x), *(o // 2 for o in g.out), w.shape[-1])
    y, argmax = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    _correlate_to(x, _NO_ARGMAX, w, g, None, False, y, argmax)
    return y, argmax if return_argmax else None


_NO_ARGMAX = np.empty((0, 0, 0, 0), np.uint8)


def _computes(g: Geometry, x: Array, y: Array, b: Array | None = None) -> bool:
    """Return whether all arrays are of one dtype, and neither empty nor of too many channels."""
    channels = x.shape[-1], y.shape[-1]
    return same_floats(x, y, b) and x.size > 0 and y.size > 0 and 0 not in g.out and max(channels) <= _MAX_CHANNELS


def _correlate_to(
    x: Array, argmax: Array, w: Array, g: Geometry, b: Array | None, relu: bool, y: Array, y_argmax: Array
) -> None:
    in_channels, out_channels = w.shape[-2:]
    weights = np.empty((_PLANES, in_channels * out_channels), x.dtype)
    b = np.zeros(out_channels, x.dtype) if b is None else np.ascontiguousarray(b)
    low = x.dtype.type(0 if relu else -np.inf)
    before = np.array([g.padding[0][0], g.padding[1][0]])
    with one_thread:
        _transform_weights(np.ascontiguousarray(w).reshape(9, -1), weights)
        _correlate(
            GEMM[x.dtype], np.ascontiguousarray(x), argmax, weights.reshape(_PLANES, in_channels, out_channels), b, low,
            before, np.array(g.out), *_chunks(len(x), g, in_channels, out_channels), y, y_argmax,
        )  # fmt: skip


def _chunks(n: int, g: Geometry, in_channels: int, out_channels: int) -> tuple[int, int]:
    """Return the tiles of a segment and the segments of a chunk."""
    channels = max(in_channels, out_channels)
    down, across = (-(-o // _TILE) for o in g.out)
    parts = -(-across // max(1, _SEGMENT // (_TILE * channels) - 1))
    tiles = -(-across // parts)
    chunk = max(_CHUNK, min(8 * channels, 1 << 14))
    return tiles, max(1, min(n * down * parts, chunk // (tiles * channels)))


@njit(inline="always")
def _load(x, argmax, n, h, left, line):  # type: ignore[no-untyped-def]
    """Copy line h of image n from position ``left`` on: position left + q + 4t to line[q, t]; zeros outside of x.

    With an ``argmax``, x has one number for each 2x2 window, which is at this position of it, with zeros elsewhere.
    """
    zero = x.dtype.type(0)
    side = 2 if argmax.size > 0 else 1
    for q in range(4):
        for t in range(line.shape[1]):
            w = left + q + 4 * t
            target = line[q, t]
            if h < 0 or h >= side * x.shape[1] or w < 0 or w >= side * x.shape[2]:
                for c in range(len(target)):
                    target[c] = zero
            elif side == 1:
                source = x[n, h, w]
                for c in range(len(target)):
                    target[c] = source[c]
            else:
                k = 2 * (h % 2) + w % 2
                source, at = x[n, h // 2, w // 2], argmax[n, h // 2, w // 2]
                for c in range(len(target)):
                    target[c] = source[c] if at[c] == k else zero


@njit
def _b(d0, d1, d2, d3, d4, d5):  # type: ignore[no-untyped-def]
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


@njit(inline="always")
def _input_planes(x, argmax, n, top, left, tiles, lines, down, planes, at):  # type: ignore[no-untyped-def]
    """Write B^T d B of a segment's tiles to planes[:, at:]."""
    channels = x.shape[3]
    part = (tiles + 1) * channels
    for r in range(6):
        _load(x, argmax, n, top + r, left, lines[r, : 4 * part].reshape(4, tiles + 1, channels))
    for i in range(4 * part):
        down[0, i], down[1, i], down[2, i], down[3, i], down[4, i], down[5, i] = _b(
            lines[0, i], lines[1, i], lines[2, i], lines[3, i], lines[4, i], lines[5, i]
        )
    run = tiles * channels
    for r in range(6):
        d0, d1 = down[r, :part], down[r, part : 2 * part]
        d2, d3 = down[r, 2 * part : 3 * part], down[r, 3 * part : 4 * part]
        d4, d5 = d0[channels:], d1[channels:]
        v = planes[6 * r : 6 * r + 6, at : at + run]
        for i in range(run):
            v[0, i], v[1, i], v[2, i], v[3, i], v[4, i], v[5, i] = _b(d0[i], d1[i], d2[i], d3[i], d4[i], d5[i])


@routine(
    "void(intp, T[:,:,:,::1], uint8[:,:,:,::1], T[:,:,::1], T[::1], T, int64[::1], int64[::1], intp, intp, "
    "T[:,:,:,::1], uint8[:,:,:,::1])"
)
def _correlate(
    address: int, x: Array, argmax: Array, weights: Array, b: Array, low: Any, before: Array, out: Array, tiles: int,
    segments: int, y: Array, y_argmax: Array,
) -> None:  # fmt: skip
    _, in_channels, out_channels = weights.shape
    lines, down = np.empty((6, _LINE), x.dtype), np.empty((6, _LINE), x.dtype)
    planes, products = np.empty((36, _PLANE), x.dtype), np.empty((36, _PLANE), x.dtype)
    half, outputs = np.empty((24, _MAX_CHANNELS), x.dtype), np.empty((16, _MAX_CHANNELS), x.dtype)
    maxima, places = np.empty((4, _MAX_CHANNELS), x.dtype), np.empty((4, _MAX_CHANNELS), np.uint8)
    pooled = y_argmax.size > 0
    rows, parts = (out[0] + 3) // 4, ((out[1] + 3) // 4 + tiles - 1) // tiles
    count = y.shape[0] * rows * parts
    block = max(1, _BLOCK // out_channels)
    for first in range(0, count, segments):
        here = min(segments, count - first)
        for s in range(here):
            n, row, part = (first + s) // (rows * parts), (first + s) // parts % rows, (first + s) % parts
            top, left = 4 * row - before[0], 4 * part * tiles - before[1]
            _input_planes(x, argmax, n, top, left, tiles, lines, down, planes, s * tiles * in_channels)
        total = here * tiles
        step = max(1, _WORK // (in_channels * out_channels))
        for k in range(36):
            a = planes[k, : total * in_channels].reshape(total, in_channels)
            c = products[k, : total * out_channels].reshape(total, out_channels)
            for start in range(0, total, step):
                gemm(address, a[start : start + step], False, weights[k], False, 0, c[start : start + step])
        for start in range(0, total, block):
            size = min(block, total - start) * out_channels
            m = products[:, start * out_channels : start * out_channels + size]
            for k in range(6):
                for i in range(size):
                    half[k, i], half[6 + k, i], half[12 + k, i], half[18 + k, i] = _at(
                        m[k, i], m[6 + k, i], m[12 + k, i], m[18 + k, i], m[24 + k, i], m[30 + k, i]
                    )
            for p in range(4):
                h = half[6 * p : 6 * p + 6]
                o = outputs[4 * p : 4 * p + 4]
                for i in range(size):
                    o[0, i], o[1, i], o[2, i], o[3, i] = _at(h[0, i], h[1, i], h[2, i], h[3, i], h[4, i], h[5, i])
            side = 4
            if pooled:
                side = 2
                for p in range(2):
                    for q in range(2):
                        corner = outputs[8 * p + 2 * q :]
                        for i in range(size):
                            best, place = corner[0, i], np.uint8(0)
                            for k in range(1, 4):
                                z = corner[k // 2 * 4 + k % 2, i]
                                larger = best == best and not z <= best
                                best = z if larger else best
                                place = np.uint8(k) if larger else place
                            maxima[2 * p + q, i] = best
                            places[2 * p + q, i] = place
            for t in range(start, start + size // out_channels):
                s = first + t // tiles
                n, row, column = s // (rows * parts), s // parts % rows, s % parts * tiles + t % tiles
                at = (t - start) * out_channels
                for p in range(min(side, y.shape[1] - side * row)):
                    for q in range(min(side, y.shape[2] - side * column)):
                        target = y[n, side * row + p, side * column + q]
                        source = (maxima if pooled else outputs)[side * p + q, at : at + out_channels]
                        for c in range(out_channels):
                            z = source[c] + b[c]
                            target[c] = low if z < low else z
                        if pooled:
                            indices = y_argmax[n, side * row + p, side * column + q]
                            indices[:] = places[side * p + q, at : at + out_channels]


@routine("void(T[:,::1], T[:,::1])")
def _transform_weights(w: Array, weights: Array) -> None:
    """Write G w G^T of each matrix w, (9, I * O), to (36, I * O)."""
    half = np.empty((18, _BLOCK), w.dtype)
    for start in range(0, w.shape[1], _BLOCK):
        source, target = w[:, start : start + _BLOCK], weights[:, start : start + _BLOCK]
        for k in range(3):
            for i in range(source.shape[1]):
                half[k, i], half[3 + k, i], half[6 + k, i], half[9 + k, i], half[12 + k, i], half[15 + k, i] = _g(
                    source[k, i], source[3 + k, i], source[6 + k, i]
                )
        for r in range(6):
            h, t = half[3 * r : 3 * r + 3], target[6 * r : 6 * r + 6]
            for i in range(source.shape[1]):
                t[0, i], t[1, i], t[2, i], t[3, i], t[4, i], t[5, i] = _g(h[0, i], h[1, i], h[2, i])
