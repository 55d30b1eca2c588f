"""Every op over random geometries against PyTorch's; see `compare` for layouts."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from parity.compare import Case, array, cases, channels_first, channels_last, check, close, kernel, label, per_rank

from funcnn import layers, ops


def normal(rng, *shape):
    return rng.standard_normal(shape)


def some(rng, rank, low, high):
    """An option for each axis, from low to high."""
    return tuple(int(v) for v in rng.integers(low, high + 1, rank))


def shape_of(rng, rank=None, least=1, channels=4):
    """(N, S..., C)"""
    rank = rng.integers(1, 4) if rank is None else rank
    return (*some(rng, 1, 1, 3), *some(rng, rank, least, 6), *some(rng, 1, 1, channels))


def tied(rng, x):
    """The array, or numbers of which many are equal."""
    return x.round() if rng.random() < 0.5 else x


# convolution


def conv(rng):
    rank = rng.integers(1, 4)
    window, stride, dilation = some(rng, rank, 1, 4), some(rng, rank, 1, 3), some(rng, rank, 1, 3)
    groups, in_channels, out_channels = some(rng, 3, 1, 3)
    padding = pairs = tuple(some(rng, 2, 0, 3) for _ in window)
    kind = rng.choice(["int", "pairs", "same"])
    if kind == "int":
        padding = tuple(lo for lo, _ in pairs)
        pairs = tuple((lo, lo) for lo in padding)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    least = [max(span - lo - hi, 1) for span, (lo, hi) in zip(spans, pairs, strict=True)]
    if kind == "same":
        padding, stride = "same", (1,) * rank  # PyTorch has "same" only without strides
    x = normal(rng, 2, *(s + int(rng.integers(0, 5)) for s in least), in_channels * groups)
    params = {"w": normal(rng, *window, in_channels, out_channels * groups), "b": normal(rng, out_channels * groups)}
    if without_bias := rng.random() < 0.25:
        del params["b"]

    def ours(params, x):
        return ops.conv(
            params, x, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=not without_bias
        )

    def theirs(params, x):
        x = channels_first(x)
        if kind == "pairs":
            x = F.pad(x, torch_widths(pairs))
        y = per_rank(F.conv1d, F.conv2d, F.conv3d)(
            x, kernel(params["w"]), params.get("b"), stride, 0 if kind == "pairs" else padding, dilation, groups
        )
        return channels_last(y)

    text = label(
        x=x.shape, k=window, stride=stride, padding=padding, dilation=dilation, groups=groups, out=out_channels
    )
    return Case(text, ours, theirs, (params, x))


def conv_transpose(rng):
    rank = rng.integers(1, 4)
    window, stride, dilation = some(rng, rank, 1, 4), some(rng, rank, 1, 3), some(rng, rank, 1, 3)
    groups, in_channels, out_channels = some(rng, 3, 1, 3)
    extra = tuple(int(rng.integers(0, s)) for s in stride)
    size = some(rng, rank, 1, 4)
    room = [(s - 1) * t + d * (k - 1) + e for s, t, d, k, e in zip(size, stride, dilation, window, extra, strict=True)]
    padding = tuple(int(rng.integers(0, min(3, r // 2) + 1)) for r in room)
    x = normal(rng, 2, *size, in_channels * groups)
    params = {"w": normal(rng, *window, out_channels, in_channels * groups), "b": normal(rng, out_channels * groups)}

    def ours(params, x):
        return ops.conv_transpose(
            params, x, stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups
        )

    def theirs(params, x):
        transposed = per_rank(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
        w = kernel(params["w"])  # PyTorch's (in, out/groups, K...), for in is conv's out
        return channels_last(transposed(channels_first(x), w, params["b"], stride, padding, extra, groups, dilation))

    text = label(x=x.shape, k=window, stride=stride, padding=padding, extra=extra, dilation=dilation, groups=groups)
    return Case(text, ours, theirs, (params, x))


def torch_widths(pairs):
    """PyTorch's F.pad begins with the last axis."""
    return [width for pair in reversed(pairs) for width in pair]


# pooling


def pool_geometry(rng, dilated):
    rank = rng.integers(1, 4)
    window, stride = some(rng, rank, 1, 4), some(rng, rank, 1, 4)
    dilation = some(rng, rank, 1, 3) if dilated else (1,) * rank
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in window)
    # at least one window, and none entirely in the padding
    least = [max(d * (k - 1) + 1 - 2 * p, d) for d, k, p in zip(dilation, window, padding, strict=True)]
    if rank == 3:
        least = np.maximum(least, window)  # required by PyTorch's avg_pool3d, with and without padding
    x = normal(rng, 2, *(s + int(rng.integers(0, 6)) for s in least), 2)
    return x, window, {"stride": stride, "padding": padding, "ceil_mode": bool(rng.random() < 0.5)}, dilation


def max_pool(rng):
    x, window, options, dilation = pool_geometry(rng, dilated=True)
    options["dilation"] = dilation

    def theirs(x):
        pool = per_rank(F.max_pool1d, F.max_pool2d, F.max_pool3d)
        return channels_last(pool(channels_first(x), window, **options))

    text = label(x=x.shape, k=window, **options)
    return Case(text, lambda x: ops.max_pool(x, window, **options), theirs, (tied(rng, x),))


def avg_pool(rng):
    x, window, options, _ = pool_geometry(rng, dilated=False)
    options["count_include_pad"] = bool(rng.random() < 0.5)

    def theirs(x):
        pool = per_rank(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
        return channels_last(pool(channels_first(x), window, **options))

    text = label(x=x.shape, k=window, **options)
    return Case(text, lambda x: ops.avg_pool(x, window, **options), theirs, (x,))


def adaptive_avg_pool(rng):
    x = normal(rng, *shape_of(rng))
    size = some(rng, x.ndim - 2, 1, 7)

    def theirs(x):
        pool = per_rank(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return channels_last(pool(channels_first(x), size))

    return Case(label(x=x.shape, size=size), lambda x: ops.adaptive_avg_pool(x, size), theirs, (x,))


def adaptive_max_pool(rng):
    x = tied(rng, normal(rng, *shape_of(rng)))
    size = some(rng, x.ndim - 2, 1, 7)

    def theirs(x):
        pool = per_rank(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
        return channels_last(pool(channels_first(x), size))

    return Case(label(x=x.shape, size=size), lambda x: ops.adaptive_max_pool(x, size), theirs, (x,))


def global_avg_pool(rng):
    x = normal(rng, *shape_of(rng))
    return Case(label(x=x.shape), ops.global_avg_pool, lambda x: x.flatten(1, -2).mean(1), (x,))


def global_max_pool(rng):
    # not amax, which divides the gradient among ties
    x = tied(rng, normal(rng, *shape_of(rng)))
    return Case(label(x=x.shape), ops.global_max_pool, lambda x: x.flatten(1, -2).max(1).values, (x,))


# normalisation


def affine(rng, *shape):
    return {"scale": normal(rng, *shape), "bias": normal(rng, *shape)}


def batch_norm(rng):
    """In training or in evaluation; a matrix or images."""
    shape = (int(rng.integers(2, 5)), *shape_of(rng, rank=rng.integers(0, 4))[1:])
    params, x, eps = affine(rng, shape[-1]), 3 * normal(rng, *shape) + 1, float(rng.choice([1e-5, 1e-3, 0.1]))
    stats = {"mean": normal(rng, shape[-1]), "var": rng.uniform(0.5, 2, shape[-1])}
    training = bool(rng.random() < 0.5)

    def theirs(params, x):
        mean, var = (torch.tensor(stats[name]) for name in ("mean", "var"))
        y = F.batch_norm(channels_first(x), mean, var, params["scale"], params["bias"], training, eps=eps)
        return channels_last(y)

    def ours(params, x):
        return ops.batch_norm(params, x, stats=None if training else stats, eps=eps)

    return Case(label(x=shape, eps=eps, training=training), ours, theirs, (params, x))


def last_axes(rng):
    """Images, and which axes to normalise over."""
    shape = shape_of(rng, least=2)
    axes = sorted(rng.choice(range(1, len(shape)), int(rng.integers(1, len(shape))), replace=False))
    return shape, tuple(int(a) for a in axes)


def at_the_end(f, axes):
    """PyTorch only normalises the last axes, so move them to the end and back."""

    def moved(params, x):
        end = range(-len(axes), 0)
        return f(params, x.movedim(axes, tuple(end))).movedim(tuple(end), axes)

    return moved


def layer_norm(rng):
    shape, axes = last_axes(rng)
    over = tuple(shape[a] for a in axes)

    def theirs(params, x):
        return F.layer_norm(x, over, params["scale"], params["bias"], eps=1e-3)

    args = (affine(rng, *over), normal(rng, *shape) + 2)

    def ours(params, x):
        return ops.layer_norm(params, x, axes=axes, eps=1e-3)

    return Case(label(x=shape, axes=axes), ours, at_the_end(theirs, axes), args)


def rms_norm(rng):
    shape, axes = last_axes(rng)
    over = tuple(shape[a] for a in axes)

    def theirs(params, x):
        return F.rms_norm(x, over, params["scale"], eps=1e-3)  # PyTorch's has no bias

    args = ({"scale": normal(rng, *over)}, normal(rng, *shape) + 2)

    def ours(params, x):
        return ops.rms_norm(params, x, axes=axes, eps=1e-3)

    return Case(label(x=shape, axes=axes), ours, at_the_end(theirs, axes), args)


def group_norm(rng):
    groups = int(rng.integers(1, 4))
    shape = (*shape_of(rng, rank=rng.integers(0, 4))[:-1], groups * int(rng.integers(2, 4)))

    def theirs(params, x):
        return channels_last(F.group_norm(channels_first(x), groups, params["scale"], params["bias"], 1e-3))

    args = (affine(rng, shape[-1]), normal(rng, *shape) + 2)
    return Case(
        label(x=shape, groups=groups), lambda params, x: ops.group_norm(params, x, groups, eps=1e-3), theirs, args
    )


def affine_op(rng):
    shape = shape_of(rng)
    args = (affine(rng, shape[-1]), normal(rng, *shape))
    return Case(label(x=shape), ops.affine, lambda params, x: x * params["scale"] + params["bias"], args)


def local_response_norm(rng):
    """Of odd sizes: PyTorch places windows of even size elsewhere."""
    shape, size, k = shape_of(rng, least=2), int(rng.choice([1, 3, 5])), float(rng.uniform(0.5, 2))

    def theirs(x):
        return channels_last(F.local_response_norm(channels_first(x), size, alpha=0.5, beta=0.6, k=k))

    def ours(x):
        return ops.local_response_norm(x, size, alpha=0.5, beta=0.6, k=k)

    return Case(label(x=shape, size=size, k=k), ours, theirs, (normal(rng, *shape),))


def instance_norm(rng):
    shape = shape_of(rng, least=2)

    def theirs(params, x):
        x = channels_first(x)
        return channels_last(F.instance_norm(x, weight=params["scale"], bias=params["bias"], eps=1e-3))

    args = (affine(rng, shape[-1]), normal(rng, *shape) + 2)
    return Case(label(x=shape), lambda params, x: ops.instance_norm(params, x, eps=1e-3), theirs, args)


# linear maps and tables


def dense(rng):
    shape, out_channels = shape_of(rng, rank=rng.integers(0, 3)), int(rng.integers(1, 6))
    params = {"w": normal(rng, shape[-1], out_channels), "b": normal(rng, out_channels)}
    if without_bias := rng.random() < 0.25:
        del params["b"]

    def theirs(params, x):
        return F.linear(x, params["w"].T, params.get("b"))

    def ours(params, x):
        return ops.dense(params, x, bias=not without_bias)

    return Case(label(x=shape, out=out_channels, bias="b" in params), ours, theirs, (params, normal(rng, *shape)))


def embedding(rng):
    ids = rng.integers(0, 4, some(rng, rng.integers(1, 4), 1, 5))
    params = {"w": normal(rng, 4, int(rng.integers(1, 4)))}

    def theirs(params):
        return F.embedding(torch.tensor(ids), params["w"])

    text = label(ids=ids.shape, w=params["w"].shape)
    return Case(text, lambda params: ops.embedding(params, ids), theirs, (params,))


# activations


def elementwise(ours, theirs, draw_options=None):
    """An activation, over arrays of small and large numbers."""

    def draw(rng):
        shape, size = shape_of(rng), float(rng.choice([0.1, 1.0, 4.0, 20.0]))
        options = draw_options(rng) if draw_options else {}
        x = size * normal(rng, *shape)
        return Case(
            label(x=shape, size=size, **options), lambda x: ours(x, **options), lambda x: theirs(x, **options), (x,)
        )

    return draw


def alpha(rng):
    return {"alpha": float(rng.uniform(0.2, 3))}


def slope(rng):
    return {"slope": float(rng.uniform(0, 1))}


def approximate(rng):
    return {"approximate": bool(rng.random() < 0.5)}


def axis(rng):
    return {"axis": int(rng.integers(-3, 3))}


def prelu(rng):
    shape, size = shape_of(rng, rank=rng.integers(0, 4)), float(rng.choice([0.1, 1.0, 4.0]))
    one_a_channel = rng.random() < 0.5
    params = {"slope": normal(rng, *(shape[-1:] if one_a_channel else shape[1:]))}

    def theirs(params, x):
        if not one_a_channel:
            return torch.where(x > 0, x, params["slope"] * x)
        return channels_last(F.prelu(channels_first(x), params["slope"]))

    return Case(label(x=shape, size=size), ops.prelu, theirs, (params, size * normal(rng, *shape)))


# rearranging


def pad(rng):
    shape = shape_of(rng, least=2)
    mode = str(rng.choice(["constant", "reflect", "edge", "wrap"]))
    # PyTorch mirrors or repeats the image once
    widest = {"constant": 5, "edge": 5, "reflect": min(shape[1:-1]) - 1, "wrap": min(shape[1:-1])}[mode]
    widths = tuple(some(rng, 2, 0, widest) for _ in shape[1:-1])
    theirs_mode = {"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    value = 1.5 if mode == "constant" else 0.0

    def theirs(x):
        return channels_last(F.pad(channels_first(x), torch_widths(widths), theirs_mode, value))

    text = label(x=shape, mode=mode, widths=widths)
    return Case(text, lambda x: ops.pad(x, widths, mode=mode, value=value), theirs, (normal(rng, *shape),))


def upsample(rng):
    shape = shape_of(rng)
    factor = some(rng, len(shape) - 2, 1, 3)
    size = tuple(s * k for s, k in zip(shape[1:-1], factor, strict=True))

    def theirs(x):
        return channels_last(F.interpolate(channels_first(x), size, mode="nearest"))

    return Case(label(x=shape, factor=factor), lambda x: ops.upsample(x, factor), theirs, (normal(rng, *shape),))


def depth_to_space(rng):
    """PyTorch's pixel_shuffle; there the channels that make up one channel of y are neighbours."""
    block = int(rng.integers(1, 4))
    *others, channels = shape_of(rng, rank=2)
    x = normal(rng, *others, block * block * channels)

    def theirs(x):
        x = x.unflatten(-1, (block * block, channels)).transpose(-1, -2).flatten(-2)
        return channels_last(F.pixel_shuffle(channels_first(x), block))

    return Case(label(x=x.shape, block=block), lambda x: ops.depth_to_space(x, block), theirs, (x,))


def space_to_depth(rng):
    """PyTorch's pixel_unshuffle, with the other order of channels."""
    block = int(rng.integers(1, 4))
    n, height, width, channels = shape_of(rng, rank=2)
    x = normal(rng, n, height * block, width * block, channels)

    def theirs(x):
        y = channels_last(F.pixel_unshuffle(channels_first(x), block))
        return y.unflatten(-1, (channels, block * block)).transpose(-1, -2).flatten(-2)

    return Case(label(x=x.shape, block=block), lambda x: ops.space_to_depth(x, block), theirs, (x,))


def flatten(rng):
    shape = shape_of(rng, rank=rng.integers(0, 4))
    return Case(label(x=shape), ops.flatten, lambda x: x.flatten(1), (normal(rng, *shape),))


def identity(rng):
    shape = shape_of(rng)
    return Case(label(x=shape), ops.identity, lambda x: x.clone(), (normal(rng, *shape),))


def several(ours, theirs):
    def draw(rng):
        shape, count = shape_of(rng), int(rng.integers(2, 5))
        return Case(label(x=shape, count=count), ours, theirs, tuple(normal(rng, *shape) for _ in range(count)))

    return draw


def two(ours, theirs):
    def draw(rng):
        shape = shape_of(rng)
        return Case(label(x=shape), ours, theirs, (normal(rng, *shape), normal(rng, *shape)))

    return draw


def concat(rng):
    shape, along, count = shape_of(rng), int(rng.integers(-2, 3)), int(rng.integers(2, 5))
    xs = [normal(rng, *shape[:along], int(rng.integers(1, 4)), *shape[along:][1:]) for _ in range(count)]
    text = label(x=shape, axis=along, count=count)
    return Case(text, lambda *xs: ops.concat(*xs, axis=along), lambda *xs: torch.cat(xs, along), tuple(xs))


def matmul(rng):
    i, j, k, *stack = some(rng, int(rng.integers(4, 7)), 1, 4)
    stacks = [(1 if rng.random() < 0.3 else s for s in stack) for _ in range(2)]  # of size 1 are repeated
    args = (normal(rng, *stacks[0], i, k), normal(rng, *stacks[1], k, j))
    return Case(label(a=args[0].shape, b=args[1].shape), partial(ops.matmul, broadcast=True), torch.matmul, args)


def of_positive(ours, theirs, draw_options=None):
    """An elementwise op of positive numbers."""

    def draw(rng):
        shape, options = shape_of(rng), draw_options(rng) if draw_options else {}
        x = np.exp(normal(rng, *shape))
        return Case(label(x=shape, **options), lambda x: ours(x, **options), lambda x: theirs(x, **options), (x,))

    return draw


def exponent(rng):
    return {"exponent": float(rng.choice([-1, 0, 0.5, 2, 2.7]))}  # PyTorch's arrays of exponents have gradients


def reduction(ours, theirs):
    """Over some axes; axis 0, the examples, is never one of them."""

    def draw(rng):
        shape = shape_of(rng)
        chosen = rng.choice(range(1, len(shape)), int(rng.integers(1, len(shape))), replace=False)
        axes, keepdims = tuple(int(a) for a in chosen), bool(rng.random() < 0.5)
        return Case(
            label(x=shape, axes=axes, keepdims=keepdims), lambda x: ours(x, axes, keepdims=keepdims),
            lambda x: theirs(x, axes, keepdims), (normal(rng, *shape),),
        )  # fmt: skip

    return draw


def resize(rng):
    """PyTorch has three of the coordinates; its "nearest-exact" rounds up halfway between positions."""
    shape, mode = shape_of(rng), str(rng.choice(["linear", "corners", "nearest", "nearest-exact"]))
    size = some(rng, len(shape) - 2, 1, 7)
    options = {
        "linear": {},
        "corners": {"coordinates": "align_corners"},
        "nearest": {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
        "nearest-exact": {"mode": "nearest", "rounding": "round_prefer_ceil"},
    }[mode]
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]

    def theirs(x):
        if mode.startswith("nearest"):
            return channels_last(F.interpolate(channels_first(x), size, mode=mode))
        return channels_last(F.interpolate(channels_first(x), size, mode=smooth, align_corners=mode == "corners"))

    text = label(x=shape, size=size, mode=mode)
    return Case(text, lambda x: ops.resize(x, size, **options), theirs, (normal(rng, *shape),))


def reshape(rng):
    *sizes, rest = some(rng, int(rng.integers(1, 5)), 1, 4)
    x = normal(rng, 2, *rng.permutation(sizes), rest)
    shape = (*sizes, -1)
    return Case(label(x=x.shape, shape=shape), lambda x: ops.reshape(x, shape), lambda x: x.reshape(2, *shape), (x,))


def transpose(rng):
    shape = shape_of(rng)
    axes = (0, *(int(a) for a in rng.permutation(range(1, len(shape)))))
    text = label(x=shape, axes=axes)
    return Case(text, lambda x: ops.transpose(x, axes), lambda x: x.permute(axes), (normal(rng, *shape),))


def broadcast_to(rng):
    n, *sizes = shape_of(rng)
    x = normal(rng, n, *(s if rng.random() < 0.5 else 1 for s in sizes))
    text = label(x=x.shape, shape=tuple(sizes))
    return Case(text, lambda x: ops.broadcast_to(x, sizes), lambda x: x.expand(n, *sizes), (x,))


def parameter(rng):
    value, shape = normal(rng, *shape_of(rng)), shape_of(rng)
    text = label(value=value.shape, x=shape)
    args = ({"value": value}, normal(rng, *shape))
    return Case(text, ops.parameter, lambda p, x: p["value"].expand(len(x), *value.shape) + 0 * x.sum(), args)


def crop(rng):
    shape, bounds = shape_of(rng), []
    for size in shape[1:]:
        start, stop = sorted(some(rng, 2, 0, size))
        step = int(rng.integers(1, 4))
        bounds.append((start, stop, step) if rng.random() < 0.5 else (max(stop - 1, 0), start - 1, -step))
    kept = np.ix_(*(list(range(*bound)) for bound in bounds))
    text = label(x=shape, bounds=tuple(bounds))
    return Case(text, lambda x: ops.crop(x, bounds), lambda x: x[:, *kept], (normal(rng, *shape),))


def product(*xs):
    return torch.stack(xs).prod(0)


# name in funcnn.ops: what draws a case
OPS = {
    "adaptive_avg_pool": adaptive_avg_pool,
    "adaptive_max_pool": adaptive_max_pool,
    "add": several(ops.add, lambda *xs: sum(xs)),
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "celu": elementwise(ops.celu, lambda x, alpha: alpha * F.elu(x / alpha), alpha),
    "affine": affine_op,
    "broadcast_to": broadcast_to,
    "crop": crop,
    "erf": elementwise(ops.erf, torch.erf),
    "exp": elementwise(ops.exp, torch.exp),
    "log": of_positive(ops.log, torch.log),
    "matmul": matmul,
    "negative": elementwise(ops.negative, torch.neg),
    "parameter": parameter,
    "power": of_positive(ops.power, torch.pow, exponent),
    # torch.amax would divide the gradient among ties: here there are none
    "reduce_max": reduction(ops.reduce_max, torch.amax),
    "reduce_mean": reduction(ops.reduce_mean, torch.mean),
    "reduce_sum": reduction(ops.reduce_sum, torch.sum),
    "reshape": reshape,
    "resize": resize,
    "sqrt": of_positive(ops.sqrt, torch.sqrt),
    "transpose": transpose,
    "clip": elementwise(lambda x: ops.clip(x, -1.5, 2.5), lambda x: torch.clamp(x, -1.5, 2.5)),
    "concat": concat,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "dense": dense,
    "divide": two(ops.divide, torch.div),
    "maximum": two(ops.maximum, torch.maximum),
    "minimum": two(ops.minimum, torch.minimum),
    "subtract": two(ops.subtract, torch.sub),
    "depth_to_space": depth_to_space,
    "elu": elementwise(ops.elu, F.elu, alpha),
    "embedding": embedding,
    "flatten": flatten,
    "gelu": elementwise(
        ops.gelu, lambda x, approximate: F.gelu(x, approximate="tanh" if approximate else "none"), approximate
    ),
    "global_avg_pool": global_avg_pool,
    "global_max_pool": global_max_pool,
    "group_norm": group_norm,
    "hard_sigmoid": elementwise(ops.hard_sigmoid, lambda x: F.relu6(x + 3) / 6),
    "hard_swish": elementwise(ops.hard_swish, F.hardswish),
    "hard_tanh": elementwise(ops.hard_tanh, F.hardtanh),
    "identity": identity,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "leaky_relu": elementwise(ops.leaky_relu, lambda x, slope: F.leaky_relu(x, slope), slope),
    "local_response_norm": local_response_norm,
    "log_sigmoid": elementwise(ops.log_sigmoid, F.logsigmoid),
    "log_softmax": elementwise(ops.log_softmax, lambda x, axis: F.log_softmax(x, axis), axis),
    "max_pool": max_pool,
    "mish": elementwise(ops.mish, F.mish),
    "multiply": several(ops.multiply, product),
    "pad": pad,
    "prelu": prelu,
    "relu": elementwise(ops.relu, F.relu),
    "relu6": elementwise(ops.relu6, F.relu6),
    "rms_norm": rms_norm,
    "selu": elementwise(ops.selu, F.selu),
    "sigmoid": elementwise(ops.sigmoid, F.sigmoid),
    "silu": elementwise(ops.silu, F.silu),
    "softmax": elementwise(ops.softmax, lambda x, axis: F.softmax(x, axis), axis),
    # from its threshold on, 20 by default, PyTorch takes x itself and 1 for the derivative, 2e-9 off
    "softplus": elementwise(ops.softplus, lambda x: F.softplus(x, threshold=100)),
    "softsign": elementwise(ops.softsign, F.softsign),
    "space_to_depth": space_to_depth,
    "tanh": elementwise(ops.tanh, F.tanh),
    "upsample": upsample,
}

NOT_COMPARED = {
    "dropout": "its random numbers come from a key, PyTorch's from its own generator",
}


def test_every_op_is_compared_or_has_a_reason():
    assert sorted([*OPS, *NOT_COMPARED]) == sorted(ops.__all__)


@pytest.mark.parametrize("case", **cases(OPS))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_value_and_gradients(case):
    check(case)


# In these, PyTorch rounds a constant of the derivative to single precision (1 / alpha and 1 / 6) for any dtype of x;
# above, the same functions are written in another way.
ROUNDED = {
    "celu": elementwise(ops.celu, F.celu, alpha),
    "hard_sigmoid": elementwise(ops.hard_sigmoid, F.hardsigmoid),
}


@pytest.mark.parametrize("case", **cases(ROUNDED, count=10))
def test_value_in_double_and_gradient_in_single_precision(case):
    check(case, gradient_rtol=1e-6)


# name, op, PyTorch's, where, and whether the derivatives there agree: at upper ends, PyTorch takes the flat side
KINKS = [
    ("relu", ops.relu, F.relu, 0, True),
    ("leaky_relu", ops.leaky_relu, F.leaky_relu, 0, True),
    ("elu", lambda x: ops.elu(x, 2.0), lambda x: F.elu(x, 2.0), 0, True),
    ("selu", ops.selu, F.selu, 0, True),
    ("relu6, start", ops.relu6, F.relu6, 0, True),
    ("relu6, end", ops.relu6, F.relu6, 6, False),
    ("hard_tanh, start", ops.hard_tanh, F.hardtanh, -1, True),
    ("hard_tanh, end", ops.hard_tanh, F.hardtanh, 1, False),
    ("hard_sigmoid, start", ops.hard_sigmoid, F.hardsigmoid, -3, True),
    ("hard_sigmoid, end", ops.hard_sigmoid, F.hardsigmoid, 3, False),
    ("hard_swish, start", ops.hard_swish, F.hardswish, -3, True),
    ("hard_swish, end", ops.hard_swish, F.hardswish, 3, False),
]


@pytest.mark.parametrize(("ours", "theirs", "at", "agree"), [kink[1:] for kink in KINKS], ids=[k[0] for k in KINKS])
def test_derivative_at_kinks(ours, theirs, at, agree):
    x = torch.tensor([float(at)], requires_grad=True)
    theirs(x).backward(torch.ones(1))
    dx = ours(np.array([float(at)]))[1](np.ones(1))
    before = ours(np.array([at - 1e-3]))[1](np.ones(1))
    after = ours(np.array([at + 1e-3]))[1](np.ones(1))
    np.testing.assert_allclose(dx, before, atol=1e-2)
    np.testing.assert_allclose(array(x.grad), before if agree else after, atol=1e-2)


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_running_statistics(decay):
    """PyTorch averages the unbiased variance, so each batch's share in its average is converted: times (n - 1) / n."""
    rng = np.random.default_rng(0)
    layer = layers.batch_norm(decay=decay)
    params, state, _ = layer.init((0,), (4, 3, 2))
    state = {name: leaf.astype(np.float64) for name, leaf in state.items()}
    mean, var, expected = torch.zeros(2), torch.ones(2), np.ones(2)
    for size in (2, 5, 3):
        x = 2 * normal(rng, size, 4, 3, 2) + 1
        n = size * 4 * 3
        before = array(var).copy()
        F.batch_norm(channels_first(torch.tensor(x)), mean, var, training=True, momentum=1 - decay)
        expected = decay * expected + (array(var) - decay * before) * (n - 1) / n
        _, _, state = layer.forward({name: np.ones(2) for name in params}, x, state, train=True)
        close("the running mean", state["mean"], mean)
        close("the running variance", state["var"], expected)
