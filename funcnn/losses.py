"""Losses: ``value, vjp = loss(predictions, targets, *, sample_weight=None)``, and ``dpredictions = vjp(1.0)``.

The value is the weighted mean of the examples' losses, sum(w * l) / sum(w), so that a weight k counts like k
repetitions. Its VJP gives each example the share w / sum(w) of the cotangent. Targets and weights are not
differentiated.

For classification, predictions are (N, ..., C) and targets either integer labels (N, ...) or probabilities (N, ..., C).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.kernels import checks
from funcnn.tree import Array

__all__ = ["cross_entropy", "mse", "nll", "sigmoid_binary_cross_entropy", "softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: Array, labels: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy of the softmax of ``logits``, computed without ever forming a probability of 0.

    Parameters
    ----------
    logits : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    sample_weight : array (N,) or (N, ...), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c log softmax(logits)_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dlogits``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, or the weights sum to 0.

    Notes
    -----
    With p = softmax(logits), dl/dlogits_c = p_c sum_j t_j - t_c, which is p_c - t_c for probabilities t.

    Examples
    --------
    >>> value, vjp = softmax_cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(float(value), 6), vjp(1.0)
    (0.693147, array([[-0.5,  0.5]]))
    """
    name = "softmax_cross_entropy"
    logits, target, hard = _class_targets(name, logits, labels)
    weight, total = _weights(name, sample_weight, logits.shape[:-1], logits)
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    z = e.sum(axis=-1, keepdims=True)
    log_probs = shifted - np.log(z)
    loss = -_expected(log_probs, target, hard)
    value = (weight * loss).sum() / total

    def softmax_cross_entropy_vjp(dvalue: Any) -> Array:
        share = _cotangent(name, dvalue, value) * weight / total
        p = e / z
        if hard:
            return p * share[..., None] - _placed(share, target, p)
        return (p * target.sum(axis=-1, keepdims=True) - target) * share[..., None]

    return value, softmax_cross_entropy_vjp


def nll(log_probs: Array, labels: Array, *, sample_weight: Array | None = None) -> tuple[Any, Callable[[Any], Array]]:
    """Negative log-likelihood, given log-probabilities such as `log_softmax` returns.

    Parameters
    ----------
    log_probs : array (N, ..., C)
    labels : array of int (N, ...), in [0, C), or of probabilities (N, ..., C)
    sample_weight : array (N,) or (N, ...), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c log_probs_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dlog_probs``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, or the weights sum to 0.

    Notes
    -----
    Linear: dl/dlog_probs_c = -t_c.

    Examples
    --------
    >>> value, vjp = nll(np.log([[0.25, 0.75]]), np.array([1]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.75, array([[ 0., -1.]]))
    """
    log_probs, target, hard = _class_targets("nll", log_probs, labels)
    weight, total = _weights("nll", sample_weight, log_probs.shape[:-1], log_probs)
    loss = -_expected(log_probs, target, hard)
    value = (weight * loss).sum() / total

    def nll_vjp(dvalue: Any) -> Array:
        share = _cotangent("nll", dvalue, value) * weight / total
        return _placed(-share, target, log_probs) if hard else -target * share[..., None]

    return value, nll_vjp


def cross_entropy(
    probs: Array, labels: Array, *, sample_weight: Array | None = None
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

    Returns
    -------
    value : scalar
        The weighted mean of l = -sum_c t_c log probs_c, in nats.
    vjp : callable
        ``vjp(dvalue) -> dprobs``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, lengths or ranges do not fit, or the weights sum to 0.

    Notes
    -----
    dl/dprobs_c = -t_c / probs_c.

    Examples
    --------
    >>> value, vjp = cross_entropy(np.array([[0.25, 0.75]]), np.array([0]))
    >>> round(float(np.exp(-value)), 6), vjp(1.0)
    (0.25, array([[-4., -0.]]))
    """
    probs, target, hard = _class_targets("cross_entropy", probs, labels)
    if (probs.real < 0).any() or (probs.real > 1 + 1e-3).any():
        raise ValueError(
            f"cross_entropy: probs must lie in [0, 1]; got values from {probs.real.min()} to {probs.real.max()} "
            "(softmax_cross_entropy takes logits)"
        )
    weight, total = _weights("cross_entropy", sample_weight, probs.shape[:-1], probs)
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    loss = -_expected(log_probs, target, hard)
    value = (weight * loss).sum() / total

    def cross_entropy_vjp(dvalue: Any) -> Array:
        share = _cotangent("cross_entropy", dvalue, value) * weight / total
        up = _placed(share, target, probs) if hard else target * share[..., None]
        with np.errstate(divide="ignore"):
            return -np.divide(up, probs, out=np.zeros(probs.shape, np.result_type(up, probs)), where=up != 0)

    return value, cross_entropy_vjp


def sigmoid_binary_cross_entropy(
    logits: Array, targets: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy of independent yes-or-no outcomes whose probability is the sigmoid of ``logits`` (log-loss).

    Parameters
    ----------
    logits : array (N, ...)
    targets : array (N, ...), in [0, 1]
        The shape of ``logits``; bool and int are taken as 0 and 1.
    sample_weight : array (N,), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean, in nats; an example's loss is the mean over its outcomes.
    vjp : callable
        ``vjp(dvalue) -> dlogits``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, shapes or ranges do not fit, or the weights sum to 0.

    Notes
    -----
    -t log s(z) - (1-t) log(1-s(z)) = max(z, 0) - t z + log(1 + exp(-|z|)), which no z overflows; its derivative is
    s(z) - t.

    Examples
    --------
    >>> value, vjp = sigmoid_binary_cross_entropy(np.array([[0.0], [1000.0]]), np.array([[1], [1]]))
    >>> round(float(value), 6), vjp(1.0).ravel()
    (0.346574, array([-0.25,  0.  ]))
    """
    name = "sigmoid_binary_cross_entropy"
    z, t = _paired(name, logits, targets)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"{name}: targets must lie in [0, 1]; got values from {t.min()} to {t.max()}")
    weight, total = _weights(name, sample_weight, z.shape[:1], z)
    negative = z.real < 0
    e = np.exp(np.where(negative, z, -z))
    loss = np.where(negative, 0, z) - t * z + np.log1p(e)
    value = (weight * _example_means(loss)).sum() / total

    def sigmoid_binary_cross_entropy_vjp(dvalue: Any) -> Array:
        share = _cotangent(name, dvalue, value) * weight / total
        sigmoid = np.where(negative, e, 1) / (1 + e)
        return (sigmoid - t) * _spread(share / _outcomes(z), z.shape)

    return value, sigmoid_binary_cross_entropy_vjp


def mse(
    predictions: Array, targets: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Mean squared error.

    Parameters
    ----------
    predictions : array (N, ...)
    targets : array (N, ...), the shape of ``predictions``
    sample_weight : array (N,), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean; an example's loss is the mean of its squared errors.
    vjp : callable
        ``vjp(dvalue) -> dpredictions``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types or shapes do not fit, or the weights sum to 0.

    Notes
    -----
    d(p - t)^2 = 2 (p - t) dp.

    Examples
    --------
    >>> value, vjp = mse(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> float(value), vjp(1.0)
    (2.0, array([0., 2.]))
    """
    p, t = _paired("mse", predictions, targets)
    weight, total = _weights("mse", sample_weight, p.shape[:1], p)
    error = p - t
    value = (weight * _example_means(error * error)).sum() / total

    def mse_vjp(dvalue: Any) -> Array:
        share = _cotangent("mse", dvalue, value) * weight / total
        return error * _spread(2 * share / _outcomes(p), p.shape)

    return value, mse_vjp


def _class_targets(loss: str, scores: Any, labels: Any) -> tuple[Array, Array, bool]:
    """Check scores (N, ..., C) and their labels; True stands for integer labels, False for probabilities."""
    scores = checks.floating(f"{loss}: predictions", scores)
    labels = np.asarray(labels)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(f"{loss}: predictions must be (N, ..., C) with C >= 1, not {scores.shape}")
    if labels.ndim == scores.ndim:
        if labels.shape != scores.shape:
            raise ValueError(
                f"{loss}: predictions {scores.shape} and target probabilities {labels.shape} differ in shape"
            )
        target = labels.astype(scores.real.dtype)
        if not ((target >= 0).all() and (abs(target.sum(axis=-1) - 1) < 1e-3).all()):
            raise ValueError(f"{loss}: target probabilities must be >= 0 and sum to 1 over the last axis")
        return scores, target, False
    if labels.shape != scores.shape[:-1]:
        raise ValueError(
            f"{loss}: labels {labels.shape} do not go with predictions {scores.shape}; expected {scores.shape[:-1]}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{loss}: labels must be integers, not {labels.dtype}")
    if labels.size and not (labels.min() >= 0 and labels.max() < scores.shape[-1]):
        raise ValueError(
            f"{loss}: labels must lie in 0..{scores.shape[-1] - 1} for {scores.shape[-1]} classes; "
            f"got values from {labels.min()} to {labels.max()}"
        )
    return scores, labels, True


def _paired(loss: str, predictions: Any, targets: Any) -> tuple[Array, Array]:
    predictions = checks.floating(f"{loss}: predictions", predictions)
    targets = np.asarray(targets)
    if targets.dtype.kind not in "biuf":
        raise TypeError(f"{loss}: targets must be real numbers, not {targets.dtype}")
    if predictions.ndim < 1 or 0 in predictions.shape[1:] or predictions.shape != targets.shape:
        raise ValueError(
            f"{loss}: predictions {predictions.shape} and targets {targets.shape} must have one shape (N, ...)"
        )
    return predictions, targets.astype(predictions.real.dtype)


def _weights(loss: str, sample_weight: Any, shape: tuple[int, ...], like: Array) -> tuple[Array, Any]:
    """Return the examples' weights, in the real dtype of ``like`` and of ``shape``, and their sum."""
    dtype = like.real.dtype
    if sample_weight is None:
        weight = np.ones(shape, dtype)
    else:
        weight = np.asarray(sample_weight)
        if weight.dtype.kind not in "biuf":
            raise TypeError(f"{loss}: sample_weight must be real numbers, not {weight.dtype}")
        if weight.shape not in (shape, shape[:1]):
            raise ValueError(
                f"{loss}: sample_weight has shape {weight.shape}; expected {shape[:1]} for predictions {like.shape}"
            )
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(f"{loss}: sample_weight must be finite and >= 0")
        weight = np.ones(shape, dtype) * _spread(weight.astype(dtype), shape)
    total = weight.sum()
    if total == 0:
        raise ValueError(
            f"{loss}: no mean over {weight.size} examples whose weights sum to 0 (predictions {like.shape})"
        )
    return weight, total


def _cotangent(loss: str, dvalue: Any, value: Any) -> Array:
    return checks.cotangent(loss, dvalue, (), value.dtype)


def _spread(share: Array, shape: tuple[int, ...]) -> Array:
    """Let (N, ...) broadcast against ``shape`` from the front."""
    return share.reshape(share.shape + (1,) * (len(shape) - share.ndim))


def _outcomes(predictions: Array) -> int:
    return math.prod(predictions.shape[1:])


def _example_means(loss: Array) -> Array:
    return loss.reshape(loss.shape[0], _outcomes(loss)).mean(axis=1)


def _expected(scores: Array, target: Array, hard: bool) -> Array:
    """Return sum_c t_c scores_c, the scores of impossible classes left out even where they are infinite."""
    if hard:
        rows = scores.reshape(target.size, scores.shape[-1])
        return rows[np.arange(target.size), target.ravel()].reshape(target.shape)
    return (target * np.where(target > 0, scores, 0)).sum(axis=-1)


def _placed(values: Array, labels: Array, like: Array) -> Array:
    """Return zeros of the shape of ``like`` with each of ``values`` at its label."""
    placed = np.zeros((labels.size, like.shape[-1]), values.dtype)
    placed[np.arange(labels.size), labels.ravel()] = values.ravel()
    return placed.reshape(like.shape)
