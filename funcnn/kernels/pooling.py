"""Windowed maxima and sums, and which cell of a window holds the maximum.

A window is the product of its axes, so its maximum is the maximum over one axis of the maxima over the other, and its
sum likewise: K1 + K2 passes instead of K1 * K2. Taking the last axis first keeps row-major order among ties: the
earliest row that holds the maximum wins, and in it the earliest column.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def max_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the maximum along spatial axis ``a`` of each window of the padded ``x``; complex by the real part."""
    first, *others = (tap for _, tap in _taps(x, g, (a,)))
    y = first
    for tap in others:
        y = np.maximum(y, tap) if x.dtype.kind == "f" else np.where((tap.real > y.real) | np.isnan(tap), tap, y)
    return y


def winners(x: Array, y: Array, g: Geometry, axes: tuple[int, ...]) -> Array:
    """Return for each window over ``axes`` the number, in row-major order, of its first cell that holds the maximum y.

    The padding holds -inf, which a window may hold too. Only the padding before x can come first.
    """
    taps = list(_taps(x.real, g, axes))
    level = y.real
    undefined = bool(np.isnan(level).any())
    winner = np.zeros(y.shape, np.min_scalar_type(len(taps)))
    missed = None  # where the maximum has not been met yet
    for numbers, tap in taps[:-1]:
        miss = tap != level
        if undefined:
            miss &= ~np.isnan(tap)
        for a, k in zip(axes, numbers, strict=True):
            padding_windows = -((g.dilation[a] * k - g.padding[a][0]) // g.stride[a])  # where this tap comes before x
            if padding_windows > 0:
                miss[*_before(a), :padding_windows] = True
        missed = miss if missed is None else np.logical_and(missed, miss, out=miss)
        winner += missed.view(np.uint8)
    return winner


def winners_adjoint(winner: Array, dy: Array, g: Geometry, axes: tuple[int, ...], x_shape: tuple[int, ...]) -> Array:
    """Send each dy to the cell of its window that `winners` has found."""
    dx = np.zeros(x_shape, dy.dtype)
    apart = no_overlap(g, axes)
    for k, (_, target) in enumerate(_taps(dx, g, axes)):
        if apart:
            np.multiply(dy, winner == k, out=target)
        else:
            target += dy * (winner == k)
    return dx


def no_overlap(g: Geometry, axes: tuple[int, ...]) -> bool:
    """Say whether no cell lies in two windows."""
    return all(g.stride[a] > g.dilation[a] * (g.window[a] - 1) for a in axes)


def sum_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the sum over the window's extent on spatial axis ``a`` of the padded ``x``."""
    first, *others = (tap for _, tap in _taps(x, g, (a,)))
    y = first
    for tap in others:
        y = y + tap
    return y


def sum_along_adjoint(x_shape: tuple[int, ...], dy: Array, g: Geometry, a: int) -> Array:
    """Add each dy to every cell of its window on axis ``a``."""
    dx = np.zeros(x_shape, dy.dtype)
    apart = no_overlap(g, (a,))
    for _, target in _taps(dx, g, (a,)):
        if apart:
            target[...] = dy
        else:
            target += dy
    return dx


def _taps(x: Array, g: Geometry, axes: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield the taps of the window over ``axes``, in row-major order: their numbers, and the view of what they read."""
    for numbers in product(*(range(g.window[a]) for a in axes)):
        view = x
        for a, k in zip(axes, numbers, strict=True):
            start = k * g.dilation[a]
            view = view[*_before(a), start : start + g.stride[a] * (g.out[a] - 1) + 1 : g.stride[a]]
        yield numbers, view


def _before(a: int) -> tuple[slice, ...]:
    """Index the examples and the spatial axes before ``a`` as a whole."""
    return (slice(None),) * (a + 1)
