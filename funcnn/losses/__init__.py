"""Losses: ``value, vjp = loss(predictions, targets, *, sample_weight=None)``, and ``dpredictions = vjp(1.0)``.

The value is the weighted mean of the examples' losses, sum(w * l) / sum(w). So an example of weight k counts as much as
k copies of it, and one of weight 0 does not count, even if its predictions are NaN or infinite. The value is linear in
the examples' losses, so the cotangent of an example's loss is dvalue * w / sum(w). The docstrings derive the rest: how
the loss l of one example changes with its predictions. Targets and weights are not differentiated.

For classification, predictions are (N, ..., C) and targets are integer labels (N, ...) or probabilities (N, ..., C);
``class_weight`` and ``ignore_index`` change w, ``label_smoothing`` changes the targets. For the other losses,
predictions and targets have the same shape (N, ...), and an example's loss is the mean over its outcomes. At a kink,
the derivative of a loss is that of its flat side, so that a perfect prediction has no gradient.

Every loss raises a TypeError for arrays of a wrong dtype, and a ValueError if shapes do not fit, values or options are
out of range, or the weights sum to 0.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from funcnn.losses.binary import hinge, sigmoid_binary_cross_entropy
from funcnn.losses.classification import cross_entropy, focal, kl_divergence, nll, softmax_cross_entropy
from funcnn.losses.regression import huber, mae, mse
from funcnn.tree import Array

# ``loss(predictions, targets, *, sample_weight=None) -> value, vjp``
Loss: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Array]]]

__all__ = [
    "cross_entropy",
    "focal",
    "hinge",
    "huber",
    "kl_divergence",
    "mae",
    "mse",
    "nll",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
]
