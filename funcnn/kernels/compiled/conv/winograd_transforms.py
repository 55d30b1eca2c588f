"""The transforms of Winograd's method, compiled: of the tiles of a segment, and of the weights.

A transform m d m^T is a loop along the height and one along the width, over all tiles and channels of a segment at
once: a line of x is first copied so that position left + q + 4t is at (q, t, channel) for q = 0 to 3, with zeros
outside of x. Then the positions at one place in the tiles of a segment are contiguous.

Scratch is flat, with rows at constant distances: so the compiler knows that rows do not overlap, and vectorises loops
that write several. An index as `u` of it, which is never negative, spares the test for a negative one.
"""

from __future__ import annotations

import numpy as np

from funcnn.kernels.compiled.routines import helper, routine
from funcnn.tree import Array

MAX_CHANNELS = 1 << 11
# Distances of planes and lines, and of the rows of a block. They are no multiples of 4,096 bytes: a processor takes a
# read for one of what was just written if the addresses are equal modulo that, and waits.
PLANE, ROW = (1 << 14) + 160, MAX_CHANNELS + 160
_DOWN = 6 * PLANE + 80  # where the six lines of B^T d or A dy begin, after the lines d or dy
BLOCK = 1 << 8  # tiles times channels of a block
# exact in both dtypes; Python's numbers would make float64 of float32
_2, _4, _5, _6 = (np.float32(factor) for factor in (2, 4, 5, 6))
u = np.uint64


@helper
def _bt(d0, d1, d2, d3, d4, d5):  # type: ignore[no-untyped-def]
    """Return B^T d."""
    even, odd, even2, odd2 = d4 - _4 * d2, d3 - _4 * d1, d4 - d2, _2 * (d3 - d1)
    return _4 * d0 - _5 * d2 + d4, even + odd, even - odd, even2 + odd2, even2 - odd2, _4 * d1 - _5 * d3 + d5


@helper
def _a(u0, u1, u2, u3):  # type: ignore[no-untyped-def]
    """Return A u."""
    even, odd, even2, odd2 = u0 + u2, u1 + u3, u0 + _4 * u2, _2 * (u1 + _4 * u3)
    return u0, even + odd, even - odd, even2 + odd2, even2 - odd2, u3


@helper
def _at(m0, m1, m2, m3, m4, m5):  # type: ignore[no-untyped-def]
    """Return A^T m."""
    even, odd, even2, odd2 = m1 + m2, m1 - m2, m3 + m4, _2 * (m3 - m4)
    return m0 + even + even2, odd + odd2, even + _4 * even2, odd + _4 * odd2 + m5


@helper
def _g(w0, w1, w2, sixth):  # type: ignore[no-untyped-def]
    """Return G w. ``sixth`` is 1/6: a division takes as long as a dozen multiplications."""
    even, even2, odd, odd2 = sixth * (w0 + w2), sixth / _4 * (w0 + _4 * w2), sixth * w1, sixth / _2 * w1
    return w0 / _4, -even - odd, odd - even, even2 + odd2, even2 - odd2, w2


@helper
def _gt(u0, u1, u2, u3, u4, u5, sixth):  # type: ignore[no-untyped-def]
    """Return G^T u."""
    even, odd, even2, odd2 = sixth * (u1 + u2), sixth * (u2 - u1), sixth * (u3 + u4), sixth * (u3 - u4)
    return u0 / _4 - even + even2 / _4, odd + odd2 / _2, even2 - even + u5


@helper
def _bt_rows(count, d, o0, o1, o2, o3, o4, o5, v, at):  # type: ignore[no-untyped-def]
    """Write B^T d to six rows of v, where d are the rows of d that begin at the offsets."""
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _bt(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)], d[u(o3 + i)], d[u(o4 + i)], d[u(o5 + i)])
        k = at + i
        v[u(k)], v[u(k + PLANE)], v[u(k + 2 * PLANE)] = d0, d1, d2
        v[u(k + 3 * PLANE)], v[u(k + 4 * PLANE)], v[u(k + 5 * PLANE)] = d3, d4, d5


@helper
def a_rows(count, d, o0, o1, o2, o3, v, at):  # type: ignore[no-untyped-def]
    """Write A d to six rows of v."""
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _a(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)], d[u(o3 + i)])
        k = at + i
        v[u(k)], v[u(k + PLANE)], v[u(k + 2 * PLANE)] = d0, d1, d2
        v[u(k + 3 * PLANE)], v[u(k + 4 * PLANE)], v[u(k + 5 * PLANE)] = d3, d4, d5


@helper
def at_rows(count, d, at, step, v, to):  # type: ignore[no-untyped-def]
    """Write A^T d to four rows of v, where d are the rows of d that begin ``step`` apart."""
    for i in range(count):
        k = at + i
        y0, y1, y2, y3 = _at(
            d[u(k)], d[u(k + step)], d[u(k + 2 * step)], d[u(k + 3 * step)], d[u(k + 4 * step)], d[u(k + 5 * step)]
        )
        k = to + i
        v[u(k)], v[u(k + ROW)], v[u(k + 2 * ROW)], v[u(k + 3 * ROW)] = y0, y1, y2, y3


@helper
def _g_rows(count, d, o0, o1, o2, v, at):  # type: ignore[no-untyped-def]
    """Write G d to six rows of v."""
    sixth = d.dtype.type(1) / _6
    for i in range(count):
        d0, d1, d2, d3, d4, d5 = _g(d[u(o0 + i)], d[u(o1 + i)], d[u(o2 + i)], sixth)
        k = at + i
        v[u(k)], v[u(k + ROW)], v[u(k + 2 * ROW)] = d0, d1, d2
        v[u(k + 3 * ROW)], v[u(k + 4 * ROW)], v[u(k + 5 * ROW)] = d3, d4, d5


@helper
def _gt_rows(count, d, at, step, v, to):  # type: ignore[no-untyped-def]
    """Write G^T d to three rows of v, where d are the rows of d that begin ``step`` apart."""
    sixth = d.dtype.type(1) / _6
    for i in range(count):
        k = at + i
        y0, y1, y2 = _gt(
            d[u(k)], d[u(k + step)], d[u(k + 2 * step)], d[u(k + 3 * step)], d[u(k + 4 * step)], d[u(k + 5 * step)],
            sixth,
        )  # fmt: skip
        v[u(to + i)], v[u(to + i + ROW)], v[u(to + i + 2 * ROW)] = y0, y1, y2


@helper
def max_rows(count, z, at, maxima, argmax, to):  # type: ignore[no-untyped-def]
    """Write the maximum over four rows of z, those of a 2x2 window, and its index: of the first one, or of a NaN."""
    for i in range(count):
        best, index = z[u(at + i)], np.uint8(0)
        for k in range(1, 4):
            value = z[u(at + (k // 2 * 4 + k % 2) * ROW + i)]
            larger = best == best and not value <= best
            best, index = (value, np.uint8(k)) if larger else (best, index)
        maxima[u(to + i)], argmax[u(to + i)] = best, index


@helper
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


@helper
def input_planes(x, argmax, n, row, above, left, tiles, follows, lines, planes, at):  # type: ignore[no-untyped-def]
    """Write B^T d B of a segment's tiles to the planes, from ``at`` on.

    Rows of tiles share two lines, which are still there if the segment above was the last one: line r of row 0 stays at
    r, and the next ones take its place in turn.
    """
    channels, first = x.shape[3], 4 * row
    run, part = tiles * channels, (tiles + 1) * channels
    for r in range(first + (2 if follows else 0), first + 6):
        _load(x, argmax, n, r - above, left, tiles + 1, lines, r % 6 * PLANE)
    d0, d1, d2 = first % 6 * PLANE, (first + 1) % 6 * PLANE, (first + 2) % 6 * PLANE
    d3, d4, d5 = (first + 3) % 6 * PLANE, (first + 4) % 6 * PLANE, (first + 5) % 6 * PLANE
    _bt_rows(4 * part, lines, d0, d1, d2, d3, d4, d5, lines, _DOWN)
    for r in range(6):
        d, to = _DOWN + r * PLANE, 6 * r * PLANE + at
        after = d + channels  # the next tile
        _bt_rows(run, lines, d, d + part, d + 2 * part, d + 3 * part, after, after + part, planes, to)


@helper
def output_planes(dy, argmax, n, top, left, tiles, lines, planes, at):  # type: ignore[no-untyped-def]
    """Write A dy A^T of a segment's tiles to the planes, from ``at`` on."""
    run = tiles * dy.shape[3]
    for r in range(4):
        _load(dy, argmax, n, top + r, left, tiles, lines, r * PLANE)
    a_rows(4 * run, lines, 0, PLANE, 2 * PLANE, 3 * PLANE, lines, _DOWN)
    for r in range(6):
        d = _DOWN + r * PLANE
        a_rows(run, lines, d, d + run, d + 2 * run, d + 3 * run, planes, 6 * r * PLANE + at)


@helper
def plane(planes, k, tiles, channels):  # type: ignore[no-untyped-def]
    return planes[k * PLANE : k * PLANE + tiles * channels].reshape(tiles, channels)


@routine("void(R[::1], T[:,::1])")
def transform_weights(w: Array, weights: Array) -> None:
    """Write G w G^T of each 3x3 matrix w, (9 * I * O), to (36, I * O)."""
    count = weights.shape[1]
    half, block = np.empty(18 * ROW, w.dtype), np.empty(6 * ROW, w.dtype)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        for k in range(3):
            o = k * count + start
            _g_rows(size, w, o, o + 3 * count, o + 6 * count, half, 6 * k * ROW)
        for r in range(6):
            _g_rows(size, half, r * ROW, (6 + r) * ROW, (12 + r) * ROW, block, 0)
            for k in range(6):
                row = weights[6 * r + k]
                for i in range(size):
                    row[u(start + i)] = block[u(k * ROW + i)]


@routine("void(T[::1], T[:,::1])")
def transform_dweights(dweights: Array, dw: Array) -> None:
    """Write G^T u G of each 6x6 matrix u, (36 * I * O), to (9, I * O)."""
    count = dw.shape[1]
    half, block = np.empty(18 * ROW, dw.dtype), np.empty(3 * ROW, dw.dtype)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        for k in range(6):
            _gt_rows(size, dweights, k * count + start, 6 * count, half, 3 * k * ROW)
        for r in range(3):
            _gt_rows(size, half, r * ROW, 3 * ROW, block, 0)
            for k in range(3):
                row = dw[3 * r + k]
                for i in range(size):
                    row[u(start + i)] = block[u(k * ROW + i)]
