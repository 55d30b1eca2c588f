"""Rearranging an array without arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funcnn.kernels import checks
from funcnn.tree import Array


def flatten(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Lay all axes but the first in one.

    Parameters
    ----------
    x : array (N, ...)

    Returns
    -------
    y : array (N, F)
    vjp : callable
        ``vjp(dy) -> dx``, which puts the shape back.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or has no axis at all.

    Examples
    --------
    >>> import numpy as np
    >>> y, vjp = flatten(np.zeros((2, 8, 8, 3)))
    >>> y.shape, vjp(y).shape
    ((2, 192), (2, 8, 8, 3))
    """
    x = checks.floating("flatten: x", x)
    if x.ndim < 1:
        raise ValueError("flatten: x needs a first axis for the examples; got a scalar")
    shape, dtype = x.shape, x.dtype
    flat = (shape[0], math.prod(shape[1:]))

    def flatten_vjp(dy: Any) -> Array:
        return checks.cotangent("flatten", dy, flat, dtype).reshape(shape)

    return x.reshape(flat), flatten_vjp
