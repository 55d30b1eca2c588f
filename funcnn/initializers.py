"""Initial values of parameters: each is ``initializer(key, shape, dtype=np.float32) -> array``.

``key`` is a tuple of ints (`funcnn.keys`), ``shape`` a tuple of ints; the array has that shape and ``dtype``. `zeros`,
`ones` and `standard_normal` take any shape. All others take that of a weight, (kernel..., in, out), with every number
at least 1, and raise a ValueError otherwise.

Each unit of the output sums fan_in = prod(kernel) * in products, and each unit of the input enters fan_out =
prod(kernel) * out products. Weights of variance 1/fan_in keep the size of activations the same from layer to layer,
weights of variance 1/fan_out the size of gradients. Standard-normal weights, which hand-written examples often use,
multiply it by sqrt(fan) in each layer, so that a softmax is saturated before the first step.

With a key of `funcnn.keys.shapes_only` the array is a read-only view of a single 0, whatever its shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from funcnn.keys import Key, generator, largest_array
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
    """All zeros, the usual start of biases. The key is not used and may be None.

    Examples
    --------
    >>> zeros(None, (2,))
    array([0., 0.], dtype=float32)
    """
    return _made(key, shape, dtype, lambda: np.zeros(shape, dtype))


def ones(key: Key | None, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """All ones, the usual start of scales. The key is not used and may be None.

    Examples
    --------
    >>> ones(None, (2,))
    array([1., 1.], dtype=float32)
    """
    return _made(key, shape, dtype, lambda: np.ones(shape, dtype))


def standard_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 1 for any shape: for embedding tables, whose rows are looked up, not multiplied and summed.

    Examples
    --------
    >>> round(float(standard_normal((0,), (100, 100)).std()), 2)
    1.0
    """
    return _normal(key, shape, dtype, 1.0)


def he_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 2 / fan_in, which keeps the variance constant although each ReLU halves it.

    K. He et al., Delving Deep into Rectifiers, 2015 (arXiv:1502.01852).

    Examples
    --------
    >>> round(float(he_normal((0,), (3, 3, 8, 500)).std()) * math.sqrt(3 * 3 * 8 / 2), 1)
    1.0
    """
    return _normal(key, shape, dtype, 2.0 / _fans(shape)[0])


def he_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 2 / fan_in, that is between -sqrt(6 / fan_in) and sqrt(6 / fan_in); see `he_normal`.

    Examples
    --------
    >>> float(abs(he_uniform((0,), (6, 1000))).max().round(2))
    1.0
    """
    return _uniform(key, shape, dtype, 2.0 / _fans(shape)[0])


def glorot_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 2 / (fan_in + fan_out): a compromise between activations and gradients, for tanh or sigmoid.

    X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    Examples
    --------
    >>> round(float(glorot_normal((0,), (300, 100)).std()) * math.sqrt(200), 1)
    1.0
    """
    return _normal(key, shape, dtype, 2.0 / sum(_fans(shape)))


def glorot_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out); see `glorot_normal`.

    Examples
    --------
    >>> round(float(abs(glorot_uniform((0,), (300, 100))).max()) / math.sqrt(6 / 400), 2)
    1.0
    """
    return _uniform(key, shape, dtype, 2.0 / sum(_fans(shape)))


def lecun_normal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Normal with variance 1 / fan_in: for layers that no activation follows, or a softmax or SELU.

    It keeps the variance constant through a linear layer.

    Y. LeCun et al., Efficient BackProp, 1998.

    Examples
    --------
    >>> round(float(lecun_normal((0,), (400, 100)).std()) * 20, 1)
    1.0
    """
    return _normal(key, shape, dtype, 1.0 / _fans(shape)[0])


def lecun_uniform(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Uniform with variance 1 / fan_in; see `lecun_normal`.

    Examples
    --------
    >>> float(abs(lecun_uniform((0,), (3, 1000))).max().round(2))
    1.0
    """
    return _uniform(key, shape, dtype, 1.0 / _fans(shape)[0])


def orthogonal(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """A random matrix (prod(shape[:-1]), shape[-1]) with orthonormal columns, or rows if it is wide, reshaped.

    It is the Q of the QR decomposition of a normal matrix. Each column is multiplied by the sign of R's diagonal, so
    that every orthogonal matrix is equally likely.

    A. Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear networks, 2014
    (arXiv:1312.6120).

    Examples
    --------
    >>> w = orthogonal((0,), (3, 3, 2, 5), np.float64).reshape(18, 5)
    >>> bool(np.allclose(w.T @ w, np.eye(5)))
    True
    """
    _fans(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]

    def draw() -> Array:
        q, r = np.linalg.qr(generator(key).standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))
        return (q if rows >= columns else q.T).reshape(shape).astype(dtype)

    return _made(key, shape, dtype, draw)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"a weight's shape must be (kernel..., in, out) with every number >= 1, not {shape}")
    kernel = math.prod(shape[:-2])
    return kernel * shape[-2], kernel * shape[-1]


def _normal(key: Key, shape: tuple[int, ...], dtype: Any, variance: float) -> Array:
    return _made(key, shape, dtype, lambda: (generator(key).standard_normal(shape) * math.sqrt(variance)).astype(dtype))


def _uniform(key: Key, shape: tuple[int, ...], dtype: Any, variance: float) -> Array:
    limit = math.sqrt(3.0 * variance)
    return _made(key, shape, dtype, lambda: generator(key).uniform(-limit, limit, shape).astype(dtype))


def _made(key: Key | None, shape: tuple[int, ...], dtype: Any, make: Callable[[], Array]) -> Array:
    """Return the array that ``make`` makes; for a key of `keys.shapes_only`, one that takes no memory."""
    largest = largest_array(key)
    if largest is None:
        return make()
    if math.prod(shape) > largest:
        raise ValueError(f"an array of shape {shape} has more than {largest:,} numbers")
    return np.broadcast_to(np.zeros((), dtype), shape)
