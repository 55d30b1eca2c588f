"""Import of ONNX graphs as layers: trained networks from other frameworks, to use, to look into and to train further.

The importer visits the nodes that the output needs in the order of the file, and writes each one as layers of
`funcnn.layers` in a `funcnn.combinators.graph`; what can be computed without the input is computed now. ONNX keeps
channels as the second axis, funcnn as the last. Instead of transposing, the importer remembers for each value how its
axes are ordered here, so an ordinary convolutional network has no transposition at all; dense weights after a Flatten
get their rows reordered.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import ChainMap, Counter
from collections.abc import Iterable, MutableMapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto

from funcnn import checks, tree
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.models import network
from funcnn.onnx.builder import LARGEST_EXAMPLE, Builder, Node, Value, described, out_shape
from funcnn.onnx.folding import BATCHES, Known, fold, known, room, taken_branch
from funcnn.onnx.operators import OPERATORS
from funcnn.onnx.reading import OnnxModel, array_of, attributes, names_read, read
from funcnn.tree import Tree

__all__ = ["from_onnx"]

_Values = MutableMapping[str, Value | Known | None]  # by their names in the file
# Operators that compute nothing: where a network is cut, these belong to what comes after them.
_ARRANGING = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def from_onnx(
    file: str | os.PathLike[str] | bytes | ModelProto,
    *,
    in_shape: tuple[int, ...] | None = None,
    output: str | None = None,
) -> Layer:
    """Read a network from an ONNX file as a layer, whose ``init`` returns the file's weights.

    Parameters
    ----------
    file : path, bytes or onnx.ModelProto
        Of opset 7 to 24. Nothing in it is run. Weights of other types become float32.
    in_shape : tuple of int, optional
        Shape of an example as the layer takes it, channels last: (height, width, channels). Needed where the file
        leaves sizes open. Where the file itself takes channels last, or images without an axis for channels, as the
        first thing that it does with them shows, so does the layer.
    output : str, optional
        The name of a value or node of the file that is to be the output; what only later values need is left out.
        "features", if there is no such name, is the input of the last layer with weights, the classifier of most
        networks. By default the file's output.

    Returns
    -------
    Layer
        Of the examples (N, *in_shape) and of float32, for any N. Feature maps come out channels last, everything else
        in ONNX's order of axes; from a file that `to_onnx` wrote, everything comes out as from the model. Its
        parameters are the file's float constants of linear layers, normalisations and arithmetic; its state is running
        statistics.

    Raises
    ------
    ValueError
        If the file is damaged, an operator or option of it is not known here, it asks for more memory than it could
        need, or examples depend on each other; the message is one line with the file, the node and its operator.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from funcnn.models import lenet5
    >>> from funcnn.onnx import to_onnx
    >>> model = lenet5(outputs=10)
    >>> params, state, _ = model.init((0,), (32, 32, 1))
    >>> body = from_onnx(to_onnx(model, params, state, (32, 32, 1)), output="features")
    >>> body.init((0,), (32, 32, 1))[2]
    (84,)
    """
    return import_network(file, in_shape=in_shape, output=output).layer


class ImportedNetwork(NamedTuple):
    """A network of an ONNX file.

    Attributes
    ----------
    layer : Layer
    nodes : list of Node
        Its layers, which `described` makes the arguments of `funcnn.models.network` of.
    in_shape : tuple of int
        Of an example, channels last.
    metadata : dict of str
        The file's own.
    """

    layer: Layer
    nodes: list[Node]
    in_shape: tuple[int, ...]
    metadata: dict[str, str]


def import_network(
    file: str | os.PathLike[str] | bytes | ModelProto,
    *,
    in_shape: tuple[int, ...] | None = None,
    output: str | None = None,
) -> ImportedNetwork:
    """Read a network as `from_onnx` does, with its layers in a list."""
    model = read(file)
    target = _target(model, output)
    needed = _needed_nodes(model.graph.node, target)
    read_names = [target, *(name for node in needed for name in names_read(node))]
    for name in read_names:
        if name in model.unreadable:
            raise ValueError(model.unreadable[name])
    _check_operators(model, needed)
    x_name, x = _input(model, needed, read_names, in_shape)
    readers = Counter(read_names)
    _warn_of_tied_weights(model, needed)
    builder = Builder([], set(), readers, model.opset, _fixed_batch(model, x_name))
    left = room(sum(array.size for array in model.initializers.values()))
    values: _Values = {"": None, x_name: x}
    values.update({name: known(array) for name, array in model.initializers.items() if name != x_name})
    _import_nodes(model, builder, needed, values, left)
    y = values.get(target)
    if not isinstance(y, Value):
        raise ValueError(f"{model.where}: the output {target!r} does not depend on the input")
    channels_last = (*range(1, len(y.shape)), 0)
    as_from_our_model = model.is_ours and target == model.graph.output[0].name
    as_it_is = y.order == channels_last and not as_from_our_model
    nodes = _nodes_of(builder, builder.restored(y) if as_it_is else builder.plain(y))
    made = network(described(nodes))
    assert made.rebuild is not None  # it is a combinator
    layer = made.rebuild(*map(_with_params, made.children, nodes))
    return ImportedNetwork(layer, nodes, x.shape_here, model.metadata)


def _import_nodes(
    model: OnnxModel,
    builder: Builder,
    nodes: Sequence[NodeProto],
    values: _Values,
    left: int,
) -> int:
    """Add what the nodes make to ``values``; constants may have ``left`` numbers. Return how many are left then."""
    for node in nodes:
        try:
            unknown = [name for name in node.input if name not in values]
            if unknown:
                raise ValueError(f"nothing before it makes its input {unknown[0]!r}")
            inputs = [values[name] for name in node.input]
            is_constant = all(isinstance(i, Known) or i is None for i in inputs)
            chosen = _is_if(node) and is_constant
            if chosen:
                inner, names, inside = _branch(model, node, inputs[0] if inputs else None, values)  # type: ignore[arg-type]
            elif is_constant:
                options = attributes(model, node)
                outputs: Sequence[Any] = fold(node, options, inputs, model.opset, left)  # type: ignore[arg-type]
                left -= sum(y.for_two.size for y in outputs)
            else:
                outputs = _written(builder, node, attributes(model, node), inputs)
        except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
            raise ValueError(_refusal(model, node, error)) from None
        if chosen:
            left = _import_nodes(model, builder, inner, inside, left)
            outputs = [inside[name] for name in names]
        values.update(zip(node.output, outputs, strict=False))
        for name, value in zip(node.output, outputs, strict=False):
            if isinstance(value, Value) and builder.readers[name] > 1:
                builder.shared.add(value.node)
    return left


def _is_if(node: NodeProto) -> bool:
    return node.op_type == "If" and node.domain in ("", "ai.onnx")


def _branch(
    model: OnnxModel, node: NodeProto, condition: Known | None, values: _Values
) -> tuple[list[NodeProto], list[str], _Values]:
    """Return the nodes of the branch that an If takes, the names of its outputs, and the values that its nodes read."""
    graph = taken_branch(node, condition)
    names = [value.name for value in graph.output]
    nodes = _needed_nodes(graph.node, *names)
    constants: _Values = {tensor.name: known(array_of(model.where, tensor)) for tensor in graph.initializer}
    inside = ChainMap(constants, values)
    missing = set(names) - inside.keys() - {name for n in nodes for name in n.output}
    if missing:
        raise ValueError(f"nothing makes its branch's output {min(missing)!r}")
    return nodes, names, inside


def _describe(node: NodeProto) -> str:
    name = node.name or (node.output[0] if node.output else "")
    operator = node.op_type if node.op_type.isidentifier() else repr(node.op_type)
    return f"node {name!r} ({operator})"


def _refusal(model: OnnxModel, node: NodeProto, error: BaseException, before: str | None = None) -> str:
    """Return the line that says why a node is refused; ``before`` is a value before it that could be the output."""
    example = f", such as {before!r}" if before else ""
    return (
        f"{model.where}: {_describe(node)}: {' '.join(str(error).split())}; stop before it by output=NAME, where NAME "
        f"is a value or node of the file{example}"
    )


def _nodes_of(builder: Builder, y: Value) -> list[Node]:
    """Return the nodes that ``y`` needs, the last of which makes it."""
    needed = {y.node}
    for number in range(y.node, -1, -1):  # a node reads earlier ones
        if number in needed:
            needed.update(builder.nodes[number].sources)
    kept = sorted(needed - {-1})
    renumbered = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    nodes = [builder.nodes[old] for old in kept]
    nodes = [node._replace(sources=tuple(renumbered[source] for source in node.sources)) for node in nodes]
    return nodes or [Node("identity", {}, (-1,), {}, {})]


def _with_params(layer: Layer, node: Node) -> Layer:
    """Return the layer of a node with the node's parameters as its initial ones."""
    if not node.params and not node.state:
        return layer
    return layer._replace(init=partial(_init, node))


def _init(node: Node, key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
    return tree.read_only(node.params), tree.read_only(node.state), out_shape(node, [in_shape])


def _target(model: OnnxModel, output: str | None) -> str:
    """Return the name of the value that is to be the output."""
    nodes, outputs = model.graph.node, [value.name for value in model.graph.output]
    if output is None:
        if len(outputs) > 1:
            raise ValueError(
                f"{model.where}: has the outputs {', '.join(map(repr, outputs))}: name one of them by output="
            )
        return outputs[0]
    if output and any(output in node.output for node in nodes):
        return output
    made = [str(node.output[0]) for node in nodes if output and output == node.name and node.output]
    if len(made) > 1:
        raise ValueError(
            f"{model.where}: {len(made)} nodes are called {output!r}: name one of their values, "
            f"{', '.join(map(repr, made))}"
        )
    if made:
        return made[0]
    if output != "features":
        given = {*(value.name for value in model.graph.input), *model.initializers, *model.unreadable}
        wrong = (
            f"{output!r} is given, not made by a node" if output in given else f"no value or node is called {output!r}"
        )
        raise ValueError(
            f"{model.where}: {wrong}; its outputs are "
            f"{', '.join(map(repr, outputs))}, and the input of its last layer with weights is 'features'"
        )
    constants = {"", *model.initializers}
    features = None
    for node in _needed_nodes(nodes, *outputs):
        if constants.issuperset(names_read(node)):
            constants.update(node.output)
        elif node.op_type in ("Gemm", "MatMul", "Conv", "ConvTranspose") and node.input[1] in constants:
            features = str(node.input[0])
    if features is not None:
        return features
    raise ValueError(f"{model.where}: has no layer with weights, so that nothing is its 'features'")


def _needed_nodes(nodes: Iterable[NodeProto], *targets: str) -> list[NodeProto]:
    """Return the nodes that values need, in an order in which each comes after those that it reads."""
    maker = {name: node for node in nodes for name in node.output if name}
    needed: list[NodeProto] = []
    done: set[int] = set()
    path = [(maker[target], False) for target in reversed(targets) if target in maker]
    while path:
        node, inputs_done = path.pop()
        if inputs_done:
            needed.append(node)
        elif id(node) not in done:
            done.add(id(node))
            path.append((node, True))
            path += [(maker[name], False) for name in reversed(names_read(node)) if name in maker]
    return needed


def _check_operators(model: OnnxModel, needed: Sequence[NodeProto]) -> None:
    """Raise a ValueError if an operator is not known: that, rather than what only it needs, is what cannot be read."""
    depends = {value.name for value in model.graph.input} - model.initializers.keys()
    before: dict[str, str] = {}  # what is rearranged to a value's layout, by its name
    for node in needed:
        chooses = _is_if(node) and depends.isdisjoint(node.input)  # one branch, whose nodes are seen to later
        on_input = [name for name in (names_read(node) if chooses else node.input) if name in depends]
        if not on_input or node.op_type in ("Shape", "Size"):
            continue
        depends.update(node.output)
        if node.op_type in _ARRANGING:
            before.update(dict.fromkeys(node.output, before.get(on_input[0], on_input[0])))
        if node.op_type in OPERATORS or chooses:
            continue
        try:
            attributes(model, node)
            raise _unknown_operator(node)
        except ValueError as error:
            value = before.get(on_input[0], on_input[0])
            made = any(value in other.output for other in needed)
            raise ValueError(_refusal(model, node, error, value if made else None)) from None


def _unknown_operator(node: NodeProto) -> ValueError:
    quantised = any(part in node.op_type for part in ("Integer", "QLinear", "Quantize"))
    return ValueError(
        "quantised arithmetic is not known here: export the network before it is quantised"
        if quantised
        else "the operator is not known here"
    )


def _input(
    model: OnnxModel, needed: Sequence[NodeProto], read_names: Sequence[str], in_shape: tuple[int, ...] | None
) -> tuple[str, Value]:
    """Return the name of the input and its value; the first of the names is the output's."""
    needed_names = set(read_names)
    inputs = [v for v in model.graph.input if v.name in needed_names and v.name not in model.initializers]
    if not inputs:
        raise ValueError(f"{model.where}: the output {read_names[0]!r} does not depend on an input")
    if len(inputs) != 1:
        names = ", ".join(repr(v.name) for v in inputs)
        raise ValueError(f"{model.where}: a layer has one input, and the output needs these: {names}")
    (value,) = inputs
    kind = value.type.tensor_type
    declared = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    if not kind.HasField("shape") and in_shape is None:
        raise ValueError(f"{model.where}: the file does not say the shape of {value.name!r}: pass in_shape")
    rank = len(declared) - 1 if kind.HasField("shape") else len(in_shape or ())
    sizes = [d if d > 0 else 0 for d in declared[1:]] or [0] * rank
    as_it_is = rank < 2 or model.is_ours or _is_as_here(model, value.name, sizes, needed)
    order = tuple(range(rank)) if as_it_is else (*range(1, rank), 0)
    here = [sizes[a] for a in order]
    if in_shape is not None:
        given = tuple(in_shape) if isinstance(in_shape, Iterable) else ()
        if not given or not all(checks.is_int(size) and size > 0 for size in given):
            raise ValueError(f"{model.where}: in_shape must be ints of at least 1, as (h, w, c), not {in_shape!r}")
        if len(given) != rank or any(d not in (0, g) for d, g in zip(here, given, strict=True)):
            wanted = ", ".join(str(d) if d else "any" for d in here)
            wanted += "," * (rank == 1)
            raise ValueError(f"{model.where}: in_shape {given} does not fit, the file takes examples of ({wanted})")
        here = list(given)
    if rank < 1 or min(here) < 1:
        wanted = ", ".join(str(d) if d else "?" for d in here)
        raise ValueError(f"{model.where}: the file leaves sizes open, ({wanted}): pass in_shape, channels last")
    if math.prod(here) > LARGEST_EXAMPLE:
        raise ValueError(f"{model.where}: examples of {tuple(here)} have {math.prod(here):,} numbers")
    shape = tuple(here[order.index(a)] for a in range(rank))
    return value.name, Value(-1, shape, order)


def _is_as_here(model: OnnxModel, name: str, sizes: Sequence[int], nodes: Sequence[NodeProto]) -> bool:
    """Return whether a value's axes are in funcnn's order: whether each use begins by putting channels in front.

    They are its last axis, or it has none, as grey images (N, H, W) have. Sizes that are open are 0.
    """
    readers = [node for node in nodes if name in node.input]
    return bool(readers) and all(_puts_channels_in_front(model, node, sizes, nodes) for node in readers)


def _puts_channels_in_front(
    model: OnnxModel, node: NodeProto, sizes: Sequence[int], nodes: Sequence[NodeProto]
) -> bool:
    rank = len(sizes)
    if node.op_type in ("Sub", "Div", "Mul", "Add", "Identity", "Cast"):  # scaling comes first
        return _is_as_here(model, node.output[0], sizes, nodes)
    if node.op_type == "Transpose":
        return _written_ints(node, "perm", model, nodes) == [0, rank, *range(1, rank)]
    if node.op_type == "Unsqueeze":
        return rank == 2 and _written_ints(node, "axes", model, nodes) in ([1], [-rank - 1])
    if node.op_type == "Reshape":  # does the same where there is one channel
        shape = _written_ints(node, "shape", model, nodes)
        kept = sizes[:-1] if rank > 2 and sizes[-1] == 1 else sizes
        return (
            len(kept) == 2
            and len(shape) == 4
            and shape[1:] == [1, *(a or b for a, b in zip(kept, shape[2:], strict=True))]
        )
    return False


def _written_ints(node: NodeProto, name: str, model: OnnxModel, nodes: Sequence[NodeProto]) -> list[int]:
    """Return ints of a node that are its attribute or its second input, if that is written in the file."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints)
    for operand in node.input[1:2]:
        made = [n for n in nodes if operand in n.output and n.op_type == "Constant"]
        array = attributes(model, made[0]).get("value") if made else model.initializers.get(operand)
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu":
            return [int(i) for i in array.ravel()]
    return []


def _fixed_batch(model: OnnxModel, name: str) -> int | None:
    """Return the number of examples that a file is written for, if it has one."""
    for value in model.graph.input:
        if value.name == name and value.type.tensor_type.shape.dim:
            return value.type.tensor_type.shape.dim[0].dim_value or None
    return None


def _warn_of_tied_weights(model: OnnxModel, nodes: Sequence[NodeProto]) -> None:
    uses: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input[1:2] if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") else ():
            if name in model.initializers:
                uses.setdefault(name, []).append(node)
    for name, readers in uses.items():
        if len(readers) > 1:
            warnings.warn(
                f"{model.where}: {' and '.join(map(_describe, readers[:2]))} share the weights {name!r}: each gets a "
                "copy of its own, and training will move the copies apart",
                stacklevel=3,
            )


def _written(
    builder: Builder, node: NodeProto, options: Any, inputs: Sequence[Value | Known | None]
) -> Sequence[Value | Known]:
    """Append the layers of one node, and return its outputs."""
    if node.op_type in ("Shape", "Size"):
        (x,) = inputs
        assert isinstance(x, Value)
        shapes = [np.array([n, *x.shape], np.int64) for n in BATCHES]
        if node.op_type == "Size":
            return [Known(*(np.array(shape.prod()) for shape in shapes))]
        part = slice(options.get("start", 0), options.get("end"))
        return [Known(*(shape[part] for shape in shapes))]
    if node.op_type not in OPERATORS:  # in a branch
        raise _unknown_operator(node)
    written = OPERATORS[node.op_type](builder, {**options, "outputs": len(node.output)}, *inputs)
    outputs = list(written) if isinstance(written, list) else [written]
    missing = [name for name in node.output[len(outputs) :] if builder.readers[name]]
    if missing:
        raise ValueError(f"its output {missing[0]!r} is not known here")
    return outputs
