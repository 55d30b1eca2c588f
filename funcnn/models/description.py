"""Models by their descriptions: plain data, from which a layer is built."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from funcnn import checks, layers
from funcnn.combinators import frozen, graph, parallel, serial, split
from funcnn.descriptions import described
from funcnn.layer import Layer
from funcnn.layers import reduce_mean, reshape
from funcnn.models.deep import mobilenet, resnet, vgg
from funcnn.models.series import fcn, inception_time, resnet1d
from funcnn.models.small import convnet, lenet5, mlp, seed_convnet
from funcnn.ops import concat

__all__ = ["build", "ensemble", "fine_tuned", "network"]

# Values in a description that stand for no layer: kernel, pool and image shape, activation, rates, outputs.
_OTHER_VALUES = 16


def build(model: Any, *, arrays: int | None = None) -> Layer:
    """Build a model from its description, which a checkpoint and a fitted estimator hold.

    Parameters
    ----------
    model : dict
        The ``name`` of a function of `funcnn.models` and its ``arguments``, a dict.
    arrays : int, optional
        How many arrays the model's parameters are. If given, arguments that describe more layers are refused before
        any of them is made, so that a description takes no more time and memory than its parameters.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If there is no such function, it does not take the arguments, or they describe too many layers.

    Examples
    --------
    >>> build({"name": "mlp", "arguments": {"outputs": 3, "hidden": [16]}}).init((0,), (4,))[2]
    (3,)
    """
    if not isinstance(model, dict) or not isinstance(model.get("arguments"), dict):
        raise ValueError("build: the description must have an entry 'model' with 'name' and 'arguments'")
    name, arguments = model.get("name"), model["arguments"]
    if not isinstance(name, str) or name not in _MODELS:
        raise ValueError(f"build: funcnn.models has no {reprlib.repr(name)}, only {', '.join(_MODELS)}")
    text = f"models.{name} with {reprlib.repr(arguments)}"
    if arrays is not None and _least_arrays(name, arguments, arrays) > arrays:
        raise ValueError(f"build: {text} would have more layers than the parameters have arrays, {arrays:,}")
    try:
        layer = _MODELS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"build: models.{name} does not take {reprlib.repr(arguments)}: {error}") from None
    return layer


def _least_arrays(name: str, arguments: Mapping[str, Any], arrays: int) -> int:
    """Return a number of arrays that the parameters have at least; if that is above ``arrays``, any number above.

    Every layer that an argument describes by an entry of its own has an array, and so has every block of a resnet,
    every module of an inception_time and every member of an ensemble.
    Only the layers of `network` and `described` may have none, but a description of them is as long as they are many.
    """
    if name in ("network", "described"):
        return 0
    if name in _OF_OTHERS:
        other = _description(arguments.get(_OF_OTHERS[name]))
        members = arguments.get("members", 1)
        if other is None or not checks.is_int(members):
            return 0
        return members if members > arrays else members * _least_arrays(*other, arrays)
    counts = {"resnet": arguments.get("blocks"), "inception_time": [arguments.get("depth")]}.get(name)
    blocks = sum(n for n in counts if checks.is_int(n) and n > 0) if isinstance(counts, list | tuple) else 0
    return max(blocks, _values(arguments, arrays + _OTHER_VALUES) - _OTHER_VALUES)


def _description(body: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Return name and arguments of the model that another is made of, or None if it is not one that it takes."""
    if not isinstance(body, Mapping) or body.keys() != {"name", "arguments"} or body["name"] in _OF_OTHERS:
        return None
    return (body["name"], body["arguments"]) if isinstance(body["arguments"], dict) else None


def _values(value: Any, most: int) -> int:
    """Return the number of values in a list or dict and those inside; if there are more than ``most``, any above."""
    entries = list(value.values() if isinstance(value, Mapping) else value)
    count = len(entries)
    for entry in entries:
        if count > most:
            break
        if isinstance(entry, list | tuple | Mapping):
            count += _values(entry, most - count)
    return count


def network(nodes: Sequence[Mapping[str, Any]]) -> Layer:
    """Any network of layers of `funcnn.layers`, described by plain data: what `funcnn.onnx.from_onnx` reads is one.

    Parameters
    ----------
    nodes : sequence of dict
        Each has ``layer``, the name of a function in `funcnn.layers`; optionally its ``arguments``, a dict; and
        optionally its ``sources``, indices of earlier nodes or -1 for the input, as in `funcnn.combinators.graph`. By
        default a node reads the one before it.

    Returns
    -------
    Layer
        A `funcnn.combinators.serial` where each node reads the one before, else a `funcnn.combinators.graph`.

    Raises
    ------
    ValueError, TypeError
        If a node is not such a dict or its layer does not take the arguments; the message names the node.

    Examples
    --------
    >>> model = network([
    ...     {"layer": "conv2d", "arguments": {"features": 4, "kernel_size": 3, "padding": 1}},
    ...     {"layer": "relu"},
    ...     {"layer": "add", "sources": [0, 1]},
    ... ])
    >>> model.init((0,), (8, 8, 1))[2]
    (8, 8, 4)
    """
    made: list[tuple[Any, ...]] = []
    for i, node in enumerate(nodes):
        if not isinstance(node, Mapping) or not {"layer"} <= node.keys() <= {"layer", "arguments", "sources"}:
            raise ValueError(f"network: node {i} must be a dict of layer, arguments and sources, not {node!r}")
        if node["layer"] not in layers.__all__:
            raise ValueError(f"network: node {i}: funcnn.layers has no {node['layer']!r}")
        arguments = node.get("arguments", {})
        try:
            layer: Layer = getattr(layers, node["layer"])(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"network: node {i}, {node['layer']}, does not take {arguments}: {error}") from None
        made.append((layer, *node.get("sources", [i - 1])))
    if made and all(sources == [i - 1] for i, (_, *sources) in enumerate(made)):
        return serial(*(layer for layer, *_ in made))
    return graph(*made)


def fine_tuned(body: Mapping[str, Any], *, frozen_layers: int) -> Layer:
    """Another model whose first layers are frozen: ``funcnn train --from FILE --freeze body`` makes one.

    Parameters
    ----------
    body : dict
        The model: ``name`` of another function of `funcnn.models`, and its ``arguments``.
    frozen_layers : int
        How many of its layers are frozen, one of `funcnn.combinators.split_points`.

    Returns
    -------
    Layer
        A `funcnn.combinators.serial` of two: `funcnn.combinators.frozen` of the first layers, and the rest.

    Raises
    ------
    ValueError
        If ``body`` is not such a dict, or cannot be split there.

    Examples
    --------
    >>> from funcnn import tree
    >>> model = fine_tuned({"name": "mlp", "arguments": {"outputs": 3}}, frozen_layers=3)
    >>> params, state, out_shape = model.init((0,), (4,))
    >>> tree.paths(params), out_shape
    (['1_serial/1_dense/b', '1_serial/1_dense/w'], (3,))
    """
    first, rest = split(_build_other("fine_tuned: body", body), frozen_layers)
    return serial(frozen(first), rest)._replace(name="fine_tuned")


def ensemble(member: Mapping[str, Any], *, members: int = 5) -> Layer:
    """Several networks of one kind side by side; the outputs are the mean of theirs.

    Of logits that is the normalised geometric mean of the members' probabilities. To train the members independently,
    train each by itself, as `funcnn.estimators.TimeSeriesConvClassifier` does, and join their parameters and states:
    ``{"0_parallel": {"0_fcn": ..., "1_fcn": ...}, "1_reshape": {}, "2_reduce_mean": {}}``.

    Parameters
    ----------
    member : dict
        The model: ``name`` of another function of `funcnn.models`, and its ``arguments``.
    members : int
        How many of it.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If ``member`` is not such a dict, or ``members`` is below 1.

    Examples
    --------
    >>> model = ensemble({"name": "mlp", "arguments": {"outputs": 3, "hidden": []}}, members=2)
    >>> params, _, out_shape = model.init((0,), (4,))
    >>> list(params["0_parallel"]), out_shape
    (['0_mlp', '1_mlp'], (3,))
    """
    checks.count("ensemble", "members", members)
    return mean_of([_build_other("ensemble: member", member)] * members)


def mean_of(members: Sequence[Layer]) -> Layer:
    """Return the `ensemble` of layers, whose outputs all are (N, outputs)."""
    branches = parallel(*members, join=concat)
    return serial(branches, reshape((len(members), -1)), reduce_mean(1))._replace(name="ensemble")


def _build_other(where: str, model: Any) -> Layer:
    if _description(model) is None:
        raise ValueError(
            f"{where} must be a dict of the name of another model and its arguments, not {reprlib.repr(model)}"
        )
    return build(model)


_MODELS: Mapping[str, Callable[..., Layer]] = {
    function.__name__: function
    for function in (
        convnet, described, ensemble, fcn, fine_tuned, inception_time, lenet5, mlp, mobilenet, network, resnet,
        resnet1d, seed_convnet, vgg,
    )
}  # fmt: skip
# The models made of another, and the argument that describes it.
_OF_OTHERS = {"ensemble": "member", "fine_tuned": "body"}
