"""An array of parameters, for nodes of a graph that join it with what is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array, Tree


def parameter(params: Tree, x: Array) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Return the same array for each example, whatever x is, such as the class token of a vision transformer.

    Parameters
    ----------
    params : dict
        ``value`` (...).
    x : array (N, ...)
        It says the number of examples.

    Returns
    -------
    y : array (N, ...)
        ``value`` for each example: a read-only view, in the precision of ``value`` and x together.
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; ``vjp(dy, input_gradient=False)`` returns None for dx.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, ``x`` has no axis of examples, or ``params`` has other leaves.

    Notes
    -----
    dvalue = the sum of dy over the examples, and dx = 0.

    Examples
    --------
    >>> y, vjp = parameter({"value": np.array([2.0, 3.0])}, np.zeros((2, 4)))
    >>> dparams, dx = vjp(np.ones((2, 2)))
    >>> y, dparams["value"], dx.shape
    (array([[2., 3.],
           [2., 3.]]), array([2., 2.]), (2, 4))
    """
    (value,) = checks.leaves("parameter", params, ("value",))
    x = checks.floating("parameter: x", x)
    if not x.ndim:
        raise ValueError("parameter: x needs a first axis for the examples; got a scalar")
    before, dtype = x.shape, np.result_type(value, x)
    y = np.broadcast_to(value.astype(dtype, copy=False), (len(x), *value.shape))
    after = y.shape

    def parameter_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("parameter", dy, after, dtype)
        return {"value": dy.sum(axis=0)}, np.zeros(before, dtype) if input_gradient else None

    return y, parameter_vjp
