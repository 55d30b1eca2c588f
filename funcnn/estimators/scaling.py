"""The scaling of an estimator's inputs and targets, measured on the training data, in any unit.

What does not vary is judged relative to itself: a column varies if its standard deviation is more than rounding makes
of equal numbers. Each column is divided by its standard deviation; one that does not vary by its own magnitude, and one
of zeros by the median of the others' scales. So data in another unit are scaled to the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnn import data
from funcnn.data import Source
from funcnn.data.lazy import blocks
from funcnn.data.scaling import PIXEL_SCALINGS, pixel_mean_and_std
from funcnn.tree import Array

# A standard deviation of so many units of rounding (the dtype's epsilon times the mean) is nothing but rounding.
_ROUNDING = 4
# Pixels that only this fraction of the images have (at least one image, of five or more) may be odd ones: they are, if
# they lie further outside of the others' range than this is wide.
_ODD_FRACTION, _FEWEST = 0.01, 5


class Scaling(NamedTuple):
    """Inputs are clipped to ``low`` and ``high``, and then scaled to (x - offset) / scale.

    Attributes
    ----------
    offset, scale, low, high : arrays (features,)
        Rows of features are not clipped: ``low`` and ``high`` are infinite.
    """

    offset: Array
    scale: Array
    low: Array
    high: Array


# What the parameter ``scaling`` of the estimators may be.
EXPECTED = f"{', '.join(map(repr, (*PIXEL_SCALINGS, 'raw')))}, a dict of mean and std, or None"


def is_valid(value: Any) -> bool:
    """Return whether a value is `EXPECTED`."""
    if isinstance(value, Mapping):
        return set(value) == {"mean", "std"}
    return value is None or (isinstance(value, str) and value in (*PIXEL_SCALINGS, "raw"))


def of_trained_network(x: Source, given: str | Mapping[str, Any], image_shape: tuple[int, ...]) -> Scaling:
    """Return the scaling that a network of others was trained with, for pixels x (n, features)."""
    height, width, channels = image_shape
    mean, std, white = np.zeros(channels), np.ones(channels), 1.0
    if given != "raw":
        (mean, std), white = pixel_mean_and_std(given, channels), data.find_full_scale(x)
    offset, scale = (np.tile(np.asarray(part, np.float64) * white, height * width) for part in (mean, std))
    unlimited = np.full_like(offset, np.inf)
    return Scaling(offset, scale, -unlimited, unlimited)


def mean_and_scale(x: Source, weight: Array | None) -> tuple[Array, Array, Array]:
    """Return mean and scale of each column (the last axis) of x, and whether it varies.

    Parameters
    ----------
    x : array or source (n, ..., columns)
        Of any real dtype; rounding is that of this dtype. It is read by blocks.
    weight : array (n,) or None

    Returns
    -------
    mean, scale : arrays of float64 (columns,)
        The scale is > 0.
    varies : array of bool (columns,)

    Examples
    --------
    >>> mean, scale, varies = mean_and_scale(np.array([[1e-13, 7.0, 0.0], [3e-13, 7.0, 0.0]]), None)
    >>> scale, varies
    (array([1.0e-13, 7.0e+00, 3.5e+00]), array([ True, False, False]))
    """
    dtype, axes = data.take(x, slice(0, 1)).dtype, tuple(range(len(x.shape) - 1))
    rounding = _ROUNDING * np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    doubled = data.Mapped(x, partial(np.asarray, dtype=np.float64))
    mean, std = (part.reshape(-1) for part in data.mean_and_std(doubled, axes, sample_weight=weight))
    varies = std > rounding * np.abs(mean)
    scale = np.where(varies, std, np.abs(mean))
    some = scale[scale > 0]
    return mean, np.where(scale > 0, scale, np.median(some) if some.size else 1.0), varies


def of_rows(x: Source, weight: Array | None) -> Scaling:
    """Return the scaling that gives each feature of rows (n, features) mean 0 and standard deviation 1.

    Examples
    --------
    >>> of_rows(np.array([[1.0, 20.0], [3.0, 60.0]]), None)[:2]
    (array([ 2., 40.]), array([ 1., 20.]))
    """
    mean, scale, _ = mean_and_scale(x, weight)
    return Scaling(mean, scale, np.full_like(mean, -np.inf), np.full_like(mean, np.inf))


def of_images(x: Source, weight: Array | None, channels: int) -> Scaling:
    """Return the scaling that gives each channel of images (n, h * w * channels) a background of 0, a deviation of 1.

    Padding and shifting put zeros at the edge of an image, which should be its lowest value rather than its mean: the
    offset is the median of the images' lowest pixels. Pixels are clipped to the range of the training images without
    that of a few odd ones, measured by the lowest and the highest pixel of each image: images with few bright pixels
    keep them.

    Examples
    --------
    >>> x = np.tile([[0.0, 1.0, 2.0, 5.0]], (100, 1))
    >>> x[3, 2] = -1000.0
    >>> scaling = of_images(x, None, 1)
    >>> scaling.low[0], scaling.high[0], scaling.offset[0]
    (np.float64(0.0), np.float64(5.0), np.float64(0.0))
    """
    pixels = data.Mapped(x, lambda rows: rows.reshape(len(rows), -1, channels))
    ends = [(block.min(axis=1), block.max(axis=1)) for _, block in blocks(pixels)]
    lowest, highest = (np.concatenate(each).astype(np.float64) for each in zip(*ends, strict=True))
    low, high = _typical_range(lowest, highest, weight)

    def clip(rows: Array) -> Array:
        clipped = np.clip(rows, low, high)
        return clipped.astype(rows.dtype, copy=False) if rows.dtype.kind == "f" else clipped

    scale = mean_and_scale(data.Mapped(pixels, clip), weight)[1]
    offset = _quantile(lowest, 0.5, weight)
    # Images of one colour say nothing of the range of others.
    low, high = np.where(low < high, low, -np.inf), np.where(low < high, high, np.inf)
    return Scaling(*(np.tile(part, pixels.shape[1]) for part in (offset, scale, low, high)))


def _typical_range(lowest: Array, highest: Array, weight: Array | None) -> tuple[Array, Array]:
    """Return the lowest and the highest of each channel that are not odd, of those of each image (n, channels)."""
    if len(lowest) < _FEWEST:
        return lowest.min(axis=0), highest.max(axis=0)
    fraction = max(_ODD_FRACTION, 1.5 / len(lowest))
    low, high = _quantile(lowest, fraction, weight), -_quantile(-highest, fraction, weight)
    with np.errstate(over="ignore"):
        width = np.where(low < high, high - low, np.inf)
        usual_low, usual_high = lowest >= low - width, highest <= high + width
    return np.where(usual_low, lowest, low).min(axis=0), np.where(usual_high, highest, high).max(axis=0)


def _quantile(x: Array, fraction: float, weight: Array | None) -> Array:
    """Return the least number of each column of x (n, columns) that this fraction of the weight does not exceed."""
    quantile: Array = np.quantile(x, fraction, axis=0, weights=weight, method="inverted_cdf")
    return quantile


def count_clipped(scaling: Scaling, x: Source) -> int:
    """Return how many rows have numbers that `apply` clips.

    Examples
    --------
    >>> count_clipped(Scaling(np.zeros(2), np.ones(2), np.zeros(2), np.ones(2)), np.array([[-3, 1], [0, 1]]))
    1
    """
    outside = (((block < scaling.low) | (block > scaling.high)).any(axis=1).sum() for _, block in blocks(x))
    return int(sum(outside))


def apply(scaling: Scaling, x: Array, dtype: Any) -> Array:
    """Return rows x, clipped and scaled in float64, in a dtype.

    Examples
    --------
    >>> apply(Scaling(np.zeros(2), np.full(2, 4.0), np.zeros(2), np.ones(2)), np.array([[-3, 1]]), np.float32)
    array([[0.  , 0.25]], dtype=float32)
    """
    clipped = np.clip(np.asarray(x, np.float64), scaling.low, scaling.high)
    return ((clipped - scaling.offset) / scaling.scale).astype(dtype, copy=False)
