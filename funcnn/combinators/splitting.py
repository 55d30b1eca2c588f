"""Layers in sequence or in a graph, split in two."""

from __future__ import annotations

from collections.abc import Sequence

from funcnn import checks
from funcnn.combinators.graph import graph
from funcnn.combinators.serial import serial
from funcnn.layer import Layer, op_and_options

__all__ = ["split", "split_points"]


def split(model: Layer, at: int) -> tuple[Layer, Layer]:
    """Split a `serial` or a `graph` in two, of which the second reads nothing but the output of the first.

    Parameters
    ----------
    model : Layer
    at : int
        The number of children of the first: one of `split_points`.

    Returns
    -------
    first, rest : Layer
        `serial` of the two computes what ``model`` does.

    Raises
    ------
    ValueError
        If the model cannot be split there.

    Examples
    --------
    >>> from funcnn.layers import dense, relu
    >>> first, rest = split(serial(dense(8), relu(), dense(3)), 2)
    >>> [layer.name for layer in first.children], [layer.name for layer in rest.children]
    (['dense', 'relu'], ['dense'])
    """
    if not checks.is_int(at) or at not in split_points(model):
        raise ValueError(f"split: {model.name} cannot be split after {at} layers, only after {split_points(model)}")
    layers, sources = model.children, _sources(model)
    if op_and_options(model)[0] is serial:
        return serial(*layers[:at]), serial(*layers[at:])
    rest = [[source - at if source >= at else -1 for source in of_layer] for of_layer in sources[at:]]
    return _nodes(layers[:at], sources[:at]), _nodes(layers[at:], rest)


def split_points(model: Layer) -> list[int]:
    """Return after how many of its children a `serial` or a `graph` can be split.

    In a graph that is where a single value passes: no later node reads an earlier output than the last one.

    Parameters
    ----------
    model : Layer

    Returns
    -------
    list of int
        Ascending, from 1 to the number of children less 1; empty for other layers.

    Examples
    --------
    >>> from funcnn.layers import add, dense, relu
    >>> split_points(graph((dense(8), -1), (relu(), 0), (add(), 0, 1), (dense(3), 2)))
    [1, 3]
    """
    sources, points = _sources(model), []
    earliest = len(sources)  # of all that the nodes from ``at`` on read
    for at in range(len(sources) - 1, 0, -1):
        earliest = min(earliest, *sources[at])
        if earliest >= at - 1:
            points.append(at)
    return points[::-1]


def _sources(model: Layer) -> Sequence[Sequence[int]]:
    """Return what each child reads; of a layer that is neither in sequence nor a graph, nothing."""
    op, options = op_and_options(model)
    if op is serial:
        return [(i - 1,) for i in range(len(model.children))]
    return options["sources"] if op is graph else ()


def _nodes(layers: Sequence[Layer], sources: Sequence[Sequence[int]]) -> Layer:
    return graph(*((layer, *of_layer) for layer, of_layer in zip(layers, sources, strict=True)))
