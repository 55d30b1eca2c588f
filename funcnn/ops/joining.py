"""Combine several arrays into one.

Each op takes at least one array of floats. No array or shapes that differ are a ValueError, an array of other numbers
is a TypeError. With a single array, ``vjp(dy)`` returns one cotangent instead of a tuple of one.

The arithmetic does not broadcast unless it is told to: with ``broadcast=True``, the arrays have equally many axes, and
an axis of size 1 is repeated where others are longer. The cotangent of a repeated array is the sum over the
repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.addition import add_all
from funcnn.kernels.broadcasting import sum_to
from funcnn.tree import Array


def add(*xs: Array, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """Sum of arrays.

    Parameters
    ----------
    *xs : array
        All of one shape.
    broadcast : bool

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dy, ..., dy)``, one for each of ``xs``.

    Notes
    -----
    y changes by dx_1 + dx_2 + ..., and <dy, dx_1 + dx_2 + ...> = <dy, dx_1> + <dy, dx_2> + ..., so each cotangent is
    dy. The adjoint of a sum is a copy.

    Examples
    --------
    >>> y, vjp = add(np.array([1.0]), np.array([2.0]))
    >>> y, vjp(np.array([5.0]))
    (array([3.]), (array([5.]), array([5.])))
    """
    arrays = _arrays("add", xs)
    _check_shapes("add", arrays, broadcast)
    y = add_all(arrays)
    shape, dtype, shapes = y.shape, y.dtype, [x.shape for x in arrays]

    def add_vjp(dy: Any) -> Any:
        dy = checks.cotangent("add", dy, shape, dtype)
        return tuple(sum_to(of, dy) for of in shapes) if len(shapes) > 1 else dy

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

    Notes
    -----
    Each number of y is a copy of one number of one array. So the pairing is a sum over the arrays, of each one's part
    of dy with its own change: dx is that part.

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


def multiply(*xs: Array, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """Product of arrays, entry by entry.

    Parameters
    ----------
    *xs : array
        All of one shape.
    broadcast : bool

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dx, ...)``: for each of ``xs``, dy times the product of the others.

    Notes
    -----
    By the product rule, d(a b) = b da + a db entry by entry, so <dy, d(a b)> = <dy b, da> + <dy a, db>. With more
    factors, each change has all the others as its factor. y / x would be their product, but not where x is 0.

    Examples
    --------
    >>> y, vjp = multiply(np.array([2.0]), np.array([3.0]))
    >>> y, vjp(np.array([1.0]))
    (array([6.]), (array([3.]), array([2.])))
    """
    arrays = _arrays("multiply", xs)
    _check_shapes("multiply", arrays, broadcast)
    y = math.prod(arrays[1:], start=arrays[0])
    shape, dtype = y.shape, y.dtype

    def multiply_vjp(dy: Any) -> Any:
        dy = checks.cotangent("multiply", dy, shape, dtype)
        # y / x would divide by 0 where x is 0
        others = [arrays[:i] + arrays[i + 1 :] for i in range(len(arrays))]
        if len(arrays) == 1:
            return dy
        return tuple(sum_to(x.shape, math.prod(rest, start=dy)) for x, rest in zip(arrays, others, strict=True))

    return y, multiply_vjp


def subtract(a: Array, b: Array, *, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """Difference of two arrays. <dy, da - db> = <dy, da> + <-dy, db>, so the VJP is (dy, -dy).

    Parameters
    ----------
    a, b : array
        Of one shape.
    broadcast : bool

    Examples
    --------
    >>> y, vjp = subtract(np.array([5.0]), np.array([2.0]))
    >>> y, vjp(np.array([1.0]))
    (array([3.]), (array([1.]), array([-1.])))
    """
    a, b = _arrays("subtract", (a, b))
    _check_shapes("subtract", [a, b], broadcast)
    y = a - b
    shape, dtype, shape_a, shape_b = y.shape, y.dtype, a.shape, b.shape

    def subtract_vjp(dy: Any) -> Any:
        dy = checks.cotangent("subtract", dy, shape, dtype)
        return sum_to(shape_a, dy), sum_to(shape_b, -dy)

    return y, subtract_vjp


def divide(a: Array, b: Array, *, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """Quotient of two arrays, entry by entry.

    Parameters
    ----------
    a, b : array
        Of one shape.
    broadcast : bool

    Notes
    -----
    a = y b, so by the product rule, da is b times the change of y plus y db: the change of y is da/b - y db/b. Pairing
    dy with it gives the VJP (dy/b, -dy y/b).

    Examples
    --------
    >>> y, vjp = divide(np.array([6.0]), np.array([2.0]))
    >>> y, vjp(np.array([1.0]))
    (array([3.]), (array([0.5]), array([-1.5])))
    """
    a, b = _arrays("divide", (a, b))
    _check_shapes("divide", [a, b], broadcast)
    y = a / b
    shape_a = a.shape

    def divide_vjp(dy: Any) -> Any:
        da = checks.cotangent("divide", dy, y.shape, y.dtype) / b
        return sum_to(shape_a, da), sum_to(b.shape, -da * y)

    return y, divide_vjp


def maximum(*xs: Array, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """The largest of the arrays, entry by entry. NaN counts as largest.

    Parameters
    ----------
    *xs : array
        All of one shape.
    broadcast : bool

    Returns
    -------
    y : array
    vjp : callable
        ``vjp(dy) -> (dx, ...)``: for each of ``xs``, dy where y is its entry, else 0. Ties go to the first.

    Notes
    -----
    Near numbers without ties, y is the entry of one array, and stays that of the same array for small changes: this
    array gets dy there, the others 0.

    Examples
    --------
    >>> y, vjp = maximum(np.array([1.0, 5.0]), np.array([2.0, 5.0]))
    >>> y, vjp(np.array([1.0, 1.0]))
    (array([2., 5.]), (array([0., 1.]), array([1., 0.])))
    """
    return _extremum("maximum", np.greater, xs, broadcast)


def minimum(*xs: Array, broadcast: bool = False) -> tuple[Array, Callable[[Any], Any]]:
    """The smallest of the arrays, entry by entry. NaN counts as smallest.

    Parameters
    ----------
    *xs : array
        All of one shape.
    broadcast : bool

    Returns
    -------
    y : array
    vjp : callable
        As that of `maximum`.

    Notes
    -----
    dx is dy where y is the array's entry, else 0, as for `maximum`.

    Examples
    --------
    >>> minimum(np.array([1.0, 5.0]), np.array([2.0, 4.0]))[0]
    array([1., 4.])
    """
    return _extremum("minimum", np.less, xs, broadcast)


def matmul(a: Array, b: Array, *, broadcast: bool = False) -> tuple[Array, Callable[[Any], tuple[Array, Array]]]:
    """Matrix products of two arrays of matrices: for each index of the axes before the last two, a b.

    Parameters
    ----------
    a : array (N, ..., I, K)
    b : array (N, ..., K, J)
        With the same axes before the last two (else a ValueError).
    broadcast : bool
        Of the axes before the last two.

    Returns
    -------
    y : array (N, ..., I, J)
    vjp : callable
        ``vjp(dy) -> (dy b^T, a^T dy)``

    Notes
    -----
    The differential of y = a b is da b + a db, and for matrices <u, v w> = <u w^T, v> = <v^T u, w>, so

        <dy, da b + a db> = <dy b^T, da> + <a^T dy, db>

    Examples
    --------
    >>> y, vjp = matmul(np.array([[[1.0, 2.0]]]), np.array([[[3.0], [4.0]]]))
    >>> y, vjp(y)
    (array([[[11.]]]), (array([[[33., 44.]]]), array([[[11.],
            [22.]]])))
    """
    a, b = _arrays("matmul", (a, b))
    stacks = a.shape[:-2], b.shape[:-2]
    fitting = len(stacks[0]) == len(stacks[1]) and all(
        s == t or (broadcast and 1 in (s, t)) for s, t in zip(*stacks, strict=True)
    )
    if min(a.ndim, b.ndim) < 3 or not fitting or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: a (N, ..., I, K) needs b (N, ..., K, J), got a {a.shape} and b {b.shape}")
    y = a @ b
    shape, dtype = y.shape, y.dtype

    def matmul_vjp(dy: Any) -> tuple[Array, Array]:
        dy = checks.cotangent("matmul", dy, shape, dtype)
        return sum_to(a.shape, dy @ b.swapaxes(-1, -2)), sum_to(b.shape, a.swapaxes(-1, -2) @ dy)

    return y, matmul_vjp


def _extremum(
    op: str, beats: Callable[[Array, Array], Array], xs: tuple[Any, ...], broadcast: bool
) -> tuple[Array, Callable[[Any], Any]]:
    arrays = _arrays(op, xs)
    _check_shapes(op, arrays, broadcast)
    shape, shapes = np.broadcast_shapes(*(x.shape for x in arrays)), [x.shape for x in arrays]
    y = np.broadcast_to(arrays[0], shape).astype(np.result_type(*arrays))
    chosen = np.zeros(shape, np.min_scalar_type(len(arrays)))
    for i, x in enumerate(arrays[1:], 1):
        better = beats(x.real, y.real) | np.isnan(x)
        y = np.where(better, x, y)
        chosen[better] = i
    dtype = y.dtype

    def extremum_vjp(dy: Any) -> Any:
        dy = checks.cotangent(op, dy, shape, dtype)
        dxs = tuple(sum_to(of, dy * (chosen == i)) for i, of in enumerate(shapes))
        return dxs if len(dxs) > 1 else dxs[0]

    return y, extremum_vjp


def _check_shapes(op: str, arrays: list[Array], broadcast: bool) -> None:
    if not broadcast:
        checks.same_shape(op, arrays)
        return
    shapes = [x.shape for x in arrays]
    if any(len(set(sizes) - {1}) > 1 for sizes in zip(*shapes, strict=False)) or len(set(map(len, shapes))) > 1:
        raise ValueError(
            f"{op}: the arrays must have equally many axes, and sizes that are equal or 1; got "
            f"{', '.join(map(str, shapes))}"
        )


def _arrays(op: str, xs: tuple[Any, ...]) -> list[Array]:
    if not xs:
        raise ValueError(f"{op}: needs at least one array")
    return [checks.floating(f"{op}: argument {i}", x) for i, x in enumerate(xs)]
