"""A file is data: whatever it holds, `from_onnx` returns a layer or raises one line that names the file and the place.

Files that ask for much memory or time are refused before any is taken.
"""

import random

import numpy as np
import onnx
import pytest
from imported import model_of
from imported_networks import NETWORKS, network
from onnx import TensorProto, helper

from funcnn.onnx import from_onnx

F = np.float32
IMAGE = {"x": ["N", 3, 6, 8]}
W = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
HUGE = np.array([10**6, 10**6])


def node(operator, inputs, output="y", **attributes):
    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


def one(operator, inputs="x", constants=None, opset=17, shape=IMAGE["x"], **attributes):
    return model_of([node(operator, inputs, **attributes)], {"x": shape}, ["y"], constants, opset)


def with_weights(dims, kind=TensorProto.FLOAT, raw=b""):
    model = model_of([node("Conv", "x w")], IMAGE, ["y"])
    model.graph.initializer.append(TensorProto(name="w", dims=dims, data_type=kind, raw_data=raw))
    return model


def folded(operator, constants, **attributes):
    """A constant that is computed and added to x."""
    nodes = [node(operator, " ".join(constants), "k", **attributes), node("Add", "x k")]
    return model_of(nodes, IMAGE, ["y"], constants)


def function(depth, recursive=False):
    """Functions that call the next one twice, or the first one itself."""
    model = model_of([helper.make_node("F0", ["x"], ["y"], domain="own")], IMAGE, ["y"], domains=["own"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for i in range(depth):
        called, domain = (f"F{i + 1}", "own") if i < depth - 1 else ("F0" if recursive else "Relu", "own" * recursive)
        body = [helper.make_node(called, [a], [b], domain=domain) for a, b in (("a", "c"), ("c", "b"))]
        model.functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], body, opsets))
    return model


Q = onnx.ValueInfoProto(name="q")


def branch(operator, inputs="x"):
    return helper.make_graph([node(operator, inputs, "q")], "branch", [], [Q])


def choice(then_branch, else_branch=None, nodes=(), constants=None):
    """The sum of x and what the branch of an If computes whose condition is, by default, a constant that is false."""
    branches = {"then_branch": then_branch} | ({} if else_branch is None else {"else_branch": else_branch})
    nodes = [*nodes, node("If", "c", **branches), node("Add", "x y", "z")]
    return model_of(nodes, IMAGE, ["z"], {"c": np.array(False)} if constants is None else constants)


def changed(model, change):
    change(model)
    return model


def sparse():
    values, indices = helper.make_tensor("w", 1, [1], [1.0]), helper.make_tensor("i", 7, [1], [0])
    model = model_of([node("Conv", "x w")], IMAGE, ["y"])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, W.shape))
    return model


REFUSED = {
    # sizes
    "weights of a billion numbers": (with_weights([10**6, 10**6]), "shape .* has 0 numbers, not 1000000000000"),
    "sizes that overflow": (with_weights([2**62, 2**62, 4]), "has 0 numbers"),
    "negative size": (with_weights([-4, 3, 3, -3], raw=W.tobytes()), "has 108 numbers"),
    "short weights": (with_weights([4, 3, 3, 3], raw=W.tobytes()[:-4]), "has 107 numbers, not 108"),
    "packed weights": (with_weights([10**6, 10**6], TensorProto.INT4), "has 0 numbers"),
    "strings": (with_weights([1], TensorProto.STRING), "STRING is not of numbers"),
    "complex numbers": (with_weights([1], TensorProto.COMPLEX64, bytes(8)), "COMPLEX64 is not of numbers"),
    "unknown type": (with_weights([1], 77, bytes(8)), "is not of numbers"),
    "input": (one("Relu", shape=["N", 3, 10**6, 10**6]), "examples of .* have 3,000,000,000,000 numbers"),
    "ConstantOfShape": (folded("ConstantOfShape", {"s": HUGE}), r"node 'k' \(ConstantOfShape\): its result would have"),
    "Expand": (folded("Expand", {"a": F([1]), "s": HUGE}), "its result would have 1,000,000,000,000 numbers"),
    "Tile": (folded("Tile", {"a": F([[1]]), "s": HUGE}), "its result would have 1,000,000,000,000 numbers"),
    "Tile of nothing": (folded("Tile", {"a": F([[1]]), "s": np.array([10**12, 0])}), "its result would have"),
    "Range": (
        folded("Range", {"a": np.int64(0), "b": np.int64(10**12), "c": np.int64(1)}),
        "its result would have 1,000,000,000,000 numbers",
    ),
    "endless Range": (folded("Range", {"a": F(0), "b": F(5), "c": F(0)}), "cannot be computed"),
    "Add": (folded("Add", {"a": np.zeros((60000, 1), F), "b": np.zeros((1, 60000), F)}), "its result would have"),
    "MatMul": (folded("MatMul", {"a": np.zeros((60000, 1), F), "b": np.zeros((1, 60000), F)}), "its result would have"),
    "many constants": (
        model_of(
            [
                *(node("Expand", "a s", f"k{i}") for i in range(20)),
                node("Sum", "x " + " ".join(f"k{i}" for i in range(20))),
            ],
            IMAGE,
            ["y"],
            {"a": F([1]), "s": np.array([2**11, 2**11])},
        ),
        r"node 'k16' .* more than the 12 that are allowed",
    ),
    "Pad": (
        one("Pad", "x p", {"p": np.array([0] * 6 + [10**6] * 2)}),
        r"node .y. \(Pad\): .*1,000,014,000,048 positions",
    ),
    "Pad beyond": (one("Pad", "x p", {"p": np.array([0] * 6 + [2**62] * 2)}), r"node 'y' \(Pad\)"),
    "Resize": (one("Resize", "x r s", {"r": F([]), "s": F([1, 1, 1e6, 1e6])}), "1000000.0"),
    "infinite Resize": (one("Resize", "x r s", {"r": F([]), "s": F([1, 1, np.inf, 1])}), r"node 'y' \(Resize\)"),
    "Expand of x": (one("Expand", "x s", {"s": np.array([1, 3, 10**6, 10**6])}, shape=["N", 3, 1, 1]), "an example"),
    "pads of Conv": (one("Conv", "x w", {"w": W}, pads=[10**6] * 4), "4,000,028,000,048 positions"),
    "pads of MaxPool": (one("MaxPool", kernel_shape=[2, 2], pads=[10**8] * 4), "positions of 48"),
    "window": (one("MaxPool", kernel_shape=[10**9, 10**9]), r"node 'y' \(MaxPool\)"),
    "stride of ConvTranspose": (
        one("ConvTranspose", "x w", {"w": W.swapaxes(0, 1)}, strides=[10**6] * 2),
        r"node .y. \(ConvTranspose\): .* positions",
    ),
    "Split": (one("Split", num_outputs=10**12, opset=18, axis=1), "1000000000000 parts"),
    # structure
    "cycle": (model_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")], IMAGE, ["y"]), "'b'"),
    "its own input": (one("Relu", "y"), "does not depend on an input"),
    "missing input": (one("Add", "x q"), r"node 'y' \(Add\): nothing before it makes its input 'q'"),
    "two values of a name": (
        model_of([node("Relu", "x"), node("Exp", "x")], IMAGE, ["y"]),
        "two values are called 'y'",
    ),
    "no output": (model_of([node("Relu", "x")], IMAGE, []), "it has no graph with an output"),
    "output of nothing": (model_of([node("Relu", "x")], IMAGE, ["z"]), "'z' does not depend on an input"),
    "constant output": (model_of([], IMAGE, ["k"], {"k": F([1])}), "'k' does not depend on an input"),
    "two outputs": (model_of([node("Relu", "x"), node("Exp", "x", "z")], IMAGE, ["y", "z"]), "'y', 'z': name one"),
    "two inputs": (model_of([node("Add", "x z")], IMAGE | {"z": [1, 3]}, ["y"]), "needs these: 'x', 'z'"),
    "open sizes": (one("Relu", shape=["N", 3, "h", "w"]), r"leaves sizes open, \(\?, \?, 3\): pass in_shape"),
    "no examples": (one("Relu", shape=[]), "leaves sizes open"),
    "choice by the input": (
        choice(branch("Relu"), branch("Exp"), [node("Relu", "x", "c")], {}),
        r"node 'y' \(If\): which of its branches is taken depends on the input",
    ),
    "choice by the number of examples": (
        choice(
            branch("Relu"),
            branch("Exp"),
            [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Equal", "n two", "c")],
            {"zero": np.array(0), "two": np.array(2)},
        ),
        "its condition must not change with the number of examples",
    ),
    "choice by a number": (choice(branch("Relu"), branch("Exp"), constants={"c": F(1)}), "must be one truth value"),
    "one branch": (choice(branch("Relu")), r"node 'y' \(If\): it has no else_branch"),
    "branch without its output": (choice(branch("Relu"), helper.make_graph([], "g", [], [Q])), "output 'q'"),
    "branch of a missing value": (choice(branch("Relu"), branch("Add", "x z")), "makes its input 'z'"),
    "branch of an unknown operator": (
        choice(branch("Relu"), branch("Det")),
        r"\(Det\): the operator is not known here",
    ),
    "name in a branch that is no text": (
        choice(branch("Relu"), branch("Exp")).SerializeToString().replace(b"Exp", b"R\xff-"),
        r"the name b'R\\xff-' is not text",
    ),
    "loop": (
        model_of(
            [node("Loop", " c", body=branch("Relu")), node("Add", "x y", "z")], IMAGE, ["z"], {"c": np.array(True)}
        ),
        r"node 'y' \(Loop\)",
    ),
    "function that calls itself": (function(1, recursive=True), "calls itself"),
    "functions without end": (function(40), "would become 1,099,511,627,776 nodes, more than 100,000"),
    "sparse weights": (sparse(), "initializer 'w' is sparse"),
    "another domain": (
        model_of([helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft")], IMAGE, ["y"], {"w": W}),
        r"node 'y' \(FusedConv\): operators of the domain 'com.microsoft'",
    ),
    "unknown operator": (
        one("Cos"),
        r"node 'y' \(Cos\): the operator is not known here; stop before it by output=NAME",
    ),
    "unknown operator behind what mixes examples": (
        model_of(
            [
                node("Conv", "x w", "map"),
                node("ReduceMean", "map", "rows", axes=[2], keepdims=0),
                node("Transpose", "rows", "steps", perm=[2, 0, 1]),
                node("LSTM", "steps lw lr", "y", hidden_size=2),
            ],
            IMAGE,
            ["y"],
            {"w": W, "lw": np.ones((1, 8, 4), F), "lr": np.ones((1, 8, 2), F)},
        ),
        r"node 'y' \(LSTM\): the operator is not known here; stop before it by output=NAME.*, such as 'rows'",
    ),
    "no operator": (one("Foo\n\x1b[31m"), r"node 'y' \('Foo\\n\\x1b\[31m'\): opset 17 has no such operator"),
    "old": (one("Relu", opset=6), "operators of opset 6, where 7 to 24 can be read"),
    "new": (one("Relu", opset=25), "operators of opset 25"),
    # attributes and arguments
    "kernel": (one("Conv", "x w", {"w": W}, kernel_shape=[5, 5]), r"kernel \[5, 5\].* do not fit the weights \(3, 3\)"),
    "groups": (one("Conv", "x w", {"w": W}, group=0), "0 groups"),
    "strides": (one("Conv", "x w", {"w": W}, strides=[0, 0], auto_pad="SAME_LOWER"), "must be at least 1"),
    "auto_pad": (one("Conv", "x w", {"w": W}, auto_pad="FOO"), "auto_pad 'FOO' is not known"),
    "attribute of another type": (one("Conv", "x w", {"w": W}, group=0.5), "its attribute group is not of type INT"),
    "attribute of another operator": (one("Relu", alpha=0.5), "opset 17 gives it no attribute 'alpha'"),
    "no attribute": (one("MaxPool"), "it has no attribute 'kernel_shape'"),
    "no weights": (one("Conv"), "it does not take the inputs 'x'"),
    "weights that are computed": (one("Conv", "x x"), "its weights must be constant here"),
    "axis": (one("Softmax", axis=7), "axis 7 is out of range for 4 axes"),
    "examples": (one("Softmax", axis=0), "it works along axis 0, the examples"),
    "axes": (one("Unsqueeze", "x a", {"a": np.array([2, 2])}), "name one twice"),
    "constants that differ between examples": (
        one("Max", "x c", {"c": W[:2, :, :1, :1]}, shape=[2, 3, 6, 8]),
        r"its constant \(2, 3, 1, 1\) does not fit: it differs between examples",
    ),
    "constants of other sizes": (
        one("Min", "x c", {"c": F([1, 2, 3])}),
        r"its constant \(1, 1, 3\) does not broadcast to examples of shape \(3, 6, 8\)",
    ),
    "constants of too few axes": (one("Concat", "x c", {"c": W[0]}, axis=1), "does not have the axes of examples"),
    "stacks of matrices": (one("MatMul", "x c", {"c": W[:, :, :1].repeat(4, 2)}), r"node 'y' \(MatMul\)"),
    "many exponents": (
        one("Pow", "x c", {"c": np.arange(2**17, dtype=F).reshape(2**17, 1, 1)}, shape=["N", 1, 1, 1]),
        "its exponent has 131,072 numbers, more than 65,536",
    ),
    "negative base": (one("Pow", "c x", {"c": F(-2)}), "its base must be positive"),
    "many indices": (
        one("Gather", "x c", {"c": np.random.default_rng(0).integers(0, 8, 300)}, axis=3),
        "its 300 indices have .* parts at equal distances, over 64",
    ),
    "indices out of range": (one("Gather", "x c", {"c": np.array([2, 9])}, axis=3), r"\[2, 9\] are not all of 8 pos"),
    "no step": (
        one("Slice", "x a b c d", {"a": HUGE[:1], "b": HUGE[:1], "c": F([1]).astype(int), "d": np.array([0])}),
        "zero",
    ),
    "region": (
        one(
            "Resize",
            "x r s",
            {"r": F([0, 0, np.nan, 0, 1, 1, 1, 1]), "s": F([1, 1, 2, 2])},
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "roi must be .* got .*nan",
    ),
    "region of too few axes": (
        one(
            "Resize",
            "x r s",
            {"r": F([0, 1]), "s": F([1, 1, 2, 2])},
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        r"its roi \(2,\) does not have a start and an end for each of 4 axes",
    ),
    "region of the examples": (
        one(
            "Resize",
            "x r s",
            {"r": F([0.5, 0, 0, 0, 1, 1, 1, 1]), "s": F([1, 1, 2, 2])},
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "one axis must stay as it is",
    ),
    "unequal lists": (one("Slice", "x a b", {"a": np.array([0]), "b": np.array([1, 2])}), "are not equally many"),
    "fractions": (one("Slice", "x a b", {"a": F([0]), "b": F([1])}), "must be integers"),
    "permutation": (one("Transpose", perm=[0, 1, 1, 2]), "must leave the examples, axis 0, in front"),
    "mixed examples": (one("Reshape", "x s", {"s": np.array([-1, 72])}), "would be mixed .*: export the network with"),
    "block": (one("DepthToSpace", blocksize=0), "block must be at least 1"),
    "rate": (one("Dropout", "x r", {"r": F(7)}), r"must be in \[0, 1\)"),
    "division by zero": (one("Div", "x k", {"k": F(0)}), "it divides by a constant that is 0"),
    "quantised values": (one("QuantizeLinear", "x s", {"s": F(1)}), "export the network before it is quantised"),
    "quantised arithmetic": (
        one("ConvInteger", "x w", {"w": W.astype(np.int8)}),
        "export the network before it is quantised",
    ),
    "mask": (
        model_of([node("Dropout", "x", "y m"), node("Cast", "m", "z", to=1)], IMAGE, ["z"]),
        "its output 'm' is not known",
    ),
    "indices": (
        model_of([node("MaxPool", "x", "y i", kernel_shape=[2, 2]), node("Cast", "i", "z", to=1)], IMAGE, ["z"]),
        "its output 'i' is not known",
    ),
    "integers": (one("Cast", to=6), "values become integers"),
    # before opset 14 nothing but the further outputs says that the statistics are the batch's
    "training mode": (
        model_of(
            [node("BatchNormalization", "x c c c c", "y mean var saved_mean saved_var")],
            IMAGE,
            ["y"],
            {"c": np.ones(3, np.float32)},
            opset=11,
        ),
        "the batch's own statistics, as in training: export the network in evaluation mode",
    ),
    "name that is no text": (
        one("Relu").SerializeToString().replace(b"Relu", b"R\xfflu"),
        r"the name b'R\\xfflu' is not text",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_line(case):
    file, message = case
    with pytest.raises(ValueError, match=message) as caught:
        from_onnx(file)
    line = str(caught.value)
    assert line.startswith("from_onnx: ") and "\n" not in line
    assert ("; stop before it by output=NAME" in line) == ("from_onnx: node " in line)  # what can be done about it


def test_what_is_unusual_but_right():
    for model in (
        model_of([node("Relu", "a"), node("Exp", "x", "a")], IMAGE, ["y"]),  # in another order
        model_of([], IMAGE, ["x"]),
        function(3),
        one("Reshape", "x s", {"s": np.array([1, 144])}, shape=[1, 3, 6, 8]),  # written for one example
        one("Relu", shape=["N", 2, 2, 2, 2, 2, 2]),
        one("Relu", constants={"names": np.array(["cat", "dog"])}),  # of classes, which nothing needs
    ):
        layer = from_onnx(model)
        rank = len(model.graph.input[0].type.tensor_type.shape.dim)
        shape = (6, 8, 3) if rank == 4 else (2,) * (rank - 1)
        params, state, out_shape = layer.init((0,), shape)
        y, _, _ = layer.forward(params, np.ones((3, *shape), F), state, train=False)
        assert y.shape == (3, *out_shape)


@pytest.mark.parametrize("in_shape", [(5, 5, 3), (6, 8), "abc", (-6, 8, 3), (6.5, 8, 3), (6.0, 8, 3), 6], ids=str)
def test_an_in_shape_that_does_not_fit(in_shape):
    with pytest.raises(ValueError, match="in_shape"):
        from_onnx(one("Relu"), in_shape=in_shape)


def test_an_output_that_is_not_there():
    with pytest.raises(ValueError, match="no value or node is called 'z'; its outputs are 'y'"):
        from_onnx(one("Relu"), output="z")
    with pytest.raises(ValueError, match="'x' is given, not made by a node; its outputs are 'y'"):
        from_onnx(one("Relu"), output="x")
    with pytest.raises(ValueError, match="no value or node is called ''; its outputs are 'y'"):  # as nameless nodes are
        from_onnx(one("Relu"), output="")
    with pytest.raises(ValueError, match="has no layer with weights, so that nothing is its 'features'"):
        from_onnx(one("Relu"), output="features")


def test_an_output_that_is_the_name_of_two_nodes_is_ambiguous():
    model = model_of([node("Relu", "x", "a", name="act"), node("Tanh", "a", "y", name="act")], IMAGE, ["y"])
    with pytest.raises(ValueError, match="2 nodes are called 'act': name one of their values, 'a', 'y'"):
        from_onnx(model, output="act")
    assert repr(from_onnx(model, output="a")) == "serial(relu())"


def mutated(content, rng):
    """Change, remove or insert a few bytes; most are among the nodes, which come before the weights."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        at = rng.randrange(min(len(content), 3500) if rng.random() < 0.7 else len(content))
        kind = rng.randrange(4)
        if kind == 0:
            content[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind == 1:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[at : at + rng.randrange(1, 8)]
        else:
            content[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(content)


@pytest.mark.filterwarnings("ignore:from_onnx")
def test_damaged_files_are_layers_or_one_line():
    rng = random.Random(0)
    files = [network(build).SerializeToString() for build in NETWORKS]
    refused = 0
    for _ in range(300):
        try:
            from_onnx(mutated(rng.choice(files), rng))
        except ValueError as error:
            refused += 1
            assert str(error).startswith("from_onnx: ") and "\n" not in str(error)
    assert 100 < refused < 300


def test_a_truncated_file(tmp_path):
    content = network(NETWORKS[0]).SerializeToString()
    path = tmp_path / "short.onnx"
    for end in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError) as caught:
            from_onnx(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
