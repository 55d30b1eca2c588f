"""Adadelta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.optim.optimizer import Optimizer, check_range, check_rate
from funcnn.optim.recurrence import recurrence, running
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array


def adadelta(
    learning_rate: float | Schedule = 1.0, *, decay: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0
) -> Optimizer:
    """Steps as long, entry by entry, as recent steps were, in proportion to recent gradients.

    Parameters
    ----------
    learning_rate : float or schedule
        Meant to be 1; not in the paper.
    decay : float in [0, 1)
        Weight of the old value in the running means; PyTorch's and Keras's rho.
    eps : float
        Added to both means under their roots; it sets the first steps going.
    weight_decay : float
        This times the parameters is added to the gradient (L2 regularisation).

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Notes
    -----
    v <- decay v + (1-decay) g^2;  d = g sqrt(s + eps) / sqrt(v + eps);  s <- decay s + (1-decay) d^2;  p <- p -
    learning_rate * d. M. Zeiler, ADADELTA, 2012 (arXiv:1212.5701). The same as in PyTorch; Keras's defaults are a
    learning rate of 0.001 and a decay of 0.95.

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
    return recurrence(learning_rate, slots, step, l2=weight_decay)
