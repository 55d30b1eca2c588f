"""Optimizers: pairs of pure functions that compose, and learning-rate schedules.

::

    optimizer = chain(clip_by_global_norm(1.0), adam(cosine(1e-3, steps=1000)))
    opt_state = optimizer.init(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = apply_updates(params, updates)

A learning rate is a number or a schedule: a function of the step, counted from 0.
"""

from funcnn.optim.adam import adam, adamw
from funcnn.optim.clipping import clip_by_global_norm
from funcnn.optim.optimizer import Optimizer, apply_updates, chain, learning_rate
from funcnn.optim.schedules import Schedule, constant, cosine, one_cycle, warmup_cosine
from funcnn.optim.sgd import sgd

__all__ = [
    "Optimizer",
    "Schedule",
    "adam",
    "adamw",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "constant",
    "cosine",
    "learning_rate",
    "one_cycle",
    "sgd",
    "warmup_cosine",
]
