"""Lion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.optim.optimizer import Optimizer, check_range, check_rate
from funcnn.optim.per_array import recurrence, running
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask
from funcnn.tree import Array


def lion(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """Lion: the step is the sign of a running mean of the gradient, so that all its entries have the same size.

    Parameters
    ----------
    learning_rate : float or schedule
        Usually a tenth to a third of Adam's.
    b1, b2 : float in [0, 1)
        Weights of the old mean, against those of the gradient: b1 in the step, b2 in the next mean.
    weight_decay : float
        Decoupled, as in `adamw`. Usually three to ten times AdamW's.
    mask : callable, optional
        Which leaves decay; by default all.

    Notes
    -----
    p <- p - learning_rate * (sign(b1 m + (1-b1) g) + weight_decay * p);  m <- b2 m + (1-b2) g. X. Chen et al., Symbolic
    Discovery of Optimization Algorithms, 2023 (arXiv:2302.06675).

    Examples
    --------
    >>> optimizer, params = lion(0.1), {"w": np.array([1.0, 1.0])}
    >>> optimizer.update({"w": np.array([5.0, -0.01])}, optimizer.init(params), params)[0]
    {'w': array([-0.1,  0.1])}
    """
    check_rate("lion", learning_rate)
    b1, b2 = check_range("lion", "b1", b1, 1.0), check_range("lion", "b2", b2, 1.0)
    weight_decay = check_range("lion", "weight_decay", weight_decay)

    def step(t: int, rate: float) -> Callable[..., tuple[Any, ...]]:
        def lion_step(m: Array, g: Array) -> tuple[Any, ...]:
            return -rate * np.sign(running(b1, m, g)), running(b2, m, g)

        return lion_step

    return recurrence("lion", learning_rate, {"mean": np.zeros_like}, step, decay=weight_decay, mask=mask)
