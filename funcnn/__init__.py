"""funcnn: convolutional networks as pure functions on NumPy arrays, with every gradient derived by hand.

An op (`funcnn.ops`, `funcnn.losses`) takes arrays and returns its output y together with a function ``vjp``, which
computes gradients by the chain rule:

>>> import numpy as np
>>> from funcnn import ops
>>> y, vjp = ops.tanh(np.array([0.0, 1.0]))
>>> vjp(np.array([1.0, 1.0])).round(3)
array([1.  , 0.42])

VJP stands for vector-Jacobian product: with J the matrix of the derivatives of y with respect to x, ``dx = vjp(dy)`` is
J^T dy. If dy is the gradient of a loss with respect to y, dx is its gradient with respect to x. In the words of
automatic differentiation, dy and dx are the cotangents of y and x, and ``vjp`` is the backward pass of the op. It is a
closure: it holds the arrays of the forward pass that it needs.

A layer adds initial parameters and state to an op (`funcnn.layers`, `funcnn.combinators`, `funcnn.models`). The other
modules use models:

- training: `funcnn.training`, `funcnn.stopping`, `funcnn.gradients`, `funcnn.optim`, `funcnn.data`, `funcnn.metrics`,
  `funcnn.data_parallel`
- looking inside models: `funcnn.summary`, `funcnn.intermediates`, `funcnn.attribution`, `funcnn.derivatives`,
  `funcnn.testing`
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
from funcnn.combinators import frozen, graph, residual, serial
from funcnn.gradients import value_and_grad
from funcnn.kernels.conv.dispatch import exact
from funcnn.kernels.selection import use_kernels
from funcnn.layer import Layer

__version__ = "0.2.0"

__all__ = [
    "Layer",
    "attribution",
    "combinators",
    "data",
    "data_parallel",
    "derivatives",
    "exact",
    "frozen",
    "gradients",
    "graph",
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
    "use_kernels",
    "value_and_grad",
]
