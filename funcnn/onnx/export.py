"""Models as ONNX graphs: what other runtimes read.

A model's layers are walked as its forward pass walks them, in evaluation mode, and each is written as the operators of
opset 17 that compute the same. funcnn's channels come last and ONNX' convolutions have them second: a value is
transposed where the next operator wants the other order and nowhere else, so a convolutional network is transposed once
at its beginning and once before it is flattened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

import funcnn
from funcnn import ops
from funcnn.kernels.geometry import Geometry, geometry, per_axis, transposed_geometry
from funcnn.layer import Layer, add_location
from funcnn.tree import Array, Tree

__all__ = ["to_onnx"]

OPSET, IR_VERSION = 17, 8


def to_onnx(
    model: Layer,
    params: Tree,
    state: Tree,
    in_shape: tuple[int, ...],
    *,
    offset: Any = None,
    scale: Any = None,
    probabilities: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """Write a model in evaluation mode as an ONNX graph.

    Parameters
    ----------
    model : Layer
    params, state : tree
    in_shape : tuple of int
        Of an example. The graph's input "x" is float32 (N, *in_shape), channels last as everywhere in funcnn (int64 for
        an embedding), its output "y" float32 (N, ...), for any N.
    offset, scale : float or array, optional
        The graph begins with (x - offset) / scale.
    probabilities : bool
        The graph ends with a softmax over the last axis, or with a sigmoid if that has a single entry.
    metadata : dict of str, optional
        Kept in the model's metadata.

    Returns
    -------
    onnx.ModelProto
        Of opset 17, checked by ONNX' own checker. Nodes are named by the paths of the layers.

    Raises
    ------
    ValueError
        With the path of the layer, if one is not of `funcnn.layers` or has an option that opset 17 does not have.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> model = seed_convnet()
    >>> params, state, _ = model.init((0,), (8, 8, 1))
    >>> graph = to_onnx(model, params, state, (8, 8, 1)).graph
    >>> [node.op_type for node in graph.node]
    ['Transpose', 'Conv', 'Relu', 'Transpose', 'Flatten', 'MatMul', 'Add', 'Relu', 'MatMul', 'Add']
    """
    graph = _Graph([], [], {})
    of_ids = _first(model).name == "embedding"
    x = _Value("x", ("N", *in_shape), False)
    y = x
    for operator, number in (("Sub", offset), ("Div", scale)):
        if number is not None:
            y = graph.add("scaling", operator, [y, np.asarray(number, np.float32)], y.shape)
    y = graph.channels_last("output", _layer(graph, "", model, params, state, y))
    if probabilities and y.shape[-1] == 1:
        y = graph.add("probabilities", "Sigmoid", [y], y.shape)
    elif probabilities:
        y = graph.add("probabilities", "Softmax", [y], y.shape, axis=-1)
    graph.call_output(y.name)
    kind = TensorProto.INT64 if of_ids else TensorProto.FLOAT
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            model.name,
            [helper.make_tensor_value_info("x", kind, ["N", *in_shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(y.shape))],
            graph.constants,
        ),
        producer_name="funcnn",
        producer_version=funcnn.__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(proto, dict(metadata or {}))
    checker.check_model(proto, full_check=True)
    return proto


class _Value(NamedTuple):
    """A value of the graph: its name, its shape in funcnn's order, and whether it has channels second."""

    name: str
    shape: tuple[Any, ...]
    first: bool

    @property
    def rank(self) -> int:
        return len(self.shape) - 2


class _Graph(NamedTuple):
    """The nodes and constants written so far, and how often each path has named a node."""

    nodes: list[Any]
    constants: list[Any]
    named: dict[str, int]

    def add(
        self,
        path: str,
        operator: str,
        inputs: Sequence[Any],
        shape: Sequence[Any],
        *,
        first: bool = False,
        **attributes: Any,
    ) -> _Value:
        """Append a node and return its output; arrays among the inputs become constants."""
        self.named[path] = self.named.get(path, 0) + 1
        name = path if self.named[path] == 1 else f"{path}#{self.named[path]}"
        names = [i.name if isinstance(i, _Value) else self.constant(f"{name}.{k}", i) for k, i in enumerate(inputs)]
        self.nodes.append(helper.make_node(operator, names, [f"{name}:{operator}"], name=name, **attributes))
        return _Value(f"{name}:{operator}", tuple(shape), first)

    def constant(self, name: str, array: Any) -> str:
        array = np.ascontiguousarray(array)
        self.constants.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
        return name

    def channels_first(self, path: str, x: _Value) -> _Value:
        if x.first:
            return x
        order = [0, x.rank + 1, *range(1, x.rank + 1)]
        return self.add(path, "Transpose", [x], x.shape, first=True, perm=order)

    def channels_last(self, path: str, x: _Value) -> _Value:
        return self.add(path, "Transpose", [x], x.shape, perm=[0, *range(2, x.rank + 2), 1]) if x.first else x

    def call_output(self, name: str) -> None:
        """Call the value of this name "y", wherever it is made and used."""
        if name == "x":
            self.nodes.append(helper.make_node("Identity", ["x"], ["y"]))
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, old in enumerate(names):
                    names[i] = "y" if old == name and name != "x" else old


def _first(layer: Layer) -> Layer:
    return _first(layer.children[0]) if layer.children else layer


def _layer(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    if layer.children:
        names = [f"{i}_{child.name}" for i, child in enumerate(layer.children)]
        joined = layer.options.get("join")
        outputs, y = [], x
        try:
            for name, child in zip(names, layer.children, strict=True):
                inside = f"{path} / {name}" if path else name
                y = _layer(graph, inside, child, params[name], state[name], x if joined else y)
                outputs.append(y)
        except ValueError as error:
            add_location(error, name)
            raise
        return _join(graph, path or layer.name, joined, outputs) if joined else y
    kind = layer.name[:-2] if layer.name[-2:] in ("1d", "2d", "3d") else layer.name
    if kind not in _WRITERS:
        raise ValueError(f"{layer.name}: cannot be written in ONNX; only layers of funcnn.layers and combinations can")
    return _WRITERS[kind](graph, path or layer.name, layer, params, state, x)


def _join(graph: _Graph, path: str, join: Any, xs: list[_Value]) -> _Value:
    operators = {ops.add: "Add", ops.multiply: "Mul", ops.concat: "Concat"}
    if join not in operators:
        raise ValueError(
            f"parallel: cannot be written in ONNX with the join {join!r}, only with add, multiply or concat"
        )
    if join is ops.concat:
        xs = [graph.channels_last(path, x) for x in xs]
        shape = (*xs[0].shape[:-1], sum(x.shape[-1] for x in xs))
        return graph.add(path, "Concat", xs, shape, axis=-1)
    if len({x.first for x in xs}) > 1:
        xs = [graph.channels_last(path, x) for x in xs]
    y = xs[0]
    for x in xs[1:]:
        y = graph.add(path, operators[join], [y, x], y.shape, first=y.first)
    return y


# --- one function for each kind of layer: (graph, path, layer, params, state, x) -> y ------------------------------


def _elementwise(operator: str, option: str = "", **fixed: float) -> Callable[..., _Value]:
    """Write an operator of ONNX, its attribute alpha being the layer's option of that name, if any."""

    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        attributes = {"alpha": float(layer.options[option])} if option else fixed
        return graph.add(path, operator, [x], x.shape, first=x.first, **attributes)

    return write


def _same(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    return x


def _formula(f: Callable[..., _Value]) -> Callable[..., _Value]:
    """Let ``f(apply, x, options)`` write an elementwise function, ``apply(operator, *inputs)`` making a node."""

    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        def apply(operator: str, *inputs: Any) -> _Value:
            arrays = [i if isinstance(i, _Value) else np.float32(i) for i in inputs]
            return graph.add(path, operator, arrays, x.shape, first=x.first)

        return f(apply, x, layer.options)

    return write


def _gelu(apply: Any, x: _Value, options: Any) -> _Value:
    if options["approximate"]:
        cubic = apply("Mul", apply("Mul", x, x), apply("Mul", x, 0.044715))
        in_channels = apply("Tanh", apply("Mul", apply("Add", x, cubic), math.sqrt(2 / math.pi)))
    else:
        in_channels = apply("Erf", apply("Mul", x, math.sqrt(0.5)))
    return apply("Mul", apply("Mul", x, 0.5), apply("Add", in_channels, 1.0))


def _softmax(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        x = graph.channels_last(path, x)
        return graph.add(path, operator, [x], x.shape, axis=layer.options["axis"])

    return write


def _prelu(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    return graph.add(path, "PRelu", [x, _per_channel(params["slope"], x)], x.shape, first=x.first)


def _per_channel(values: Array, x: _Value) -> Array:
    return values.reshape(-1, *(1,) * x.rank) if x.first else values


def _bias(graph: _Graph, path: str, params: Tree, y: _Value) -> _Value:
    return graph.add(path, "Add", [y, params["b"]], y.shape) if "b" in params else y


def _dense(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    shape = (*x.shape[:-1], params["w"].shape[1])
    return _bias(graph, path, params, graph.add(path, "MatMul", [x, params["w"]], shape))


def _embedding(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    return graph.add(path, "Gather", [params["w"], x], (*x.shape, params["w"].shape[1]), axis=0)


def _conv(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    w, options = params["w"], layer.options
    g = geometry(
        layer.name, x.shape[1:-1], w.shape[:-2], stride=options["stride"], padding=options["padding"],
        dilation=options["dilation"],
    )  # fmt: skip
    inputs = [
        graph.channels_first(path, x),
        np.moveaxis(w, (-1, -2), (0, 1)),
        *([params["b"]] if "b" in params else []),
    ]
    shape = (x.shape[0], *g.out, w.shape[-1])
    return graph.add(
        path, "Conv", inputs, shape, first=True, group=options.get("groups", x.shape[-1]), **_attributes(g),
        dilations=g.dilation,
    )  # fmt: skip


def _conv_transpose(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    w, options = params["w"], layer.options
    g = transposed_geometry(
        layer.name, x.shape[1:-1], w.shape[:-2], stride=options["stride"], padding=options["padding"],
        output_padding=options["output_padding"], dilation=options["dilation"],
    )  # fmt: skip
    inputs = [
        graph.channels_first(path, x),
        np.moveaxis(w, (-1, -2), (0, 1)),
        *([params["b"]] if "b" in params else []),
    ]
    reached = [
        t * (s - 1) + d * (k - 1) + 1 - lo - hi
        for t, s, d, k, (lo, hi) in zip(g.stride, x.shape[1:-1], g.dilation, g.window, g.padding, strict=True)
    ]
    shape = (x.shape[0], *g.size, w.shape[-2] * options["groups"])
    return graph.add(
        path, "ConvTranspose", inputs, shape, first=True, group=options["groups"], **_attributes(g),
        dilations=g.dilation, output_padding=[s - r for s, r in zip(g.size, reached, strict=True)],
    )  # fmt: skip


def _attributes(g: Geometry) -> dict[str, Any]:
    los, his = zip(*g.padding, strict=True)
    return {"kernel_shape": g.window, "strides": g.stride, "pads": [*los, *his]}


def _pool(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        options = layer.options
        stride = options["window"] if options["stride"] is None else options["stride"]
        find = partial(
            geometry, layer.name, x.shape[1:-1], options["window"], stride=stride, padding=options["padding"],
            dilation=options["dilation"],
        )  # fmt: skip
        g = find(ceil_mode=options["ceil_mode"])  # its padding has the positions that ceil_mode reaches beyond
        attributes = _attributes(g)
        if operator == "MaxPool":
            attributes["dilations"] = g.dilation
        elif any(step > 1 for step in g.dilation):
            raise ValueError(f"avg_pool: a dilation, here {g.dilation}, is not in ONNX before opset 19")
        elif options["count_include_pad"] and g != find():
            raise ValueError(
                "avg_pool: ONNX cannot count the padding but not the positions that ceil_mode reaches beyond it"
            )
        else:
            attributes["count_include_pad"] = int(options["count_include_pad"])
        x = graph.channels_first(path, x)
        return graph.add(path, operator, [x], (x.shape[0], *g.out, x.shape[-1]), first=True, **attributes)

    return write


def _adaptive(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        size = per_axis(layer.name, "size", layer.options["size"], x.rank)
        if any(s % o for s, o in zip(x.shape[1:-1], size, strict=True)):
            raise ValueError(
                f"{layer.name}: ONNX has windows of one size, and {x.shape[1:-1]} does not divide into {size}"
            )
        window = [s // o for s, o in zip(x.shape[1:-1], size, strict=True)]
        x = graph.channels_first(path, x)
        shape = (x.shape[0], *size, x.shape[-1])
        return graph.add(path, operator, [x], shape, first=True, kernel_shape=window, strides=window)

    return write


def _global(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
        axes = [a + 1 + x.first for a in range(x.rank)]
        return graph.add(path, operator, [x], (x.shape[0], x.shape[-1]), axes=axes, keepdims=0)

    return write


def _batch_norm(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    # in float64, for the two numbers a channel that four become
    scale = params["scale"] / np.sqrt(state["var"].astype(np.float64) + layer.options["eps"])
    bias = params["bias"] - state["mean"] * scale
    y = graph.add(path, "Mul", [x, _per_channel(scale, x)], x.shape, first=x.first)
    return graph.add(path, "Add", [y, _per_channel(bias, x)], x.shape, first=x.first)


def _norm(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    """Write layer, RMS, group or instance normalisation out: the mean, the mean square, and what divides."""
    x = graph.channels_last(path, x)
    shape, options = x.shape, layer.options
    if layer.name == "group_norm":
        groups = options["groups"]
        x = graph.add(path, "Reshape", [x, np.array([0, *shape[1:-1], groups, shape[-1] // groups])], shape)
        axes = [*range(1, len(shape) - 1), len(shape)]
    elif layer.name == "instance_norm":
        axes = list(range(1, len(shape) - 1))
    else:
        axes = sorted(a % len(shape) for a in np.atleast_1d(options["axes"]).tolist())

    def apply(operator: str, *inputs: Any, **attributes: Any) -> _Value:
        return graph.add(path, operator, inputs, shape, **attributes)

    if layer.name != "rms_norm":
        x = apply("Sub", x, apply("ReduceMean", x, axes=axes))
    spread = apply("Add", apply("ReduceMean", apply("Mul", x, x), axes=axes), np.float32(options["eps"]))
    z = apply("Div", x, apply("Sqrt", spread))
    if layer.name == "group_norm":
        z = apply("Reshape", z, np.array([0, *shape[1:]]))

    def placed(leaf: Array) -> Array:
        if layer.name in ("group_norm", "instance_norm"):
            return leaf
        return leaf.reshape([shape[a] if a in axes else 1 for a in range(1, len(shape))])

    y = apply("Mul", z, placed(params["scale"]))
    return apply("Add", y, placed(params["bias"])) if "bias" in params else y


def _flatten(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    return graph.add(path, "Flatten", [x], (x.shape[0], math.prod(x.shape[1:])), axis=1)


def _pad(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    mode = layer.options["mode"]
    if mode == "wrap":
        raise ValueError("pad: the mode 'wrap' is not in ONNX before opset 19")
    x = graph.channels_last(path, x)
    g = geometry("pad", x.shape[1:-1], 1, padding=layer.options["widths"])
    los, his = zip(*g.padding, strict=True)
    shape = (x.shape[0], *(s + lo + hi for s, lo, hi in zip(x.shape[1:-1], los, his, strict=True)), x.shape[-1])
    value = [np.float32(layer.options["value"])] if mode == "constant" else []
    return graph.add(path, "Pad", [x, np.array([0, *los, 0, 0, *his, 0]), *value], shape, mode=mode)


def _upsample(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_first(path, x)
    factors = per_axis("upsample", "factor", layer.options["factor"], x.rank)
    shape = (x.shape[0], *(s * f for s, f in zip(x.shape[1:-1], factors, strict=True)), x.shape[-1])
    scales = np.array([1, 1, *factors], np.float32)
    return graph.add(
        path, "Resize", [x, np.zeros(0, np.float32), scales], shape, first=True, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _depth_to_space(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    rank, size = x.rank, x.shape[1:-1]
    blocks = per_axis(layer.name, "block", layer.options["block"], rank)
    channels = x.shape[-1] // math.prod(blocks)
    shape = (x.shape[0], *(s * k for s, k in zip(size, blocks, strict=True)), channels)
    order = [0, *(n for a in range(rank) for n in (1 + a, 1 + rank + a)), 2 * rank + 1]
    return _rearranged(graph, path, x, [*size, *blocks, channels], order, shape)


def _space_to_depth(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    rank, size = x.rank, x.shape[1:-1]
    blocks = per_axis(layer.name, "block", layer.options["block"], rank)
    shape = (x.shape[0], *(s // k for s, k in zip(size, blocks, strict=True)), x.shape[-1] * math.prod(blocks))
    split = [n for s, k in zip(size, blocks, strict=True) for n in (s // k, k)]
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    return _rearranged(graph, path, x, [*split, x.shape[-1]], order, shape)


def _rearranged(
    graph: _Graph, path: str, x: _Value, split: list[int], order: list[int], shape: tuple[Any, ...]
) -> _Value:
    x = graph.add(path, "Reshape", [x, np.array([0, *split])], shape)
    x = graph.add(path, "Transpose", [x], shape, perm=order)
    return graph.add(path, "Reshape", [x, np.array([0, *shape[1:]])], shape)


_WRITERS: Mapping[str, Callable[..., _Value]] = {
    "relu": _elementwise("Relu"),
    "leaky_relu": _elementwise("LeakyRelu", "slope"),
    "prelu": _prelu,
    "relu6": _formula(lambda apply, x, o: apply("Clip", x, 0.0, 6.0)),
    "elu": _elementwise("Elu", "alpha"),
    "celu": _elementwise("Celu", "alpha"),
    "selu": _elementwise("Selu"),
    "gelu": _formula(_gelu),
    "silu": _formula(lambda apply, x, o: apply("Mul", x, apply("Sigmoid", x))),
    "mish": _formula(lambda apply, x, o: apply("Mul", x, apply("Tanh", apply("Softplus", x)))),
    "softplus": _elementwise("Softplus"),
    "softsign": _elementwise("Softsign"),
    "tanh": _elementwise("Tanh"),
    "sigmoid": _elementwise("Sigmoid"),
    "log_sigmoid": _formula(lambda apply, x, o: apply("Neg", apply("Softplus", apply("Neg", x)))),
    "hard_tanh": _formula(lambda apply, x, o: apply("Clip", x, -1.0, 1.0)),
    "hard_sigmoid": _elementwise("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_swish": _elementwise("HardSwish"),
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "dense": _dense,
    "embedding": _embedding,
    "conv": _conv,
    "depthwise_conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AveragePool"),
    "global_avg_pool": _global("ReduceMean"),
    "global_max_pool": _global("ReduceMax"),
    "adaptive_avg_pool": _adaptive("AveragePool"),
    "adaptive_max_pool": _adaptive("MaxPool"),
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "rms_norm": _norm,
    "group_norm": _norm,
    "instance_norm": _norm,
    "dropout": _same,
    "identity": _same,
    "flatten": _flatten,
    "pad": _pad,
    "upsample": _upsample,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
}
