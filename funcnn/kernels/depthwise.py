"""Cross-correlation channel by channel: each tap multiplies the cells it reads and is added up elementwise.

There is no sum over channels, so no matrix product. NumPy is quick with long rows alone: the last spatial axis and the
channels are taken as one axis, along which the weights are repeated. With a stride on that axis, its cells are sorted
by their remainder first, so that what a tap reads is one run again.
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

_PIECE_BYTES = 1 << 17


def correlate(x: Array, w: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate`."""
    outer = w.shape[-1]
    y = np.empty((len(x), *g.out, outer), np.result_type(x, w))
    rows = y.reshape(*y.shape[:-2], g.out[-1] * outer)
    weights = np.tile(w.reshape(-1, outer).astype(y.dtype, copy=False), (1, g.out[-1]))
    for piece in _pieces(x, y):
        total = rows[piece]
        term = np.empty_like(total)
        for i, cells in enumerate(_taps(x[piece], g, outer)):
            if i == 0:
                np.multiply(cells, weights[i], out=total)
            else:
                np.multiply(cells, weights[i], out=term)
                total += term
    return y


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.convolution.correlate_adjoint_w`."""
    outer = dy.shape[-1]
    dtype = np.result_type(x, dy)
    dw = np.zeros((math.prod(g.window), g.out[-1] * outer), dtype)
    rows = dy.reshape(*dy.shape[:-2], g.out[-1] * outer)
    for piece in _pieces(x, dy):
        terms = np.empty(rows[piece].shape, dtype)
        flat = terms.reshape(-1, terms.shape[-1])
        for i, cells in enumerate(_taps(x[piece], g, outer)):
            np.multiply(cells, rows[piece], out=terms)
            dw[i] += ones(len(flat), dtype).dot(flat)
    return dw.reshape(len(dw), g.out[-1], outer).sum(axis=1).reshape(*g.window, 1, outer)


def _pieces(x: Array, y: Array) -> Iterator[slice]:
    image_bytes = max(x[:1].nbytes, y[:1].nbytes)
    step = max(1, _PIECE_BYTES // max(1, image_bytes))
    for start in range(0, len(x), step):
        yield slice(start, min(len(x), start + step))


def _taps(x: Array, g: Geometry, outer: int) -> Iterator[Array]:
    """Yield for each tap the cells it reads, (n, out... without the last, last out * O)."""
    x = pad(x, g.padding)
    if outer > x.shape[-1]:
        x = np.repeat(x, outer // x.shape[-1], axis=-1)  # a cell for each of its filters
    step = g.stride[-1]
    phases = [x[..., r::step, :] for r in range(step)] if step > 1 else [x]
    phases = [phase.reshape(*phase.shape[:-2], -1) for phase in phases]
    for *tap, last in product(*map(range, g.window)):
        lines = tuple(
            slice(k * d, k * d + t * (o - 1) + 1, t)
            for k, d, t, o in zip(tap, g.dilation, g.stride, g.out, strict=False)
        )
        at, r = divmod(last * g.dilation[-1], step)
        yield phases[r][:, *lines, at * outer : (at + g.out[-1]) * outer]
