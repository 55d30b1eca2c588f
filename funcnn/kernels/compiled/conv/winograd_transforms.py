"""The transforms of Winograd's method, compiled: of the tiles of a segment, and of the weights.

Each is a loop over tiles and vectors of channels: what a tile has of a vector's channels is transformed along the
height, then along the width, in registers. The last two vectors of the channels overlap unless their number is a
multiple of a vector's lanes.

A segment's tiles share columns of positions: these are transformed along the height once, and are kept for the tiles.
"""

from __future__ import annotations

import numpy as np

from funcnn.kernels.compiled.parallel import in_parallel
from funcnn.kernels.compiled.routines import helper, inlined, routine
from funcnn.kernels.compiled.vectors import add, lanes_of, load, load_where, maximum, splat, store, store_octets
from funcnn.kernels.compiled.vectors import argmax as vector_argmax
from funcnn.tree import Array

# exact in both dtypes; Python's numbers would make float64 of float32
_2, _4, _5, _6, _12, _24 = (np.float32(factor) for factor in (2, 4, 5, 6, 12, 24))
_4TH, _6TH, _12TH, _24TH = (1 / divisor for divisor in (4, 6, 12, 24))

_MATRICES = 1 << 10  # that a thread transforms at once


@inlined
def _bt(d0, d1, d2, d3, d4, d5):  # type: ignore[no-untyped-def]
    """Return B^T d."""
    even, odd, even2, odd2 = d4 - _4 * d2, d3 - _4 * d1, d4 - d2, _2 * (d3 - d1)
    return _4 * d0 - _5 * d2 + d4, even + odd, even - odd, even2 + odd2, even2 - odd2, _4 * d1 - _5 * d3 + d5


@inlined
def _a(u0, u1, u2, u3):  # type: ignore[no-untyped-def]
    """Return A u."""
    even, odd, even2, odd2 = u0 + u2, u1 + u3, u0 + _4 * u2, _2 * (u1 + _4 * u3)
    return u0, even + odd, even - odd, even2 + odd2, even2 - odd2, u3


@inlined
def _at(m0, m1, m2, m3, m4, m5):  # type: ignore[no-untyped-def]
    """Return A^T m."""
    even, odd, even2, odd2 = m1 + m2, m1 - m2, m3 + m4, _2 * (m3 - m4)
    return m0 + even + even2, odd + odd2, even + _4 * even2, odd + _4 * odd2 + m5


@inlined
def _g(w0, w1, w2):  # type: ignore[no-untyped-def]
    """Return G w."""
    even, even2, odd2 = w0 + w2, w0 + _4 * w2, _2 * w1
    return _4TH * w0, -_6TH * (even + w1), _6TH * (w1 - even), _24TH * (even2 + odd2), _24TH * (even2 - odd2), w2


@inlined
def _gt(u0, u1, u2, u3, u4, u5):  # type: ignore[no-untyped-def]
    """Return G^T u."""
    even, odd, even2, odd2 = _6TH * (u1 + u2), _6TH * (u2 - u1), u3 + u4, u3 - u4
    return _4TH * u0 - even + _24TH * even2, odd + _12TH * odd2, _6TH * even2 - even + u5


@inlined
def _position(x, argmax, n, h, w, c):  # type: ignore[no-untyped-def]
    """Return the vector of channels from c on at a position of image n; zeros outside of the image.

    With an ``argmax``, x has one number for each 2x2 window, which is at this position of it, with zeros elsewhere.
    """
    side = 2 if argmax.size > 0 else 1
    if h < 0 or h >= side * x.shape[1] or w < 0 or w >= side * x.shape[2]:
        return splat(x.dtype.type(0))
    if side == 2:
        i = ((n * x.shape[1] + (h >> 1)) * x.shape[2] + (w >> 1)) * x.shape[3] + c
        return load_where(x, argmax, np.uint8(2 * (h & 1) + (w & 1)), i)
    return load(x, ((n * x.shape[1] + h) * x.shape[2] + w) * x.shape[3] + c)


@inlined
def _load_6(a, at, step):  # type: ignore[no-untyped-def]
    """Return six vectors that start ``step`` apart."""
    return (
        load(a, at), load(a, at + step), load(a, at + 2 * step),
        load(a, at + 3 * step), load(a, at + 4 * step), load(a, at + 5 * step),
    )  # fmt: skip


@inlined
def _store_6(a, at, step, v):  # type: ignore[no-untyped-def]
    """Write six vectors to where they start ``step`` apart."""
    store(a, at, v[0])
    store(a, at + step, v[1])
    store(a, at + 2 * step, v[2])
    store(a, at + 3 * step, v[3])
    store(a, at + 4 * step, v[4])
    store(a, at + 5 * step, v[5])


@helper
def input_planes(x, argmax, n, top, left, tiles, columns, planes, first):  # type: ignore[no-untyped-def]
    """Write B^T d B of the tiles of a segment to the planes, from tile ``first`` on."""
    channels, lanes, step = x.shape[3], lanes_of(x), planes[0].size
    for block in range(0, channels, lanes):
        c = min(block, channels - lanes)
        for q in range(4 * tiles + 2):
            w = left + q
            d0, d1 = _position(x, argmax, n, top, w, c), _position(x, argmax, n, top + 1, w, c)
            d2, d3 = _position(x, argmax, n, top + 2, w, c), _position(x, argmax, n, top + 3, w, c)
            d4, d5 = _position(x, argmax, n, top + 4, w, c), _position(x, argmax, n, top + 5, w, c)
            _store_6(columns, 6 * q * lanes, lanes, _bt(d0, d1, d2, d3, d4, d5))
        for t in range(tiles):
            for r in range(6):
                d = _bt(*_load_6(columns, (24 * t + r) * lanes, 6 * lanes))
                _store_6(planes, 6 * r * step + (first + t) * channels + c, step, d)


@helper
def output_planes(dy, argmax, n, top, left, tiles, columns, planes, first):  # type: ignore[no-untyped-def]
    """Write A dy A^T of the tiles of a segment to the planes, from tile ``first`` on."""
    channels, lanes, step = dy.shape[3], lanes_of(dy), planes[0].size
    for block in range(0, channels, lanes):
        c = min(block, channels - lanes)
        for t in range(tiles):
            for q in range(4):
                w = left + 4 * t + q
                u0, u1 = _position(dy, argmax, n, top, w, c), _position(dy, argmax, n, top + 1, w, c)
                u2, u3 = _position(dy, argmax, n, top + 2, w, c), _position(dy, argmax, n, top + 3, w, c)
                _store_6(columns, 6 * q * lanes, lanes, _a(u0, u1, u2, u3))
            for r in range(6):
                u0, u1 = load(columns, r * lanes), load(columns, (6 + r) * lanes)
                u2, u3 = load(columns, (12 + r) * lanes), load(columns, (18 + r) * lanes)
                _store_6(planes, 6 * r * step + (first + t) * channels + c, step, _a(u0, u1, u2, u3))


@helper
def outputs(products, first, tiles, b, low, n, top, left, y, y_argmax):  # type: ignore[no-untyped-def]
    """Write A^T m A + b of a segment's tiles to y, and at least ``low``; m are the planes from tile ``first`` on.

    With a ``y_argmax``, write the maxima over 2x2 windows to y, and their positions to that.
    """
    channels, lanes, step = y.shape[3], lanes_of(y), products[0].size
    for block in range(0, channels, lanes):
        c = min(block, channels - lanes)
        bias, least = load(b, c), splat(low)
        for t in range(tiles):
            i, w = (first + t) * channels + c, left + 4 * t
            m0, m1 = _at(*_load_6(products, i, 6 * step)), _at(*_load_6(products, i + step, 6 * step))
            m2, m3 = _at(*_load_6(products, i + 2 * step, 6 * step)), _at(*_load_6(products, i + 3 * step, 6 * step))
            m4, m5 = _at(*_load_6(products, i + 4 * step, 6 * step)), _at(*_load_6(products, i + 5 * step, 6 * step))
            z0, z1 = _at(m0[0], m1[0], m2[0], m3[0], m4[0], m5[0]), _at(m0[1], m1[1], m2[1], m3[1], m4[1], m5[1])
            z2, z3 = _at(m0[2], m1[2], m2[2], m3[2], m4[2], m5[2]), _at(m0[3], m1[3], m2[3], m3[3], m4[3], m5[3])
            if y_argmax.size == 0:
                _store_outputs(z0, bias, least, n, top, w, c, y)
                _store_outputs(z1, bias, least, n, top + 1, w, c, y)
                _store_outputs(z2, bias, least, n, top + 2, w, c, y)
                _store_outputs(z3, bias, least, n, top + 3, w, c, y)
            else:
                h, w = top // 2, w // 2
                _store_maximum(z0[0], z0[1], z1[0], z1[1], bias, least, n, h, w, c, y, y_argmax)
                _store_maximum(z0[2], z0[3], z1[2], z1[3], bias, least, n, h, w + 1, c, y, y_argmax)
                _store_maximum(z2[0], z2[1], z3[0], z3[1], bias, least, n, h + 1, w, c, y, y_argmax)
                _store_maximum(z2[2], z2[3], z3[2], z3[3], bias, least, n, h + 1, w + 1, c, y, y_argmax)


@inlined
def _store_outputs(z, bias, least, n, h, w, c, y):  # type: ignore[no-untyped-def]
    """Write four neighbours of row h to y, as far as they are in it."""
    if h < y.shape[1]:
        i = ((n * y.shape[1] + h) * y.shape[2] + w) * y.shape[3] + c
        store(y, i, maximum(z[0] + bias, least))
        if w + 1 < y.shape[2]:
            store(y, i + y.shape[3], maximum(z[1] + bias, least))
        if w + 2 < y.shape[2]:
            store(y, i + 2 * y.shape[3], maximum(z[2] + bias, least))
        if w + 3 < y.shape[2]:
            store(y, i + 3 * y.shape[3], maximum(z[3] + bias, least))


@inlined
def _store_maximum(z0, z1, z2, z3, bias, least, n, h, w, c, y, y_argmax):  # type: ignore[no-untyped-def]
    """Write the maximum of a 2x2 window to y, if it is in it, and its index: of the first one, or of a NaN."""
    if h < y.shape[1] and w < y.shape[2]:
        one = splat(y.dtype.type(1))
        best1, index1 = maximum(z0, z1), vector_argmax(z0, z1, one - one, one)
        best2, index2 = maximum(best1, z2), vector_argmax(best1, z2, index1, one + one)
        best3, index3 = maximum(best2, z3), vector_argmax(best2, z3, index2, one + one + one)
        i = ((n * y.shape[1] + h) * y.shape[2] + w) * y.shape[3] + c
        store(y, i, maximum(best3 + bias, least))
        store_octets(y_argmax, i, index3, lanes_of(y))


@in_parallel
def _block_of_weights(arguments, thread, block):  # type: ignore[no-untyped-def]
    w, weights = arguments
    count, lanes = len(w) // 9, lanes_of(w)
    half = np.empty(18 * lanes, w.dtype)
    for first in range(block * _MATRICES, min((block + 1) * _MATRICES, count), lanes):
        i = min(first, count - lanes)
        for k in range(3):
            j = k * count + i
            _store_6(half, k * lanes, 3 * lanes, _g(load(w, j), load(w, j + 3 * count), load(w, j + 6 * count)))
        for r in range(6):
            j = 3 * r * lanes
            w0, w1, w2 = load(half, j), load(half, j + lanes), load(half, j + 2 * lanes)
            _store_6(weights, 6 * r * count + i, count, _g(w0, w1, w2))


@routine("void(i8[::1], R[::1], T[::1])")
def transform_weights(team: Array, w: Array, weights: Array) -> None:
    """Write G w G^T of each 3x3 matrix w, (9 * I * O), to (36 * I * O)."""
    _block_of_weights(team, (w, weights), (len(w) // 9 + _MATRICES - 1) // _MATRICES)


@in_parallel
def _block_of_dweights(arguments, thread, block):  # type: ignore[no-untyped-def]
    dweights, dw = arguments
    count, lanes = len(dw) // 9, lanes_of(dw)
    sums, half = np.empty(6 * lanes, dw.dtype), np.empty(18 * lanes, dw.dtype)
    for first in range(block * _MATRICES, min((block + 1) * _MATRICES, count), lanes):
        i = min(first, count - lanes)
        for k in range(6):
            for r in range(6):
                total = load(dweights, (6 * r + k) * count + i)
                for group in range(1, dweights.shape[0]):
                    total = add(total, load(dweights, group * dweights.shape[1] + (6 * r + k) * count + i))
                store(sums, r * lanes, total)
            u0, u1, u2 = _gt(*_load_6(sums, 0, lanes))
            store(half, k * lanes, u0)
            store(half, (6 + k) * lanes, u1)
            store(half, (12 + k) * lanes, u2)
        for r in range(3):
            u0, u1, u2 = _gt(*_load_6(half, 6 * r * lanes, lanes))
            store(dw, 3 * r * count + i, u0)
            store(dw, (3 * r + 1) * count + i, u1)
            store(dw, (3 * r + 2) * count + i, u2)


@routine("void(i8[::1], R[:,::1], T[::1])")
def transform_dweights(team: Array, dweights: Array, dw: Array) -> None:
    """Write G^T u G of each 6x6 matrix u, the sum of the groups' (groups, 36 * I * O), to (9 * I * O)."""
    _block_of_dweights(team, (dweights, dw), (len(dw) // 9 + _MATRICES - 1) // _MATRICES)
