"""Standardisation: features with mean 0 and standard deviation 1, measured on the training data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.data.lazy import Source, as_source, blocks, take
from funcnn.tree import Array

__all__ = ["PIXEL_SCALINGS", "mean_and_std", "pixel_mean_and_std", "standardize"]

# How trained networks take pixels, by name: mean and standard deviation by which `standardize` makes that of pixels
# from 0 (black) to 1 (white). "imagenet" is what torchvision's networks and most others take (red, green, blue); the
# others are the range in which black and white are.
PIXEL_SCALINGS: Mapping[str, Mapping[str, Any]] = {
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "0..1": {"mean": 0.0, "std": 1.0},
    "0..255": {"mean": 0.0, "std": 1 / 255},
    "-1..1": {"mean": 0.5, "std": 0.5},
}


def mean_and_std(
    x: Array | Source, axes: int | tuple[int, ...] | None = 0, sample_weight: Array | None = None
) -> tuple[Array, Array]:
    """Return mean and standard deviation of the training data, by which `standardize` scales all data.

    Parameters
    ----------
    x : array or source (N, ...)
        A source is read by blocks, three times, if ``axes`` contains 0.
    axes : int, tuple of int or None
        To average over: 0 for one mean per feature, all but the last for one per channel, None for one of all values.
    sample_weight : array (N,), optional
        >= 0, not all 0: a weight of k counts as k repeats of the example. ``axes`` must contain 0.

    Returns
    -------
    mean, std : arrays
        Summed in double precision, of x's dtype and number of axes, for values of any magnitude. ``std`` is 0 where all
        values are the same up to rounding.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, there is nothing to average, or the weights do not fit.

    Examples
    --------
    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> mean_and_std(x)
    (array([[2., 5.]]), array([[1., 0.]]))
    >>> mean_and_std(x, sample_weight=np.array([3.0, 1.0]))[0]
    array([[1.5, 5. ]])
    """
    x = as_source(x)
    dtype = checks.floating("mean_and_std: x", take(x, slice(0, 1))).dtype
    if not math.prod(x.shape):
        raise ValueError(f"mean_and_std: x {x.shape} has no values")
    weight = None if sample_weight is None else _sample_weight(x, axes, sample_weight)
    averaged = set(range(len(x.shape))) if axes is None else {int(a) % len(x.shape) for a in np.atleast_1d(axes)}
    count = math.prod(x.shape[a] for a in averaged)
    if weight is not None:
        count = weight.sum() * math.prod(x.shape[a] for a in averaged - {0})

    def parts() -> Iterator[tuple[Array, Any]]:
        """Yield all values with their weights; in blocks, if these are averaged over."""
        for start, block in blocks(x) if 0 in averaged else ((0, take(x, slice(None))),):
            if weight is None:
                yield block, 1.0
            elif (w := weight[start : start + len(block)]).any():
                yield block[w > 0], w[w > 0].reshape(-1, *(1,) * (block.ndim - 1))

    def total(values: Array, w: Any) -> Array:
        return (values if weight is None else w * values).sum(axis=axes, dtype=np.float64, keepdims=True)

    ends, sums = [], []
    for part, w in parts():
        ends.append((part.min(axis=axes, keepdims=True), part.max(axis=axes, keepdims=True)))
        if dtype != np.float64:  # those are scaled first: another pass over a source, which may decode files for each
            sums.append(total(part, w))
    low, high = reduce(np.minimum, (least for least, _ in ends)), reduce(np.maximum, (most for _, most in ends))
    largest = np.maximum(abs(low), abs(high))
    # a power of 2 rounds nothing, and squares neither overflow nor vanish
    exponent = np.frexp(largest)[1] if dtype == np.float64 else np.zeros_like(largest, int)

    def scaled(part: Array) -> Array:
        return np.ldexp(part, -exponent) if dtype == np.float64 else part

    average = reduce(np.add, sums or [total(scaled(part), w) for part, w in parts()]) / count
    deviation = np.sqrt(reduce(np.add, (total(np.square(scaled(part) - average), w) for part, w in parts())) / count)
    # equal numbers have a mean that is off by rounding, so a std that is almost 0: useless to divide by
    with np.errstate(over="ignore"):
        constant = high - low <= 4 * np.finfo(dtype).eps * largest
    mean, std = average.astype(dtype), np.where(constant, 0, deviation).astype(dtype)
    return np.ldexp(mean, exponent), np.ldexp(std, exponent)


def _sample_weight(x: Source, axes: int | tuple[int, ...] | None, sample_weight: Array) -> Array:
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != x.shape[:1]:
        raise ValueError(f"mean_and_std: sample_weight {weight.shape} must have one weight for each of x {x.shape}")
    if axes is not None and 0 not in {a % len(x.shape) for a in np.atleast_1d(axes)}:
        raise ValueError(f"mean_and_std: with sample_weight, axes {axes} must contain 0")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise ValueError("mean_and_std: sample_weight must be finite, >= 0 and not all 0")
    return np.ldexp(weight, -np.frexp(weight.max())[1])  # so that sums do not overflow; a power of 2 rounds nothing


def pixel_mean_and_std(scaling: str | Mapping[str, Any], channels: int) -> tuple[Array, Array]:
    """Return what pixels from 0 to 1 are standardised by for a trained network.

    Parameters
    ----------
    scaling : str or dict
        A name of `PIXEL_SCALINGS`, or "mean" and "std".
    channels : int

    Returns
    -------
    mean, std : arrays of float32 (channels,)

    Raises
    ------
    ValueError
        If they are not numbers for so many channels, or a ``std`` is not above 0.

    Examples
    --------
    >>> pixel_mean_and_std({"mean": 0.5, "std": 0.25}, 3)
    (array([0.5, 0.5, 0.5], dtype=float32), array([0.25, 0.25, 0.25], dtype=float32))
    >>> mean, std = pixel_mean_and_std("0..255", 1)
    >>> standardize(np.array([[0.0], [1.0]], np.float32), mean, std).ravel().round(2)
    array([  0., 255.], dtype=float32)
    """
    numbers = PIXEL_SCALINGS[scaling] if isinstance(scaling, str) else scaling
    mean, std = (np.asarray(numbers[name], np.float32) for name in ("mean", "std"))
    for name, array in (("mean", mean), ("std", std)):
        if array.shape not in ((), (1,), (channels,)) or not np.isfinite(array).all():
            raise ValueError(f"scaling: {name} must be one number, or {channels}, one for each channel, not {array}")
    if (std <= 0).any():
        raise ValueError(f"scaling: std must be above 0, got {std}")
    return np.broadcast_to(mean, channels).copy(), np.broadcast_to(std, channels).copy()


def standardize(x: Array, mean: Array, std: Array) -> Array:
    """Return (x - mean) / std; where std is 0, it is x - mean.

    Parameters
    ----------
    x : array (N, ...)
    mean, std : arrays or floats
        As `mean_and_std` returns them; they broadcast against ``x``.

    Returns
    -------
    array, shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, the shapes do not fit, or ``std`` is negative.

    Examples
    --------
    >>> train, test = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 6.0]])
    >>> standardize(test, *mean_and_std(train))
    array([[2., 1.]])
    """
    x = checks.floating("standardize: x", x)
    mean, std = np.asarray(mean, x.dtype), np.asarray(std, x.dtype)
    for name, given in (("mean", mean), ("std", std)):
        if given.ndim > x.ndim or any(g not in (1, s) for g, s in zip(given.shape[::-1], x.shape[::-1], strict=False)):
            raise ValueError(f"standardize: {name} must broadcast to the shape of x, {x.shape}, got {given.shape}")
    if (std < 0).any():
        raise ValueError(f"standardize: std must be >= 0, got {std.min()}")
    return (x - mean) / np.where(std == 0, x.dtype.type(1), std)
