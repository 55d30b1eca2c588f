"""Cross-correlation and its two adjoints, by the method asked for or, for the wishes "auto" and "exact", by the
one that `funcnn.kernels.lowering` chooses.

Shapes: x (N, size..., I), w (window..., I/groups, O), y (N, out..., O).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from funcnn.kernels import columns, depthwise, strips, unrolled, winograd
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.lowering import WISHES, applies, choose
from funcnn.tree import Array

_ROUTINES: dict[str, Any] = {
    "columns": columns,
    "unrolled": unrolled,
    "strips": strips,
    "depthwise": depthwise,
    "winograd": winograd,
}


def correlate(x: Array, w: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return y[n, o] = sum over taps k of x[n, o*stride + k*dilation - lo] @ w[k], group by group."""
    method = _chosen(method, g, x.shape[-1], w.shape[-1], groups, x)
    return _ROUTINES[method].correlate(x, w, g, groups)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return dx: each dy[n, o] @ w[k].T added to the cell that its tap k read.

    The cells a stride apart are a phase, which only some of the taps meet; and what it gets is a correlation itself,
    without a stride: of dy with these taps, flipped, their channels exchanged.
    """
    inner, outer = w.shape[-2] * groups, w.shape[-1]
    chosen = _chosen(method, g, inner, outer, groups, dy, adjoint_x=True)
    if chosen in ("unrolled", "strips"):
        return _ROUTINES[chosen].correlate_adjoint_x(dy, w, g, groups)
    kernel = exchange_channels(w, groups)
    phases = list(_phases(g))
    if all(step == 1 for step in g.stride):
        return _correlate_phase(dy, kernel, phases[0], groups, method)
    dx = np.zeros((len(dy), *g.size, inner), np.result_type(dy, w))
    for phase in phases:
        dx[:, *phase.cells] = _correlate_phase(dy, kernel, phase, groups, method)
    return dx


def correlate_adjoint_w(
    x: Array, dy: Array, g: Geometry, groups: int, per_example: bool = False, method: str = "auto"
) -> Array:
    """Return dw[k] = sum over n, o of the outer product of the cell that tap k read and dy[n, o].

    With ``per_example``, dw[n, k] without the sum over n.
    """
    if per_example:
        return columns.correlate_adjoint_w(x, dy, g, groups, per_example)
    method = _chosen(method, g, x.shape[-1], dy.shape[-1], groups, x)
    return _ROUTINES[method].correlate_adjoint_w(x, dy, g, groups)


def exchange_channels(w: Array, groups: int) -> Array:
    """Turn (window..., I/groups, O) into (window..., O/groups, I), the weights that take y's channels back to x's."""
    split = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    return np.moveaxis(split, -1, -3).swapaxes(-1, -2).reshape(*w.shape[:-2], w.shape[-1] // groups, -1)


def _chosen(
    method: str, g: Geometry, inner: int, outer: int, groups: int, array: Array, adjoint_x: bool = False
) -> str:
    if method not in WISHES:
        return method
    return choose(g, len(array), inner, outer, groups, array.dtype, exact=method == "exact", adjoint_x=adjoint_x)


class _Phase(NamedTuple):
    """The cells a stride apart, the taps that meet them, last one first, and the geometry of their correlation."""

    cells: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


def _correlate_phase(dy: Array, kernel: Array, phase: _Phase, groups: int, method: str) -> Array:
    g = phase.geometry
    if any(-lo >= s or -hi >= s for s, (lo, hi) in zip(g.size, g.padding, strict=True)):
        # no window reaches these cells
        return np.zeros((len(dy), *g.out, kernel.shape[-1]), np.result_type(dy, kernel))
    if method not in WISHES and not applies(method, g, dy.shape[-1], kernel.shape[-1], groups):
        method = "exact"
    return correlate(dy, kernel[phase.taps], g, groups, method)


def _phases(g: Geometry) -> Iterator[_Phase]:
    """Yield the phases of the stride that any tap meets.

    On one axis, cell p = q*stride + r of the padded input is met by the taps k with k*dilation = r + c*stride, by each
    in window q - c.
    """
    axes = [_axis_phases(*axis) for axis in zip(g.size, g.window, g.stride, g.padding, g.dilation, g.out, strict=True)]
    for phase in product(*axes):
        cells, taps, padding, dilation, window, out = zip(*phase, strict=True)
        yield _Phase(cells, taps, Geometry(g.out, window, (1,) * len(out), padding, dilation, out))


def _axis_phases(
    size: int, window: int, stride: int, padding: tuple[int, int], dilation: int, windows: int
) -> Iterator[tuple[slice, slice, tuple[int, int], int, int, int]]:
    for r in range(stride):
        taps = [k for k in range(window) if k * dilation % stride == r]
        first = -(-(padding[0] - r) // stride)  # the first q past the padding
        start = first * stride + r - padding[0]
        out = len(range(start, size, stride))
        if not taps or not out:
            continue
        apart = taps[1] - taps[0] if len(taps) > 1 else stride
        step = apart * dilation // stride if len(taps) > 1 else 1
        reach = step * (len(taps) - 1)
        lo = (taps[0] * dilation - r) // stride + reach - first
        flipped = slice(taps[-1], taps[0] - 1 if taps[0] else None, -apart)
        yield slice(start, None, stride), flipped, (lo, out + reach - windows - lo), step, len(taps), out
