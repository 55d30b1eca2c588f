"""Maxima and sums over windows, and the position of each maximum in its window.

A window is a product of ranges, one per axis, so its maximum is the maximum over one axis of the maxima over the other,
and so for its sum: K1 + K2 passes instead of K1 * K2. Taking the last axis first keeps the argmax the first one in
row-major order: the first row that holds the maximum, and the first column in that row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.selection import compilable
from funcnn.kernels.windows import crop, pad
from funcnn.tree import Array

# Positions of a window: up to here, disjoint windows are pooled over all axes in one pass, larger ones axis by axis,
# which compares fewer numbers but stores intermediate maxima. ``scripts/bench --job digits32`` measures it again.
_SINGLE_PASS_WINDOW = 16


class Argmax(NamedTuple):
    """Where the maxima of one pass over an array of ``shape`` are: `window_argmax` over ``axes``."""

    axes: tuple[int, ...]
    argmax: Array
    shape: tuple[int, ...]


@compilable
def max_pool(x: Array, g: Geometry, return_argmax: bool = True) -> tuple[Array, list[Argmax]]:
    """Return each window's maximum, and if wanted the argmax of each pass over x padded with -inf, else []."""
    y = pad(x, g.padding, -math.inf)
    argmaxes = []
    for axes in _passes(g):
        before = y
        # for real numbers, the order of the axes does not change the maxima, and starting with whole rows is faster
        for a in axes if x.dtype.kind == "f" else reversed(axes):
            y = max_along(y, g, a)
        if return_argmax:
            argmaxes.append(Argmax(axes, window_argmax(before, y, g, axes), before.shape))
    return y, argmaxes


@compilable
def max_pool_adjoint(dy: Array, argmaxes: list[Argmax], g: Geometry) -> Array:
    """Add each dy to the position of its window's maximum, which `max_pool` returned."""
    for axes, argmax, shape in reversed(argmaxes):
        dy = scatter_argmax(argmax, dy, g, axes, shape)
    return crop(dy, g.padding)


@lru_cache(maxsize=1024)
def _passes(g: Geometry) -> list[tuple[int, ...]]:
    """Return for each pass the axes to pool over."""
    every_axis = tuple(range(len(g.size)))
    # large windows take fewer maxima axis by axis, and windows that overlap share those along an axis
    axis_by_axis = math.prod(g.window) > _SINGLE_PASS_WINDOW or not no_overlap(g, every_axis)
    return [(a,) for a in reversed(every_axis)] if axis_by_axis else [every_axis]


@compilable
def window_sums(x: Array, g: Geometry) -> Array:
    """Return each window's sum of x padded with zeros."""
    y = pad(x, g.padding)
    for a in range(len(g.size)):
        y = sum_along(y, g, a)
    return y


@compilable
def window_sums_adjoint(dy: Array, g: Geometry) -> Array:
    """Add each dy to every position of its window."""
    for a in reversed(range(len(g.size))):
        lo, hi = g.padding[a]
        dy = sum_along_adjoint((*dy.shape[: a + 1], g.size[a] + lo + hi, *dy.shape[a + 2 :]), dy, g, a)
    return crop(dy, g.padding)


def max_along(x: Array, g: Geometry, a: int) -> Array:
    """Return each window's maximum along spatial axis ``a`` of the padded ``x``, complex numbers compared by real part.

    The result has the windows' positions on axis ``a``.
    """
    y, *others = taps = _taps(x, g, (a,))
    if others and x.dtype.kind == "f":
        return maximum(taps)
    for tap in others:
        y = np.where((tap.real > y.real) | np.isnan(tap), tap, y)
    return y


def window_argmax(x: Array, y: Array, g: Geometry, axes: tuple[int, ...]) -> Array:
    """Return for each window over ``axes`` the row-major index of its first position that holds the window's maximum y.

    The argmax is never in the padding, even where the maximum is -inf, the padding's own value. Only padding before x
    can precede a position of x, so only that is skipped.
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


def first_argmax(taps: list[Array], maxima: Array, outside: Sequence[Iterable[tuple[slice, ...]]] = ()) -> Array:
    """Return the index of the first of ``taps`` that equals ``maxima``, entry by entry, or of the first NaN.

    The taps are real arrays of one shape, ``maxima`` is their maximum. ``outside[k]`` lists the parts of tap k to skip.
    """
    has_nan = bool(np.isnan(maxima).any())
    argmax = np.zeros(maxima.shape, np.min_scalar_type(len(taps)))
    not_found = None  # where no tap so far equals the maximum
    for k, tap in enumerate(taps[:-1]):
        unequal = tap != maxima
        if has_nan:
            unequal &= ~np.isnan(tap)
        for windows in outside[k] if outside else ():
            unequal[windows] = True
        not_found = unequal if not_found is None else np.logical_and(not_found, unequal, out=unequal)
        argmax += not_found.view(np.uint8)
    return argmax


@compilable
def scatter_argmax(argmax: Array, dy: Array, g: Geometry, axes: tuple[int, ...], x_shape: tuple[int, ...]) -> Array:
    """Add each dy to the position of its window that `window_argmax` returned, in zeros of ``x_shape``."""
    disjoint = no_overlap(g, axes)
    # disjoint windows of as many positions as x has cover it
    covered = disjoint and all(g.window[a] * g.out[a] == x_shape[a + 1] for a in axes)
    dx = (np.empty if covered else np.zeros)(x_shape, dy.dtype)
    for k, target in enumerate(_taps(dx, g, axes)):
        if disjoint:
            np.multiply(dy, argmax == k, out=target)
        else:
            target += dy * (argmax == k)
    return dx


def no_overlap(g: Geometry, axes: tuple[int, ...]) -> bool:
    """Return whether no position lies in two windows."""
    return all(g.stride[a] > g.dilation[a] * (g.window[a] - 1) for a in axes)


def sum_along(x: Array, g: Geometry, a: int) -> Array:
    """Return each window's sum along spatial axis ``a`` of the padded ``x``."""
    first, *others = _taps(x, g, (a,))
    y = first
    for tap in others:
        y = y + tap
    return y


def sum_along_adjoint(x_shape: tuple[int, ...], dy: Array, g: Geometry, a: int) -> Array:
    """Add each dy to every position of its window on axis ``a``."""
    dx = np.zeros(x_shape, dy.dtype)
    disjoint = no_overlap(g, (a,))
    for target in _taps(dx, g, (a,)):
        if disjoint:
            target[...] = dy
        else:
            target += dy
    return dx


def _taps(x: Array, g: Geometry, axes: tuple[int, ...]) -> list[Array]:
    """Return for each tap of the window over ``axes``, in row-major order, the view of the positions it reads."""
    return [x[positions] for positions, _ in _tap_indices(g, axes)]


@cached_arrays
def _tap_indices(g: Geometry, axes: tuple[int, ...]) -> list[tuple[tuple[slice, ...], list[tuple[slice, ...]]]]:
    """Return for each tap the index of the positions it reads, and indices of the windows where they precede x."""
    indices = []
    for tap in product(*(range(g.window[a]) for a in axes)):
        positions, outside = [slice(None)] * (max(axes) + 2), []
        for a, k in zip(axes, tap, strict=True):
            start = k * g.dilation[a]
            positions[a + 1] = slice(start, start + g.stride[a] * (g.out[a] - 1) + 1, g.stride[a])
            padding_windows = -((start - g.padding[a][0]) // g.stride[a])
            if padding_windows > 0:
                outside.append((*[slice(None)] * (a + 1), slice(padding_windows)))
        indices.append((tuple(positions), outside))
    return indices
