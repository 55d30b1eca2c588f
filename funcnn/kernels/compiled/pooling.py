"""Twins of `funcnn.kernels.pooling`.

Images are matrices here, a row for each position, of channels. A table lists the rows that each window reads, so that
the same loops serve windows of any rank, stride, padding and dilation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from funcnn.kernels import threads
from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import Argmax
from funcnn.tree import Array

_GROUP = 4  # taps that one loop over the channels compares
_MAX_TAPS = 255  # of a window: more do not fit in a byte
_MAX_TABLE = 1 << 20  # entries; larger windows and images are left to NumPy


def max_pool(x: Array, g: Geometry, return_argmax: bool = True) -> Any:
    """See `funcnn.kernels.pooling.max_pool`. The argmax is over all axes at once."""
    if not same_floats(x) or not _is_covered(g):
        return NotImplemented
    y, argmax = np.empty((len(x), *g.out, x.shape[-1]), x.dtype), None
    rows, first = _table_of_maxima(g)
    if return_argmax:
        argmax = np.empty(y.shape, np.uint8)
        _argmax(_team(x), as_matrices(x), rows, first, as_matrices(y), as_matrices(argmax))
    else:
        _maxima(_team(x), as_matrices(x), rows, as_matrices(y))
    padded = tuple(s + lo + hi for s, (lo, hi) in zip(g.size, g.padding, strict=True))
    every_axis = tuple(range(len(g.size)))
    return y, [] if argmax is None else [Argmax(every_axis, argmax, (len(x), *padded, x.shape[-1]))]


def max_pool_adjoint(dy: Array, argmaxes: list[Argmax], g: Geometry) -> Array:
    """See `funcnn.kernels.pooling.max_pool_adjoint`."""
    argmax = argmax_of_all_axes(argmaxes, g)
    if argmax is None or not same_floats(dy):
        return NotImplemented
    dx = np.empty((len(dy), *g.size, dy.shape[-1]), dy.dtype)
    _scatter(_team(dx), as_matrices(dy), argmax, window_rows(g), as_matrices(dx))
    return dx


def scatter_argmax(argmax: Array, dy: Array, g: Geometry, axes: tuple[int, ...], x_shape: tuple[int, ...]) -> Array:
    """See `funcnn.kernels.pooling.scatter_argmax`, for all axes of images without padding."""
    if any(map(any, g.padding)) or x_shape[1:-1] != g.size:
        return NotImplemented
    return max_pool_adjoint(dy, [Argmax(axes, argmax, x_shape)], g)


def window_sums(x: Array, g: Geometry) -> Array:
    """See `funcnn.kernels.pooling.window_sums`."""
    if not same_floats(x) or not _is_covered(g):
        return NotImplemented
    y = np.empty((len(x), *g.out, x.shape[-1]), x.dtype)
    _sums(_team(x), as_matrices(x), window_rows(g), as_matrices(y))
    return y


def window_sums_adjoint(dy: Array, g: Geometry) -> Array:
    """See `funcnn.kernels.pooling.window_sums_adjoint`."""
    if not same_floats(dy) or not _is_covered(g):
        return NotImplemented
    dx = np.empty((len(dy), *g.size, dy.shape[-1]), dy.dtype)
    _spread(_team(dx), as_matrices(dy), window_rows(g), as_matrices(dx))
    return dx


def _team(x: Array) -> Array:
    return team(threads.worth_passes(x.size))


def as_matrices(a: Array) -> Array:
    """Return images (N, S..., C) as contiguous matrices (N, P, C)."""
    return np.ascontiguousarray(a).reshape(len(a), math.prod(a.shape[1:-1]), a.shape[-1])


def argmax_of_all_axes(argmaxes: list[Argmax], g: Geometry) -> Array | None:
    """Return `max_pool`'s argmax (N, P, C) if it was found in a single pass, and windows are covered; else None."""
    axes, argmax, _ = argmaxes[-1]
    return as_matrices(argmax) if len(axes) == len(g.size) and argmax.dtype == np.uint8 and _is_covered(g) else None


def _is_covered(g: Geometry) -> bool:
    taps = math.prod(g.window)
    return taps <= _MAX_TAPS and taps * math.prod(g.out) <= _MAX_TABLE


@cached_arrays
def window_rows(g: Geometry) -> Array:
    """Return the row of each tap of each window (windows, taps), -1 in the padding."""
    rows = np.zeros((1, 1), np.int32)
    for size, window, stride, (before, _), dilation, out in zip(*g, strict=True):
        along = (np.arange(out) * stride - before)[:, None] + np.arange(window) * dilation
        outside = (along < 0) | (along >= size)
        joined = rows[:, None, :, None] * size + along[None, :, None, :]
        joined[(rows[:, None, :, None] < 0) | outside[None, :, None, :]] = -1
        rows = joined.reshape(len(rows) * out, -1)
    return np.ascontiguousarray(rows, np.int32)


@cached_arrays
def _table_of_maxima(g: Geometry) -> tuple[Array, Array]:
    """Return the table in whole groups of taps, and the first tap of each window that is not in the padding.

    That tap stands for those in the padding, and for those added: seen twice, it is not larger than before.
    """
    rows = window_rows(g)
    first = (rows >= 0).argmax(1)
    missing = -rows.shape[1] % _GROUP
    rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
    return np.where(rows < 0, rows[np.arange(len(rows)), first][:, None], rows), first.astype(np.uint8)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _is_above(v: Any, maximum: Any) -> Any:
    """Return whether v is above a maximum; NaN is above all numbers, and nothing above NaN."""
    return not v <= maximum and maximum == maximum


@in_parallel
def _image_argmax(arguments, thread, n):  # type: ignore[no-untyped-def]
    x, rows, first, y, argmax = arguments
    _, windows, channels = y.shape
    for o in range(windows):
        for k in range(0, rows.shape[1], 4):
            p0, p1, p2, p3 = rows[o, k], rows[o, k + 1], rows[o, k + 2], rows[o, k + 3]
            for c in range(channels):
                if k == 0:
                    m, tap = x[n, p0, c], first[o]
                else:
                    m, tap = y[n, o, c], argmax[n, o, c]
                    if _is_above(x[n, p0, c], m):
                        m, tap = x[n, p0, c], np.uint8(k)
                if _is_above(x[n, p1, c], m):
                    m, tap = x[n, p1, c], np.uint8(k + 1)
                if _is_above(x[n, p2, c], m):
                    m, tap = x[n, p2, c], np.uint8(k + 2)
                if _is_above(x[n, p3, c], m):
                    m, tap = x[n, p3, c], np.uint8(k + 3)
                y[n, o, c] = m
                argmax[n, o, c] = tap


@routine("void(i8[::1], R[:,:,::1], int32[:,::1], uint8[::1], T[:,:,::1], uint8[:,:,::1])")
def _argmax(team: Array, x: Array, rows: Array, first: Array, y: Array, argmax: Array) -> None:
    _image_argmax(team, (x, rows, first, y, argmax), len(y))


@in_parallel
def _image_maxima(arguments, thread, n):  # type: ignore[no-untyped-def]
    x, rows, y = arguments
    _, windows, channels = y.shape
    for o in range(windows):
        for k in range(0, rows.shape[1], 4):
            p0, p1, p2, p3 = rows[o, k], rows[o, k + 1], rows[o, k + 2], rows[o, k + 3]
            for c in range(channels):
                m = x[n, p0, c]
                if _is_above(x[n, p1, c], m):
                    m = x[n, p1, c]
                if _is_above(x[n, p2, c], m):
                    m = x[n, p2, c]
                if _is_above(x[n, p3, c], m):
                    m = x[n, p3, c]
                if k > 0 and _is_above(y[n, o, c], m):
                    m = y[n, o, c]
                y[n, o, c] = m


@routine("void(i8[::1], R[:,:,::1], int32[:,::1], T[:,:,::1])")
def _maxima(team: Array, x: Array, rows: Array, y: Array) -> None:
    _image_maxima(team, (x, rows, y), len(y))


@in_parallel
def _image_scatter(arguments, thread, n):  # type: ignore[no-untyped-def]
    dy, argmax, rows, dx = arguments
    _, windows, channels = dy.shape
    dx[n] = 0
    for o in range(windows):
        for c in range(channels):
            dx[n, rows[o, argmax[n, o, c]], c] += dy[n, o, c]


@routine("void(i8[::1], R[:,:,::1], uint8[:,:,::1], int32[:,::1], T[:,:,::1])")
def _scatter(team: Array, dy: Array, argmax: Array, rows: Array, dx: Array) -> None:
    _image_scatter(team, (dy, argmax, rows, dx), len(dy))


@in_parallel
def _image_sums(arguments, thread, n):  # type: ignore[no-untyped-def]
    x, rows, y = arguments
    _, windows, channels = y.shape
    y[n] = 0
    for o in range(windows):
        for k in range(rows.shape[1]):
            p = rows[o, k]
            if p >= 0:
                for c in range(channels):
                    y[n, o, c] += x[n, p, c]


@routine("void(i8[::1], R[:,:,::1], int32[:,::1], T[:,:,::1])")
def _sums(team: Array, x: Array, rows: Array, y: Array) -> None:
    _image_sums(team, (x, rows, y), len(y))


@in_parallel
def _image_spread(arguments, thread, n):  # type: ignore[no-untyped-def]
    dy, rows, dx = arguments
    _, windows, channels = dy.shape
    dx[n] = 0
    for o in range(windows):
        for k in range(rows.shape[1]):
            p = rows[o, k]
            if p >= 0:
                for c in range(channels):
                    dx[n, p, c] += dy[n, o, c]


@routine("void(i8[::1], R[:,:,::1], int32[:,::1], T[:,:,::1])")
def _spread(team: Array, dy: Array, rows: Array, dx: Array) -> None:
    _image_spread(team, (dy, rows, dx), len(dy))
