"""Convolution of many tiny images, without copying windows, for `im2col`: a product for each output and row of taps.

The numbers that an output reads with the taps of a row are neighbours in an image, so those of all images are a matrix,
whose rows are far apart. Taps that read padding, which is much of a tiny image's windows, are left out.
"""

from __future__ import annotations

import math

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels import threads
from funcnn.kernels.compiled.blas import GEMM
from funcnn.kernels.compiled.conv.volumes import tap_ranges, volume_geometry, volume_out
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import helper, routine
from funcnn.kernels.compiled.tiles import multiply
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

_MAX_OUTPUTS = 16  # of an image: with more, few taps read padding, and longer products are faster
_MIN_IMAGES = 32  # rows of a product: with fewer it is slow
_IMAGES = 64  # that a product takes at once


def gains(g: Geometry, n: int) -> bool:
    """Return whether images are tiny, and enough of them."""
    return n >= _MIN_IMAGES and math.prod(g.out) <= _MAX_OUTPUTS and g.dilation[-1] == 1


def correlate(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool, y: Array) -> None:
    """Write the outputs to y."""
    y[...] = 0 if b is None else b
    _call(x, w, y, g, relu, adjoint=False)


def correlate_adjoint_w(x: Array, dw: Array, g: Geometry, dy: Array) -> None:
    """Add the adjoint to dw."""
    _call(x, dw, dy, g, False, adjoint=True)


def _call(x: Array, w: Array, y: Array, g: Geometry, relu: bool, *, adjoint: bool) -> None:
    rows = math.prod(g.window[:-1])
    # half of the work: much of a window is padding, and each thread reads all weights, or all inputs
    parts = threads.worth(y.size * math.prod(w.shape[:-1]) / 2)
    with one_thread:
        _correlate(
            team(parts), GEMM[x.dtype], np.ascontiguousarray(x).reshape(len(x), -1), w.reshape(rows, -1, w.shape[-1]),
            y.reshape(len(y), -1), volume_geometry(g), tap_ranges(g), volume_out(g), x.shape[-1], _IMAGES, parts, relu,
            adjoint,
        )  # fmt: skip


@helper
def _add_products(arguments, images, outputs, rows, part, adjoint):  # type: ignore[no-untyped-def]
    """Add to some outputs y what some rows of taps contribute; or if ``adjoint``, to a part of the columns of w's rows.

    The part is a fraction: its number, and how many parts there are.
    """
    address, x, w, y, g, ranges, out, channels = arguments
    out_channels, width = w.shape[2], w.shape[1]
    inputs, of_images = x[images[0] : images[1]], y[images[0] : images[1]]
    left, right = part[0] * width // part[1], (part[0] + 1) * width // part[1]
    for o in range(outputs[0], outputs[1]):
        od, oh, ow = o // (out[1] * out[2]), out[0] + o // out[2] % out[1], out[0] + out[1] + o % out[2]
        of_output = of_images[:, o * out_channels : (o + 1) * out_channels]
        begin, end = max(ranges[ow, 1] * channels, left), min(ranges[ow, 2] * channels, right)
        for row in range(rows[0], rows[1]):
            kd, kh = row // g[1, 1], row % g[1, 1]
            if begin < end and ranges[od, 1] <= kd < ranges[od, 2] and ranges[oh, 1] <= kh < ranges[oh, 2]:
                line = (ranges[od, 0] + kd * g[0, 4]) * g[1, 0] + ranges[oh, 0] + kh * g[1, 4]
                start = (line * g[2, 0] + ranges[ow, 0]) * channels
                numbers, weights = inputs[:, start + begin : start + end], w[row, begin:end]
                if adjoint:
                    multiply(address, numbers, True, of_output, False, True, weights)
                else:
                    multiply(address, numbers, False, weights, False, True, of_output)


@in_parallel
def _output(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Write one output of some images."""
    products, images, relu = arguments
    _, x, w, y, _, _, out, _ = products
    zero, o = x.dtype.type(0), index % out.prod()
    first = index // out.prod() * images
    last = min(first + images, len(x))
    _add_products(products, (first, last), (o, o + 1), (0, len(w)), (0, 1), False)
    if relu:
        for n in range(first, last):
            for i in range(o * w.shape[2], (o + 1) * w.shape[2]):
                y[n, i] = zero if y[n, i] <= 0 else y[n, i]


@in_parallel
def _weights(arguments, thread, index):  # type: ignore[no-untyped-def]
    """Add to a part of the weights of a row of taps."""
    products, images, parts = arguments
    _, x, _, _, _, _, out, _ = products
    row = index // parts
    for first in range(0, len(x), images):
        last = min(first + images, len(x))
        _add_products(products, (first, last), (0, out.prod()), (row, row + 1), (index % parts, parts), True)


@routine("void(i8[::1], intp, R[:,::1], T[:,:,::1], T[:,::1], i8[:,::1], i8[:,::1], i8[::1], i8, i8, i8, b1, b1)")
def _correlate(
    team: Array, address: int, x: Array, w: Array, y: Array, g: Array, ranges: Array, out: Array, channels: int,
    images: int, parts: int, relu: bool, adjoint: bool,
) -> None:  # fmt: skip
    """Add to the outputs y; or if ``adjoint``, add to w."""
    products = (address, x, w, y, g, ranges, out, channels)
    if adjoint:
        _weights(team, (products, images, parts), len(w) * parts)
    else:
        _output(team, (products, images, relu), (len(x) + images - 1) // images * out.prod())
