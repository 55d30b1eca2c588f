"""ONNX graphs of fitted estimators: scaling, network, and what the estimator makes of the network's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper, version_converter

from funcnn.estimators.scaling import Scaling
from funcnn.onnx import to_onnx
from funcnn.onnx.export import OPSET

# The types of labels by the kind of the classes' dtype; of all others, strings.
_LABELS: dict[str, tuple[int, Any, str]] = {
    "i": (TensorProto.INT64, np.int64, "Int64TensorType"),
    "u": (TensorProto.INT64, np.int64, "Int64TensorType"),
    "b": (TensorProto.BOOL, np.bool_, "BooleanTensorType"),
    "f": (TensorProto.FLOAT, np.float32, "FloatTensorType"),
}
_STRINGS = (TensorProto.STRING, object, "StringTensorType")


class _Graph(NamedTuple):
    nodes: list[NodeProto]
    constants: list[TensorProto]

    def add(self, operator: str, inputs: Sequence[Any], output: str, **attributes: Any) -> str:
        """Append a node and return its output's name; arrays among the inputs become constants."""
        names = [i if isinstance(i, str) else self._constant(f"{output}.{k}", i) for k, i in enumerate(inputs)]
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def graph_of(estimator: Any, input_shape: tuple[int, ...], *, scores: bool = False) -> ModelProto:
    """Return the graph of a fitted estimator: its input "x" is float32 (N, *input_shape), raw.

    Inputs are scaled in float64, so that large numbers that differ little keep their difference.

    Parameters
    ----------
    estimator : ConvNetClassifier or ConvNetRegressor
    input_shape : tuple of int
        Of an example: that of the image, or (features,); of series (channels, time) or (time,). It does not count where
        series have any length.
    scores : bool
        Whether a classifier's second output is that of ``decision_function`` instead of the probabilities; of two
        classes (N, 2), the number and before it its negative.

    Returns
    -------
    onnx.ModelProto
        Its outputs are "label" and "probabilities" of a classifier, "y" of a regressor.
    """
    proto = to_onnx(estimator.model_, estimator.params_, estimator.state_, estimator.image_shape_)
    network = proto.graph
    graph = _Graph([], [])
    if hasattr(estimator, "masked_"):
        input_shape = _add_series(graph, estimator, input_shape)
    else:
        _add_rows(graph, estimator)
    for node in network.node:
        for names in (node.input, node.output):
            names[:] = [{"x": "input", "y": "outputs"}.get(name, name) for name in names]
    graph.nodes.extend(network.node)
    graph.constants.extend(network.initializer)
    made = _add_classes(graph, estimator, scores) if hasattr(estimator, "classes_") else _add_numbers(graph, estimator)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *input_shape])]
    whole = helper.make_model(
        helper.make_graph(graph.nodes, network.name, inputs, made, graph.constants),
        producer_name=proto.producer_name,
        producer_version=proto.producer_version,
        opset_imports=proto.opset_import,
        ir_version=proto.ir_version,
    )
    checker.check_model(whole, full_check=True)
    return whole


def _add_rows(graph: _Graph, estimator: Any) -> None:
    """Append what makes the network's "input" of rows or images "x"."""
    scaling = Scaling(estimator.offset_, estimator.scale_, *estimator.range_)
    rows = graph.add("Reshape", ["x", np.array([0, math.prod(estimator.image_shape_)])], "input/rows")
    x = graph.add("Cast", [rows], "input/double", to=TensorProto.DOUBLE)
    if np.isfinite(scaling.low).any() or np.isfinite(scaling.high).any():
        x = graph.add("Max", [x, scaling.low], "input/low")
        x = graph.add("Min", [x, scaling.high], "input/high")
    x = graph.add("Sub", [x, scaling.offset], "input/offset")
    x = graph.add("Div", [x, scaling.scale], "input/scale")
    x = graph.add("Cast", [x], "input/float", to=TensorProto.FLOAT)
    graph.add("Reshape", [x, np.array([0, *estimator.image_shape_])], "input")


def _add_series(graph: _Graph, estimator: Any, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Append what makes the network's "input" of series "x", and return the shape of one of these.

    Series of any length end with NaN where they are padded.
    """
    time, channels = estimator.image_shape_
    x = "x"
    if estimator.masked_:
        input_shape = (channels - 1, "time")
    else:
        x = graph.add("Reshape", [x, np.array([0, channels, time])], "input/series")
    x = graph.add("Transpose", [x], "input/transposed", perm=[0, 2, 1])
    raw = graph.add("Cast", [x], "input/double", to=TensorProto.DOUBLE)
    x = graph.add("Sub", [raw, estimator.offset_], "input/offset")
    x = graph.add("Div", [x, estimator.scale_], "input/scale")
    if not estimator.masked_:
        graph.add("Cast", [x], "input", to=TensorProto.FLOAT)
        return input_shape
    first = graph.add("Slice", [raw, np.array([0]), np.array([1]), np.array([2])], "input/first")
    outside = graph.add("IsNaN", [first], "input/outside")
    inside = graph.add("Not", [outside], "input/inside")
    mask = graph.add("Cast", [inside], "input/mask", to=TensorProto.FLOAT)
    x = graph.add("Where", [outside, np.float64(0), x], "input/padded")
    x = graph.add("Cast", [x], "input/float", to=TensorProto.FLOAT)
    graph.add("Concat", [mask, x], "input", axis=2)
    return input_shape


def _add_classes(graph: _Graph, estimator: Any, scores: bool) -> list[ValueInfoProto]:
    """Append the label of a classifier and its probabilities, or its scores, and return these outputs."""
    classes = estimator.classes_
    if scores:
        two = len(classes) == 2 and not estimator.multilabel_
        differences = np.array([[1, -1], [-1, 1]], np.float32) if two else np.eye(len(classes), dtype=np.float32)
        graph.add("MatMul", ["outputs", differences], "probabilities")
    elif estimator.multilabel_:
        graph.add("Sigmoid", ["outputs"], "probabilities")
    else:
        graph.add("Softmax", ["outputs"], "probabilities", axis=-1)
    if estimator.multilabel_:
        above = graph.add("Greater", ["outputs", np.float32(0)], "label/above")
        graph.add("Cast", [above], "label", to=TensorProto.INT64)
        label = helper.make_tensor_value_info("label", TensorProto.INT64, ["N", len(classes)])
    else:
        index = graph.add("ArgMax", ["outputs"], "label/index", axis=1, keepdims=0)
        kind, dtype, _ = _LABELS.get(classes.dtype.kind, _STRINGS)
        graph.add("Gather", [classes.astype(dtype), index], "label")
        label = helper.make_tensor_value_info("label", kind, ["N"])
    return [label, helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])]


def _add_numbers(graph: _Graph, estimator: Any) -> list[ValueInfoProto]:
    """Append what a regressor makes of its outputs, and return it."""
    y = graph.add("Cast", ["outputs"], "target/double", to=TensorProto.DOUBLE)
    y = graph.add("Mul", [y, estimator.target_scale_], "target/scale")
    y = graph.add("Add", [y, estimator.target_mean_], "target/mean")
    y = graph.add("Cast", [y], "target" if estimator.flat_ else "y", to=TensorProto.FLOAT)
    if estimator.flat_:
        graph.add("Squeeze", [y, np.array([1])], "y")
    shape = ["N"] if estimator.flat_ else ["N", estimator.n_outputs_]
    return [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]


# --- skl2onnx, which asks an estimator for these three functions ------------------------------------------------------


def parser_of(estimator: Any) -> Callable[..., list[tuple[str, Any]]]:
    """Return the function that tells skl2onnx the names and types of the estimator's outputs."""
    from skl2onnx.common import data_types

    def parse(scope: Any = None, inputs: Any = None) -> list[tuple[str, Any]]:
        if not hasattr(estimator, "classes_"):
            shape = [None] if estimator.flat_ else [None, estimator.n_outputs_]
            return [("variable", data_types.FloatTensorType(shape))]
        # Of a classifier in a pipeline, skl2onnx sets an option that it then refuses for those it does not know.
        if scope is not None and scope.options:
            scope.options.get(id(estimator), {}).pop("zipmap", None)
        kind, count = _LABELS.get(estimator.classes_.dtype.kind, _STRINGS)[2], len(estimator.classes_)
        label = getattr(data_types, kind)([None, count] if estimator.multilabel_ else [None])
        return [("label", label), ("probabilities", data_types.FloatTensorType([None, count]))]

    return parse


def shape_calculator_of(estimator: Any) -> Callable[[Any], None]:
    """Return the function that gives the outputs of skl2onnx's operator their types."""

    def calculate(operator: Any) -> None:
        for output, (_, kind) in zip(operator.outputs, parser_of(estimator)(), strict=True):
            output.type = kind

    return calculate


def _asks_for_scores(scope: Any, container: Any, estimator: Any) -> bool:
    """Return whether skl2onnx takes the second output for that of ``decision_function``, as for a calibration.

    It says so by an option of the estimator, or of the pipeline that ends with it.
    """
    for operator in scope.operators.values():
        asked = last = operator.raw_operator
        while hasattr(last, "steps"):
            last = last.steps[-1][1]
        if last is estimator and (container.options or {}).get(id(asked), {}).get("raw_scores"):
            return True
    return False


def converter_of(estimator: Any) -> Callable[[Any, Any, Any], None]:
    """Return the function that writes the estimator's graph into that of skl2onnx."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if not hasattr(estimator, "n_features_in_"):
            raise ValueError(
                f"skl2onnx converts pipelines of rows, and this {type(estimator).__name__} takes series of any length: "
                "its to_onnx makes the graph"
            )
        proto = graph_of(estimator, (estimator.n_features_in_,), scores=_asks_for_scores(scope, container, estimator))
        opset = container.target_opset_any_domain("")
        if opset < OPSET:
            raise ValueError(f"{type(estimator).__name__} converts to ONNX with a target_opset of {OPSET} or more")
        graph = (proto if opset == OPSET else version_converter.convert_version(proto, opset)).graph
        outer = zip(graph.output, operator.outputs, strict=True)
        names = {"x": operator.inputs[0].full_name, **{mine.name: theirs.full_name for mine, theirs in outer}}
        for constant in graph.initializer:
            names[constant.name] = scope.get_unique_variable_name(constant.name)
            constant.name = names[constant.name]
            container.initializers.append(constant)
        for node in graph.node:
            for name in node.output:
                names.setdefault(name, scope.get_unique_variable_name(name or node.op_type))
            ins, outs = ([names[name] if name else "" for name in side] for side in (node.input, node.output))
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            container.add_node(
                node.op_type,
                ins,
                outs,
                op_version=opset,
                name=scope.get_unique_operator_name(node.name or node.op_type),
                **attributes,
            )

    return convert
