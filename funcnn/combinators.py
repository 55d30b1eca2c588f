"""Combinators: layers made of other layers, in sequence, in parallel branches, or with a shortcut.

A combinator uses its children only through the protocol of `funcnn.layer.Layer`. Child ``i`` is called ``{i}_{name}``
and draws random numbers from the key ``fold_in(key, i)``. Without children, and for a child's name with a ``/``, a
combinator raises a ValueError; for a child that is not a Layer, a TypeError. Errors inside a child gain the note ``in
layer {i}_{name}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcnn.fusion import segments
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, OpForward, add_location, empty_batch, op_and_options, parameterless, pull_back
from funcnn.ops import add, identity
from funcnn.tree import Array, Tree

__all__ = ["map_layers", "parallel", "residual", "serial"]


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
    Neighbouring convolution, max pooling and ReLU layers may be fused: computed by one routine, with the same results
    up to rounding (`funcnn.fusion`).

    Examples
    --------
    >>> from funcnn.layers import dense, flatten, relu
    >>> model = serial(flatten(), dense(16), relu(), dense(10))
    >>> params, state, out_shape = model.init((0,), (8, 8, 1))
    >>> out_shape, list(params)
    ((10,), ['0_flatten', '1_dense', '2_relu', '3_dense'])
    """
    names = _names("serial", layers)
    children = tuple(enumerate(zip(names, layers, strict=True)))
    parts = segments(names, layers)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shape = {}, {}, in_shape
        for i, (name, layer) in children:
            try:
                params[name], state[name], shape = layer.init(fold_in(key, i), shape)
            except (ValueError, TypeError) as error:
                add_location(error, name)
                raise
        return params, state, shape

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        _check_children("serial", names, params, state)
        new_state: Tree = {}
        y, all_saved = x, []
        for segment in parts:
            y, saved = segment.forward(params, y, state, new_state, train, key)
            all_saved.append(saved)

        def serial_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            # Without dx, stop at the first layer that has parameters. The layers before it have none, so their params,
            # dicts without leaves, serve as their gradients.
            last = 0 if input_gradient else _first_with_leaves(names, params)
            dparams = dict(params)
            for segment, saved in zip(reversed(parts), reversed(all_saved), strict=True):
                if segment.first + len(segment.names) <= last:
                    break
                dy = segment.backward(saved, dy, dparams, input_gradient or segment.first > last)
            return dparams, dy if input_gradient else None

        return y, serial_vjp, new_state

    return Layer("serial", init, OpForward(serial, {"layers": layers}, call), layers, serial)


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
    Every branch takes x, so dx is the sum of the branches' dx.

    Examples
    --------
    >>> from funcnn.layers import conv2d
    >>> from funcnn.ops import concat
    >>> parallel(conv2d(4, 1), conv2d(8, 3, padding=1), join=concat).init((0,), (8, 8, 1))[2]
    (8, 8, 12)
    """
    names = _names("parallel", branches)
    children = tuple(zip(names, branches, strict=True))

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shapes = {}, {}, []
        try:
            for i, (name, layer) in enumerate(children):
                params[name], state[name], shape = layer.init(fold_in(key, i), in_shape)
                shapes.append(shape)
        except (ValueError, TypeError) as error:
            add_location(error, name)
            raise
        return params, state, join(*map(empty_batch, shapes))[0].shape[1:]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        _check_children("parallel", names, params, state)
        ys, vjps, new_state = [], [], {}
        try:
            for i, (name, layer) in enumerate(children):
                child_key = None if key is None else fold_in(key, i)
                y, vjp, new_state[name] = layer.forward(params[name], x, state[name], train=train, key=child_key)
                ys.append(y)
                vjps.append(vjp)
        except (ValueError, TypeError) as error:
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
            except (ValueError, TypeError) as error:
                add_location(error, name)
                raise
            # dx is None, too, where x holds ids
            return dparams, None if all(dx is None for dx in dxs) else sum(dxs[1:], dxs[0])

        return y, parallel_vjp, new_state

    def rebuild(*others: Layer) -> Layer:
        return parallel(*others, join=join)

    return Layer("parallel", init, OpForward(parallel, {"layers": branches, "join": join}, call), branches, rebuild)


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

    Examples
    --------
    >>> from funcnn.layers import conv2d
    >>> params, _, _ = residual(conv2d(3, 3, padding="same")).init((0,), (8, 8, 3))
    >>> list(params)
    ['0_conv2d', '1_identity']
    """
    branches = (body, parameterless("identity", identity) if shortcut is None else shortcut)
    return parallel(*branches)._replace(name="residual")


def map_layers(f: Callable[[str, Layer], Layer], model: Layer, path: str = "") -> Layer:
    """Return ``model`` with each layer that has no children replaced by ``f(path, layer)``.

    A combinator whose ``forward`` or ``children`` have been replaced is treated as a layer without children, since its
    ``forward`` need not use them. To combine other layers in the same way, call ``rebuild``.

    Parameters
    ----------
    f : callable
        ``f(path, layer) -> Layer``, where ``path`` is the names from the model to the layer joined by ``/``.
    model : Layer
    path : str
        The path of ``model`` itself, a prefix of all others.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import ops
    >>> from funcnn.layers import relu, tanh
    >>> def tanh_for_relu(path, layer):
    ...     return tanh() if layer.forward.op is ops.relu else layer
    >>> model = map_layers(tanh_for_relu, serial(serial(relu()), relu()))
    >>> model.children[1].name, model.children[0].children[0].name
    ('tanh', 'tanh')
    """
    if model.rebuild is None or _has_replaced_parts(model):
        return f(path, model)
    names = _names(model.name, model.children)
    children = [
        map_layers(f, child, f"{path}/{name}" if path else name)
        for name, child in zip(names, model.children, strict=True)
    ]
    return model.rebuild(*children)._replace(name=model.name)


def combined_layers(layer: Layer) -> tuple[Layer, ...]:
    """Return the layers that the ``forward`` of a combinator of this module calls; () for any other layer."""
    op, options = op_and_options(layer)
    layers: tuple[Layer, ...] = options["layers"] if op is serial or op is parallel else ()
    return layers


def _has_replaced_parts(model: Layer) -> bool:
    """Return whether a combinator of this module made the layer, but its ``forward`` does not call its children."""
    made_here = getattr(model.rebuild, "__module__", None) == __name__
    called = combined_layers(model)
    return made_here and not (
        len(called) == len(model.children) and all(a is b for a, b in zip(called, model.children, strict=True))
    )


def _names(combinator: str, layers: tuple[Layer, ...]) -> tuple[str, ...]:
    if not layers:
        raise ValueError(f"{combinator}: needs at least one layer")
    for layer in layers:
        if not isinstance(layer, Layer):
            got = f"a list; write {combinator}(*layers)" if isinstance(layer, list) else repr(layer)
            raise TypeError(f"{combinator}: arguments must be layers such as relu(), not {got}")
        if not isinstance(layer.name, str) or "/" in layer.name:
            raise ValueError(
                f"{combinator}: a layer's name is a str without '/', which separates names in paths; got {layer.name!r}"
            )
    return tuple(f"{i}_{layer.name}" for i, layer in enumerate(layers))


def _check_children(combinator: str, names: tuple[str, ...], params: Tree, state: Tree) -> None:
    for what, given in (("params", params), ("state", state)):
        if not isinstance(given, dict):
            raise TypeError(
                f"{combinator}: {what} must be a dict with the keys {list(names)}, not {type(given).__name__}"
            )
        if tuple(given) != names and given.keys() != set(names):
            missing, extra = sorted(set(names) - given.keys()), sorted(given.keys() - set(names))
            raise ValueError(
                f"{combinator}: {what} must have exactly the keys {list(names)}; missing {missing}, unexpected {extra}"
            )


def _first_with_leaves(names: tuple[str, ...], params: Tree) -> int:
    for i, name in enumerate(names):
        if _has_leaves(params[name]):
            return i
    return len(names)


def _has_leaves(params: Any) -> bool:
    return not isinstance(params, dict) or any(map(_has_leaves, params.values()))
