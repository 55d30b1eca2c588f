"""Losses over classes: predictions (N, ..., C), targets integer labels (N, ...) or probabilities (N, ..., C)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.kernels.rows import row_max, row_sum
from funcnn.losses.arguments import classified, expected, picked, placed, places, shares, weighted_mean
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
    """Cross-entropy of the softmax of ``logits``, computed without ever forming a probability of 0.

    Parameters
    ----------
    logits : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    sample_weight : array (N,) or (N, ...), >= 0, optional
    class_weight : array (C,), >= 0, optional
        Part of the example's weight w: that of its label, or sum_c t_c class_weight_c for probabilities.
    label_smoothing : float in [0, 1)
        s replaces the target probabilities t by (1 - s) t + s / C.
    ignore_index : int, optional
        Integer labels of this value, in [0, C) or not, have weight 0: their predictions count for nothing.

    Returns
    -------
    value : scalar
        The weighted mean sum(w l) / sum(w) of l = -sum_c t_c log softmax(logits)_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dlogits``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, an option is out of range, or the weights sum to 0.

    Notes
    -----
    With p = softmax(logits) = e / z, dl/dlogits_c = p_c sum_j t_j - t_c, which is p_c - t_c for probabilities t.

    An example has one weight, that of its class before smoothing, and integer labels equal one-hot probabilities.
    PyTorch agrees for integer labels without smoothing. With smoothing or probabilities it weighs each term t_c log p_c
    by its own class's weight, and for probabilities it divides by the number of examples.

    A logit of -inf costs nothing where its class has t_c = 0; smoothing makes all classes possible, so there it costs
    inf.
    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015 (arXiv:1512.00567).

    Examples
    --------
    >>> value, vjp = softmax_cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(float(value), 6), vjp(1.0)
    (0.693147, array([[-0.5,  0.5]]))
    >>> value, vjp = softmax_cross_entropy(np.zeros((2, 2)), np.array([0, -1]), ignore_index=-1)
    >>> round(float(value), 6), vjp(1.0)
    (0.693147, array([[-0.5,  0.5],
                      [ 0. ,  0. ]]))
    """
    name = "softmax_cross_entropy"
    logits, target, hard, weight, total = classified(
        name, logits, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    shifted = logits - row_max(logits.real)
    e = np.exp(shifted)
    z = row_sum(e)
    if hard:
        at_labels = places(target, e.shape[-1])
        loss = np.log(z) - shifted.take(at_labels)
    else:
        mass = row_sum(target)
        loss = mass * np.log(z) - expected(shifted, target, hard)
    value = weighted_mean(loss, weight, total)

    def softmax_cross_entropy_vjp(dvalue: Any) -> Array:
        share = shares(name, dvalue, value, weight, total)
        if not hard:
            return e * (share * mass / z)[..., None] - target * share[..., None]
        dlogits = np.ascontiguousarray(e * (share / z)[..., None])
        dlogits.reshape(-1)[at_labels] -= share
        return dlogits

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
    """Focal loss: cross-entropy of the softmax that counts an example the less the surer its class is.

    Parameters
    ----------
    logits : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    gamma : float >= 0
        How much less; 0 gives `softmax_cross_entropy`.
    sample_weight : array (N,) or (N, ...), >= 0, optional
    class_weight, label_smoothing, ignore_index
        As in `softmax_cross_entropy`.
        ``class_weight`` is the paper's alpha, except that it is part of the weighted mean's weights.

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c (1 - p_c)^gamma log p_c with p = softmax(logits), in nats.
    vjp : callable
        ``vjp(dvalue) -> dlogits``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, an option is out of range, or the weights sum to 0.

    Notes
    -----
    With q = 1 - p, d(-q^gamma log p)/dlog p = q^gamma (gamma p log p / q - 1) =: s, where log p / q is -1 in the limit
    q = 0; and as in `log_softmax`, dl/dlogits_c = t_c s_c - p_c sum_j t_j s_j. Near p = 1, q = -expm1(log p) keeps the
    digits that 1 - p would lose.
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
    logits, target, hard, weight, total = classified(
        "focal", logits, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    shifted = logits - row_max(logits.real)
    e = np.exp(shifted)
    z = row_sum(e)[..., None]
    log_probs = shifted - np.log(z)
    # of the label alone, or of each class, where 0 stands for the impossible ones: they cost nothing
    log_p = picked(log_probs, target) if hard else np.where(target > 0, log_probs, 0)
    q = -np.expm1(log_p)
    loss = -(q**gamma) * log_p
    value = weighted_mean(loss if hard else (target * loss).sum(axis=-1), weight, total)

    def focal_vjp(dvalue: Any) -> Array:
        share = shares("focal", dvalue, value, weight, total)
        p = np.exp(log_p)
        p_log_p = np.multiply(p, log_p, out=np.zeros_like(p), where=p != 0)
        slope = q**gamma * (gamma * np.divide(p_log_p, q, out=np.full_like(p, -1), where=q != 0) - 1)
        if hard:
            dlog_probs, pull = placed(share * slope, target, e), share * slope
        else:
            dlog_probs = share[..., None] * target * slope
            pull = dlog_probs.sum(axis=-1)
        return dlog_probs - e * (pull[..., None] / z)

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
    """Negative log-likelihood, given log-probabilities such as `log_softmax` returns.

    Parameters
    ----------
    log_probs : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    sample_weight : array (N,) or (N, ...), >= 0, optional
    class_weight, label_smoothing, ignore_index
        As in `softmax_cross_entropy`.

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c log_probs_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dlog_probs``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, an option is out of range, or the weights sum to 0.

    Notes
    -----
    Linear: dl/dlog_probs_c = -t_c.

    Examples
    --------
    >>> value, vjp = nll(np.log([[0.25, 0.75]]), np.array([1]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.75, array([[ 0., -1.]]))
    """
    log_probs, target, hard, weight, total = classified(
        "nll", log_probs, labels, sample_weight, class_weight, label_smoothing, ignore_index
    )
    loss = -expected(log_probs, target, hard)
    value = weighted_mean(loss, weight, total)

    def nll_vjp(dvalue: Any) -> Array:
        share = shares("nll", dvalue, value, weight, total)
        return placed(-share, target, log_probs) if hard else -target * share[..., None]

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
    """Cross-entropy, given probabilities such as `softmax` returns.

    A probability that has underflowed to 0 costs inf here and has no useful gradient; `softmax_cross_entropy` takes the
    logits and knows neither.

    Parameters
    ----------
    probs : array (N, ..., C)
        Probabilities, in [0, 1].
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    sample_weight : array (N,) or (N, ...), >= 0, optional
    class_weight, label_smoothing, ignore_index
        As in `softmax_cross_entropy`.

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c log probs_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dprobs``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, an option is out of range, or the weights sum to 0.

    Notes
    -----
    dl/dprobs_c = -t_c / probs_c.

    Examples
    --------
    >>> value, vjp = cross_entropy(np.array([[0.25, 0.75]]), np.array([0]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.25, array([[-4., -0.]]))
    """
    probs, target, hard, weight, total = classified(
        "cross_entropy", probs, labels, sample_weight, class_weight, label_smoothing, ignore_index, blank=1.0
    )
    if (probs.real < 0).any() or (probs.real > 1 + 1e-3).any():
        raise ValueError(
            f"cross_entropy: probs must lie in [0, 1]; got values from {probs.real.min()} to {probs.real.max()} "
            "(softmax_cross_entropy takes logits)"
        )
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    loss = -expected(log_probs, target, hard)
    value = weighted_mean(loss, weight, total)

    def cross_entropy_vjp(dvalue: Any) -> Array:
        share = shares("cross_entropy", dvalue, value, weight, total)
        up = placed(share, target, probs) if hard else target * share[..., None]
        with np.errstate(divide="ignore"):
            return -np.divide(up, probs, out=np.zeros(probs.shape, np.result_type(up, probs)), where=up != 0)

    return value, cross_entropy_vjp


def kl_divergence(
    log_probs: Array, target_probs: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Kullback-Leibler divergence of the targets from the predictions, given log-probabilities as in `nll`.

    Parameters
    ----------
    log_probs : array (N, ..., C)
    target_probs : array (N, ..., C)
        Such as the softmax of another network.
    sample_weight : array (N,) or (N, ...), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean of l = sum_c t_c (log t_c - log_probs_c), in nats, where t_c = 0 contributes 0. For (N, C) it
        is PyTorch's reduction "batchmean".
    vjp : callable
        ``vjp(dvalue) -> dlog_probs``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, shapes or ranges do not fit, or the weights sum to 0.

    Notes
    -----
    Less than `nll` by the entropy of the targets, a constant, and so of the same derivative: dl/dlog_probs_c = -t_c.

    Examples
    --------
    >>> value, vjp = kl_divergence(np.log([[0.25, 0.75]]), np.array([[1.0, 0.0]]))
    >>> round(float(np.exp(value)), 6), vjp(1.0)
    (4.0, array([[-1., -0.]]))
    """
    if np.shape(target_probs) != np.shape(log_probs):
        raise ValueError(
            f"kl_divergence: log_probs {np.shape(log_probs)} and target_probs {np.shape(target_probs)} must have one "
            "shape (N, ..., C) (nll takes integer labels)"
        )
    log_probs, target, _, weight, total = classified("kl_divergence", log_probs, target_probs, sample_weight)
    log_target = np.log(target, out=np.zeros_like(target), where=target > 0)
    loss = expected(log_target - log_probs, target, hard=False)
    value = weighted_mean(loss, weight, total)

    def kl_divergence_vjp(dvalue: Any) -> Array:
        return -target * shares("kl_divergence", dvalue, value, weight, total)[..., None]

    return value, kl_divergence_vjp
