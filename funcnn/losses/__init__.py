"""Losses: ``value, vjp = loss(predictions, targets, *, sample_weight=None)``, and ``dpredictions = vjp(1.0)``.

The value is the weighted mean of the examples' losses, sum(w * l) / sum(w), so that a weight k counts like k
repetitions, and a weight of 0 like absence, whatever the predictions there. Its VJP gives each example the share
w / sum(w) of the cotangent. Targets and weights are not differentiated.

For classification, predictions are (N, ..., C) and targets either integer labels (N, ...) or probabilities (N, ..., C);
``class_weight`` and ``ignore_index`` are part of w, ``label_smoothing`` is part of the targets. Else predictions and
targets have one shape (N, ...), and an example's loss is the mean over its outcomes. At a kink the derivative of a loss
is that of its flat side, so that a perfect prediction has no gradient.
"""

from funcnn.losses.binary import hinge, sigmoid_binary_cross_entropy
from funcnn.losses.classification import cross_entropy, focal, kl_divergence, nll, softmax_cross_entropy
from funcnn.losses.regression import huber, mae, mse

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
