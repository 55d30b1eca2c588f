"""Depthwise cross-correlation: each position is multiplied elementwise by each tap's weights, and the terms are added.

There is no sum over channels, so no matrix product. `numpy.einsum` adds the product of two rows to a third in one pass.
Its rows hold several neighbouring positions of the last spatial axis with their channels, and the weights are repeated
to match: short rows make slow loops, and of long ones x, w and y do not stay in the fastest cache. With a stride on
that axis, its positions are first split into phases (positions modulo the stride), so that each tap reads a contiguous
run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from funcnn.kernels.bias import add_bias
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.selection import compilable
from funcnn.kernels.windows import pad
from funcnn.tree import Array

# ``scripts/bench --methods`` measures both again.
_CHUNK_BYTES = 1 << 17  # of a chunk, the larger of x and y: larger chunks make fewer calls, but leave the cache
_ROW = 1 << 11  # numbers of a row, unless a single position has more


@compilable
def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    out_channels, positions = w.shape[-1], _positions(g.out[-1], w.shape[-1])
    y = np.empty((len(x), *g.out, out_channels), np.result_type(x, w))
    weights = np.tile(w.reshape(*g.window, out_channels).astype(y.dtype, copy=False), positions)
    rows = y.reshape(*y.shape[:-2], g.out[-1] // positions, positions * out_channels)
    n_out, window, row = _axes(g)
    for chunk in _chunks(x, y):
        for first, period, taps in _taps(x[chunk], g, out_channels, positions):
            operands = taps, [*n_out, *window, row], weights[..., first::period, :], [*window, row], [*n_out, row]
            if first == 0:
                np.einsum(*operands, out=rows[chunk])
            else:
                rows[chunk] += np.einsum(*operands)
    return add_bias(y, b, relu)


@compilable
def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    out_channels, positions = dy.shape[-1], _positions(g.out[-1], dy.shape[-1])
    dw = np.zeros((*g.window, positions * out_channels), np.result_type(x, dy))
    rows = dy.reshape(*dy.shape[:-2], g.out[-1] // positions, positions * out_channels)
    n_out, window, row = _axes(g)
    for chunk in _chunks(x, dy):
        for first, period, taps in _taps(x[chunk], g, out_channels, positions):
            operands = taps, [*n_out, *window, row], rows[chunk], [*n_out, row], [*window, row]
            dw[..., first::period, :] += np.einsum(*operands)
    return dw.reshape(*g.window, positions, out_channels).sum(axis=-2).reshape(*g.window, 1, out_channels)


def _chunks(x: Array, y: Array) -> Iterator[slice]:
    image_bytes = max(x[:1].nbytes, y[:1].nbytes)
    step = max(1, _CHUNK_BYTES // max(1, image_bytes))
    for start in range(0, len(x), step):
        yield slice(start, min(len(x), start + step))


def _positions(width: int, channels: int) -> int:
    """Return the number of positions of a row: the largest divisor of the width for which it is short enough."""
    most = max(1, min(width, _ROW // max(channels, 1)))
    return next(p for p in range(most, 0, -1) if width % p == 0)


def _axes(g: Geometry) -> tuple[range, range, int]:
    """Number the axes for `numpy.einsum`: those of images and rows of outputs, of taps, and of a row's numbers."""
    rank = len(g.out)
    return range(rank + 1), range(rank + 1, 2 * rank + 1), 2 * rank + 1


def _taps(x: Array, g: Geometry, out_channels: int, positions: int) -> Iterator[tuple[int, int, Array]]:
    """Yield for each phase what its taps read; on the last axis, these are the taps first, first + period, ...

    The array has the axes (n, out[:-1]..., rows, window[:-1]..., taps, positions * O).
    """
    if out_channels > x.shape[-1]:
        x = np.repeat(x, out_channels // x.shape[-1], axis=-1)  # one copy of a channel for each of its filters
    step, dilation, (lo, hi) = g.stride[-1], g.dilation[-1], g.padding[-1]
    period = step // math.gcd(step, dilation)
    for first in range(min(period, g.window[-1])):
        start, r = divmod(first * dilation, step)
        before = max(0, -((r - lo) // step))  # of the phase's positions, those in the padding before x
        phase = x[..., r + before * step - lo :: step, :]
        after = -((r - lo - hi - x.shape[-2]) // step) - before - phase.shape[-2]
        phase = np.ascontiguousarray(pad(phase, (*g.padding[:-1], (before, after))))
        image, *lines, position, number = phase.strides
        taps = len(range(first, g.window[-1], period))
        shape = (*g.out[:-1], g.out[-1] // positions, *g.window[:-1], taps, positions * out_channels)
        strides = (
            *(t * line for t, line in zip(g.stride, lines, strict=False)),
            positions * position,
            *(d * line for d, line in zip(g.dilation, lines, strict=False)),
            dilation * period // step * position,
            number,
        )
        yield first, period, np.ndarray((len(x), *shape), x.dtype, phase, start * position, (image, *strides))
