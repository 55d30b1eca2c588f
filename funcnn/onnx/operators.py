"""What each ONNX operator is in layers of funcnn: one function for each, ``(builder, options, *inputs)``.

``options`` are the node's attributes, the defaults filled in; each input is a `Value`, a `Known` constant, or None
where it is left out. A function appends layers and returns the output, or a list of outputs. What it cannot say in
layers it refuses with a ValueError; the importer adds file and node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from funcnn.kernels.geometry import to_tuple
from funcnn.onnx.builder import LARGEST_EXAMPLE, Builder, Value, features_here
from funcnn.onnx.folding import BATCHES, Known
from funcnn.ops.resizing import COORDINATES
from funcnn.tree import Array, Tree

Options = Mapping[str, Any]
Input = Value | Known | None
MOST_RUNS = 64  # crops of one Gather
MOST_EXPONENTS = 2**16  # of one node; they are options of a layer, written out as text where it is saved
SELU = [float(np.float32(number)) for number in (1.6732632423543772, 1.0507009873554805)]


# --- arguments --------------------------------------------------------------------------------------------------------


def _value(x: Input, name: str = "its first input") -> Value:
    if not isinstance(x, Value):
        raise ValueError(f"{name} must depend on the network's input here")
    return x


def _constant(x: Input, name: str) -> Array:
    if not isinstance(x, Known):
        raise ValueError(f"its {name} must be constant here")
    return x.array(f"its {name}")


def _floats(x: Input, name: str) -> Array:
    return np.ascontiguousarray(_constant(x, name), np.float32)


def _ints(x: Input, name: str) -> list[int]:
    array = _constant(x, name)
    if array.dtype.kind not in "iu":
        raise ValueError(f"its {name} must be integers")
    return [int(i) for i in array.ravel()]


def _number(x: Input, name: str) -> float:
    array = _constant(x, name)
    if array.size != 1:
        raise ValueError(f"its {name} {array.shape} must be one number here")
    return float(array.reshape(()))


def _ints_of(options: Options, name: str, given: Sequence[Input], at: int) -> list[int] | None:
    """Return an option that is an attribute in some opsets and input ``at`` in others."""
    if options.get(name) is not None:
        return [int(i) for i in np.atleast_1d(options[name])]
    return _ints(given[at], name) if len(given) > at and given[at] is not None else None


def _axis(axis: int, x: Value) -> int:
    """Return an axis of ONNX as an axis of an example."""
    rank = len(x.shape) + 1
    axis = _in_range(axis, rank)
    if axis == 0:
        raise ValueError("it works along axis 0, the examples, which must not depend on each other")
    return axis - 1


def _in_range(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {rank} axes")
    return axis % rank


def _axis_here(axis: int, x: Value) -> int:
    """Return an axis of ONNX as an axis of a batch here."""
    return 1 + x.order.index(_axis(axis, x))


def _spatial(x: Value) -> tuple[int, ...]:
    if not 2 <= len(x.shape) <= 4:
        raise ValueError(f"it needs (N, C, spatial...) with 1 to 3 spatial axes, not examples of shape {x.shape}")
    return x.shape[1:]


# --- layers with parameters -------------------------------------------------------------------------------------------


def _linear(builder: Builder, x: Value, name: str, arguments: Options, w: Array, b: Array | None) -> Value:
    params = {"w": np.ascontiguousarray(w)} | ({} if b is None else {"b": b})
    return builder.add(name, {**arguments, "bias": b is not None}, x, params=params)


def _kernel(w: Array) -> Array:
    """(O, I, K...) to (K..., I, O)."""
    return w.transpose(*range(2, w.ndim), 1, 0)


def _conv(builder: Builder, options: Options, x: Input, w: Input, b: Input = None) -> Value:
    weights = _floats(w, "weights")
    value = builder.channels_last(_value(x))
    size, groups = _spatial(value), int(options["group"])
    if weights.ndim != len(size) + 2 or weights.shape[1] * groups != value.shape[0]:
        raise ValueError(
            f"weights {weights.shape} with {groups} groups do not fit examples of {value.shape[0]} channels and "
            f"{len(size)} spatial axes"
        )
    kernel = weights.shape[2:]
    arguments = {
        "features": weights.shape[0],
        "kernel_size": kernel,
        **_windows(options, size, kernel),
        "groups": groups,
    }
    bias = None if b is None else _floats(b, "bias")
    return _linear(builder, value, f"conv{len(size)}d", arguments, _kernel(weights), bias)


def _conv_transpose(builder: Builder, options: Options, x: Input, w: Input, b: Input = None) -> Value:
    weights = _floats(w, "weights")
    value = builder.channels_last(_value(x))
    size, groups = _spatial(value), int(options["group"])
    if weights.ndim != len(size) + 2 or weights.shape[0] != value.shape[0]:
        raise ValueError(f"weights {weights.shape} do not fit examples of shape {value.shape}")
    kernel = weights.shape[2:]
    more = tuple(options.get("output_padding") or [0] * len(size))
    stride, dilation = (tuple(options.get(n) or [1] * len(size)) for n in ("strides", "dilations"))
    auto = options["auto_pad"]
    wanted = options.get("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [s * t for s, t in zip(size, stride, strict=True)]
    if wanted is not None:
        # what the windows cover beyond it is padding, what they do not cover is added
        beyond = [
            n + m for n, m in zip(_overlap(wanted[-len(size) :], size, kernel, stride, dilation), more, strict=True)
        ]
        more = tuple(m + max(-n, 0) for n, m in zip(beyond, more, strict=True))
        halves = [(max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in beyond]
        padding = tuple((lo, hi) if auto == "SAME_UPPER" else (hi, lo) for lo, hi in halves)
    elif auto == "VALID":
        padding = ((0, 0),) * len(size)
    else:
        padding = _pairs(options.get("pads"), len(size))
    arguments = {
        "features": weights.shape[1] * groups,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "output_padding": more,
        "groups": groups,
    }
    bias = None if b is None else _floats(b, "bias")
    return _linear(builder, value, f"conv_transpose{len(size)}d", arguments, _kernel(weights), bias)


def _windows(options: Options, size: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Return stride, padding and dilation of a node."""
    rank = len(size)
    stride, dilation = (tuple(int(i) for i in options.get(n) or [1] * rank) for n in ("strides", "dilations"))
    given = options.get("kernel_shape")
    if len(stride) != rank or len(dilation) != rank or (given and list(given) != list(kernel)):
        raise ValueError(
            f"its kernel {given}, strides {stride} and dilations {dilation} do not fit the weights {kernel}"
        )
    if min(*stride, *dilation) < 1:
        raise ValueError(f"its strides {stride} and dilations {dilation} must be at least 1")
    auto = options.get("auto_pad", "NOTSET")
    padding: Any = _pairs(options.get("pads"), rank)
    padded = [s + lo + hi for s, (lo, hi) in zip(size, padding, strict=True)]
    if math.prod(padded) > LARGEST_EXAMPLE:
        raise ValueError(f"its pads {options['pads']} make {math.prod(padded):,} positions of {math.prod(size):,}")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad {auto!r} is not known here")
    if auto == "VALID":
        padding = ((0, 0),) * rank
    elif auto == "SAME_UPPER":
        padding = "same"
    elif auto == "SAME_LOWER":  # as "same", but the odd position is at the start
        out = [math.ceil(s / t) for s, t in zip(size, stride, strict=True)]
        totals = [max(n, 0) for n in _overlap(size, out, kernel, stride, dilation)]
        padding = tuple((n - n // 2, n // 2) for n in totals)
    return {"stride": stride, "padding": padding, "dilation": dilation}


def _pairs(pads: Sequence[int] | None, rank: int) -> tuple[tuple[int, int], ...]:
    pads = [0] * (2 * rank) if pads is None else [int(p) for p in pads]
    if len(pads) != 2 * rank:
        raise ValueError(f"its pads {pads} must be two for each of {rank} axes")
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def _overlap(
    size: Sequence[int], out: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Return, for each axis, how many positions ``out`` windows need beyond ``size``; negative if some are unused."""
    return [
        (o - 1) * t + d * (k - 1) + 1 - s for s, o, k, t, d in zip(size, out, kernel, stride, dilation, strict=True)
    ]


def _dense(builder: Builder, x: Value, w: Array, b: Array | None = None) -> Value:
    """Multiply the last axis of ONNX's by a matrix."""
    last = len(x.shape) - 1
    if x.flattened is not None:  # rather than the features, the rows of the matrix are reordered
        shape, order = x.flattened
        w = w.reshape(*shape, -1).transpose(*order, len(shape)).reshape(w.shape)
        x = x._replace(flattened=None)
    if x.order[-1] != last:
        x = builder.plain(x)
    return _linear(builder, x, "dense", {"features": w.shape[1]}, w, b)


def _gemm(builder: Builder, options: Options, x: Input, w: Input, b: Input = None) -> Value:
    value, weights = _value(x), _floats(w, "weights")
    if options["transA"]:
        raise ValueError("transA exchanges the examples with their entries")
    if len(value.shape) != 1 or weights.ndim != 2:
        raise ValueError(
            f"it needs rows of features and a matrix, not examples {value.shape} and weights {weights.shape}"
        )
    matrix = weights.T if options["transB"] else weights
    if options["alpha"] != 1:
        matrix = np.float32(options["alpha"]) * matrix
    bias = None
    if b is not None:
        bias = np.float32(options["beta"]) * _floats(b, "bias")
        if bias.ndim > 1 and bias.shape[0] != 1:
            raise ValueError(f"its bias {bias.shape} differs between examples")
        bias = np.ascontiguousarray(np.broadcast_to(bias.reshape(bias.shape[-1:]), matrix.shape[1:]))
    return _dense(builder, value, matrix, bias)


def _matmul(builder: Builder, options: Options, a: Input, b: Input) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        stacks = a.shape[:-2], b.shape[:-2]
        if len(a.shape) != len(b.shape):
            raise ValueError(f"examples of shapes {a.shape} and {b.shape} have stacks of matrices of different depths")
        broadcast = {"broadcast": True} if stacks[0] != stacks[1] else {}
        return builder.add("matmul", broadcast, builder.plain(a), builder.plain(b))
    from_left = isinstance(b, Value)
    value, name = (b, "first matrix") if isinstance(b, Value) else (_value(a, "one of its inputs"), "second matrix")
    rank, constant = len(value.shape), a if from_left else b
    if rank < 1 + from_left or (isinstance(constant, Known) and constant.for_two.ndim > rank + 1):
        raise ValueError(f"its {name} cannot be applied to examples of shape {value.shape}")
    weights = _example_array(builder, constant, max(rank, 2), name)
    vector = weights.ndim == 1
    if vector:
        weights = weights[None] if from_left else weights[:, None]
    if weights.size == math.prod(weights.shape[-2:]):
        y = _by_matrix(builder, value, weights.reshape(weights.shape[-2:]), from_left)
    else:
        value = builder.plain(value)
        stack = _parameter(builder, value, weights.reshape(*(1,) * (rank - weights.ndim), *weights.shape))
        y = builder.add("matmul", {"broadcast": True}, *((stack, value) if from_left else (value, stack)))
    if not vector:
        return y
    gone = rank - 2 if from_left else rank - 1
    return builder.reshaped(y, [s for a, s in enumerate(y.shape) if a != gone])


def _by_matrix(builder: Builder, x: Value, w: Array, from_left: bool) -> Value:
    if not from_left:
        return _dense(builder, x, w)
    # the last but one axis is brought to the end, where `dense` works
    before = len(x.shape) - 2
    x = builder.ordered(x, (*(a for a in x.order if a != before), before))
    return _linear(builder, x, "dense", {"features": len(w)}, w.T, None)


# --- normalisation ----------------------------------------------------------------------------------------------------


def _batch_norm(
    builder: Builder, options: Options, x: Input, scale: Input, bias: Input, mean: Input, var: Input
) -> Value:
    if options.get("training_mode") or options["outputs"] > 1:  # before opset 14 the outputs say it
        raise ValueError(
            "it normalises by the batch's own statistics, as in training: export the network in evaluation mode "
            "(in PyTorch after model.eval())"
        )
    if not options.get("spatial", 1):
        raise ValueError("only normalisation by the channels' running averages is known here")
    value = _value(x)
    value = builder.channels_last(value) if len(value.shape) > 1 else builder.restored(value)
    params = {"scale": _floats(scale, "scale"), "bias": _floats(bias, "bias")}
    state = {"mean": _floats(mean, "mean"), "var": _floats(var, "variance")}
    if any(leaf.shape != value.shape[:1] for leaf in (*params.values(), *state.values())):
        raise ValueError(f"its parameters do not have one number for each of {value.shape[0]} channels")
    arguments = {"decay": float(options["momentum"]), "eps": float(options["epsilon"])}
    return builder.add("batch_norm", arguments, value, params=params, state=state)


def _instance_norm(builder: Builder, options: Options, x: Input, scale: Input, bias: Input) -> Value:
    params = {"scale": _floats(scale, "scale"), "bias": _floats(bias, "bias")}
    arguments = {"eps": float(options["epsilon"])}
    return builder.add("instance_norm", arguments, builder.channels_last(_value(x)), params=params)


def _group_norm(builder: Builder, options: Options, x: Input, scale: Input, bias: Input) -> Value:
    value, groups = builder.channels_last(_value(x)), int(options["num_groups"])
    params = {"scale": _floats(scale, "scale"), "bias": _floats(bias, "bias")}
    if builder.opset < 21:  # one number for each group, in the first version of the operator
        params = {name: leaf.repeat(value.shape[0] // groups) for name, leaf in params.items()}
    arguments = {"groups": groups, "eps": float(options["epsilon"])}
    return builder.add("group_norm", arguments, value, params=params)


def _layer_norm(builder: Builder, options: Options, x: Input, scale: Input, bias: Input = None) -> Value:
    value = builder.restored(_value(x))
    first = _axis(int(options["axis"]), value)
    over = range(first, len(value.shape))
    shape = tuple(value.shape[a] for a in over)
    here = [a - first for a in value.order if a in over]  # the leaves' axes in the order of the value's
    given = {
        "scale": _floats(scale, "scale"),
        "bias": np.zeros((), np.float32) if bias is None else _floats(bias, "bias"),
    }
    params = {name: np.ascontiguousarray(np.broadcast_to(leaf, shape).transpose(here)) for name, leaf in given.items()}
    axes = tuple(1 + k for k, a in enumerate(value.order) if a in over)
    return builder.add("layer_norm", {"axes": axes, "eps": float(options["epsilon"])}, value, params=params)


def _lrn(builder: Builder, options: Options, x: Input) -> Value:
    settings = {
        "size": int(options["size"]),
        "alpha": float(options["alpha"]),
        "beta": float(options["beta"]),
        "k": float(options["bias"]),
    }
    return builder.add("local_response_norm", settings, builder.channels_last(_value(x)))


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pool(builder: Builder, options: Options, x: Input, *, name: str) -> Value:
    value = builder.channels_last(_value(x))
    window = tuple(int(k) for k in options["kernel_shape"])
    settings = {"window": window, **_windows(options, _spatial(value), window)}
    settings["ceil_mode"] = bool(options.get("ceil_mode", 0))
    if name == "avg_pool":
        settings["count_include_pad"] = bool(options.get("count_include_pad", 0))
    return builder.add(name, settings, value)


def _global_pool(builder: Builder, options: Options, x: Input, *, name: str) -> Value:
    value = builder.channels_last(_value(x))
    return builder.add(name, {"axes": tuple(range(1, len(value.shape))), "keepdims": True}, value)


def _reduce(builder: Builder, options: Options, *given: Input, name: str) -> Value:
    value = builder.restored(_value(given[0]))
    listed = _ints_of(options, "axes", given, 1)
    if not listed:
        if options.get("noop_with_empty_axes"):
            return value
        raise ValueError("it reduces all axes, and so the examples, which must not depend on each other")
    over = [_axis(a, value) for a in listed]
    axes, keepdims = tuple(1 + value.order.index(a) for a in over), bool(options["keepdims"])
    if keepdims:
        return builder.add(name, {"axes": axes, "keepdims": True}, value)
    kept = sorted(set(range(len(value.shape))) - set(over))
    return builder.add(name, {"axes": axes}, value, order=[kept.index(a) for a in value.order if a in kept])


# --- activations ------------------------------------------------------------------------------------------------------


def _activation(
    builder: Builder,
    options: Options,
    x: Input,
    *,
    name: str,
    arguments: Callable[[Options], Options] = lambda options: {},
) -> Value:
    return builder.unary(name, arguments(options), _value(x))


def _hard_sigmoid(builder: Builder, options: Options, x: Input) -> Value:
    value, alpha = _value(x), float(options["alpha"])
    if alpha < 0:
        value = builder.unary("negative", {}, value)
    return builder.unary("hard_sigmoid", {"alpha": abs(alpha), "beta": float(options["beta"])}, value)


def _selu(builder: Builder, options: Options, x: Input) -> Value:
    alpha, gamma = float(options["alpha"]), float(options["gamma"])
    if [float(np.float32(number)) for number in (alpha, gamma)] == SELU:
        return builder.unary("selu", {}, _value(x))
    y = builder.unary("elu", {"alpha": alpha}, _value(x))
    return _affine(builder, y, {"scale": np.array(gamma, np.float32)})


def _prelu(builder: Builder, options: Options, x: Input, slope: Input) -> Value:
    if isinstance(slope, Value):  # relu(x) - slope relu(-x)
        below = builder.unary("relu", {}, builder.unary("negative", {}, _value(x)))
        return _joined(
            builder, "subtract", builder.unary("relu", {}, _value(x)), _joined(builder, "multiply", slope, below)
        )
    value, leaf = _leaf_here(builder, _value(x), slope, "slope")
    arguments = {} if leaf.shape == value.shape_here[-1:] else {"slope_shape": leaf.shape}
    return builder.unary("prelu", arguments, value, params={"slope": leaf})


def _clip(builder: Builder, options: Options, x: Input, low: Input = None, high: Input = None) -> Value:
    least = options.get("min", -math.inf) if low is None else _number(low, "min")
    most = options.get("max", math.inf) if high is None else _number(high, "max")
    return _clipped(builder, _value(x), min(least, most), most)


def _clipped(builder: Builder, x: Value, least: float, most: float) -> Value:
    # the default of old opsets is the largest float
    bounds = {"lower": least} if least > np.finfo(np.float32).min else {}
    bounds |= {"upper": most} if most < np.finfo(np.float32).max else {}
    named = {"relu": {"lower": 0}, "relu6": {"lower": 0, "upper": 6}, "hard_tanh": {"lower": -1, "upper": 1}}
    name = next((name for name, ends in named.items() if ends == bounds), None)
    if name or not bounds:
        return builder.unary(name, {}, x) if name else x
    return builder.unary("clip", bounds, x)


def _softmax(builder: Builder, options: Options, x: Input, *, name: str) -> Value:
    value = _value(x)
    axis = _axis(int(options["axis"]), value)
    if builder.opset < 13 and math.prod(value.shape[axis + 1 :]) > 1:
        # then it was over all axes from this one on together
        merged = builder.reshaped(value, (*value.shape[:axis], math.prod(value.shape[axis:])))
        y = builder.add(name, {"axis": merged.order.index(axis) + 1}, builder.restored(merged))
        return builder.reshaped(y, value.shape)
    return builder.unary(name, {"axis": _axis_here(int(options["axis"]), value)}, value)


def _identity(builder: Builder, options: Options, x: Input, *others: Input) -> Value:
    return _value(x)


def _cast(builder: Builder, options: Options, x: Input) -> Value:
    if int(options["to"]) not in (1, 10, 11, 16):  # float, float16, double, bfloat16
        raise ValueError("values become integers, which have no gradient")
    return _value(x)


def _dropout(builder: Builder, options: Options, x: Input, ratio: Input = None, *rest: Input) -> Value:
    rate = float(options.get("ratio", 0.5)) if ratio is None else _number(ratio, "ratio")
    return builder.unary("dropout", {"rate": rate}, _value(x))


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _leaf_here(builder: Builder, x: Value, constant: Input, name: str = "constant") -> tuple[Value, Array]:
    """Return a constant that ONNX broadcasts with a value as it broadcasts to an example here, without leading ones.

    Where the constant is the longer one, the value comes back repeated.
    """
    rank = len(x.shape)
    array = _example_array(builder, constant, rank, name)
    leaf = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if any(1 != a != b for a, b in zip(leaf.shape, x.shape, strict=True)):
        if any(1 not in (a, b) and a != b for a, b in zip(leaf.shape, x.shape, strict=True)):
            raise ValueError(f"its {name} {leaf.shape} does not broadcast to examples of shape {x.shape}")
        x = builder.restored(x)
        longest = np.broadcast_shapes(leaf.shape, x.shape)
        x = builder.add("broadcast_to", {"shape": tuple(longest[a] for a in x.order)}, x)
    if x.flattened is not None and leaf.size > 1:
        here = np.empty_like(leaf)
        here[features_here(*x.flattened)] = leaf
        leaf = here
    leaf = leaf.transpose(x.order)
    while leaf.ndim and leaf.shape[0] == 1 and (leaf.ndim > 1 or array.ndim == 0):
        leaf = leaf[0]
    return x, np.ascontiguousarray(leaf).reshape(leaf.shape)


def _example_array(builder: Builder, constant: Input, rank: int, name: str) -> Array:
    """Return a constant for examples of so many axes without an axis of examples, along which it may be repeated."""
    if not isinstance(constant, Known):
        raise ValueError(f"its {name} must be constant here")
    two, three = constant
    if two.ndim <= rank:
        return _floats(constant, name)
    batches = (len(two), len(three))
    if two.ndim > rank + 1 or batches not in ((1, 1), BATCHES, (builder.fixed_batch,) * 2):
        raise ValueError(f"its {name} {two.shape} does not fit examples of {rank} axes")
    if any(not np.array_equal(row, two[0], equal_nan=True) for row in (*two, *three)):
        raise ValueError(f"its {name} {two.shape} does not fit: it differs between examples")
    return np.ascontiguousarray(two[0], np.float32).reshape(two.shape[1:])


def _parameter(builder: Builder, x: Value, leaf: Array) -> Value:
    """Append an array of parameters, its axes in the order of the value's, to be joined with the value."""
    return builder.add("parameter", {"shape": leaf.shape}, x, order=x.order, params={"value": leaf})


def _scaled(builder: Builder, x: Value, scale: Array) -> Value:
    """Multiply by a constant: in the affine layer that made x, if nothing else reads that."""
    made = builder.sole_reader(x)
    if made is None or made.layer != "affine":
        return _affine(builder, x, {"scale": scale})
    params = {"scale": np.ones((), np.float32), **made.params}
    return _affine(builder, x, {name: leaf * scale for name, leaf in params.items()}, instead=True)


def _shifted(builder: Builder, x: Value, bias: Array) -> Value:
    """Add a constant: in the affine layer that made x, or as the bias it lacks, if nothing else reads that."""
    made = builder.sole_reader(x)
    if made is None:
        return _affine(builder, x, {"bias": bias})
    if made.arguments.get("bias") is False and bias.ndim <= 1 and x.flattened is None:
        leaf = np.ascontiguousarray(np.broadcast_to(bias, x.shape_here[-1:]))
        builder.replace(x.node, {"bias": True}, {**made.params, "b": leaf})
        return x
    if made.layer == "affine":
        params = {**made.params, "bias": made.params.get("bias", np.zeros((), np.float32)) + bias}
        return _affine(builder, x, params, instead=True)
    return _affine(builder, x, {"bias": bias})


def _affine(builder: Builder, x: Value, params: Tree, *, instead: bool = False) -> Value:
    """Append an affine layer, or put it in the place of the one that made x."""
    shapes = {f"{name}_shape": params[name].shape if name in params else False for name in ("scale", "bias")}
    if not instead:
        return builder.unary("affine", shapes, x, params=params)
    builder.replace(x.node, shapes, params)
    return x


def _add(builder: Builder, options: Options, a: Input, b: Input) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return _joined(builder, "add", a, b)
    x, constant = (a, b) if isinstance(a, Value) else (_value(b), a)
    return _shifted(builder, *_leaf_here(builder, x, constant))


def _sub(builder: Builder, options: Options, a: Input, b: Input) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return _joined(builder, "subtract", a, b)
    if isinstance(a, Value):
        a, leaf = _leaf_here(builder, a, b)
        return _shifted(builder, a, -leaf)
    y = builder.unary("negative", {}, _value(b))
    return _shifted(builder, *_leaf_here(builder, y, a))


def _mul(builder: Builder, options: Options, a: Input, b: Input) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return _joined(builder, "multiply", a, b)
    x, constant = (a, b) if isinstance(a, Value) else (_value(b), a)
    return _scaled(builder, *_leaf_here(builder, x, constant))


def _div(builder: Builder, options: Options, a: Input, b: Input) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        return _joined(builder, "divide", a, b)
    if isinstance(a, Value):
        a, divisor = _leaf_here(builder, a, b)
        if not divisor.all():
            raise ValueError("it divides by a constant that is 0")
        return _scaled(builder, a, np.float32(1) / divisor)
    y = builder.unary("power", {"exponent": -1.0}, _value(b))
    return _scaled(builder, *_leaf_here(builder, y, a))


def _extreme(builder: Builder, options: Options, *xs: Input, name: str) -> Value:
    y, *others = sorted(xs, key=lambda x: not isinstance(x, Value))
    y = _value(y)
    for x in others:
        if isinstance(x, Value):
            y = _joined(builder, name, y, x)
            continue
        y, leaf = _leaf_here(builder, y, x)
        if leaf.size == 1:
            number = float(leaf.reshape(()))
            y = _clipped(builder, y, *((number, math.inf) if name == "maximum" else (-math.inf, number)))
            continue
        array = _parameter(builder, y, leaf.reshape(*(1,) * (len(y.shape) - leaf.ndim), *leaf.shape))
        y = builder.add(name, {"broadcast": True}, y, array)._replace(flattened=y.flattened)
    return y


def _abs(builder: Builder, options: Options, x: Input) -> Value:
    value = _value(x)
    return _joined(builder, "maximum", value, builder.unary("negative", {}, value))


def _sum(builder: Builder, options: Options, *xs: Input) -> Value:
    y, *others = sorted(xs, key=lambda x: not isinstance(x, Value))
    for x in others:
        y = _add(builder, options, y, x)
    return _value(y)


def _pow(builder: Builder, options: Options, x: Input, exponent: Input) -> Value:
    if isinstance(exponent, Value):
        base = _floats(x, "base")  # where both are computed, x must be constant
        if not (base > 0).all():
            raise ValueError("its base must be positive where its exponent is computed")
        logarithm = Known(*(np.log(array.astype(np.float32)) for array in x)) if isinstance(x, Known) else x
        y, leaf = _leaf_here(builder, exponent, logarithm, "base")
        return builder.unary("exp", {}, _scaled(builder, y, leaf))
    value, leaf = _leaf_here(builder, _value(x), exponent, "exponent")
    if leaf.size > MOST_EXPONENTS:
        raise ValueError(f"its exponent has {leaf.size:,} numbers, more than {MOST_EXPONENTS:,}")
    one_number = leaf.size and (leaf == leaf.ravel()[0]).all()
    return builder.unary("power", {"exponent": float(leaf.ravel()[0]) if one_number else to_tuple(leaf)}, value)


def _joined(builder: Builder, name: str, a: Value, b: Value) -> Value:
    """Append a layer of two values of equally many axes."""
    if a.flattened != b.flattened:
        a, b = builder.restored(a), builder.restored(b)
    if len(a.shape) != len(b.shape):
        raise ValueError(f"examples of shapes {a.shape} and {b.shape} cannot be joined, as the examples' axes differ")
    shape = np.broadcast_shapes(a.shape, b.shape)
    order = a.order if a.shape == shape else b.order
    parts = [builder.ordered(x, order) if x.flattened is None else x for x in (a, b)]
    return builder.add(name, {"broadcast": True} if a.shape != b.shape else {}, *parts)._replace(flattened=a.flattened)


# --- arrays arranged, cut and put together ----------------------------------------------------------------------------


def _concat(builder: Builder, options: Options, *xs: Input) -> Value:
    first = builder.restored(next(x for x in xs if isinstance(x, Value)))
    if len(xs) == 1:
        return first
    axis, rank = _axis_here(int(options["axis"]), first), len(first.shape)

    def part(x: Input) -> Value:
        if isinstance(x, Value):
            return builder.ordered(x, first.order)
        array = _example_array(builder, x, rank, "constant")
        if isinstance(x, Known) and x.for_two.ndim != rank + 1:
            raise ValueError(f"its constant {array.shape} does not have the axes of examples {first.shape}")
        return _parameter(builder, first, np.ascontiguousarray(array.transpose(first.order)))

    return builder.add("concat", {"axis": axis}, *map(part, xs))


def _part(builder: Builder, x: Value, bounds: Mapping[int, tuple[int, int, int]]) -> Value:
    """Cut out a part of the value: start, stop and step by ONNX's axis of an example."""
    whole = [bounds.get(a, (0, x.shape[a], 1)) for a in x.order]
    if all(bound == (0, size, 1) for bound, size in zip(whole, x.shape_here, strict=True)):
        return x
    return builder.add("crop", {"bounds": whole}, x)


def _split(builder: Builder, options: Options, *given: Input) -> list[Value]:
    value = builder.restored(_value(given[0]))
    axis = _axis(int(options["axis"]), value)
    sizes = _ints_of(options, "split", given, 1)
    if sizes is None:
        count = options["outputs"]
        if options.get("num_outputs", count) != count:
            raise ValueError(f"it has {count} outputs for {options['num_outputs']} parts")
        each = math.ceil(value.shape[axis] / count)
        sizes = [each] * (count - 1) + [value.shape[axis] - each * (count - 1)]
    if len(sizes) != options["outputs"] or sum(sizes) != value.shape[axis] or min(sizes) < 1:
        raise ValueError(f"the parts {sizes} are not those of {value.shape[axis]}")
    ends = np.cumsum(sizes).tolist()
    return [_part(builder, value, {axis: (end - size, end, 1)}) for size, end in zip(sizes, ends, strict=True)]


def _slice(builder: Builder, options: Options, *given: Input) -> Value:
    value = builder.restored(_value(given[0]))
    starts, ends = (_ints_of(options, name, given, at) for at, name in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        raise ValueError("it needs starts and ends")
    axes = _ints_of(options, "axes", given, 3) or list(range(len(starts)))
    steps = _ints_of(options, "steps", given, 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} are not equally many")
    bounds = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis in (0, -len(value.shape) - 1) and (start, step) == (0, 1) and end >= 2**31 - 1:
            continue
        along = _axis(axis, value)
        begin, stop, _ = slice(start, end, step).indices(value.shape[along])
        if not range(begin, stop, step):
            raise ValueError(f"nothing is left of {value.shape[along]} positions between {start} and {end}")
        bounds[along] = (begin, stop, step)
    return _part(builder, value, bounds)


def _gather(builder: Builder, options: Options, x: Input, indices: Input) -> Value:
    if isinstance(indices, Value):
        table = _floats(x, "table")
        if int(options["axis"]) != 0 or table.ndim != 2:
            raise ValueError(f"a table {table.shape} must have one row for each id")
        arguments = {"vocabulary": len(table), "features": table.shape[1]}
        order = (*indices.order, len(indices.order))
        return builder.add("embedding", arguments, indices, order=order, params={"w": table})
    value, wanted = builder.restored(_value(x)), _constant(indices, "indices")
    if wanted.dtype.kind not in "iu":
        raise ValueError("its indices must be integers")
    axis = _axis(int(options["axis"]), value)
    size = value.shape[axis]
    listed = [int(i) + (size if i < 0 else 0) for i in wanted.ravel()]
    if not listed or not all(0 <= i < size for i in listed):
        raise ValueError(f"its indices {wanted.tolist()} are not all of {size} positions")
    runs = _runs(listed)
    if len(runs) > MOST_RUNS:
        raise ValueError(f"its {len(listed):,} indices have {len(runs):,} parts at equal distances, over {MOST_RUNS}")
    parts = [_part(builder, value, {axis: bounds}) for bounds in runs]
    along = {"axis": 1 + value.order.index(axis)}
    y = parts[0] if len(parts) == 1 else builder.add("concat", along, *parts)
    return builder.reshaped(y, (*y.shape[:axis], *wanted.shape, *y.shape[axis + 1 :]))


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return indices as start, stop and step of ranges, one after the other."""
    runs: list[list[int]] = []
    for index in indices:
        run = runs[-1] if runs else []
        step = run[1] - run[0] if len(run) > 1 else index - run[0] if run else 0
        if step and index == run[-1] + step:
            run.append(index)
        else:
            runs.append([index])
    steps = [run[1] - run[0] if len(run) > 1 else 1 for run in runs]
    return [(run[0], run[-1] + (1 if step > 0 else -1), step) for run, step in zip(runs, steps, strict=True)]


def _reshape(builder: Builder, options: Options, x: Input, shape: Input = None) -> Value:
    value = _value(x)
    if shape is None:
        targets = [list(options["shape"])] * 2
    elif not isinstance(shape, Known):
        raise ValueError("its shape must be constant here")
    else:
        targets = [[int(s) for s in array.ravel()] for array in shape]
    return builder.reshaped(value, _target_shape(builder, value, targets, bool(options.get("allowzero", 0))))


def _target_shape(builder: Builder, x: Value, targets: Sequence[list[int]], allowzero: bool) -> tuple[int, ...]:
    """Return the new shape of an example; ``targets`` are those of 2 and of 3 examples."""
    first, rest = targets[0][:1], targets[0][1:]
    size = math.prod(x.shape)
    if rest == targets[1][1:] and first:
        if not allowzero:
            rest = [x.shape[a] if s == 0 and a < len(x.shape) else s for a, s in enumerate(rest)]
        known = math.prod(s for s in rest if s != -1)
        if -1 in rest and known and size % known == 0:
            rest = [size // known if s == -1 else s for s in rest]
        whole = (first[0], targets[1][0]) == BATCHES or first[0] in (0, -1, 1, builder.fixed_batch)
        if whole and math.prod(rest) == size and min(rest, default=1) > 0:
            return tuple(rest)
    raise ValueError(
        f"examples of shape {x.shape} would be mixed by the shape {targets[0]}: export the network with a batch "
        "axis that stays the first, of any size"
    )


def _flatten(builder: Builder, options: Options, x: Input) -> Value:
    value = _value(x)
    axis = int(options["axis"])
    if axis % (len(value.shape) + 1) != 1:
        raise ValueError(f"axis {axis} would merge the examples with their entries")
    return builder.reshaped(value, (math.prod(value.shape),))


def _transpose(builder: Builder, options: Options, x: Input) -> Value:
    value = builder.restored(_value(x))
    rank = len(value.shape) + 1
    perm = [int(p) for p in options.get("perm") or range(rank)[::-1]]
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise ValueError(f"perm {perm} must leave the examples, axis 0, in front")
    moved = [p - 1 for p in perm[1:]]
    return Value(value.node, tuple(value.shape[a] for a in moved), tuple(moved.index(a) for a in value.order))


def _squeeze(builder: Builder, options: Options, *given: Input) -> Value:
    value = _value(given[0])
    listed = _ints_of(options, "axes", given, 1)
    axes = [a for a, s in enumerate(value.shape) if s == 1] if listed is None else [_axis(a, value) for a in listed]
    if any(value.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {listed} of examples {value.shape} are not all of size 1")
    return builder.reshaped(value, [s for a, s in enumerate(value.shape) if a not in axes])


def _unsqueeze(builder: Builder, options: Options, *given: Input) -> Value:
    value = _value(given[0])
    listed = _ints_of(options, "axes", given, 1) or []
    rank = len(value.shape) + 1 + len(listed)
    axes = {_in_range(a, rank) for a in listed}
    if len(axes) < len(listed):
        raise ValueError(f"axes {listed} name one twice")
    if 0 in axes:
        raise ValueError(f"axes {listed} would put a new axis before the examples")
    sizes = iter(value.shape)
    return builder.reshaped(value, [1 if a in axes else next(sizes) for a in range(1, rank)])


def _expand(builder: Builder, options: Options, x: Input, shape: Input) -> Value:
    value = builder.restored(_value(x))
    if not isinstance(shape, Known):
        raise ValueError("its shape must be constant here")
    wanted = [int(s) for s in shape.for_two.ravel()][-len(value.shape) :]
    if (
        shape.for_two.size > len(value.shape) + 1
        or wanted != [int(s) for s in shape.for_three.ravel()][-len(value.shape) :]
    ):
        raise ValueError(f"examples of shape {value.shape} would be mixed by the shape {shape.for_two.tolist()}")
    target = np.broadcast_shapes(value.shape, tuple(wanted))
    return builder.add("broadcast_to", {"shape": tuple(target[a] for a in value.order)}, value)


def _pad(builder: Builder, options: Options, *given: Input) -> Value:
    value = _value(given[0])
    widths = _ints_of(options, "pads", given, 1)
    number = float(options.get("value", 0.0))
    if len(given) > 2 and given[2] is not None:
        number = _number(given[2], "constant_value")
    rank = len(value.shape) + 1
    if widths is None:
        raise ValueError("it needs pads")
    axes = _ints_of(options, "axes", given, 3) or list(range(rank))
    both = {_in_range(a, rank): pair for a, pair in zip(axes, _pairs(widths, len(axes)), strict=True) if any(pair)}
    if not both:
        return value
    if 0 in both:
        raise ValueError("it adds examples")
    value = builder.restored(value)
    if any(min(pair) < 0 for pair in both.values()):
        cut = {a - 1: (max(-lo, 0), value.shape[a - 1] - max(-hi, 0), 1) for a, (lo, hi) in both.items()}
        value = _part(builder, value, cut)
        both = {a: (max(lo, 0), max(hi, 0)) for a, (lo, hi) in both.items()}
    # `pad` widens all axes but the last: put one that is not widened there, or one that is new
    last = next((a for a in reversed(value.order) if a + 1 not in both), len(value.shape))
    if last == len(value.shape):
        value = builder.add("reshape", {"shape": (*value.shape_here, 1)}, value, order=(*value.order, last))
    if not 2 <= len(value.shape) <= 4:
        raise ValueError(f"examples of shape {value.shape} are not padded here")
    value = builder.ordered(value, (*(a for a in value.order if a != last), last))
    pairs = tuple(both.get(a + 1, (0, 0)) for a in value.order[:-1])
    y = builder.add("pad", {"widths": pairs, "mode": options["mode"], "value": number}, value)
    return y if last < rank - 1 else builder.reshaped(y, y.shape[:-1])


def _depth_to_space(builder: Builder, options: Options, x: Input) -> Value:
    value, block = builder.channels_last(_value(x)), int(options["blocksize"])
    if options.get("mode", "DCR") == "CRD" and block > 1:
        # the channels of one output channel are neighbours; `depth_to_space` has those of one position together
        *size, channels = value.shape_here
        split = builder.add("reshape", {"shape": (*size, channels // block**2, block**2)}, value, order=(1, 2, 0, 3))
        moved = builder.add("transpose", {"axes": (0, 1, 2, 4, 3)}, split, order=(1, 2, 3, 0))
        value = builder.add("reshape", {"shape": (*size, channels)}, moved, order=(1, 2, 0))
    return builder.add("depth_to_space", {"block": block}, value)


def _space_to_depth(builder: Builder, options: Options, x: Input) -> Value:
    return builder.add("space_to_depth", {"block": int(options["blocksize"])}, builder.channels_last(_value(x)))


def _resize(builder: Builder, options: Options, x: Input, *given: Input) -> Value:
    """Resize and its forerunner Upsample, whose scales are an attribute in opset 7."""
    value = _value(x)
    rank = len(value.shape) + 1
    if options.get("antialias") or options.get("exclude_outside"):
        raise ValueError("antialias and exclude_outside are not known here")
    mode = {"nearest": "nearest", "linear": "linear", "bilinear": "linear"}.get(options["mode"])
    coordinates = options.get("coordinate_transformation_mode", "asymmetric")
    if mode is None or coordinates not in COORDINATES:
        raise ValueError(f"mode {options['mode']!r} with coordinates {coordinates!r} is not known here")
    roi, scales, sizes, *_ = (*(given if builder.opset > 10 else (None, *given)), None, None, None)
    axes = [_in_range(int(a), rank) for a in options.get("axes") or range(rank)]
    shape = (BATCHES[0], *value.shape)
    parts = [(0.0, 1.0)] * rank
    if coordinates == "tf_crop_and_resize":
        bounds = _floats(roi, "roi").astype(np.float64)
        if bounds.shape != (2 * len(axes),):
            raise ValueError(f"its roi {bounds.shape} does not have a start and an end for each of {len(axes)} axes")
        for a, (start, end) in zip(axes, bounds.reshape(2, -1).T.tolist(), strict=True):
            parts[a] = (start, end)
    numbers = list(options["scales"]) if "scales" in options else None
    if scales is not None and _constant(scales, "scales").size:
        numbers = _constant(scales, "scales").astype(np.float64).tolist()
    if numbers is not None:
        by_axis = dict(zip(axes, numbers, strict=True))
        factors = [float(by_axis.get(a, 1)) for a in range(rank)]
        out = [math.floor(s * f) for s, f in zip(shape, factors, strict=True)]
    elif isinstance(sizes, Known):
        wanted = {0: shape[0], **_sizes(sizes, axes)}
        out = [wanted.get(a, shape[a]) for a in range(rank)]
        factors = [o / s for o, s in zip(out, shape, strict=True)]
        choose = {"not_larger": min, "not_smaller": max}.get(options.get("keep_aspect_ratio_policy", "stretch"))
        if choose is not None:
            factor = choose(factors[a] for a in axes if a > 0)
            factors = [factor if a in axes and a > 0 else 1.0 for a in range(rank)]
            out = [math.floor(s * f + 0.5) for s, f in zip(shape, factors, strict=True)]
    else:
        raise ValueError("it needs scales or sizes")
    kept = [factors[a] == 1 and parts[a] == (0, 1) for a in range(rank)]
    last = next((a for a in range(rank - 1) if kept[a + 1]), None)  # as a rule the channels
    if last is None or not kept[0] or min(out) < 1 or math.prod(out) > LARGEST_EXAMPLE:
        raise ValueError(f"factors {factors} of examples {value.shape} are not known here: one axis must stay as it is")
    value = builder.ordered(value, (*(a for a in range(rank - 1) if a != last), last))
    resized = [a + 1 for a in value.order[:-1]]
    rounding = options.get("nearest_mode") or "floor"
    whole = [int(factors[a]) for a in resized]
    if (mode, coordinates, rounding) == ("nearest", "asymmetric", "floor") and whole == [factors[a] for a in resized]:
        return builder.add("upsample", {"factor": tuple(whole)}, value)
    arguments = {
        "size": tuple(out[a] for a in resized),
        "mode": mode,
        "coordinates": coordinates,
        "rounding": rounding,
    }
    if coordinates == "tf_crop_and_resize":
        arguments |= {"roi": tuple(parts[a] for a in resized), "outside": float(options["extrapolation_value"])}
    else:
        arguments["factors"] = tuple(factors[a] for a in resized)
    return builder.add("resize", arguments, value)


def _sizes(sizes: Known, axes: Sequence[int]) -> dict[int, int]:
    """Return the sizes by axis, without that of axis 0, the number of examples, which is often among them."""
    two, three = (
        {a: int(size) for a, size in zip(axes, given.ravel(), strict=True) if a > 0}
        for given in (sizes.for_two, sizes.for_three)
    )
    if two != three:
        raise ValueError("its sizes must not change with the number of examples")
    return two


def _elementwise(name: str, **arguments: str) -> Callable[..., Value]:
    """Return a writer of an elementwise layer; each of its arguments is the float attribute of the given name."""
    return partial(_activation, name=name, arguments=lambda o: {k: float(o[v]) for k, v in arguments.items()})


OPERATORS: Mapping[str, Callable[..., Value | list[Value]]] = {
    "Abs": _abs,
    "Add": _add,
    "AveragePool": partial(_pool, name="avg_pool"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": _elementwise("celu", alpha="alpha"),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _elementwise("elu", alpha="alpha"),
    "Erf": _elementwise("erf"),
    "Exp": _elementwise("exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": partial(_activation, name="gelu", arguments=lambda o: {"approximate": o["approximate"] == "tanh"}),
    "Gemm": _gemm,
    "GlobalAveragePool": partial(_global_pool, name="reduce_mean"),
    "GlobalMaxPool": partial(_global_pool, name="reduce_max"),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _elementwise("hard_swish"),
    "Identity": _identity,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _elementwise("leaky_relu", slope="alpha"),
    "Log": _elementwise("log"),
    "LogSoftmax": partial(_softmax, name="log_softmax"),
    "MatMul": _matmul,
    "Max": partial(_extreme, name="maximum"),
    "MaxPool": partial(_pool, name="max_pool"),
    "Min": partial(_extreme, name="minimum"),
    "Mish": _elementwise("mish"),
    "Mul": _mul,
    "Neg": _elementwise("negative"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pow,
    "ReduceMax": partial(_reduce, name="reduce_max"),
    "ReduceMean": partial(_reduce, name="reduce_mean"),
    "ReduceSum": partial(_reduce, name="reduce_sum"),
    "Reciprocal": partial(_activation, name="power", arguments=lambda o: {"exponent": -1.0}),
    "Relu": _elementwise("relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _selu,
    "Sigmoid": _elementwise("sigmoid"),
    "Slice": _slice,
    "Softmax": partial(_softmax, name="softmax"),
    "Softplus": _elementwise("softplus"),
    "Softsign": _elementwise("softsign"),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sqrt": _elementwise("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Sum": _sum,
    "Tanh": _elementwise("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
