"""Export of models to ONNX (needs the extra ``onnx``)."""

from funcnn.onnx.export import to_onnx

__all__ = ["to_onnx"]
