"""Optimizers and learning-rate schedules. An optimizer is a pair of pure functions, and optimizers can be combined.

::

    optimizer = chain(clip_by_global_norm(1.0), adam(cosine(1e-3, steps=1000)))
    opt_state = optimizer.init(params)
    params, opt_state = step(optimizer, grads, opt_state, params)

`step` is ``updates, opt_state = optimizer.update(grads, opt_state, params)`` and ``params = apply_updates(params,
updates)``, for code that does something with the updates.

A learning rate is a number or a schedule, which is a function of the step, counted from 0. The state is a tree of
arrays of constant structure. It holds the learning rate of the next update, which `learning_rate` reads and
`set_learning_rate` replaces. `by_name` makes an optimizer and its schedule from their names.

Transformations of gradients, such as `clip_by_norm` and `add_weight_decay`, are an `Optimizer`, too. In a `chain` they
come before the optimizer, and `average_params` after it. `accumulate`, `apply_if_finite` and `freeze` wrap an
optimizer.

Common to all functions here:

- They return an `Optimizer` and raise a ValueError if a hyperparameter is out of range, unless they say otherwise.
- Formulas are written for one parameter p with gradient g: ``p <- ...`` is its new value. t is the number of the
  update, from 1.
- ``weight_decay`` times the parameters is added to the gradient (L2 regularisation). In `adamw`, `lamb` and `lion`,
  it is multiplied by the learning rate and subtracted from the parameters instead (decoupled weight decay).
- A mask is a function ``mask(path) -> bool`` that selects leaves, such as `weights_only`. Paths are those of
  `funcnn.tree.paths`, such as "0_conv2d/w".
"""

from funcnn.optim.adadelta import adadelta
from funcnn.optim.adagrad import adagrad
from funcnn.optim.adam import adam, adamw, amsgrad, nadam, radam
from funcnn.optim.averaging import average_params, averaged_params
from funcnn.optim.by_name import by_name
from funcnn.optim.clipping import adaptive_clip, clip_by_global_norm, clip_by_norm, clip_by_value
from funcnn.optim.lamb import lamb
from funcnn.optim.lion import lion
from funcnn.optim.optimizer import FusedUpdate, Optimizer, apply_updates, chain, learning_rate, set_learning_rate, step
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
    "FusedUpdate",
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
    "by_name",
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
    "step",
    "warmup",
    "warmup_cosine",
    "weights_only",
]
