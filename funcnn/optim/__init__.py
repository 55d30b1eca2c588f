"""Optimizers: pairs of pure functions that compose, and learning-rate schedules.

::

    optimizer = chain(clip_by_global_norm(1.0), adam(cosine(1e-3, steps=1000)))
    opt_state = optimizer.init(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = apply_updates(params, updates)

A learning rate is a number or a schedule: a function of the step, counted from 0. The state is a tree of arrays whose
structure stays the same, and carries the learning rate of the next update: `learning_rate`, `set_learning_rate`.

A transformation of gradients (`clip_by_norm`, `add_weight_decay`) is an `Optimizer` too and goes before another in a
chain; `average_params` goes last. Wrappers take an optimizer whole: `accumulate`, `apply_if_finite`, `freeze`. What
chooses leaves, a mask, is a function of their path.
"""

from funcnn.optim.adadelta import adadelta
from funcnn.optim.adagrad import adagrad
from funcnn.optim.adam import adam, adamw, amsgrad, nadam, radam
from funcnn.optim.averaging import average_params, averaged_params
from funcnn.optim.clipping import adaptive_clip, clip_by_global_norm, clip_by_norm, clip_by_value
from funcnn.optim.lamb import lamb
from funcnn.optim.lion import lion
from funcnn.optim.optimizer import Optimizer, apply_updates, chain, learning_rate, set_learning_rate
from funcnn.optim.plateau import Plateau, reduce_on_plateau
from funcnn.optim.rmsprop import rmsprop
from funcnn.optim.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_time,
    one_cycle,
    piecewise,
    polynomial,
    warmup,
    warmup_cosine,
)
from funcnn.optim.sgd import sgd
from funcnn.optim.weight_decay import add_weight_decay, weights_only
from funcnn.optim.wrappers import accumulate, apply_if_finite, freeze

__all__ = [
    "Optimizer",
    "Plateau",
    "Schedule",
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "adaptive_clip",
    "add_weight_decay",
    "amsgrad",
    "apply_if_finite",
    "apply_updates",
    "average_params",
    "averaged_params",
    "chain",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "freeze",
    "inverse_time",
    "lamb",
    "learning_rate",
    "lion",
    "nadam",
    "one_cycle",
    "piecewise",
    "polynomial",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "set_learning_rate",
    "sgd",
    "warmup",
    "warmup_cosine",
    "weights_only",
]
