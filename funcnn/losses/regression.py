"""Losses over numbers: predictions and targets (N, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.losses.arguments import example_means, outcomes, paired, shares, spread, weighted_mean
from funcnn.tree import Array


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
    p, t, weight, total = paired("mse", predictions, targets, sample_weight)
    error = p - t
    value = weighted_mean(example_means(error * error), weight, total)

    def mse_vjp(dvalue: Any) -> Array:
        share = shares("mse", dvalue, value, weight, total)
        return error * spread(2 * share / outcomes(p), p.shape)

    return value, mse_vjp


def mae(
    predictions: Array, targets: Array, *, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Mean absolute error.

    Parameters
    ----------
    predictions : array (N, ...)
    targets : array (N, ...), the shape of ``predictions``
    sample_weight : array (N,), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean; an example's loss is the mean of its absolute errors.
    vjp : callable
        ``vjp(dvalue) -> dpredictions``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types or shapes do not fit, or the weights sum to 0.

    Notes
    -----
    d|e| = sign(e) de. At the kink e = 0 neither branch's derivative is taken but 0, which lies between them: a perfect
    prediction is a minimum and must not be pushed away from it.

    Examples
    --------
    >>> value, vjp = mae(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    >>> float(value), vjp(1.0)
    (1.0, array([0. , 0.5]))
    """
    p, t, weight, total = paired("mae", predictions, targets, sample_weight)
    error = p - t
    sign = np.sign(error.real)
    value = weighted_mean(example_means(sign * error), weight, total)

    def mae_vjp(dvalue: Any) -> Array:
        share = shares("mae", dvalue, value, weight, total)
        return sign * spread(share / outcomes(p), p.shape)

    return value, mae_vjp


def huber(
    predictions: Array, targets: Array, *, delta: float = 1.0, sample_weight: Array | None = None
) -> tuple[Any, Callable[[Any], Array]]:
    """Huber loss: half the squared error up to an error of ``delta``, from there on a line.

    Parameters
    ----------
    predictions : array (N, ...)
    targets : array (N, ...), the shape of ``predictions``
    delta : float > 0
    sample_weight : array (N,), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean; an example's loss is the mean over its errors e of e^2 / 2 where abs(e) <= delta, else
        delta (abs(e) - delta / 2).
    vjp : callable
        ``vjp(dvalue) -> dpredictions``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types or shapes do not fit, ``delta`` is not above 0, or the weights sum to 0.

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
    p, t, weight, total = paired("huber", predictions, targets, sample_weight)
    error = p - t
    clipped = np.where(error.real < -delta, -delta, np.where(error.real > delta, delta, error))
    value = weighted_mean(example_means(clipped * (error - clipped / 2)), weight, total)

    def huber_vjp(dvalue: Any) -> Array:
        share = shares("huber", dvalue, value, weight, total)
        return clipped * spread(share / outcomes(p), p.shape)

    return value, huber_vjp
