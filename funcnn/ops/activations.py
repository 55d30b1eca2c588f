"""Elementwise functions and softmax. At a kink the derivative is that of the left-hand branch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.kernels import checks
from funcnn.tree import Array


def relu(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Rectified linear unit, max(x, 0).

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError
        If ``x`` is not of floats.

    Notes
    -----
    The derivative is 1 where x > 0, else 0 (also at 0): dx = dy [x > 0]. Since y > 0 just where x > 0, y serves,
    which the next layer keeps anyway.

    Examples
    --------
    >>> y, vjp = relu(np.array([-1.0, 0.0, 2.0]))
    >>> y, vjp(np.ones(3))
    (array([0., 0., 2.]), array([0., 0., 1.]))
    """
    x = checks.floating("relu: x", x)
    y = np.maximum(x, 0) if x.dtype.kind == "f" else np.where(x.real <= 0, 0, x)

    def relu_vjp(dy: Any) -> Array:
        return checks.cotangent("relu", dy, y.shape, y.dtype) * (y.real > 0)

    return y, relu_vjp


def leaky_relu(x: Array, slope: float = 0.01) -> tuple[Array, Callable[[Any], Array]]:
    """Leaky rectified linear unit: x where x > 0, else slope * x.

    Parameters
    ----------
    x : array, any shape
    slope : float

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError
        If ``x`` is not of floats.

    Notes
    -----
    dx = dy where x > 0, else slope * dy.

    Examples
    --------
    >>> y, vjp = leaky_relu(np.array([-1.0, 0.0, 2.0]), slope=0.5)
    >>> y, vjp(np.ones(3))
    (array([-0.5,  0. ,  2. ]), array([0.5, 0.5, 1. ]))
    """
    x = checks.floating("leaky_relu: x", x)
    slope = float(slope)
    positive = x.real > 0
    y = np.where(positive, x, slope * x)
    dtype = y.dtype

    def leaky_relu_vjp(dy: Any) -> Array:
        dy = checks.cotangent("leaky_relu", dy, positive.shape, dtype)
        return np.where(positive, dy, slope * dy)

    return y, leaky_relu_vjp


def tanh(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Hyperbolic tangent.

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError
        If ``x`` is not of floats.

    Notes
    -----
    tanh' = 1 - tanh^2, so dx = dy (1 - y^2).

    Examples
    --------
    >>> y, vjp = tanh(np.array([0.0]))
    >>> y, vjp(np.array([3.0]))
    (array([0.]), array([3.]))
    """
    y = np.tanh(checks.floating("tanh: x", x))

    def tanh_vjp(dy: Any) -> Array:
        return checks.cotangent("tanh", dy, y.shape, y.dtype) * (1 - y * y)

    return y, tanh_vjp


def sigmoid(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Logistic function 1 / (1 + exp(-x)), without overflow.

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError
        If ``x`` is not of floats.

    Notes
    -----
    With e = exp(-|x|) <= 1, y is 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0. The derivative y (1 - y) is
    e / (1 + e)^2 on both sides.

    Examples
    --------
    >>> y, vjp = sigmoid(np.array([0.0, -1000.0]))
    >>> y, vjp(np.ones(2))
    (array([0.5, 0. ]), array([0.25, 0.  ]))
    """
    x = checks.floating("sigmoid: x", x)
    e = np.exp(np.where(x.real < 0, x, -x))
    y = np.where(x.real < 0, e, 1) / (1 + e)

    def sigmoid_vjp(dy: Any) -> Array:
        dy = checks.cotangent("sigmoid", dy, y.shape, y.dtype)
        return dy * (e / ((1 + e) * (1 + e)))

    return y, sigmoid_vjp


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
