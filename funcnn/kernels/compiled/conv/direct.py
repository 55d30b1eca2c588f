"""Convolution of images with few channels by its definition, image by image, for `row_blocks` and `conv_pool`.

An image is padded once. Then a vector of outputs stays in a register over all taps: of 16 channels, or of fewer
channels of several neighbouring outputs, whose weights are shifted copies with zeros between them. Outputs are computed
in tiles, two rows of four vectors; for 2x2 maxima these are two vectors of windows. The adjoints keep several vectors
of dw, or of dx, in registers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.kernels.compiled.vectors import LANES, above, add, add_product, load, splat, store
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_NO_ARGMAX = np.empty((0, 0, 0, 0), np.uint8)
_TAPS, _VECTORS = 9, 5  # of dw, and of a window of dx, that are in registers at once


def computes(g: Geometry, *arrays: Array | None) -> bool:
    """Return whether all arrays are of one dtype and not empty, and a 2-D geometry has no stride and no dilation."""
    plain = len(g.size) == 2 and g.stride == g.dilation == (1, 1) and min(map(min, g.padding)) >= 0
    return plain and same_floats(*arrays) and all(a is None or a.size > 0 for a in arrays)


def correlate(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    y = np.empty((len(x), *g.out, w.shape[-1]), x.dtype)
    _call(x, w, g, b, relu, y, _NO_ARGMAX)
    return y


def correlate_max(x: Array, w: Array, g: Geometry, b: Array | None) -> tuple[Array, Array]:
    """Return y's maxima over 2x2 windows, and their positions."""
    shape = (len(x), *(o // 2 for o in g.out), w.shape[-1])
    y, argmax = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    _call(x, w, g, b, False, y, argmax)
    return y, argmax


def _call(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool, y: Array, argmax: Array) -> None:
    lanes, (in_channels, out_channels) = LANES[x.dtype], w.shape[-2:]
    count, whole, step = _packing(out_channels, lanes), _whole(out_channels, lanes), 2 if argmax.size else 1
    run = g.window[1] * in_channels
    weights = np.zeros((g.window[0], run + (count - 1) * step * in_channels, whole), x.dtype)
    bias = np.zeros(whole, x.dtype)
    for k in range(count):
        shift, outputs = k * step * in_channels, slice(k * out_channels, (k + 1) * out_channels)
        weights[:, shift : shift + run, outputs] = w.reshape(g.window[0], run, out_channels)
        if b is not None:
            bias[outputs] = b
    _correlate(
        np.ascontiguousarray(x), weights, bias, relu, np.zeros(_padded_shape(g, in_channels, count, lanes), x.dtype),
        g.padding[0][0], g.padding[1][0], *g.out, count, lanes, y, argmax,
    )  # fmt: skip


def adjoints(
    x: Array, w: Array | None, dy: Array, argmax: Array | None, g: Geometry
) -> tuple[Array, Array | None]:
    """Return dw and, with w, dx. With an ``argmax``, dy is that of 2x2 maxima."""
    lanes, (height, width), in_channels, out_channels = LANES[x.dtype], g.window, x.shape[-1], dy.shape[-1]
    count, whole = _packing(out_channels, lanes), _whole(out_channels, lanes)
    run, extent = width * in_channels, (width + count - 1) * in_channels
    padded = np.zeros(_padded_shape(g, in_channels, count, lanes), x.dtype)
    taps = _offsets(height, extent, 1, padded.shape[1], _TAPS)
    products = np.zeros((len(taps), whole), x.dtype)
    vectors, weights, dx = _offsets(0, 0, 1, 0, 1), np.empty((0, 0, lanes), x.dtype), np.empty((0, 0, 0, 0), x.dtype)
    if w is not None:
        per_row = -(-run // lanes)
        vectors = _offsets(height, per_row, lanes, padded.shape[1], _VECTORS)
        rows = np.zeros((height, per_row * lanes, out_channels), x.dtype)
        rows[:, :run] = w.reshape(height, run, out_channels)
        weights = np.zeros((len(vectors), out_channels, lanes), x.dtype)
        weights[: height * per_row] = rows.reshape(-1, lanes, out_channels).swapaxes(1, 2)
        dx = np.empty(x.shape, x.dtype)
    outputs = np.zeros((g.out[0] + 1, (-(-g.out[1] // count) * count + 1) * out_channels + lanes), x.dtype)
    _adjoints(
        np.ascontiguousarray(x), weights, np.ascontiguousarray(dy),
        _NO_ARGMAX if argmax is None else np.ascontiguousarray(argmax), padded, outputs, taps, vectors,
        g.padding[0][0], g.padding[1][0], *g.out, count, lanes, products, dx,
    )  # fmt: skip
    of_rows = products[: height * extent].reshape(height, extent, whole)
    dw = sum(
        of_rows[:, k * in_channels : k * in_channels + run, k * out_channels : (k + 1) * out_channels]
        for k in range(count)
    )  # fmt: skip
    return np.asarray(dw).reshape(*g.window, in_channels, out_channels), None if w is None else dx


def _packing(out_channels: int, lanes: int) -> int:
    """Return how many outputs are in a vector."""
    return max(1, lanes // out_channels)


def _whole(out_channels: int, lanes: int) -> int:
    return -(-out_channels // lanes) * lanes


def _padded_shape(g: Geometry, in_channels: int, count: int, lanes: int) -> tuple[int, int]:
    """Return the shape of a padded image that tiles beyond its edges and whole vectors can be read from."""
    tile = 2, 4 * count
    rows, columns = (
        max(-(-o // t) * t + k - 1, lo + s)
        for o, t, k, s, (lo, _) in zip(g.out, tile, g.window, g.size, g.padding, strict=True)
    )
    return rows + 1 + lanes // (columns * in_channels), columns * in_channels


@lru_cache(maxsize=256)
def _offsets(height: int, count: int, step: int, row: int, multiple: int) -> Array:
    """Return where the numbers of a window's rows start in an image, the last repeated to a multiple."""
    offsets = [h * row + i * step for h in range(height) for i in range(count)]
    return np.array(offsets + offsets[-1:] * (-len(offsets) % multiple), np.int64)


@helper
def _pad(x, n, top, left, padded):  # type: ignore[no-untyped-def]
    _, height, width, channels = x.shape
    for h in range(height):
        source, target = (n * height + h) * width * channels, (top + h) * padded.shape[1] + left * channels
        for i in range(width * channels):
            padded.flat[target + i] = x.flat[source + i]


@helper
def _tile(w, b, c, image, p, row, vector, next_vectors, next_pair):  # type: ignore[no-untyped-def]
    """Return two rows of four vectors of outputs."""
    run, whole = w.shape[1:]
    y0 = load(b, c)
    y1, y2, y3, z0, z1, z2, z3 = y0, y0, y0, y0, y0, y0, y0
    for h in range(len(w)):
        q, r = p + h * row, h * run * whole + c
        for _ in range(run):
            v = load(w, r)
            y0 = add_product(y0, splat(image.flat[q]), v)
            y1 = add_product(y1, splat(image.flat[q + vector]), v)
            y2 = add_product(y2, splat(image.flat[q + next_vectors]), v)
            y3 = add_product(y3, splat(image.flat[q + next_pair]), v)
            z0 = add_product(z0, splat(image.flat[q + row]), v)
            z1 = add_product(z1, splat(image.flat[q + row + vector]), v)
            z2 = add_product(z2, splat(image.flat[q + row + next_vectors]), v)
            z3 = add_product(z3, splat(image.flat[q + row + next_pair]), v)
            q += 1
            r += whole
    return y0, y1, y2, y3, z0, z1, z2, z3


@routine("void(R[:,:,:,::1], R[:,:,::1], R[::1], b1, T[:,::1], i8, i8, i8, i8, i8, i8, T[:,:,:,::1], u1[:,:,:,::1])")
def _correlate(
    x: Array, w: Array, b: Array, relu: bool, padded: Array, top: int, left: int, rows: int, columns: int, count: int,
    lanes: int, y: Array, argmax: Array,
) -> None:  # fmt: skip
    in_channels, out_channels, row = x.shape[3], y.shape[3], padded.shape[1]
    low, whole, pooled = x.dtype.type(0 if relu else -np.inf), w.shape[2], argmax.size > 0
    outputs = np.empty((8, whole), x.dtype)
    zero, one = splat(x.dtype.type(0)), splat(x.dtype.type(1))
    two, three = splat(x.dtype.type(2)), splat(x.dtype.type(3))
    # where the four vectors of a row start: windows of maxima alternate between two vectors
    if pooled:
        rows, columns = rows // 2 * 2, columns // 2 * 2
        second, third, fourth = in_channels, 2 * count * in_channels, (2 * count + 1) * in_channels
    else:
        second, third, fourth = count * in_channels, 2 * count * in_channels, 3 * count * in_channels
    size = count * out_channels  # numbers of a vector, or of the vectors of an output
    for n in range(len(x)):
        _pad(x, n, top, left, padded)
        for oh in range(0, rows, 2):
            for ow in range(0, columns, 4 * count):
                for c in range(0, whole, lanes):
                    p = oh * row + ow * in_channels
                    y0, y1, y2, y3, z0, z1, z2, z3 = _tile(w, b, c, padded, p, row, second, third, fourth)
                    if pooled:
                        k0, k1 = above(y1, y0, one, zero), above(y3, y2, one, zero)
                        y0, y2 = above(y1, y0, y1, y0), above(y3, y2, y3, y2)
                        k0, k1 = above(z0, y0, two, k0), above(z2, y2, two, k1)
                        y0, y2 = above(z0, y0, z0, y0), above(z2, y2, z2, y2)
                        store(outputs, 2 * whole + c, above(z1, y0, three, k0))
                        store(outputs, 3 * whole + c, above(z3, y2, three, k1))
                        store(outputs, c, above(z1, y0, z1, y0))
                        store(outputs, whole + c, above(z3, y2, z3, y2))
                    else:
                        store(outputs, c, y0)
                        store(outputs, whole + c, y1)
                        store(outputs, 2 * whole + c, y2)
                        store(outputs, 3 * whole + c, y3)
                        store(outputs, 4 * whole + c, z0)
                        store(outputs, 5 * whole + c, z1)
                        store(outputs, 6 * whole + c, z2)
                        store(outputs, 7 * whole + c, z3)
                if pooled:
                    line = (n * (rows // 2) + oh // 2) * (columns // 2) * out_channels
                    for j in range(2):
                        start = (ow // 2 + j * count) * out_channels
                        for i in range(min(size, columns // 2 * out_channels - start)):
                            y.flat[line + start + i] = outputs[j, i]
                            argmax.flat[line + start + i] = np.uint8(np.int32(outputs[2 + j, i]))
                else:
                    for k in range(4 * min(2, rows - oh)):
                        line = (n * rows + oh + k // 4) * columns * out_channels
                        start = (ow + k % 4 * count) * out_channels
                        for i in range(min(size, columns * out_channels - start)):
                            value = outputs[k, i]
                            y.flat[line + start + i] = low if value < low else value


@helper
def _read_outputs(dy, argmax, n, rows, columns, lanes, outputs):  # type: ignore[no-untyped-def]
    """Write the cotangent of an image's outputs to a matrix of rows."""
    zero, channels, line = dy.dtype.type(0), dy.shape[3], outputs.shape[1]
    if argmax.size > 0:
        if channels < lanes:
            outputs[:] = 0
        at = n * dy.shape[1] * dy.shape[2] * channels
        for h in range(dy.shape[1]):
            for w in range(dy.shape[2]):
                start = 2 * h * line + 2 * w * channels
                if channels < lanes:  # too few for a vector
                    for c in range(channels):
                        k = np.int64(argmax.flat[at + c])
                        outputs.flat[start + (k >> 1) * line + (k & 1) * channels + c] = dy.flat[at + c]
                else:
                    for k in range(4):
                        p = start + k // 2 * line + k % 2 * channels
                        for c in range(channels):
                            outputs.flat[p + c] = dy.flat[at + c] if argmax.flat[at + c] == k else zero
                at += channels
    else:
        for h in range(rows):
            source, target = (n * rows + h) * columns * channels, h * outputs.shape[1]
            for i in range(columns * channels):
                outputs.flat[target + i] = dy.flat[source + i]


@routine(
    "void(R[:,:,:,::1], R[:,:,::1], R[:,:,:,::1], Array(uint8, 4, 'C', readonly=True), T[:,::1], T[:,::1], i8[::1],"
    " i8[::1], i8, i8, i8, i8, i8, i8, T[:,::1], T[:,:,:,::1])"
)
def _adjoints(
    x: Array, w: Array, dy: Array, argmax: Array, padded: Array, outputs: Array, taps: Array, vectors: Array, top: int,
    left: int, rows: int, columns: int, count: int, lanes: int, dw: Array, dx: Array,
) -> None:  # fmt: skip
    in_channels, out_channels, row, line = x.shape[3], dy.shape[3], padded.shape[1], outputs.shape[1]
    whole, dpadded, zero = dw.shape[1], np.zeros(padded.size if len(w) > 0 else 0, x.dtype), x.dtype.type(0)
    for n in range(len(x)):
        _pad(x, n, top, left, padded)
        _read_outputs(dy, argmax, n, rows, columns, lanes, outputs)
        for c in range(0, whole, lanes):
            for t in range(0, len(taps), 9):
                a0 = splat(zero)
                a1, a2, a3, a4, a5, a6, a7, a8 = a0, a0, a0, a0, a0, a0, a0, a0
                t0, t1, t2, t3, t4 = taps[t], taps[t + 1], taps[t + 2], taps[t + 3], taps[t + 4]
                t5, t6, t7, t8 = taps[t + 5], taps[t + 6], taps[t + 7], taps[t + 8]
                for h in range(rows):
                    p, q = h * row, h * line + c
                    for _ in range(0, columns, count):
                        v = load(outputs, q)
                        a0 = add_product(a0, splat(padded.flat[p + t0]), v)
                        a1 = add_product(a1, splat(padded.flat[p + t1]), v)
                        a2 = add_product(a2, splat(padded.flat[p + t2]), v)
                        a3 = add_product(a3, splat(padded.flat[p + t3]), v)
                        a4 = add_product(a4, splat(padded.flat[p + t4]), v)
                        a5 = add_product(a5, splat(padded.flat[p + t5]), v)
                        a6 = add_product(a6, splat(padded.flat[p + t6]), v)
                        a7 = add_product(a7, splat(padded.flat[p + t7]), v)
                        a8 = add_product(a8, splat(padded.flat[p + t8]), v)
                        p += count * in_channels
                        q += count * out_channels
                r = t * whole + c
                store(dw, r, add(load(dw, r), a0))
                store(dw, r + whole, add(load(dw, r + whole), a1))
                store(dw, r + 2 * whole, add(load(dw, r + 2 * whole), a2))
                store(dw, r + 3 * whole, add(load(dw, r + 3 * whole), a3))
                store(dw, r + 4 * whole, add(load(dw, r + 4 * whole), a4))
                store(dw, r + 5 * whole, add(load(dw, r + 5 * whole), a5))
                store(dw, r + 6 * whole, add(load(dw, r + 6 * whole), a6))
                store(dw, r + 7 * whole, add(load(dw, r + 7 * whole), a7))
                store(dw, r + 8 * whole, add(load(dw, r + 8 * whole), a8))
        if len(w) > 0:
            dpadded[:] = 0
            for h in range(rows):
                for v in range(0, columns, 2):
                    p, q = h * row + v * in_channels, h * line + v * out_channels
                    for t in range(0, len(vectors), 5):
                        a0 = splat(zero)
                        a1, a2, a3, a4, b0, b1, b2, b3, b4 = a0, a0, a0, a0, a0, a0, a0, a0, a0
                        r, step = t * out_channels * lanes, out_channels * lanes
                        for c in range(out_channels):
                            d0, d1 = splat(outputs.flat[q + c]), splat(outputs.flat[q + out_channels + c])
                            w0, w1, w2 = load(w, r), load(w, r + step), load(w, r + 2 * step)
                            w3, w4 = load(w, r + 3 * step), load(w, r + 4 * step)
                            a0, b0 = add_product(a0, d0, w0), add_product(b0, d1, w0)
                            a1, b1 = add_product(a1, d0, w1), add_product(b1, d1, w1)
                            a2, b2 = add_product(a2, d0, w2), add_product(b2, d1, w2)
                            a3, b3 = add_product(a3, d0, w3), add_product(b3, d1, w3)
                            a4, b4 = add_product(a4, d0, w4), add_product(b4, d1, w4)
                            r += lanes
                        for i in range(2):
                            o = p + i * in_channels
                            t0, t1, t2, t3, t4 = vectors[t], vectors[t + 1], vectors[t + 2], vectors[t + 3], vectors[t + 4]
                            store(dpadded, o + t0, add(load(dpadded, o + t0), a0))
                            store(dpadded, o + t1, add(load(dpadded, o + t1), a1))
                            store(dpadded, o + t2, add(load(dpadded, o + t2), a2))
                            store(dpadded, o + t3, add(load(dpadded, o + t3), a3))
                            store(dpadded, o + t4, add(load(dpadded, o + t4), a4))
                            a0, a1, a2, a3, a4 = b0, b1, b2, b3, b4
            for h in range(dx.shape[1]):
                source = (top + h) * row + left * in_channels
                target = (n * dx.shape[1] + h) * dx.shape[2] * in_channels
                for i in range(dx.shape[2] * in_channels):
                    dx.flat[target + i] = dpadded[source + i]
