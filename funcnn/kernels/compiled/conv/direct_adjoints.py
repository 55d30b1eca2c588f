"""The adjoints of `funcnn.kernels.compiled.conv.direct`, which keep several vectors of dw, or of dx, in registers.

For dw, the vectors are of outputs, as there; each is multiplied by what its taps read. For dx, they are of the
neighbouring numbers that a row of taps reads, and what two outputs contribute to them is added to a padded dx.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.compiled.conv.direct import (
    NO_ARGMAX,
    TAP,
    computes,
    in_lanes,
    packing,
    pad,
    padded_shape,
    shifted_copies,
)
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine
from funcnn.kernels.compiled.vectors import LANES, add, add_product, load, splat, store
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_TAPS, _VECTORS = 9, 5  # of dw, and of a window of dx, that are in registers at once
_MAX_OUTPUTS = 1 << 12  # of an image, over which dw is summed one by one: with more, float32 would be less accurate


def computes_adjoints(g: Geometry, *arrays: Array | None) -> bool:
    """Return whether `adjoints` computes them accurately."""
    return math.prod(g.out) <= _MAX_OUTPUTS and computes(g, *arrays)


def adjoints(x: Array, w: Array | None, dy: Array, argmax: Array | None, g: Geometry) -> tuple[Array, Array | None]:
    """Return dw and, with w, dx. With an ``argmax``, dy is that of 2x2 maxima."""
    lanes, in_channels, out_channels = LANES[x.dtype], x.shape[-1], dy.shape[-1]
    height, width = g.window
    count, whole = packing(out_channels, lanes), in_lanes(out_channels, lanes)
    run, extent = width * in_channels, (width + count - 1) * in_channels
    # each thread gets a group of images, which has sums of its own: they do not depend on which thread is faster
    work = len(x) * math.prod(g.out) * out_channels * height * run * TAP
    groups = min(len(x), threads.worth(work / 2 if w is None else work))
    padded = np.zeros((groups, *padded_shape(g, in_channels, count, lanes)), x.dtype)
    taps = _offsets(height, extent, 1, padded.shape[2], _TAPS)
    products = np.zeros((groups, len(taps), whole), x.dtype)
    vectors, weights = taps, np.empty((0, 0, lanes), x.dtype)  # dx is not computed
    dx: Array = np.empty((0, 0, 0, 0), x.dtype)
    if w is not None:
        per_row = -(-run // lanes)
        vectors = _offsets(height, per_row, lanes, padded.shape[2], _VECTORS)
        rows = np.zeros((height, per_row * lanes, out_channels), x.dtype)
        rows[:, :run] = w.reshape(height, run, out_channels)
        weights = np.zeros((len(vectors), out_channels, lanes), x.dtype)
        weights[: height * per_row] = rows.reshape(-1, lanes, out_channels).swapaxes(1, 2)
        dx = np.empty(x.shape, x.dtype)
    outputs = np.zeros((groups, g.out[0] + 1, (-(-g.out[1] // count) * count + 1) * out_channels + lanes), x.dtype)
    _adjoints(
        team(groups), np.ascontiguousarray(x), weights, np.ascontiguousarray(dy),
        NO_ARGMAX if argmax is None else np.ascontiguousarray(argmax), padded, outputs, taps, vectors,
        g.padding[0][0], g.padding[1][0], g.out[0], g.out[1], count, lanes, products, dx,
    )  # fmt: skip
    of_rows = products.sum(axis=0)[: height * extent].reshape(height, extent, whole)
    dw = shifted_copies(of_rows, in_channels, count, run, out_channels).sum(axis=0)
    return dw.reshape(*g.window, in_channels, out_channels), None if w is None else dx


@lru_cache(maxsize=256)
def _offsets(height: int, count: int, step: int, row: int, multiple: int) -> Array:
    """Return where the numbers of a window's rows start in an image, the last repeated to a multiple."""
    offsets = [h * row + i * step for h in range(height) for i in range(count)]
    return np.array(offsets + offsets[-1:] * (-len(offsets) % multiple), np.int64)


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
                        position = np.int64(argmax.flat[at + c])
                        p = start + (position >> 1) * line + (position & 1) * channels
                        outputs.flat[p + c] = dy.flat[at + c]
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


@in_parallel
def _group(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write dx of a group of images, and add to the group's dw."""
    x, w, dy, argmax, all_padded, all_outputs, taps, vectors, top, left, rows, columns, count, lanes, dws, dx = (
        arguments
    )
    groups, padded, outputs, dw = len(dws), all_padded[index], all_outputs[index], dws[index]
    in_channels, out_channels, row, line = x.shape[3], dy.shape[3], padded.shape[1], outputs.shape[1]
    whole, dpadded, zero = dw.shape[1], np.zeros(padded.size if len(w) > 0 else 0, x.dtype), x.dtype.type(0)
    for n in range(index * len(x) // groups, (index + 1) * len(x) // groups):
        pad(x, n, top, left, padded)
        _read_outputs(dy, argmax, n, rows, columns, lanes, outputs)
        for c in range(0, whole, lanes):
            for t in range(0, len(taps), _TAPS):
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
                    for t in range(0, len(vectors), _VECTORS):
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
                            t0, t1, t2 = vectors[t], vectors[t + 1], vectors[t + 2]
                            t3, t4 = vectors[t + 3], vectors[t + 4]
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


@routine(
    "void(i8[::1], R[:,:,:,::1], R[:,:,::1], R[:,:,:,::1], Array(uint8, 4, 'C', readonly=True), T[:,:,::1],"
    " T[:,:,::1], i8[::1], i8[::1], i8, i8, i8, i8, i8, i8, T[:,:,::1], T[:,:,:,::1])"
)
def _adjoints(
    team: Array, x: Array, w: Array, dy: Array, argmax: Array, padded: Array, outputs: Array, taps: Array,
    vectors: Array, top: int, left: int, rows: int, columns: int, count: int, lanes: int, dw: Array, dx: Array,
) -> None:  # fmt: skip
    arguments = x, w, dy, argmax, padded, outputs, taps, vectors, top, left, rows, columns, count, lanes, dw, dx
    _group(team, arguments, len(dw))
