"""Fitted estimators as files: a predictor (`funcnn.predictor`) that gives the estimator back as well. No pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from funcnn import checkpoint, fitted, models, predictor
from funcnn.checkpoint import Checkpoint, CheckpointError
from funcnn.descriptions import describe
from funcnn.estimators.network import Network, build
from funcnn.layer import Layer
from funcnn.tree import Array

# The version of the entry "estimator" of a file's description.
_VERSION = 1
# Fitted attributes that have a place of their own in the file.
_ELSEWHERE = {"params_", "state_", "network_", "offset_", "scale_", "range_"}
_DTYPES = {"bool", *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)), "float32", "float64"}


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file, completely or not at all; see `funcnn.estimators.base.BaseConvNet.save`."""
    check_is_fitted(estimator, "params_")
    kind = type(estimator).__name__
    network: Network = estimator.network_
    parameters = estimator.get_params(deep=False)
    attributes = {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and name not in _ELSEWHERE
    }
    losses = [{"epoch": i, "loss": float(loss)} for i, loss in enumerate(estimator.loss_curve_, start=1)]
    description = {
        "model": _described(network),
        "data": {"in_shape": list(network.image_shape), **estimator._outputs_described()},
        "preprocessing": estimator._preprocessing(),
        "estimator": {
            "version": _VERSION,
            "class": kind,
            "parameters": {
                name: _described(network._replace(model=value))
                if name == "model" and not (value is None or isinstance(value, str))
                else _to_plain(f"the parameter {name}", value)
                for name, value in parameters.items()
            },
            "attributes": {name: _to_plain(name, value) for name, value in attributes.items()},
        },
        "versions": checkpoint.versions(),
    }
    # raises here what `load` would raise later
    predictor.from_description(description, estimator.params_, estimator.state_, losses)
    checkpoint.save(path, Checkpoint(estimator._train_state, description, None, losses))


def load(kind: type[Any], path: str | os.PathLike[str]) -> Any:
    """Read an estimator of a class from a file; see `funcnn.estimators.base.BaseConvNet.load`."""
    saved = checkpoint.load(path)
    try:
        return _restored(kind, path, saved)
    except CheckpointError:
        raise
    except checkpoint.MALFORMED as error:
        raise CheckpointError(f"{path} does not describe its estimator: {checkpoint.brief(error)}") from None


def _restored(kind: type[Any], path: str | os.PathLike[str], saved: Checkpoint) -> Any:
    written = saved.description.get("estimator")
    if written is None:
        raise CheckpointError(f"{path} holds no estimator: funcnn.predictor.load reads it")
    if written["version"] > _VERSION:
        by = saved.description.get("versions", {}).get("funcnn")
        raise CheckpointError(
            f"{path} was written by a later funcnn, {by}, in version {written['version']} of the format; this one "
            f"reads versions up to {_VERSION}"
        )
    if written["class"] != kind.__name__:
        raise CheckpointError(f"{path} holds a {written['class']}, not a {kind.__name__}")
    state = saved.train_state
    trained = predictor.from_description(saved.description, state.params, state.state, saved.history)
    given = dict(written["parameters"])
    given_model = given.pop("model", None)
    parameters = {name: _from_plain(value) for name, value in given.items()}
    estimator = kind(**parameters, model=models.build(given_model) if isinstance(given_model, dict) else given_model)
    for name, value in written["attributes"].items():
        if hasattr(kind, name) or not name.endswith("_") or name.startswith("_") or name in _ELSEWHERE:
            raise ValueError(f"an estimator has no attribute {name!r}")
        setattr(estimator, name, _from_plain(value))
    estimator.params_, estimator.state_, estimator._train_state = state.params, state.state, state
    estimator.offset_, estimator.scale_, *limits = (part.copy() for part in fitted.scaling_of(trained.preprocessing))
    estimator.range_ = (limits[0], limits[1])
    outputs = fitted.output_count(saved.description["data"])
    model = saved.description["model"]
    own = estimator.model if given_model == model else model  # the same Layer: partial_fit compares them
    estimator.network_ = Network(trained.in_shape, outputs, own)
    return estimator


def _described(network: Network) -> dict[str, Any]:
    """Return name and arguments of a network, of whatever made it."""
    if isinstance(network.model, dict):
        return network.model
    model: Layer = build(network)
    try:
        return {"name": "described", "arguments": {"layer": describe(model)}}
    except ValueError as error:
        raise ValueError(
            f"save: {error}. A file holds no code: build the network of funcnn's layers, or save params_ and state_ "
            "with funcnn.checkpoint, and build the model in your own code"
        ) from None


def _to_plain(where: str, value: Any) -> Any:
    """Return a value as what JSON can hold; everything but plain values and lists is a dict of one tag."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic) and value.dtype.name in _DTYPES:
        return value.item()
    if isinstance(value, list):
        return [_to_plain(where, entry) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": [_to_plain(where, entry) for entry in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_to_plain(where, key), _to_plain(where, entry)] for key, entry in value.items()]}
    if isinstance(value, np.random.RandomState):
        return {"random_state": _to_plain(where, value.get_state(legacy=False))}
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES:
        return {"array": value.tolist(), "dtype": value.dtype.name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO" and all(isinstance(v, str) for v in value.flat):
        return {"array": value.tolist(), "dtype": "object" if value.dtype.kind == "O" else "str"}
    advice = "; set_params(augment=None), which only training uses, or build it of plain values" * callable(value)
    raise ValueError(f"save: a file holds no code and no objects, so not {where}, {value!r}{advice}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return _array(value["array"], value["dtype"])
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(_from_plain(entry) for entry in content)
    if tag == "dict":
        return {_from_plain(key): _from_plain(entry) for key, entry in content}
    if tag != "random_state":
        raise ValueError(f"no value is tagged {tag!r}")
    generator = np.random.RandomState()
    generator.set_state(_from_plain(content))
    return generator


def _array(content: Any, dtype: Any) -> Array:
    if dtype in ("object", "str"):
        if not all(isinstance(entry, str) for entry in content):
            raise TypeError("an array of strings holds something else")
        return np.array(content, "U" if dtype == "str" else object)
    if dtype not in _DTYPES:
        raise ValueError(f"no array is of {dtype!r}")
    return np.array(content, dtype)
