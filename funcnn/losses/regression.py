"""Losses for regression: predictions (floats) and targets (real numbers) are arrays of one shape (N, ...).

``sample_weight`` (N,) has weights >= 0. The value is the weighted mean of the examples' losses, and an example's loss
is the mean over its errors e = prediction - target. ``vjp(dvalue)`` returns dpredictions. `funcnn.losses` lists what is
an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.losses.arguments import (
    broadcast_leading,
    check_paired_targets,
    example_cotangents,
    example_means,
    outcome_count,
    weighted_mean,
)
from funcnn.tree import Array


def mse(
    predictions: Array, targets: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Mean squared error, the mean of e^2.

    Notes
    -----
    d(e^2) = 2 e de, and e changes as the prediction does. So an error's cotangent is 2 e times that of its example's
    loss, divided by the number of errors that the example's mean is over.

    Examples
    --------
    >>> value, vjp = mse(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> float(value), vjp(1.0)
    (2.0, array([0., 2.]))
    """
    p, t, weight, total = check_paired_targets("mse", predictions, targets, sample_weight)
    error = p - t
    value = weighted_mean(example_means(error * error), weight, total)

    def mse_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("mse", dvalue, value, weight, total)
        return error * broadcast_leading(2 * dloss / outcome_count(p), p.shape)

    return value, mse_vjp


def mae(
    predictions: Array, targets: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Mean absolute error, the mean of |e|.

    Notes
    -----
    d|e| = sign(e) de. At the kink e = 0, the derivative is defined as 0, between those of the two branches: a perfect
    prediction is a minimum and must have no gradient.

    Examples
    --------
    >>> value, vjp = mae(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> float(value), vjp(1.0)
    (1.0, array([0. , 0.5]))
    """
    p, t, weight, total = check_paired_targets("mae", predictions, targets, sample_weight)
    error = p - t
    sign = np.sign(error.real)
    value = weighted_mean(example_means(sign * error), weight, total)

    def mae_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("mae", dvalue, value, weight, total)
        return sign * broadcast_leading(dloss / outcome_count(p), p.shape)

    return value, mae_vjp


def huber(
    predictions: Array, targets: Array, *, delta: float = 1.0, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Huber loss, the mean of e^2 / 2 where |e| <= delta, and of the line delta (|e| - delta / 2) elsewhere.

    Parameters
    ----------
    delta : float > 0

    Notes
    -----
    With c = e clipped to [-delta, delta], both branches are c (e - c / 2), and the derivative is c.
    P. Huber, Robust Estimation of a Location Parameter, 1964.

    Examples
    --------
    >>> value, vjp = huber(np.array([1.0, 4.0]), np.array([0.5, 2.0]))
    >>> float(value), vjp(1.0)
    (0.8125, array([0.25, 0.5 ]))
    """
    delta = float(delta)
    if not delta > 0:
        raise ValueError(f"huber: delta must be above 0, got {delta}")
    p, t, weight, total = check_paired_targets("huber", predictions, targets, sample_weight)
    error = p - t
    clipped = np.where(error.real < -delta, -delta, np.where(error.real > delta, delta, error))
    value = weighted_mean(example_means(clipped * (error - clipped / 2)), weight, total)

    def huber_vjp(dvalue: Any) -> Array:
        dloss = example_cotangents("huber", dvalue, value, weight, total)
        return clipped * broadcast_leading(dloss / outcome_count(p), p.shape)

    return value, huber_vjp
