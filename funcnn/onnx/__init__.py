"""Export of models to ONNX (needs the extra ``onnx``)."""

from funcnn import extras

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise extras.missing("funcnn.onnx needs onnx", "onnx", error) from None

from funcnn.onnx.export import to_onnx

__all__ = ["to_onnx"]
