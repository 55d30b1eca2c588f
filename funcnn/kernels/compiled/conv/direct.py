"""Convolution of images with few channels by its definition, image by image, for `row_blocks` and `conv_pool`.

An image is padded once. Then a vector of outputs stays in a register over all taps: of 16 channels, or of fewer
channels of several neighbouring outputs, whose weights are shifted copies with zeros between them. Outputs are computed
in tiles, two rows of four vectors; for 2x2 maxima these are two vectors of windows. The adjoints are in
`funcnn.kernels.compiled.conv.direct_adjoints`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.kernels.compiled.vectors import LANES, add_product, load, maximum, splat, store
from funcnn.kernels.compiled.vectors import argmax as vector_argmax
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

TAP = 4  # multiply-adds of a matrix product that take as long as one here
_BLOCKS = 8  # of images, for each thread
NO_ARGMAX = np.empty((0, 0, 0, 0), np.uint8)


def computes(g: Geometry, *arrays: Array | None) -> bool:
    """Return whether all arrays are of one dtype and not empty, and a 2-D geometry has no stride and no dilation."""
    plain = len(g.size) == 2 and g.stride == g.dilation == (1, 1) and min(map(min, g.padding)) >= 0
    return plain and same_floats(*arrays) and all(a is None or a.size > 0 for a in arrays)


def correlate(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    return prepare(x, w, g, b, relu, pooled=False)(x)[0]


def correlate_max(x: Array, w: Array, g: Geometry, b: Array | None) -> tuple[Array, Array]:
    """Return y's maxima over 2x2 windows, and their positions."""
    return prepare(x, w, g, b, relu=False, pooled=True)(x)


def prepare(
    x: Array, w: Array, g: Geometry, b: Array | None, relu: bool, pooled: bool
) -> Callable[[Array], tuple[Array, Array]]:
    """Return what computes y, or if ``pooled`` its maxima and their positions, for any array of x's shape and dtype."""
    lanes, (in_channels, out_channels) = LANES[x.dtype], w.shape[-2:]
    count, whole, step = packing(out_channels, lanes), in_lanes(out_channels, lanes), 2 if pooled else 1
    run = g.window[1] * in_channels
    weights = np.zeros((g.window[0], run + (count - 1) * step * in_channels, whole), x.dtype)
    bias = np.zeros(whole, x.dtype)
    shifted_copies(weights, step * in_channels, count, run, out_channels)[...] = w.reshape(-1, run, out_channels)
    if b is not None:
        bias[: count * out_channels].reshape(count, out_channels)[...] = b
    padded_image, work = padded_shape(g, in_channels, count, lanes), TAP * len(x) * math.prod(g.out) * w.size
    y_shape = (len(x), *(o // step for o in g.out), out_channels)

    def correlate_images(x: Array) -> tuple[Array, Array]:
        parts, y = threads.worth(work), np.empty(y_shape, x.dtype)
        argmax = np.empty(y_shape, np.uint8) if pooled else NO_ARGMAX
        padded = np.zeros((parts, *padded_image), x.dtype)
        images = -(-len(x) // (parts * _BLOCKS)) if parts > 1 else len(x)
        _correlate(
            team(parts), np.ascontiguousarray(x), weights, bias, relu, padded, g.padding[0][0], g.padding[1][0],
            g.out[0], g.out[1], count, lanes, images, y, argmax,
        )  # fmt: skip
        return y, argmax

    return correlate_images


def shifted_copies(weights: Array, shift: int, count: int, run: int, out_channels: int) -> Array:
    """Return a view (count, H, run, O) of the copies of w that are in (H, run + (count - 1) shift, lanes).

    Each is further along the row than the one before by ``shift``, and in the lanes of the next output.
    """
    _, row, lane = weights.strides
    strides = (shift * row + out_channels * lane, *weights.strides)
    return np.ndarray((count, len(weights), run, out_channels), weights.dtype, weights, strides=strides)


def packing(out_channels: int, lanes: int) -> int:
    """Return how many outputs are in a vector."""
    return max(1, lanes // out_channels)


def in_lanes(out_channels: int, lanes: int) -> int:
    return -(-out_channels // lanes) * lanes


def padded_shape(g: Geometry, in_channels: int, count: int, lanes: int) -> tuple[int, int]:
    """Return the shape of a padded image that tiles beyond its edges and whole vectors can be read from."""
    tile = 2, 4 * count
    rows, columns = (
        max(-(-o // t) * t + k - 1, lo + s)
        for o, t, k, s, (lo, _) in zip(g.out, tile, g.window, g.size, g.padding, strict=True)
    )
    return rows + 1 + lanes // (columns * in_channels), columns * in_channels


@helper
def pad(x, n, top, left, padded):  # type: ignore[no-untyped-def]
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


@in_parallel
def _block(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write the outputs, or their maxima, of some images."""
    x, w, b, relu, memory, top, left, rows, columns, count, lanes, images, y, argmax = arguments
    in_channels, out_channels, row = x.shape[3], y.shape[3], memory.shape[2]
    low, whole, pooled = x.dtype.type(0 if relu else -np.inf), w.shape[2], argmax.size > 0
    padded, outputs = memory[thread], np.empty((8, whole), x.dtype)
    zero, one = splat(x.dtype.type(0)), splat(x.dtype.type(1))
    two, three = splat(x.dtype.type(2)), splat(x.dtype.type(3))
    # where the four vectors of a row start: windows of maxima alternate between two vectors
    if pooled:
        rows, columns = rows // 2 * 2, columns // 2 * 2
        second, third, fourth = in_channels, 2 * count * in_channels, (2 * count + 1) * in_channels
    else:
        second, third, fourth = count * in_channels, 2 * count * in_channels, 3 * count * in_channels
    size = count * out_channels  # numbers of a vector, or of the vectors of an output
    for n in range(index * images, min((index + 1) * images, len(x))):
        pad(x, n, top, left, padded)
        for oh in range(0, rows, 2):
            for ow in range(0, columns, 4 * count):
                for c in range(0, whole, lanes):
                    p = oh * row + ow * in_channels
                    y0, y1, y2, y3, z0, z1, z2, z3 = _tile(w, b, c, padded, p, row, second, third, fourth)
                    if pooled:
                        k0, k1 = vector_argmax(y0, y1, zero, one), vector_argmax(y2, y3, zero, one)
                        y0, y2 = maximum(y0, y1), maximum(y2, y3)
                        k0, k1 = vector_argmax(y0, z0, k0, two), vector_argmax(y2, z2, k1, two)
                        y0, y2 = maximum(y0, z0), maximum(y2, z2)
                        store(outputs, 2 * whole + c, vector_argmax(y0, z1, k0, three))
                        store(outputs, 3 * whole + c, vector_argmax(y2, z3, k1, three))
                        store(outputs, c, maximum(y0, z1))
                        store(outputs, whole + c, maximum(y2, z3))
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
                            value = outputs[j, i]
                            y.flat[line + start + i] = low if value < low else value
                            argmax.flat[line + start + i] = np.uint8(np.int32(outputs[2 + j, i]))
                else:
                    for k in range(4 * min(2, rows - oh)):
                        line = (n * rows + oh + k // 4) * columns * out_channels
                        start = (ow + k % 4 * count) * out_channels
                        for i in range(min(size, columns * out_channels - start)):
                            value = outputs[k, i]
                            y.flat[line + start + i] = low if value < low else value


@routine(
    "void(i8[::1], R[:,:,:,::1], R[:,:,::1], R[::1], b1, T[:,:,::1], i8, i8, i8, i8, i8, i8, i8, T[:,:,:,::1],"
    " u1[:,:,:,::1])"
)
def _correlate(
    team: Array, x: Array, w: Array, b: Array, relu: bool, padded: Array, top: int, left: int, rows: int, columns: int,
    count: int, lanes: int, images: int, y: Array, argmax: Array,
) -> None:  # fmt: skip
    arguments = x, w, b, relu, padded, top, left, rows, columns, count, lanes, images, y, argmax
    _block(team, arguments, (len(x) + images - 1) // images)
