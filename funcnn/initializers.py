"""Initial values of parameters: each ``initializer(key, shape, dtype=np.float32) -> array``.

A weight's shape is (kernel..., in, out), so one unit of the output sums fan_in = prod(kernel) * in products, and one
unit of the input feeds fan_out = prod(kernel) * out of them. Drawing weights with variance 1/fan keeps the size of
activations (fan_in) or of gradients (fan_out) the same from layer to layer; standard-normal weights, as hand-written
examples often use them, multiply it by sqrt(fan) a layer and drive a softmax into saturation before the first step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from funcnn.keys import Key, generator
from funcnn.tree import Array

Initializer: TypeAlias = Callable[..., Array]

__all__ = [
    "Initializer",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "standard_normal",
    "zeros",
]


def zeros(key: Key | None, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """All zeros; the key is not used. The usual start of biases.

    Parameters
    ----------
    key : tuple of int or None
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Examples
    --------
    >>> zeros(None, (2,))
    array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype)


def ones(key: Key | None, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """All ones; the key is not used. The usual start of scales.

    Parameters
    ----------
    key : tuple of int or None
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Examples
    --------
    >>> ones(None, (2,))
    array([1., 1.], dtype=float32)
    """
    return np.ones(shape, dtype)


def standard_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 1, whatever the shape: for tables of which a row is taken, not multiplied and summed.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Examples
    --------
    >>> round(float(standard_normal((0,), (100, 100)).std()), 2)
    1.0
    """
    return _normal(key, shape, dtype, 1.0)


def he_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 2 / fan_in: keeps the variance through a ReLU, which halves it.

    K. He et al., Delving Deep into Rectifiers, 2015 (arXiv:1502.01852).

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> round(float(he_normal((0,), (3, 3, 8, 500)).std()) * math.sqrt(3 * 3 * 8 / 2), 1)
    1.0
    """
    return _normal(key, shape, dtype, 2.0 / _fans(shape)[0])


def he_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 2 / fan_in, that is on +-sqrt(6 / fan_in); see `he_normal`.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> float(abs(he_uniform((0,), (6, 1000))).max().round(2))
    1.0
    """
    return _uniform(key, shape, dtype, 2.0 / _fans(shape)[0])


def glorot_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 2 / (fan_in + fan_out): a compromise between activations and gradients, for tanh and the
    like.

    X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> round(float(glorot_normal((0,), (300, 100)).std()) * math.sqrt(200), 1)
    1.0
    """
    return _normal(key, shape, dtype, 2.0 / sum(_fans(shape)))


def glorot_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out); see `glorot_normal`.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> round(float(abs(glorot_uniform((0,), (300, 100))).max()) / math.sqrt(6 / 400), 2)
    1.0
    """
    return _uniform(key, shape, dtype, 2.0 / sum(_fans(shape)))


def lecun_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 1 / fan_in: keeps the variance through a linear layer, or one that feeds a softmax or selu.

    Y. LeCun et al., Efficient BackProp, 1998.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> round(float(lecun_normal((0,), (400, 100)).std()) * 20, 1)
    1.0
    """
    return _normal(key, shape, dtype, 1.0 / _fans(shape)[0])


def lecun_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 1 / fan_in; see `lecun_normal`.

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> float(abs(lecun_uniform((0,), (3, 1000))).max().round(2))
    1.0
    """
    return _uniform(key, shape, dtype, 1.0 / _fans(shape)[0])


def orthogonal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """A random matrix (prod(shape[:-1]), shape[-1]) with orthonormal columns (rows where it is wide), reshaped.

    The QR decomposition of a normal matrix, with the signs of R's diagonal taken out so that every orthogonal matrix is
    equally likely. A. Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear networks, 2014
    (arXiv:1312.6120).

    Parameters
    ----------
    key : tuple of int
    shape : tuple of int
        (kernel..., in, out), every number at least 1.
    dtype : dtype

    Returns
    -------
    array of ``shape``

    Raises
    ------
    ValueError
        If ``shape`` is not that of a weight.

    Examples
    --------
    >>> w = orthogonal((0,), (3, 3, 2, 5), np.float64).reshape(18, 5)
    >>> bool(np.allclose(w.T @ w, np.eye(5)))
    True
    """
    _fans(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(generator(key).standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diagonal(r))
    return (q if rows >= columns else q.T).reshape(shape).astype(dtype)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"a weight's shape is (kernel..., in, out) with every number >= 1, not {shape}")
    kernel = math.prod(shape[:-2])
    return kernel * shape[-2], kernel * shape[-1]


def _normal(key: Key, shape: tuple[int, ...], dtype: Any, variance: float) -> Array:
    return (generator(key).standard_normal(shape) * math.sqrt(variance)).astype(dtype)


def _uniform(key: Key, shape: tuple[int, ...], dtype: Any, variance: float) -> Array:
    limit = math.sqrt(3.0 * variance)
    return generator(key).uniform(-limit, limit, shape).astype(dtype)
