"""Shared by the losses: checks of their arguments, example weights, and sums over classes and outcomes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import ones
from funcnn.kernels.last_axis import flat_index
from funcnn.tree import Array

# Entries: up to here, sum by a product with ones, in a third of the time. NumPy sums pairwise, with smaller rounding
# errors, which matters for more entries. ``scripts/bench --job seed`` measures it again.
_SHORT_SUM = 1024


def check_paired_targets(
    loss: str, predictions: Any, targets: Any, sample_weight: Any
) -> tuple[Array, Array, Array | None, Any]:
    """Check arguments of one shape (N, ...); return predictions, targets, the examples' weights and their sum.

    The weights are None if all are 1.
    """
    predictions = checks.floating(f"{loss}: predictions", predictions)
    targets = np.asarray(targets)
    if targets.dtype.kind not in "biuf":
        raise TypeError(f"{loss}: targets must be real numbers, not {targets.dtype}")
    if predictions.ndim < 1 or 0 in predictions.shape[1:] or predictions.shape != targets.shape:
        raise ValueError(
            f"{loss}: predictions {predictions.shape} and targets {targets.shape} must have the same shape (N, ...)"
        )
    targets = targets.astype(predictions.real.dtype)
    if sample_weight is None:
        return predictions, targets, None, _total(loss, None, len(predictions), predictions)
    weight = _example_weights(loss, sample_weight, predictions.shape[:1], predictions)
    total = _total(loss, weight, len(predictions), predictions)
    return _without_unweighted(predictions, weight), _without_unweighted(targets, weight), weight, total


def check_class_targets(
    loss: str,
    scores: Any,
    labels: Any,
    sample_weight: Any,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    blank: float = 0.0,
) -> tuple[Array, Array, bool, Array | None, Any]:
    """Check the arguments of a classification loss; return scores, target, hard, the positions' weights and their sum.

    ``hard`` is True if the target is integer labels (N, ...), False for probabilities (N, ..., C); smoothing converts
    labels to probabilities. The weights are None if all are 1. Scores of weight 0 are replaced by ``blank``,
    for which the loss and its gradient are finite.
    """
    scores = checks.floating(f"{loss}: predictions", scores)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(f"{loss}: predictions must be (N, ..., C) with C >= 1, not {scores.shape}")
    target, ignored = _class_targets(loss, scores, labels, ignore_index)
    hard = target.ndim < scores.ndim
    positions = scores.shape[:-1]
    weight = None if sample_weight is None else _example_weights(loss, sample_weight, positions, scores)
    if class_weight is not None:
        weight = _times(weight, _class_weights(loss, class_weight, target, scores, hard))
    note = ""
    if ignored is not None:
        weight = _times(weight, (~ignored).astype(scores.real.dtype))
        note = f"; {ignored.sum()} labels are ignore_index = {ignore_index}"
    total = _total(loss, weight, math.prod(positions), scores, note)
    smoothing = check_label_smoothing(loss, label_smoothing)
    if smoothing:
        one_hot = scatter(np.ones(positions, scores.real.dtype), target, scores) if hard else target
        target, hard = (1 - smoothing) * one_hot + smoothing / scores.shape[-1], False
    return scores if weight is None else _without_unweighted(scores, weight, blank), target, hard, weight, total


def check_label_smoothing(loss: str, label_smoothing: float) -> float:
    """Return the fraction of the target that label smoothing spreads evenly over the classes; raise if out of range."""
    smoothing = float(label_smoothing)
    if not 0 <= smoothing < 1:
        raise ValueError(f"{loss}: label_smoothing must be in [0, 1), got {smoothing}")
    return smoothing


def real_weights(loss: str, name: str, weight: Any, like: Array, *, relative: bool = False) -> Array:
    """Check that weights are finite and >= 0; return them in the real dtype of ``like``.

    If only their ratios count (``relative``), they are scaled where they would underflow or overflow in that dtype.
    """
    weight = np.asarray(weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"{loss}: {name} must be real numbers, not {weight.dtype}")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"{loss}: {name} must be finite and >= 0, got {weight[~(weight >= 0) | np.isinf(weight)][0]}")
    dtype = like.real.dtype
    if relative and weight.size and (largest := weight.max()) > 0:
        limit = 2.0 ** (np.finfo(dtype).maxexp // 2)
        if not 1 / limit <= largest <= limit:
            weight = weight / largest
    return weight.astype(dtype)


def weighted_mean(loss: Array, weight: Array | None, total: Any) -> Any:
    """Return sum(w l) / total; ``weight`` None stands for weights of 1."""
    if weight is not None:
        loss = weight * loss
    if loss.size <= _SHORT_SUM:
        return (loss if loss.ndim == 1 else loss.reshape(-1)).dot(ones(loss.size, loss.dtype)) / total
    return np.add.reduce(loss, axis=None) / total


def example_cotangents(loss: str, dvalue: Any, value: Any, weight: Array | None, total: Any) -> Any:
    """Return dvalue w / total, the cotangent of each position's loss; a scalar if all weights are 1."""
    # dvalue is nearly always 1.0; making a NumPy scalar of it is faster than making an array
    to_scalar = value.dtype.type
    dvalue = to_scalar(dvalue) if isinstance(dvalue, float) else checks.cotangent(loss, dvalue, (), value.dtype)
    return dvalue / total if weight is None else dvalue * weight / total


def broadcast_leading(a: Array, shape: tuple[int, ...]) -> Array:
    """Append axes of size 1 to ``a``, so that its axes broadcast against the leading axes of ``shape``."""
    return a.reshape(a.shape + (1,) * (len(shape) - a.ndim))


def outcome_count(predictions: Array) -> int:
    """Return the number of outcomes of an example."""
    return math.prod(predictions.shape[1:])


def example_means(loss: Array) -> Array:
    """Return each example's mean over its outcomes."""
    return loss.reshape(loss.shape[0], outcome_count(loss)).mean(axis=1)


def take_labels(scores: Array, labels: Array) -> Array:
    """Return the score of each position's label."""
    return scores.take(flat_index(labels, scores.shape[-1]))


def target_score(scores: Array, target: Array, hard: bool) -> Array:
    """Return sum_c t_c scores_c; classes with t_c = 0 add 0 even if their score is infinite."""
    return take_labels(scores, target) if hard else (target * np.where(target > 0, scores, 0)).sum(axis=-1)


def scatter(values: Array, labels: Array, like: Array) -> Array:
    """Return an array of the shape of ``like`` that holds ``values`` (N, ...) or a scalar at the labels, else 0."""
    scattered = np.zeros(like.size, values.dtype)
    scattered[flat_index(labels, like.shape[-1])] = values
    return scattered.reshape(like.shape)


def _class_targets(loss: str, scores: Array, labels: Any, ignore_index: int | None) -> tuple[Array, Array | None]:
    """Return integer labels or probabilities, and a mask of the ignored labels (or None); ignored labels become 0."""
    labels = np.asarray(labels)
    if ignore_index is not None and not checks.is_int(ignore_index):
        raise TypeError(f"{loss}: ignore_index must be an int, not {ignore_index!r}")
    if labels.ndim == scores.ndim:
        if labels.shape != scores.shape:
            raise ValueError(
                f"{loss}: target probabilities must have the predictions' shape {scores.shape}, got {labels.shape}"
            )
        if ignore_index is not None:
            raise ValueError(f"{loss}: labels must be integers for ignore_index = {ignore_index}, not probabilities")
        target = labels.astype(scores.real.dtype)
        if not ((target >= 0).all() and (abs(target.sum(axis=-1) - 1) < 1e-3).all()):
            raise ValueError(f"{loss}: target probabilities must be >= 0 and sum to 1 over the last axis")
        return target, None
    if labels.shape != scores.shape[:-1]:
        raise ValueError(
            f"{loss}: labels must have shape {scores.shape[:-1]} for predictions {scores.shape}, got {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{loss}: labels must be integers, not {labels.dtype}")
    ignored = None if ignore_index is None else labels == ignore_index
    kept = labels if ignored is None else labels[~ignored]
    if kept.size and _max_as_unsigned(kept) >= scores.shape[-1]:
        low, high = kept.min(), kept.max()
        exception = "" if ignore_index is None else f" or be ignore_index = {ignore_index}"
        raise ValueError(
            f"{loss}: labels must lie in 0..{scores.shape[-1] - 1} for {scores.shape[-1]} classes{exception}; "
            f"got values from {low} to {high}"
        )
    return (labels if ignored is None else np.where(ignored, 0, labels)), ignored


def _max_as_unsigned(labels: Array) -> int:
    """Return the maximum of the labels read as unsigned integers: a negative label becomes larger than any class."""
    numbers = labels.view(_unsigned(labels.dtype))
    return numbers.item(numbers.argmax())  # for short arrays, in half the time of `max`


@lru_cache(maxsize=16)
def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(dtype.str.replace("i", "u"))


def _class_weights(loss: str, class_weight: Any, target: Array, scores: Array, hard: bool) -> Array:
    """Return the weight of each position's class, or the mean of the classes' weights under its probabilities."""
    class_weight = real_weights(loss, "class_weight", class_weight, scores, relative=True)
    if class_weight.shape != scores.shape[-1:]:
        raise ValueError(
            f"{loss}: class_weight must have shape {scores.shape[-1:]} for predictions {scores.shape}, got "
            f"{class_weight.shape}"
        )
    if hard:
        return class_weight[target]
    # sum(t) is 1 up to rounding; dividing by it makes class weights of 1 give exactly 1
    return (target * class_weight).sum(axis=-1) / target.sum(axis=-1)


def _example_weights(loss: str, sample_weight: Any, shape: tuple[int, ...], like: Array) -> Array:
    """Check the examples' weights (N,) or ``shape``; return them broadcast to ``shape``."""
    weight = np.asarray(sample_weight)
    if weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"{loss}: sample_weight must have shape {shape[:1]} for predictions {like.shape}, got {weight.shape}"
        )
    weight = real_weights(loss, "sample_weight", weight, like, relative=True)
    return np.ones(shape, weight.dtype) * broadcast_leading(weight, shape)


def _times(weight: Array | None, factor: Array) -> Array:
    return factor if weight is None else weight * factor


def _total(loss: str, weight: Array | None, count: int, like: Array, note: str = "") -> Any:
    total = count if weight is None else weight.sum()
    if total == 0:
        raise ValueError(
            f"{loss}: the mean over {count} examples is undefined, as their weights sum to 0 "
            f"(predictions {like.shape}{note})"
        )
    return total


def _without_unweighted(array: Array, weight: Array, blank: float = 0.0) -> Array:
    """Return the array with ``blank`` where the weight is 0, since 0 times infinity or NaN is not 0."""
    if weight.all():
        return array
    return np.where(broadcast_leading(weight == 0, array.shape), blank, array)
