"""Softmax and its logarithm.

Both are ``y, vjp = f(x, axis=-1)`` with ``dx = vjp(dy)``: x is an array of floats (a TypeError otherwise), and y, dy
and dx have its shape. An axis that does not exist or has size 0 is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array


def softmax(x: Array, axis: int = -1) -> tuple[Array, Callable[[Any], Array]]:
    """Softmax, exp(x) / sum exp(x) along an axis: non-negative numbers that sum to 1. Does not overflow.

    Notes
    -----
    Subtracting the maximum from x first does not change the result, and keeps exponentials from overflowing (without
    it, the formula gives NaN from logits of about 90 in float32). With [i = j] for 1 where i is j, else 0, the
    derivative of y_j with respect to x_i is y_j ([i = j] - y_i). Pairing dy with it gives

        dx_i = sum_j dy_j y_j ([i = j] - y_i) = y_i (dy_i - sum_j dy_j y_j)

    Examples
    --------
    >>> y, vjp = softmax(np.array([[1000.0, 1000.0]]))
    >>> y, vjp(np.array([[1.0, 0.0]]))
    (array([[0.5, 0.5]]), array([[ 0.25, -0.25]]))
    """
    x, axis = _softmax_arguments("softmax", x, axis)
    e = np.exp(_minus_max(x, axis))
    y = e / e.sum(axis, keepdims=True)

    def softmax_vjp(dy: Any) -> Array:
        dy = checks.cotangent("softmax", dy, y.shape, y.dtype)
        return y * (dy - (dy * y).sum(axis, keepdims=True))

    return y, softmax_vjp


def log_softmax(x: Array, axis: int = -1) -> tuple[Array, Callable[[Any], Array]]:
    """Logarithm of the softmax, x - log sum exp(x) along an axis. Does not overflow or take the logarithm of 0.

    Notes
    -----
    With p = softmax(x), and [i = j] for 1 where i is j, else 0, the derivative of y_j with respect to x_i is
    [i = j] - p_i, so

        dx_i = sum_j dy_j ([i = j] - p_i) = dy_i - p_i sum_j dy_j

    Examples
    --------
    >>> y, vjp = log_softmax(np.array([[0.0, -1000.0]]))
    >>> y, vjp(np.array([[1.0, 0.0]]))
    (array([[    0., -1000.]]), array([[0., 0.]]))
    """
    x, axis = _softmax_arguments("log_softmax", x, axis)
    shifted = _minus_max(x, axis)
    y = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))

    def log_softmax_vjp(dy: Any) -> Array:
        dy = checks.cotangent("log_softmax", dy, y.shape, y.dtype)
        return dy - np.exp(y) * dy.sum(axis, keepdims=True)

    return y, log_softmax_vjp


def _softmax_arguments(op: str, x: Any, axis: int) -> tuple[Array, int]:
    x = checks.floating(f"{op}: x", x)
    axis = checks.axis(op, axis, x.ndim)
    if x.shape[axis] == 0:
        raise ValueError(f"{op}: x {x.shape} is empty along axis {axis}")
    return x, axis


def _minus_max(x: Array, axis: int) -> Array:
    """Return x minus its largest real part along the axis; the VJPs treat it as constant, as softmax ignores shifts."""
    return x - x.real.max(axis, keepdims=True)
