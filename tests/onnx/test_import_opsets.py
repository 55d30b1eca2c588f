"""The forms that operators have had from opset 7 to 24, and the types and places of weights, through `from_onnx`.

The expected numbers are those of ONNX's reference implementation or of its runtime.
"""

import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
from imported import assert_agrees, channels_last, model_of, run
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from funcnn.onnx import from_onnx, to_onnx
from funcnn.onnx.importer import import_network

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
    ("Pad", 13, {"mode": "reflect"}, [ints(0, 1, 2, 3, 0, 0, 1, 2)], IMAGE),
    ("Pad", 13, {}, [ints(0, 1, 0, 2)], (2, 5)),
    ("Slice", 7, {"starts": [1, -3], "ends": [4, 9], "axes": [2, 3]}, [], IMAGE),
    ("Slice", 9, {"starts": [0, 1], "ends": [2**63 - 1, 3]}, [], IMAGE),
    ("Slice", 10, {}, [ints(1), ints(-1), ints(-1), ints(2)], IMAGE),
    ("Slice", 13, {}, [ints(0), ints(2**31 - 1), ints(0)], IMAGE),
    ("Slice", 10, {}, [ints(-1), ints(-(2**63)), ints(1), ints(-1)], IMAGE),
    ("Slice", 13, {}, [ints(9, 5), ints(0, 1), ints(2, -1), ints(-2, -3)], IMAGE),
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
    *(
        ("Resize", opset, {"coordinate_transformation_mode": "tf_crop_and_resize", **more}, inputs, IMAGE)
        for opset, inputs in (
            (11, [F([0, 0, 0.13, -0.21, 1, 1, 0.77, 1.13]), F([]), ints(2, 4, 5, 9)]),
            (13, [F([0, 0, 0.81, 0.37, 1, 1, 0.14, 0.62]), F([1, 1, 2, 0.5])]),
        )
        for more in (
            {"mode": "linear", "extrapolation_value": 5.0},
            *({"mode": "nearest", "nearest_mode": r} for r in ("floor", "ceil", "round_prefer_ceil")),
        )
    ),
    (
        "Resize",
        18,
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "axes": [3, 2]},
        [F([0.1, 0.2, 0.7, 0.8]), "", ints(5, 9)],
        IMAGE,
    ),
    ("Resize", 13, {"mode": "linear"}, ["", F([1, 2, 3, 1])], IMAGE),  # channels last, as the file has them
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
    ("MatMul", 13, {}, [normal(1, 7, 2)], (2, 3, 7)),
    ("MatMul", 13, {}, [normal(1, 1, 7, 2)], IMAGE),
    ("MatMul", 9, {}, [normal(4, 7, 2)], IMAGE),
    ("MatMul", 13, {}, [normal(1, 4, 7, 2)], IMAGE),
    ("MatMul", 13, {}, [normal(7)], IMAGE),
    ("MatMul", 13, {}, [normal(5)], (2, 5)),
    ("Max", 8, {}, [F(0.3)], IMAGE),
    ("Min", 13, {}, [F(0.3)], IMAGE),
    ("Max", 8, {}, [normal(7), F(-0.5), normal(4, 1, 1)], IMAGE),
    ("Min", 12, {}, [normal(1, 4, 6, 7)], IMAGE),
    ("Max", 13, {}, [normal(4, 6, 1)], (2, 4, 1, 5)),
    ("Pow", 7, {}, [F(3)], IMAGE),
    ("Pow", 12, {}, [ints(1, 2, 3, 0, 1, 2, 3)], IMAGE),
    ("Pow", 15, {}, [F([2, 2, 2, 2]).reshape(4, 1, 1)], IMAGE),
    ("Add", 14, {}, [normal(4, 6, 1)], (2, 4, 1, 5)),
    ("PRelu", 7, {}, [normal(4, 6, 7)], IMAGE),
    ("PRelu", 9, {}, [normal(6, 1)], IMAGE),
    ("PRelu", 16, {}, [normal(1)], IMAGE),
    ("PRelu", 16, {}, ["x"], IMAGE),
    ("HardSigmoid", 22, {"alpha": -0.4, "beta": 0.3}, [], IMAGE),
    ("LRN", 13, {"size": 3, "alpha": 0.5}, [], IMAGE),
    ("Gather", 11, {"axis": 2}, [np.int64(-1)], IMAGE),
    ("Gather", 7, {"axis": 1}, [ints(2)], IMAGE),
    ("Gather", 13, {"axis": 1}, [ints(3, 2, 1, 0)], IMAGE),
    ("Gather", 13, {"axis": -1}, [np.array([[0, 2, 4], [1, 1, -1]])], IMAGE),
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


# Operator, constants before and after x, shape of x: what is joined may be on either side
EITHER_SIDE = [
    ("Sub", [normal(4, 1, 1)], [], IMAGE),
    ("Div", [normal(4, 6, 1)], [], (2, 4, 1, 5)),
    ("Pow", [positive(7)], [], IMAGE),
    ("Pow", [F(2)], [], IMAGE),
    ("MatMul", [normal(3, 6)], [], IMAGE),
    ("MatMul", [normal(4, 3, 6)], [], IMAGE),
    ("MatMul", [normal(6)], [], IMAGE),
    ("Min", [normal(7)], [normal(4, 1, 1)], IMAGE),
    ("Sum", [normal(7)], [normal(4, 1, 1)], IMAGE),
    ("Concat", [np.repeat(normal(1, 2, 6, 7), 2, axis=0)], [np.repeat(normal(1, 1, 6, 7), 2, axis=0)], IMAGE),
]


@pytest.mark.parametrize("case", EITHER_SIDE, ids=lambda case: case[0])
def test_constants_on_either_side(case):
    operator, before, after, shape = case
    constants = {f"c{i}": array for i, array in enumerate([*before, *after])}
    names = [*constants]
    node = helper.make_node(operator, [*names[: len(before)], "x", *names[len(before) :]], ["y"])
    if operator == "Concat":
        node.attribute.append(helper.make_attribute("axis", 1))
    model = model_of([node], {"x": [*shape]}, ["y"], constants, 13)
    x = normal(*shape, seed=5)
    expected = by_runtime(model, x)
    assert_agrees(run(model, x), expected)
    network = import_network(model)
    params, state, _ = network.layer.init((0,), network.in_shape)
    for again in (from_onnx(to_onnx(network.layer, params, state, network.in_shape)), copied(network.layer)):
        params, state, _ = again.init((0,), network.in_shape)
        y = again.forward(params, channels_last(x), state, train=False)[0]
        assert_agrees(y, expected)


def copied(layer):
    return pickle.loads(pickle.dumps(layer))


def test_a_constant_that_is_repeated_for_each_example_is_joined():
    """As the class token of a vision transformer, of as many examples as x has."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "sizes"], ["shape"], axis=0),
        helper.make_node("Expand", ["token", "shape"], ["tokens"]),
        helper.make_node("Concat", ["tokens", "x"], ["y"], axis=1),
    ]
    constants = {"token": normal(1, 1, 6), "sizes": ints(1, 6)}
    model = model_of(nodes, {"x": ["N", 5, 6]}, ["y"], constants)
    for n in (1, 3):
        x = normal(n, 5, 6, seed=5)
        assert_agrees(run(model, x), by_runtime(model, x))


# --- types and places of weights --------------------------------------------------------------------------------------


W = normal(4, 3, 3, 3)
X = normal(2, 3, 5, 6, seed=1)


def conv_of(nodes, constants, opset=17, **options):
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    return model_of([*nodes, conv], {"x": ["N", 3, 5, 6]}, ["y"], constants, opset, **options)


def expected_of(weights):
    return by_reference(conv_of([], {"w": weights}), X)


def test_weights_of_other_floats_become_float32():
    half = W.astype(np.float16)
    for nodes, constants, weights in [
        ([], {"w": half}, half),
        ([], {"w": W.astype(np.float64)}, W),
        ([helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT)], {"h": half}, half),
    ]:
        model = conv_of(nodes, constants)
        params = from_onnx(model).init((0,), (5, 6, 3))[0]
        assert {leaf.dtype for leaf in params["0_conv2d"].values()} == {np.dtype(np.float32)}
        assert_agrees(run(model, X), expected_of(weights.astype(np.float32)))


def test_bfloat16_weights_become_float32():
    model = conv_of([], {})
    rounded = (W.view(np.uint32) & 0xFFFF0000).view(np.float32)
    raw = (rounded.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=W.shape, raw_data=raw))
    assert_agrees(run(model, X), expected_of(rounded))


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_weights_are_dequantised(per_channel):
    scale = positive(4) * F(0.01) if per_channel else F(0.02)
    zero = np.zeros(4, np.int8) if per_channel else np.int8(3)
    shape = (4, 1, 1, 1) if per_channel else ()
    quantised = np.clip(np.round(W / scale.reshape(shape)) + zero.reshape(shape), -128, 127).astype(np.int8)
    axis = {"axis": 0} if per_channel else {}
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], **axis)
    model = conv_of([node], {"q": quantised, "s": scale, "z": zero})
    assert_agrees(run(model, X), expected_of((quantised.astype(F) - zero.reshape(shape)) * scale.reshape(shape)))


@pytest.mark.parametrize("node", ["Constant", "Identity", "Transpose", "ConstantOfShape", "ListedAsInput"])
def test_weights_that_nodes_make_are_parameters(node):
    nodes = {
        "Constant": [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W))],
        "Identity": [helper.make_node("Identity", ["v"], ["w"])],
        "Transpose": [helper.make_node("Transpose", ["t"], ["w"], perm=[1, 0, 2, 3])],
        "ConstantOfShape": [
            helper.make_node("ConstantOfShape", ["s"], ["w"], value=numpy_helper.from_array(np.full(1, 0.5, F)))
        ],
        "ListedAsInput": [],
    }[node]
    constants = {"v": W, "t": W.transpose(1, 0, 2, 3), "s": ints(*W.shape)}
    model = conv_of(nodes, constants if nodes else {"w": W})
    if not nodes:
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, W.shape))
    weights = np.full_like(W, 0.5) if node == "ConstantOfShape" else W
    assert np.array_equal(from_onnx(model).init((0,), (5, 6, 3))[0]["0_conv2d"]["w"], weights.transpose(2, 3, 1, 0))
    assert_agrees(run(model, X), expected_of(weights))


def test_normalised_weights_are_computed():
    """Weights as a direction and a length (weight normalisation), as PyTorch exports them."""
    nodes = [
        helper.make_node("ReduceL2", ["v"], ["length"], axes=[1, 2, 3]),
        helper.make_node("Div", ["v", "length"], ["direction"]),
        helper.make_node("Mul", ["direction", "g"], ["w"]),
    ]
    model = conv_of(nodes, {"v": W, "g": positive(4).reshape(4, 1, 1, 1)})
    assert [layer.name for layer in from_onnx(model).children] == ["conv2d"]
    assert_agrees(run(model, X), by_reference(model, X))


def test_shared_weights_are_copied_and_it_says_so():
    square = normal(3, 3, 3, 3)
    nodes = [helper.make_node("Conv", [x, "w"], [y], pads=[1] * 4) for x, y in (("x", "a"), ("a", "y"))]
    model = model_of(nodes, {"x": ["N", 3, 5, 6]}, ["y"], {"w": square})
    with pytest.warns(UserWarning, match="node 'a' .* and node 'y' .* share the weights 'w': each gets a copy"):
        y = run(model, X)
    assert_agrees(y, by_reference(model, X))


def external(tmp_path, location="weights.bin", **entries):
    """Write a file whose weights are in another one, at a location and place that may be wrong."""
    model = conv_of([], {})
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=W.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": 0, "length": W.nbytes, **entries}.items():
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
    model.graph.initializer.append(tensor)
    (tmp_path / "net").mkdir(exist_ok=True)
    (tmp_path / "net" / "weights.bin").write_bytes(W.tobytes())
    (tmp_path / "outside.bin").write_bytes(W.tobytes())
    path = tmp_path / "net" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_are_read(tmp_path):
    assert_agrees(run(external(tmp_path), X), expected_of(W))


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../outside.bin"},
        {"location": "missing.bin"},
        {"location": ""},
        {"offset": 8},
        {"length": W.nbytes - 4},
        {"length": 10**15},
        {"offset": -1},
        {"offset": "much"},
        {"length": -5},
    ],
    ids=str,
)
def test_external_weights_that_cannot_be_read_are_one_line(tmp_path, entries):
    path = external(tmp_path, **entries)
    with pytest.raises((ValueError, OSError)) as caught:
        from_onnx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_external_weights_need_a_path(tmp_path):
    with pytest.raises(ValueError, match=r"tensor 'w' .* is in another file: read the model from its path"):
        from_onnx(external(tmp_path).read_bytes())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match=r"cannot read .*none\.onnx: No such file"):
        from_onnx(tmp_path / "none.onnx")
