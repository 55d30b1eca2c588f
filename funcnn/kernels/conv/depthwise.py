"""Depthwise cross-correlation: for each tap, multiply the positions it reads elementwise and add the result.

There is no sum over channels, so no matrix product. NumPy's elementwise loops are fast only along long rows, so the
last spatial axis and the channels are merged into one axis, along which the weights are repeated. With a stride on that
axis, its positions are first split into phases (positions modulo the stride), so that each tap reads a contiguous run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from funcnn.kernels.bias import ones
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.windows import pad
from funcnn.tree import Array

# Bytes of a chunk's images, the larger of x and y: larger chunks make fewer NumPy calls, smaller ones stay in the
# cache. ``scripts/bench --methods`` measures it again.
_CHUNK_BYTES = 1 << 17


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    out_channels = w.shape[-1]
    y = np.empty((len(x), *g.out, out_channels), np.result_type(x, w))
    rows = y.reshape(*y.shape[:-2], g.out[-1] * out_channels)
    weights = np.tile(w.reshape(-1, out_channels).astype(y.dtype, copy=False), (1, g.out[-1]))
    for chunk in _chunks(x, y):
        total = rows[chunk]
        term = np.empty_like(total)
        for i, positions in enumerate(_taps(x[chunk], g, out_channels)):
            if i == 0:
                np.multiply(positions, weights[i], out=total)
            else:
                np.multiply(positions, weights[i], out=term)
                total += term
    return y


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    out_channels = dy.shape[-1]
    dtype = np.result_type(x, dy)
    dw = np.zeros((math.prod(g.window), g.out[-1] * out_channels), dtype)
    rows = dy.reshape(*dy.shape[:-2], g.out[-1] * out_channels)
    for chunk in _chunks(x, dy):
        terms = np.empty(rows[chunk].shape, dtype)
        flat = terms.reshape(-1, terms.shape[-1])
        for i, positions in enumerate(_taps(x[chunk], g, out_channels)):
            np.multiply(positions, rows[chunk], out=terms)
            dw[i] += ones(len(flat), dtype).dot(flat)
    return dw.reshape(len(dw), g.out[-1], out_channels).sum(axis=1).reshape(*g.window, 1, out_channels)


def _chunks(x: Array, y: Array) -> Iterator[slice]:
    image_bytes = max(x[:1].nbytes, y[:1].nbytes)
    step = max(1, _CHUNK_BYTES // max(1, image_bytes))
    for start in range(0, len(x), step):
        yield slice(start, min(len(x), start + step))


def _taps(x: Array, g: Geometry, out_channels: int) -> Iterator[Array]:
    """Yield for each tap the positions it reads, (n, out[:-1]..., out[-1] * O)."""
    x = pad(x, g.padding)
    if out_channels > x.shape[-1]:
        x = np.repeat(x, out_channels // x.shape[-1], axis=-1)  # one copy of a channel for each of its filters
    step = g.stride[-1]
    phases = [x[..., r::step, :] for r in range(step)] if step > 1 else [x]
    phases = [phase.reshape(*phase.shape[:-2], -1) for phase in phases]
    for *tap, last in product(*map(range, g.window)):
        lines = tuple(
            slice(k * d, k * d + t * (o - 1) + 1, t)
            for k, d, t, o in zip(tap, g.dilation, g.stride, g.out, strict=False)
        )
        start, r = divmod(last * g.dilation[-1], step)
        yield phases[r][:, *lines, start * out_channels : (start + g.out[-1]) * out_channels]
