"""What a layer is, and how an op becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnn import tree
from funcnn.keys import Key
from funcnn.tree import Array, Tree

__all__ = ["Layer", "parameterless", "parametric", "pull_back"]


NO_OPTIONS: Mapping[str, Any] = {}  # read only, as all that a layer holds


class Layer(NamedTuple):
    """A layer: two pure functions and a name.

    Attributes
    ----------
    name : str
        What the layer is; in a combinator, child ``i`` is called ``{i}_{name}`` in params, state, gradients and errors.
    init : callable
        ``init(key, in_shape) -> params, state, out_shape``; shapes are per example, without the batch axis.
    forward : callable
        ``forward(params, x, state, *, train, key=None) -> y, vjp, state`` with ``vjp(dy) -> dparams, dx``. A VJP that
        can save work takes the keyword ``input_gradient`` and returns None for dx where it is False; one that can tell
        its examples apart takes ``per_example``, and where it is True, dparams' leaves have an axis (N) in front, a
        gradient for each example. See `pull_back`.
    children, rebuild : tuple of Layer, callable or None
        Set by combinators: the layers inside, and the function that makes the same combination of others. So a model
        can be transformed as a whole (`funcnn.combinators.map_layers`), which is how summaries look inside.
    options : mapping
        What the factory was told besides sizes that the parameters show, under the names of the op's options: by it, a
        layer can be written in another format (`funcnn.onnx`), or computed together with its neighbours
        (`funcnn.fusion`).
    described : callable or None
        The ``forward`` that name and options describe in full, if there is one. A layer whose ``forward`` is another,
        for it has been wrapped, is computed by that alone.
    """

    name: str
    init: Callable[[Key, tuple[int, ...]], tuple[Tree, Tree, tuple[int, ...]]]
    forward: Callable[..., tuple[Array, Callable[..., tuple[Tree, Any]], Tree]]
    children: tuple[Layer, ...] = ()
    rebuild: Callable[..., Layer] | None = None
    options: Mapping[str, Any] = NO_OPTIONS
    described: Callable[..., Any] | None = None


def described(layer: Layer) -> Layer:
    """Say of a layer, as its factory does, that its name and options describe it in full."""
    return layer._replace(described=layer.forward)


def description(layer: Layer) -> tuple[str, Mapping[str, Any]] | None:
    """Return a layer's name and options where they describe it in full, else None."""
    return (layer.name, layer.options) if layer.described is layer.forward else None


def parameterless(
    name: str,
    op: Callable[..., tuple[Array, Callable[[Any], Array]]],
    in_evaluation: Callable[..., tuple[Array, Callable[[Any], Array]]] | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Layer:
    """Lift an op of one array, ``op(x, **options) -> y, vjp``, to a layer.

    The output's shape is found by running the op on a batch of no examples.

    Parameters
    ----------
    name : str
    op : callable
    in_evaluation : callable, optional
        The same function made another way, to be used in evaluation, where the VJP is seldom called.
    options : mapping, optional
        What the op takes besides; the layer's ``options``.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import ops
    >>> layer = parameterless("relu", ops.relu)
    >>> layer.init((0,), (8, 8, 3))
    ({}, {}, (8, 8, 3))
    """
    if options:
        op, in_evaluation = partial(op, **options), in_evaluation and partial(in_evaluation, **options)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, {}, op(no_examples(in_shape))[0].shape[1:]

    def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if params or state:
            check_empty(name, params=params, state=state)
        y, op_vjp = op(x) if train or in_evaluation is None else in_evaluation(x)

        def parameterless_vjp(
            dy: Any, *, input_gradient: bool = True, per_example: bool = False
        ) -> tuple[Tree, Array | None]:
            return {}, op_vjp(dy) if input_gradient else None

        return y, parameterless_vjp, {}

    return Layer(name, init, forward, options=options)


def parametric(
    name: str,
    init_params: Callable[[Key, tuple[int, ...]], Tree],
    op: Callable[..., tuple[Array, Callable[..., tuple[Tree, Any]]]],
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Layer:
    """Lift an op of parameters and an array, ``op(params, x, **options) -> y, vjp``, to a layer.

    Parameters
    ----------
    name : str
    init_params : callable
        ``init_params(key, in_shape) -> params``.
    op : callable
        Its output's shape is found by running it on a batch of no examples. Its VJP is the layer's, with whatever
        keywords it takes.
    options : mapping, optional
        What the op takes besides; the layer's ``options``.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import ops
    >>> def init_params(key, in_shape):
    ...     return {"w": np.zeros((in_shape[-1], 2), np.float32), "b": np.zeros(2, np.float32)}
    >>> parametric("dense", init_params, ops.dense).init((0,), (5,))[2]
    (2,)
    """
    if options:
        op = partial(op, **options)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params = init_params(key, in_shape)
        return params, {}, op(params, no_examples(in_shape))[0].shape[1:]

    def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if state:
            check_empty(name, state=state)
        y, op_vjp = op(params, x)
        return y, op_vjp, {}

    return Layer(name, init, forward, options=options)


def pull_back(
    vjp: Callable[..., tuple[Tree, Any]], dy: Any, *, input_gradient: bool, per_example: bool = False
) -> tuple[Tree, Any]:
    """Call a layer's VJP with the keywords that it takes, and make up for those that it does not.

    A VJP without ``input_gradient`` is called plainly and its dx ignored. One without ``per_example`` is called once
    for each example, with a dy of zeros elsewhere: it is linear in dy, so this is right for whatever keeps its examples
    apart, at a cost quadratic in their number.

    Parameters
    ----------
    vjp : callable
    dy : array (N, ...)
    input_gradient : bool
        Whether dx is wanted.
    per_example : bool
        Whether dparams is wanted for each example, its leaves with an axis (N) in front, or summed over them.

    Returns
    -------
    dparams : tree
    dx : array or None
        None if ``input_gradient`` is False.
    """
    if per_example:
        return _pull_back_per_example(vjp, dy, input_gradient)
    if input_gradient:
        return vjp(dy)
    if "input_gradient" in (getattr(vjp, "__kwdefaults__", None) or ()):
        return vjp(dy, input_gradient=False)
    return vjp(dy)[0], None


def _pull_back_per_example(vjp: Callable[..., tuple[Tree, Any]], dy: Any, input_gradient: bool) -> tuple[Tree, Any]:
    keywords = getattr(vjp, "__kwdefaults__", None) or {}
    if "per_example" in keywords:
        options = {"input_gradient": input_gradient} if "input_gradient" in keywords else {}
        dparams, dx = vjp(dy, per_example=True, **options)
    else:
        total, dx = vjp(dy)
        each = [vjp(alone)[0] for alone in _alone(np.asarray(dy))] if tree.leaves(total) else []
        dparams = tree.map(lambda leaf, *own: np.array(own, leaf.dtype).reshape(len(dy), *leaf.shape), total, *each)
    return dparams, dx if input_gradient else None


def _alone(dy: Array) -> Iterator[Array]:
    """Yield for each example a copy of dy that is 0 for all others."""
    for i in range(len(dy)):
        alone = np.zeros_like(dy)
        alone[i] = dy[i]
        yield alone


def no_examples(in_shape: tuple[int, ...]) -> Array:
    """Return a batch of no examples of that shape: what runs an op for its output's shape alone."""
    return np.zeros((0, *in_shape), np.float32)


def check_empty(name: str, **trees: Tree) -> None:
    """Refuse leaves handed to a layer that has none."""
    for what, given in trees.items():
        if given:
            raise ValueError(f"{name}: has no {what}, but was given {sorted(given)}")


def add_location(error: Exception, name: str) -> None:
    """Note the name of the layer that an error comes from: nested, the note reads ``in layer 1_serial / 0_relu``."""
    prefix = "in layer "
    notes: list[str] = getattr(error, "__notes__", [])
    if notes and notes[-1].startswith(prefix):
        notes[-1] = f"{prefix}{name} / {notes[-1].removeprefix(prefix)}"
    else:
        error.add_note(prefix + name)
