"""Windowed maxima and sums, an axis at a time.

A window is the product of its axes, so its maximum is the maximum over one axis of the maxima over the other, and its
sum likewise: K1 + K2 passes instead of K1 * K2. Taking the last axis first keeps row-major order among ties: the
earliest row that holds the maximum wins, and in it the earliest column.
"""

from __future__ import annotations

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def max_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the maximum along spatial axis ``a`` of each window of the padded ``x``; complex by the real part."""
    first, *others = _taps(x, g, a)
    y = first
    for tap in others:
        y = np.maximum(y, tap) if x.dtype.kind == "f" else np.where((tap.real > y.real) | np.isnan(tap), tap, y)
    return y


def max_along_adjoint(x: Array, y: Array, dy: Array, g: Geometry, a: int) -> Array:
    """Send each dy to the first cell of its window on axis ``a`` that holds the maximum y, past the padding.

    The padding holds -inf, which a window may hold too. Only the padding before x can come first.
    """
    taps, level = _taps(x.real, g, a), y.real
    dx = np.zeros(x.shape, np.result_type(x, dy))
    apart = g.stride[a] > g.dilation[a] * (g.window[a] - 1)  # no cell lies in two windows
    undefined = np.isnan(level).any()
    free = None  # the windows whose maximum has not been met yet
    for k, (tap, target) in enumerate(zip(taps, _taps(dx, g, a), strict=True)):
        hit = tap == level
        if undefined:
            hit |= np.isnan(tap)
        padding_windows = -((g.dilation[a] * k - g.padding[a][0]) // g.stride[a])  # those where tap k comes before x
        if padding_windows > 0:
            hit[*(slice(None),) * (a + 1), :padding_windows] = False
        if free is None:
            free = ~hit
        else:
            hit &= free
            free &= ~hit
        if apart:
            np.multiply(dy, hit, out=target)
        else:
            target += dy * hit
    return dx


def sum_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the sum over the window's extent on spatial axis ``a`` of the padded ``x``."""
    first, *others = _taps(x, g, a)
    y = first
    for tap in others:
        y = y + tap
    return y


def sum_along_adjoint(x_shape: tuple[int, ...], dy: Array, g: Geometry, a: int) -> Array:
    """Add each dy to every cell of its window on axis ``a``."""
    dx = np.zeros(x_shape, dy.dtype)
    for target in _taps(dx, g, a):
        target += dy
    return dx


def _taps(x: Array, g: Geometry, a: int) -> list[Array]:
    """Return for each tap of the window on axis ``a`` the view of the cells it reads."""
    before = (slice(None),) * (a + 1)
    reach = g.stride[a] * (g.out[a] - 1) + 1
    starts = [k * g.dilation[a] for k in range(g.window[a])]
    return [x[*before, start : start + reach : g.stride[a]] for start in starts]
