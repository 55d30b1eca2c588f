"""Arithmetic layers without parameters: each computes the op of the same name in `funcnn.ops`, entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn import ops
from funcnn.kernels.geometry import to_tuple
from funcnn.layer import Layer, parameterless


def negative() -> Layer:
    """Return -x.

    Examples
    --------
    >>> negative().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("negative", ops.negative)


def exp() -> Layer:
    """Exponential function.

    Examples
    --------
    >>> exp().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("exp", ops.exp)


def erf() -> Layer:
    """Error function.

    Examples
    --------
    >>> erf().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("erf", ops.erf)


def log() -> Layer:
    """Natural logarithm.

    Examples
    --------
    >>> log().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("log", ops.log)


def sqrt() -> Layer:
    """Square root.

    Examples
    --------
    >>> sqrt().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("sqrt", ops.sqrt)


def power(exponent: Any) -> Layer:
    """Power by fixed numbers.

    Parameters
    ----------
    exponent : float or nested sequence of float
        As in `funcnn.ops.power`.

    Examples
    --------
    >>> power(2).init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    return parameterless("power", ops.power, {"exponent": to_tuple(np.asarray(exponent, np.float64).tolist())})
