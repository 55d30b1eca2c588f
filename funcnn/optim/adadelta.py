"""Adadelta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.optim.optimizer import Optimizer, check_range, check_rate
from funcnn.optim.per_array import recurrence, running
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array


def adadelta(
    learning_rate: float | Schedule = 1.0, *, decay: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0
) -> Optimizer:
    """Adadelta: each entry of the gradient is multiplied by the ratio of the sizes of its recent steps and gradients.

    Parameters
    ----------
    learning_rate : float or schedule
        Usually 1. The paper has none.
    decay : float in [0, 1)
        Weight of the old value in the running means (rho in PyTorch and Keras).
    eps : float
        Added to both means under the root. Without it, the first step, and so all others, would be 0.
    weight_decay : float

    Notes
    -----
    v <- decay v + (1-decay) g^2;  d = g sqrt(s + eps) / sqrt(v + eps);  s <- decay s + (1-decay) d^2;  p <- p -
    learning_rate * d. M. Zeiler, ADADELTA, 2012 (arXiv:1212.5701). PyTorch computes the same; Keras has a default
    learning rate of 0.001 and decay of 0.95.

    Examples
    --------
    >>> optimizer, params = adadelta(eps=0.01, decay=0.75), {"w": np.array([1.0])}
    >>> optimizer.update({"w": np.array([2.0])}, optimizer.init(params), params)[0]["w"].round(6)
    array([-0.199007])
    """
    check_rate("adadelta", learning_rate)
    decay = check_range("adadelta", "decay", decay, 1.0)
    eps = check_range("adadelta", "eps", eps)
    weight_decay = check_range("adadelta", "weight_decay", weight_decay)

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        def adadelta_step(v: Array, s: Array, g: Array) -> tuple[Any, ...]:
            v = running(decay, v, g * g)
            d = g * np.sqrt(s + eps) / np.sqrt(v + eps)
            return -rate * d, v, running(decay, s, d * d)

        return adadelta_step

    slots = {"square": np.zeros_like, "step_square": np.zeros_like}
    return recurrence("adadelta", learning_rate, slots, step, l2=weight_decay, flush=eps > 0)
