"""Layers of several arrays, for nodes of `funcnn.combinators.graph`: each computes the op of its name in `funcnn.ops`.

x is a tuple of arrays, and ``init`` takes a tuple of shapes. With ``broadcast=True``, axes of size 1 are repeated where
others are longer; the arrays have equally many axes.
"""

from __future__ import annotations

from funcnn import ops
from funcnn.layer import Layer, joining


def add(*, broadcast: bool = False) -> Layer:
    """Sum of arrays.

    Examples
    --------
    >>> add().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("add", ops.add, {"broadcast": broadcast})


def concat(axis: int = -1) -> Layer:
    """Concatenate arrays along an axis, by default the channels.

    Parameters
    ----------
    axis : int
        Not 0, the axis of the examples.

    Raises
    ------
    ValueError
        If ``axis`` is 0.

    Examples
    --------
    >>> concat().init((0,), ((4, 4, 8), (4, 4, 2)))[2]
    (4, 4, 10)
    """
    if axis == 0:
        raise ValueError("concat: axis must not be 0, the axis of the examples")
    return joining("concat", ops.concat, {"axis": axis})


def divide(*, broadcast: bool = False) -> Layer:
    """The first array divided by the second, entry by entry.

    Examples
    --------
    >>> divide(broadcast=True).init((0,), ((4, 4, 8), (4, 4, 1)))[2]
    (4, 4, 8)
    """
    return joining("divide", ops.divide, {"broadcast": broadcast})


def matmul(*, broadcast: bool = False) -> Layer:
    """Matrix products of the last two axes of two arrays.

    Examples
    --------
    >>> matmul().init((0,), ((3, 4, 8), (3, 8, 5)))[2]
    (3, 4, 5)
    """
    return joining("matmul", ops.matmul, {"broadcast": broadcast})


def maximum(*, broadcast: bool = False) -> Layer:
    """The largest of the arrays, entry by entry.

    Examples
    --------
    >>> maximum().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("maximum", ops.maximum, {"broadcast": broadcast})


def minimum(*, broadcast: bool = False) -> Layer:
    """The smallest of the arrays, entry by entry.

    Examples
    --------
    >>> minimum().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("minimum", ops.minimum, {"broadcast": broadcast})


def multiply(*, broadcast: bool = False) -> Layer:
    """Product of arrays, entry by entry.

    Examples
    --------
    >>> multiply(broadcast=True).init((0,), ((4, 4, 8), (1, 1, 8)))[2]
    (4, 4, 8)
    """
    return joining("multiply", ops.multiply, {"broadcast": broadcast})


def subtract(*, broadcast: bool = False) -> Layer:
    """The first array minus the second.

    Examples
    --------
    >>> subtract().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("subtract", ops.subtract, {"broadcast": broadcast})
