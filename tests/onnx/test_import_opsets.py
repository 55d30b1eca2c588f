"""The forms that operators have had from opset 7 to 24, and the types and places of weights, through `from_onnx`.

The expected numbers are those of ONNX's reference implementation or of its runtime.
"""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from imported import assert_agrees, model_of, run
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from funcnn.onnx import from_onnx

F = np.float32
IMAGE = (2, 4, 6, 7)
MAP = (2, 3, 9, 8)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(n, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2, n).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def by_reference(model, x):
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def by_runtime(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


# Operator, opset, attributes, further inputs ("" leaves one out), shape of x; expected by the runtime unless said
FORMS = [
    ("Clip", 7, {"min": -0.5, "max": 0.75}, [], IMAGE),
    ("Clip", 7, {}, [], IMAGE),
    ("Clip", 10, {"min": 0.0, "max": 6.0}, [], IMAGE),
    ("Clip", 11, {}, [F(-0.5), F(0.75)], IMAGE),
    ("Clip", 13, {}, ["", F(0.75)], IMAGE),
    ("Clip", 13, {}, [F(0.25)], IMAGE),
    ("Pad", 7, {"pads": [0, 0, 1, 2, 0, 0, 0, 3], "value": 1.5}, [], IMAGE),
    ("Pad", 10, {"pads": [0, 0, 1, 2, 0, 0, 0, 3], "mode": "reflect"}, [], IMAGE),
    ("Pad", 11, {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 0, 3)], IMAGE),
    ("Pad", 13, {}, [ints(0, 1, 0, 0, 0, 2, 0, 0), F(-1)], IMAGE),
    ("Pad", 13, {}, [ints(0, 0, -1, 1, 0, 0, 2, -3)], IMAGE),
    ("Pad", 18, {}, [ints(1, 2, 3, 0), F(2), ints(-1, 2)], IMAGE),
    ("Slice", 7, {"starts": [1, -3], "ends": [4, 9], "axes": [2, 3]}, [], IMAGE),
    ("Slice", 9, {"starts": [0, 1], "ends": [2**63 - 1, 3]}, [], IMAGE),
    ("Slice", 10, {}, [ints(1), ints(-1), ints(-1), ints(2)], IMAGE),
    ("Slice", 13, {}, [ints(0), ints(2**31 - 1), ints(0)], IMAGE),
    ("Split", 7, {"axis": 1, "split": [1, 3]}, [], IMAGE),
    ("Split", 11, {"axis": -3}, [], IMAGE),
    ("Split", 13, {"axis": 2}, [ints(2, 4)], IMAGE),
    ("Split", 18, {"axis": 3, "num_outputs": 2}, [], IMAGE),
    ("Squeeze", 7, {"axes": [2, 3]}, [], (2, 4, 1, 1)),
    ("Squeeze", 11, {"axes": [-1]}, [], (2, 4, 3, 1)),
    ("Squeeze", 13, {}, [ints(-2, 3)], (2, 4, 1, 1)),
    ("Unsqueeze", 7, {"axes": [2, 4]}, [], (2, 4, 3)),
    ("Unsqueeze", 13, {}, [ints(-1, 1)], (2, 4, 3)),
    ("ReduceSum", 7, {"axes": [1], "keepdims": 0}, [], IMAGE),
    ("ReduceSum", 11, {"axes": [-1, -2]}, [], IMAGE),
    ("ReduceSum", 13, {"keepdims": 0}, [ints(2, 3)], IMAGE),
    ("ReduceSum", 13, {"noop_with_empty_axes": 1}, [], IMAGE),
    ("ReduceMean", 7, {"axes": [2, 3]}, [], IMAGE),
    ("ReduceMean", 18, {"keepdims": 0}, [ints(1)], IMAGE),
    ("ReduceMax", 12, {"axes": [3], "keepdims": 0}, [], IMAGE),
    ("ReduceMax", 20, {}, [ints(2)], IMAGE),
    ("Softmax", 7, {}, [], (2, 5)),
    ("Softmax", 11, {}, [], IMAGE),  # then over all axes from 1 on together
    ("Softmax", 12, {"axis": 2}, [], IMAGE),
    ("Softmax", 11, {"axis": -1}, [], IMAGE),
    ("Softmax", 13, {}, [], IMAGE),
    ("Softmax", 13, {"axis": 1}, [], IMAGE),
    ("LogSoftmax", 9, {}, [], (2, 4, 3)),
    ("LogSoftmax", 13, {"axis": -2}, [], IMAGE),
    ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 3.0]}, [], IMAGE),
    ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}, [], IMAGE),
    ("Upsample", 9, {"mode": "nearest"}, [F([1, 1, 2, 2])], IMAGE),
    ("Resize", 10, {"mode": "nearest"}, [F([1, 1, 2, 1.5])], IMAGE),
    ("Resize", 10, {"mode": "linear"}, [F([1, 1, 2, 0.5])], IMAGE),
    ("Resize", 11, {"mode": "nearest"}, [F([]), F([1, 1, 0.6, 1.7])], IMAGE),
    (
        "Resize",
        11,
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        [F([]), F([]), ints(2, 4, 9, 3)],
        IMAGE,
    ),
    (
        "Resize",
        13,
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        ["", "", ints(2, 4, 1, 14)],
        IMAGE,
    ),
    ("Resize", 13, {"mode": "nearest", "nearest_mode": "ceil"}, ["", F([1, 1, 1.3, 2])], IMAGE),
    ("Resize", 18, {"mode": "linear", "axes": [3, 2]}, ["", F([2, 3])], IMAGE),
    (
        "Resize",
        19,
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
        ["", F([1, 1, 1.7, 0.7])],
        IMAGE,
    ),
    ("Dropout", 7, {"ratio": 0.3}, [], IMAGE),
    ("Dropout", 12, {}, [F(0.3)], IMAGE),
    ("Dropout", 13, {}, [F(0.3), np.array(False)], IMAGE),
    (
        "BatchNormalization",
        7,
        {"epsilon": 0.01, "momentum": 0.8},
        [positive(4), normal(4), normal(4, seed=1), positive(4, 1)],
        IMAGE,
    ),
    ("BatchNormalization", 9, {}, [positive(4), normal(4), normal(4, seed=1), positive(4, 1)], (2, 4)),
    ("BatchNormalization", 15, {}, [positive(4), normal(4), normal(4, seed=1), positive(4, 1)], (2, 4, 5)),
    (
        "AveragePool",
        7,
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2], "count_include_pad": 1},
        [],
        MAP,
    ),
    ("AveragePool", 10, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, [], MAP),
    ("AveragePool", 11, {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, [], MAP),
    ("AveragePool", 19, {"kernel_shape": [2, 2], "dilations": [2, 3], "pads": [1] * 4}, [], MAP),
    ("MaxPool", 7, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 3]}, [], MAP),
    ("MaxPool", 8, {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, [], MAP),
    ("MaxPool", 10, {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "dilations": [2, 2]}, [], MAP),
    ("MaxPool", 12, {"kernel_shape": [3, 3], "auto_pad": "VALID"}, [], MAP),
    ("Conv", 7, {"auto_pad": "SAME_LOWER", "strides": [2, 3], "dilations": [1, 1]}, [normal(4, 3, 2, 4)], MAP),
    ("Conv", 11, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [normal(4, 3, 3, 3), normal(4)], MAP),
    ("Conv", 22, {"pads": [0, 1, 2, 3], "dilations": [2, 1], "group": 3}, [normal(6, 1, 3, 3)], MAP),
    (
        "ConvTranspose",
        7,
        {"strides": [2, 2], "output_padding": [1, 0], "pads": [1, 0, 0, 1]},
        [normal(3, 2, 3, 3)],
        MAP,
    ),
    ("ConvTranspose", 11, {"strides": [2, 2], "group": 3, "dilations": [1, 2]}, [normal(3, 2, 3, 3), normal(6)], MAP),
    ("Flatten", 9, {}, [], IMAGE),
    ("Gemm", 7, {"alpha": 0.5, "beta": 2.0}, [normal(4, 3), normal(3)], (2, 4)),
    ("Gemm", 9, {"transB": 1}, [normal(3, 4), normal(1, 3)], (2, 4)),
    ("Gemm", 11, {}, [normal(4, 3)], (2, 4)),
    ("PRelu", 7, {}, [positive(4).reshape(4, 1, 1)], IMAGE),
    ("PRelu", 9, {}, [positive(1)], IMAGE),
    ("Gelu", 20, {"approximate": "tanh"}, [], IMAGE),
    ("LayerNormalization", 17, {"axis": 2}, [normal(6, 7), normal(6, 7)], IMAGE),
    ("InstanceNormalization", 6, {"epsilon": 0.1}, [normal(4), normal(4)], IMAGE),
    ("GroupNormalization", 18, {"num_groups": 2}, [normal(2), normal(2)], IMAGE),
    ("GroupNormalization", 21, {"num_groups": 2}, [normal(4), normal(4)], IMAGE),
    ("DepthToSpace", 11, {"blocksize": 2, "mode": "CRD"}, [], IMAGE),
    ("LRN", 7, {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}, [], IMAGE),
    ("HardSigmoid", 7, {"alpha": 0.3, "beta": 0.4}, [], IMAGE),
    ("Selu", 7, {}, [], IMAGE),
    ("Selu", 7, {"alpha": 1.5, "gamma": 0.9}, [], IMAGE),
    ("Erf", 9, {}, [], IMAGE),
    ("Abs", 13, {}, [], IMAGE),
    ("Reciprocal", 13, {}, [], IMAGE),
    ("Pow", 7, {}, [F(2)], IMAGE),
    ("Div", 7, {}, [positive(4).reshape(4, 1, 1)], IMAGE),
    ("Sub", 7, {}, [normal(7)], IMAGE),
    ("Max", 8, {}, [F(0.3)], IMAGE),
    ("Min", 13, {}, [F(0.3)], IMAGE),
    ("Gather", 11, {"axis": 2}, [np.int64(-1)], IMAGE),
    ("Gather", 7, {"axis": 1}, [ints(2)], IMAGE),
    ("Transpose", 7, {"perm": [0, 3, 1, 2]}, [], IMAGE),
    ("Reshape", 7, {}, [ints(0, 0, -1)], IMAGE),
    ("Reshape", 14, {"allowzero": 1}, [ints(-1, 4, 42)], IMAGE),
    ("Expand", 8, {}, [ints(1, 4, 3, 5)], (2, 4, 1, 5)),
]
# What the runtime does not have, or does wrong
REFERENCE = {("GroupNormalization", 18)}


def form_model(operator, opset, attributes, inputs, shape):
    constants = {f"c{i}": array for i, array in enumerate(inputs) if not isinstance(array, str)}
    names = ["x", *(array if isinstance(array, str) else f"c{i}" for i, array in enumerate(inputs))]
    outputs = ["y", "z"] if operator == "Split" else ["y"]
    # what comes after, so that the order of axes has to be restored
    node = helper.make_node(operator, names, outputs, **attributes)
    return model_of([node], {"x": [*shape]}, ["y"], constants, max(opset, 7))


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f[0]}-{f[1]}")
def test_form(form):
    model = form_model(*form)
    x = normal(*form[4], seed=5)
    expected = (by_reference if form[:2] in REFERENCE else by_runtime)(model, x)
    assert_agrees(run(model, x), expected)
