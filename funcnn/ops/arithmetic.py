"""Arithmetic of one array, entry by entry.

Each is ``y, vjp = f(x)`` with ``dx = vjp(dy)``: x is an array of floats of any shape (a TypeError otherwise), and y, dy
and dx have its shape. Each docstring gives the derivative, dx = dy f'(x). Outside of a function's domain y is NaN or
infinite and dx what the formula gives, as NumPy computes them, without its warnings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels import erf as kernel
from funcnn.tree import Array

_quiet = np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore")


def negative(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Return -x; d(-x) = -dx, so dx = -dy.

    Examples
    --------
    >>> y, vjp = negative(np.array([1.0, -2.0]))
    >>> y, vjp(np.ones(2))
    (array([-1.,  2.]), array([-1., -1.]))
    """
    x = checks.floating("negative: x", x)
    shape, dtype = x.shape, x.dtype

    def negative_vjp(dy: Any) -> Array:
        return -checks.cotangent("negative", dy, shape, dtype)

    return -x, negative_vjp


@_quiet
def exp(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Exponential function. It is its own derivative, so dx = dy y.

    Examples
    --------
    >>> y, vjp = exp(np.array([0.0, 1.0]))
    >>> y.round(3), vjp(np.ones(2)).round(3)
    (array([1.   , 2.718]), array([1.   , 2.718]))
    """
    y = np.exp(checks.floating("exp: x", x))

    @_quiet
    def exp_vjp(dy: Any) -> Array:
        return checks.cotangent("exp", dy, y.shape, y.dtype) * y

    return y, exp_vjp


@_quiet
def erf(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x; dx = dy 2/sqrt(pi) exp(-x^2).

    Examples
    --------
    >>> y, vjp = erf(np.array([0.0, 1.0]))
    >>> y.round(3), vjp(np.ones(2)).round(3)
    (array([0.   , 0.843]), array([1.128, 0.415]))
    """
    x = checks.floating("erf: x", x)

    @_quiet
    def erf_vjp(dy: Any) -> Array:
        return checks.cotangent("erf", dy, x.shape, x.dtype) * (2 / math.sqrt(math.pi) * np.exp(-x * x))

    return kernel.erf(x), erf_vjp


@_quiet
def log(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Natural logarithm of x > 0; dx = dy / x.

    Examples
    --------
    >>> y, vjp = log(np.array([1.0, 2.0]))
    >>> y.round(3), vjp(np.ones(2))
    (array([0.   , 0.693]), array([1. , 0.5]))
    """
    x = checks.floating("log: x", x)
    y = np.log(x)

    @_quiet
    def log_vjp(dy: Any) -> Array:
        return checks.cotangent("log", dy, x.shape, x.dtype) / x

    return y, log_vjp


@_quiet
def sqrt(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Square root of x >= 0. As y^2 = x, 2 y y' = 1, so dx = dy / (2 y), which is infinite at 0.

    Examples
    --------
    >>> y, vjp = sqrt(np.array([1.0, 4.0]))
    >>> y, vjp(np.ones(2))
    (array([1., 2.]), array([0.5 , 0.25]))
    """
    y = np.sqrt(checks.floating("sqrt: x", x))

    @_quiet
    def sqrt_vjp(dy: Any) -> Array:
        return checks.cotangent("sqrt", dy, y.shape, y.dtype) / (2 * y)

    return y, sqrt_vjp


@_quiet
def power(x: Array, exponent: Any) -> tuple[Array, Callable[[Any], Array]]:
    """Return x to the power of fixed numbers p; dx = dy p x^(p-1), and 0 for p = 0.

    Parameters
    ----------
    x : array
        x >= 0, unless ``exponent`` is a whole number.
    exponent : float or nested sequence of float
        One number, or an array that broadcasts to an example of x (N, ...), else a ValueError.

    Examples
    --------
    >>> y, vjp = power(np.array([1.0, -3.0]), 2)
    >>> y, vjp(np.ones(2))
    (array([1., 9.]), array([ 2., -6.]))
    """
    x = checks.floating("power: x", x)
    p: Any = np.asarray(exponent, x.real.dtype)
    if p.ndim:
        checks.broadcasts_to_example("power", "exponent", p, x)
    else:
        p = float(exponent)  # NumPy has faster loops for squares and roots by a number
    y = x**p

    @_quiet
    def power_vjp(dy: Any) -> Array:
        dy = checks.cotangent("power", dy, x.shape, x.dtype)
        return np.where(p == 0, 0, dy * (p * x ** (p - 1))) if np.ndim(p) or p else np.zeros_like(dy)

    return y, power_vjp
