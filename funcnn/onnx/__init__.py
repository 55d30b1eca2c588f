"""Export of models to ONNX, and import of ONNX networks (needs the extra ``onnx``)."""

from funcnn import extras

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise extras.missing("funcnn.onnx needs onnx", "onnx", error) from None

from funcnn.onnx.export import to_onnx
from funcnn.onnx.importer import from_onnx

__all__ = ["from_onnx", "to_onnx"]
