"""ONNX's operators by funcnn's functions: what lies between the two conventions, and nothing else.

ONNX keeps images as (N, C, spatial...) and convolution weights as (out, in, kernel...), funcnn (N, spatial..., C) and
(kernel..., in, out). `OPERATORS` has a function for each operator:

    outputs = OPERATORS["Conv"](attributes, *inputs)

``attributes`` are all those of the operator, the defaults filled in, and "outputs", the number of outputs requested; an
input that is left out is None. A function that has more outputs than are requested returns them all. What funcnn has no
way to say, it refuses with a ValueError, or funcnn does.
"""

import math
from functools import partial

import numpy as np

from funcnn import layers, losses, ops, optim


def require(condition, what):
    if not condition:
        raise ValueError(f"funcnn has no {what}")


# Layout


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def channels_first(y):
    return np.moveaxis(y, -1, 1)


def kernel_first(w):
    """(O, I, K...) to (K..., I, O)."""
    return w.transpose(*range(2, w.ndim), 1, 0)


def on_images(op, x, *args, **options):
    """Apply an op that maps images to images."""
    return channels_first(op(channels_last(x), *args, **options)[0])


def rearranged(op, x, *args, **options):
    """Apply an op that computes nothing, but only moves or selects entries, so that float64 can stand for integers."""
    if x.dtype.kind == "f":
        return on_images(op, x, *args, **options)
    return on_images(op, x.astype(np.float64), *args, **options).astype(x.dtype)


def affine(scale, bias):
    return {"scale": scale, "bias": bias}


def weights(w, b):
    """Return the params of a linear op, and whether there is a bias in them."""
    return ({"w": w}, False) if b is None else ({"w": w, "b": b}, True)


# Windows


def window(a, size, kernel):
    """Return stride, padding and dilation of attributes in which every axis has an entry, or the attribute is empty."""
    rank = len(size)
    stride = tuple(a.get("strides", [1] * rank))
    dilation = tuple(a.get("dilations", [1] * rank))
    ends = a.get("pads", [0] * 2 * rank)
    padding = tuple(zip(ends[:rank], ends[rank:], strict=True))
    if a["auto_pad"] == "VALID":
        padding = "valid"
    elif a["auto_pad"] == "SAME_UPPER":
        padding = "same"
    elif a["auto_pad"] == "SAME_LOWER":  # as "same", but the odd position is at the start
        out = [math.ceil(s / t) for s, t in zip(size, stride, strict=True)]
        totals = [max(total, 0) for total in totals_of_padding(size, out, kernel, stride, dilation)]
        padding = tuple((total - total // 2, total // 2) for total in totals)
    return {"stride": stride, "padding": padding, "dilation": dilation}


def totals_of_padding(size, out, kernel, stride, dilation):
    """Return, for each axis, how many positions ``out`` windows need beyond ``size``; negative if some are unused."""
    return [
        (o - 1) * t + d * (k - 1) + 1 - s for s, o, k, t, d in zip(size, out, kernel, stride, dilation, strict=True)
    ]


def conv(a, x, w, b=None):
    options = window(a, x.shape[2:], w.shape[2:])
    params, bias = weights(kernel_first(w), b)
    y, _ = ops.conv(params, channels_last(x), **options, groups=a["group"], bias=bias)
    return channels_first(y)


def conv_transpose(a, x, w, b=None):
    size, kernel = x.shape[2:], w.shape[2:]
    options = window(a, size, kernel)
    output_padding = tuple(a.get("output_padding", [0] * len(size)))
    if "output_shape" in a:  # what lies beyond it is padding, the odd position at the start; what it lacks is added
        needed = totals_of_padding(a["output_shape"], size, kernel, options["stride"], options["dilation"])
        beyond = [n + more for n, more in zip(needed, output_padding, strict=True)]
        output_padding = tuple(more + max(-n, 0) for n, more in zip(beyond, output_padding, strict=True))
        halves = [(max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in beyond]
        options["padding"] = tuple((lo, hi) if a["auto_pad"] == "SAME_UPPER" else (hi, lo) for lo, hi in halves)
    params, bias = weights(kernel_first(w), b)
    y, _ = ops.conv_transpose(
        params, channels_last(x), **options, output_padding=output_padding, groups=a["group"], bias=bias
    )
    return channels_first(y)


def causal_conv(a, x, w, b=None, past=None):
    """A depthwise convolution of each position and the K - 1 before it, which an earlier call may have seen."""
    k, channels = w.shape[2], w.shape[0]
    past = np.zeros((*x.shape[:2], k - 1), x.dtype) if past is None else past
    seen, _ = ops.concat(past, x, axis=2)
    params, bias = weights(kernel_first(w), b)
    y, _ = ops.conv(params, channels_last(seen), groups=channels, bias=bias)
    if a["activation"] in ("silu", "swish"):
        y, _ = ops.silu(y)
    return channels_first(y), seen[:, :, seen.shape[2] - (k - 1) :]


def max_pool(a, x):
    options = window(a, x.shape[2:], a["kernel_shape"]) | {"ceil_mode": bool(a["ceil_mode"])}
    y = rearranged(ops.max_pool, x, tuple(a["kernel_shape"]), **options)
    if a["outputs"] == 1:
        return y
    return y, argmax_indices(partial(ops.max_pool, window=tuple(a["kernel_shape"]), **options), x, a["storage_order"])


def argmax_indices(pool, x, storage_order):
    """Return where in x, counted over all of it, each output comes from: where the VJP sends its cotangent."""
    y, vjp = pool(channels_last(x))
    indices = np.empty(y.shape, np.int64)
    order = (0, 1, *reversed(range(2, x.ndim))) if storage_order else range(x.ndim)
    for i in np.ndindex(*y.shape):
        dy = np.zeros_like(y)
        dy[i] = 1
        (indices[i],) = np.flatnonzero(channels_first(vjp(dy)).transpose(order))
    return channels_first(indices)


def avg_pool(a, x):
    options = window(a, x.shape[2:], a["kernel_shape"])
    flags = {"ceil_mode": bool(a["ceil_mode"]), "count_include_pad": bool(a["count_include_pad"])}
    return on_images(ops.avg_pool, x, tuple(a["kernel_shape"]), **options, **flags)


def global_pool(op, a, x):
    y, _ = op(channels_last(x))
    return y.reshape(*y.shape, *(1,) * (x.ndim - 2))


# Normalisation


def batch_norm(a, x, scale, bias, mean, var):
    """The layer, since ONNX's operator too keeps the running statistics; its momentum is our decay."""
    layer = layers.batch_norm(decay=a["momentum"], eps=a["epsilon"])
    running, train = {"mean": mean, "var": var}, bool(a["training_mode"])
    y, _, running = layer.forward(affine(scale, bias), channels_last(x), running, train=train)
    return channels_first(y), running["mean"], running["var"]


def mean_variance_norm(a, x):
    """Standardise over the given axes: a batch normalisation whose channels are all the others."""
    others = [n for n in range(x.ndim) if n not in a["axes"]]
    last = np.moveaxis(x, others, range(-len(others), 0))
    rows = last.reshape(-1, math.prod(x.shape[n] for n in others))
    y, _, _ = ops.batch_norm(affine(np.ones_like(rows[0]), np.zeros_like(rows[0])), rows, eps=0.0)
    return np.moveaxis(y.reshape(last.shape), range(-len(others), 0), others)


def layer_norm(a, x, scale, bias=None):
    """From an axis on to the last; the mean and 1 / sqrt(var + eps) are those of a batch normalisation across."""
    axes = tuple(range(a["axis"] % x.ndim, x.ndim))
    bias = np.zeros_like(scale) if bias is None else bias
    y, _ = ops.layer_norm(affine(scale, bias), x, axes=axes, eps=a["epsilon"])
    kept = x.shape[: axes[0]] + (1,) * len(axes)
    examples = x.reshape(math.prod(kept), -1).T
    one = np.ones_like(examples[0])
    _, _, stats = ops.batch_norm(affine(one, one), examples)
    return y, stats["mean"].reshape(kept), (1 / np.sqrt(stats["var"] + np.float32(a["epsilon"]))).reshape(kept)


def rms_norm(a, x, scale):
    axes = tuple(range(a["axis"] % x.ndim, x.ndim))
    return ops.rms_norm({"scale": scale}, x, axes=axes, eps=a["epsilon"])[0]


def group_norm(a, x, scale, bias):
    y, _ = ops.group_norm(affine(scale, bias), channels_last(x), a["num_groups"], eps=a["epsilon"])
    return channels_first(y)


def local_response_norm(a, x):
    y, _ = ops.local_response_norm(channels_last(x), a["size"], alpha=a["alpha"], beta=a["beta"], k=a["bias"])
    return channels_first(y)


def instance_norm(a, x, scale, bias):
    y, _ = ops.instance_norm(affine(scale, bias), channels_last(x), eps=a["epsilon"])
    return channels_first(y)


# Products, sums, tables


def gemm(a, x, w, c=None):
    """alpha x w + beta c, where c is a bias unless it differs from row to row."""
    x, w = x.T if a["transA"] else x, w.T if a["transB"] else w
    w = w * np.float32(a["alpha"])
    if c is None:
        return ops.dense({"w": w}, x, bias=False)[0]
    c = c * np.float32(a["beta"])
    if c.ndim < 2 or c.shape[0] == 1:
        return ops.dense({"w": w, "b": np.broadcast_to(c, (1, w.shape[1]))[0]}, x)[0]
    y, _ = ops.dense({"w": w}, x, bias=False)
    return ops.add(y, np.broadcast_to(c, y.shape))[0]


def matmul(a, x, w):
    if w.ndim <= 2 and x.ndim > 1:  # one matrix of weights for all examples
        y, _ = ops.dense({"w": w.reshape(len(w), -1)}, x, bias=False)
        return y.reshape(x.shape[:-1] + w.shape[1:])
    rows = x[None] if x.ndim == 1 else x
    columns = w[:, None] if w.ndim == 1 else w
    stack = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    parts = (np.broadcast_to(m, (1, *stack, *m.shape[-2:])) for m in (rows, columns))  # all of it is one example
    y = ops.matmul(*parts)[0][0]
    y = y[..., 0, :] if x.ndim == 1 else y
    return y[..., 0] if w.ndim == 1 else y


def joined(op, a, *xs):
    """Arrays joined entry by entry, those of fewer axes with axes of size 1 in front."""
    rank = max(x.ndim for x in xs)
    return op(*(x.reshape((1,) * (rank - x.ndim) + x.shape) for x in xs), broadcast=True)[0]


def extremum(op, a, *xs):
    """Integers stay what they are as float64, since one of them is only selected."""
    if xs[0].dtype.kind == "f":
        return joined(op, a, *xs)
    return joined(op, a, *(x.astype(np.float64) for x in xs)).astype(xs[0].dtype)


def power(a, x, exponent):
    x, exponent = np.broadcast_arrays(x, exponent)
    return ops.power(x[None], exponent)[0][0]


def gather(a, table, ids):
    """Entries along one axis: rows of a table in which that axis is the first and the others are flattened."""
    table = np.moveaxis(table, a["axis"], 0)
    rows = table.reshape(len(table), -1)
    y, _ = ops.embedding({"w": rows}, ids % len(rows))  # a negative id counts from the end
    y = y.reshape(*ids.shape, *table.shape[1:])
    return np.moveaxis(y, range(ids.ndim), range(a["axis"], a["axis"] + ids.ndim))


# Reductions and shapes: a whole array is one example, since ONNX knows no axis of examples


def reduce(op, a, x, axes=None):
    if axes is None or not len(axes):
        if a["noop_with_empty_axes"]:
            return x
        axes = range(x.ndim)
    return op(x[None], [n % x.ndim + 1 for n in axes], keepdims=bool(a["keepdims"]))[0][0]


def reshape(a, x, shape):
    sizes = [x.shape[n] if s == 0 and not a["allowzero"] else int(s) for n, s in enumerate(shape)]
    return ops.reshape(x[None], sizes)[0][0]


def squeeze(a, x, axes):
    axes = [n % x.ndim for n in axes]
    return ops.reshape(x[None], [s for n, s in enumerate(x.shape) if n not in axes])[0][0]


def unsqueeze(a, x, axes):
    rank = x.ndim + len(axes)
    axes, sizes = [n % rank for n in axes], iter(x.shape)
    return ops.reshape(x[None], [1 if n in axes else next(sizes) for n in range(rank)])[0][0]


def transpose(a, x):
    perm = a.get("perm", list(range(x.ndim))[::-1])
    return ops.transpose(x[None], [0, *(n + 1 for n in perm)])[0][0]


def expand(a, x, shape):
    target = np.broadcast_shapes(x.shape, tuple(shape))
    return ops.broadcast_to(x.reshape(1, *(1,) * (len(target) - x.ndim), *x.shape), target)[0][0]


def part(x, bounds):
    """Cut out start, stop and step of some axes."""
    return ops.crop(x[None], [bounds.get(n, (0, s, 1)) for n, s in enumerate(x.shape)])[0][0]


def slices(a, x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes % x.ndim
    steps = np.ones_like(starts) if steps is None else steps
    bounds = {n: slice(*bound).indices(x.shape[n]) for n, *bound in zip(axes, starts, ends, steps, strict=True)}
    nothing = {n: (start, start, step) for n, (start, stop, step) in bounds.items() if not range(start, stop, step)}
    return part(x, bounds | nothing)


def split(a, x, sizes=None):
    axis, count = a["axis"] % x.ndim, a["outputs"]
    if sizes is None:  # equal, but for the last
        most = math.ceil(x.shape[axis] / count)
        sizes = [most] * (count - 1) + [x.shape[axis] - most * (count - 1)]
    ends = np.cumsum(sizes).tolist()
    return [part(x, {axis: (end - size, end, 1)}) for end, size in zip(ends, sizes, strict=True)]


def flatten(a, x):
    """ONNX's examples may have several axes, ours have one."""
    return ops.flatten(x.reshape(math.prod(x.shape[: a["axis"]]), *x.shape[a["axis"] :]))[0]


def pad(a, x, pads, value=None, axes=None):
    axes = range(x.ndim) if axes is None else axes % x.ndim
    widths = [(0, 0)] * x.ndim
    for n, pair in zip(axes, pads.reshape(2, -1).T.tolist(), strict=True):
        widths[n] = tuple(pair)
    require(widths[0] == widths[1] == (0, 0), "padding of the examples or channels")
    value = 0.0 if value is None else float(value)
    return rearranged(ops.pad, x, tuple(widths[2:]), mode=a["mode"], value=value)


def depth_to_space(a, x):
    """In mode CRD, the channels that make up one position of a block are not neighbours: those of one block are."""
    if a["mode"] == "CRD":
        x = x[:, transposed_channels(x.shape[1], a["blocksize"] ** 2)]
    return on_images(ops.depth_to_space, x, a["blocksize"])


def space_to_depth(a, x):
    y = on_images(ops.space_to_depth, x, a["blocksize"])
    if a.get("mode") == "CRD":
        y = y[:, transposed_channels(y.shape[1], y.shape[1] // a["blocksize"] ** 2)]
    return y


def transposed_channels(channels, minor):
    """Return the order of channels that turns the layout (major, minor) into (minor, major)."""
    return np.arange(channels).reshape(-1, minor).T.ravel()


def resize(a, x, roi=None, scales=None, sizes=None):
    require(not a["antialias"] and not a["exclude_outside"], "resizing that smooths or leaves out positions")
    axes = list(a.get("axes", range(x.ndim)))
    size = np.array(x.shape)
    if sizes is None:
        scales = scales.astype(np.float64)
        out = np.floor(size[axes] * scales)
    elif a["keep_aspect_ratio_policy"] == "stretch":
        scales, out = sizes / size[axes], sizes
    else:
        choose = max if a["keep_aspect_ratio_policy"] == "not_smaller" else min
        scales = np.full(len(axes), choose(sizes / size[axes]))
        out = np.floor(size[axes] * scales + 0.5)
    factors = np.ones(x.ndim)
    factors[axes], size[axes] = scales, out
    require((factors[:2] == 1).all(), "resizing of the examples or channels")
    options = {"coordinates": a["coordinate_transformation_mode"], "rounding": a["nearest_mode"]}
    if options["coordinates"] == "tf_crop_and_resize":
        parts = np.tile([0.0, 1.0], (x.ndim, 1))
        parts[axes] = roi.reshape(2, -1).T
        options |= {"roi": parts[2:].tolist(), "outside": a["extrapolation_value"]}
    return on_images(ops.resize, x, tuple(size[2:].tolist()), mode=a["mode"], factors=tuple(factors[2:]), **options)


def upsample(a, x, scales):
    require(a["mode"] == "nearest", f"interpolation {a['mode']}")
    require((scales % 1 == 0).all() and (scales[:2] == 1).all(), f"enlargement by {scales}")
    return on_images(ops.upsample, x, tuple(int(factor) for factor in scales[2:]))


def identity(a, x):
    require(isinstance(x, np.ndarray), "sequences")
    return layers.identity().forward({}, x, {}, train=False)[0]


# Activations


def activation(op, a, x):
    return op(x)[0]


def selu(a, x):
    """Only the usual constants make it a SELU of ours; with others it is what a SELU is, a scaled ELU."""
    if np.float32([a["alpha"], a["gamma"]]).tolist() == np.float32([1.6732632423543772, 1.0507009873554805]).tolist():
        return ops.selu(x)[0]
    return np.float32(a["gamma"]) * ops.elu(x, alpha=a["alpha"])[0]


def hard_sigmoid(a, x):
    return ops.hard_sigmoid(x, a["alpha"], a["beta"])[0]


def swish(a, x):
    """x sigmoid(alpha x), which is silu(alpha x) / alpha."""
    return ops.silu(x * x.dtype.type(a["alpha"]))[0] / x.dtype.type(a["alpha"])


def swiglu(a, gate, x):
    return ops.multiply(swish(a, gate), x)[0]


def prelu(a, x, slope):
    return ops.prelu({"slope": slope}, x[None])[0][0]


def clip(a, x, low=None, high=None):
    low, high = (default if bound is None else float(bound) for bound, default in ((low, -np.inf), (high, np.inf)))
    return ops.clip(x, min(low, high), high)[0]


# Losses


def class_loss(loss, a, scores, labels, class_weight=None):
    """Our losses are weighted means. A sum is the mean times the weights' sum; one example's loss is its own mean."""
    scores = channels_last(scores)
    options = {"class_weight": class_weight, "ignore_index": a.get("ignore_index")}
    counted = labels != options["ignore_index"]
    w = np.ones(scores.shape[-1], scores.dtype) if class_weight is None else class_weight
    w = w[np.where(counted, labels, 0)] * counted
    if a["reduction"] != "none":
        mean, _ = loss(scores, labels, **options)
        return mean if a["reduction"] == "mean" else mean * w.sum()
    values = np.zeros(labels.shape, scores.dtype)
    for i in zip(*np.nonzero(w), strict=True):
        values[i], _ = loss(scores[i][None], labels[i][None], **options)
    return values * w


def softmax_cross_entropy(a, scores, labels, class_weight=None):
    value = class_loss(losses.softmax_cross_entropy, a, scores, labels, class_weight)
    return value, on_images(ops.log_softmax, scores)


# Dropout


def dropout(a, x, rate=None, training=None):
    """In evaluation the layer, which then does nothing. The mask is what becomes of ones."""
    rate = a.get("ratio", 0.5) if rate is None else float(rate)
    if training is not None and bool(training):
        y, mask = (ops.dropout(v, rate=rate, key=(0,))[0] for v in (x, np.ones_like(x)))
    else:
        y, mask = (layers.dropout(rate).forward({}, v, {}, train=False)[0] for v in (x, np.ones_like(x)))
    return y, mask != 0


# Optimizers


def step(optimizer, count, moments, tensors):
    """Make one step for several arrays, given as all parameters, all gradients, and all arrays of each moment."""
    n = len(tensors) // (2 + len(moments))
    trees = [{str(i): leaf for i, leaf in enumerate(tensors[at : at + n])} for at in range(0, len(tensors), n)]
    params, grads, *old = trees
    opt_state = optimizer.init(params) | {"step": np.asarray(count)} | dict(zip(moments, old, strict=True))
    updates, opt_state = optimizer.update(grads, opt_state, params)
    new = [optim.apply_updates(params, updates), *(opt_state[name] for name in moments)]
    return [leaf for tree in new for leaf in tree.values()]


def adam(a, rate, count, *tensors):
    """ONNX counts from 0 and does not undo the bias then, as ours no longer does after very many steps."""
    require(a["norm_coefficient_post"] == 0, "decay after the step")
    require(count == 0, "epsilon outside of the undone bias")
    optimizer = optim.adam(
        float(rate), b1=a["alpha"], b2=a["beta"], eps=a["epsilon"], weight_decay=a["norm_coefficient"]
    )
    return step(optimizer, 10**6, ["mean", "square"], tensors)


def adagrad(a, rate, count, *tensors):
    schedule = optim.inverse_time(float(rate), a["decay_factor"])
    optimizer = optim.adagrad(schedule(int(count)), eps=a["epsilon"], weight_decay=a["norm_coefficient"])
    return step(optimizer, count, ["sum"], tensors)


def momentum(a, rate, count, *tensors):
    require(count == 0 or a["beta"] == 1, "weight of new gradients, which ONNX has from step 1 on")
    nesterov = a["mode"] == "nesterov"
    optimizer = optim.sgd(float(rate), momentum=a["alpha"], nesterov=nesterov, weight_decay=a["norm_coefficient"])
    return step(optimizer, count, ["momentum"], tensors)


OPERATORS = {
    "Adagrad": adagrad,
    "Adam": adam,
    "Add": partial(joined, ops.add),
    "AveragePool": avg_pool,
    "BatchNormalization": batch_norm,
    "CausalConvWithState": causal_conv,
    "Celu": lambda a, x: ops.celu(x, alpha=a["alpha"])[0],
    "Clip": clip,
    "Concat": lambda a, *xs: ops.concat(*xs, axis=a["axis"])[0],
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": partial(joined, ops.divide),
    "Dropout": dropout,
    "Elu": lambda a, x: ops.elu(x, alpha=a["alpha"])[0],
    "Erf": partial(activation, ops.erf),
    "Exp": partial(activation, ops.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gelu": lambda a, x: ops.gelu(x, approximate=a["approximate"] == "tanh")[0],
    "Gemm": gemm,
    "GlobalAveragePool": partial(global_pool, ops.global_avg_pool),
    "GlobalMaxPool": partial(global_pool, ops.global_max_pool),
    "GroupNormalization": group_norm,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": partial(activation, ops.hard_swish),
    "Identity": identity,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LRN": local_response_norm,
    "LeakyRelu": lambda a, x: ops.leaky_relu(x, slope=a["alpha"])[0],
    "Log": partial(activation, ops.log),
    "LogSoftmax": lambda a, x: ops.log_softmax(x, axis=a["axis"])[0],
    "MatMul": matmul,
    "Max": partial(extremum, ops.maximum),
    "MaxPool": max_pool,
    "MeanVarianceNormalization": mean_variance_norm,
    "Min": partial(extremum, ops.minimum),
    "Mish": partial(activation, ops.mish),
    "Momentum": momentum,
    "Mul": partial(joined, ops.multiply),
    "Neg": partial(activation, ops.negative),
    "NegativeLogLikelihoodLoss": partial(class_loss, losses.nll),
    "PRelu": prelu,
    "Pad": pad,
    "Pow": power,
    "RMSNormalization": rms_norm,
    "Reciprocal": lambda a, x: ops.power(x, -1)[0],
    "ReduceMax": partial(reduce, ops.reduce_max),
    "ReduceMean": partial(reduce, ops.reduce_mean),
    "ReduceSum": partial(reduce, ops.reduce_sum),
    "Relu": partial(activation, ops.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Selu": selu,
    "Sigmoid": partial(activation, ops.sigmoid),
    "Slice": slices,
    "Softmax": lambda a, x: ops.softmax(x, axis=a["axis"])[0],
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
    "Softplus": partial(activation, ops.softplus),
    "Softsign": partial(activation, ops.softsign),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Sqrt": partial(activation, ops.sqrt),
    "Squeeze": squeeze,
    "Sub": partial(joined, ops.subtract),
    "Sum": partial(joined, ops.add),
    "SwiGLU": swiglu,
    "Swish": swish,
    "Tanh": partial(activation, ops.tanh),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Upsample": upsample,
}
