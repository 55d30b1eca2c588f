"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array


def softmax(x: Array, axis: int = -1) -> tuple[Array, Callable[[Any], Array]]:
    """Softmax, exp(x) / sum exp(x) along an axis, without overflow.

    Parameters
    ----------
    x : array
    axis : int

    Returns
    -------
    y : array, shape of x
        Non-negative, summing to 1 along ``axis``.
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or has no such axis or nothing on it.

    Notes
    -----
    Taking the maximum off x first changes nothing, and no exponential overflows (written as it stands, the formula
    gives NaN from logits of about 90 in float32). From dy_j/dx_i = y_j ([i = j] - y_i): dx = y (dy - sum_j dy_j y_j).

    Examples
    --------
    >>> y, vjp = softmax(np.array([[1000.0, 1000.0]]))
    >>> y, vjp(np.array([[1.0, 0.0]]))
    (array([[0.5, 0.5]]), array([[ 0.25, -0.25]]))
    """
    x, axis = _softmax_arguments("softmax", x, axis)
    e = np.exp(_below_zero(x, axis))
    y = e / e.sum(axis, keepdims=True)

    def softmax_vjp(dy: Any) -> Array:
        dy = checks.cotangent("softmax", dy, y.shape, y.dtype)
        return y * (dy - (dy * y).sum(axis, keepdims=True))

    return y, softmax_vjp


def log_softmax(x: Array, axis: int = -1) -> tuple[Array, Callable[[Any], Array]]:
    """Logarithm of the softmax, x - log sum exp(x) along an axis, without overflow or logarithms of 0.

    Parameters
    ----------
    x : array
    axis : int

    Returns
    -------
    y : array, shape of x
        Log-probabilities.
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or has no such axis or nothing on it.

    Notes
    -----
    From dy_j/dx_i = [i = j] - softmax(x)_i: dx = dy - softmax(x) sum_j dy_j.

    Examples
    --------
    >>> y, vjp = log_softmax(np.array([[0.0, -1000.0]]))
    >>> y, vjp(np.array([[1.0, 0.0]]))
    (array([[    0., -1000.]]), array([[0., 0.]]))
    """
    x, axis = _softmax_arguments("log_softmax", x, axis)
    shifted = _below_zero(x, axis)
    y = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))

    def log_softmax_vjp(dy: Any) -> Array:
        dy = checks.cotangent("log_softmax", dy, y.shape, y.dtype)
        return dy - np.exp(y) * dy.sum(axis, keepdims=True)

    return y, log_softmax_vjp


def _softmax_arguments(op: str, x: Any, axis: int) -> tuple[Array, int]:
    x = checks.floating(f"{op}: x", x)
    axis = checks.axis(op, axis, x.ndim)
    if x.shape[axis] == 0:
        raise ValueError(f"{op}: x {x.shape} has nothing on axis {axis}")
    return x, axis


def _below_zero(x: Array, axis: int) -> Array:
    """Take the largest real part along the axis off ``x``; a constant to the derivative, since softmax ignores it."""
    return x - x.real.max(axis, keepdims=True)
