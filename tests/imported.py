"""Imported networks beside ONNX's own numbers."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from funcnn import tree
from funcnn.onnx.importer import import_network


def model_of(nodes, inputs, outputs, initializers=None, opset=17, **options):
    """Return a model: inputs and initializers are dicts of arrays or shapes, outputs names."""
    values = []
    for name, given in inputs.items():
        shape = given if isinstance(given, (tuple, list)) else ["N", *given.shape[1:]]
        dtype = onnx.TensorProto.FLOAT if shape is given else helper.np_dtype_to_tensor_dtype(given.dtype)
        values.append(helper.make_tensor_value_info(name, dtype, shape))
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in (initializers or {}).items()]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(list(nodes), "graph", values, results, constants)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in options.pop("domains", ()))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)


def channels_last(x):
    """(N, C, spatial...) to (N, spatial..., C)."""
    return np.moveaxis(x, 1, -1)


def channels_first(y):
    return np.moveaxis(y, -1, 1)


def run(model, x, output=None, **options):
    """Import a model and run it in evaluation mode on an input in ONNX's order of axes; the output is in funcnn's."""
    network = import_network(model, output=output, **options)
    params, state, shape = network.layer.init((0,), network.in_shape)
    moved = channels_last(x)
    given = moved if moved.shape[1:] == network.in_shape else x  # an image file of TensorFlow's has channels last
    y, _, _ = network.layer.forward(params, given, state, train=False)
    assert y.shape[1:] == shape
    return y


def onnx_runs(model, x):
    """Return the output of ONNX's runtime for a model or a file's content."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def in_float64(layer):
    """Return the layer with float64 parameters and state, which a complex step needs."""

    def init(key, in_shape):
        params, state, shape = layer.init(key, in_shape)
        return tree.map(np.float64, params), tree.map(np.float64, state), shape

    return layer._replace(init=init)


def assert_agrees(y, expected, tolerance=1e-5):
    """Assert that an output is the expected one, in ONNX's order of axes or, as feature maps are, channels last."""
    orders = [y, channels_first(y)] if y.ndim > 2 else [y]
    fitting = [order for order in orders if order.shape == expected.shape]
    assert fitting, f"{y.shape} for {expected.shape}"
    best = min(fitting, key=lambda order: np.nan_to_num(np.abs(order - expected)).sum())
    np.testing.assert_allclose(best, expected, rtol=tolerance, atol=tolerance * max(1, _largest(expected)))


def _largest(array):
    return float(np.abs(array).max(initial=0)) if np.isfinite(array).all() else 1.0


def names_of(table: dict[str, str]) -> Sequence[str]:
    return [name for entries in table.values() for name in entries.split()]
