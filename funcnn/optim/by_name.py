"""An optimizer and its schedule by their names, as a command line or an estimator's parameters give them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from funcnn import checks
from funcnn.optim.adagrad import adagrad
from funcnn.optim.adam import adam, adamw, nadam, radam
from funcnn.optim.lamb import lamb
from funcnn.optim.lion import lion
from funcnn.optim.optimizer import Optimizer
from funcnn.optim.rmsprop import rmsprop
from funcnn.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    one_cycle,
    polynomial,
    warmup_cosine,
)
from funcnn.optim.sgd import sgd

__all__ = ["OPTIMIZERS", "SCHEDULES", "by_name"]

# From (learning rate, number of updates); warmup takes a tenth of the updates, exponential decays to a hundredth.
SCHEDULES: Mapping[str, Callable[[float, int], Schedule]] = {
    "constant": lambda rate, steps: constant(rate),
    "linear": lambda rate, steps: polynomial(rate, steps),
    "exponential": lambda rate, steps: exponential(rate, 0.01, steps),
    "cosine": lambda rate, steps: cosine(rate, steps),
    "warmup-cosine": lambda rate, steps: warmup_cosine(rate, steps // 10, steps),
    "one-cycle": lambda rate, steps: one_cycle(rate, steps),
}
# From (learning rate or schedule, weight decay).
OPTIMIZERS: Mapping[str, Callable[[float | Schedule, float], Optimizer]] = {
    "sgd": lambda rate, decay: sgd(rate, weight_decay=decay),
    "momentum": lambda rate, decay: sgd(rate, momentum=0.9, nesterov=True, weight_decay=decay),
    "adam": lambda rate, decay: adam(rate, weight_decay=decay),
    "adamw": lambda rate, decay: adamw(rate, weight_decay=decay),
    "nadam": lambda rate, decay: nadam(rate, weight_decay=decay),
    "radam": lambda rate, decay: radam(rate, weight_decay=decay),
    "rmsprop": lambda rate, decay: rmsprop(rate, weight_decay=decay),
    "adagrad": lambda rate, decay: adagrad(rate, weight_decay=decay),
    "lion": lambda rate, decay: lion(rate, weight_decay=decay),
    "lamb": lambda rate, decay: lamb(rate, weight_decay=decay),
}


def by_name(
    name: str,
    learning_rate: float,
    *,
    schedule: str = "constant",
    steps: int | None = None,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Return the optimizer of a name, with a schedule of a name.

    Parameters
    ----------
    name : {"sgd", "momentum", "adam", "adamw", "nadam", "radam", "rmsprop", "adagrad", "lion", "lamb"}
        "momentum" is `sgd` with Nesterov momentum of 0.9; the others are the functions of these names.
    learning_rate : float >= 0
        The constant learning rate, or the highest of the schedule.
    schedule : {"constant", "linear", "exponential", "cosine", "warmup-cosine", "one-cycle"}
        "linear" and "cosine" fall from ``learning_rate`` to 0; "exponential" falls to a hundredth of it;
        "warmup-cosine" rises during the first tenth of the steps and then falls as "cosine"; "one-cycle" is `one_cycle`
        with its defaults.
    steps : int >= 1, optional
        Number of updates of the whole training. Every schedule but "constant" needs it.
    weight_decay : float >= 0
        Passed to the optimizer: decoupled from the gradient or an L2 term, as that optimizer defines it.

    Returns
    -------
    Optimizer

    Raises
    ------
    TypeError, ValueError
        If a name is not among the choices, which the message lists; if a schedule needs ``steps``; if a number is out
        of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn.optim import learning_rate
    >>> optimizer = by_name("adamw", 1e-3, schedule="linear", steps=100, weight_decay=0.01)
    >>> learning_rate(optimizer.init({"w": np.zeros(3)}))
    0.001
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"by_name: the optimizer must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    if schedule not in SCHEDULES:
        raise ValueError(f"by_name: the schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not (math.isfinite(learning_rate) and learning_rate >= 0):
        raise ValueError(f"by_name: learning_rate must be a finite number >= 0, got {learning_rate}")
    if steps is not None:
        checks.count("by_name", "steps", steps)
    if steps is None and schedule != "constant":
        raise ValueError(f"by_name: steps must be given for the schedule {schedule!r}")
    return OPTIMIZERS[name](SCHEDULES[schedule](learning_rate, 1 if steps is None else steps), weight_decay)
