"""Adagrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.optim.optimizer import Optimizer, check_range, check_rate
from funcnn.optim.per_array import recurrence
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array


def adagrad(
    learning_rate: float | Schedule,
    *,
    initial_accumulator: float = 0.0,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adagrad: each entry of the step is divided by the root of the sum of its squared gradients so far.

    Parameters
    ----------
    learning_rate : float or schedule
        For PyTorch's ``lr_decay``, use the schedule ``inverse_time(learning_rate, lr_decay)``.
    initial_accumulator : float
        Initial value of the sums.
    eps : float
        Added to the root, in the denominator.
    weight_decay : float

    Notes
    -----
    v <- v + g^2;  p <- p - learning_rate * g / (sqrt(v) + eps). J. Duchi, E. Hazan and Y. Singer, Adaptive Subgradient
    Methods, JMLR 2011. PyTorch computes the same; Keras and optax start the sums at 0.1 and add an eps of 1e-7
    under the root.

    Examples
    --------
    >>> optimizer, params = adagrad(0.1, initial_accumulator=9.0), {"w": np.array([1.0])}
    >>> optimizer.update({"w": np.array([4.0])}, optimizer.init(params), params)[0]["w"].round(6)
    array([-0.08])
    """
    check_rate("adagrad", learning_rate)
    initial_accumulator = check_range("adagrad", "initial_accumulator", initial_accumulator)
    eps = check_range("adagrad", "eps", eps)
    weight_decay = check_range("adagrad", "weight_decay", weight_decay)

    def initial(p: Array) -> Array:
        return np.full_like(p, initial_accumulator)

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        def adagrad_step(v: Array, g: Array) -> tuple[Any, ...]:
            v = v + g * g
            return -rate * g / (np.sqrt(v) + eps), v

        return adagrad_step

    return recurrence("adagrad", learning_rate, {"sum": initial}, step, l2=weight_decay, flush=eps > 0)
