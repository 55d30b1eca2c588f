"""Constants of an ONNX graph: what can be computed without its input is computed when it is imported.

Shapes depend on the number of examples, which a file leaves open. So a constant is computed for 2 and for 3 examples:
where the two differ, it depends on the batch. The condition of an If is often such a constant, as PyTorch's
``squeeze`` has it; then the nodes of one branch stand for the If.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from funcnn.tree import Array

BATCHES = 2, 3
# Operators that are evaluated on constants. The shape of most results is that of an argument or of arguments together.
_FOLDED = {
    *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos", "CumSum", "DequantizeLinear"),
    *("Div", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity"),
    *("Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow"),
    *("QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Sin"),
    *("Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose"),
    *("Trilu", "Unsqueeze", "Where"),
}  # fmt: skip
# Those of them whose result has at most as many numbers as their first argument; others' arguments broadcast
_NO_LARGER = {
    *("Cast", "CumSum", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "ReduceL1", "ReduceL2"),
    *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Reshape", "Slice"),
    *("Squeeze", "Transpose", "Trilu", "Unsqueeze"),
}  # fmt: skip
# The folded constants of a file have at most so many numbers, and this many times those that the file holds: a file
# of a few bytes can ask for any number.
_ROOM, _ROOM_PER_NUMBER = 2**26, 4


class Known(NamedTuple):
    """A constant, as it is for 2 and for 3 examples."""

    for_two: Array
    for_three: Array

    def array(self, what: str) -> Array:
        """Return the constant; raise a ValueError if it depends on the number of examples."""
        if self.for_two is not self.for_three and not np.array_equal(self.for_two, self.for_three):
            raise ValueError(f"{what} must not change with the number of examples")
        return self.for_two


def known(array: Any) -> Known:
    """Return a constant that does not depend on the number of examples."""
    array = np.asarray(array)
    return Known(array, array)


def room(held: int) -> int:
    """Return how many numbers the folded constants of a file may have that holds so many."""
    return _ROOM + _ROOM_PER_NUMBER * held


def fold(
    node: NodeProto, options: Mapping[str, Any], inputs: Sequence[Known | None], opset: int, left: int
) -> list[Known]:
    """Return the outputs of a node whose inputs are all constants; they may have ``left`` numbers.

    Raises a ValueError if the operator is not evaluated on constants, or its result would be too large.
    """
    if node.op_type == "Constant":
        return [known(_constant(options))]
    if node.op_type not in _FOLDED:
        raise ValueError("it is not computed on constants; write its result into the file, e.g. by onnxsim")
    given = [i for i in inputs if i is not None]
    run = _evaluator(node, opset)
    results = [_evaluated(run, node, options, [i.for_two for i in given], left)]
    if all(i.for_two is i.for_three for i in given):
        return list(map(known, results[0]))
    results.append(_evaluated(run, node, options, [i.for_three for i in given], left))
    return [Known(*pair) for pair in zip(*results, strict=True)]


def taken_branch(node: NodeProto, condition: Known | None) -> GraphProto:
    """Return the branch of an If that its condition, which is constant, takes.

    Raises a ValueError if the condition is not one truth value for any number of examples, or there is no such branch.
    """
    truth = None if condition is None else condition.array("its condition")
    if truth is None or truth.dtype != bool or truth.size != 1:
        raise ValueError("its condition must be one truth value")
    name = "then_branch" if truth.item() else "else_branch"
    graphs = [a.g for a in node.attribute if a.name == name and a.type == a.GRAPH]
    if len(graphs) != 1 or len(graphs[0].output) != len(node.output) or graphs[0].input:
        raise ValueError(f"it has no {name} without inputs and with {len(node.output)} outputs")
    return graphs[0]


def _evaluator(node: NodeProto, opset: int) -> ReferenceEvaluator:
    anything = helper.make_tensor_type_proto(TensorProto.UNDEFINED, None)
    inputs, outputs = (
        [helper.make_value_info(name, anything) for name in dict.fromkeys(names) if name]
        for names in (node.input, node.output)
    )
    graph = helper.make_graph([node], "folded", inputs, outputs)
    if node.op_type == "DequantizeLinear":  # means the same in opsets 10 to 18, of which the evaluator does not have it
        opset = max(opset, 19)
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def _evaluated(
    run: ReferenceEvaluator, node: NodeProto, options: Mapping[str, Any], arrays: Sequence[Array], left: int
) -> list[Array]:
    size = _size(node.op_type, options, arrays)
    if size > left:
        raise ValueError(f"its result would have {size:,} numbers, more than the {left:,} that are allowed")
    names = [name for name in node.input if name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return [np.asarray(y) for y in run.run(None, dict(zip(names, arrays, strict=True)))]
        except Exception as error:  # the evaluator raises errors of any class for a wrong argument
            raise ValueError(f"it cannot be computed: {error}") from None


def _constant(options: Mapping[str, Any]) -> Array:
    for kind, dtype in (("float", np.float32), ("int", np.int64)):
        for name in (f"value_{kind}", f"value_{kind}s"):
            if name in options:
                return np.array(options[name], dtype)
    if not isinstance(options.get("value"), np.ndarray):
        raise ValueError("it holds no tensor of numbers")
    return np.asarray(options["value"])


def _size(operator: str, options: Mapping[str, Any], arrays: Sequence[Array]) -> int:
    """Return how many numbers the result has."""
    try:
        if operator == "ConstantOfShape":
            return math.prod(max(int(s), 1) for s in arrays[0])
        if operator in ("Expand", "Tile"):
            return arrays[0].size * math.prod(max(int(s), 1) for s in arrays[-1])
        if operator == "Range":
            start, limit, delta = (float(a) for a in arrays)
            return math.ceil((limit - start) / delta)
        if operator == "Gather":
            return arrays[0].size // max(arrays[0].shape[options["axis"]], 1) * arrays[1].size
        if operator == "MatMul":
            return arrays[0].size // max(arrays[0].shape[-1], 1) * arrays[1].shape[-1]
        if operator in ("Concat", "Split"):
            return sum(a.size for a in arrays)
        if operator in _NO_LARGER:
            return arrays[0].size
        return math.prod(np.broadcast_shapes(*(a.shape for a in arrays)))
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"it cannot be computed: {error}") from None
