"""Metrics of classifiers: they count, and have no gradient (the losses of `funcnn.losses` do).

Outputs (N, C) are scores of C classes, such as logits; where C is 1, they are the logit of class 1 against class 0.
Classes are numbered from 0. Labels are integers (or floats with integer values), one per example; there must be at
least one. Anything else raises a TypeError or ValueError.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.tree import Array

__all__ = ["accuracy", "classes", "confusion_matrix", "top_k_accuracy"]


def classes(outputs: Array) -> Array:
    """Return the class that a classifier predicts for each example: the one with the highest score.

    Parameters
    ----------
    outputs : array (N, C)

    Returns
    -------
    array of int (N,)

    Raises
    ------
    ValueError
        If ``outputs`` has another shape.

    Examples
    --------
    >>> classes(np.array([[0.1, 0.9], [0.8, 0.2]])), classes(np.array([[-3.0], [2.0]]))
    (array([1, 0]), array([0, 1]))
    """
    outputs = np.asarray(outputs)
    if outputs.ndim != 2 or outputs.shape[1] == 0:
        raise ValueError(f"outputs must be (N, C), the scores of each class; got shape {outputs.shape}")
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.int64)
    return outputs.argmax(axis=1)


def accuracy(outputs: Array, labels: Array) -> float:
    """Return the fraction of examples whose predicted class is the label.

    Parameters
    ----------
    outputs : array (N, C)
    labels : array of int (N,) or (N, 1)

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    predicted = classes(outputs)
    return float((predicted == _labels("accuracy", labels, predicted)).mean())


def top_k_accuracy(outputs: Array, labels: Array, k: int) -> float:
    """Return the fraction of examples whose label is among the ``k`` classes with the highest scores.

    Parameters
    ----------
    outputs : array (N, C)
    labels : array of int (N,) or (N, 1)
    k : int in [1, C]

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> top_k_accuracy(np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]), np.array([1, 1]), k=2)
    1.0
    """
    outputs = np.asarray(outputs)
    labels = _labels("top_k_accuracy", labels, classes(outputs))
    if not 1 <= k <= outputs.shape[1]:
        raise ValueError(f"top_k_accuracy: k must be in 1..{outputs.shape[1]} for {outputs.shape[1]} classes, got {k}")
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion_matrix(outputs: Array, labels: Array, n_classes: int | None = None) -> Array:
    """Count examples by true class (row) and predicted class (column).

    Parameters
    ----------
    outputs : array (N, C)
    labels : array of int (N,) or (N, 1)
    n_classes : int, optional
        By default C, or 2 if C is 1.

    Returns
    -------
    array of int (n_classes, n_classes)

    Examples
    --------
    >>> confusion_matrix(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    array([[0, 0],
           [1, 1]])
    """
    predicted = classes(outputs)
    labels = _labels("confusion_matrix", labels, predicted)
    n = n_classes if n_classes is not None else max(2, np.shape(outputs)[1])
    if labels.size and not (min(labels.min(), predicted.min()) >= 0 and max(labels.max(), predicted.max()) < n):
        raise ValueError(f"confusion_matrix: labels from {labels.min()} to {labels.max()} do not fit {n} classes")
    return np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n)


def _labels(metric: str, labels: Any, predicted: Array) -> Array:
    labels = np.asarray(labels)
    if labels.shape == (*predicted.shape, 1):
        labels = labels[:, 0]
    if labels.shape != predicted.shape or not labels.size:
        raise ValueError(
            f"{metric}: needs one label per output, at least one; got {len(predicted)} outputs and labels of shape "
            f"{labels.shape}"
        )
    if labels.dtype.kind == "f" and (labels == labels.astype(np.int64)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biu":
        raise TypeError(f"{metric}: labels must be integers, not {labels.dtype}")
    return labels.astype(np.int64)
