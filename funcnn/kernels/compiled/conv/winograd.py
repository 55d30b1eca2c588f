"""Twins of `funcnn.kernels.conv.winograd`: a whole convolution, or adjoint, is one call.

A segment is some neighbouring tiles in a row of tiles, a chunk is some segments. The routines go from chunk to chunk,
whose 36 planes, each (tiles, channels), stay in the cache. `funcnn.kernels.compiled.conv.winograd_transforms` fills
them and reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.conv.volumes import bias_or_zeros
from funcnn.kernels.compiled.conv.winograd_transforms import (
    BLOCK,
    MAX_CHANNELS,
    PLANE,
    ROW,
    at_rows,
    input_planes,
    max_rows,
    output_planes,
    plane,
    transform_dweights,
    transform_weights,
    u,
)
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_LINE = 1 << 13  # positions times channels of a line: longer rows of tiles are split into several segments
# Tiles times channels of a chunk, by the least number of channels: large weights do not stay in the cache, and are read
# anew for each chunk.
_CHUNKS = ((256, 1 << 14), (128, 1 << 13), (0, 1 << 12))
_WORK = 1_000_000  # multiply-adds of a product: up to here OpenBLAS copies no factor
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
    return same_floats(x, y, b) and x.size > 0 and y.size > 0 and 0 not in g.out and max(channels) <= MAX_CHANNELS


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
        transform_weights(np.ascontiguousarray(w).reshape(-1), weights.reshape(36, -1))
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
        transform_dweights(dweights.reshape(-1), dw.reshape(9, -1))
    return dw


def _plan(n: int, g: Geometry, x: Array, y: Array) -> tuple[int, int, int, int, int, int, int]:
    """Return the padding before x, the images, rows of tiles, their segments, a segment's tiles, a chunk's segments."""
    channels = max(x.shape[-1], y.shape[-1])
    rows, columns = (-(-o // 4) for o in g.out)
    parts = -(-columns // max(1, _LINE // (4 * channels) - 1))
    tiles = -(-columns // parts)
    chunk = max(1, next(size for least, size in _CHUNKS if channels >= least) // (tiles * channels))
    return g.padding[0][0], g.padding[1][0], n, rows, parts, tiles, min(chunk, n * rows * parts)


_ARGMAX = "Array(uint8, 4, 'C', readonly=True)"
_PLAN = "intp, intp, intp, intp, intp, intp, intp"


@routine(f"void(intp, R[:,:,:,::1], {_ARGMAX}, T[:,:,::1], R[::1], T, {_PLAN}, T[:,:,:,::1], u1[:,:,:,::1])")
def _correlate(
    address: int, x: Array, x_argmax: Array, weights: Array, b: Array, low: Any, above: int, before: int, count: int,
    rows: int, parts: int, tiles: int, chunk: int, y: Array, y_argmax: Array,
) -> None:  # fmt: skip
    _, in_channels, out_channels = weights.shape
    dtype, count = x.dtype, count * rows * parts
    lines, planes = np.empty(12 * PLANE, dtype), np.empty(36 * PLANE, dtype)
    products, half, outputs = np.empty(36 * PLANE, dtype), np.empty(24 * ROW, dtype), np.empty(16 * ROW, dtype)
    maxima, argmax = np.empty(4 * ROW, dtype), np.empty(4 * ROW, np.uint8)
    side = 2 if y_argmax.size > 0 else 4  # outputs of a tile
    block, rows_at_once = max(1, BLOCK // out_channels), max(1, _WORK // (in_channels * out_channels))
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        for s in range(first, last):
            row, left, at = s // parts % rows, 4 * (s % parts) * tiles - before, (s - first) * tiles * in_channels
            follows = parts == 1 and row > 0
            input_planes(x, x_argmax, s // (rows * parts), row, above, left, tiles, follows, lines, planes, at)
        total = (last - first) * tiles
        for k in range(36):
            v, m = plane(planes, k, total, in_channels), plane(products, k, total, out_channels)
            for i in range(0, total, rows_at_once):
                gemm(address, v[i : i + rows_at_once], False, weights[k], False, 0, m[i : i + rows_at_once])
        for start in range(0, total, block):
            stop = min(start + block, total)
            size = (stop - start) * out_channels
            for k in range(6):
                at_rows(size, products, k * PLANE + start * out_channels, 6 * PLANE, half, 4 * k * ROW)
            for p in range(4):
                at_rows(size, half, p * ROW, 4 * ROW, outputs, 4 * p * ROW)
            if side == 2:
                for k in range(4):
                    max_rows(size, outputs, (k // 2 * 8 + k % 2 * 2) * ROW, maxima, argmax, k * ROW)
            z = maxima if side == 2 else outputs
            for t in range(start, stop):
                s = first + t // tiles
                n, top, left = s // (rows * parts), side * (s // parts % rows), side * (s % parts * tiles + t % tiles)
                for h in range(top, min(top + side, y.shape[1])):
                    for w in range(left, min(left + side, y.shape[2])):
                        at = (side * (h - top) + w - left) * ROW + (t - start) * out_channels
                        for c in range(out_channels):
                            value = z[u(at + c)] + b[c]
                            y[n, h, w, c] = low if value < low else value
                        if side == 2:
                            for c in range(out_channels):
                                y_argmax[n, h, w, c] = argmax[u(at + c)]


@routine(f"void(intp, R[:,:,:,::1], R[:,:,:,::1], {_ARGMAX}, {_ARGMAX}, {_PLAN}, T[:,:,::1])")
def _correlate_adjoint_w(
    address: int, x: Array, dy: Array, x_argmax: Array, argmax: Array, above: int, before: int, count: int,
    rows: int, parts: int, tiles: int, chunk: int, dweights: Array,
) -> None:  # fmt: skip
    _, in_channels, out_channels = dweights.shape
    dtype, count = x.dtype, count * rows * parts
    lines, planes = np.empty(12 * PLANE, dtype), np.empty(36 * PLANE, dtype)
    dlines, dproducts = np.empty(12 * PLANE, dtype), np.empty(36 * PLANE, dtype)
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        for s in range(first, last):
            n, row, left, at = s // (rows * parts), s // parts % rows, 4 * (s % parts) * tiles, (s - first) * tiles
            follows = parts == 1 and row > 0
            input_planes(x, x_argmax, n, row, above, left - before, tiles, follows, lines, planes, at * in_channels)
            output_planes(dy, argmax, n, 4 * row, left, tiles, dlines, dproducts, at * out_channels)
        total = (last - first) * tiles
        for k in range(36):
            v, m = plane(planes, k, total, in_channels), plane(dproducts, k, total, out_channels)
            gemm(address, v, True, m, False, 1, dweights[k])
