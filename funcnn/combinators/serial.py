"""Layers in sequence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from funcnn.combinators.children import backward, check_children, child_names, first_with_leaves
from funcnn.fusion import Segment, segments
from funcnn.inference import Kept, Step, compute, steps
from funcnn.keys import Key, fold_in
from funcnn.layer import LOCATED, Layer, OpForward, add_location
from funcnn.tree import Array, Tree


def serial(*layers: Layer) -> Layer:
    """Layers in sequence: the composition of functions. Its VJP calls the layers' VJPs in reverse order.

    Parameters
    ----------
    *layers : Layer
        At least one.

    Returns
    -------
    Layer

    Notes
    -----
    For y = f(x) and z = g(y) with the Jacobians J_f and J_g, a change dx changes z by J_g J_f dx, and

        <dz, J_g J_f dx> = <J_f^T J_g^T dz, dx>

    So the VJP of the last layer comes first and gets dz; what it returns is the dy of the layer before it. On the way,
    each layer's VJP returns its dparams as well.

    Neighbouring convolution, batch normalisation, max pooling and ReLU layers may be fused: computed by one routine,
    with the same results up to rounding (`funcnn.fusion`).

    Examples
    --------
    >>> from funcnn.layers import dense, flatten, relu
    >>> model = serial(flatten(), dense(16), relu(), dense(10))
    >>> params, state, out_shape = model.init((0,), (8, 8, 1))
    >>> out_shape, list(params)
    ((10,), ['0_flatten', '1_dense', '2_relu', '3_dense'])
    """
    names = child_names("serial", layers)
    children = tuple(enumerate(zip(names, layers, strict=True)))

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shape = {}, {}, in_shape
        for i, (name, layer) in children:
            try:
                params[name], state[name], shape = layer.init(fold_in(key, i), shape)
            except LOCATED as error:
                add_location(error, name)
                raise
        return params, state, shape

    call, output = in_sequence("serial", names, segments(names, layers), steps(names, layers))
    forward = OpForward(serial, {"layers": layers}, call, output, partial(serial, *layers))
    return Layer("serial", init, forward, layers, serial)


def in_sequence(
    combinator: str, names: tuple[str, ...], parts: tuple[Segment, ...], in_evaluation: tuple[Step, ...]
) -> tuple[Callable[..., Any], Callable[..., Array]]:
    """Return ``call`` and ``output`` of an `OpForward` that computes segments, or steps, one after the other."""

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_children(combinator, names, params, state)
        new_state: Tree = {}
        y, all_saved = x, []
        for segment in parts:
            y, saved = segment.forward(params, y, state, new_state, train, key)
            all_saved.append(saved)

        def serial_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            # Without dx, stop at the first layer that has parameters. The layers before it have none, so their params,
            # dicts without leaves, serve as their gradients.
            first = -1 if input_gradient else first_with_leaves(parts, params)
            dparams = dict(params)
            return dparams, backward(parts, all_saved, dy, dparams, first)

        return y, serial_vjp, new_state

    def output(params: Tree, x: Array, state: Tree, kept: Kept | None = None) -> Array:
        if not kept:
            check_children(combinator, names, params, state)
        return compute(in_evaluation, params, x, state, kept)

    return call, output
