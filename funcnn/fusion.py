"""Fusion of neighbouring layers: computing them in one call gives the same result in less time.

`funcnn.combinators.serial` calls `segments` once, to split its layers into segments; `funcnn.combinators.graph` does so
for each chain of layers whose outputs nothing else reads. Most segments are a single layer.
Patterns of layers, recognised by their ops, become a fused segment:

- A convolution or dense layer followed by ReLU, unless max pooling follows. ReLU is applied to the outputs while they
  are in the cache, or in place, so that one array less is kept for the VJP, which is that of the first layer at
  dy where y > 0.
- ReLU followed by max pooling. The maximum of max(x, 0) is max(maximum, 0), so pooling is computed first, and ReLU on
  its smaller output. The VJP is the same: where the maximum is above 0, its position is the same in x and in max(x, 0);
  elsewhere the gradient is 0.
- A 2-D convolution followed by 2x2 max pooling, with or without a ReLU after either of them. A bias shifts all
  positions of a window by the same amount, so it is added after pooling: y = max(b + max over the window of x * w, 0).
  The VJP sends dy, where y > 0, to the position of the maximum; db is the sum of these dy, and dw and dx are those of
  the convolution (`funcnn.kernels.conv.conv_pool`).
- Batch normalisation followed by ReLU, which is applied in place.
- Batch normalisation followed by max pooling, with or without a ReLU after either of them. Where all scales are above
  0, the maxima are taken first, so that fewer numbers are normalised (`funcnn.ops.normalization`).

The layers keep their own parameters, states, gradients, rows in summaries and paths in errors. A fused segment computes
its first layer alone where the fused kernel does not apply: other dtypes, shapes that do not fit (the layer raises the
error), a scale of 0 or below, or shapes for which fusion is not faster. The layers after it may still be fused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import checks, ops
from funcnn.kernels.bias import channel_sum
from funcnn.kernels.conv.conv_pool import adjoints, choose_conv_pool, correlate_max
from funcnn.kernels.conv.dispatch import AUTO_METHODS, preference
from funcnn.kernels.geometry import Geometry, geometry, to_tuple
from funcnn.kernels.rectifier import rectify, rectify_adjoint
from funcnn.kernels.selection import active
from funcnn.keys import Key, fold_in
from funcnn.layer import LOCATED, Layer, OpForward, add_location, op_and_options, pull_back
from funcnn.ops.conv import conv_and_relu, depthwise_conv, depthwise_conv_and_relu
from funcnn.ops.dense import dense_and_relu
from funcnn.ops.normalization import fused_batch_norm
from funcnn.ops.pooling import max_pool_geometry
from funcnn.tree import Array, Tree

__all__ = ["Segment", "segments"]

# Entries of x: up to here, the checks of the fused convolution cost more time than fusion saves.
# ``scripts/bench --job seed`` measures it again.
_MIN_FUSED_SIZE = 768

# Linear ops, and what computes them with the ReLU of their output.
WITH_RELU: dict[Any, Callable[..., Any]] = {
    ops.conv: conv_and_relu,
    depthwise_conv: depthwise_conv_and_relu,
    ops.dense: dense_and_relu,
}

_POOL_OPTIONS = ("window", "stride", "padding", "dilation", "ceil_mode")  # as `max_pool_geometry` takes them

# ``fused(params, x, state, train) -> (y, vjp, state)`` gets the combinator's params and state. It returns None where
# the first layer has to be computed alone. ``vjp(dy, input_gradient) -> (dparams, dx)``; dparams and the new state have
# the layers' names.
FusedVjp: TypeAlias = Callable[[Any, bool], tuple[Tree, Array | None]]
Fused: TypeAlias = Callable[[Tree, Array, Tree, bool], tuple[Array, FusedVjp, Tree] | None]


class Segment(NamedTuple):
    """One layer, or several neighbouring layers that are computed in one call.

    Attributes
    ----------
    first : int
        Index of its first layer in the combinator.
    forward : callable
        ``forward(params, x, state, new_state, train, key) -> y, saved`` gets the params, state and key of the
        combinator, and writes its layers' new states to ``new_state``.
    backward : callable
        ``backward(saved, dy, dparams, input_gradient) -> dx`` writes its layers' gradients to ``dparams``. dx is None
        if ``input_gradient`` is False.
    names : tuple of str
        The names that the combinator gives its layers.
    fused : callable or None
        The fused computation of several layers; None for a single layer.

    Examples
    --------
    See `segments`.
    """

    first: int
    forward: Callable[[Tree, Array, Tree, Tree, bool, Key | None], tuple[Array, Any]]
    backward: Callable[[Any, Any, Tree, bool], Any]
    names: tuple[str, ...]
    fused: Fused | None = None


def segments(
    names: Sequence[str], layers: Sequence[Layer], indices: Sequence[int] | None = None
) -> tuple[Segment, ...]:
    """Split a sequence of layers into segments.

    Parameters
    ----------
    names : sequence of str
        The names that the combinator gives the layers.
    layers : sequence of Layer
    indices : sequence of int, optional
        Their indices in the combinator, by default 0, 1, ...

    Returns
    -------
    tuple of Segment
        Each layer is in one segment; the segments are in the order of the layers.

    Examples
    --------
    >>> from funcnn.layers import max_pool, relu, tanh
    >>> [segment.names for segment in segments(["a", "b", "c"], [tanh(), relu(), max_pool(2)])]
    [('a',), ('b', 'c')]
    """
    if indices is None:
        indices = range(len(layers))
    plain = [_layer_segment(*of_layer) for of_layer in zip(indices, names, layers, strict=True)]
    found, i = [], 0
    while i < len(layers):
        length, fused = match_fused(names[i:], layers[i : i + 3])
        if fused is None:
            found.append(plain[i])
        else:
            others = slice(i + 1, i + length)
            found.append(_fused_segment((plain[i], *segments(names[others], layers[others], indices[others])), fused))
        i += length
    return tuple(found)


def _layer_segment(i: int, name: str, layer: Layer) -> Segment:
    call = layer.forward.call if isinstance(layer.forward, OpForward) else layer.forward

    def forward(
        params: Tree, x: Array, state: Tree, new_state: Tree, train: bool, key: Key | None
    ) -> tuple[Array, Any]:
        try:
            child_key = None if key is None else fold_in(key, i)
            y, vjp, new_state[name] = call(params[name], x, state[name], train=train, key=child_key)
        except LOCATED as error:
            add_location(error, name)
            raise
        return y, vjp

    def backward(vjp: Any, dy: Any, dparams: Tree, input_gradient: bool) -> Any:
        try:
            dparams[name], dx = vjp(dy) if input_gradient else pull_back(layer, vjp, dy, input_gradient=False)
        except LOCATED as error:
            add_location(error, name)
            raise
        return dx

    return Segment(i, forward, backward, (name,))


def _fused_segment(parts: tuple[Segment, ...], fused: Fused) -> Segment:
    """Return the segment of a fused computation, or where it returns None, of its first layer and then the others."""
    names = tuple(name for segment in parts for name in segment.names)

    def forward(
        params: Tree, x: Array, state: Tree, new_state: Tree, train: bool, key: Key | None
    ) -> tuple[Array, Any]:
        computed = fused(params, x, state, train)
        if computed is not None:
            y, vjp, states = computed
            new_state.update(states)
            return y, vjp
        vjps = []
        for segment in parts:
            x, vjp = segment.forward(params, x, state, new_state, train, key)
            vjps.append(vjp)
        return x, vjps

    def backward(saved: FusedVjp | list[Any], dy: Any, dparams: Tree, input_gradient: bool) -> Any:
        if isinstance(saved, list):
            for segment, vjp in zip(reversed(parts), reversed(saved), strict=True):
                dy = segment.backward(vjp, dy, dparams, input_gradient or segment is not parts[0])
            return dy
        try:
            layer_gradients, dx = saved(dy, input_gradient)
        except LOCATED as error:
            add_location(error, names[-1])
            raise
        dparams.update(layer_gradients)
        return dx

    return Segment(parts[0].first, forward, backward, names, fused)


def match_fused(names: Sequence[str], layers: Sequence[Layer]) -> tuple[int, Fused | None]:
    """Return how many of the first layers can be fused, and the fused computation; 1 and None for a single layer."""
    pairs = [op_and_options(layer) for layer in layers]
    layer_ops, options = [op for op, _ in pairs], [options for _, options in pairs]
    if layer_ops[:2] == [ops.relu, ops.max_pool]:
        return 2, _relu_max_pool(names[0], names[1], options[1])
    if layer_ops[0] in WITH_RELU and layer_ops[1:2] == [ops.relu] and layer_ops[2:] != [ops.max_pool]:
        return 2, _linear_relu(names[0], names[1], WITH_RELU[layer_ops[0]], options[0])
    is_norm = layer_ops[:1] == [ops.batch_norm] and options[0]["stats"] is None
    if layer_ops[1:2] != [ops.max_pool] and layer_ops[1:] != [ops.relu, ops.max_pool]:
        if is_norm and layer_ops[1:2] == [ops.relu]:
            return 2, _batch_norm(tuple(names[:2]), layers[0], with_relu=True)
        return 1, None
    with_relu, pool = ops.relu in layer_ops[1:], layer_ops.index(ops.max_pool)
    length = 3 if with_relu else 2
    fused_names, last = tuple(names[:length]), "relu" if layer_ops[length - 1] is ops.relu else "max_pool"
    if layer_ops[0] is ops.conv and is_conv_pool(options[0], options[pool]):
        return length, _conv_max_pool(fused_names, options[0], last, with_relu=with_relu)
    if is_norm:
        return length, _batch_norm(fused_names, layers[0], (names[pool], options[pool]), last, with_relu=with_relu)
    return 1, None


def is_empty(tree: Any) -> bool:
    return isinstance(tree, dict) and not tree


def is_conv_pool(conv: Mapping[str, Any], pool: Mapping[str, Any]) -> bool:
    """Return whether a convolution may be fused with max pooling, by their options."""
    return _is_plain_conv2d(conv) and _is_2x2(pool)


def _is_plain_conv2d(conv: Mapping[str, Any]) -> bool:
    """Return whether a convolution has no stride, dilation or groups; the rank is checked with each input."""
    return _on_both_axes(conv["stride"], 1) and _on_both_axes(conv["dilation"], 1) and conv["groups"] == 1


def _is_2x2(pool: Mapping[str, Any]) -> bool:
    """Return whether pooling windows are 2x2 with stride 2, without dilation, padding or ceil_mode."""
    padding = pool["padding"]
    return (
        _on_both_axes(pool.get("window"), 2)
        and (pool["stride"] is None or _on_both_axes(pool["stride"], 2))
        and _on_both_axes(pool["dilation"], 1)
        and (padding == "valid" or _on_both_axes(padding, 0) or _on_both_axes(padding, (0, 0)))
        and not pool["ceil_mode"]
    )


def _on_both_axes(option: Any, value: Any) -> bool:
    """Return whether an option is ``value`` on both of two axes."""
    option = to_tuple(option)
    return bool(option == value or option == (value, value))


def _linear_relu(linear: str, relu: str, op: Callable[..., Any], options: Mapping[str, Any]) -> Fused:
    def fused(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, FusedVjp, Tree] | None:
        if not (is_empty(state[linear]) and is_empty(params[relu]) and is_empty(state[relu])):
            return None
        try:
            y, vjp = op(params[linear], x, **options)
        except LOCATED as error:
            add_location(error, linear)
            raise

        def linear_relu_vjp(dy: Any, input_gradient: bool) -> tuple[Tree, Array | None]:
            dparams, dx = vjp(dy, input_gradient=input_gradient)
            return {linear: dparams, relu: {}}, dx

        return y, linear_relu_vjp, {linear: {}, relu: {}}

    return fused


def _relu_max_pool(relu: str, pool: str, options: Mapping[str, Any]) -> Fused:
    options = {name: value for name, value in options.items() if name != "keep_input"}

    def fused(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, FusedVjp, Tree] | None:
        if not all(is_empty(tree[name]) for tree in (params, state) for name in (relu, pool)):
            return None
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc":
            return None
        try:
            maxima, max_pool_vjp = ops.max_pool(x, **options, keep_input=not train)
        except LOCATED as error:
            add_location(error, pool)
            raise
        y, relu_vjp = ops.relu(maxima)
        shape, dtype = y.shape, y.dtype

        def relu_max_pool_vjp(dy: Any, input_gradient: bool) -> tuple[Tree, Array | None]:
            dy = checks.cotangent("max_pool", dy, shape, dtype)
            return {relu: {}, pool: {}}, max_pool_vjp(relu_vjp(dy)) if input_gradient else None

        return y, relu_max_pool_vjp, {relu: {}, pool: {}}

    return fused


def _batch_norm(
    names: tuple[str, ...],
    norm: Layer,
    pool: tuple[str, Mapping[str, Any]] | None = None,
    last_op: str = "relu",
    *,
    with_relu: bool,
) -> Fused:
    first, *others = names
    next_state = norm.forward.next_state if isinstance(norm.forward, OpForward) else None
    eps = op_and_options(norm)[1]["eps"]
    pool_options = () if pool is None else tuple(pool[1][name] for name in _POOL_OPTIONS)

    def applies(params: Tree, x: Array, state: Tree) -> bool:
        """Return whether all scales are above 0, which pooling needs, and no layer would raise an error but pooling."""
        if not isinstance(x, np.ndarray) or x.ndim < 2 or x.dtype.kind != "f" or x.size < 2 * x.shape[-1]:
            return False
        if pool is not None and x.ndim not in (3, 4, 5):
            return False
        if not all(is_empty(params[n]) and is_empty(state[n]) for n in others):
            return False
        for tree, leaves in ((params[first], {"scale", "bias"}), (state[first], {"mean", "var"})):
            if not isinstance(tree, dict) or tree.keys() != leaves:
                return False
            if not all(isinstance(leaf, np.ndarray) and leaf.shape == x.shape[-1:] for leaf in tree.values()):
                return False
        scale, bias = params[first]["scale"], params[first]["bias"]
        return eps >= 0 and scale.dtype == bias.dtype == x.dtype and (pool is None or bool((scale > 0).all()))

    def fused(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, FusedVjp, Tree] | None:
        if next_state is None or not applies(params, x, state):
            return None
        windows = None
        if pool is not None:
            try:
                windows = max_pool_geometry(x.shape[1:-1], *pool_options)
            except LOCATED as error:
                add_location(error, pool[0])
                raise
        stats = None if train else state[first]
        y, norm_vjp, stats = fused_batch_norm(params[first], x, windows, relu=with_relu, stats=stats, eps=eps)
        shape, dtype = y.shape, y.dtype

        def batch_norm_vjp(dy: Any, input_gradient: bool) -> tuple[Tree, Array | None]:
            dy = checks.cotangent(last_op, dy, shape, dtype)
            dparams, dx = norm_vjp(dy, input_gradient=input_gradient)
            return {first: dparams, **{name: {} for name in others}}, dx

        of_norm = next_state(state[first], stats) if train else state[first]
        return y, batch_norm_vjp, {first: of_norm, **{name: {} for name in others}}

    return fused


def can_fuse(conv: Mapping[str, Any], x: Array, w: Array, *, prepared: bool = False) -> bool:
    """Return whether x is large enough to fuse a convolution with max pooling, and fits the weights."""
    if x.ndim != 4 or (x.size <= _MIN_FUSED_SIZE and not prepared) or w.ndim != 4 or w.shape[2] != x.shape[3]:
        return False
    return preference(conv["method"]) in AUTO_METHODS


def plan_conv_pool(
    conv: Mapping[str, Any], x: Array, w: Array, *, prepared: bool = False
) -> tuple[Geometry, str] | None:
    """Return the geometry and the method of a convolution fused with 2x2 max pooling; None where that is not faster."""
    g = geometry("conv", x.shape[1:-1], w.shape[:-2], padding=conv["padding"])
    exact = preference(conv["method"]) == "exact"
    method = choose_conv_pool(
        g, len(x), *w.shape[2:], x.dtype, exact=exact, compiled=active(x.size, x.dtype), prepared=prepared
    )
    return None if method is None else (g, method)


def _conv_max_pool(names: tuple[str, ...], conv: Mapping[str, Any], last_op: str, *, with_relu: bool) -> Fused:
    first, *others = names
    leaves = ("w", "b") if conv["bias"] else ("w",)

    def applies(params: Tree, x: Array, state: Tree) -> bool:
        """Return whether x is large enough to fuse, and no layer would raise an error, the geometry's aside."""
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            return False
        weights = params[first]
        if not (is_empty(state[first]) and all(is_empty(params[n]) and is_empty(state[n]) for n in others)):
            return False
        if not isinstance(weights, dict) or weights.keys() != set(leaves):
            return False
        if not all(isinstance(leaf, np.ndarray) and leaf.dtype == x.dtype for leaf in weights.values()):
            return False
        w = weights["w"]
        return can_fuse(conv, x, w) and ("b" not in weights or weights["b"].shape == w.shape[3:])

    def fused(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, FusedVjp, Tree] | None:
        if not applies(params, x, state):
            return None
        w, b, chosen = params[first]["w"], params[first].get("b"), preference(conv["method"])
        try:
            planned = plan_conv_pool(conv, x, w)
        except LOCATED as error:
            add_location(error, first)
            raise
        if planned is None:
            return None
        g, method = planned
        y, argmax = correlate_max(x, w, g, method, b, return_argmax=train)
        shape, dtype = y.shape, y.dtype
        relu_output = rectify(y, y) if with_relu else None

        def conv_max_pool_vjp(dy: Any, input_gradient: bool) -> tuple[Tree, Array | None]:
            dy = checks.cotangent(last_op, dy, shape, dtype)
            if relu_output is not None:
                dy = rectify_adjoint(relu_output, dy)
            # In evaluation, the VJP is seldom called, so the argmax is computed here instead of in every forward call.
            positions = argmax if argmax is not None else correlate_max(x, w, g, method, return_argmax=True)[1]
            assert positions is not None
            dw, dx = adjoints(x, w, dy, positions, g, method, input_gradient=input_gradient, preference=chosen)
            dparams: Tree = {name: {} for name in others}
            dparams[first] = {"w": dw} if b is None else {"w": dw, "b": channel_sum(dy)}
            return dparams, dx

        return y, conv_max_pool_vjp, {name: {} for name in names}

    return fused
