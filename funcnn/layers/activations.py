"""Activations: each layer computes the op of the same name in `funcnn.ops`, which has the formula and its derivative.

They keep the shape of their input and, apart from `prelu`, have no parameters.
"""

from __future__ import annotations

import numpy as np

from funcnn import ops
from funcnn.keys import Key
from funcnn.layer import Layer, parameterless, parametric
from funcnn.tree import Tree


def relu() -> Layer:
    """max(x, 0).

    Examples
    --------
    >>> relu().name
    'relu'
    """
    return parameterless("relu", ops.relu)


def leaky_relu(slope: float = 0.01) -> Layer:
    """x where positive, else slope * x.

    Parameters
    ----------
    slope : float

    Examples
    --------
    >>> leaky_relu(0.2).name
    'leaky_relu'
    """
    return parameterless("leaky_relu", ops.leaky_relu, {"slope": slope})


def prelu(*, initial_slope: float = 0.25) -> Layer:
    """Leaky ReLU whose slopes are parameters, one per channel.

    Parameters
    ----------
    initial_slope : float
        0.25, as in the paper.

    Returns
    -------
    Layer
        With the leaf ``slope`` (C).

    Examples
    --------
    >>> prelu().init((0,), (8, 8, 2))[0]
    {'slope': array([0.25, 0.25], dtype=float32)}
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return {"slope": np.full(in_shape[-1:], initial_slope, np.float32)}

    return parametric("prelu", init_params, ops.prelu)


def relu6() -> Layer:
    """min(max(x, 0), 6).

    Examples
    --------
    >>> relu6().name
    'relu6'
    """
    return parameterless("relu6", ops.relu6)


def elu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x) - 1).

    Parameters
    ----------
    alpha : float

    Examples
    --------
    >>> elu(0.5).name
    'elu'
    """
    return parameterless("elu", ops.elu, {"alpha": alpha})


def celu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x / alpha) - 1).

    Parameters
    ----------
    alpha : float > 0

    Examples
    --------
    >>> celu(0.5).name
    'celu'
    """
    return parameterless("celu", ops.celu, {"alpha": alpha})


def selu() -> Layer:
    """Self-normalising ELU.

    Examples
    --------
    >>> selu().name
    'selu'
    """
    return parameterless("selu", ops.selu)


def gelu(approximate: bool = False) -> Layer:
    """x times the normal distribution function.

    Parameters
    ----------
    approximate : bool

    Examples
    --------
    >>> gelu(approximate=True).name
    'gelu'
    """
    return parameterless("gelu", ops.gelu, {"approximate": approximate})


def silu() -> Layer:
    """x times `sigmoid`, also called swish.

    Examples
    --------
    >>> silu().name
    'silu'
    """
    return parameterless("silu", ops.silu)


def mish() -> Layer:
    """x tanh(softplus(x)).

    Examples
    --------
    >>> mish().name
    'mish'
    """
    return parameterless("mish", ops.mish)


def softplus() -> Layer:
    """log(1 + exp(x)).

    Examples
    --------
    >>> softplus().name
    'softplus'
    """
    return parameterless("softplus", ops.softplus)


def softsign() -> Layer:
    """x / (1 + |x|).

    Examples
    --------
    >>> softsign().name
    'softsign'
    """
    return parameterless("softsign", ops.softsign)


def tanh() -> Layer:
    """Hyperbolic tangent.

    Examples
    --------
    >>> tanh().name
    'tanh'
    """
    return parameterless("tanh", ops.tanh)


def sigmoid() -> Layer:
    """Logistic function.

    Examples
    --------
    >>> sigmoid().name
    'sigmoid'
    """
    return parameterless("sigmoid", ops.sigmoid)


def log_sigmoid() -> Layer:
    """Logarithm of the sigmoid.

    Examples
    --------
    >>> log_sigmoid().name
    'log_sigmoid'
    """
    return parameterless("log_sigmoid", ops.log_sigmoid)


def hard_tanh() -> Layer:
    """min(max(x, -1), 1).

    Examples
    --------
    >>> hard_tanh().name
    'hard_tanh'
    """
    return parameterless("hard_tanh", ops.hard_tanh)


def hard_sigmoid() -> Layer:
    """min(max(x / 6 + 1/2, 0), 1).

    Examples
    --------
    >>> hard_sigmoid().name
    'hard_sigmoid'
    """
    return parameterless("hard_sigmoid", ops.hard_sigmoid)


def hard_swish() -> Layer:
    """x times `hard_sigmoid`.

    Examples
    --------
    >>> hard_swish().name
    'hard_swish'
    """
    return parameterless("hard_swish", ops.hard_swish)


def softmax(axis: int = -1) -> Layer:
    """Softmax along an axis. To train a classifier, end in logits and use
    `softmax_cross_entropy`.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Examples
    --------
    >>> softmax().name
    'softmax'
    """
    return parameterless("softmax", ops.softmax, {"axis": axis})


def log_softmax(axis: int = -1) -> Layer:
    """Logarithm of the softmax along an axis.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Examples
    --------
    >>> log_softmax().name
    'log_softmax'
    """
    return parameterless("log_softmax", ops.log_softmax, {"axis": axis})
