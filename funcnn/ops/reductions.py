"""Sums, means and maxima over axes of each example.

Each op takes x (N, ...) of floats and ``axes``, an int or several, which count from the batch axis 0 and must not
contain it: examples do not depend on each other. They are removed from y, or have size 1 with ``keepdims=True``. A
wrong axis is a ValueError, an array of other numbers a TypeError.

Sums and means are linear. If y is the sum, <dy, sum of dx> = sum of dy dx over all entries of x, where each dy is the
factor of all entries that it sums: dx = E(dy), with E(dy) for dy repeated along the axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array


def reduce_sum(x: Array, axes: int | Sequence[int], *, keepdims: bool = False) -> tuple[Array, Callable[[Any], Array]]:
    """Sum over axes; dx = E(dy).

    Examples
    --------
    >>> y, vjp = reduce_sum(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    >>> y, vjp(y)
    (array([3., 7.]), array([[3., 3.],
           [7., 7.]]))
    """
    x, over, with_ones = _arguments("reduce_sum", x, axes)
    y = x.sum(axis=over, keepdims=keepdims)
    shape, dtype, out = x.shape, x.dtype, y.shape

    def reduce_sum_vjp(dy: Any) -> Array:
        dy = checks.cotangent("reduce_sum", dy, out, dtype)
        return np.broadcast_to(dy.reshape(with_ones), shape)

    return y, reduce_sum_vjp


def reduce_mean(x: Array, axes: int | Sequence[int], *, keepdims: bool = False) -> tuple[Array, Callable[[Any], Array]]:
    """Mean of the n entries along the axes; dx = E(dy) / n.

    Examples
    --------
    >>> y, vjp = reduce_mean(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    >>> y, vjp(np.ones(2))
    (array([1.5, 3.5]), array([[0.5, 0.5],
           [0.5, 0.5]]))
    """
    x, over, with_ones = _arguments("reduce_mean", x, axes)
    n = _count("reduce_mean", x, over)
    y = x.sum(axis=over, keepdims=keepdims) / n
    shape, dtype, out = x.shape, x.dtype, y.shape

    def reduce_mean_vjp(dy: Any) -> Array:
        dy = checks.cotangent("reduce_mean", dy, out, dtype)
        return np.broadcast_to(dy.reshape(with_ones) / n, shape)

    return y, reduce_mean_vjp


def reduce_max(x: Array, axes: int | Sequence[int], *, keepdims: bool = False) -> tuple[Array, Callable[[Any], Array]]:
    """Maximum over axes. dx is dy at the first maximum in row-major order, 0 elsewhere.

    Examples
    --------
    >>> y, vjp = reduce_max(np.array([[1.0, 4.0, 4.0]]), 1)
    >>> y, vjp(np.ones(1))
    (array([4.]), array([[0., 1., 0.]]))
    """
    x, over, with_ones = _arguments("reduce_max", x, axes)
    n = _count("reduce_max", x, over)
    ends = range(-len(over), 0)
    moved = np.moveaxis(x, over, ends)  # the axes to reduce, then in one
    rows = moved.reshape(*moved.shape[: x.ndim - len(over)], n)
    argmax = rows.real.argmax(axis=-1, keepdims=True)
    y = np.take_along_axis(rows, argmax, -1)
    y = y.reshape(with_ones) if keepdims else y[..., 0]
    dtype, out, rows_shape, moved_shape = x.dtype, y.shape, rows.shape, moved.shape

    def reduce_max_vjp(dy: Any) -> Array:
        dy = checks.cotangent("reduce_max", dy, out, dtype)
        dx = np.zeros(rows_shape, dtype)
        np.put_along_axis(dx, argmax, dy.reshape(argmax.shape), -1)
        return np.moveaxis(dx.reshape(moved_shape), ends, over)

    return y, reduce_max_vjp


def _count(op: str, x: Array, over: tuple[int, ...]) -> int:
    """Return the number of entries along the axes, at least 1."""
    count = math.prod(x.shape[a] for a in over)
    if not count:
        raise ValueError(f"{op}: x {x.shape} has no entry along axes {over}")
    return count


def _arguments(op: str, x: Array, axes: int | Sequence[int]) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """Return x, its axes to reduce in order, and its shape with 1 in their place."""
    x = checks.floating(f"{op}: x", x)
    listed: list[int] = np.atleast_1d(axes).tolist()
    over = tuple(sorted({checks.axis(op, a, x.ndim) for a in listed}))
    if 0 in over:
        raise ValueError(f"{op}: axes {axes} include axis 0, but examples must not depend on each other")
    return x, over, tuple(1 if a in over else s for a, s in enumerate(x.shape))
