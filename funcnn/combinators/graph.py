"""Layers as the nodes of a directed acyclic graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from funcnn import checks
from funcnn.combinators.children import check_children, child_names, has_leaves, sum_cotangents
from funcnn.fusion import Segment, segments
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, OpForward, add_location
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
    steps = _steps(names, layers, sources)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shapes = {}, {}, [*((),) * len(layers), in_shape]
        for i, (name, layer, of_layer) in children:
            try:
                params[name], state[name], shapes[i] = layer.init(fold_in(key, i), _read(shapes, of_layer))
            except (ValueError, TypeError) as error:
                add_location(error, name)
                raise
        return params, state, shapes[-2]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_children("graph", names, params, state)
        new_state: Tree = dict(state)
        values, all_saved = [*(None,) * len(layers), x], []  # the input is at -1
        for segment, segment_sources, last, dropped in steps:
            values[last], saved = segment.forward(params, _read(values, segment_sources), state, new_state, train, key)
            all_saved.append(saved)
            for source in dropped:
                values[source] = None
        y = values[-2]

        def graph_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            # Nodes that are left out have no parameters, so their params, dicts without leaves, serve as gradients.
            dparams = dict(params)
            leads = [*(False,) * len(layers), input_gradient]
            for segment, segment_sources, last, _ in steps:
                leads[last] = any(leads[i] for i in segment_sources) or any(
                    has_leaves(params[n]) for n in segment.names
                )
            dys: list[Any] = [*(None,) * (len(layers) - 1), dy, None]
            for (segment, segment_sources, last, _), saved in zip(reversed(steps), reversed(all_saved), strict=True):
                if not leads[last]:
                    continue
                dx = segment.backward(saved, dys[last], dparams, any(leads[i] for i in segment_sources))
                dys[last] = None
                for i, source in enumerate(segment_sources):
                    if leads[source]:
                        of_source = dx if len(segment_sources) == 1 else dx[i]
                        dys[source] = sum_cotangents([dys[source], of_source])
            return dparams, dys[-1]

        return y, graph_vjp, new_state

    def output(params: Tree, x: Array, state: Tree) -> Array:
        check_children("graph", names, params, state)
        values: list[Any] = [*(None,) * len(layers), x]
        for segment, segment_sources, last, dropped in steps:
            values[last] = segment.output(params, _read(values, segment_sources), state)
            for source in dropped:
                values[source] = None
        y: Array = values[-2]
        return y

    def rebuild(*others: Layer) -> Layer:
        return graph(*((layer, *of_layer) for layer, of_layer in zip(others, sources, strict=True)))

    options = {"layers": layers, "sources": sources}
    return Layer("graph", init, OpForward(graph, options, call, output), layers, rebuild)


class _Step(NamedTuple):
    """A segment of the graph, the sources of its first node, the index of its last, and the outputs not read again."""

    segment: Segment
    sources: tuple[int, ...]
    last: int
    dropped: tuple[int, ...]


def _steps(
    names: tuple[str, ...], layers: tuple[Layer, ...], sources: tuple[tuple[int, ...], ...]
) -> tuple[_Step, ...]:
    """Split the nodes into segments, each computed when its first node is due: the nodes after it read nothing else."""
    parts: list[Segment] = []
    for chain in _chains(sources):
        parts += segments([names[i] for i in chain], [layers[i] for i in chain], chain)
    parts.sort(key=lambda segment: segment.first)
    index = {name: i for i, name in enumerate(names)}
    last_read = {source: step for step, segment in enumerate(parts) for source in sources[segment.first]}
    return tuple(
        _Step(
            segment,
            sources[segment.first],
            index[segment.names[-1]],
            tuple(source for source, last in last_read.items() if last == step and source >= 0),
        )
        for step, segment in enumerate(parts)
    )


def _chains(sources: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Split the nodes into chains, in each of which a node is the only reader of the one before, and reads only it."""
    readers: list[list[int]] = [[] for _ in sources]
    for i, of_node in enumerate(sources):
        for source in of_node:
            if source >= 0:
                readers[source].append(i)
    chains: dict[int, list[int]] = {}  # by the last node
    for i, of_node in enumerate(sources):
        continues = len(of_node) == 1 and of_node[0] >= 0 and len(readers[of_node[0]]) == 1
        chains[i] = [*chains.pop(of_node[0]), i] if continues else [i]
    return list(chains.values())


def _read(values: Sequence[Any], sources: tuple[int, ...]) -> Any:
    """Return what a node gets as x, or its shape: a value, or a tuple if it has several sources."""
    return values[sources[0]] if len(sources) == 1 else tuple(values[source] for source in sources)


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
