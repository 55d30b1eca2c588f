"""Losses over yes-or-no outcomes: predictions and targets (N, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn.losses.arguments import example_means, outcomes, paired, real_weights, shares, spread, weighted_mean
from funcnn.tree import Array


def sigmoid_binary_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    sample_weight: Array | None = None,
    pos_weight: Array | float | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, Callable[[Any], Array]]:
    """Cross-entropy of independent yes-or-no outcomes whose probability is the sigmoid of ``logits`` (log-loss).

    Parameters
    ----------
    logits : array (N, ...)
    targets : array (N, ...), in [0, 1]
        The shape of ``logits``; bool and int are taken as 0 and 1.
    sample_weight : array (N,), >= 0, optional
    pos_weight : float or array, >= 0, optional
        Factor of the losses of yes, one or as many as an example has outcomes (broadcast against ``logits.shape[1:]``).
        Not part of the weights that the mean divides by, as in PyTorch.
    label_smoothing : float in [0, 1)
        s replaces the targets t by (1 - s) t + s / 2.

    Returns
    -------
    value : scalar
        The weighted mean, in nats; an example's loss is the mean over its outcomes.
    vjp : callable
        ``vjp(dvalue) -> dlogits``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types, shapes or ranges do not fit, an option is out of range, or the weights sum to 0.

    Notes
    -----
    With a = pos_weight t, b = 1 - t and s the sigmoid, l = -a log s(z) - b log(1 - s(z)). Since -log s(z) =
    max(-z, 0) + log(1 + exp(-|z|)), and -log(1 - s(z)) the same with max(z, 0), l = (a + b) log(1 + exp(-|z|)) +
    |z| (b if z >= 0 else a), which no z overflows; dl/dz = (a + b) s(z) - a, which is s(z) - t without pos_weight.

    Examples
    --------
    >>> value, vjp = sigmoid_binary_cross_entropy(np.array([[0.0], [1000.0]]), np.array([[1], [1]]))
    >>> round(float(value), 6), vjp(1.0).ravel()
    (0.346574, array([-0.25,  0.  ]))
    """
    name = "sigmoid_binary_cross_entropy"
    z, t, weight, total = paired(name, logits, targets, sample_weight)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"{name}: targets must lie in [0, 1]; got values from {t.min()} to {t.max()}")
    smoothing = float(label_smoothing)
    if not 0 <= smoothing < 1:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1), got {smoothing}")
    if smoothing:
        t = (1 - smoothing) * t + smoothing / 2
    yes = t if pos_weight is None else t * _pos_weight(name, pos_weight, z)
    no = 1 - t
    both = yes + no
    negative = z.real < 0
    size = np.where(negative, -z, z)
    e = np.exp(-size)
    wrong = np.where(negative, yes, no)
    # an outcome that is impossible costs nothing, even where its logit is infinite
    loss = both * np.log1p(e) + np.multiply(wrong, size, out=np.zeros_like(size), where=wrong != 0)
    value = weighted_mean(example_means(loss), weight, total)

    def sigmoid_binary_cross_entropy_vjp(dvalue: Any) -> Array:
        share = shares(name, dvalue, value, weight, total)
        sigmoid = np.where(negative, e, 1) / (1 + e)
        return (both * sigmoid - yes) * spread(share / outcomes(z), z.shape)

    return value, sigmoid_binary_cross_entropy_vjp


def hinge(scores: Array, targets: Array, *, sample_weight: Array | None = None) -> tuple[Any, Callable[[Any], Array]]:
    """Hinge loss of support vector machines: outcomes on the wrong side of 0, or right by less than 1, cost their lack.

    Parameters
    ----------
    scores : array (N, ...)
    targets : array (N, ...), each -1 or 1
        The shape of ``scores``.
    sample_weight : array (N,), >= 0, optional

    Returns
    -------
    value : scalar
        The weighted mean; an example's loss is the mean over its outcomes of max(0, 1 - t s).
    vjp : callable
        ``vjp(dvalue) -> dscores``

    Raises
    ------
    TypeError, ValueError
        If the arrays' types or shapes do not fit, a target is neither -1 nor 1, or the weights sum to 0.

    Notes
    -----
    d max(0, 1 - t s)/ds = -t where t s < 1, else 0: also at the kink t s = 1, as relu'(0) = 0, the lack being 1 - t s.

    Examples
    --------
    >>> value, vjp = hinge(np.array([0.5, 3.0, 2.0]), np.array([1, 1, -1]))
    >>> round(float(value), 6), vjp(1.0).round(6)
    (1.166667, array([-0.333333,  0.      ,  0.333333]))
    """
    if np.asarray(targets).dtype == bool:
        raise ValueError("hinge: targets must be -1 or 1, not bool; np.where(targets, 1, -1) converts them")
    s, t, weight, total = paired("hinge", scores, targets, sample_weight)
    other = abs(t) != 1
    counts = True if weight is None else spread(weight != 0, t.shape)
    if (other & counts).any():
        raise ValueError(
            f"hinge: targets must be -1 or 1, got {t[other][0]} (np.where(targets > 0, 1, -1) converts 0 and 1)"
        )
    lack = 1 - t * s
    short = ~(lack.real <= 0)  # NaN stays
    value = weighted_mean(example_means(np.where(short, lack, 0)), weight, total)

    def hinge_vjp(dvalue: Any) -> Array:
        share = shares("hinge", dvalue, value, weight, total)
        return np.where(short, -t, 0) * spread(share / outcomes(s), s.shape)

    return value, hinge_vjp


def _pos_weight(loss: str, pos_weight: Any, logits: Array) -> Array:
    pos_weight = real_weights(loss, "pos_weight", pos_weight, logits)
    outcomes = logits.shape[1:]
    try:
        fits = np.broadcast_shapes(pos_weight.shape, outcomes) == outcomes
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{loss}: pos_weight {pos_weight.shape} does not go with logits {logits.shape}")
    return pos_weight
