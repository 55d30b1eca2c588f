"""Losses for classification: predictions are arrays of floats (N, ..., C).

The value is the weighted mean sum(w l) / sum(w), in nats; each docstring states l, with t the target probabilities.
``vjp(dvalue)`` returns the cotangent of the predictions. All losses take the arguments that `softmax_cross_entropy`
describes, except `kl_divergence`, which has fewer. `funcnn.losses` lists what is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.kernels.cross_entropy import label_losses
from funcnn.kernels.last_axis import row_max, row_sum
from funcnn.losses.arguments import (
    check_class_targets,
    example_cotangents,
    scatter,
    take_labels,
    target_score,
    weighted_mean,
)
from funcnn.tree import Array


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy of the softmax of ``logits``, l = -sum_c t_c log softmax(logits)_c.

    It is computed from log probabilities, so it never takes the logarithm of a probability that underflowed to 0.

    Parameters
    ----------
    logits : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
        A label is the same as a one-hot t.
    sample_weight : array (N,) or (N, ...), >= 0, optional
        The weights w.
    class_weight : array (C,), >= 0, optional
        A factor of w: the weight of the example's label, or sum_c t_c class_weight_c for probabilities.
    label_smoothing : float in [0, 1)
        s replaces the target probabilities t by (1 - s) t + s / C.
    ignore_index : int, optional
        Positions whose integer label has this value, in [0, C) or not, have weight 0.

    Notes
    -----
    With p = softmax(logits) = e / z, the logarithm of p_j has the derivative [j = c] - p_c with respect to the logit c
    ([j = c] is 1 where j is c, else 0), so the derivative of l is

        -sum_j t_j ([j = c] - p_c) = p_c sum_j t_j - t_c

    which is p_c - t_c for probabilities t.

    An example has one weight, that of its class before smoothing. PyTorch agrees for integer labels without smoothing.
    With smoothing or probabilities, PyTorch weights each term t_c log p_c by the weight of class c, and for
    probabilities it divides by the number of examples.

    A logit of -inf adds nothing to l if its class has t_c = 0. With smoothing, no t_c is 0, so l is inf.
    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015 (arXiv:1512.00567).

    Examples
    --------
    >>> value, vjp = softmax_cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(float(value), 6), vjp(1.0)
    (0.693147, array([[-0.5,  0.5]]))
    >>> value, vjp = softmax_cross_entropy(np.zeros((2, 2)), np.array([0, -1]), ignore_index=-1)
    >>> round(float(value), 6), vjp(1.0)[0], bool(vjp(1.0)[1].any())
    (0.693147, array([-0.5,  0.5]), False)
    """
    name = "softmax_cross_entropy"
    logits, target, hard, weight, total = check_class_targets(
        name, logits, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    if hard:
        loss, slope = label_losses(logits, target)
    else:
        shifted = logits - row_max(logits.real)
        e = np.exp(shifted)
        z, mass = row_sum(e), row_sum(target)
        loss = mass * np.log(z) - target_score(shifted, target, hard)
        slope = e * (mass / z)[..., None] - target
    value = weighted_mean(loss, weight, total)

    def softmax_cross_entropy_vjp(dvalue: Any) -> Array:
        return slope * example_cotangents(name, dvalue, value, weight, total)[..., None]

    return value, softmax_cross_entropy_vjp


def focal(
    logits: Array,
    labels: Array,
    *,
    gamma: float = 2.0,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[Any, Callable[[Any], Array]]:
    """Focal loss: cross-entropy with less weight on examples that the model already classifies with confidence.

    l = -sum_c t_c (1 - p_c)^gamma log p_c with p = softmax(logits).

    Parameters
    ----------
    gamma : float >= 0
        A larger gamma reduces the loss of confident examples more; 0 gives `softmax_cross_entropy`.
    class_weight : array (C,), >= 0, optional
        The paper's alpha, except that here it is part of the weighted mean's weights.

    Notes
    -----
    Let q = 1 - p and s = d(-q^gamma log p)/dlog p = q^gamma (gamma p log p / q - 1), where log p / q is -1 in the limit
    q = 0. Then, as in `log_softmax`, dl/dlogits_c = t_c s_c - p_c sum_j t_j s_j. Near p = 1, the code computes q as
    -expm1(log p), which keeps the digits that 1 - p would lose.
    T. Lin et al., Focal Loss for Dense Object Detection, 2017 (arXiv:1708.02002), there for two classes.

    Examples
    --------
    >>> value, vjp = focal(np.zeros((1, 2)), np.array([0]))
    >>> round(float(value), 6), vjp(1.0).round(6)
    (0.173287, array([[-0.298287,  0.298287]]))
    """
    gamma = float(gamma)
    if not 0 <= gamma < math.inf:
        raise ValueError(f"focal: gamma must be finite and >= 0, got {gamma}")
    logits, target, hard, weight, total = check_class_targets(
        "focal", logits, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    shifted = logits - row_max(logits.real)
    e = np.exp(shifted)
    z = row_sum(e)[..., None]
    log_probs = shifted - np.log(z)
    # for labels: log p of the label alone; for probabilities: of each class, but 0 where t_c = 0, which adds no loss
    log_p = take_labels(log_probs, target) if hard else np.where(target > 0, log_probs, 0)
    q = -np.expm1(log_p)
    loss = -(q**gamma) * log_p
    value = weighted_mean(loss if hard else (target * loss).sum(axis=-1), weight, total)

    def focal_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("focal", dvalue, value, weight, total)
        p = np.exp(log_p)
        p_log_p = np.multiply(p, log_p, out=np.zeros_like(p), where=p != 0)
        slope = q**gamma * (gamma * np.divide(p_log_p, q, out=np.full_like(p, -1), where=q != 0) - 1)
        if hard:
            dlog_probs, class_sum = scatter(dloss * slope, target, e), dloss * slope
        else:
            dlog_probs = dloss[..., None] * target * slope
            class_sum = dlog_probs.sum(axis=-1)
        return dlog_probs - e * (class_sum[..., None] / z)

    return value, focal_vjp


def nll(
    log_probs: Array,
    labels: Array,
    *,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[Any, Callable[[Any], Array]]:
    """Negative log-likelihood of log-probabilities such as `log_softmax` returns, l = -sum_c t_c log_probs_c.

    Notes
    -----
    l is linear: dl/dlog_probs_c = -t_c.

    Examples
    --------
    >>> value, vjp = nll(np.log([[0.25, 0.75]]), np.array([1]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.75, array([[ 0., -1.]]))
    """
    log_probs, target, hard, weight, total = check_class_targets(
        "nll", log_probs, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    loss = -target_score(log_probs, target, hard)
    value = weighted_mean(loss, weight, total)

    def nll_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("nll", dvalue, value, weight, total)
        return scatter(-dloss, target, log_probs) if hard else -target * dloss[..., None]

    return value, nll_vjp


def cross_entropy(
    probs: Array,
    labels: Array,
    *,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy of probabilities in [0, 1] such as `softmax` returns, l = -sum_c t_c log probs_c.

    If a probability has underflowed to 0, the loss is inf and the gradient useless. `softmax_cross_entropy` takes the
    logits instead and does not have this problem.

    Notes
    -----
    log' is the reciprocal, so dl/dprobs_c = -t_c / probs_c.

    Examples
    --------
    >>> value, vjp = cross_entropy(np.array([[0.25, 0.75]]), np.array([0]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.25, array([[-4., -0.]]))
    """
    probs, target, hard, weight, total = check_class_targets(
        "cross_entropy", probs, labels, sample_weight, class_weight, label_smoothing, ignore_index, blank=1.0
    )
    if (probs.real < 0).any() or (probs.real > 1 + 1e-3).any():
        raise ValueError(
            f"cross_entropy: probs must lie in [0, 1]; got values from {probs.real.min()} to {probs.real.max()} "
            "(softmax_cross_entropy takes logits)"
        )
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    loss = -target_score(log_probs, target, hard)
    value = weighted_mean(loss, weight, total)

    def cross_entropy_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("cross_entropy", dvalue, value, weight, total)
        dlog = scatter(dloss, target, probs) if hard else target * dloss[..., None]
        with np.errstate(divide="ignore"):
            return -np.divide(dlog, probs, out=np.zeros(probs.shape, np.result_type(dlog, probs)), where=dlog != 0)

    return value, cross_entropy_vjp


def kl_divergence(
    log_probs: Array, target_probs: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Kullback-Leibler divergence KL(target || prediction), given log-probabilities as for `nll`.

    l = sum_c t_c (log t_c - log_probs_c), where terms with t_c = 0 are 0. For (N, C) the value is that of PyTorch's
    reduction "batchmean".

    Parameters
    ----------
    log_probs : array (N, ..., C)
    target_probs : array (N, ..., C)
        The probabilities t, for example the softmax of another network.
    sample_weight : array (N,) or (N, ...), >= 0, optional

    Notes
    -----
    l is `nll` minus the entropy of the targets, which is constant, so the derivative is the same: dl/dlog_probs_c =
    -t_c.

    Examples
    --------
    >>> value, vjp = kl_divergence(np.log([[0.25, 0.75]]), np.array([[1.0, 0.0]]))
    >>> round(float(np.exp(value)), 6), vjp(1.0)
    (4.0, array([[-1., -0.]]))
    """
    if np.shape(target_probs) != np.shape(log_probs):
        raise ValueError(
            f"kl_divergence: log_probs {np.shape(log_probs)} and target_probs {np.shape(target_probs)} must have the "
            "same shape (N, ..., C) (nll takes integer labels)"
        )
    log_probs, target, _, weight, total = check_class_targets("kl_divergence", log_probs, target_probs, sample_weight)
    log_target = np.log(target, out=np.zeros_like(target), where=target > 0)
    loss = target_score(log_target - log_probs, target, hard=False)
    value = weighted_mean(loss, weight, total)

    def kl_divergence_vjp(dvalue: Any) -> Array:
        return -target * example_cotangents("kl_divergence", dvalue, value, weight, total)[..., None]

    return value, kl_divergence_vjp
