"""Adam and its variants: running means of the gradient and of its square."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.kernels.updates import adam_update
from funcnn.optim.optimizer import Optimizer, as_arrays, check_range, check_rate
from funcnn.optim.per_array import fused_recurrence, recurrence, running
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask
from funcnn.tree import Array


def adam(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam: the step is a running mean of the gradient, divided by the root of a running mean of its square.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2 : float in [0, 1)
        Weights of the old value in the running means of the gradient and of its square.
    eps : float
        Added to the root, in the denominator.
    weight_decay : float
        L2 regularisation; `adamw` has decoupled weight decay.

    Notes
    -----
    m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  p <- p - learning_rate * m' / (sqrt(v') + eps), where m' = m /
    (1-b1^t) and v' = v / (1-b2^t) correct the bias of means that start at 0. D. Kingma and J. Ba, Adam, 2014
    (arXiv:1412.6980).

    eps is added to the root of the corrected v', as in the paper's Algorithm 1, PyTorch and optax. Keras adds it to the
    root of v, and its default is ten times as large.

    Examples
    --------
    >>> optimizer, params = adam(0.1), {"w": np.array([1.0])}
    >>> updates, _ = optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)
    >>> updates["w"].round(6)
    array([-0.1])
    """
    return _adam("adam", learning_rate, b1, b2, eps, l2=weight_decay)


def adamw(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    mask: Mask | None = None,
) -> Optimizer:
    """Adam with decoupled weight decay: each step also subtracts learning_rate * weight_decay * p from the parameters.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps : float
        As in `adam`.
    weight_decay : float
    mask : callable, optional
        Which leaves decay; by default all.

    Notes
    -----
    I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, 2017 (arXiv:1711.05101). In the paper
    only a schedule scales the decay; here, as in PyTorch, Keras and optax, the learning rate does. The default
    weight_decay is 0.01 here and in PyTorch, 0.004 in Keras and 0.0001 in optax.

    Examples
    --------
    >>> optimizer, params = adamw(0.1, weight_decay=0.5), {"w": np.array([1.0])}
    >>> updates, _ = optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)
    >>> updates["w"].round(6)
    array([-0.15])
    """
    return _adam("adamw", learning_rate, b1, b2, eps, decay=weight_decay, mask=mask)


def _adam(
    name: str,
    learning_rate: float | Schedule,
    b1: float,
    b2: float,
    eps: float,
    *,
    l2: float = 0.0,
    decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    b1, b2, eps, _ = check_adam(name, learning_rate, b1, b2, eps, l2 if decay == 0 else decay)

    def step(t: int, rate: float, decay: float, applied: bool) -> Callable[..., tuple[Any, ...]]:
        # -rate m' / (sqrt(v') + eps) is scale * m / (sqrt(v) + eps * bias), with bias = sqrt(1 - b2^t)
        bias = math.sqrt(1 - b2**t)
        scale = -rate * bias / (1 - b1**t)
        factors = as_arrays(l2, b1, 1 - b1, b2, 1 - b2, eps * bias, scale, -rate * decay)

        def adam_step(p: Array, g: Array, m: Array, v: Array) -> tuple[Any, ...]:
            numbers: Any = *factors(m.dtype), applied
            return adam_update(g, m, v, p, *numbers)

        return adam_step

    slots = {"mean": np.zeros_like, "square": np.zeros_like}
    return fused_recurrence(name, learning_rate, slots, step, decay=float(decay), mask=mask, flush=eps > 0)


def amsgrad(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """AMSGrad: Adam with the largest running mean of the squares so far, so that its denominator never shrinks.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps, weight_decay : float
        As in `adam`.

    Notes
    -----
    m and v as in `adam`;  w <- max(w, v);  p <- p - learning_rate * m / (1-b1^t) / (sqrt(w / (1-b2^t)) + eps).
    S. Reddi, S. Kale and S. Kumar, On the Convergence of Adam and Beyond, 2018. The bias is corrected after the
    maximum, as in PyTorch; optax takes the maximum of the corrected means.

    Examples
    --------
    >>> optimizer, params = amsgrad(0.1, b1=0.0, b2=0.0), {"w": np.array([1.0])}
    >>> opt_state = optimizer.init(params)
    >>> _, opt_state = optimizer.update({"w": np.array([10.0])}, opt_state, params)
    >>> optimizer.update({"w": np.array([5.0])}, opt_state, params)[0]["w"].round(6)
    array([-0.05])
    """
    b1, b2, eps, l2 = check_adam("amsgrad", learning_rate, b1, b2, eps, weight_decay)

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        scale = -rate / (1 - b1**t)
        unbias = 1 / math.sqrt(1 - b2**t)

        def amsgrad_step(m: Array, v: Array, largest: Array, g: Array) -> tuple[Any, ...]:
            m = running(b1, m, g)
            v = running(b2, v, g * g)
            largest = np.maximum(largest, v)
            return scale * m / (unbias * np.sqrt(largest) + eps), m, v, largest

        return amsgrad_step

    slots = {"mean": np.zeros_like, "square": np.zeros_like, "largest": np.zeros_like}
    return recurrence("amsgrad", learning_rate, slots, step, l2=l2, flush=eps > 0)


def nadam(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 0.004,
) -> Optimizer:
    """NAdam: Adam with Nesterov momentum, which increases during training.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps, weight_decay : float
        As in `adam`.
    momentum_decay : float
        How fast the momentum increases from b1 / 2 to b1.

    Notes
    -----
    m, v and v' as in `adam`. With the momentum u_t = b1 (1 - 0.96^(t momentum_decay) / 2) and the products U_t =
    u_1 ... u_t,

        p <- p - learning_rate * ((1-u_t) g / (1-U_t) + u_(t+1) m / (1-U_(t+1))) / (sqrt(v') + eps).

    T. Dozat, Incorporating Nesterov Momentum into Adam, 2016. PyTorch computes the same; optax has a constant
    momentum.

    Examples
    --------
    >>> optimizer, params = nadam(0.1), {"w": np.array([1.0])}
    >>> optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)[0]["w"].round(6)
    array([-0.105645])
    """
    b1, b2, eps, l2 = check_adam("nadam", learning_rate, b1, b2, eps, weight_decay)
    momentum_decay = check_range("nadam", "momentum_decay", momentum_decay)

    def momentum(t: int) -> float:
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        u, next_u = momentum(t), momentum(t + 1)
        unbias = 1 / math.sqrt(1 - b2**t)

        def nadam_step(m: Array, v: Array, product: Array, g: Array) -> tuple[Any, ...]:
            m = running(b1, m, g)
            v = running(b2, v, g * g)
            u_product = float(product) * u
            numerator = (-rate * (1 - u) / (1 - u_product)) * g + (-rate * next_u / (1 - u_product * next_u)) * m
            return numerator / (unbias * np.sqrt(v) + eps), m, v, np.asarray(u_product)

        return nadam_step

    slots: dict[str, Callable[[Array], Array]] = {
        "mean": np.zeros_like,
        "square": np.zeros_like,
        "product": _scalar_one,
    }
    return recurrence("nadam", learning_rate, slots, step, l2=l2, flush=eps > 0)


def _scalar_one(p: Array) -> Array:
    return np.ones(())


def radam(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RAdam: Adam that starts as SGD with momentum and becomes adaptive once the mean of the squares is reliable.

    It needs no warm-up of the learning rate.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps, weight_decay : float
        As in `adam`, except where eps is added.

    Notes
    -----
    m, m' and v as in `adam`. The mean of the squares corresponds to n = N - 2 t b2^t / (1-b2^t) observations, which
    tends to N = 2 / (1-b2) - 1. While n <= 5, p <- p - learning_rate * m'; after that

        p <- p - learning_rate * r * m' * sqrt(1-b2^t) / (sqrt(v) + eps),  r^2 = (n-4)(n-2)N / ((N-4)(N-2)n).

    L. Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2019 (arXiv:1908.03265). As in PyTorch, eps
    is added to the root of v, not of the corrected v'.

    Examples
    --------
    >>> optimizer, params = radam(0.1), {"w": np.array([1.0])}
    >>> optimizer.update({"w": np.array([5.0])}, optimizer.init(params), params)[0]["w"].round(6)
    array([-0.5])
    """
    b1, b2, eps, l2 = check_adam("radam", learning_rate, b1, b2, eps, weight_decay)
    final = 2 / (1 - b2) - 1

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        scale = -rate / (1 - b1**t)
        observations = final - 2 * t * b2**t / (1 - b2**t)
        adaptive = observations > 5
        if adaptive:
            r2 = (observations - 4) * (observations - 2) * final / ((final - 4) * (final - 2) * observations)
            scale *= math.sqrt(r2 * (1 - b2**t))

        def radam_step(m: Array, v: Array, g: Array) -> tuple[Any, ...]:
            m = running(b1, m, g)
            v = running(b2, v, g * g)
            return scale * m / (np.sqrt(v) + eps) if adaptive else scale * m, m, v

        return radam_step

    return recurrence(
        "radam", learning_rate, {"mean": np.zeros_like, "square": np.zeros_like}, step, l2=l2, flush=eps > 0
    )


def check_adam(
    name: str, learning_rate: float | Schedule, b1: float, b2: float, eps: float, weight_decay: float
) -> tuple[float, float, float, float]:
    """Raise a ValueError if a hyperparameter is out of range; return b1, b2, eps and weight_decay as floats."""
    check_rate(name, learning_rate)
    return (
        check_range(name, "b1", b1, 1.0),
        check_range(name, "b2", b2, 1.0),
        check_range(name, "eps", eps),
        check_range(name, "weight_decay", weight_decay),
    )
