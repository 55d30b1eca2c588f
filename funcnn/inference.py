"""How layers in sequence are computed in evaluation: in fewer passes over the numbers, and without closures.

A convolution or dense layer is one step together with the layers after it that only change its output number by number:

- Batch normalisation by the running statistics is factor y + shift. It is folded into the weights, unless these are
  more than the outputs: then it is applied to the output, in place.
- ReLU is applied to the outputs while they are in the cache, or in place.
- Max pooling comes before the bias and ReLU, as max(y + b) = max(y) + b, which leaves these fewer numbers. Where it is
  fused with the convolution in training (`funcnn.fusion`), it is here, too, also after batch normalisation.

Where the arrays do not fit, or are not of one real dtype, a step computes its layers one after the other, and the layer
raises the error. What is folded depends on the shape of an example, not on how many there are.

A step has two parts: it is prepared, which checks the arguments and computes what depends on the parameters alone, and
then computes y of x. `funcnn.training.predict` does both one after the other for each batch.
`funcnn.training.prepared` keeps the first part for later batches of the same shape; as that costs nothing then, batch
normalisation is always folded, and convolutions take methods that make more of their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import ops
from funcnn.fusion import WITH_RELU, Fused, can_fuse, is_conv_pool, is_empty, match_fused, plan_conv_pool
from funcnn.initializers import zeros
from funcnn.kernels.bias import add_bias
from funcnn.kernels.channels import normalization_affine
from funcnn.kernels.conv.conv_pool import prepare_max
from funcnn.keys import Key
from funcnn.layer import LOCATED, Layer, OpForward, add_location, op_and_options, parametric
from funcnn.ops.conv import depthwise_conv, prepare_conv, prepare_depthwise_conv
from funcnn.ops.dense import prepare_dense
from funcnn.tree import Array, Tree

__all__ = ["Kept", "Step", "compute", "steps"]

# Prepared functions of layers in sequence, by the name of the first, for one shape of x.
Kept: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[Any], Array]
Prepare: TypeAlias = Callable[[Tree, Any, Tree, Kept | None], Run]

_PREPARE: dict[Any, Callable[..., Run]] = {
    ops.conv: prepare_conv,
    depthwise_conv: prepare_depthwise_conv,
    ops.dense: prepare_dense,
}

# Weights of each output channel for each position of x: up to so many, scaling the weights costs less than scaling the
# output. `funcnn.training.predict` on one image of 224x224 by `funcnn.models.resnet` measures it again.
_FOLDED_WEIGHTS = 2


class Step(NamedTuple):
    """One layer, or several that are computed together in evaluation.

    Attributes
    ----------
    name : str
        That of its first layer.
    prepare : callable
        ``prepare(params, x, state, kept) -> run`` gets the combinator's params and state, checks them and x, and
        computes what depends on the parameters alone. ``run(x) -> y`` computes the rest, for any x of that shape and
        dtype. ``kept`` is None if it serves once; else a dict for what the layer, a combinator, keeps.

    Examples
    --------
    See `steps`.
    """

    name: str
    prepare: Prepare


def steps(names: Sequence[str], layers: Sequence[Layer]) -> tuple[Step, ...]:
    """Return the steps that compute layers in sequence in evaluation.

    Parameters
    ----------
    names : sequence of str
        The names that the combinator gives the layers.
    layers : sequence of Layer

    Returns
    -------
    tuple of Step
        Each takes the y of the one before.

    Examples
    --------
    >>> from funcnn.layers import batch_norm, conv2d, relu, tanh
    >>> len(steps(["a", "b", "c", "d"], [conv2d(4, 3), batch_norm(), relu(), tanh()]))
    2
    """
    found = []
    i = 0
    while i < len(layers):
        if op_and_options(layers[i])[0] in WITH_RELU:
            length, prepare = _linear(names[i:], layers[i:])
        else:
            length, fused = match_fused(names[i : i + 3], layers[i : i + 3])
            prepare = _one_by_one(names[i : i + length], layers[i : i + length])
            if fused is not None:
                prepare = _fused_or_not(fused, prepare)
        found.append(Step(names[i], prepare))
        i += length
    return tuple(found)


def compute(in_order: Sequence[Step], params: Tree, x: Any, state: Tree, kept: Kept | None) -> Array:
    """Compute steps one after the other.

    Parameters
    ----------
    in_order : sequence of Step
    params, state : tree
        Of the combinator.
    x : array (N, ...)
        Or a tuple of arrays, for a layer of several.
    kept : dict or None
        Where the steps' prepared functions are kept, by the name of the first step, and taken from. It serves one shape
        of x, and the same params and state.

    Returns
    -------
    array (N, ...)

    Examples
    --------
    >>> from funcnn.layers import relu, tanh
    >>> in_order, params = steps(["a", "b"], [tanh(), relu()]), {"a": {}, "b": {}}
    >>> compute(in_order, params, np.array([[-1.0, 0.0]]), params, None)
    array([[0., 0.]])
    """
    if kept is None:
        for _, prepare in in_order:
            x = prepare(params, x, state, None)(x)
        return x
    first = in_order[0].name if in_order else ""
    runs = kept.get(first)
    if runs is None:
        runs = []
        for _, prepare in in_order:
            run = prepare(params, x, state, {})
            runs.append(run)
            x = run(x)
        kept[first] = tuple(runs)  # two threads may both prepare them: either result serves
    else:
        for run in runs:
            x = run(x)
    y: Array = x
    return y


def _one_by_one(names: Sequence[str], layers: Sequence[Layer]) -> Prepare:
    single = [_single(name, layer) for name, layer in zip(names, layers, strict=True)]
    if len(single) == 1:
        return single[0]

    def prepare(params: Tree, x: Any, state: Tree, kept: Kept | None) -> Run:
        runs = [of_layer(params, x, state, kept) for of_layer in single]

        def run(x: Any) -> Array:
            for of_layer in runs:
                x = of_layer(x)
            y: Array = x
            return y

        return run

    return prepare


def _single(name: str, layer: Layer) -> Prepare:
    call = layer.forward.call if isinstance(layer.forward, OpForward) else layer.forward
    combined = layer.forward.output if isinstance(layer.forward, OpForward) else None

    def prepare(params: Tree, x: Any, state: Tree, kept: Kept | None) -> Run:
        layer_params, layer_state = params[name], state[name]

        def run(x: Any) -> Array:
            try:
                if combined is not None:
                    return combined(layer_params, x, layer_state, kept)
                y: Array = call(layer_params, x, layer_state, train=False)[0]
                return y
            except LOCATED as error:
                add_location(error, name)
                raise

        return run

    return prepare


def _fused_or_not(fused: Fused, one_by_one: Prepare) -> Prepare:
    def prepare(params: Tree, x: Any, state: Tree, kept: Kept | None) -> Run:
        def run(x: Any) -> Array:
            y_and_vjp = fused(params, x, state, False)
            return one_by_one(params, x, state, kept)(x) if y_and_vjp is None else y_and_vjp[0]

        return run

    return prepare


def _for_other_shapes(prepare: Prepare) -> Prepare:
    """Let what is kept prepare anew for an x of another shape or dtype, which a layer of the user's own may return."""

    def prepare_for_all(params: Tree, x: Any, state: Tree, kept: Kept | None) -> Run:
        run = prepare(params, x, state, kept)
        if kept is None or type(x) is not np.ndarray:
            return run
        shape, dtype = x.shape, x.dtype

        def run_or_prepare(x: Any) -> Array:
            if type(x) is np.ndarray and x.shape == shape and x.dtype == dtype:
                return run(x)
            return prepare(params, x, state, None)(x)

        return run_or_prepare

    return prepare_for_all


def _linear(names: Sequence[str], layers: Sequence[Layer]) -> tuple[int, Prepare]:
    """Return the step that begins with a convolution or dense layer, and its number of layers."""
    pairs = [op_and_options(layer) for layer in layers]
    layer_ops = [op for op, _ in pairs]

    def after(i: int) -> int:
        """Return the index of the next layer after i that is not an identity."""
        return next((k for k in range(i + 1, len(layers)) if layer_ops[k] is not ops.identity), len(layers))

    name, norm, eps, end = names[0], None, 0.0, after(0)
    if end < len(layers) and layer_ops[end] is ops.batch_norm and pairs[end][1]["stats"] is None:
        norm, eps = names[end], pairs[end][1]["eps"]
        end = after(end)
    options, others, pool, fusible = pairs[0][1], layer_ops[end : end + 2], None, False
    if ops.max_pool in others and others[0] in (ops.max_pool, ops.relu):
        k = end + others.index(ops.max_pool)
        pool = names[k], {**pairs[k][1], "keep_input": True}
        fusible = layer_ops[0] is ops.conv and is_conv_pool(options, pairs[k][1])
    with_relu = others[:1] == [ops.relu] or (pool is not None and others[1:] == [ops.relu])
    end += int(with_relu) + int(pool is not None)
    passive = [other for other in names[1:end] if other != norm]
    one_by_one = _one_by_one(names[:end], layers[:end])
    prepare_op = _PREPARE[layer_ops[0]]
    leaves = ("w", "b") if options["bias"] else ("w",)

    def prepare(params: Tree, x: Any, state: Tree, kept: Kept | None) -> Run:
        given = _leaves(params[name], leaves, x)
        if given is None or not is_empty(state[name]):
            return one_by_one(params, x, state, kept)
        for other in passive:  # a loop: a generator would take as long as the rest of the checks
            if not (is_empty(params[other]) and is_empty(state[other])):
                return one_by_one(params, x, state, kept)
        w, b, factor = given[0], given[1] if len(given) > 1 else None, None
        channels = w.shape[-1:]
        if b is not None and b.shape != channels:
            return one_by_one(params, x, state, kept)
        if norm is not None:
            of_scale = _leaves(params[norm], ("scale", "bias"), x)
            of_stats = _leaves(state[norm], ("mean", "var"), x)
            if of_scale is None or of_stats is None or not eps >= 0:
                return one_by_one(params, x, state, kept)
            if x.dtype == np.float16:  # factor y overflows where factor (y - mean) does not
                return one_by_one(params, x, state, kept)
            if any(vector.shape != channels for vector in (*of_scale, *of_stats)):
                return one_by_one(params, x, state, kept)
            factor, shift = normalization_affine(params[norm], state[norm], eps, x.dtype)
            if not np.isfinite(factor).all():
                return one_by_one(params, x, state, kept)
            b = shift if b is None else b * factor + shift
            if kept is not None or w.size <= _FOLDED_WEIGHTS * math.prod(x.shape[1:-1]) * w.shape[-1]:
                w, factor = w * factor, None
        try:
            if fusible and factor is None and can_fuse(options, x, w, prepared=kept is not None):
                planned = plan_conv_pool(options, x, w, prepared=kept is not None)
                if planned is not None:
                    return prepare_max(x, w, *planned, b, with_relu)
            whole = factor is None and pool is None  # the op adds the bias
            linear = prepare_op(
                {"w": w} if b is None or not whole else {"w": w, "b": b}, x,
                **{**options, "bias": b is not None and whole}, relu=whole and with_relu, kept=kept is not None,
            )  # fmt: skip
        except LOCATED as error:
            add_location(error, name)
            raise
        if whole:
            return linear

        def run(x: Array) -> Array:
            y = linear(x)
            if factor is not None:
                y *= factor
            if pool is not None:
                try:
                    y = ops.max_pool(y, **pool[1])[0]
                except LOCATED as error:
                    add_location(error, pool[0])
                    raise
            return add_bias(y, b, with_relu)

        return run

    return end, _for_other_shapes(prepare)


def _leaves(tree: Any, names: tuple[str, ...], x: Any) -> list[Array] | None:
    """Return the leaves of these names; None unless they are all there are, and of x's dtype, a real one."""
    if type(x) is not np.ndarray or x.dtype.kind != "f" or not isinstance(tree, dict) or len(tree) != len(names):
        return None
    leaves: list[Any] = [tree.get(name) for name in names]
    for leaf in leaves:
        if type(leaf) is not np.ndarray or leaf.dtype != x.dtype or not leaf.ndim:
            return None
    return leaves


def with_bias(layer: Layer) -> Layer:
    """Return a convolution or dense layer without bias as one with a bias, initially 0; one with a bias as it is."""
    op, options = op_and_options(layer)
    if op is None or options["bias"]:
        return layer

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        params, _, out_shape = layer.init(key, in_shape)
        return {**params, "b": zeros(key, out_shape[-1:])}

    options, recipe = {**options, "bias": True}, partial(with_bias, layer)
    return parametric(layer.name, init_params, op, options, optional_dx=True, recipe=recipe)
