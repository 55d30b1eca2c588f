"""Reading ONNX files: what they hold is checked before it is used, and nothing in them is run."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from funcnn.tree import Array

OLDEST_OPSET, NEWEST_OPSET = 7, 24


class OnnxModel(NamedTuple):
    """An ONNX model.

    Attributes
    ----------
    where : str
        Its name in errors.
    graph : onnx.GraphProto
        Its nodes, inputs and outputs.
    opset : int
        The version of the operators.
    initializers : dict of array
        Its weights.
    unreadable : dict of str
        Why an initializer cannot be read, by its name.
    metadata : dict of str
    is_ours : bool
        Whether `funcnn.onnx.to_onnx` wrote it, so that channels are the last axis of its input and its output.
    """

    where: str
    graph: GraphProto
    opset: int
    initializers: dict[str, Array]
    unreadable: dict[str, str]
    metadata: dict[str, str]
    is_ours: bool


def read(file: str | os.PathLike[str] | bytes | ModelProto) -> OnnxModel:
    """Read a model and its weights.

    Parameters
    ----------
    file : path, bytes or onnx.ModelProto
        Weights beside the file (ONNX's external data) are read too; they must be in its folder.

    Returns
    -------
    OnnxModel

    Raises
    ------
    ValueError, OSError
        If there is no such file, it is damaged, or its operators are of a version that is not known; the message names
        the file.
    """
    if isinstance(file, ModelProto):
        where, model = "from_onnx", file
    elif isinstance(file, bytes):
        where, model = "from_onnx", _parsed("from_onnx", file)
    else:
        where = str(file)
        try:
            model = _parsed(where, Path(file).read_bytes())
        except OSError as error:
            raise OSError(f"cannot read {where}: {error.strerror or error}") from None
        try:
            onnx.load_external_data_for_model(model, os.path.dirname(os.path.abspath(file)))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ValueError(f"{where}: its external data cannot be read: {error}") from None
    _check_text(where, model.graph)
    for graph in _subgraphs(model.graph.node):
        _check_text(where, graph)
    if not model.graph.output:
        raise ValueError(f"{where}: not an ONNX model: it has no graph with an output")
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = versions[0] if versions else 0
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ValueError(f"{where}: operators of opset {opset}, where {OLDEST_OPSET} to {NEWEST_OPSET} can be read")
    if model.functions:
        model = _inlined(where, model)
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise ValueError(f"{where}: initializer {name!r} is sparse, which cannot be read; save it as a dense tensor")
    initializers, unreadable = {}, {}
    for tensor in model.graph.initializer:
        try:
            initializers[tensor.name] = array_of(where, tensor)
        except ValueError as error:  # it may be one that nothing needs, such as the names of classes
            unreadable[tensor.name] = str(error)
    metadata = {p.key: p.value for p in model.metadata_props}
    # without the weights, so that the memory in which protobuf holds them is free for those that are reordered
    graph = GraphProto(node=model.graph.node, input=model.graph.input, output=model.graph.output)
    return OnnxModel(where, graph, opset, initializers, unreadable, metadata, model.producer_name == "funcnn")


def _parsed(where: str, content: bytes) -> ModelProto:
    try:
        return ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{where}: not an ONNX model, or damaged: {error}") from None


# More nodes than this are not made of a file's functions, which can call each other: a short file asks for any number.
_MOST_NODES = 10**5


def _inlined(where: str, model: ModelProto) -> ModelProto:
    """Return a model in which the nodes that call its own functions are replaced by the functions' nodes."""
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def size(nodes: Sequence[NodeProto], path: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            if called in path or len(path) > 100:
                raise ValueError(f"{where}: damaged: its function {node.op_type!r} calls itself")
            if called in bodies and called not in counts:
                counts[called] = size(bodies[called], (*path, called))
            total += counts.get(called, 1)
        return total

    total = size(model.graph.node, ())
    if total > _MOST_NODES:
        raise ValueError(f"{where}: its functions would become {total:,} nodes, more than {_MOST_NODES:,}")
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{where}: its functions cannot be read: {' '.join(str(error).split())}") from None


def names_read(node: NodeProto) -> list[str]:
    """Return the names of a node's inputs and of what its subgraphs read, as often as it is read."""
    graphs = [a.g for a in node.attribute if a.type == a.GRAPH]
    inside = [name for graph in graphs for inner in graph.node for name in names_read(inner)]
    return [*node.input, *inside, *(value.name for graph in graphs for value in graph.output)]


def _subgraphs(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield attribute.g
                yield from _subgraphs(attribute.g.node)


def _check_text(where: str, graph: GraphProto) -> None:
    """Raise a ValueError if a name is not text (protobuf then returns bytes), or two values have the same."""
    names = [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"{where}: damaged: the name {wrong[0]!r} is not text")
    constants = [tensor.name for tensor in graph.initializer]
    made = Counter([*constants, *(v.name for v in graph.input if v.name not in set(constants))])
    made.update(name for node in graph.node for name in node.output if name)
    twice = [name for name, count in made.items() if count > 1]
    if twice:
        raise ValueError(f"{where}: damaged: two values are called {twice[0]!r}")


# The fields of a tensor that hold its numbers, if not as bytes
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
# Types that take less than a byte each; NumPy has none for them
_PACKED = {name for name in TensorProto.DataType.keys() if name.endswith(("INT4", "INT2", "4E2M1"))}  # noqa: SIM118


def array_of(where: str, tensor: TensorProto) -> Array:
    """Return a tensor as an array: float16, bfloat16 and float64 as float32, others as they are.

    Raises a ValueError if the tensor does not hold as many numbers as its shape says, before any array is made.
    """
    names = {number: name for name, number in TensorProto.DataType.items()}
    kind = names.get(tensor.data_type, "UNDEFINED")
    what = f"{where}: tensor {tensor.name!r} of shape {tuple(tensor.dims)} and type {kind}"
    if tensor.data_location == TensorProto.EXTERNAL and not tensor.HasField("raw_data"):
        raise ValueError(f"{what} is in another file: read the model from its path")
    if kind in ("UNDEFINED", "STRING") or kind.startswith("COMPLEX"):
        raise ValueError(f"{what} is not of numbers that can be read")
    count = math.prod(tensor.dims)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    raw = tensor.raw_data if tensor.HasField("raw_data") else None  # once: each access copies it
    if raw is not None:
        held = len(raw) / (dtype.itemsize * (0.5 if kind in _PACKED else 1))
    else:
        held = max(len(getattr(tensor, field)) for field in _FIELDS)
    if min(tensor.dims, default=0) < 0 or (kind not in _PACKED and held != count) or held < count // 4:
        raise ValueError(f"{what} has {held:g} numbers, not {count}")
    try:
        if raw is not None and dtype.isbuiltin:
            array = np.frombuffer(raw, dtype.newbyteorder("<")).reshape(tensor.dims)
        else:
            array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{what} cannot be read: {error}") from None
    if array.dtype.kind not in "biu":  # also ml_dtypes' bfloat16, whose kind is V
        array = array.astype(np.float32, copy=False)
    return array


def attributes(model: OnnxModel, node: NodeProto) -> Mapping[str, Any]:
    """Return a node's attributes by name, those that are not given with the operator's defaults.

    Raises a ValueError if the operator is not ONNX's, or does not have such inputs or attributes.
    """
    if node.domain not in ("", "ai.onnx"):
        raise ValueError(f"operators of the domain {node.domain!r} are not ONNX's own, and cannot be read")
    try:
        schema = onnx.defs.get_schema(node.op_type, model.opset, "")
    except onnx.defs.SchemaError:
        raise ValueError(f"opset {model.opset} has no such operator") from None
    required = [i for i, value in enumerate(schema.inputs) if value.option == schema.FormalParameterOption.Single]
    if not schema.min_input <= len(node.input) <= schema.max_input or not all(node.input[i] for i in required):
        raise ValueError(f"it does not take the inputs {', '.join(map(repr, node.input)) or 'none'}")
    if node.op_type == "If":  # where it does not, the branch's nodes stand for it
        raise ValueError("which of its branches is taken depends on the input")
    defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    for attribute in node.attribute:
        expected = schema.attributes.get(attribute.name)
        if expected is None:
            raise ValueError(f"opset {model.opset} gives it no attribute {attribute.name!r}")
        kind = str(expected.type).rpartition(".")[2]
        if attribute.type != onnx.AttributeProto.AttributeType.Value(kind):
            raise ValueError(f"its attribute {attribute.name} is not of type {kind}")
    missing = {name for name, a in schema.attributes.items() if a.required} - {a.name for a in node.attribute}
    if missing:
        raise ValueError(f"it has no attribute {min(missing)!r}")
    return {a.name: _attribute_value(model.where, a) for a in (*defaults, *node.attribute)}


def _attribute_value(where: str, attribute: onnx.AttributeProto) -> Any:
    if attribute.ref_attr_name or attribute.type in (attribute.GRAPH, attribute.GRAPHS, attribute.SPARSE_TENSOR):
        kind = onnx.AttributeProto.AttributeType.Name(attribute.type).lower()
        raise ValueError(f"its attribute {attribute.name}, a {kind}, cannot be read")
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return array_of(where, value)
    return value.decode() if isinstance(value, bytes) else value
