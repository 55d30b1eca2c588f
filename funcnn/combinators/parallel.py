"""Layers in parallel branches, and with a shortcut."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from funcnn.combinators.children import check_children, child_names, sum_cotangents
from funcnn.inference import Kept, compute, steps
from funcnn.keys import Key, fold_in
from funcnn.layer import LOCATED, Layer, OpForward, add_location, empty_batch, parameterless, pull_back
from funcnn.ops import add, identity
from funcnn.tree import Array, Tree


def parallel(*branches: Layer, join: Callable[..., tuple[Array, Callable[[Any], Any]]] = add) -> Layer:
    """Layers that all take the same input, and whose outputs an op joins.

    Parameters
    ----------
    *branches : Layer
        At least one.
    join : callable
        An op of one array per branch, such as `funcnn.ops.add` or `funcnn.ops.concat`.

    Returns
    -------
    Layer

    Notes
    -----
    The VJP of the join gives each branch its dy. Every branch takes x, a copy of the same array, and the adjoint of a
    copy is a sum: dx is the sum of the branches' dx.

    Examples
    --------
    >>> from funcnn.layers import conv2d
    >>> from funcnn.ops import concat
    >>> parallel(conv2d(4, 1), conv2d(8, 3, padding=1), join=concat).init((0,), (8, 8, 1))[2]
    (8, 8, 12)
    """
    names = child_names("parallel", branches)
    children = tuple(zip(names, branches, strict=True))
    branch_steps = [steps([name], [layer]) for name, layer in children]

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shapes = {}, {}, []
        try:
            for i, (name, layer) in enumerate(children):
                params[name], state[name], shape = layer.init(fold_in(key, i), in_shape)
                shapes.append(shape)
        except LOCATED as error:
            add_location(error, name)
            raise
        return params, state, join(*map(empty_batch, shapes))[0].shape[1:]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_children("parallel", names, params, state)
        ys, vjps, new_state = [], [], {}
        try:
            for i, (name, layer) in enumerate(children):
                child_key = None if key is None else fold_in(key, i)
                y, vjp, new_state[name] = layer.forward(params[name], x, state[name], train=train, key=child_key)
                ys.append(y)
                vjps.append(vjp)
        except LOCATED as error:
            add_location(error, name)
            raise
        y, join_vjp = join(*ys)

        def parallel_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            dys = join_vjp(dy) if len(names) > 1 else (join_vjp(dy),)
            if len(dys) != len(names):
                raise ValueError(f"parallel: the VJP of join returned {len(dys)} cotangents for {len(names)} branches")
            dparams, dxs = {}, []
            try:
                for (name, layer), vjp, branch_dy in zip(children, vjps, dys, strict=True):
                    dparams[name], dx = pull_back(layer, vjp, branch_dy, input_gradient=input_gradient)
                    dxs.append(dx)
            except LOCATED as error:
                add_location(error, name)
                raise
            return dparams, sum_cotangents(dxs)

        return y, parallel_vjp, new_state

    def output_of_branches(params: Tree, x: Array, state: Tree, kept: Kept | None = None) -> Array:
        if not kept:
            check_children("parallel", names, params, state)
        return join(*(compute(branch, params, x, state, kept) for branch in branch_steps))[0]

    def rebuild(*others: Layer) -> Layer:
        return parallel(*others, join=join)

    options, recipe = {"layers": branches, "join": join}, partial(parallel, *branches, join=join)
    forward = OpForward(parallel, options, call, output_of_branches, recipe)
    return Layer("parallel", init, forward, branches, rebuild)


def residual(body: Layer, shortcut: Layer | None = None) -> Layer:
    """The sum of a layer's output and a shortcut's, both of the same input. The default shortcut is the identity.

    K. He et al., Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385).

    Parameters
    ----------
    body, shortcut : Layer
        Their outputs must have the same shape.

    Returns
    -------
    Layer

    Notes
    -----
    Both get the same dy, as the join is a sum. With the identity as the shortcut, y = x + f(x) and

        dx = dy + J_f^T dy

    so dy arrives at the input of a stack of such blocks whatever the bodies make of it.

    Examples
    --------
    >>> from funcnn.layers import conv2d
    >>> params, _, _ = residual(conv2d(3, 3, padding="same")).init((0,), (8, 8, 3))
    >>> list(params)
    ['0_conv2d', '1_identity']
    """
    branches = (body, parameterless("identity", identity) if shortcut is None else shortcut)
    return parallel(*branches)._replace(name="residual")
