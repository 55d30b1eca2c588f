"""Layers made of layers: in sequence, side by side, around a shortcut.

A combinator knows its children only by the protocol of `funcnn.layer.Layer`. Child ``i`` is called ``{i}_{name}``,
and it draws from its own random stream, ``fold_in(key, i)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcnn.fusion import runs
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, add_location, description, no_examples, parameterless, pull_back
from funcnn.ops import add, identity
from funcnn.tree import Array, Tree

__all__ = ["map_layers", "parallel", "residual", "serial"]


def serial(*layers: Layer) -> Layer:
    """Layers one after the other: the composition of functions, whose VJP is the composition of VJPs backwards.

    Parameters
    ----------
    *layers : Layer
        At least one.

    Returns
    -------
    Layer

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is not a Layer. Errors inside a child gain the note ``in layer {i}_{name}``.

    Notes
    -----
    Where a convolution, max pooling and a ReLU stand side by side, they may be computed at once, with the same results
    but for rounding (`funcnn.fusion`).

    Examples
    --------
    >>> from funcnn.layers import dense, flatten, relu
    >>> model = serial(flatten(), dense(16), relu(), dense(10))
    >>> params, state, out_shape = model.init((0,), (8, 8, 1))
    >>> out_shape, list(params)
    ((10,), ['0_flatten', '1_dense', '2_relu', '3_dense'])
    """
    names = _names("serial", layers)
    # neighbours that may be computed at once, by the place of the first
    together = runs(names, [description(layer) for layer in layers])
    steps = tuple((i, name, layer, together.get(i)) for i, (name, layer) in enumerate(zip(names, layers, strict=True)))

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, shape = {}, {}, in_shape
        try:
            for i, name, layer, _ in steps:
                params[name], state[name], shape = layer.init(fold_in(key, i), shape)
        except (ValueError, TypeError) as error:
            add_location(error, name)
            raise
        return params, state, shape

    def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        _check_children("serial", names, params, state)
        y, vjps, done = x, [], 0
        new_state: Tree = {}
        try:
            for i, name, layer, run in steps:
                if i < done:
                    continue
                if run is not None and (at_once := run.forward(params, y, state, train)) is not None:
                    y, vjp = at_once
                    done = i + len(run.names)
                    new_state.update({member: {} for member in run.names})
                else:
                    child_key = None if key is None else fold_in(key, i)
                    y, vjp, new_state[name] = layer.forward(params[name], y, state[name], train=train, key=child_key)
                    done = i + 1
                vjps.append((i, done, vjp))
        except (ValueError, TypeError) as error:
            add_location(error, name)
            raise

        def serial_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
            # Without dx, walk back no further than the first child that has parameters; the empty dicts before it are
            # their own gradients.
            last = 0 if input_gradient else _first_with_leaves(names, params)
            dparams = dict(params)
            try:
                for i, end, vjp in reversed(vjps):
                    if i < last:
                        break
                    own, dy = pull_back(vjp, dy, input_gradient=input_gradient or i > last, per_example=per_example)
                    if end == i + 1:
                        dparams[names[i]] = own
                    else:
                        dparams.update(own)
            except (ValueError, TypeError) as error:
                add_location(error, names[end - 1])
                raise
            return dparams, dy if input_gradient else None

        return y, serial_vjp, new_state

    return Layer("serial", init, forward, layers, serial)


def parallel(*branches: Layer, join: Callable[..., tuple[Array, Callable[[Any], Any]]] = add) -> Layer:
    """Layers side by side on the same input, their outputs joined by an op.

    Parameters
    ----------
    *branches : Layer
        At least one.
    join : callable
        An op of as many arrays: `funcnn.ops.add`, `funcnn.ops.concat`, ...

    Returns
    -------
    Layer

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is not a Layer. Errors inside a child gain the note ``in layer {i}_{name}``.

    Notes
    -----
    x goes to every branch, so its cotangent is the sum of theirs.

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
        return params, state, join(*map(no_examples, shapes))[0].shape[1:]

    def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
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

        def parallel_vjp(
            dy: Any, *, input_gradient: bool = True, per_example: bool = False
        ) -> tuple[Tree, Array | None]:
            dys = join_vjp(dy) if len(names) > 1 else (join_vjp(dy),)
            dparams, dxs = {}, []
            try:
                for name, vjp, branch_dy in zip(names, vjps, dys, strict=True):
                    dparams[name], dx = pull_back(
                        vjp, branch_dy, input_gradient=input_gradient, per_example=per_example
                    )
                    dxs.append(dx)
            except (ValueError, TypeError) as error:
                add_location(error, name)
                raise
            return dparams, sum(dxs[1:], dxs[0]) if input_gradient else None

        return y, parallel_vjp, new_state

    def rebuild(*others: Layer) -> Layer:
        return parallel(*others, join=join)

    return Layer("parallel", init, forward, branches, rebuild, {"join": join})


def residual(body: Layer, shortcut: Layer | None = None) -> Layer:
    """The sum of a layer and a shortcut around it, by default the identity.

    K. He et al., Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385).

    Parameters
    ----------
    body, shortcut : Layer
        Their outputs have one shape.

    Returns
    -------
    Layer

    Raises
    ------
    TypeError
        If one of them is not a Layer.

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

    Parameters
    ----------
    f : callable
        Given the path of names, as in `funcnn.tree.paths`, and the layer.
    model : Layer
    path : str
        Of ``model`` itself.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn.layers import relu, tanh
    >>> def tanh_for_relu(path, layer):
    ...     return tanh() if layer.name == "relu" else layer
    >>> model = map_layers(tanh_for_relu, serial(serial(relu()), relu()))
    >>> model.children[1].name, model.children[0].children[0].name
    ('tanh', 'tanh')
    """
    if model.rebuild is None:
        return f(path, model)
    names = _names(model.name, model.children)
    children = [
        map_layers(f, child, f"{path}/{name}" if path else name)
        for name, child in zip(names, model.children, strict=True)
    ]
    return model.rebuild(*children)._replace(name=model.name)


def _names(combinator: str, layers: tuple[Layer, ...]) -> tuple[str, ...]:
    if not layers:
        raise ValueError(f"{combinator}: needs at least one layer")
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"{combinator}: expected layers such as relu(), got {layer!r}")
    return tuple(f"{i}_{layer.name}" for i, layer in enumerate(layers))


def _check_children(combinator: str, names: tuple[str, ...], params: Tree, state: Tree) -> None:
    for what, given in (("params", params), ("state", state)):
        if not isinstance(given, dict):
            raise TypeError(f"{combinator}: {what} is a dict with the keys {list(names)}, not {type(given).__name__}")
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


def _has_leaves(part: Any) -> bool:
    return not isinstance(part, dict) or any(map(_has_leaves, part.values()))
