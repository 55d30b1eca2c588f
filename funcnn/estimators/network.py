"""The network of an estimator as a plain description, from which it can be built again in any process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from funcnn import models
from funcnn.estimators.layout import SMALLEST_IMAGE
from funcnn.layer import Layer

# scikit-learn's names of activations, and those of funcnn.models.
ACTIVATIONS: Mapping[str, str] = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "gelu": "gelu",
    "silu": "silu",
}


# What "auto" means of the default network: of images, of those that have room for three pools, and of tables, whose
# neighbouring columns are unrelated.
_OF_IMAGES: Mapping[str, Any] = {"channels": (32, 64), "hidden": (64,), "activation": "relu"}
_OF_LARGE_IMAGES: Mapping[str, Any] = {**_OF_IMAGES, "channels": (16, 32, 64)}
_OF_TABLES: Mapping[str, Any] = {"channels": (), "hidden": (64, 64), "activation": "silu"}
# From this side on; scripts/compare_estimators.py measures it: as accurate as (32, 64), in less than half of the time.
_LARGE = 16


class Network(NamedTuple):
    """The plain description from which the network of a fitted estimator is built.

    Attributes
    ----------
    image_shape : (int, int, int)
        Height, width, channels.
    outputs : int
    model : dict, Layer or callable
        The ``name`` of a function in `funcnn.models` and its ``arguments``, as a checkpoint records them; or the user's
        own model: a layer, or a function ``model(image_shape, n_outputs) -> Layer``.
    """

    image_shape: tuple[int, ...]
    outputs: int
    model: Any


def build(network: Network) -> Layer:
    """Build the network.

    Parameters
    ----------
    network : Network

    Returns
    -------
    Layer

    Raises
    ------
    TypeError
        If the user's function returns something other than a layer.

    Examples
    --------
    >>> model = {"name": "convnet", "arguments": {"outputs": 3, "channels": [4], "hidden": []}}
    >>> build(Network((8, 8, 1), 3, model)).init((0,), (8, 8, 1))[2]
    (3,)
    """
    image_shape, outputs, model = network
    if isinstance(model, dict):
        return models.build(model)
    if not isinstance(model, Layer):
        model = model(image_shape, outputs)
        if not isinstance(model, Layer):
            raise TypeError(f"model(image_shape, n_outputs) must return a funcnn Layer, not {model!r}")
    return model


def check_outputs(model: Layer, network: Network) -> None:
    """Raise an error if the model's outputs do not have the shape ``(network.outputs,)``.

    Raises
    ------
    ValueError
        With both shapes.
    """
    out_shape = model.init((0,), network.image_shape)[2]
    if out_shape != (network.outputs,):
        raise ValueError(
            f"the model's output for images of {network.image_shape} must be ({network.outputs},), not {out_shape}"
        )


def default_model(
    image_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Any,
    kernel_size: Any,
    pool: Any,
    hidden: Any,
    activation: str,
    dropout: float,
) -> dict[str, Any]:
    """Return name and arguments of the default network, `funcnn.models.convnet`, in JSON's types.

    Parameters
    ----------
    image_shape : (int, int, int)
    outputs : int
    channels, kernel_size, pool, hidden, activation, dropout
        As the estimators' parameters of these names; ``hidden`` is ``hidden_layer_sizes``. The first, ``hidden`` and
        ``activation`` may be "auto".

    Returns
    -------
    dict

    Examples
    --------
    >>> auto = {"channels": "auto", "kernel_size": 3, "pool": 2, "hidden": "auto", "activation": "auto", "dropout": 0}
    >>> default_model((1, 30, 1), 2, **auto)["arguments"]["hidden"]
    [64, 64]
    >>> default_model(
    ...     (1, 30, 1), 2, channels=(8,), kernel_size=3, pool=2, hidden=16, activation="logistic", dropout=0.5
    ... )["arguments"]
    {'outputs': 2, 'channels': [8], 'kernel_size': [3, 3], 'pool': [1, 1], 'hidden': [16], 'activation': 'sigmoid',
     'dropout_rate': [None, 0.5], 'image_shape': [1, 30, 1]}
    """
    of_images = _OF_LARGE_IMAGES if min(image_shape[:2]) >= _LARGE else _OF_IMAGES
    auto = of_images if is_image(image_shape) else _OF_TABLES
    channels, hidden, activation = (
        auto[name] if isinstance(value, str) and value == "auto" else value
        for name, value in (("channels", channels), ("hidden", hidden), ("activation", activation))
    )
    widths = np.atleast_1d(hidden).tolist()
    # Max pooling is for images.
    window = pair(pool) if np.ndim(pool) or is_image(image_shape) else (1, 1)
    return {
        "name": "convnet",
        "arguments": {
            "outputs": outputs,
            "channels": np.atleast_1d(channels).tolist(),
            "kernel_size": list(pair(kernel_size)),
            "pool": list(window),
            "hidden": widths,
            "activation": ACTIVATIONS[activation],
            # The features that the first dense layer takes from the convolutions are not dropped.
            "dropout_rate": [None] + [float(dropout) or None] * len(widths),
            "image_shape": list(image_shape),
        },
    }


def is_image(image_shape: tuple[int, ...]) -> bool:
    """Return whether examples of this shape are scaled, pooled and augmented as images are.

    Examples
    --------
    >>> is_image((8, 8, 1)), is_image((2, 2, 1)), is_image((1, 30, 1))
    (True, False, False)
    """
    return min(image_shape[:2]) >= SMALLEST_IMAGE


def pair(value: Any) -> tuple[Any, Any]:
    """Return a number or a pair of numbers as a pair.

    Raises
    ------
    ValueError
        If there are none, or more than two.

    Examples
    --------
    >>> pair(3), pair((1, 3))
    ((3, 3), (1, 3))
    """
    values = np.atleast_1d(value).tolist()
    if not 1 <= len(values) <= 2:
        raise ValueError(f"kernel_size and pool must be a number or a pair of them, not {value!r}")
    return (values[0], values[-1])
