"""Softmax and its logarithm along an axis."""

from __future__ import annotations

from funcnn import ops
from funcnn.layer import Layer, parameterless


def softmax(axis: int = -1) -> Layer:
    """Softmax along an axis. To train a classifier, end in logits and use
    `softmax_cross_entropy`.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Examples
    --------
    >>> softmax().name
    'softmax'
    """
    return parameterless("softmax", ops.softmax, {"axis": axis})


def log_softmax(axis: int = -1) -> Layer:
    """Logarithm of the softmax along an axis.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Examples
    --------
    >>> log_softmax().name
    'log_softmax'
    """
    return parameterless("log_softmax", ops.log_softmax, {"axis": axis})
