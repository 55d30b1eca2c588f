"""Apply a function to all layers of a model."""

from __future__ import annotations

from collections.abc import Callable

from funcnn.combinators.children import child_names
from funcnn.combinators.frozen import frozen
from funcnn.combinators.graph import graph
from funcnn.combinators.parallel import parallel
from funcnn.combinators.serial import serial
from funcnn.layer import Layer, op_and_options


def map_layers(f: Callable[[str, Layer], Layer], model: Layer, path: str = "") -> Layer:
    """Return ``model`` with each layer that has no children replaced by ``f(path, layer)``.

    A combinator whose ``forward`` or ``children`` have been replaced is treated as a layer without children, since its
    ``forward`` need not use them. To combine other layers in the same way, call ``rebuild``.

    Parameters
    ----------
    f : callable
        ``f(path, layer) -> Layer``, where ``path`` is the names from the model to the layer joined by ``/``.
    model : Layer
    path : str
        The path of ``model`` itself, a prefix of all others.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import ops, serial
    >>> from funcnn.layers import relu, tanh
    >>> def tanh_for_relu(path, layer):
    ...     return tanh() if layer.forward.op is ops.relu else layer
    >>> model = map_layers(tanh_for_relu, serial(serial(relu()), relu()))
    >>> model.children[1].name, model.children[0].children[0].name
    ('tanh', 'tanh')
    """
    if model.rebuild is None or has_replaced_parts(model):
        return f(path, model)
    names = child_names(model.name, model.children)
    children = [
        map_layers(f, child, f"{path}/{name}" if path else name)
        for name, child in zip(names, model.children, strict=True)
    ]
    return model.rebuild(*children)._replace(name=model.name)


def combined_layers(layer: Layer) -> tuple[Layer, ...]:
    """Return the layers that the ``forward`` of a combinator of funcnn calls; () for any other layer."""
    op, options = op_and_options(layer)
    layers: tuple[Layer, ...] = options["layers"] if op in (serial, parallel, graph, frozen) else ()
    return layers


def has_replaced_parts(model: Layer) -> bool:
    """Return whether a combinator of funcnn made the layer, but its ``forward`` does not call its children."""
    made_here = getattr(model.rebuild, "__module__", None) in _MODULES
    called = combined_layers(model)
    return made_here and not (
        len(called) == len(model.children) and all(a is b for a, b in zip(called, model.children, strict=True))
    )


_MODULES = tuple(combinator.__module__ for combinator in (serial, parallel, graph, frozen))
