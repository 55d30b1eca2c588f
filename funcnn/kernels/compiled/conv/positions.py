"""Convolution of many tiny images, without copying windows, for `im2col`: a product for each output and row of taps.

The numbers that an output reads with the taps of a row are neighbours in an image, so those of all images are a matrix,
whose rows are far apart. Taps that read padding, which is much of a tiny image's windows, are left out.
"""

from __future__ import annotations

import math

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.conv.volumes import tap_ranges, volume_geometry
from funcnn.kernels.compiled.routines import routine
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
    out = np.array((1,) * (3 - len(g.out)) + g.out)
    rows = math.prod(g.window[:-1])
    with one_thread:
        _correlate(
            GEMM[x.dtype], np.ascontiguousarray(x).reshape(len(x), -1), w.reshape(rows, -1, w.shape[-1]),
            y.reshape(len(y), -1), volume_geometry(g), tap_ranges(g), out, x.shape[-1], _IMAGES, relu, adjoint,
        )  # fmt: skip


@routine("void(intp, R[:,::1], T[:,:,::1], T[:,::1], i8[:,::1], i8[:,::1], i8[::1], i8, i8, b1, b1)")
def _correlate(
    address: int, x: Array, w: Array, y: Array, g: Array, ranges: Array, out: Array, channels: int, images: int,
    relu: bool, adjoint: bool,
) -> None:  # fmt: skip
    """Add to the outputs y; or if ``adjoint``, add to w."""
    zero, out_channels = x.dtype.type(0), w.shape[2]
    for first in range(0, len(x), images):
        inputs, outputs = x[first : first + images], y[first : first + images]
        o = 0
        for od in range(out[0]):
            for oh in range(out[0], out[0] + out[1]):
                for ow in range(out[0] + out[1], out[0] + out[1] + out[2]):
                    of_output, begin, end = outputs[:, o : o + out_channels], ranges[ow, 1], ranges[ow, 2]
                    o += out_channels
                    for kd in range(ranges[od, 1], ranges[od, 2]):
                        for kh in range(ranges[oh, 1], ranges[oh, 2]):
                            line = (ranges[od, 0] + kd * g[0, 4]) * g[1, 0] + ranges[oh, 0] + kh * g[1, 4]
                            start = (line * g[2, 0] + ranges[ow, 0] + begin) * channels
                            numbers = inputs[:, start : start + (end - begin) * channels]
                            weights = w[kd * g[1, 1] + kh, begin * channels : end * channels]
                            if begin < end and adjoint:
                                gemm(address, numbers, True, of_output, False, 1, weights)
                            elif begin < end:
                                gemm(address, numbers, False, weights, False, 1, of_output)
        if relu:
            for n in range(len(outputs)):
                for i in range(outputs.shape[1]):
                    outputs[n, i] = zero if outputs[n, i] <= 0 else outputs[n, i]
