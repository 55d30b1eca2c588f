"""Elementwise functions.

Each is ``y, vjp = f(x)`` with ``dx = vjp(dy)``: x is an array of floats of any shape (a TypeError otherwise), and y, dy
and dx have its shape. The notes give the derivative. As y[i] = f(x[i]) changes by f'(x[i]) dx[i] to first order, the
pairing is sum_i dy[i] f'(x[i]) dx[i], so dx = dy f'(x), entry by entry. At a kink it is that of the left-hand branch.
PyTorch takes the right-hand branch's at the upper kink of clip, relu6, hard_tanh, hard_sigmoid and hard_swish, and
agrees elsewhere. The slopes of `prelu` are parameters; its docstring describes its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import channel_sum
from funcnn.kernels.broadcasting import sum_to
from funcnn.kernels.erf import erf
from funcnn.kernels.rectifier import rectify, rectify_adjoint
from funcnn.tree import Array, Tree

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_GELU_FACTOR = math.sqrt(2 / math.pi)


def relu(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Rectified linear unit, max(x, 0).

    Notes
    -----
    The derivative is 1 where x > 0, else 0 (also at 0), so with [x > 0] for 1 where that holds, else 0,

        dx = dy [x > 0]

    The VJP tests y > 0, which is equivalent: it keeps y rather than x, since the next layer keeps y anyway.

    Examples
    --------
    >>> y, vjp = relu(np.array([-1.0, 0.0, 2.0]))
    >>> y, vjp(np.ones(3))
    (array([0., 0., 2.]), array([0., 0., 1.]))
    """
    x = checks.floating("relu: x", x)
    y = rectify(x)

    def relu_vjp(dy: Any) -> Array:
        return rectify_adjoint(y, checks.cotangent("relu", dy, y.shape, y.dtype))

    return y, relu_vjp


def leaky_relu(x: Array, slope: float = 0.01) -> tuple[Array, Callable[[Any], Array]]:
    """Leaky rectified linear unit: x where x > 0, else slope * x.

    Notes
    -----
    Both branches are lines, so dx = dy where x > 0, else slope * dy.

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


def prelu(params: Tree, x: Array) -> tuple[Array, Callable[..., tuple[Tree, Array]]]:
    """Leaky ReLU whose slopes are parameters, usually one per channel: x where x > 0, else slope * x.

    Parameters
    ----------
    params : dict
        ``slope``, of a shape that broadcasts to that of an example: (C) for one number a channel, () for one number,
        (S..., C) for one at each position.
    x : array (N, ..., C)

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the shapes do not fit, or ``params`` has other leaves.

    Notes
    -----
    Where x > 0, y changes by dx, and elsewhere, by d(slope x) = slope dx + x dslope. So dx = dy where x > 0, else
    slope * dy, and dslope is the sum of x dy over all x <= 0 that the slope belongs to.

    K. He et al., Delving Deep into Rectifiers, 2015 (arXiv:1502.01852).

    Examples
    --------
    >>> y, vjp = prelu({"slope": np.array([0.5])}, np.array([[-2.0], [3.0]]))
    >>> dparams, dx = vjp(np.ones((2, 1)))
    >>> y.ravel(), dparams["slope"], dx.ravel()
    (array([-1.,  3.]), array([-2.]), array([0.5, 1. ]))
    """
    (slope,) = checks.leaves("prelu", params, ("slope",))
    x = checks.floating("prelu: x", x)
    checks.broadcasts_to_example("prelu", "slope", slope, x)
    y = np.where(x.real > 0, x, slope * x)
    dtype = y.dtype

    def prelu_vjp(dy: Any) -> tuple[Tree, Array]:
        dy = checks.cotangent("prelu", dy, x.shape, dtype)
        positive = x.real > 0
        terms = np.where(positive, 0, x * dy)
        dslope = channel_sum(terms) if slope.shape == x.shape[-1:] else sum_to(slope.shape, terms)
        return {"slope": dslope}, np.where(positive, dy, slope * dy)

    return y, prelu_vjp


def tanh(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Hyperbolic tangent.

    Notes
    -----
    With s = (exp(x) - exp(-x))/2 and c = (exp(x) + exp(-x))/2, y = s / c, s' = c and c' = s. The quotient rule gives
    y' = (c^2 - s^2)/c^2 = 1 - y^2, which needs y alone:

        dx = dy (1 - y^2)

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

    Notes
    -----
    The derivative is exp(-x) / (1 + exp(-x))^2 = y (1 - y). With e = exp(-|x|) <= 1, y is 1 / (1 + e) for x >= 0 and
    e / (1 + e) for x < 0; on both sides y (1 - y) is

        dx = dy e / (1 + e)^2

    which keeps its digits where y is nearly 1.

    Examples
    --------
    >>> y, vjp = sigmoid(np.array([0.0, -1000.0]))
    >>> y, vjp(np.ones(2))
    (array([0.5, 0. ]), array([0.25, 0.  ]))
    """
    x = checks.floating("sigmoid: x", x)
    e = np.exp(_negative_abs(x))
    y = np.where(x.real < 0, e, 1) / (1 + e)

    def sigmoid_vjp(dy: Any) -> Array:
        dy = checks.cotangent("sigmoid", dy, e.shape, e.dtype)
        return dy * (e / ((1 + e) * (1 + e)))

    return y, sigmoid_vjp


def relu6(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """ReLU clipped at 6, min(max(x, 0), 6).

    Notes
    -----
    A constant does not change, so dx = dy where 0 < x <= 6, else 0.
    A. Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010.

    Examples
    --------
    >>> y, vjp = relu6(np.array([-1.0, 2.0, 7.0]))
    >>> y.round(6), vjp(np.ones(3)).round(6)
    (array([0., 2., 6.]), array([0., 1., 0.]))
    """
    x = checks.floating("relu6: x", x)
    y = _clip(x, 0.0, 6.0)

    def relu6_vjp(dy: Any) -> Array:
        dy = checks.cotangent("relu6", dy, x.shape, x.dtype)
        return dy * ((x.real > 0) & (x.real <= 6))

    return y, relu6_vjp


def hard_tanh(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """The tangent line of tanh at 0, clipped to [-1, 1].

    Notes
    -----
    dx = dy where -1 < x <= 1, else 0.

    Examples
    --------
    >>> y, vjp = hard_tanh(np.array([-2.0, 0.5, 2.0]))
    >>> y.round(6), vjp(np.ones(3)).round(6)
    (array([-1. ,  0.5,  1. ]), array([0., 1., 0.]))
    """
    x = checks.floating("hard_tanh: x", x)
    y = _clip(x, -1.0, 1.0)

    def hard_tanh_vjp(dy: Any) -> Array:
        dy = checks.cotangent("hard_tanh", dy, x.shape, x.dtype)
        return dy * ((x.real > -1) & (x.real <= 1))

    return y, hard_tanh_vjp


def clip(x: Array, lower: float = -math.inf, upper: float = math.inf) -> tuple[Array, Callable[[Any], Array]]:
    """x clipped to [lower, upper], min(max(x, lower), upper).

    Parameters
    ----------
    x : array
    lower, upper : float
        ``lower`` must not be above ``upper``.

    Notes
    -----
    dx = dy where lower < x <= upper, else 0.

    Examples
    --------
    >>> y, vjp = clip(np.array([-2.0, 0.5, 2.0]), 0.0, 1.0)
    >>> y, vjp(np.ones(3))
    (array([0. , 0.5, 1. ]), array([0., 1., 0.]))
    """
    x = checks.floating("clip: x", x)
    lower, upper = float(lower), float(upper)
    if not lower <= upper:
        raise ValueError(f"clip: lower must not be above upper, got {lower} and {upper}")
    y = _clip(x, lower, upper)

    def clip_vjp(dy: Any) -> Array:
        dy = checks.cotangent("clip", dy, x.shape, x.dtype)
        return dy * ((x.real > lower) & (x.real <= upper))

    return y, clip_vjp


def hard_sigmoid(x: Array, alpha: float = 1 / 6, beta: float = 0.5) -> tuple[Array, Callable[[Any], Array]]:
    """Piecewise linear approximation of the sigmoid, min(max(alpha x + beta, 0), 1).

    Parameters
    ----------
    x : array
    alpha : float > 0
        The default slope is that of PyTorch and Keras 3; ONNX has 0.2 by default.
    beta : float

    Notes
    -----
    dx = alpha dy where 0 < alpha x + beta <= 1, else 0.

    Examples
    --------
    >>> y, vjp = hard_sigmoid(np.array([-4.0, 0.0, 4.0]))
    >>> y.round(6), vjp(np.ones(3)).round(6)
    (array([0. , 0.5, 1. ]), array([0.      , 0.166667, 0.      ]))
    """
    x = checks.floating("hard_sigmoid: x", x)
    alpha, beta = float(alpha), float(beta)
    if not alpha > 0:
        raise ValueError(f"hard_sigmoid: alpha must be above 0, got {alpha}")
    y = _clip(alpha * x + beta, 0.0, 1.0)

    def hard_sigmoid_vjp(dy: Any) -> Array:
        dy = checks.cotangent("hard_sigmoid", dy, x.shape, x.dtype)
        line = alpha * x.real + beta
        return alpha * dy * ((line > 0) & (line <= 1))

    return y, hard_sigmoid_vjp


def hard_swish(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """`silu` with `hard_sigmoid` instead of the sigmoid, x min(max(x / 6 + 1/2, 0), 1).

    Notes
    -----
    Between the kinks y = x^2/6 + x/2, so dx = dy (x/3 + 1/2) where -3 < x <= 3, dy where x > 3, else 0.
    A. Howard et al., Searching for MobileNetV3, 2019 (arXiv:1905.02244).

    Examples
    --------
    >>> y, vjp = hard_swish(np.array([-4.0, 0.0, 4.0]))
    >>> y.round(6), vjp(np.ones(3)).round(6)
    (array([-0.,  0.,  4.]), array([0. , 0.5, 1. ]))
    """
    x = checks.floating("hard_swish: x", x)
    middle = _clip(x, -3.0, 3.0)
    y = np.where(x.real > 3, x, middle * (middle / 6 + 0.5))

    def hard_swish_vjp(dy: Any) -> Array:
        dy = checks.cotangent("hard_swish", dy, x.shape, x.dtype)
        return dy * np.where(x.real > 3, 1, np.where(x.real > -3, x / 3 + 0.5, 0)).astype(x.dtype)

    return y, hard_swish_vjp


def elu(x: Array, alpha: float = 1.0) -> tuple[Array, Callable[[Any], Array]]:
    """Exponential linear unit: x where x > 0, else alpha (exp(x) - 1).

    Notes
    -----
    exp is its own derivative, so dx = dy where x > 0, else dy alpha exp(x). At 0 the branches have the slopes 1 and
    alpha.

    D. Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, 2015 (arXiv:1511.07289).

    Examples
    --------
    >>> y, vjp = elu(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.632121,  2.      ]), array([0.367879, 1.      ]))
    """
    x = checks.floating("elu: x", x)
    alpha = float(alpha)
    y = np.where(x.real > 0, x, alpha * np.expm1(_negative(x)))

    def elu_vjp(dy: Any) -> Array:
        dy = checks.cotangent("elu", dy, x.shape, x.dtype)
        return dy * np.where(x.real > 0, 1, alpha * np.exp(_negative(x)))

    return y, elu_vjp


def celu(x: Array, alpha: float = 1.0) -> tuple[Array, Callable[[Any], Array]]:
    """ELU whose derivative is continuous for every alpha: x where x > 0, else alpha (exp(x / alpha) - 1).

    Parameters
    ----------
    alpha : float > 0
        Otherwise a ValueError is raised.

    Notes
    -----
    dx = dy where x > 0, else dy exp(x / alpha), as alpha cancels: at 0 both branches have the slope 1.

    J. Barron, Continuously Differentiable Exponential Linear Units, 2017 (arXiv:1704.07483).

    Examples
    --------
    >>> y, vjp = celu(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.632121,  2.      ]), array([0.367879, 1.      ]))
    """
    x = checks.floating("celu: x", x)
    alpha = float(alpha)
    if not alpha > 0:
        raise ValueError(f"celu: alpha must be above 0, got {alpha}")
    y = np.where(x.real > 0, x, alpha * np.expm1(_negative(x) / alpha))

    def celu_vjp(dy: Any) -> Array:
        dy = checks.cotangent("celu", dy, x.shape, x.dtype)
        return dy * np.where(x.real > 0, 1, np.exp(_negative(x) / alpha))

    return y, celu_vjp


def selu(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """ELU scaled so that activations keep mean 0 and variance 1 from layer to layer (with `lecun_normal` weights).

    Notes
    -----
    y = s x where x > 0, else s a (exp(x) - 1), and dx = s dy where x > 0, else dy s a exp(x), with s = 1.0507... and
    a = 1.6732... . G. Klambauer et al., Self-Normalizing Neural Networks, 2017 (arXiv:1706.02515).

    Examples
    --------
    >>> y, vjp = selu(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-1.111331,  2.101402]), array([0.646769, 1.050701]))
    """
    x = checks.floating("selu: x", x)
    y = _SELU_SCALE * np.where(x.real > 0, x, _SELU_ALPHA * np.expm1(_negative(x)))

    def selu_vjp(dy: Any) -> Array:
        dy = checks.cotangent("selu", dy, x.shape, x.dtype)
        return dy * (_SELU_SCALE * np.where(x.real > 0, 1, _SELU_ALPHA * np.exp(_negative(x))))

    return y, selu_vjp


def gelu(x: Array, approximate: bool = False) -> tuple[Array, Callable[[Any], Array]]:
    """Gaussian error linear unit, x Phi(x), where Phi is the standard normal distribution function.

    Parameters
    ----------
    approximate : bool
        Use the paper's approximation by tanh, whose error is at most 5e-4.

    Notes
    -----
    Phi(x) = (1 + erf(x / sqrt 2)) / 2, whose derivative is phi, the density. By the product rule,

        dx = dy (Phi(x) + x phi(x))

    The approximation replaces erf(x / sqrt 2) by tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3), and phi by half the
    derivative of tanh(u). In the code, t is erf or tanh and slope its derivative, so Phi = (1 + t) / 2 and
    phi = slope / 2.

    D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016 (arXiv:1606.08415).

    Examples
    --------
    >>> y, vjp = gelu(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.158655,  1.9545  ]), array([-0.083315,  1.085232]))
    """
    x = checks.floating("gelu: x", x)
    if approximate:
        t = np.tanh(_GELU_FACTOR * (x + 0.044715 * x * x * x))
        slope = (1 - t * t) * (_GELU_FACTOR * (1 + 3 * 0.044715 * x * x))
    else:
        t = erf(x * math.sqrt(0.5))
        slope = 2 * np.exp(x * x * -0.5) / math.sqrt(2 * math.pi)
    y = x * (0.5 * (1 + t))
    derivative = 0.5 * (1 + t + x * slope)

    def gelu_vjp(dy: Any) -> Array:
        return checks.cotangent("gelu", dy, derivative.shape, derivative.dtype) * derivative

    return y, gelu_vjp


def silu(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Sigmoid linear unit, x sigmoid(x), also called swish.

    Notes
    -----
    With s = sigmoid(x) and s' = s (1 - s), the product rule gives

        dx = dy (s + x s (1 - s))

    In the code, the second term is the sigmoid's own VJP of x.

    S. Elfwing et al., Sigmoid-Weighted Linear Units, 2017 (arXiv:1702.03118).

    Examples
    --------
    >>> y, vjp = silu(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.268941,  1.761594]), array([0.072329, 1.090784]))
    """
    x = checks.floating("silu: x", x)
    s, sigmoid_vjp = sigmoid(x)
    y = x * s
    derivative = s + sigmoid_vjp(x)

    def silu_vjp(dy: Any) -> Array:
        return checks.cotangent("silu", dy, derivative.shape, derivative.dtype) * derivative

    return y, silu_vjp


def softplus(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Smooth ReLU, log(1 + exp(x)), without overflow.

    Notes
    -----
    Computed as max(x, 0) + log(1 + exp(-|x|)). The derivative exp(x) / (1 + exp(x)) is the sigmoid. PyTorch returns x
    itself above a threshold, by default 20.

    Examples
    --------
    >>> y, vjp = softplus(np.array([-1.0, 1000.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([3.13262e-01, 1.00000e+03]), array([0.268941, 1.      ]))
    """
    x = checks.floating("softplus: x", x)
    y = np.where(x.real > 0, x, 0) + np.log1p(np.exp(_negative_abs(x)))

    def softplus_vjp(dy: Any) -> Array:
        return checks.cotangent("softplus", dy, x.shape, x.dtype) * sigmoid(x)[0]

    return y, softplus_vjp


def log_sigmoid(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Logarithm of the sigmoid, -log(1 + exp(-x)), without overflow.

    Notes
    -----
    Computed as min(x, 0) - log(1 + exp(-|x|)). The derivative exp(-x) / (1 + exp(-x)) is sigmoid(-x).

    Examples
    --------
    >>> y, vjp = log_sigmoid(np.array([-1000.0, 1.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-1.00000e+03, -3.13262e-01]), array([1.      , 0.268941]))
    """
    x = checks.floating("log_sigmoid: x", x)
    y = _negative(x) - np.log1p(np.exp(_negative_abs(x)))

    def log_sigmoid_vjp(dy: Any) -> Array:
        return checks.cotangent("log_sigmoid", dy, x.shape, x.dtype) * sigmoid(-x)[0]

    return y, log_sigmoid_vjp


def mish(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """x tanh(softplus(x)).

    Notes
    -----
    With t = tanh(softplus(x)), tanh' = 1 - tanh^2 and softplus' = sigmoid, the product and the chain rule give

        dx = dy (t + x (1 - t^2) sigmoid(x))

    D. Misra, Mish, 2019 (arXiv:1908.08681).

    Examples
    --------
    >>> y, vjp = mish(np.array([-1.0, 2.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.303401,  1.943959]), array([0.059217, 1.069318]))
    """
    x = checks.floating("mish: x", x)
    t = np.tanh(softplus(x)[0])
    y = x * t
    derivative = t + x * (1 - t * t) * sigmoid(x)[0]

    def mish_vjp(dy: Any) -> Array:
        return checks.cotangent("mish", dy, derivative.shape, derivative.dtype) * derivative

    return y, mish_vjp


def softsign(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """x / (1 + |x|).

    Notes
    -----
    |x| has the derivative sign(x), and (1 + |x| - x sign(x)) / (1 + |x|)^2 is 1 / (1 + |x|)^2. So

        dx = dy / (1 + |x|)^2

    Examples
    --------
    >>> y, vjp = softsign(np.array([-1.0, 3.0]))
    >>> y.round(6), vjp(np.ones(2)).round(6)
    (array([-0.5 ,  0.75]), array([0.25  , 0.0625]))
    """
    x = checks.floating("softsign: x", x)
    size = 1 - _negative_abs(x)
    y = x / size

    def softsign_vjp(dy: Any) -> Array:
        return checks.cotangent("softsign", dy, size.shape, size.dtype) / (size * size)

    return y, softsign_vjp


def _negative(x: Array) -> Array:
    """Return min(x, 0), compared by real part; exponentials of it do not overflow in the branch that is not used."""
    return np.where(x.real > 0, 0, x)


def _negative_abs(x: Array) -> Array:
    """Return -|x|, for complex x the analytic continuation: -x where the real part is positive, else x."""
    return np.where(x.real > 0, -x, x)


def _clip(x: Array, low: float, high: float) -> Array:
    """Return x clipped to [low, high]; complex numbers are compared by real part, NaN stays NaN."""
    return np.where(x.real <= low, low, np.where(x.real > high, high, x)).astype(x.dtype)
