"""Pooling: the maximum or mean of each channel over windows, or over all positions.

Each op takes x (N, S..., C) with one to three spatial axes and returns y and ``vjp(dy) -> dx``. It raises a TypeError
if x is not an array of floats, and a ValueError if it has another number of axes.

`max_pool` and `avg_pool` take the windows' options as `funcnn.ops.conv` does, and give (S + lo + hi - dilation*(window
- 1) - 1)//stride + 1 outputs on an axis. A wrong option is a TypeError or ValueError, and so is a window that does not
fit or holds nothing but padding. The stride is the window's size if it is not given. With ``ceil_mode``, there is also
a last window that starts inside but extends beyond the end; unlike in PyTorch, the first window must fit in any case.

The global and adaptive ops raise a ValueError if a spatial axis has size 0.

Where several positions of a window hold the maximum, its VJP takes the first one in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels import pooling as kernel
from funcnn.kernels.bias import example_channel_sums
from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.geometry import Geometry, Padding, PerAxis, cached_by_shapes, check_growth, geometry, per_axis
from funcnn.tree import Array

# Positions of a padded image, where it is much larger than the image: each tap of a window costs a NumPy call.
_PADDED_POSITIONS = 1 << 16


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
    """Maximum over each window.

    Parameters
    ----------
    x : array (N, S..., C)
    window : int or tuple of int, >= 1
    stride : int or tuple of int, optional
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Positions of -inf, which are never the argmax.
    dilation : int or tuple of int, >= 1
    ceil_mode : bool
    keep_input : bool
        The VJP keeps x, and computes each window's argmax when it is called, instead of keeping the argmax. This is
        faster if the VJP is not called, as in evaluation.

    Returns
    -------
    y : array (N, out..., C)
    vjp : callable

    Notes
    -----
    Near an x without ties, each y is x at the position a[o] of its window's largest number, y[o] = x[a[o]]. The
    differential dx[a[o]], paired with dy, gives each dy to that position:

        dx[s] = sum over the o with a[o] = s of dy[o]

    Where numbers are equal, a[o] is the first of them in row-major order; in a window with NaNs, it is the first NaN.

    Examples
    --------
    >>> y, vjp = max_pool(np.array([[[1.0], [3.0], [2.0], [2.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([3., 2.]), array([0., 1., 1., 0.]))
    """
    x = checks.images("max_pool", x)
    g = max_pool_geometry(x.shape[1:-1], window, stride, padding, dilation, ceil_mode)
    y, argmaxes = kernel.max_pool(x, g, not keep_input)
    shape, dtype = y.shape, y.dtype
    kept = x if keep_input else None

    def max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("max_pool", dy, shape, dtype)
        return kernel.max_pool_adjoint(dy, argmaxes if kept is None else kernel.max_pool(kept, g)[1], g)

    return y, max_pool_vjp


@cached_by_shapes
def max_pool_geometry(
    size: tuple[int, ...],
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Geometry:
    """Check the options of `max_pool`."""
    step = window if stride is None else stride
    g = geometry("max_pool", size, window, stride=step, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    _window_counts("max_pool", g, ((0, 0),) * len(size))
    return g


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
    """Mean over each window.

    Parameters
    ----------
    x : array (N, S..., C)
    window : int or tuple of int, >= 1
    stride : int or tuple of int, optional
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Positions of zeros.
    dilation : int or tuple of int, >= 1
    ceil_mode : bool
        Positions beyond the padding are never counted.
    count_include_pad : bool
        Divide by all positions of the window including padding, as PyTorch does by default, instead of by the number
        of its positions in x.

    Returns
    -------
    y : array (N, out..., C)
    vjp : callable

    Notes
    -----
    y = (sum over the window) / count is linear, so the VJP is its transpose: it adds dy / count to each position of the
    window.

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
    no_padding = ((0, 0),) * len(g.size)
    counts = _window_counts("avg_pool", g, no_padding)
    if count_include_pad:
        counts = _window_counts("avg_pool", g, declared.padding)
    count = np.ones((), x.real.dtype)
    for along in counts:
        count = count[..., None] * along.astype(count.dtype)
    count = count[..., None]
    y = kernel.window_sums(x, g) / count
    shape, dtype = y.shape, y.dtype

    def avg_pool_vjp(dy: Any) -> Array:
        return kernel.window_sums_adjoint(checks.cotangent("avg_pool", dy, shape, dtype) / count, g)

    return y, avg_pool_vjp


def global_avg_pool(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Mean over all spatial positions.

    Parameters
    ----------
    x : array (N, S..., C)

    Returns
    -------
    y : array (N, C)
    vjp : callable

    Notes
    -----
    y = (1/P) sum_p x[n,p] over the P positions, so dx[n,p] = dy[n] / P.

    Examples
    --------
    >>> y, vjp = global_avg_pool(np.array([[[1.0], [3.0]]]))
    >>> y, vjp(np.array([[1.0]])).ravel()
    (array([[2.]]), array([0.5, 0.5]))
    """
    x = _check_positions("global_avg_pool", x)
    shape = x.shape
    positions = math.prod(shape[1:-1])
    y = example_channel_sums(x)
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

    Returns
    -------
    y : array (N, C)
    vjp : callable

    Notes
    -----
    As in `max_pool`, dx is dy at the argmax and 0 elsewhere.

    Examples
    --------
    >>> y, vjp = global_max_pool(np.array([[[1.0], [3.0], [3.0]]]))
    >>> y, vjp(np.array([[5.0]])).ravel()
    (array([[3.]]), array([0., 5., 0.]))
    """
    x = _check_positions("global_max_pool", x)
    shape, dtype = x.shape, x.dtype
    flat = x.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])
    argmax = flat.real.argmax(axis=1)[:, None, :]
    y = np.take_along_axis(flat, argmax, axis=1)[:, 0, :]
    out = y.shape

    def global_max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("global_max_pool", dy, out, dtype)
        dx = np.zeros((shape[0], math.prod(shape[1:-1]), shape[-1]), dy.dtype)
        np.put_along_axis(dx, argmax, dy[:, None, :], axis=1)
        return dx.reshape(shape)

    return y, global_max_pool_vjp


def adaptive_avg_pool(x: Array, size: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Mean over windows whose size depends on the input's, so that the output has a given size.

    Parameters
    ----------
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the output. Larger than S repeats positions.

    Returns
    -------
    y : array (N, size..., C)
    vjp : callable

    Notes
    -----
    On each axis, window i of ``size`` windows covers the positions floor(i S / size) to ceil((i+1) S / size) - 1. The
    windows cover all positions, differ by at most one position in length, and overlap by at most one. The mean is
    linear: the VJP adds dy / length to each position of the window. Where ``size`` divides S, this is `avg_pool` with
    the window S / size.

    Examples
    --------
    >>> y, vjp = adaptive_avg_pool(np.array([[[1.0], [2.0], [6.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([1.5, 4. ]), array([0.5, 1. , 0.5]))
    """
    x = _check_positions("adaptive_avg_pool", x)
    size = per_axis("adaptive_avg_pool", "size", size, x.ndim - 2)
    check_growth("adaptive_avg_pool", f"size {size}", x.shape[1:-1], size)
    shapes = []
    y = x
    for a in reversed(range(1, x.ndim - 1)):
        shapes.append((a, y.shape))
        y = np.stack(
            [y[*_leading_axes(a), positions].mean(axis=a) for positions in _adaptive(y.shape[a], size[a - 1])], axis=a
        )
    out, dtype = y.shape, y.dtype

    def adaptive_avg_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("adaptive_avg_pool", dy, out, dtype)
        for a, shape in reversed(shapes):
            dx = np.zeros(shape, dy.dtype)
            for i, positions in enumerate(_adaptive(shape[a], size[a - 1])):
                dx[*_leading_axes(a), positions] += dy[*_leading_axes(a), i : i + 1] / (
                    positions.stop - positions.start
                )
            dy = dx
        return dy

    return y, adaptive_avg_pool_vjp


def adaptive_max_pool(x: Array, size: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Maximum over windows whose size depends on the input's, so that the output has a given size.

    Parameters
    ----------
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the output. Larger than S repeats positions.

    Returns
    -------
    y : array (N, size..., C)
    vjp : callable

    Notes
    -----
    The windows are those of `adaptive_avg_pool`; the VJP is that of `max_pool`. Where ``size`` divides S, this is
    `max_pool` with the window S / size.

    Examples
    --------
    >>> y, vjp = adaptive_max_pool(np.array([[[1.0], [5.0], [3.0]]]), 2)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([5., 5.]), array([0., 2., 0.]))
    """
    x = _check_positions("adaptive_max_pool", x)
    size = per_axis("adaptive_max_pool", "size", size, x.ndim - 2)
    check_growth("adaptive_max_pool", f"size {size}", x.shape[1:-1], size)
    stages = []
    y = x
    for a in reversed(range(1, x.ndim - 1)):  # the last axis first keeps row-major order among ties
        argmaxes = [
            (positions.start + y[*_leading_axes(a), positions].real.argmax(axis=a, keepdims=True)).astype(
                np.min_scalar_type(y.shape[a])
            )
            for positions in _adaptive(y.shape[a], size[a - 1])
        ]
        stages.append((a, y.shape, argmaxes))
        y = np.concatenate([np.take_along_axis(y, index, axis=a) for index in argmaxes], axis=a)
    out, dtype = y.shape, y.dtype

    def adaptive_max_pool_vjp(dy: Any) -> Array:
        dy = checks.cotangent("adaptive_max_pool", dy, out, dtype)
        for a, shape, argmaxes in reversed(stages):
            dx = np.zeros(shape, dy.dtype)
            for i, index in enumerate(argmaxes):
                total = np.take_along_axis(dx, index, axis=a) + dy[*_leading_axes(a), i : i + 1]
                np.put_along_axis(dx, index, total, axis=a)
            dy = dx
        return dy

    return y, adaptive_max_pool_vjp


def _adaptive(positions: int, windows: int) -> list[slice]:
    """Return ``windows`` slices of nearly equal length that together cover 0..positions-1."""
    return [slice(i * positions // windows, -(-(i + 1) * positions // windows)) for i in range(windows)]


def _leading_axes(a: int) -> tuple[slice, ...]:
    """Return the index that selects everything on the axes before ``a``."""
    return (slice(None),) * a


def _check_positions(op: str, x: Any) -> Array:
    x = checks.images(op, x)
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{op}: x {x.shape} has no positions to pool over")
    return x


@cached_arrays
def _window_counts(op: str, g: Geometry, counted_padding: tuple[tuple[int, int], ...]) -> tuple[Array, ...]:
    """Count the positions in x and ``counted_padding`` of each window, per axis; raise if a window has none.

    A window has as many positions as the product of the counts of its axes.
    """
    padded = tuple(s + lo + hi for s, (lo, hi) in zip(g.size, g.padding, strict=True))
    check_growth(op, f"padding {g.padding} for windows {g.window}", g.size, padded, _PADDED_POSITIONS)
    counts = []
    for a, (lo, hi) in enumerate(counted_padding):
        start = np.arange(g.out[a]) * g.stride[a] - g.padding[a][0]
        first = np.maximum(-((start + lo) // g.dilation[a]), 0)  # tap
        last = np.minimum((g.size[a] + hi - 1 - start) // g.dilation[a], g.window[a] - 1)
        counts.append(np.maximum(last - first + 1, 0))
        if not counts[a].all():
            raise ValueError(f"{op}: a window is entirely in the padding: {g}")
        counts[a].flags.writeable = False
    return tuple(counts)
