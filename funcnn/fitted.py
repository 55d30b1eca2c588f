"""What the file of a fitted estimator says of its inputs and outputs, read without scikit-learn.

`funcnn.predictor` holds it in its description. ``preprocessing``: examples of ``features`` numbers are clipped to
``low`` and ``high`` (None: not at all), then scaled to (x - ``offset``) / ``scale``, and are ``image_shape``; each is a
nested list that broadcasts against an image. Of time series it has ``channels``, ``time``, ``masked`` (whether series
have any length and are padded with a mask, `funcnn.data.pad_series`), and ``offset`` and ``scale`` of each channel.

``data``: ``kind`` is what the network's outputs are: "classes", the logits of one class in each example; "labels", the
logits of any number of them; "numbers", which ``target_mean`` and ``target_scale`` turn into those of the training
data, ``flat`` if there was one for each example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnn.data.examples import check_finite
from funcnn.data.series import as_series_list, pad_series, scale_series
from funcnn.tree import Array

KINDS = ("classes", "labels", "numbers")
_SCALING = ("offset", "scale", "low", "high")


def preprocessing_of(
    offset: Array, scale: Array, low: Array, high: Array, image_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the scaling of an estimator, arrays (features,), as preprocessing.

    Examples
    --------
    >>> unlimited = np.full(4, np.inf)
    >>> preprocessing_of(np.zeros(4), np.full(4, 2.0), -unlimited, unlimited, (2, 2, 1))
    {'features': 4, 'image_shape': [2, 2, 1], 'offset': [0.0], 'scale': [2.0], 'low': None, 'high': None}
    """
    made: dict[str, Any] = {"features": math.prod(image_shape), "image_shape": list(image_shape)}
    for name, array in zip(_SCALING, (offset, scale, low, high), strict=True):
        image = np.reshape(array, image_shape)
        same = (image == image[:1, :1]).all()
        made[name] = None if np.isinf(image).all() else (image[0, 0] if same else image).tolist()
    return made


def scaling_of(preprocessing: Mapping[str, Any]) -> tuple[Array, Array, Array, Array]:
    """Return offset, scale, low and high, arrays of float64 (features,), of preprocessing.

    Examples
    --------
    >>> unlimited = np.full(2, np.inf)
    >>> scaling_of(preprocessing_of(np.array([1.0, 2.0]), np.ones(2), -unlimited, unlimited, (1, 2, 1)))
    (array([1., 2.]), array([1., 1.]), array([-inf, -inf]), array([inf, inf]))
    """
    if "masked" in preprocessing:
        offset, scale = (np.array(preprocessing[name], np.float64) for name in ("offset", "scale"))
        return offset, scale, np.full_like(offset, -math.inf), np.full_like(offset, math.inf)
    shape, unlimited = tuple(preprocessing["image_shape"]), {"low": -math.inf, "high": math.inf}
    values = (unlimited[name] if preprocessing[name] is None else preprocessing[name] for name in _SCALING)
    offset, scale, low, high = (np.broadcast_to(np.asarray(v, np.float64), shape).ravel() for v in values)
    return offset, scale, low, high


def series_preprocessing_of(offset: Array, scale: Array, channels: int, time: int, *, masked: bool) -> dict[str, Any]:
    """Return the scaling of an estimator of time series, arrays (channels,), as preprocessing.

    Examples
    --------
    >>> series_preprocessing_of(np.zeros(1), np.ones(1), 1, 20, masked=False)
    {'channels': 1, 'time': 20, 'masked': False, 'offset': [0.0], 'scale': [1.0]}
    """
    scaling = {"offset": offset.tolist(), "scale": scale.tolist()}
    return {"channels": channels, "time": time, "masked": masked, **scaling}


def prepare(x: Any, preprocessing: Mapping[str, Any]) -> Array:
    """Return raw examples as the network takes them.

    Parameters
    ----------
    x : array-like (N, features), (N, height, width) or (N, height, width, channels)
        Of time series (N, channels, time), or (N, time) of one channel; if they may have any length, also a list of
        arrays.
    preprocessing : dict

    Returns
    -------
    array of float32 (N, height, width, channels)
        Of time series (N, time, channels), or with a mask (N, time, 1 + channels).

    Raises
    ------
    ValueError, TypeError
        If ``x`` is not of numbers, its shape does not fit, or it has values that are not finite.

    Examples
    --------
    >>> unlimited = np.full(2, np.inf)
    >>> prepare([[3.0, 6.0]], preprocessing_of(np.ones(2), np.full(2, 2.0), -unlimited, unlimited, (1, 2, 1))).ravel()
    array([1. , 2.5], dtype=float32)
    """
    if "masked" in preprocessing:
        return _prepare_series(x, preprocessing)
    x, image_shape = np.asarray(x), tuple(preprocessing["image_shape"])
    grey = image_shape[:2] if image_shape[2] == 1 else image_shape
    fitting = ((preprocessing["features"],), image_shape, grey)
    if x.shape[1:] not in fitting:
        one = "; one example is x[None]" if x.shape in fitting else ""
        raise ValueError(f"prepare: examples are of shape {fitting[0]} or {grey}, and x is {x.shape}{one}")
    if x.dtype.kind not in "biuf":
        raise TypeError(f"prepare: x must be real numbers, not {x.dtype}")
    check_finite(x, "prepare")
    offset, scale, low, high = scaling_of(preprocessing)
    rows = np.clip(np.asarray(x, np.float64).reshape(len(x), len(offset)), low, high)
    with np.errstate(over="ignore"):
        scaled = ((rows - offset) / scale).astype(np.float32)
    check_finite(scaled, "prepare: in float32")
    return scaled.reshape(len(x), *image_shape)


def _prepare_series(x: Any, preprocessing: Mapping[str, Any]) -> Array:
    """Return raw series as the network takes them."""
    channels, time, masked = (preprocessing[name] for name in ("channels", "time", "masked"))
    listed = as_series_list(x)
    if masked:
        if listed is None and np.ndim(x) not in (2, 3):
            raise ValueError(f"prepare: x must be a list of arrays ({channels}, time), or one array of series")
        series = pad_series(list(np.asarray(x)) if listed is None else listed, channels)
    else:
        found = {np.shape(entry) for entry in listed or ()}
        if len(found) > 1:
            raise ValueError(f"prepare: all series have a length of {time}, and x has shapes {sorted(found)}")
        x = np.asarray(x if listed is None else np.stack(listed))
        fitting = [(channels, time), *[(time,)] * (channels == 1)]
        if x.shape[1:] not in fitting:
            one = "; one series is x[None]" if x.shape in fitting else ""
            raise ValueError(f"prepare: series are of shape ({channels}, {time}), and x is {x.shape}{one}")
        if x.dtype.kind not in "biuf":
            raise TypeError(f"prepare: x must be real numbers, not {x.dtype}")
        series = x.reshape(len(x), channels, time).transpose(0, 2, 1)
        check_finite(series, "prepare")
    offset, scale, *_ = scaling_of(preprocessing)
    scaled = scale_series(series, offset, scale, masked=masked, dtype=np.float32)
    check_finite(scaled, "prepare: in float32")
    return scaled


def numbers(outputs: Array, about: Mapping[str, Any]) -> Array:
    """Return what a regressor predicts, in the units of its training data, of its network's outputs.

    Examples
    --------
    >>> numbers(np.array([[1.0], [2.0]]), {"target_mean": [5.0], "target_scale": [10.0], "flat": True})
    array([15., 25.])
    """
    values = outputs * np.asarray(about["target_scale"]) + np.asarray(about["target_mean"])
    return values[:, 0] if about["flat"] else values


def output_count(about: Mapping[str, Any]) -> int:
    """Return how many outputs the network of such data has.

    Raises
    ------
    ValueError, LookupError
        If the entries contradict each other.

    Examples
    --------
    >>> output_count({"kind": "labels", "classes": ["a", "b"]})
    2
    """
    if about["kind"] not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {about['kind']!r}")
    if about["kind"] != "numbers":
        return len(about["classes"])
    mean, scale = (np.asarray(about[name], np.float64) for name in ("target_mean", "target_scale"))
    if mean.ndim != 1 or mean.shape != scale.shape or (about["flat"] and len(mean) != 1):
        raise ValueError(f"target_mean {mean.shape} and target_scale {scale.shape} must have a number for each output")
    return len(mean)


def check_preprocessing(preprocessing: Mapping[str, Any], in_shape: tuple[int, ...]) -> None:
    """Raise an error unless the scaling fits examples of a shape and makes finite numbers of them."""
    offset, scale, low, high = scaling_of(preprocessing)
    if "masked" in preprocessing:
        channels, masked = preprocessing["channels"], preprocessing["masked"]
        if type(masked) is not bool or offset.shape != (channels,) or scale.shape != (channels,):
            raise ValueError(f"offset {offset.shape} and scale {scale.shape} must have a number for each channel")
        made: tuple[int, ...] = (preprocessing["time"], channels + masked)
    else:
        made = tuple(preprocessing["image_shape"])
    if made != in_shape or preprocessing.get("features", math.prod(in_shape)) != math.prod(in_shape):
        raise ValueError(f"the preprocessing makes {list(made)}, and the network takes {in_shape}")
    if not (np.isfinite(offset).all() and np.isfinite(scale).all() and (scale > 0).all() and (low <= high).all()):
        raise ValueError("the scaling must have a finite offset, a finite scale above 0, and low <= high")
