"""A model of layers of funcnn as plain data, from which it is built again in any process."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from funcnn import combinators, initializers, layers, ops
from funcnn.combinators import frozen, graph, parallel, serial
from funcnn.layer import Layer, OpForward, joining, op_and_options, parameterless
from funcnn.layers import masking

__all__ = ["describe", "described"]

# The functions that a description names.
_FACTORIES = {name: getattr(layers, name) for name in layers.__all__} | {"masked_batch_norm": masking.masked_batch_norm}
_ENTRIES = {"layer", "name", "arguments", "initializers", "layers", "join", "sources"}


def describe(model: Layer) -> dict[str, Any]:
    """Return a model of layers of `funcnn.layers` and combinators of them as plain data, for `described`.

    Initial parameters are not part of it: of initializers, those of `funcnn.initializers` are named; weights that the
    model's ``init`` returns, such as those of a file, are kept in a checkpoint's parameters.

    Parameters
    ----------
    model : Layer

    Returns
    -------
    dict
        Of what JSON can hold.

    Raises
    ------
    ValueError
        If a layer computes anything but an op of funcnn.

    Examples
    --------
    >>> from funcnn.layers import conv2d, relu
    >>> describe(serial(conv2d(4, 3, bias=False), relu()))["layers"][1]
    {'layer': 'relu'}
    >>> describe(described(describe(serial(conv2d(4, 3), relu())))) == describe(serial(conv2d(4, 3), relu()))
    True
    """
    op, options = op_and_options(model)
    made = _combination(model, op, options) if model.children else _leaf(model)
    again = described(made)
    if again.name != model.name:
        made["name"] = model.name
    same = _comparable(again) == _comparable(model)
    if not same:
        raise ValueError(f"{model.name}: cannot be described by a function of funcnn.layers and its arguments")
    return made


def described(layer: Mapping[str, Any]) -> Layer:
    """Build the model that `describe` describes.

    Parameters
    ----------
    layer : dict
        ``layer`` is the name of a function of `funcnn.layers`, with its ``arguments``, and ``initializers`` of
        `funcnn.initializers` by name; or "serial", "parallel" (with the op ``join`` of `funcnn.ops`), "graph" (with
        ``sources``) or "frozen", with such dicts as ``layers``. Optionally its ``name``.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError, TypeError
        If it is not such a dict, or the function does not take the arguments.

    Examples
    --------
    >>> head = {"layer": "dense", "arguments": {"features": 2}}
    >>> described({"layer": "serial", "layers": [{"layer": "flatten"}, head]}).init((0,), (4, 4, 1))[2]
    (2,)
    """
    if not isinstance(layer, Mapping) or not {"layer"} <= layer.keys() <= _ENTRIES:
        raise ValueError(f"described: a layer must be a dict of {', '.join(sorted(_ENTRIES))}, not {layer!r}")
    kind = layer["layer"]
    if kind in ("serial", "parallel", "graph", "frozen"):
        made = _combined(kind, [described(child) for child in layer["layers"]], layer)
    elif kind in _FACTORIES:
        inits = {name: _initializer(of) for name, of in layer.get("initializers", {}).items()}
        try:
            made = _FACTORIES[kind](**layer.get("arguments", {}), **inits)
        except TypeError as error:
            raise ValueError(f"described: {kind} does not take {layer.get('arguments')}: {error}") from None
    else:
        raise ValueError(f"described: funcnn.layers has no {kind!r}")
    name = layer.get("name", made.name)
    if not isinstance(name, str) or "/" in name:
        raise ValueError(f"described: a layer's name must be a string without '/', not {name!r}")
    return made._replace(name=name)


def _combined(kind: str, children: list[Layer], layer: Mapping[str, Any]) -> Layer:
    if kind == "graph":
        return graph(*((child, *sources) for child, sources in zip(children, layer["sources"], strict=True)))
    if kind == "parallel":
        if layer["join"] not in ops.__all__:
            raise ValueError(f"described: funcnn.ops has no {layer['join']!r}")
        return parallel(*children, join=getattr(ops, layer["join"]))
    made: Layer = getattr(combinators, kind)(*children)
    return made


def _combination(model: Layer, op: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    children = [describe(child) for child in model.children]
    if op is serial or op is frozen:
        return {"layer": op.__name__, "layers": children}
    if op is graph:
        return {"layer": "graph", "layers": children, "sources": [list(source) for source in options["sources"]]}
    if op is parallel and getattr(options["join"], "__name__", "") in ops.__all__:
        return {"layer": "parallel", "layers": children, "join": options["join"].__name__}
    raise ValueError(f"{model.name}: cannot be described; only combinators of funcnn, with joins of funcnn.ops, can")


def _leaf(model: Layer) -> dict[str, Any]:
    """Describe a layer without children, by the function and the arguments that made it."""
    recipe = model.forward.recipe if isinstance(model.forward, OpForward) else None
    if not isinstance(recipe, partial):
        raise ValueError(f"{model.name}: cannot be described; only layers of funcnn.layers, with their forward, can")
    name = recipe().name
    bound = inspect.signature(recipe.func).bind(*recipe.args, **recipe.keywords).arguments
    given = bound["options"] if recipe.func in (parameterless, joining) else bound
    if name not in _FACTORIES:
        raise ValueError(f"{model.name}: cannot be described; funcnn.layers has no {name!r}")
    made: dict[str, Any] = {"layer": name}
    parameters = inspect.signature(_FACTORIES[name]).parameters
    chosen = {
        argument: given[argument]
        for argument, parameter in parameters.items()
        if argument in given and given[argument] is not parameter.default
    }
    named = {argument: _name_of(value) for argument, value in chosen.items() if callable(value)}
    arguments = {argument: value for argument, value in chosen.items() if not callable(value)}
    if arguments:
        made["arguments"] = _plain(arguments)
    if inits := {argument: of for argument, of in named.items() if of}:
        made["initializers"] = inits
    return made


def _name_of(initializer: Any) -> str:
    """Return the name of an initializer of funcnn, "" for one of the user's own."""
    name = getattr(initializer, "__name__", "")
    return name if getattr(initializers, name, None) is initializer else ""


def _initializer(name: Any) -> Any:
    if name not in initializers.__all__:
        raise ValueError(f"described: funcnn.initializers has no {name!r}")
    return getattr(initializers, name)


def _plain(value: Any) -> Any:
    """Return numbers of NumPy and tuples as what JSON has."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value


def _comparable(model: Layer) -> Any:
    """Return what must be the same of a model and of the one that is built from its description."""
    op, options = op_and_options(model)
    return op, {name: _plain(value) for name, value in options.items() if name != "layers"}, len(model.children)
