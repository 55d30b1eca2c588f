"""The layers of an imported ONNX graph while it is being written, and how the axes of its values are ordered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnn import layers
from funcnn.layer import Layer
from funcnn.tree import Array, Tree

# The numbers of an example: above it, a file's sizes are nonsense that would take the memory.
LARGEST_EXAMPLE = 2**28


class Value(NamedTuple):
    """A value that depends on the input.

    Attributes
    ----------
    node : int
        Of the graph; -1 is the input.
    shape : tuple of int
        Of an example, in ONNX's order of axes.
    order : tuple of int
        Axis k of an example here is ONNX's axis ``order[k]`` of an example.
    flattened : (shape, order) or None
        Of a row of features that was flattened here in an order of axes that is not ONNX's: shape and order before.
    """

    node: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    flattened: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def shape_here(self) -> tuple[int, ...]:
        """The shape of an example here."""
        return tuple(self.shape[a] for a in self.order)


class Node(NamedTuple):
    """A layer of the network: the name and the arguments of its factory in `funcnn.layers`, and what it reads.

    Attributes
    ----------
    layer : str
    arguments : dict
        Of what JSON can hold.
    sources : tuple of int
        Indices of nodes; -1 is the input.
    params, state : tree
        Those of the file.
    """

    layer: str
    arguments: dict[str, Any]
    sources: tuple[int, ...]
    params: Tree
    state: Tree


class Builder(NamedTuple):
    """What has been written, and what is known of the file.

    Attributes
    ----------
    nodes : list of Node
    shared : set of int
        Those whose output several nodes of the file read, perhaps under different names.
    readers : Counter
        How many nodes read a value of the file, by its name; the output is read once more.
    opset : int
    fixed_batch : int or None
        The number of examples that the file is written for, if it is for one number.
    """

    nodes: list[Node]
    shared: set[int]
    readers: Counter[str]
    opset: int
    fixed_batch: int | None

    def add(
        self,
        layer: str,
        arguments: Mapping[str, Any],
        *values: Value,
        order: Sequence[int] | None = None,
        params: Tree | None = None,
        state: Tree | None = None,
    ) -> Value:
        """Append a layer of these values and return its output, whose axes are in ``order``, by default the input's."""
        sources = tuple(value.node for value in values)
        self.nodes.append(Node(layer, dict(arguments), sources, params or {}, state or {}))
        shapes = tuple(value.shape_here for value in values)
        shape_here = out_shape(self.nodes[-1], shapes)
        if math.prod(shape_here) > LARGEST_EXAMPLE:
            raise ValueError(f"its output would have {math.prod(shape_here):,} numbers an example")
        order = tuple(values[0].order if order is None else order)
        shape = tuple(shape_here[order.index(a)] for a in range(len(order)))
        return Value(len(self.nodes) - 1, shape, order)

    def unary(self, layer: str, arguments: Mapping[str, Any], x: Value, *, params: Tree | None = None) -> Value:
        """Append a layer that treats all entries alike."""
        return self.add(layer, arguments, x, params=params)._replace(flattened=x.flattened)

    def sole_reader(self, x: Value) -> Node | None:
        """Return the node that made x if only one node of the file reads it, so that both may become one."""
        return None if x.node < 0 or x.node in self.shared else self.nodes[x.node]

    def replace(self, node: int, arguments: Mapping[str, Any], params: Tree) -> None:
        """Give a node, whose output keeps its shape, further arguments and other parameters."""
        old = self.nodes[node]
        self.nodes[node] = old._replace(arguments={**old.arguments, **arguments}, params=params)

    def ordered(self, x: Value, order: Sequence[int]) -> Value:
        """Return the value with its axes in this order, by a transposition if it is not yet so."""
        x = self.restored(x)
        if x.order == tuple(order):
            return x
        axes = (0, *(1 + x.order.index(a) for a in order))
        return self.add("transpose", {"axes": axes}, x, order=order)

    def plain(self, x: Value) -> Value:
        """Return the value in ONNX's order of axes."""
        return self.ordered(x, range(len(x.shape)))

    def channels_last(self, x: Value) -> Value:
        """Return the value with ONNX's first axis of an example, the channels, as the last one."""
        return self.ordered(x, (*range(1, len(x.shape)), 0))

    def restored(self, x: Value) -> Value:
        """Return a row of features in ONNX's order."""
        if x.flattened is None:
            return x
        shape, order = x.flattened
        before = self.add("reshape", {"shape": tuple(shape[a] for a in order)}, x, order=order)
        return self.add("reshape", {"shape": (-1,)}, self.plain(before), order=(0,))

    def reshaped(self, x: Value, shape: Sequence[int]) -> Value:
        """Return the value in another shape of ONNX's, without moving its entries where its order of axes allows it."""
        shape = tuple(shape)
        if x.flattened is not None and len(shape) > 1:
            before, order = x.flattened
            x = self.add("reshape", {"shape": tuple(before[a] for a in order)}, x, order=order)
        if shape == x.shape:
            return x
        if len(shape) == 1 and len(x.shape) > 1:
            y = self.add("reshape", {"shape": (-1,)}, x, order=(0,))
            long = [a for a in x.order if x.shape[a] > 1]
            in_order = long == sorted(long)
            return y if in_order else y._replace(flattened=(x.shape, x.order))
        groups = _matching_axes(x.shape, shape)
        # the axes that are merged must be neighbours here: bring each group together where its first axis is
        first = {a: olds for olds, _ in groups for a in olds}
        together: list[int] = []
        for a in x.order:
            together += [b for b in first[a] if b not in together]
        x = self.ordered(x, together)
        news: dict[int, list[int]] = {olds[0]: new for olds, new in groups if olds}
        loose = [b for olds, new in groups if not olds for b in new]
        new_order = [*loose, *(b for a in x.order for b in news.get(a, []))]
        return self.add("reshape", {"shape": tuple(shape[b] for b in new_order)}, x, order=new_order)


def described(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return the ``nodes`` of `funcnn.models.network`, which makes these layers with other initial parameters.

    Examples
    --------
    >>> described([Node("relu", {}, (-1,), {}, {})])
    [{'layer': 'relu', 'arguments': {}, 'sources': [-1]}]
    """
    return [{"layer": n.layer, "arguments": n.arguments, "sources": list(n.sources)} for n in nodes]


def out_shape(node: Node, in_shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a node's output by computing it on no examples, without drawing initial parameters."""
    dtype = np.int64 if node.layer == "embedding" else np.float32
    xs = tuple(np.zeros((0, *shape), dtype) for shape in in_shapes)
    layer: Layer = getattr(layers, node.layer)(**node.arguments)
    y: Array = layer.forward(node.params, xs if len(xs) > 1 else xs[0], node.state, train=False)[0]
    return y.shape[1:]


def features_here(shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Return, for each feature of an array that ONNX flattens, its place among those flattened here."""
    here = np.arange(math.prod(shape)).reshape([shape[a] for a in order])
    return here.transpose(np.argsort(order)).ravel()


def _matching_axes(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Return the axes of two shapes in groups of equal size, as small as possible, in row-major order."""
    if math.prod(old) != math.prod(new):
        raise ValueError(f"examples of shape {old} cannot have the shape {new}")
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds, news = [], []
        if i < len(old):
            olds, i = [i], i + 1
        if j < len(new) and not (olds and old[olds[0]] == 1 and new[j] != 1):
            news, j = [j], j + 1
        while news and math.prod(old[a] for a in olds) != math.prod(new[b] for b in news):
            if math.prod(old[a] for a in olds) < math.prod(new[b] for b in news):
                olds, i = [*olds, i], i + 1
            else:
                news, j = [*news, j], j + 1
        groups.append((olds, news))
    return groups
