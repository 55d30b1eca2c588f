"""Layers of several arrays, for nodes of `funcnn.combinators.graph`: each computes the op of its name in `funcnn.ops`.

x is a tuple of arrays, and ``init`` takes a tuple of shapes.
"""

from __future__ import annotations

from funcnn import ops
from funcnn.layer import Layer, joining


def add() -> Layer:
    """Sum of arrays of equal shape.

    Examples
    --------
    >>> add().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("add", ops.add)


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


def multiply() -> Layer:
    """Product of arrays of equal shape, entry by entry.

    Examples
    --------
    >>> multiply().init((0,), ((4, 4, 8), (4, 4, 8)))[2]
    (4, 4, 8)
    """
    return joining("multiply", ops.multiply)
