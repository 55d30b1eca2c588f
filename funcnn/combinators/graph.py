"""Layers as the nodes of a directed acyclic graph."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, NamedTuple

from funcnn import checks
from funcnn.combinators.children import backward, check_children, child_names, first_with_leaves, sum_cotangents
from funcnn.combinators.serial import in_sequence
from funcnn.fusion import Segment, segments
from funcnn.inference import Kept, Step, compute, steps
from funcnn.keys import Key, fold_in
from funcnn.layer import LOCATED, Layer, OpForward, add_location
from funcnn.tree import Array, Tree


def graph(*nodes: tuple[Any, ...]) -> Layer:
    """Layers that read the outputs of earlier layers: any directed acyclic graph.

    Parameters
    ----------
    *nodes : tuple of a Layer and its sources
        A source is the index of an earlier node, or -1 for the input of the graph. A layer with one source gets its
        output as x, one with several sources a tuple of their outputs (``funcnn.layers.add()``, ``multiply()``,
        ``concat()`` or your own, by `funcnn.layer.joining`). The last node is the output; each other node must be a
        source of a later one.

    Returns
    -------
    Layer

    Raises
    ------
    TypeError, ValueError
        If a node is not such a tuple, a source does not come before its node, or no node reads a node; the message
        names the nodes.

    Notes
    -----
    The VJP visits the nodes from the last to the first. A node's dy is the sum of what its readers send back. Nodes
    that lead neither to parameters nor to a gradient of the input that is wanted are left out.

    An output is dropped once its last reader has been computed. What the VJPs need, they keep, in training as in
    evaluation; `funcnn.training.predict` and `funcnn.layer.output` keep nothing but the outputs yet to be read.

    A chain of nodes, each the only reader of the one before, is fused as in `funcnn.combinators.serial`.

    Examples
    --------
    A block whose first convolution is read twice:

    >>> from funcnn.layers import add, concat, conv2d, max_pool, relu
    >>> block = graph(
    ...     (conv2d(4, 3, padding="same"), -1),
    ...     (relu(), 0),
    ...     (conv2d(4, 3, padding="same"), 1),
    ...     (add(), 0, 2),
    ...     (concat(), 3, -1),
    ... )
    >>> params, state, out_shape = block.init((0,), (8, 8, 3))
    >>> out_shape, list(params)
    ((8, 8, 7), ['0_conv2d', '1_relu', '2_conv2d', '3_add', '4_concat'])
    """
    layers, sources = _layers_and_sources(nodes)
    names = child_names("graph", layers)
    _check_sources(names, sources)
    children = tuple(enumerate(zip(names, layers, sources, strict=True)))
    chains = _chains(names, layers, sources)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shapes = {}, {}, [*((),) * len(layers), in_shape]
        for i, (name, layer, of_layer) in children:
            try:
                in_shapes: Any = tuple(shapes[source] for source in of_layer)
                params[name], state[name], shapes[i] = layer.init(
                    fold_in(key, i), in_shapes if len(in_shapes) > 1 else in_shapes[0]
                )
            except LOCATED as error:
                add_location(error, name)
                raise
        return params, state, shapes[-2]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_children("graph", names, params, state)
        new_state: Tree = dict(state)
        values, all_saved = [*(None,) * len(layers), x], []  # the input is at -1
        for chain in chains:
            y, saved = _take(values, chain), []
            for segment in chain.segments:
                y, of_segment = segment.forward(params, y, state, new_state, train, key)
                saved.append(of_segment)
            values[chain.last] = y
            all_saved.append(saved)

        def graph_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            # Nodes that are left out have no parameters, so their params, dicts without leaves, serve as gradients.
            dparams = dict(params)
            leads, firsts = _needed(params, input_gradient)
            dys: list[Any] = [*(None,) * (len(layers) - 1), dy, None]
            for chain, saved, first in zip(reversed(chains), reversed(all_saved), reversed(firsts), strict=True):
                dx, dys[chain.last] = dys[chain.last], None
                dx = backward(chain.segments, saved, dx, dparams, first)
                if first >= 0:  # nothing before the chain needs dx
                    continue
                dxs = ((chain.source, dx),) if chain.sources is None else zip(chain.sources, dx, strict=True)
                for source, of_source in dxs:
                    if leads[source]:
                        others = dys[source]
                        dys[source] = of_source if others is None else sum_cotangents((others, of_source))
            return dparams, dys[-1]

        return y, graph_vjp, new_state

    def _needed(params: Tree, input_gradient: bool) -> tuple[list[bool], list[int]]:
        """Return what leads to parameters, or to the input if its gradient is wanted, and where chains need a gradient.

        The former for each node and the input; the latter for each chain: the index of its first segment that needs a
        gradient, or -1 if its sources do, too.
        """
        leads, firsts = [*(False,) * len(layers), input_gradient], []
        for chain in chains:
            first = -1
            if not (leads[chain.source] if chain.sources is None else any(leads[source] for source in chain.sources)):
                first = first_with_leaves(chain.segments, params)
            firsts.append(first)
            leads[chain.last] = first < len(chain.segments)
        return leads, firsts

    def output(params: Tree, x: Array, state: Tree, kept: Kept | None = None) -> Array:
        if not kept:
            check_children("graph", names, params, state)
        values: list[Any] = [*(None,) * len(layers), x]
        for chain in chains:
            values[chain.last] = compute(chain.steps, params, _take(values, chain), state, kept)
        y: Array = values[-2]
        return y

    def rebuild(*others: Layer) -> Layer:
        return graph(*((layer, *of_layer) for layer, of_layer in zip(others, sources, strict=True)))

    options = {"layers": layers, "sources": sources}
    is_sequence = len(chains) == 1 and chains[0].sources is None
    functions = in_sequence("graph", names, chains[0].segments, chains[0].steps) if is_sequence else (call, output)
    forward = OpForward(graph, options, functions[0], functions[1], partial(graph, *nodes))
    return Layer("graph", init, forward, layers, rebuild)


class _Chain(NamedTuple):
    """Nodes each of which, but the last, is read by the next one alone, which reads nothing else.

    The first has one ``source``, or several ``sources``. ``last`` is the index of the last node. The outputs
    ``dropped`` are not read again.
    """

    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]
    source: int
    sources: tuple[int, ...] | None
    last: int
    dropped: tuple[int, ...]


def _chains(
    names: tuple[str, ...], layers: tuple[Layer, ...], sources: tuple[tuple[int, ...], ...]
) -> tuple[_Chain, ...]:
    """Split the nodes into chains, in the order of their first nodes: the nodes after these read no other node."""
    readers = Counter(source for of_node in sources for source in of_node)
    by_last: dict[int, list[int]] = {}
    for i, of_node in enumerate(sources):
        continued = len(of_node) == 1 and of_node[0] >= 0 and readers[of_node[0]] == 1
        by_last[i] = [*by_last.pop(of_node[0]), i] if continued else [i]
    chains = sorted(by_last.values())
    last_reader = {source: nodes[0] for nodes in chains for source in sources[nodes[0]]}
    return tuple(
        _Chain(
            segments([names[i] for i in nodes], [layers[i] for i in nodes], nodes),
            steps([names[i] for i in nodes], [layers[i] for i in nodes]),
            sources[nodes[0]][0],
            sources[nodes[0]] if len(sources[nodes[0]]) > 1 else None,
            nodes[-1],
            tuple(source for source, last in last_reader.items() if last == nodes[0] and source >= 0),
        )
        for nodes in chains
    )


def _take(values: list[Any], chain: _Chain) -> Any:
    """Return what the first node of a chain gets as x, and drop the values that are not read again."""
    x = values[chain.source] if chain.sources is None else tuple(values[source] for source in chain.sources)
    for source in chain.dropped:
        values[source] = None
    return x


def _layers_and_sources(nodes: tuple[Any, ...]) -> tuple[tuple[Layer, ...], tuple[tuple[int, ...], ...]]:
    for i, node in enumerate(nodes):
        if type(node) is not tuple or not (
            len(node) > 1 and isinstance(node[0], Layer) and all(map(checks.is_int, node[1:]))
        ):
            types = ", ".join(type(entry).__name__ for entry in node) if type(node) is tuple else ""
            raise TypeError(
                f"graph: node {i} must be a tuple of a layer and its sources, such as (relu(), -1), not "
                f"{f'({types})' if types else type(node).__name__}"
            )
    return tuple(node[0] for node in nodes), tuple(tuple(map(int, node[1:])) for node in nodes)


def _check_sources(names: tuple[str, ...], sources: tuple[tuple[int, ...], ...]) -> None:
    for i, (name, of_node) in enumerate(zip(names, sources, strict=True)):
        for source in of_node:
            if not -1 <= source < i:
                earlier = f", or the index of an earlier node, up to {i - 1}" if i else ""
                raise ValueError(f"graph: {name} cannot read node {source}; its sources must be -1, the input{earlier}")
    read = {source for of_node in sources for source in of_node}
    unread = [name for i, name in enumerate(names[:-1]) if i not in read]
    if unread:
        raise ValueError(
            f"graph: no node reads {', '.join(unread)}; only {names[-1]}, the last node, is the output of the graph"
        )
