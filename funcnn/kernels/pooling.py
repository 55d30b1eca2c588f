"""Windowed maxima and sums, and which position of a window holds the maximum.

A window is the product of its axes, so its maximum is the maximum over one axis of the maxima over the other, and its
sum likewise: K1 + K2 passes instead of K1 * K2. Taking the last axis first keeps row-major order among ties: the
earliest row that holds the maximum wins, and in it the earliest column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def max_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the maximum along spatial axis ``a`` of each window of the padded ``x``; complex by the real part."""
    first, *others = _taps(x, g, (a,))
    y = first
    for tap in others:
        y = np.maximum(y, tap) if x.dtype.kind == "f" else np.where((tap.real > y.real) | np.isnan(tap), tap, y)
    return y


def window_argmax(x: Array, y: Array, g: Geometry, axes: tuple[int, ...]) -> Array:
    """Return for each window over ``axes`` the number, in row-major order, of its first position that holds the maximum
    y.

    The padding holds -inf, which a window may hold too. Only the padding before x can come first.
    """
    indices = _tap_indices(g, axes)
    return first_argmax([x.real[positions] for positions, _ in indices], y.real, [outside for _, outside in indices])


def maximum(taps: list[Array]) -> Array:
    """Return the maximum of real arrays of one shape, entry by entry."""
    first, second, *others = taps
    maxima = np.maximum(first, second)
    for tap in others:
        np.maximum(maxima, tap, out=maxima)
    return maxima


def first_argmax(taps: list[Array], level: Array, outside: Sequence[Iterable[tuple[slice, ...]]] = ()) -> Array:
    """Return the number of the first of ``taps`` that equals ``level``, their maximum, or of the first NaN; real ones.

    ``outside`` has for each tap the places where it does not count.
    """
    undefined = bool(np.isnan(level).any())
    argmax = np.zeros(level.shape, np.min_scalar_type(len(taps)))
    missed = None  # where the maximum has not been met yet
    for k, tap in enumerate(taps[:-1]):
        miss = tap != level
        if undefined:
            miss &= ~np.isnan(tap)
        for windows in outside[k] if outside else ():
            miss[windows] = True
        missed = miss if missed is None else np.logical_and(missed, miss, out=miss)
        argmax += missed.view(np.uint8)
    return argmax


def scatter_argmax(argmax: Array, dy: Array, g: Geometry, axes: tuple[int, ...], x_shape: tuple[int, ...]) -> Array:
    """Send each dy to the position of its window that `window_argmax` has found."""
    dx = np.zeros(x_shape, dy.dtype)
    apart = no_overlap(g, axes)
    for k, target in enumerate(_taps(dx, g, axes)):
        if apart:
            np.multiply(dy, argmax == k, out=target)
        else:
            target += dy * (argmax == k)
    return dx


def no_overlap(g: Geometry, axes: tuple[int, ...]) -> bool:
    """Say whether no position lies in two windows."""
    return all(g.stride[a] > g.dilation[a] * (g.window[a] - 1) for a in axes)


def sum_along(x: Array, g: Geometry, a: int) -> Array:
    """Return the sum over the window's extent on spatial axis ``a`` of the padded ``x``."""
    first, *others = _taps(x, g, (a,))
    y = first
    for tap in others:
        y = y + tap
    return y


def sum_along_adjoint(x_shape: tuple[int, ...], dy: Array, g: Geometry, a: int) -> Array:
    """Add each dy to every position of its window on axis ``a``."""
    dx = np.zeros(x_shape, dy.dtype)
    apart = no_overlap(g, (a,))
    for target in _taps(dx, g, (a,)):
        if apart:
            target[...] = dy
        else:
            target += dy
    return dx


def _taps(x: Array, g: Geometry, axes: tuple[int, ...]) -> list[Array]:
    """Return for each tap of the window over ``axes``, in row-major order, the view of the positions it reads."""
    return [x[positions] for positions, _ in _tap_indices(g, axes)]


@lru_cache(maxsize=256)
def _tap_indices(g: Geometry, axes: tuple[int, ...]) -> list[tuple[tuple[slice, ...], list[tuple[slice, ...]]]]:
    """Return for each tap the index of the positions it reads, and indices of the windows where that comes before x."""
    indices = []
    for numbers in product(*(range(g.window[a]) for a in axes)):
        positions, outside = [slice(None)] * (max(axes) + 2), []
        for a, k in zip(axes, numbers, strict=True):
            start = k * g.dilation[a]
            positions[a + 1] = slice(start, start + g.stride[a] * (g.out[a] - 1) + 1, g.stride[a])
            padding_windows = -((start - g.padding[a][0]) // g.stride[a])
            if padding_windows > 0:
                outside.append((*[slice(None)] * (a + 1), slice(padding_windows)))
        indices.append((tuple(positions), outside))
    return indices
