"""Losses for binary outcomes: predictions and targets are arrays of one shape (N, ...).

``sample_weight`` (N,) has weights >= 0. The value is the weighted mean of the examples' losses, and an example's loss
is the mean over its outcomes. ``vjp(dvalue)`` returns dpredictions. `funcnn.losses` lists what is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.losses.arguments import (
    broadcast_leading,
    check_label_smoothing,
    check_paired_targets,
    example_cotangents,
    example_means,
    outcome_count,
    real_weights,
    weighted_mean,
)
from funcnn.tree import Array


def sigmoid_binary_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    sample_weight: Array | None = None,
    pos_weight: Array | float | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy, in nats, of independent binary outcomes whose probability is the sigmoid of ``logits`` (log loss).

    Parameters
    ----------
    logits : array (N, ...)
    targets : array (N, ...), in [0, 1]
        bool and int are converted to 0 and 1.
    pos_weight : float or array, >= 0, optional
        Factor of the losses of positive outcomes, broadcast against ``logits.shape[1:]``. As in PyTorch, it is not part
        of the weights that the mean divides by.
    label_smoothing : float in [0, 1)
        s replaces the targets t by (1 - s) t + s / 2.

    Notes
    -----
    With a = pos_weight t, b = 1 - t and s the sigmoid, l = -a log s(z) - b log(1 - s(z)). The logarithms are
    -log s(z) = max(-z, 0) + log(1 + exp(-|z|)) and -log(1 - s(z)) = max(z, 0) + log(1 + exp(-|z|)). So

        l = (a + b) log(1 + exp(-|z|)) + |z| (b if z >= 0 else a)        dl/dz = (a + b) s(z) - a

    which does not overflow for any z. Without pos_weight, dl/dz is s(z) - t. In the code, `positive` is a, `negative`
    is b and `magnitude` is |z|.

    Examples
    --------
    >>> value, vjp = sigmoid_binary_cross_entropy(np.array([[0.0], [1000.0]]), np.array([[1], [1]]))
    >>> round(float(value), 6), vjp(1.0).ravel()
    (0.346574, array([-0.25,  0.  ]))
    """
    name = "sigmoid_binary_cross_entropy"
    z, t, weight, total = check_paired_targets(name, logits, targets, sample_weight)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"{name}: targets must lie in [0, 1]; got values from {t.min()} to {t.max()}")
    smoothing = check_label_smoothing(name, label_smoothing)
    if smoothing:
        t = (1 - smoothing) * t + smoothing / 2
    positive = t if pos_weight is None else t * _pos_weight(name, pos_weight, z)
    negative = 1 - t
    both = positive + negative
    below_zero = z.real < 0
    magnitude = np.where(below_zero, -z, z)
    e = np.exp(-magnitude)
    factor = np.where(below_zero, positive, negative)
    # 0 * inf is 0 here: an impossible outcome has no loss, even if its logit is infinite
    loss = both * np.log1p(e) + np.multiply(factor, magnitude, out=np.zeros_like(magnitude), where=factor != 0)
    value = weighted_mean(example_means(loss), weight, total)

    def sigmoid_binary_cross_entropy_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents(name, dvalue, value, weight, total)
        sigmoid = np.where(below_zero, e, 1) / (1 + e)
        return (both * sigmoid - positive) * broadcast_leading(dloss / outcome_count(z), z.shape)

    return value, sigmoid_binary_cross_entropy_vjp


def hinge(scores: Array, targets: Array, *, sample_weight: Array | None = None) -> tuple[Any, Callable[[Any], Array]]:
    """Hinge loss of support vector machines, max(0, 1 - t s): an outcome has no loss if its margin t s is at least 1.

    Parameters
    ----------
    scores : array (N, ...)
    targets : array (N, ...), each -1 or 1

    Notes
    -----
    d max(0, 1 - t s)/ds = -t where t s < 1, else 0; also 0 at the kink t s = 1, as for relu'(0).

    Examples
    --------
    >>> value, vjp = hinge(np.array([0.5, 3.0, 2.0]), np.array([1, 1, -1]))
    >>> round(float(value), 6), vjp(1.0).round(6)
    (1.166667, array([-0.333333,  0.      ,  0.333333]))
    """
    if np.asarray(targets).dtype == bool:
        raise ValueError("hinge: targets must be -1 or 1, not bool; np.where(targets, 1, -1) converts them")
    s, t, weight, total = check_paired_targets("hinge", scores, targets, sample_weight)
    invalid = abs(t) != 1
    weighted = True if weight is None else broadcast_leading(weight != 0, t.shape)
    if (invalid & weighted).any():
        raise ValueError(
            f"hinge: targets must be -1 or 1, got {t[invalid][0]} (np.where(targets > 0, 1, -1) converts 0 and 1)"
        )
    shortfall = 1 - t * s
    violated = ~(shortfall.real <= 0)  # also where the score is NaN, so that the loss is NaN
    value = weighted_mean(example_means(np.where(violated, shortfall, 0)), weight, total)

    def hinge_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("hinge", dvalue, value, weight, total)
        return np.where(violated, -t, 0) * broadcast_leading(dloss / outcome_count(s), s.shape)

    return value, hinge_vjp


def _pos_weight(loss: str, pos_weight: Any, logits: Array) -> Array:
    pos_weight = real_weights(loss, "pos_weight", pos_weight, logits)
    outcomes = logits.shape[1:]
    try:
        fits = np.broadcast_shapes(pos_weight.shape, outcomes) == outcomes
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{loss}: pos_weight {pos_weight.shape} does not broadcast to {outcomes}, logits {logits.shape}"
        )
    return pos_weight
