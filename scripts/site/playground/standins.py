"""Stand-ins for safetensors and onnx, which are compiled and which Pyodide does not have: as much as writing takes.

`install` makes `import safetensors` and `import onnx` find them, so that the library writes its files as it does
everywhere. They read nothing and check nothing; the tests read what they wrote with the real packages.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["install"]

Array = np.ndarray[Any, Any]


def install() -> None:
    """Register the stand-ins, and `funcnn.onnx` without its importer, which needs more of onnx than writing does."""
    writer = _module("safetensors.numpy", save=save)
    _module("safetensors", numpy=writer)
    parts = {
        "ModelProto": None,
        "TensorProto": SimpleNamespace(**_TYPES),
        "checker": SimpleNamespace(check_model=lambda _model, full_check: None),
        "helper": SimpleNamespace(
            make_node=make_node, make_tensor_value_info=make_tensor_value_info, make_graph=make_graph,
            make_opsetid=make_opsetid, make_model=make_model, set_model_props=set_model_props,
        ),
        "numpy_helper": SimpleNamespace(from_array=from_array),
    }  # fmt: skip
    _module("onnx", **parts)
    package = importlib.util.find_spec("funcnn")
    folders = package.submodule_search_locations if package else None
    _module("funcnn.onnx", __path__=[f"{folder}/onnx" for folder in folders or ()])


def _module(name: str, **entries: Any) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    vars(module).update(entries)
    return module


# --- safetensors: the length of a header, the header as JSON, the arrays ----------------------------------------------

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "complex64": "C64", "bool": "BOOL",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}  # fmt: skip


def save(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return a file of arrays, as ``safetensors.numpy.save`` does: aligned, as the widest numbers come first."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    content = []
    begin = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = tensors[name]
        content.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
        end = begin + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *content])


# --- onnx: messages of Protocol Buffers, the numbers of whose fields are those of onnx.proto --------------------------

_TYPES = {"FLOAT": 1, "UINT8": 2, "INT32": 6, "INT64": 7, "BOOL": 9}
_OF_DTYPE = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}


def message(*fields: tuple[int, Any]) -> bytes:
    """Return fields as bytes: ints as varints, floats as 32 bits, texts and messages with length, lists repeated."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, entry) for entry in value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        return _varint(number << 3 | 2) + _varint(len(content)) + content
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Return an int as 7 bits a byte, the lowest first; a negative one as its complement of 64 bits."""
    value &= 2**64 - 1
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes([*content, value])


def make_node(
    op_type: str, inputs: Iterable[str], outputs: Iterable[str], name: str | None = None, **attributes: Any
) -> SimpleNamespace:
    """Return a node, whose names of inputs and outputs may still change."""
    return SimpleNamespace(
        op_type=op_type, input=list(inputs), output=list(outputs), name=name, attributes=sorted(attributes.items())
    )


def _node(node: SimpleNamespace) -> bytes:
    attributes = [_attribute(name, value) for name, value in node.attributes]
    name = [] if node.name is None else [node.name]
    return message((1, node.input), (2, node.output), (3, name), (4, node.op_type), (5, attributes))


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return message((1, name), (4, value), (20, 3))
    if isinstance(value, float):
        return message((1, name), (2, value), (20, 1))
    if np.ndim(value) == 0:
        return message((1, name), (3, index(value)), (20, 2))
    if any(isinstance(entry, float) for entry in value):
        return message((1, name), (7, [float(entry) for entry in value]), (20, 6))
    return message((1, name), (8, [index(entry) for entry in value]), (20, 7))


def make_tensor_value_info(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """Return the type of an input or an output; a text in the shape names an axis of any length."""
    axes = [message((2, size) if isinstance(size, str) else (1, index(size))) for size in shape]
    return message((1, name), (2, message((1, message((1, kind), (2, message((1, axes))))))))


def from_array(array: Array, name: str) -> bytes:
    """Return a constant."""
    content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return message((1, list(array.shape)), (2, _OF_DTYPE[array.dtype.name]), (8, name), (9, content))


def make_graph(
    nodes: list[SimpleNamespace], name: str, inputs: list[bytes], outputs: list[bytes], constants: list[bytes]
) -> SimpleNamespace:
    """Return a graph, whose nodes may still change."""
    return SimpleNamespace(node=nodes, name=name, input=inputs, output=outputs, initializer=constants)


def make_opsetid(domain: str, version: int) -> bytes:
    """Return the version of a set of operators."""
    return message((1, domain), (2, version))


def make_model(
    graph: SimpleNamespace, producer_name: str, producer_version: str, opset_imports: list[bytes], ir_version: int
) -> SimpleNamespace:
    """Return a model, to be serialised when it is complete."""
    model = SimpleNamespace(metadata=[])

    def serialized() -> bytes:
        written = message(
            (1, [_node(node) for node in graph.node]), (2, graph.name), (5, graph.initializer), (11, graph.input),
            (12, graph.output),
        )  # fmt: skip
        return message(
            (1, ir_version), (8, opset_imports), (2, producer_name), (3, producer_version), (7, written),
            (14, model.metadata),
        )  # fmt: skip

    model.SerializeToString = serialized
    return model


def set_model_props(model: SimpleNamespace, properties: Mapping[str, str]) -> None:
    """Give a model its metadata."""
    model.metadata = [message((1, key), (2, value)) for key, value in properties.items()]
