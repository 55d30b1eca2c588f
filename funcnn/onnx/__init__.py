"""Models as ONNX graphs (``pip install 'funcnn[onnx]'``)."""

from funcnn.onnx.export import to_onnx

__all__ = ["to_onnx"]
