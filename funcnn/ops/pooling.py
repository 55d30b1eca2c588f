"""Pooling: the maximum or mean over windows, or over all positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import channel_sum
from funcnn.kernels.geometry import Geometry, Padding, PerAxis, geometry, per_axis, remembered
from funcnn.kernels.pooling import max_along, no_overlap, scatter_argmax, sum_along, sum_along_adjoint, window_argmax
from funcnn.kernels.windows import crop, pad
from funcnn.tree import Array

_LARGEST_WINDOW_AT_ONCE = 16


def max_pool(
    x: Array,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    keep_input: bool = False,
) -> tuple[Array, Callable[[Any], Array]]:
    """Maximum over each window, channel by channel.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes.
    window : int or tuple of int, >= 1
    stride : int or tuple of int, optional
        The window, if not given.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Positions that never win. A window must not lie in the padding alone.
    dilation : int or tuple of int, >= 1
    ceil_mode : bool
        Also take the last window that starts inside but reaches beyond the end. The first must fit all the same, unlike
        in PyTorch.
    keep_input : bool
        Let the VJP keep x and y, and find out itself which position of each window holds the maximum, instead of
        keeping that position's number: quicker if the VJP is not called, as in evaluation.

    Returns
    -------
    y : array (N, out..., C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        As `conv` does, and if a window sees nothing but padding.

    Notes
    -----
    Away from ties the maximum is locally the one position that attains it, so its differential passes that position's
    dx and the VJP sends dy there, adding up where windows overlap. Among equal positions the first in row-major order
    is taken; in a window with NaNs it is the first NaN.

    Examples
    --------
    >>> y, vjp = max_pool(np.array([[[1.0], [3.0], [2.0], [2.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([3., 2.]), array([0., 1., 1., 0.]))
    """
    x = checks.images("max_pool", x)
    g, passes = _passes(x.shape[1:-1], window, window if stride is None else stride, padding, dilation, ceil_mode)
    y = pad(x, g.padding, -math.inf)
    maxima = []
    for axes in passes:
        before = y
        # real maxima are the same in any order, and those of whole rows are quicker
        for a in axes if x.dtype.kind == "f" else reversed(axes):
            y = max_along(y, g, a)
        maxima.append((axes, before, y))
    shape, dtype = y.shape, y.dtype
    found = [] if keep_input else _argmaxes(maxima, g)
    if not keep_input:
        maxima = []

    def max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("max_pool", dy, shape, dtype)
        for axes, argmax, before_shape in reversed(found or _argmaxes(maxima, g)):
            dy = scatter_argmax(argmax, dy, g, axes, before_shape)
        return crop(dy, g.padding)

    return y, max_pool_vjp


@remembered
def _passes(
    size: tuple[int, ...], window: PerAxis, stride: PerAxis, padding: Padding, dilation: PerAxis, ceil_mode: bool
) -> tuple[Geometry, list[tuple[int, ...]]]:
    """Check the options of `max_pool`; return its windows and the axes whose maxima to take at a time."""
    g = geometry("max_pool", size, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    _positions_in_windows("max_pool", g, ((0, 0),) * len(size))
    every_axis = tuple(range(len(size)))
    # large windows, and those that overlap, share the maxima along an axis
    shared = math.prod(g.window) > _LARGEST_WINDOW_AT_ONCE or not no_overlap(g, every_axis)
    return g, [(a,) for a in reversed(every_axis)] if shared else [every_axis]


def _argmaxes(
    maxima: list[tuple[tuple[int, ...], Array, Array]], g: Geometry
) -> list[tuple[tuple[int, ...], Array, tuple[int, ...]]]:
    return [(axes, window_argmax(before, after, g, axes), before.shape) for axes, before, after in maxima]


def avg_pool(
    x: Array,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> tuple[Array, Callable[[Any], Array]]:
    """Mean over each window, channel by channel.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes.
    window : int or tuple of int, >= 1
    stride : int or tuple of int, optional
        The window, if not given.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Positions of zeros. A window must not lie in the padding alone.
    dilation : int or tuple of int, >= 1
    ceil_mode : bool
        Also take the last window that starts inside but reaches beyond the end; the positions beyond never count. The
        first must fit all the same, unlike in PyTorch.
    count_include_pad : bool
        Divide by all positions of the window, the padding's too, instead of by those of x alone. PyTorch does by
        default.

    Returns
    -------
    y : array (N, out..., C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        As `conv` does, and if a window sees nothing but padding.

    Notes
    -----
    y = (sum of the window's positions) / count is linear, so the VJP is its transpose: dy / count, added to each of the
    positions.

    Examples
    --------
    >>> y, vjp = avg_pool(np.array([[[1.0], [3.0], [2.0]]]), 2, padding=((1, 0),))
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([1. , 2.5]), array([1. , 0.5, 0.5]))
    """
    x = checks.images("avg_pool", x)
    step = window if stride is None else stride
    declared = geometry("avg_pool", x.shape[1:-1], window, stride=step, padding=padding, dilation=dilation)
    g = geometry(
        "avg_pool", x.shape[1:-1], window, stride=step, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    nothing = ((0, 0),) * len(g.size)
    count = _positions_in_windows("avg_pool", g, nothing)
    if count_include_pad:
        count = _positions_in_windows("avg_pool", g, declared.padding)
    count = count.astype(x.real.dtype)
    padded = pad(x, g.padding)
    sizes = []
    y = padded
    for a in range(len(g.size)):
        sizes.append((a, y.shape))
        y = sum_along(y, g, a)
    y = y / count
    shape, dtype = y.shape, y.dtype

    def avg_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("avg_pool", dy, shape, dtype) / count
        for a, size in reversed(sizes):
            dy = sum_along_adjoint(size, dy, g, a)
        return crop(dy, g.padding)

    return y, avg_pool_vjp


def global_avg_pool(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Mean over all spatial positions.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes, none of size 0.

    Returns
    -------
    y : array (N, C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or not of that shape.

    Notes
    -----
    y = (1/P) sum_p x[n,p] over the P positions; so dx[n,p] = dy[n] / P at each of them.

    Examples
    --------
    >>> y, vjp = global_avg_pool(np.array([[[1.0], [3.0]]]))
    >>> y, vjp(np.array([[1.0]])).ravel()
    (array([[2.]]), array([0.5, 0.5]))
    """
    x = _positions("global_avg_pool", x)
    shape = x.shape
    positions = math.prod(shape[1:-1])
    y = channel_sum(x, per_example=True)
    y /= positions
    out, dtype = y.shape, y.dtype

    def global_avg_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("global_avg_pool", dy, out, dtype) / positions
        return dy.repeat(positions, axis=0).reshape(shape)

    return y, global_avg_pool_vjp


def global_max_pool(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Maximum over all spatial positions.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes, none of size 0.

    Returns
    -------
    y : array (N, C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or not of that shape.

    Notes
    -----
    As for `max_pool`: dy goes to the first position, in row-major order, that attains the maximum.

    Examples
    --------
    >>> y, vjp = global_max_pool(np.array([[[1.0], [3.0], [3.0]]]))
    >>> y, vjp(np.array([[5.0]])).ravel()
    (array([[3.]]), array([0., 5., 0.]))
    """
    x = _positions("global_max_pool", x)
    shape, dtype = x.shape, x.dtype
    flat = x.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])
    best = flat.real.argmax(axis=1)[:, None, :]
    y = np.take_along_axis(flat, best, axis=1)[:, 0, :]
    out = y.shape

    def global_max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("global_max_pool", dy, out, dtype)
        dx = np.zeros((shape[0], math.prod(shape[1:-1]), shape[-1]), dy.dtype)
        np.put_along_axis(dx, best, dy[:, None, :], axis=1)
        return dx.reshape(shape)

    return y, global_max_pool_vjp


def adaptive_avg_pool(x: Array, size: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Mean over windows chosen so that the output has a given size, whatever the input's.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes, none of size 0.
    size : int or tuple of int, >= 1
        Of the output. Larger than S repeats positions.

    Returns
    -------
    y : array (N, size..., C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or not of that shape, or ``size`` no size.

    Notes
    -----
    On each axis, window i of ``size`` covers the positions from floor(i S / size) up to ceil((i+1) S / size), so that
    the windows cover everything, differ by at most one position in length, and overlap by at most one. The mean is
    linear: dy goes in equal shares to the window's positions. Where ``size`` divides S this is `avg_pool` with the
    window S / size.

    Examples
    --------
    >>> y, vjp = adaptive_avg_pool(np.array([[[1.0], [2.0], [6.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([1.5, 4. ]), array([0.5, 1. , 0.5]))
    """
    x = _positions("adaptive_avg_pool", x)
    size = per_axis("adaptive_avg_pool", "size", size, x.ndim - 2)
    shapes = []
    y = x
    for a in reversed(range(1, x.ndim - 1)):
        shapes.append((a, y.shape))
        y = np.stack(
            [y[*_before(a), positions].mean(axis=a) for positions in _adaptive(y.shape[a], size[a - 1])], axis=a
        )
    out, dtype = y.shape, y.dtype

    def adaptive_avg_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("adaptive_avg_pool", dy, out, dtype)
        for a, shape in reversed(shapes):
            dx = np.zeros(shape, dy.dtype)
            for i, positions in enumerate(_adaptive(shape[a], size[a - 1])):
                dx[*_before(a), positions] += dy[*_before(a), i : i + 1] / (positions.stop - positions.start)
            dy = dx
        return dy

    return y, adaptive_avg_pool_vjp


def adaptive_max_pool(x: Array, size: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Maximum over windows chosen so that the output has a given size, whatever the input's.

    Parameters
    ----------
    x : array (N, S..., C)
        One to three spatial axes, none of size 0.
    size : int or tuple of int, >= 1
        Of the output. Larger than S repeats positions.

    Returns
    -------
    y : array (N, size..., C)
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or not of that shape, or ``size`` no size.

    Notes
    -----
    The windows are those of `adaptive_avg_pool`; dy goes to the first position in row-major order that attains the
    maximum, as in `max_pool`. Where ``size`` divides S this is `max_pool` with the window S / size.

    Examples
    --------
    >>> y, vjp = adaptive_max_pool(np.array([[[1.0], [5.0], [3.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([5., 5.]), array([0., 2., 0.]))
    """
    x = _positions("adaptive_max_pool", x)
    size = per_axis("adaptive_max_pool", "size", size, x.ndim - 2)
    stages = []
    y = x
    for a in reversed(range(1, x.ndim - 1)):  # the last axis first keeps row-major order among ties
        best = [
            (positions.start + y[*_before(a), positions].real.argmax(axis=a, keepdims=True)).astype(
                np.min_scalar_type(y.shape[a])
            )
            for positions in _adaptive(y.shape[a], size[a - 1])
        ]
        stages.append((a, y.shape, best))
        y = np.concatenate([np.take_along_axis(y, index, axis=a) for index in best], axis=a)
    out, dtype = y.shape, y.dtype

    def adaptive_max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("adaptive_max_pool", dy, out, dtype)
        for a, shape, best in reversed(stages):
            dx = np.zeros(shape, dy.dtype)
            for i, index in enumerate(best):
                share = np.take_along_axis(dx, index, axis=a) + dy[*_before(a), i : i + 1]
                np.put_along_axis(dx, index, share, axis=a)
            dy = dx
        return dy

    return y, adaptive_max_pool_vjp


def _adaptive(positions: int, windows: int) -> list[slice]:
    """Cut 0..positions-1 into ``windows`` slices of nearly equal length that cover everything."""
    return [slice(i * positions // windows, -(-(i + 1) * positions // windows)) for i in range(windows)]


def _before(a: int) -> tuple[slice, ...]:
    """Index all axes before ``a`` as a whole."""
    return (slice(None),) * a


def _positions(op: str, x: Any) -> Array:
    x = checks.images(op, x)
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{op}: x {x.shape} has no positions to pool over")
    return x


@lru_cache(maxsize=256)
def _positions_in_windows(op: str, g: Geometry, counted_padding: tuple[tuple[int, int], ...]) -> Array:
    """Count each window's positions inside x and ``counted_padding``, as (out..., 1); refuse windows that see none."""
    count = np.ones((*g.out, 1), np.int64)
    for a, (lo, hi) in enumerate(counted_padding):
        start = np.arange(g.out[a]) * g.stride[a] - g.padding[a][0]
        positions = start[:, None] + np.arange(g.window[a]) * g.dilation[a]
        along = ((positions >= -lo) & (positions < g.size[a] + hi)).sum(axis=1)
        count *= along.reshape(-1, *(1,) * (count.ndim - a - 1))
    if not count.all():
        raise ValueError(f"{op}: a window lies in the padding alone: {g}")
    count.flags.writeable = False
    return count
