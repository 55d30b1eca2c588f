"""Raw arrays as examples: their shape, their dtype, and the full scale of their pixels.

The full scale is the number that stands for white: 255 in an image of 8 bits, 65535 in one of 16. Images are divided by
it, so that a network sees the same pixels as the same numbers, whatever their dtype.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from funcnn.data.lazy import Mapped, Source, as_source, blocks, extent, take
from funcnn.tree import Array

__all__ = ["find_full_scale", "to_examples", "warn_of_other_range"]

# Of images of bits, of 8 bits and of 16 bits; also of images of floats from 0 to 1.
FULL_SCALES = (1, 255, 65535)
# Up to here, each whole number is one of its own in float64.
EXACT = 2**53
TOO_MANY_DIGITS = "has more digits than float64 holds, about 16; subtract a number, or leave the column out"
# Steps of float32 between the darkest and the brightest pixel: with fewer, images would lose what they show.
_FEWEST_STEPS = 256
# The part of the training range within which images are taken for black: those of 8 bits on a scale of 16 are.
_BLACK = 128


def to_examples(x: Any, *, where: str = "to_examples", full_scale: float | None = None) -> Array:
    """Convert a raw array to examples, as training uses them.

    Parameters
    ----------
    x : array-like or source (N, features), (N, height, width) or (N, height, width, channels)
        Of numbers. A stack (N, height, width) of grey images gets an axis of one channel.
    where : str
        What error messages begin with: a file's name, for example.
    full_scale : float, optional
        What images are divided by, whatever their dtype; by default what `find_full_scale` returns. Rows of features
        are never divided.

    Returns
    -------
    array (N, features) of float64, or (N, height, width, channels) of float32
        Rows keep their precision until they are standardised.

    Raises
    ------
    ValueError
        If ``x`` is not of numbers, has another number of axes, no examples, its channels first, or values that are not
        finite, in float32 if they are pixels. If ``full_scale`` is not a positive number.

    Examples
    --------
    >>> pixels = np.array([[[0, 51], [102, 255]]])
    >>> x = to_examples(pixels)
    >>> x.shape, x.ravel().round(2)
    ((1, 2, 2, 1), array([0. , 0.2, 0.4, 1. ], dtype=float32))
    >>> bool((to_examples(pixels.astype(np.uint8)) == x).all())
    True
    """
    examples, _ = examples_and_scale(x, where, full_scale)
    return examples.function(np.asarray(x))


def examples_and_scale(x: Any, where: str, full_scale: float | None) -> tuple[Mapped, float]:
    """Return what `to_examples` does as a source, checked by blocks, and what pixels are divided by; 1 for rows.

    Examples are converted when they are read: pixels of 8 bits stay such until their batch.
    """
    x = as_source(x)
    dtype = np.dtype(x.dtype) if hasattr(x, "dtype") else take(x, slice(0, 1)).dtype
    if dtype.kind not in "biuf":
        raise ValueError(f"{where}: x must be of numbers, not {dtype}")
    if len(x.shape) not in (2, 3, 4) or not math.prod(x.shape):
        raise ValueError(
            f"{where}: x {x.shape} must be (N, features), (N, height, width) or (N, height, width, channels)"
        )
    if len(x.shape) == 4 and x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 2, 3, 4):
        raise ValueError(
            f"{where}: x must be (N, height, width, channels), with the channels last, not first: got {x.shape}"
        )
    low, high = (float(end) for end in extent(x))
    converted = Mapped(x, partial(as_floats, full_scale=1.0))
    if not np.isfinite(as_floats(np.reshape([low, high], (2, *(1,) * (len(x.shape) - 1))), 1.0)).all():
        check_finite(converted, where)
    if len(x.shape) == 2:
        _check_digits(x, dtype, where)
        return converted, 1.0
    if full_scale is None:
        _check_contrast(low, high, where)
        full_scale = find_full_scale(np.array([low, high], np.float32))
    if not 0 < full_scale < math.inf:
        raise ValueError(f"{where}: full_scale must be a positive number, got {full_scale!r}")
    return Mapped(x, partial(as_floats, full_scale=float(full_scale))), float(full_scale)


def as_floats(x: Array, full_scale: float) -> Array:
    """Return rows of features in float64; images in float32, with an axis of channels, divided by their full scale."""
    if x.ndim == 2:
        return x.astype(np.float64, copy=False)
    x = x[..., None] if x.ndim == 3 else x
    with np.errstate(over="ignore"):
        if full_scale == 1:
            return x.astype(np.float32, copy=False)
        return np.true_divide(x, np.float32(full_scale), dtype=np.float32, casting="unsafe")


def check_finite(x: Source, where: str) -> None:
    """Raise unless all examples are finite, naming the first that is not."""
    bad = [
        start + i
        for start, block in blocks(x)
        for i in np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1)).tolist()
    ]
    if bad:
        raise ValueError(
            f"{where}: x must be finite; {len(bad)} of {len(x)} examples are not, the first is number {bad[0]}"
        )


def _check_digits(x: Source, dtype: np.dtype[Any], where: str) -> None:
    """Raise if float64 is too coarse for whole numbers."""
    if dtype.kind in "iu" and dtype.itemsize == 8:
        for start, block in blocks(x):
            for row, column in np.argwhere(abs(block.astype(np.float64)) >= EXACT).tolist():
                number = int(block[row, column])
                if number != int(np.float64(number)):
                    raise ValueError(f"{where}: x[{start + row}, {column}], {number}, {TOO_MANY_DIGITS}")


def _check_contrast(low: float, high: float, where: str) -> None:
    """Raise if float32 is too coarse for the pixels."""
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if 0 < high - low < _FEWEST_STEPS * step:
        raise ValueError(
            f"{where}: the pixels of x go from {low!r} to {high!r}, where float32 has steps of {step:.2g}; "
            "bring them to a range such as 0 to 1 first"
        )


def find_full_scale(x: Array | Source) -> float:
    """Return the full scale of pixels: the smallest of 1, 255 and 65535 that holds all of them.

    Parameters
    ----------
    x : array or source of numbers

    Returns
    -------
    float
        1.0, to take them as they are, also where some are negative or larger.

    Examples
    --------
    >>> [find_full_scale(np.array(pixels)) for pixels in ([0.0, 0.7], [0, 93], [660, 849], [-7, 93], [0, 10**6])]
    [1.0, 255.0, 65535.0, 1.0, 1.0]
    """
    low, high = extent(x)
    return float(next((scale for scale in FULL_SCALES if low >= 0 and high <= scale), 1))


def warn_of_other_range(
    x: Array, full_scale: float, pixel_range: Sequence[float], where: str, *, advice: str | None = None
) -> bool:
    """Warn of pixels whose range contradicts that of the training pixels.

    Parameters
    ----------
    x : array of float
        Parts of the full scale.
    full_scale : float
        Of the training pixels.
    pixel_range : (least, largest)
        Of the training pixels, in raw units.
    where : str
        What the warning begins with.
    advice : str, optional
        What it ends with, by default how Python says what the pixels are divided by.

    Returns
    -------
    bool
        Whether there was something to warn of.

    Warns
    -----
    UserWarning
        If some of ``x`` lie further outside the range of the training pixels than it is wide; or outside the full scale
        and these did not. If ``x`` is black beside them, as images from 0 to 1 are on a scale of 255, and of 8 bits on
        one of 65535.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warned = warn_of_other_range(np.array([0.0, 1.0]) / 255, 255, (0, 250), "prepare")
    >>> warned
    True
    >>> str(caught[0].message)[:71]
    'prepare: the pixels go from 0 to 1, and those of the training from 0 to'
    """
    least, largest = pixel_range
    low, high = (float(np.float32(v) * np.float32(full_scale)) for v in (x.min(), x.max()))
    if advice is None:
        advice = f"(in Python, full_scale= says what x is divided by, here {full_scale:g})"
    is_other = _is_other_range(low, high, full_scale, pixel_range)
    if is_other:
        warnings.warn(
            f"{where}: the pixels go from {low:.6g} to {high:.6g}, and those of the training from {least:.6g} to "
            f"{largest:.6g}; predictions are wrong unless both are in the same units {advice}",
            stacklevel=3,
        )
    return is_other


def _is_other_range(low: float, high: float, full_scale: float, pixel_range: Sequence[float]) -> bool:
    least, largest = pixel_range
    lowest, highest = 2 * least - largest, 2 * largest - least
    if least >= 0 and largest <= full_scale:
        lowest, highest = max(lowest, 0.0), min(highest, full_scale)
    rounding = 1e-6 * max(abs(lowest), abs(highest))
    peak, trained_peak = max(abs(low), abs(high)), max(abs(least), abs(largest))
    is_black = 0 < _BLACK * peak <= trained_peak or (least >= 0 and 0 < peak <= 1 < min(largest, full_scale))
    is_of_8_bits = 0 < high <= 255 < full_scale and 8 * high <= largest
    return is_black or is_of_8_bits or low < lowest - rounding or high > highest + rounding


def warn_of_other_scale(x: Array, full_scale: float, trained: float, pixel_range: Sequence[float], where: str) -> bool:
    """Warn of files whose full scale contradicts that of the training pixels, though their range does not.

    Parameters
    ----------
    x : array of float
        Parts of the full scale.
    full_scale : float
        Of the files.
    trained : float
        Of the training pixels; 1 if they were taken as they are.
    pixel_range : (least, largest)
        Of the training pixels, in raw units.
    where : str
        What the warning begins with.

    Returns
    -------
    bool
        Whether there was something to warn of.

    Warns
    -----
    UserWarning
        If the training pixels had no full scale, and were not from 0 to 1 either. If the files are of more bits than
        the training, and dark: then they use a part of their bits, such as 12 of 16. Else as `warn_of_no_negatives`.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warned = warn_of_other_scale(np.ones((1, 2, 2, 1)), 255, 1, (-5, 5), "a.png")
    >>> str(caught[0].message)[:51]
    'a.png: the pixels, from 0 to 255, are parts of 255,'
    """
    least, largest = pixel_range
    if trained == 1 < full_scale and not 0 <= least <= largest <= 1:
        warnings.warn(
            f"{where}: the pixels, from 0 to {full_scale:g}, are parts of {full_scale:g}, and those of the training, "
            f"from {least:.6g} to {largest:.6g}, were taken as they are; predictions are wrong unless both are in the "
            "same units",
            stacklevel=3,
        )
    elif 1 < trained < full_scale and 0 < 8 * (high := float(x.max())) * trained <= largest:
        warnings.warn(
            f"{where}: the pixels go from 0 to {high * full_scale:.6g} of {full_scale:g}, and those of the training "
            f"from {least:.6g} to {largest:.6g} of {trained:g}: dark, unless these files use a part of their bits",
            stacklevel=3,
        )
    else:
        return warn_of_no_negatives(x, pixel_range, where)
    return True


def warn_of_no_negatives(x: Array, pixel_range: Sequence[float], where: str) -> bool:
    """Warn of pixels of which none is negative, where a good part of the training range was.

    Parameters
    ----------
    x : array of float
        Raw pixels. Where all are equal, there is no warning; where `warn_of_other_range` has one, not another.
    pixel_range : (least, largest)
        Of the training pixels.
    where : str
        What the warning begins with.

    Returns
    -------
    bool
        Whether there was something to warn of.

    Warns
    -----
    UserWarning

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warned = warn_of_no_negatives(np.array([0.0, 1.0]), (-1, 1), "prepare")
    >>> str(caught[0].message)[:61]
    'prepare: the pixels go from 0 to 1, and none is negative; tho'
    """
    (least, largest), low, high = pixel_range, float(x.min()), float(x.max())
    has_none = 0 <= low < high and -least >= (largest - least) / 4 and not _is_other_range(low, high, 1, pixel_range)
    if has_none:
        warnings.warn(
            f"{where}: the pixels go from {low:.6g} to {high:.6g}, and none is negative; those of the training go from "
            f"{least:.6g} to {largest:.6g}; predictions are wrong unless both are in the same units",
            stacklevel=3,
        )
    return has_none
