"""Twins of `funcnn.kernels.conv.winograd`: a whole convolution, or adjoint, is one call.

A segment is some neighbouring tiles in a row of tiles, a chunk is some segments. The routines go from chunk to chunk,
whose 36 planes, each (tiles, channels), stay in the cache. `funcnn.kernels.compiled.conv.winograd_transforms` fills
them and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels import threads
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.conv.volumes import bias_or_zeros
from funcnn.kernels.compiled.conv.winograd_transforms import (
    input_planes,
    output_planes,
    outputs,
    transform_dweights,
    transform_weights,
)
from funcnn.kernels.compiled.panels import in_panels, multiply
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.kernels.compiled.vectors import LANES, lanes_of
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_TILES = 16  # of a segment: their transformed columns stay in the first cache
# Tiles times channels of a chunk, by the least number of channels: large weights do not stay in the cache, and are read
# anew for each chunk.
_CHUNKS = ((512, 1 << 15), (256, 1 << 14), (128, 7 << 10), (0, 1 << 12))
_FEWEST_TILES = 128  # for dw on several threads: with fewer, adding up their sums takes as long as is saved
_WORK = 1_000_000  # multiply-adds of a product: up to here OpenBLAS copies no factor, which pays ...
_FEWEST_ROWS = 48  # ... if it has so many rows
NO_ARGMAX = np.empty((0, 0, 0, 0), np.uint8)


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    if not computes(g, x, w, b):
        return NotImplemented
    return correlate_argmax(x, NO_ARGMAX, w, g, b, relu, g.out)[0]


def correlate_max(
    x: Array, w: Array, g: Geometry, return_argmax: bool, b: Array | None = None
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.correlate_max`."""
    if not computes(g, x, w, b) or 1 in g.out:
        return NotImplemented
    size = g.out[0] // 2, g.out[1] // 2
    y, argmax = correlate_argmax(x, NO_ARGMAX, w, g, b, False, size)
    return y, argmax if return_argmax else None


def prepare(
    x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.dispatch.prepare`."""
    if not computes(g, x, w, b):
        return NotImplemented
    weights = in_panels(transformed(w)[:, 0])
    return lambda x: correlate_argmax(x, NO_ARGMAX, w, g, b, relu, g.out, weights)[0]


def prepare_max(x: Array, w: Array, g: Geometry, b: Array | None = None) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.winograd.prepare_max`."""
    if not computes(g, x, w, b) or 1 in g.out:
        return NotImplemented
    weights, size = in_panels(transformed(w)[:, 0]), (g.out[0] // 2, g.out[1] // 2)
    return lambda x: correlate_argmax(x, NO_ARGMAX, w, g, b, False, size, weights)[0]


def transformed(w: Array) -> Array:
    """Return the transformed weights as one panel, (36, 1, I, O), I and O at least a vector's entries."""
    w = _at_least_a_vector(w, 2)
    weights = np.empty((36, 1, *w.shape[2:]), w.dtype)
    transform_weights(team(threads.worth_passes(weights.size)), w.reshape(-1), weights.reshape(-1))
    return weights


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    return adjoint_w(x, dy, NO_ARGMAX, g) if computes(g, x, dy) else NotImplemented


def computes(g: Geometry, x: Array, y: Array, b: Array | None = None) -> bool:
    """Return whether all arrays are of one dtype, and none is empty."""
    return same_floats(x, y, b) and x.size > 0 and y.size > 0 and 0 not in g.out


def correlate_argmax(
    x: Array,
    x_argmax: Array,
    w: Array,
    g: Geometry,
    b: Array | None,
    relu: bool,
    size: tuple[int, ...],
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """Return the convolution of ``size``; or if that is half, its maxima over 2x2 windows, and their positions.

    With an ``x_argmax``, x has one number for each 2x2 window of the input, with zeros at its other positions.
    ``weights`` are those of `transformed`, in any number of panels, computed if they are not given.
    """
    out_channels = w.shape[-1]
    if weights is None:
        weights = transformed(w)
    b = _at_least_a_vector(bias_or_zeros(b, out_channels, x.dtype))
    y = np.empty((len(x), *size, len(b)), x.dtype)
    argmax = NO_ARGMAX if size == g.out else np.empty(y.shape, np.uint8)
    low = x.dtype.type(0 if relu else -np.inf)
    x, x_argmax = _at_least_a_vector(x), _at_least_a_vector(x_argmax, lanes=LANES[x.dtype])
    with one_thread:
        parts = threads.worth(9 / 4 * len(x) * math.prod(g.out) * weights[0].size)
        plan = _plan(len(x), g, x, y, parts)
        _correlate(team(parts), GEMM[x.dtype], x, x_argmax, weights, b, low, *plan, parts, y, argmax)
    return np.ascontiguousarray(y[..., :out_channels]), np.ascontiguousarray(argmax[..., :out_channels])


def adjoint_w(x: Array, dy: Array, argmax: Array, g: Geometry) -> Array:
    """Return dw. With an ``argmax``, dy has one number for each 2x2 window, with zeros at its other positions."""
    in_channels, out_channels = x.shape[-1], dy.shape[-1]
    x, dy, argmax = _at_least_a_vector(x), _at_least_a_vector(dy), _at_least_a_vector(argmax, lanes=LANES[dy.dtype])
    # each thread gets a group of chunks, which has sums of its own: they do not depend on which thread is faster
    all_tiles = len(x) * math.prod(-(-o // 4) for o in g.out)
    work = 36 * all_tiles * x.shape[-1] * dy.shape[-1]
    groups = threads.worth(work) if all_tiles >= _FEWEST_TILES else 1
    dweights = np.zeros((groups, 36, x.shape[-1], dy.shape[-1]), x.dtype)
    dw = np.empty((3, 3, *dweights.shape[2:]), x.dtype)
    with one_thread:
        plan = _plan(len(x), g, x, dy, groups)
        _correlate_adjoint_w(team(groups), GEMM[x.dtype], x, dy, NO_ARGMAX, argmax, *plan, dweights)
        parts = threads.worth_passes(dweights.size)
        transform_dweights(team(parts), dweights.reshape(groups, -1), dw.reshape(-1))
    return np.ascontiguousarray(dw[:, :, :in_channels, :out_channels])


def _at_least_a_vector(a: Array, axes: int = 1, lanes: int = 0) -> Array:
    """Return a contiguous array whose last axes have as many entries as a vector, or more: zeros are appended."""
    missing = [max(0, (lanes or LANES[a.dtype]) - size) for size in a.shape[-axes:]]
    if not any(missing) or a.size == 0:
        return np.ascontiguousarray(a)
    padded = np.pad(a, [(0, 0)] * (a.ndim - axes) + [(0, count) for count in missing])
    return np.ascontiguousarray(padded)  # `pad` keeps an order of axes


def _plan(n: int, g: Geometry, x: Array, y: Array, parts: int) -> tuple[int, int, int, int, int, int, int]:
    """Return the padding before x, the images, rows of tiles, their segments, a segment's tiles, a chunk's segments.

    There are as many chunks as ``parts``, or more, if there are as many segments.
    """
    channels = max(x.shape[-1], y.shape[-1])
    rows, columns = (-(-o // 4) for o in g.out)
    segments = -(-columns // _TILES)
    tiles = -(-columns // segments)
    chunk = max(1, next(size for least, size in _CHUNKS if channels >= least) // (tiles * channels))
    return g.padding[0][0], g.padding[1][0], n, rows, segments, tiles, min(chunk, -(-n * rows * segments // parts))


@helper
def _new_planes(threads, tiles, channels, dtype):  # type: ignore[no-untyped-def]
    """Return memory for 36 planes (tiles, channels) of each thread, that begins with a cache line.

    There are some tiles more, so that the planes' distance is no multiple of 4,096 bytes: a processor takes a read for
    one of what was just written if the addresses are equal modulo that, and waits.
    """
    tiles += 160 // channels + 1
    size = threads * 36 * tiles * channels
    planes = np.empty(size + 16, dtype)
    start = -planes.ctypes.data % 64 // planes.itemsize
    return planes[start : start + size].reshape(threads, 36, tiles, channels)


@helper
def _new_memory(threads, tiles, chunk, in_channels, out_channels, x):  # type: ignore[no-untyped-def]
    """Return each thread's planes of inputs and of outputs for a chunk of segments, and a segment's columns."""
    return (
        _new_planes(threads, chunk * tiles, in_channels, x.dtype),
        _new_planes(threads, chunk * tiles, out_channels, x.dtype),
        _new_planes(threads, tiles + 1, lanes_of(x), x.dtype),
    )


_ARGMAX = "Array(uint8, 4, 'C', readonly=True)"
_PLAN = "intp, intp, intp, intp, intp, intp, intp"


@in_parallel
def _chunk(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write the outputs of a chunk."""
    address, x, x_argmax, weights, b, low, above, before, segments, rows, parts, tiles, chunk, memory, y, y_argmax = (
        arguments
    )
    planes, products, columns = memory[0][thread], memory[1][thread], memory[2][thread]
    first = index * chunk
    last = min(first + chunk, segments)
    _, panels, in_channels, out_channels = weights.shape
    few = _WORK // (in_channels * out_channels)
    # panels have products of their own
    rows_at_once = few if panels == 1 and few >= _FEWEST_ROWS else chunk * tiles
    for s in range(first, last):
        n, top, left = s // (rows * parts), 4 * (s // parts % rows) - above, 4 * (s % parts) * tiles - before
        input_planes(x, x_argmax, n, top, left, tiles, columns, planes, (s - first) * tiles)
    total = (last - first) * tiles
    for k in range(36):
        for i in range(0, total, rows_at_once):
            part = slice(i, min(i + rows_at_once, total))
            multiply(address, planes[k, part], weights[k], 0, panels * out_channels, products[k, part])
    for s in range(first, last):
        n, top, left = s // (rows * parts), 4 * (s // parts % rows), 4 * (s % parts) * tiles
        outputs(products, (s - first) * tiles, tiles, b, low, n, top, left, y, y_argmax)


@routine(
    f"void(i8[::1], intp, R[:,:,:,::1], {_ARGMAX}, T[:,:,:,::1], R[::1], T, {_PLAN}, intp, T[:,:,:,::1], u1[:,:,:,::1])"
)
def _correlate(
    team: Array, address: int, x: Array, x_argmax: Array, weights: Array, b: Array, low: Any, above: int, before: int,
    count: int, rows: int, parts: int, tiles: int, chunk: int, threads: int, y: Array, y_argmax: Array,
) -> None:  # fmt: skip
    _, panels, in_channels, columns = weights.shape
    segments = count * rows * parts
    memory = _new_memory(threads, tiles, chunk, in_channels, panels * columns, x)
    arguments = (
        address, x, x_argmax, weights, b, low, above, before, segments, rows, parts, tiles, chunk, memory, y, y_argmax,
    )  # fmt: skip
    _chunk(team, arguments, (segments + chunk - 1) // chunk)


@in_parallel
def _group_of_chunks(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Add to the group's sums."""
    address, x, dy, x_argmax, argmax, above, before, segments, rows, parts, tiles, chunk, memory, all_dweights = (
        arguments
    )
    planes, dproducts, columns, dweights = memory[0][index], memory[1][index], memory[2][index], all_dweights[index]
    chunks, groups = (segments + chunk - 1) // chunk, len(all_dweights)
    for k in range(index * chunks // groups, (index + 1) * chunks // groups):
        first, last = k * chunk, min((k + 1) * chunk, segments)
        for s in range(first, last):
            n, top, left = s // (rows * parts), 4 * (s // parts % rows), 4 * (s % parts) * tiles
            at = (s - first) * tiles
            input_planes(x, x_argmax, n, top - above, left - before, tiles, columns, planes, at)
            output_planes(dy, argmax, n, top, left, tiles, columns, dproducts, at)
        total = (last - first) * tiles
        for plane in range(36):
            gemm(address, planes[plane, :total], True, dproducts[plane, :total], False, 1, dweights[plane])


@routine(f"void(i8[::1], intp, R[:,:,:,::1], R[:,:,:,::1], {_ARGMAX}, {_ARGMAX}, {_PLAN}, T[:,:,:,::1])")
def _correlate_adjoint_w(
    team: Array, address: int, x: Array, dy: Array, x_argmax: Array, argmax: Array, above: int, before: int, count: int,
    rows: int, parts: int, tiles: int, chunk: int, dweights: Array,
) -> None:  # fmt: skip
    groups, _, in_channels, out_channels = dweights.shape
    memory = _new_memory(groups, tiles, chunk, in_channels, out_channels, x)
    segments = count * rows * parts
    arguments = (
        address, x, dy, x_argmax, argmax, above, before, segments, rows, parts, tiles, chunk, memory, dweights,
    )  # fmt: skip
    _group_of_chunks(team, arguments, groups)
