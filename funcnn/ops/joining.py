"""Combine several arrays into one.

Each op takes at least one array of floats and does not broadcast. No array or shapes that differ are a ValueError, an
array of other numbers is a TypeError. With a single array, ``vjp(dy)`` returns one cotangent instead of a tuple of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array


def add(*xs: Array) -> tuple[Array, Callable[[Any], Any]]:
    """Sum of arrays of equal shape.

    Parameters
    ----------
    *xs : array
        All of one shape.

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dy, ..., dy)``, one for each of ``xs``.

    Examples
    --------
    >>> y, vjp = add(np.array([1.0]), np.array([2.0]))
    >>> y, vjp(np.array([5.0]))
    (array([3.]), (array([5.]), array([5.])))
    """
    arrays = _arrays("add", xs)
    checks.same_shape("add", arrays)
    y = sum(arrays[1:], arrays[0])
    shape, dtype, count = y.shape, y.dtype, len(arrays)

    def add_vjp(dy: Any) -> Any:
        dy = checks.cotangent("add", dy, shape, dtype)
        return (dy,) * count if count > 1 else dy

    return y, add_vjp


def concat(*xs: Array, axis: int = -1) -> tuple[Array, Callable[[Any], Any]]:
    """Concatenate arrays along an axis, by default the channels.

    Parameters
    ----------
    *xs : array
        Of equal shapes on the other axes.
    axis : int

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dx, ...)``: for each of ``xs``, the slice of dy at its position in y.

    Examples
    --------
    >>> y, vjp = concat(np.array([[1.0]]), np.array([[2.0, 3.0]]))
    >>> y, vjp(y)
    (array([[1., 2., 3.]]), (array([[1.]]), array([[2., 3.]])))
    """
    arrays = _arrays("concat", xs)
    axis = checks.axis("concat", axis, arrays[0].ndim)
    checks.same_shape("concat", arrays, except_axis=axis)
    y = np.concatenate(arrays, axis)
    shape, dtype = y.shape, y.dtype
    ends = np.cumsum([x.shape[axis] for x in arrays])[:-1]

    def concat_vjp(dy: Any) -> Any:
        parts = tuple(np.split(checks.cotangent("concat", dy, shape, dtype), ends, axis))
        return parts if len(parts) > 1 else parts[0]

    return y, concat_vjp


def multiply(*xs: Array) -> tuple[Array, Callable[[Any], Any]]:
    """Product of arrays of equal shape, entry by entry.

    Parameters
    ----------
    *xs : array
        All of one shape.

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dx, ...)``: for each of ``xs``, dy times the product of the others.

    Examples
    --------
    >>> y, vjp = multiply(np.array([2.0]), np.array([3.0]))
    >>> y, vjp(np.array([1.0]))
    (array([6.]), (array([3.]), array([2.])))
    """
    arrays = _arrays("multiply", xs)
    checks.same_shape("multiply", arrays)
    y = math.prod(arrays[1:], start=arrays[0])
    shape, dtype = y.shape, y.dtype

    def multiply_vjp(dy: Any) -> Any:
        dy = checks.cotangent("multiply", dy, shape, dtype)
        # y / x would divide by 0 where x is 0
        others = [arrays[:i] + arrays[i + 1 :] for i in range(len(arrays))]
        return tuple(math.prod(rest, start=dy) for rest in others) if len(arrays) > 1 else dy

    return y, multiply_vjp


def _arrays(op: str, xs: tuple[Any, ...]) -> list[Array]:
    if not xs:
        raise ValueError(f"{op}: needs at least one array")
    return [checks.floating(f"{op}: argument {i}", x) for i, x in enumerate(xs)]
