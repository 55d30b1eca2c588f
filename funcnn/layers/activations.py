"""Activations: each layer computes the op of the same name in `funcnn.ops`, which has the formula and its derivative.

They keep the shape of their input and, apart from `prelu`, have no parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from funcnn import ops
from funcnn.keys import Key
from funcnn.layer import Layer, parameterless, parametric
from funcnn.tree import Tree


def relu() -> Layer:
    """max(x, 0).

    Examples
    --------
    >>> relu().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[0., 2.]])
    """
    return parameterless("relu", ops.relu)


def leaky_relu(slope: float = 0.01) -> Layer:
    """x where positive, else slope * x.

    Examples
    --------
    >>> leaky_relu(0.2).forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.2,  2. ]])
    """
    return parameterless("leaky_relu", ops.leaky_relu, {"slope": slope})


def prelu(*, initial_slope: float = 0.25, slope_shape: Sequence[int] | None = None) -> Layer:
    """Leaky ReLU whose slopes are parameters, usually one per channel.

    Parameters
    ----------
    initial_slope : float
        0.25, as in the paper.
    slope_shape : sequence of int, optional
        Of the leaf ``slope``, by default (C); it broadcasts to an example's, such as (H, W, C) for one slope at each
        position.

    Examples
    --------
    >>> prelu().init((0,), (8, 8, 2))[0]
    {'slope': array([0.25, 0.25], dtype=float32)}
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        shape = in_shape[-1:] if slope_shape is None else tuple(slope_shape)
        return {"slope": np.full(shape, initial_slope, np.float32)}

    recipe = partial(prelu, initial_slope=initial_slope, slope_shape=slope_shape)
    return parametric("prelu", init_params, ops.prelu, recipe=recipe)


def relu6() -> Layer:
    """min(max(x, 0), 6).

    Examples
    --------
    >>> relu6().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[0., 2.]])
    """
    return parameterless("relu6", ops.relu6)


def elu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x) - 1).

    Examples
    --------
    >>> elu(0.5).forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.316,  2.   ]])
    """
    return parameterless("elu", ops.elu, {"alpha": alpha})


def celu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x / alpha) - 1).

    Parameters
    ----------
    alpha : float > 0

    Examples
    --------
    >>> celu(0.5).forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.432,  2.   ]])
    """
    return parameterless("celu", ops.celu, {"alpha": alpha})


def selu() -> Layer:
    """Self-normalising ELU.

    Examples
    --------
    >>> selu().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-1.111,  2.101]])
    """
    return parameterless("selu", ops.selu)


def gelu(approximate: bool = False) -> Layer:
    """x times the normal distribution function.

    Examples
    --------
    >>> gelu(approximate=True).forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.159,  1.955]])
    """
    return parameterless("gelu", ops.gelu, {"approximate": approximate})


def silu() -> Layer:
    """x times `sigmoid`, also called swish.

    Examples
    --------
    >>> silu().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.269,  1.762]])
    """
    return parameterless("silu", ops.silu)


def mish() -> Layer:
    """x tanh(softplus(x)).

    Examples
    --------
    >>> mish().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.303,  1.944]])
    """
    return parameterless("mish", ops.mish)


def softplus() -> Layer:
    """log(1 + exp(x)).

    Examples
    --------
    >>> softplus().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[0.313, 2.127]])
    """
    return parameterless("softplus", ops.softplus)


def softsign() -> Layer:
    """x / (1 + |x|).

    Examples
    --------
    >>> softsign().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.5  ,  0.667]])
    """
    return parameterless("softsign", ops.softsign)


def tanh() -> Layer:
    """Hyperbolic tangent.

    Examples
    --------
    >>> tanh().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.762,  0.964]])
    """
    return parameterless("tanh", ops.tanh)


def sigmoid() -> Layer:
    """Logistic function.

    Examples
    --------
    >>> sigmoid().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[0.269, 0.881]])
    """
    return parameterless("sigmoid", ops.sigmoid)


def log_sigmoid() -> Layer:
    """Logarithm of the sigmoid.

    Examples
    --------
    >>> log_sigmoid().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-1.313, -0.127]])
    """
    return parameterless("log_sigmoid", ops.log_sigmoid)


def hard_tanh() -> Layer:
    """min(max(x, -1), 1).

    Examples
    --------
    >>> hard_tanh().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-1.,  1.]])
    """
    return parameterless("hard_tanh", ops.hard_tanh)


def clip(lower: float = -math.inf, upper: float = math.inf) -> Layer:
    """min(max(x, lower), upper).

    Examples
    --------
    >>> clip(0.0, 1.0).forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0]
    array([[0., 1.]])
    """
    return parameterless("clip", ops.clip, {"lower": lower, "upper": upper})


def hard_sigmoid(alpha: float = 1 / 6, beta: float = 0.5) -> Layer:
    """min(max(alpha x + beta, 0), 1).

    Examples
    --------
    >>> hard_sigmoid().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[0.333, 0.833]])
    """
    return parameterless("hard_sigmoid", ops.hard_sigmoid, {"alpha": alpha, "beta": beta})


def hard_swish() -> Layer:
    """x times `hard_sigmoid`.

    Examples
    --------
    >>> hard_swish().forward({}, np.array([[-1.0, 2.0]]), {}, train=False)[0].round(3)
    array([[-0.333,  1.667]])
    """
    return parameterless("hard_swish", ops.hard_swish)
