"""Export of models to ONNX graphs, which other runtimes can load.

The exporter visits the layers in the order of the forward pass, and writes each one as the operators of opset 17 that
compute the same in evaluation mode. In funcnn, channels are the last axis; ONNX convolutions and poolings have them
second. A value is transposed only where the next operator needs the other order, so a convolutional network is
transposed once at its beginning and once before it is flattened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

import funcnn
from funcnn import combinators, ops, tree
from funcnn.combinators.mapping import combined_layers
from funcnn.folding import fold_batch_norm
from funcnn.kernels.geometry import Geometry, geometry, per_axis, transposed_geometry
from funcnn.layer import Layer, OpForward, add_location, op_and_options
from funcnn.ops.conv import depthwise_conv
from funcnn.ops.masking import masked_batch_norm
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
    fold: bool = True,
) -> ModelProto:
    """Write a model in evaluation mode as an ONNX graph.

    Parameters
    ----------
    model : Layer
    params, state : tree
    in_shape : tuple of int
        Shape of an example. The graph's input "x" is float32 (N, *in_shape), channels last (int64 if the first layer is
        an embedding), and its output "y" is float32 (N, ...), for any N.
    offset, scale : float or array, optional
        The graph starts with (x - offset) / scale.
    probabilities : bool
        The graph ends with a softmax over the last axis, or with a sigmoid if that axis has size 1.
    metadata : dict of str, optional
        Stored in the ONNX model's metadata.
    fold : bool
        Whether batch normalisation is folded into the layers before it (`funcnn.folding`). With False, the file has all
        parameters of the model, to be trained further.

    Returns
    -------
    onnx.ModelProto
        A model of opset 17 that passed ONNX's checker. Node names are the paths of the layers.

    Raises
    ------
    ValueError
        If a layer is not one of `funcnn.layers`, has an option that opset 17 lacks, or does not fit ``params``,
        ``state`` or ``in_shape``; a note has its path. If there is an ``offset`` or ``scale`` for ids, or one that does
        not broadcast to ``in_shape``.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> model = seed_convnet()
    >>> params, state, _ = model.init((0,), (8, 8, 1))
    >>> graph = to_onnx(model, params, state, (8, 8, 1)).graph
    >>> [node.op_type for node in graph.node]
    ['Transpose', 'Conv', 'Relu', 'Transpose', 'Flatten', 'MatMul', 'Add', 'Relu', 'MatMul', 'Add']
    """
    takes_ids = _takes_ids(model)
    if takes_ids and (offset is not None or scale is not None):
        raise ValueError("to_onnx: offset and scale are for inputs of floats, and the model's inputs are ids")
    params, state = (tree.map(np.asarray, leaves) for leaves in (params, state))
    # one example says in which layer parameters or in_shape do not fit
    example = np.zeros((1, *in_shape), np.int64 if takes_ids else np.float32)
    model.forward(params, example, state, train=False)
    if fold:
        model, params, state = fold_batch_norm(model, params, state)
    graph = _Graph([], [], {})
    x = _Value("x", ("N", *in_shape), False)
    y = x
    for operator, name, number in (("Sub", "offset", offset), ("Div", "scale", scale)):
        if number is not None:
            _check_scaling(name, np.shape(number), tuple(in_shape))
            y = graph.add("scaling", operator, [y, np.asarray(number, np.float32)], y.shape)
    y = graph.channels_last("output", _layer(graph, "", model, params, state, y))
    if probabilities and y.shape[-1] == 1:
        y = graph.add("probabilities", "Sigmoid", [y], y.shape)
    elif probabilities:
        y = graph.add("probabilities", "Softmax", [y], y.shape, axis=-1)
    graph.rename_output(y.name)
    kind = TensorProto.INT64 if takes_ids else TensorProto.FLOAT
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


def _check_scaling(name: str, shape: tuple[int, ...], in_shape: tuple[int, ...]) -> None:
    """Raise an error unless an offset or scale broadcasts to examples of a shape."""
    try:
        fits = np.broadcast_shapes(shape, in_shape) == in_shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"to_onnx: {name} of shape {shape} does not broadcast to examples of shape {in_shape}")


class _Value(NamedTuple):
    """A value of the graph: its name, its shape with channels last, and whether its channels are the second axis."""

    name: str
    shape: tuple[Any, ...]
    channels_first: bool

    @property
    def rank(self) -> int:
        return len(self.shape) - 2

    @property
    def order(self) -> list[int]:
        """Axis k of the value in the graph is axis ``order[k]`` of its shape."""
        return [0, self.rank + 1, *range(1, self.rank + 1)] if self.channels_first else list(range(len(self.shape)))

    def axis(self, axis: int) -> int:
        """Return where an axis of the shape is in the graph."""
        return self.order.index(axis % len(self.shape))


class _Graph(NamedTuple):
    """The nodes and constants written so far, and the number of nodes named by each path."""

    nodes: list[Any]
    constants: list[Any]
    name_counts: dict[str, int]

    def add(
        self,
        path: str,
        operator: str,
        inputs: Sequence[Any],
        shape: Sequence[Any],
        *,
        channels_first: bool = False,
        **attributes: Any,
    ) -> _Value:
        """Append a node and return its output; arrays among the inputs become constants."""
        self.name_counts[path] = self.name_counts.get(path, 0) + 1
        name = path if self.name_counts[path] == 1 else f"{path}#{self.name_counts[path]}"
        names = [i.name if isinstance(i, _Value) else self.constant(f"{name}.{k}", i) for k, i in enumerate(inputs)]
        self.nodes.append(helper.make_node(operator, names, [f"{name}:{operator}"], name=name, **attributes))
        return _Value(f"{name}:{operator}", tuple(shape), channels_first)

    def constant(self, name: str, array: Any) -> str:
        array = np.asarray(array, order="C")
        self.constants.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
        return name

    def channels_first(self, path: str, x: _Value) -> _Value:
        if x.channels_first:
            return x
        y = x._replace(channels_first=True)
        return self.add(path, "Transpose", [x], x.shape, channels_first=True, perm=y.order)

    def channels_last(self, path: str, x: _Value) -> _Value:
        return self.add(path, "Transpose", [x], x.shape, perm=np.argsort(x.order)) if x.channels_first else x

    def rename_output(self, name: str) -> None:
        """Rename the value ``name`` to "y", the graph's output, in all nodes."""
        if name == "x":
            self.nodes.append(helper.make_node("Identity", ["x"], ["y"]))
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, old in enumerate(names):
                    names[i] = "y" if old == name and name != "x" else old


def _takes_ids(layer: Layer) -> bool:
    """Return whether the model's first layer is an embedding, whose input is integer ids."""
    layers = combined_layers(layer)
    if not layers:
        return op_and_options(layer)[0] is ops.embedding
    return _takes_ids(layers[0])


def _layer(graph: _Graph, path: str, layer: Layer, params: Tree, state: Tree, x: Any) -> _Value:
    """Write a layer; x is a `_Value`, or a tuple of them for a layer of several arrays."""
    op, options = op_and_options(layer)
    layers = combined_layers(layer)
    if layers:
        if op is combinators.frozen:
            params, state = ({f"0_{layers[0].name}": state[what]} for what in ("params", "state"))
        ys: list[_Value] = []
        joined = op is combinators.parallel
        for i, child in enumerate(layers):
            name = f"{i}_{child.name}"
            inside = f"{path} / {name}" if path else name
            sources = options["sources"][i] if op is combinators.graph else (-1 if joined else i - 1,)
            inputs = tuple(ys[source] if source >= 0 else x for source in sources)
            try:
                y = _layer(graph, inside, child, params[name], state[name], inputs if len(inputs) > 1 else inputs[0])
            except ValueError as error:
                add_location(error, name)
                raise
            ys.append(y)
        return _join(graph, path or layer.name, options["join"], ys) if joined else ys[-1]
    write = _WRITERS.get(op)
    if write is None:
        raise ValueError(
            f"{layer.name}: cannot be exported to ONNX; only layers of funcnn.layers, with their forward unchanged, "
            "and combinators of them can"
        )
    return write(graph, path or layer.name, layer.forward, params, state, x)


def _join(graph: _Graph, path: str, join: Any, xs: Sequence[_Value], axis: int = -1) -> _Value:
    operator = next((name for op, name in _JOINS if op is join), None)
    if operator is None:
        raise ValueError(
            f"parallel: cannot be exported to ONNX with the join {join!r}, only with one of "
            f"{', '.join(op.__name__ for op, _ in _JOINS)}"
        )
    if len({x.channels_first for x in xs}) > 1:
        xs = [graph.channels_last(path, x) for x in xs]
    y = xs[0]
    if join is ops.concat:
        shape = list(y.shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return graph.add(path, operator, xs, shape, channels_first=y.channels_first, axis=y.axis(axis))
    for x in xs[1:]:
        shape = [x.shape[0], *map(max, y.shape[1:], x.shape[1:])]  # axes of size 1 are repeated
        y = graph.add(path, operator, [y, x], shape, channels_first=y.channels_first)
    return y


_JOINS = (
    (ops.add, "Add"), (ops.multiply, "Mul"), (ops.subtract, "Sub"), (ops.divide, "Div"), (ops.maximum, "Max"),
    (ops.minimum, "Min"), (ops.concat, "Concat"),
)  # fmt: skip


# --- one function for each op: (graph, path, node, params, state, x) -> y, node the layer's OpForward ----------------


def _elementwise(operator: str, alpha: str = "", beta: str = "") -> Callable[..., _Value]:
    """Return a writer of one ONNX operator; its attributes alpha and beta are the layer's options of these names."""

    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        options = {"alpha": alpha, "beta": beta}
        attributes = {name: float(node.options[option]) for name, option in options.items() if option}
        return graph.add(path, operator, [x], x.shape, channels_first=x.channels_first, **attributes)

    return write


def _joining(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, xs: tuple[_Value, ...]) -> _Value:
    return _join(graph, path, node.op, xs, node.options.get("axis", -1))


def _no_node(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    return x


def _formula(f: Callable[..., _Value]) -> Callable[..., _Value]:
    """Return a writer of an elementwise f(apply, x, options), where ``apply(operator, *inputs)`` adds a node."""

    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        def apply(operator: str, *inputs: Any) -> _Value:
            arrays = [i if isinstance(i, _Value) else np.float32(i) for i in inputs]
            return graph.add(path, operator, arrays, x.shape, channels_first=x.channels_first)

        return f(apply, x, node.options)

    return write


def _gelu(apply: Any, x: _Value, options: Any) -> _Value:
    if options["approximate"]:
        cubic = apply("Mul", apply("Mul", x, x), apply("Mul", x, 0.044715))
        t = apply("Tanh", apply("Mul", apply("Add", x, cubic), math.sqrt(2 / math.pi)))
    else:
        t = apply("Erf", apply("Mul", x, math.sqrt(0.5)))
    return apply("Mul", apply("Mul", x, 0.5), apply("Add", t, 1.0))


def _softmax(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        axis = x.axis(node.options["axis"])
        return graph.add(path, operator, [x], x.shape, channels_first=x.channels_first, axis=axis)

    return write


def _prelu(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    return graph.add(path, "PRelu", [x, _broadcastable(params["slope"], x)], x.shape, channels_first=x.channels_first)


def _power(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    exponent = _broadcastable(np.array(node.options["exponent"], np.float32), x)
    return graph.add(path, "Pow", [x, exponent], x.shape, channels_first=x.channels_first)


def _broadcastable(leaf: Array, x: _Value) -> Array:
    """Return an array that broadcasts to an example as one that broadcasts to the value in the graph."""
    if not x.channels_first:
        return leaf
    return np.moveaxis(leaf.reshape((1,) * (len(x.shape) - 1 - leaf.ndim) + leaf.shape), -1, 0)


def _bias(graph: _Graph, path: str, params: Tree, y: _Value) -> _Value:
    return graph.add(path, "Add", [y, params["b"]], y.shape) if "b" in params else y


def _dense(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    shape = (*x.shape[:-1], params["w"].shape[1])
    return _bias(graph, path, params, graph.add(path, "MatMul", [x, params["w"]], shape))


def _embedding(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    return graph.add(path, "Gather", [params["w"], x], (*x.shape, params["w"].shape[1]), axis=0)


def _conv(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    w, options = params["w"], node.options
    g = geometry(
        node.op.__name__, x.shape[1:-1], w.shape[:-2], stride=options["stride"], padding=options["padding"],
        dilation=options["dilation"],
    )  # fmt: skip
    inputs = [
        graph.channels_first(path, x),
        np.moveaxis(w, (-1, -2), (0, 1)),
        *([params["b"]] if "b" in params else []),
    ]
    shape = (x.shape[0], *g.out, w.shape[-1])
    return graph.add(
        path, "Conv", inputs, shape, channels_first=True, group=options.get("groups", x.shape[-1]), **_attributes(g),
        dilations=g.dilation,
    )  # fmt: skip


def _conv_transpose(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    w, options = params["w"], node.options
    g = transposed_geometry(
        node.op.__name__, x.shape[1:-1], w.shape[:-2], stride=options["stride"], padding=options["padding"],
        output_padding=options["output_padding"], dilation=options["dilation"],
    )  # fmt: skip
    inputs = [
        graph.channels_first(path, x),
        np.moveaxis(w, (-1, -2), (0, 1)),
        *([params["b"]] if "b" in params else []),
    ]
    min_size = [
        t * (s - 1) + d * (k - 1) + 1 - lo - hi
        for t, s, d, k, (lo, hi) in zip(g.stride, x.shape[1:-1], g.dilation, g.window, g.padding, strict=True)
    ]
    shape = (x.shape[0], *g.size, w.shape[-2] * options["groups"])
    return graph.add(
        path, "ConvTranspose", inputs, shape, channels_first=True, group=options["groups"], **_attributes(g),
        dilations=g.dilation, output_padding=[s - r for s, r in zip(g.size, min_size, strict=True)],
    )  # fmt: skip


def _attributes(g: Geometry) -> dict[str, Any]:
    los, his = zip(*g.padding, strict=True)
    return {"kernel_shape": g.window, "strides": g.stride, "pads": [*los, *his]}


def _pool(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        options = node.options
        stride = options["window"] if options["stride"] is None else options["stride"]
        window_geometry = partial(
            geometry, node.op.__name__, x.shape[1:-1], options["window"], stride=stride, padding=options["padding"],
            dilation=options["dilation"],
        )  # fmt: skip
        # with ceil_mode, g.padding includes the positions beyond the padding of the options
        g = _without_unread_padding(window_geometry(ceil_mode=options["ceil_mode"]))
        attributes = _attributes(g)
        if operator == "MaxPool":
            attributes["dilations"] = g.dilation
        elif any(step > 1 for step in g.dilation):
            raise ValueError(f"avg_pool: dilation {g.dilation} needs ONNX opset 19 or later, not {OPSET}")
        elif options["count_include_pad"] and g != _without_unread_padding(window_geometry()):
            raise ValueError(
                "avg_pool: count_include_pad and ceil_mode cannot be exported together: ONNX would also count the "
                "positions beyond the padding"
            )
        else:
            attributes["count_include_pad"] = int(options["count_include_pad"])
        x = graph.channels_first(path, x)
        if operator == "MaxPool" and any(max(pair) >= k for pair, k in zip(g.padding, g.window, strict=True)):
            # runtimes refuse a pooling with such padding, which only dilated windows have
            lows, highs = zip(*g.padding, strict=True)
            x = graph.add(
                path, "Pad", [x, np.array([0, 0, *lows, 0, 0, *highs]), np.float32(-math.inf)], x.shape,
                channels_first=True,
            )  # fmt: skip
            attributes["pads"] = [0] * (2 * x.rank)
        return graph.add(path, operator, [x], (x.shape[0], *g.out, x.shape[-1]), channels_first=True, **attributes)

    return write


def _without_unread_padding(g: Geometry) -> Geometry:
    """Return the geometry without the padding at the end that no window reaches, if the stride passes over it."""
    ends = [(o - 1) * t + d * (k - 1) + 1 for o, t, d, k in zip(g.out, g.stride, g.dilation, g.window, strict=True)]
    padding = tuple(
        (lo, min(hi, max(0, end - s - lo))) for (lo, hi), end, s in zip(g.padding, ends, g.size, strict=True)
    )
    return g._replace(padding=padding)


def _adaptive(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        size = per_axis(node.op.__name__, "size", node.options["size"], x.rank)
        if any(s % o for s, o in zip(x.shape[1:-1], size, strict=True)):
            raise ValueError(
                f"{node.op.__name__}: ONNX needs windows of equal size, but the output size {size} does not divide "
                f"{x.shape[1:-1]}"
            )
        window = [s // o for s, o in zip(x.shape[1:-1], size, strict=True)]
        x = graph.channels_first(path, x)
        shape = (x.shape[0], *size, x.shape[-1])
        return graph.add(path, operator, [x], shape, channels_first=True, kernel_shape=window, strides=window)

    return write


def _reduce(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        axes, keepdims = (
            sorted(set(map(x.axis, np.atleast_1d(node.options["axes"]).tolist()))),
            node.options["keepdims"],
        )
        if not axes:  # ONNX would reduce all
            return x
        shape = _out_shape(node, x)
        # the order of the axes that stay is known from x's
        last_stays = keepdims or x.axis(-1) not in axes
        attributes: dict[str, Any] = {"keepdims": int(keepdims)} | ({} if operator == "ReduceSum" else {"axes": axes})
        return graph.add(
            path, operator, [x, np.array(axes)] if operator == "ReduceSum" else [x], shape,
            channels_first=x.channels_first and last_stays and len(shape) > 2, **attributes,
        )  # fmt: skip

    return write


def _out_shape(node: OpForward, x: _Value) -> tuple[Any, ...]:
    """Return the output's shape of an op that computes nothing from parameters, by applying it to no examples."""
    return (x.shape[0], *node.op(np.zeros((0, *x.shape[1:]), np.float32), **node.options)[0].shape[1:])


def _global(operator: str) -> Callable[..., _Value]:
    def write(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
        axes = [a + 1 + x.channels_first for a in range(x.rank)]
        return graph.add(path, operator, [x], (x.shape[0], x.shape[-1]), axes=axes, keepdims=0)

    return write


def _batch_norm(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_first(path, x) if x.rank else x
    inputs = [x, params["scale"], params["bias"], state["mean"], state["var"]]
    return graph.add(
        path, "BatchNormalization", inputs, x.shape, channels_first=x.channels_first, epsilon=float(node.options["eps"])
    )


def _masked_batch_norm(
    graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, xs: tuple[_Value, _Value]
) -> _Value:
    y = graph.channels_last(path, _batch_norm(graph, path, node, params, state, xs[0]))
    return graph.add(path, "Mul", [y, graph.channels_last(path, xs[1])], y.shape)


def _instance_norm(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    inputs = [graph.channels_first(path, x), params["scale"], params["bias"]]
    return graph.add(
        path, "InstanceNormalization", inputs, x.shape, channels_first=True, epsilon=float(node.options["eps"])
    )


def _layer_norm(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    axes = sorted(a % len(x.shape) for a in np.atleast_1d(node.options["axes"]).tolist())
    if axes != list(range(axes[0], len(x.shape))):
        return _norm(graph, path, node, params, state, x)
    inputs = [graph.channels_last(path, x), params["scale"], params["bias"]]
    return graph.add(path, "LayerNormalization", inputs, x.shape, axis=axes[0], epsilon=float(node.options["eps"]))


def _affine(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    for name, operator in (("scale", "Mul"), ("bias", "Add")):
        if name in params:
            leaf = _broadcastable(params[name], x)
            x = graph.add(path, operator, [x, leaf], x.shape, channels_first=x.channels_first)
    return x


def _local_response_norm(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    options = node.options
    if x.rank != 2 or options["size"] % 2 == 0:
        raise ValueError(
            "local_response_norm: ONNX runtimes take two spatial axes and an odd size, not "
            f"{x.shape[1:-1]} and {options['size']}"
        )
    x = graph.channels_first(path, x)
    attributes = {"alpha": float(options["alpha"]), "beta": float(options["beta"]), "bias": float(options["k"])}
    return graph.add(path, "LRN", [x], x.shape, channels_first=True, size=options["size"], **attributes)


def _norm(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    """Write layer, RMS or group normalisation as ReduceMean, Sub, Mul, Sqrt and Div."""
    x = graph.channels_last(path, x)
    shape, options = x.shape, node.options
    if node.op is ops.group_norm:
        groups = options["groups"]
        x = graph.add(path, "Reshape", [x, np.array([0, *shape[1:-1], groups, shape[-1] // groups])], shape)
        axes = [*range(1, len(shape) - 1), len(shape)]
    else:
        axes = sorted(a % len(shape) for a in np.atleast_1d(options["axes"]).tolist())

    def apply(operator: str, *inputs: Any, **attributes: Any) -> _Value:
        return graph.add(path, operator, inputs, shape, **attributes)

    if node.op is not ops.rms_norm:
        x = apply("Sub", x, apply("ReduceMean", x, axes=axes))
    variance = apply("ReduceMean", apply("Mul", x, x), axes=axes)
    z = apply("Div", x, apply("Sqrt", apply("Add", variance, np.float32(options["eps"]))))
    if node.op is ops.group_norm:
        z = apply("Reshape", z, np.array([0, *shape[1:]]))

    def broadcastable(leaf: Array) -> Array:
        if node.op is ops.group_norm:
            return leaf
        return leaf.reshape([shape[a] if a in axes else 1 for a in range(1, len(shape))])

    y = apply("Mul", z, broadcastable(params["scale"]))
    return apply("Add", y, broadcastable(params["bias"])) if "bias" in params else y


def _flatten(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    return graph.add(path, "Flatten", [x], (x.shape[0], math.prod(x.shape[1:])), axis=1)


def _reshape(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    shape = _out_shape(node, x)
    return graph.add(path, "Reshape", [graph.channels_last(path, x), np.array([0, *shape[1:]])], shape)


def _transpose(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    axes = list(node.options["axes"])
    for channels_first in (False, True):  # nothing is to be done if y has the order in which x is
        y = _Value(x.name, _out_shape(node, x), channels_first)
        if [axes[a] for a in y.order] == x.order and len(axes) > 2:
            return y
    return graph.add(path, "Transpose", [x], y.shape, perm=[x.axis(a) for a in axes])


def _broadcast_to(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    y = x._replace(shape=_out_shape(node, x))
    sizes = np.array([1, *(y.shape[a] for a in y.order[1:])])
    return graph.add(path, "Expand", [x, sizes], y.shape, channels_first=y.channels_first)


def _parameter(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    value = params["value"]
    shape = graph.add(path, "Concat", [_batch_size(graph, path, x), np.array(value.shape, np.int64)], (), axis=0)
    return graph.add(path, "Expand", [value[None], shape], (x.shape[0], *value.shape))


def _batch_size(graph: _Graph, path: str, x: _Value) -> _Value:
    return graph.add(path, "Shape", [x], (), start=0, end=1)


def _crop(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    axes = np.array([x.axis(a) for a in range(1, len(x.shape))])
    # in ONNX, an end of -1 is the last position
    bounds = [
        (start, s if stop is None else stop if stop >= 0 else -s - 1, step)
        for (start, stop, step), s in zip(node.options["bounds"], x.shape[1:], strict=True)
    ]
    starts, ends, steps = np.array(bounds).T
    return graph.add(
        path, "Slice", [x, starts, ends, axes, steps], _out_shape(node, x), channels_first=x.channels_first
    )


def _resize(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    options, shape, before = node.options, _out_shape(node, x), x.shape[1:-1]
    mode, coordinates, rounding = options["mode"], options["coordinates"], options["rounding"]
    if coordinates == "half_pixel_symmetric" and options["factors"] is None:
        coordinates = "half_pixel"  # the same where the factors are those of the sizes
    if (mode, coordinates, rounding) == ("nearest", "tf_half_pixel_for_nn", "floor"):
        coordinates, rounding = "half_pixel", "round_prefer_ceil"  # half a position less, rounded at half a position
    if coordinates in ("half_pixel_symmetric", "tf_half_pixel_for_nn"):
        raise ValueError(f"resize: coordinates {coordinates!r} are not in ONNX opset {OPSET}")
    x = graph.channels_first(path, x)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    if coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = float(options["outside"])
    sizes = list(zip(before, shape[1:-1], strict=True))
    quotients = [m / n for n, m in sizes]
    factors = list(options["factors"] or quotients)
    if coordinates == "tf_crop_and_resize" or (
        factors == quotients and any(float(np.float32(f)) != f for f in factors)
    ):
        starts, ends = zip(*options["roi"] or [(0.0, 1.0)] * x.rank, strict=True)
        size = graph.add(path, "Concat", [_batch_size(graph, path, x), np.array([shape[-1], *shape[1:-1]])], (), axis=0)
        inputs = [x, np.array([0, 0, *starts, 1, 1, *ends], np.float32), np.zeros(0, np.float32), size]
        return graph.add(path, "Resize", inputs, shape, channels_first=True, **attributes)
    scales = [np.float32(f) for f in factors]
    # ONNX rounds size times scale down, so a scale must not be less than the quotient of the sizes
    scales = [
        np.nextafter(f, np.float32(f + 1)) if float(f) * n < m else f for f, (n, m) in zip(scales, sizes, strict=True)
    ]
    if any(int(float(f) * n) != m for f, (n, m) in zip(scales, sizes, strict=True)):
        raise ValueError(
            f"resize: in ONNX, {before} by the factors {options['factors']} cannot have the size {shape[1:-1]}, only "
            "their product rounded down"
        )
    scales = [np.float32(1), np.float32(1), *scales]
    inputs = [x, np.zeros(0, np.float32), np.array(scales)]
    return graph.add(path, "Resize", inputs, shape, channels_first=True, **attributes)


def _matmul(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, xs: tuple[_Value, _Value]) -> _Value:
    a, b = (graph.channels_last(path, x) for x in xs)
    stack = map(max, a.shape[1:-2], b.shape[1:-2])  # axes of size 1 are repeated
    return graph.add(path, "MatMul", [a, b], (a.shape[0], *stack, a.shape[-2], b.shape[-1]))


def _pad(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    mode = node.options["mode"]
    if mode == "wrap":
        raise ValueError(f"pad: mode 'wrap' needs ONNX opset 19 or later, not {OPSET}")
    x = graph.channels_last(path, x)
    g = geometry("pad", x.shape[1:-1], 1, padding=node.options["widths"])
    if mode == "reflect" and any(max(pair) >= s for pair, s in zip(g.padding, g.size, strict=True)):
        raise ValueError(
            f"pad: ONNX reflects an axis once, so mode 'reflect' needs widths {g.padding} less than the size {g.size}"
        )
    los, his = zip(*g.padding, strict=True)
    shape = (x.shape[0], *(s + lo + hi for s, lo, hi in zip(x.shape[1:-1], los, his, strict=True)), x.shape[-1])
    value = [np.float32(node.options["value"])] if mode == "constant" else []
    return graph.add(path, "Pad", [x, np.array([0, *los, 0, 0, *his, 0]), *value], shape, mode=mode)


def _upsample(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_first(path, x)
    factors = per_axis("upsample", "factor", node.options["factor"], x.rank)
    shape = (x.shape[0], *(s * f for s, f in zip(x.shape[1:-1], factors, strict=True)), x.shape[-1])
    scales = np.array([1, 1, *factors], np.float32)
    return graph.add(
        path, "Resize", [x, np.zeros(0, np.float32), scales], shape, channels_first=True, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _depth_to_space(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    rank, size = x.rank, x.shape[1:-1]
    blocks = per_axis(node.op.__name__, "block", node.options["block"], rank)
    channels = x.shape[-1] // math.prod(blocks)
    shape = (x.shape[0], *(s * k for s, k in zip(size, blocks, strict=True)), channels)
    order = [0, *(n for a in range(rank) for n in (1 + a, 1 + rank + a)), 2 * rank + 1]
    return _rearranged(graph, path, x, [*size, *blocks, channels], order, shape)


def _space_to_depth(graph: _Graph, path: str, node: OpForward, params: Tree, state: Tree, x: _Value) -> _Value:
    x = graph.channels_last(path, x)
    rank, size = x.rank, x.shape[1:-1]
    blocks = per_axis(node.op.__name__, "block", node.options["block"], rank)
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


_WRITERS: Mapping[Any, Callable[..., _Value]] = {
    **{op: _joining for op, _ in _JOINS},
    ops.relu: _elementwise("Relu"),
    ops.leaky_relu: _elementwise("LeakyRelu", "slope"),
    ops.prelu: _prelu,
    ops.relu6: _formula(lambda apply, x, o: apply("Clip", x, 0.0, 6.0)),
    ops.elu: _elementwise("Elu", "alpha"),
    ops.celu: _elementwise("Celu", "alpha"),
    ops.selu: _elementwise("Selu"),
    ops.gelu: _formula(_gelu),
    ops.silu: _formula(lambda apply, x, o: apply("Mul", x, apply("Sigmoid", x))),
    ops.mish: _formula(lambda apply, x, o: apply("Mul", x, apply("Tanh", apply("Softplus", x)))),
    ops.softplus: _elementwise("Softplus"),
    ops.softsign: _elementwise("Softsign"),
    ops.tanh: _elementwise("Tanh"),
    ops.sigmoid: _elementwise("Sigmoid"),
    ops.log_sigmoid: _formula(lambda apply, x, o: apply("Neg", apply("Softplus", apply("Neg", x)))),
    ops.hard_tanh: _formula(lambda apply, x, o: apply("Clip", x, -1.0, 1.0)),
    ops.clip: _formula(lambda apply, x, o: apply("Clip", x, o["lower"], o["upper"])),
    ops.hard_sigmoid: _elementwise("HardSigmoid", "alpha", "beta"),
    ops.hard_swish: _elementwise("HardSwish"),
    ops.negative: _elementwise("Neg"),
    ops.exp: _elementwise("Exp"),
    ops.log: _elementwise("Log"),
    ops.erf: _elementwise("Erf"),
    ops.sqrt: _elementwise("Sqrt"),
    ops.parameter: _parameter,
    ops.power: _power,
    ops.softmax: _softmax("Softmax"),
    ops.log_softmax: _softmax("LogSoftmax"),
    ops.dense: _dense,
    ops.embedding: _embedding,
    ops.matmul: _matmul,
    ops.conv: _conv,
    depthwise_conv: _conv,
    ops.conv_transpose: _conv_transpose,
    ops.max_pool: _pool("MaxPool"),
    ops.avg_pool: _pool("AveragePool"),
    ops.global_avg_pool: _global("ReduceMean"),
    ops.global_max_pool: _global("ReduceMax"),
    ops.adaptive_avg_pool: _adaptive("AveragePool"),
    ops.adaptive_max_pool: _adaptive("MaxPool"),
    ops.reduce_sum: _reduce("ReduceSum"),
    ops.reduce_mean: _reduce("ReduceMean"),
    ops.reduce_max: _reduce("ReduceMax"),
    ops.batch_norm: _batch_norm,
    masked_batch_norm: _masked_batch_norm,
    ops.affine: _affine,
    ops.local_response_norm: _local_response_norm,
    ops.layer_norm: _layer_norm,
    ops.rms_norm: _norm,
    ops.group_norm: _norm,
    ops.instance_norm: _instance_norm,
    ops.dropout: _no_node,
    ops.identity: _no_node,
    ops.flatten: _flatten,
    ops.reshape: _reshape,
    ops.transpose: _transpose,
    ops.broadcast_to: _broadcast_to,
    ops.crop: _crop,
    ops.pad: _pad,
    ops.resize: _resize,
    ops.upsample: _upsample,
    ops.depth_to_space: _depth_to_space,
    ops.space_to_depth: _space_to_depth,
}
