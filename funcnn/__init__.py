"""funcnn: convolutional networks as pure functions on NumPy arrays, every gradient derived by hand.

An op takes arrays and returns its output and a closure that pulls a cotangent back through it (`funcnn.ops`,
`funcnn.losses`); a layer adds initial parameters and state (`funcnn.layers`, `funcnn.combinators`, `funcnn.models`);
the rest uses models (`funcnn.training`, `funcnn.stopping`, `funcnn.data_parallel`, `funcnn.optim`, `funcnn.data`,
`funcnn.metrics`, `funcnn.summary`, `funcnn.intermediates`, `funcnn.attribution`, `funcnn.derivatives`,
`funcnn.testing`).
"""

from funcnn import (
    attribution,
    combinators,
    data,
    data_parallel,
    derivatives,
    gradients,
    initializers,
    intermediates,
    keys,
    layers,
    losses,
    metrics,
    models,
    ops,
    optim,
    stopping,
    summary,
    testing,
    training,
    tree,
)
from funcnn.combinators import residual, serial
from funcnn.gradients import value_and_grad
from funcnn.kernels.conv.dispatch import exact
from funcnn.kernels.memory import keep_freed_memory
from funcnn.layer import Layer

__version__ = "0.1.0"

keep_freed_memory()
del keep_freed_memory

__all__ = [
    "Layer",
    "attribution",
    "combinators",
    "data",
    "data_parallel",
    "derivatives",
    "exact",
    "gradients",
    "initializers",
    "intermediates",
    "keys",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optim",
    "residual",
    "serial",
    "stopping",
    "summary",
    "testing",
    "training",
    "tree",
    "value_and_grad",
]
