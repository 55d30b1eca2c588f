"""How layers in sequence are computed in evaluation: in fewer passes over the numbers, and without closures.

A convolution or dense layer is one step together with the layers after it that only change its output number by number:

- Batch normalisation by the running statistics is factor y + shift. It is folded into the weights, unless these are
  more than the outputs: then it is applied to the output, in place.
- ReLU is applied to the outputs while they are in the cache, or in place.
- Max pooling comes before the bias and ReLU, as max(y + b) = max(y) + b, which leaves these fewer numbers. Where it is
  fused with the convolution in training (`funcnn.fusion`), it is here, too, also after batch normalisation.

Where the arrays do not fit, or are not of one real dtype, a step computes its layers one after the other, and the layer
raises the error. What is folded depends on the shape of an example, not on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from funcnn import ops
from funcnn.fusion import WITH_RELU, Fused, is_empty, match_fused
from funcnn.initializers import zeros
from funcnn.kernels.bias import add_bias
from funcnn.kernels.channels import normalization_affine
from funcnn.kernels.rectifier import rectify
from funcnn.keys import Key
from funcnn.layer import LOCATED, Layer, OpForward, add_location, op_and_options, parametric
from funcnn.tree import Array, Tree

__all__ = ["Step", "steps"]

# ``step(params, x, state) -> y`` gets the combinator's params and state.
Step: TypeAlias = Callable[[Tree, Any, Tree], Array]

# Weights of each output channel for each position of x: up to so many, scaling the weights costs less than scaling the
# output. `funcnn.training.predict` on one image of 224x224 by `funcnn.models.resnet` measures it again.
_FOLDED_WEIGHTS = 2


def steps(names: Sequence[str], layers: Sequence[Layer]) -> tuple[Step, ...]:
    """Return the steps that compute layers in sequence in evaluation.

    Parameters
    ----------
    names : sequence of str
        The names that the combinator gives the layers.
    layers : sequence of Layer

    Returns
    -------
    tuple of callable
        ``step(params, x, state) -> y``, of which each takes the y of the one before.

    Examples
    --------
    >>> from funcnn.layers import batch_norm, conv2d, relu, tanh
    >>> len(steps(["a", "b", "c", "d"], [conv2d(4, 3), batch_norm(), relu(), tanh()]))
    2
    """
    found: list[Step] = []
    i = 0
    while i < len(layers):
        if op_and_options(layers[i])[0] in WITH_RELU:
            length, step = _linear(names[i:], layers[i:])
        else:
            length, fused = match_fused(names[i : i + 3], layers[i : i + 3])
            step = _one_by_one(names[i : i + length], layers[i : i + length])
            if fused is not None:
                step = partial(_fused_or_not, fused, step)
        found.append(step)
        i += length
    return tuple(found)


def _one_by_one(names: Sequence[str], layers: Sequence[Layer]) -> Step:
    single = [_output(name, layer) for name, layer in zip(names, layers, strict=True)]
    if len(single) == 1:
        return single[0]

    def step(params: Tree, x: Any, state: Tree) -> Array:
        for layer_step in single:
            x = layer_step(params, x, state)
        y: Array = x
        return y

    return step


def _output(name: str, layer: Layer) -> Step:
    call = layer.forward.call if isinstance(layer.forward, OpForward) else layer.forward
    combined = layer.forward.output if isinstance(layer.forward, OpForward) else None

    def step(params: Tree, x: Any, state: Tree) -> Array:
        try:
            if combined is not None:
                return combined(params[name], x, state[name])
            y: Array = call(params[name], x, state[name], train=False)[0]
            return y
        except LOCATED as error:
            add_location(error, name)
            raise

    return step


def _fused_or_not(fused: Fused, one_by_one: Step, params: Tree, x: Any, state: Tree) -> Array:
    y_and_vjp = fused(params, x, state, False)
    return one_by_one(params, x, state) if y_and_vjp is None else y_and_vjp[0]


def _linear(names: Sequence[str], layers: Sequence[Layer]) -> tuple[int, Step]:
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
    head = layers[0] if norm is None else with_bias(layers[0])
    _, fused = match_fused([name, *names[end : end + 2]], [head, *layers[end : end + 2]])
    others, pool = layer_ops[end : end + 2], None
    if ops.max_pool in others and others[0] in (ops.max_pool, ops.relu):
        k = end + others.index(ops.max_pool)
        pool = names[k], {**pairs[k][1], "keep_input": True}
    with_relu = others[:1] == [ops.relu] or (pool is not None and others[1:] == [ops.relu])
    end += int(with_relu) + int(pool is not None)
    passive = [other for other in names[1:end] if other != norm]
    one_by_one = _one_by_one(names[:end], layers[:end])
    op, with_relu_op, options = pairs[0][0], WITH_RELU[pairs[0][0]], {**pairs[0][1], "bias": False}
    leaves = ("w", "b") if pairs[0][1]["bias"] else ("w",)
    assert op is not None

    def step(params: Tree, x: Any, state: Tree) -> Array:
        given = _leaves(params[name], leaves, x)
        if given is None or not is_empty(state[name]):
            return one_by_one(params, x, state)
        for other in passive:  # a loop: a generator would take as long as the rest of the checks
            if not (is_empty(params[other]) and is_empty(state[other])):
                return one_by_one(params, x, state)
        w, b, factor = given[0], given[1] if len(given) > 1 else None, None
        channels = w.shape[-1:]
        if b is not None and b.shape != channels:
            return one_by_one(params, x, state)
        if norm is not None:
            of_scale = _leaves(params[norm], ("scale", "bias"), x)
            of_stats = _leaves(state[norm], ("mean", "var"), x)
            if of_scale is None or of_stats is None or not eps >= 0:
                return one_by_one(params, x, state)
            if any(vector.shape != channels for vector in (*of_scale, *of_stats)):
                return one_by_one(params, x, state)
            factor, shift = normalization_affine(params[norm], state[norm], eps, x.dtype)
            if not np.isfinite(factor).all():
                return one_by_one(params, x, state)
            b = shift if b is None else b * factor + shift
            if w.size <= _FOLDED_WEIGHTS * math.prod(x.shape[1:-1]) * w.shape[-1]:
                w, factor = w * factor, None
        if fused is not None and factor is None:
            with_b = {"w": w} if b is None else {"w": w, "b": b}
            y_and_vjp = fused({**params, name: with_b}, x, state, False)
            if y_and_vjp is not None:
                return y_and_vjp[0]
        at = name
        try:
            if factor is None and pool is None:
                with_b = {"w": w} if b is None else {"w": w, "b": b}
                rectified: Array = with_relu_op(with_b, x, **{**options, "bias": b is not None}, relu=with_relu)[0]
                return rectified
            y: Array = op({"w": w}, x, **options)[0]
            if factor is not None:
                y *= factor
            if pool is not None:
                at = pool[0]
                y = ops.max_pool(y, **pool[1])[0]
        except LOCATED as error:
            add_location(error, at)
            raise
        y = add_bias(y, b)
        return rectify(y, out=y) if with_relu else y

    return end, step


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
