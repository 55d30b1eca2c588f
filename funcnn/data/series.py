"""Time series as users have them: arrays (n, channels, time), and lists of arrays of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnn.tree import Array

__all__ = ["pad_series"]


def pad_series(series: Sequence[Array], channels: int | None = None) -> Array:
    """Return series of any length as one array, whose channel 0 is the mask.

    Parameters
    ----------
    series : sequence of arrays (channels, time) or (time,)
    channels : int, optional
        That the series must have, by default those of the first.

    Returns
    -------
    array (n, longest time, 1 + channels)
        As the masked networks of `funcnn.models.series` take it: the mask is 1 at the positions of a series and 0
        behind its end, where all channels are 0. Of a float dtype that holds the series' numbers.

    Raises
    ------
    ValueError, TypeError
        If an entry is no such array or of another number of channels, or a value is missing (NaN) or infinite; the
        message names it.

    Examples
    --------
    >>> pad_series([np.array([5, 6, 7]), np.array([8])])[..., 0]
    array([[1., 1., 1.],
           [1., 0., 0.]])
    """
    series = [entry[None] if entry.ndim == 1 else entry for entry in series]
    channels = series[0].shape[0] if channels is None else channels
    for i, entry in enumerate(series):
        if entry.ndim != 2 or entry.shape[0] != channels or not entry.shape[1]:
            raise ValueError(f"X[{i}] must be a series ({channels}, time) of length 1 or more, got shape {entry.shape}")
        if entry.dtype.kind not in "biuf":
            raise TypeError(f"X[{i}] must be real numbers, not {entry.dtype}")
    check_finite_series(series)
    dtype = np.result_type(np.float32, *{entry.dtype for entry in series})
    padded = np.zeros((len(series), max(entry.shape[1] for entry in series), 1 + channels), dtype)
    for row, entry in zip(padded, series, strict=True):
        row[: entry.shape[1]] = np.vstack([np.ones(entry.shape[1]), entry]).T
    return padded


def as_series_list(X: Any) -> list[Array] | None:
    """Return the arrays that X is a list of, or the lists of numbers of unequal length; None if it is neither."""
    if isinstance(X, np.ndarray) and not (X.dtype == object and X.ndim == 1):
        return None
    if not isinstance(X, list | tuple | np.ndarray) or not len(X):
        return None
    if all(isinstance(entry, list | tuple) for entry in X):
        X = [_as_numbers(i, entry) for i, entry in enumerate(X)]
    return list(X) if all(isinstance(entry, np.ndarray) and entry.ndim > 0 for entry in X) else None


def _as_numbers(i: int, entry: Any) -> Array:
    try:
        array = np.asarray(entry)
        # A missing value may be None.
        return array.astype(np.float64) if array.dtype == object else array
    except (ValueError, TypeError):
        raise ValueError(f"X[{i}] must be a series of real numbers, its channels of one length") from None


def check_finite_series(series: Sequence[Array] | Array) -> None:
    """Raise a ValueError that names the first value of series (channels, time) that is missing or infinite."""
    for i, entry in enumerate(series):
        finite = np.isfinite(entry)
        if not finite.all():
            channel, time = np.argwhere(~finite)[0]
            found = "NaN" if np.isnan(entry[channel, time]) else "infinity"
            raise ValueError(
                f"Input X contains {found}: in X[{i}], at channel {channel}, time {time}; fill missing values first, "
                "for example by interpolation"
            )


def scale_series(x: Array, offset: Array, scale: Array, *, masked: bool, dtype: Any) -> Array:
    """Return series (n, time, channels), or with a mask as `pad_series` makes them, scaled by channel, in a dtype.

    The mask is not scaled, and padding stays 0.
    """
    values = x[..., 1:] if masked else x
    with np.errstate(over="ignore"):
        scaled = ((values.astype(np.float64, copy=False) - offset) / scale).astype(dtype)
    if not masked:
        return scaled
    mask = x[..., :1].astype(dtype)
    return np.concatenate([mask, mask * scaled], axis=-1)
