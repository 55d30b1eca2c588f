"""The protocol of a layer, and the functions that turn an op into a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from operator import is_
from types import FunctionType, MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from funcnn.keys import Key
from funcnn.tree import Array, Tree

__all__ = ["Layer", "OpForward", "joining", "output", "parameterless", "parametric", "pull_back"]

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Layer(NamedTuple):
    """A layer: a name and two pure functions.

    To write your own, turn an op into a layer with `parameterless`, `parametric` or `joining`, or construct a ``Layer``
    from your own ``init`` and ``forward``. `funcnn.testing.check_layer` checks that it follows this protocol.

    Attributes
    ----------
    name : str
        A label for people. Inside a combinator, child ``i`` is called ``{i}_{name}`` in params, state, gradients,
        summaries and errors. Tools do not infer from it what a layer computes.
    init : callable
        ``init(key, in_shape) -> params, state, out_shape``: the initial parameters (trained by gradients) and state
        (anything else that is kept between steps, such as running statistics), each a tree, ``{}`` if there are none.
        Shapes are per example, without the batch axis.
    forward : callable
        ``forward(params, x, state, *, train, key=None) -> y, vjp, state``, with ``vjp(dy) -> dparams, dx``; see the
        notes.
    children : tuple of Layer
        Set by combinators: the layers inside.
    rebuild : callable or None
        Set by combinators: ``rebuild(*children) -> Layer`` makes the same combination of other layers, so that a whole
        model can be transformed (`funcnn.combinators.map_layers`).

    Notes
    -----
    The rules for ``forward``:

    - x has shape (N, *in_shape) and y has shape (N, *out_shape). N may be 0 in evaluation.
    - A layer of several arrays, such as ``funcnn.layers.add()``, takes a tuple of arrays as x and a tuple of shapes as
      in_shape, and its dx is a tuple of as many arrays.
    - dparams and dx are the gradients of sum(dy * y) with respect to params and x, and have their structure and shape.
      dx is None if x holds integers, such as ids.
    - ``train`` is True in training and False in evaluation. In evaluation, examples do not depend on each other.
    - The new state has the structure of the old one. In evaluation, the two are equal.
    - A random layer draws from ``key`` in training, and raises a ValueError if it is None.
    - It does not write to its arguments, nor does ``vjp``.

    A layer of funcnn can be pickled: pickle stores how it was made, a function and its arguments. It stores your own
    ``init`` and ``forward`` by name, so they must be functions of a module.

    The layers and combinators of funcnn have an `OpForward` here, from which tools know what a layer computes. Any
    other callable is allowed, such as your own function or a wrapper around another ``forward``. The layer is then
    never fused with its neighbours, counts no multiply-adds in summaries and cannot be exported to ONNX.

    Examples
    --------
    A layer of your own, which doubles its input:

    >>> def init(key, in_shape):
    ...     return {}, {}, in_shape
    >>> def forward(params, x, state, *, train, key=None):
    ...     return 2 * x, lambda dy: ({}, 2 * dy), state
    >>> double = Layer("double", init, forward)
    >>> y, vjp, _ = double.forward({}, np.array([[1.0, 3.0]]), {}, train=True)
    >>> y, vjp(np.ones_like(y))
    (array([[2., 6.]]), ({}, array([[2., 2.]])))
    """

    name: str
    init: Callable[[Key, tuple[int, ...]], tuple[Tree, Tree, tuple[int, ...]]]
    forward: Callable[..., tuple[Array, Callable[..., tuple[Tree, Any]], Tree]]
    children: tuple[Layer, ...] = ()
    rebuild: Callable[..., Layer] | None = None

    def __repr__(self) -> str:
        """Return the call that makes the layer, with those arguments that are not their defaults."""
        # each child is printed once: twice at each level would take exponential time
        try:
            arguments = _given_arguments(self.forward) if isinstance(self.forward, OpForward) else []
            arguments = arguments or list(map(repr, self.children))
        except RecursionError:  # hundreds of layers in each other: the innermost are left out
            arguments = ["..."]
        line = f"{self.name}({', '.join(arguments)})"
        if len(line) <= _REPR_WIDTH and "\n" not in line:
            return line
        indented = (argument.replace("\n", "\n    ") for argument in arguments)
        return f"{self.name}(\n" + "".join(f"    {argument},\n" for argument in indented) + ")"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from html import escape  # takes a tenth of the time of importing funcnn

        return f"<pre>{escape(repr(self))}</pre>"

    def __reduce__(self) -> tuple[Any, ...]:
        recipe = self.forward.recipe if isinstance(self.forward, OpForward) else None
        if recipe is None:
            return Layer, tuple(self)
        made = recipe()
        replaced: dict[str, Any] = {} if self.name == made.name else {"name": self.name}
        if getattr(self.init, "__code__", None) is not getattr(made.init, "__code__", None):
            replaced["init"] = self.init
        if not (len(self.children) == len(made.children) and all(map(is_, self.children, made.children))):
            replaced["children"] = self.children
        return _remade, (recipe, replaced)


_REPR_WIDTH = 100  # of a layer on one line; a longer one has a line for each argument


def _given_arguments(forward: OpForward) -> list[str]:
    """Return the arguments of the call that makes a layer, without those that have the default value."""
    recipe = forward.recipe
    if not isinstance(recipe, partial):
        return []
    if recipe.func in (parameterless, parametric, joining):
        defaults, options = _defaults(forward.op), forward.options
        return [f"{name}={_text(options[name])}" for name in options if not _same(options[name], defaults.get(name))]
    parameters = inspect.signature(recipe.func).parameters
    arguments: list[str] = []
    for name, value in inspect.signature(recipe.func).bind(*recipe.args, **recipe.keywords).arguments.items():
        if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            arguments += map(_text, value)
        elif parameters[name].default is inspect.Parameter.empty:
            arguments.append(_text(value))
        elif value is not (default := parameters[name].default):
            text = _text(value)
            if text != _text(default) or isinstance(value, FunctionType):
                arguments.append(f"{name}={text}")
    return arguments


def _same(value: Any, default: Any) -> bool:
    return value is default or repr(value) == repr(default)


def _text(value: Any) -> str:
    """Return a value as in the code that makes a layer: a function by its name."""
    return str(value.__name__) if isinstance(value, FunctionType) else repr(value)


def _remade(recipe: Callable[[], Layer], replaced: Mapping[str, Any]) -> Layer:
    return recipe()._replace(**replaced)


class OpForward:
    """The ``forward`` of a layer that computes one op. It also tells tools which op that is, and with which options.

    Fusion, ONNX export, summaries and per-example gradients depend on it: ``layer.forward.op is ops.relu``. Its VJPs
    also accept a keyword: ``vjp(dy, input_gradient=False)`` returns None for dx, mostly without computing it.

    Attributes
    ----------
    op : callable
        A function of `funcnn.ops`, your own op, or a combinator of `funcnn.combinators`.
    options : mapping
        All keyword arguments of the op, and for a combinator its ``layers``. Those not given have the op's defaults. It
        is read-only, since changing it would not change what is computed.
    call : callable
        ``call(params, x, state, *, train, key=None) -> y, vjp, state``: what is computed. The lifts, such as
        `parameterless`, make it from the op.
    output : callable or None
        Set by combinators: ``output(params, x, state, kept=None) -> y`` computes the same in evaluation, and drops each
        layer's closure as soon as the layer is computed; see the function `output`.
    recipe : callable or None
        ``recipe() -> Layer`` makes the layer again, in any process, where it can be pickled: a `functools.partial` of
        the layer's factory.
    next_state : callable or None
        ``next_state(state, by_product) -> state``: the layer's state after a batch in training, if it depends on the
        op's third result, such as the statistics of `funcnn.ops.batch_norm`.

    Examples
    --------
    >>> from funcnn import ops
    >>> from funcnn.layers import conv2d, relu
    >>> relu().forward.op is ops.relu
    True
    >>> conv2d(8, 3, stride=2).forward.options["stride"]
    (2, 2)
    >>> conv2d(8, 3).forward.options["groups"]
    1
    """

    __slots__ = ("__weakref__", "call", "next_state", "op", "options", "output", "recipe")

    def __init__(
        self,
        op: Callable[..., Any],
        options: Mapping[str, Any],
        call: Callable[..., Any],
        output: Callable[..., Array] | None = None,
        recipe: Callable[[], Layer] | None = None,
        next_state: Callable[[Tree, Tree], Tree] | None = None,
    ) -> None:
        self.op = op
        self.options = MappingProxyType({**_defaults(op), **options})
        self.call = call
        self.output = output
        self.recipe = recipe
        self.next_state = next_state

    def __deepcopy__(self, memo: dict[int, Any]) -> OpForward:
        options = deepcopy(dict(self.options), memo)
        return OpForward(self.op, options, self.call, self.output, self.recipe, self.next_state)

    def __call__(self, params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        """Compute the layer; see `Layer`."""
        return self.call(params, x, state, train=train, key=key)


def _defaults(op: Callable[..., Any]) -> dict[str, Any]:
    """Return the default values of a function's parameters, by name."""
    if isinstance(op, FunctionType) and not op.__dict__:  # a plain function, which `signature` would take 20 us to read
        values = op.__defaults__ or ()
        names = op.__code__.co_varnames[op.__code__.co_argcount - len(values) : op.__code__.co_argcount]
        return {**dict(zip(names, values, strict=True)), **(op.__kwdefaults__ or {})}
    try:
        parameters = inspect.signature(op).parameters.values()
    except (TypeError, ValueError):  # some builtin callables have no signature
        return {}
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def op_and_options(layer: Layer) -> tuple[Callable[..., Any] | None, Mapping[str, Any]]:
    """Return the op that a layer computes and its options, or (None, {}) if ``forward`` does not tell.

    An op that is not a plain function, such as a `functools.partial`, is none of funcnn, and may not even be hashable.
    """
    forward = layer.forward
    if isinstance(forward, OpForward) and isinstance(forward.op, FunctionType):
        return forward.op, forward.options
    return None, NO_OPTIONS


def parameterless(
    name: str,
    op: Callable[..., tuple[Array, Callable[[Any], Array]]],
    options: Mapping[str, Any] = NO_OPTIONS,
    *,
    in_evaluation: Mapping[str, Any] = NO_OPTIONS,
) -> Layer:
    """Turn an op without parameters, ``op(x, **options) -> y, vjp``, into a layer.

    Parameters
    ----------
    name : str
    op : callable
        ``init`` calls it with an empty batch (N = 0) to find the shape of its output.
    options : mapping, optional
        Keyword arguments of the op.
    in_evaluation : mapping, optional
        Additional keyword arguments in evaluation. They may change how the op computes its result, not the result: an
        op can save time there on what only its VJP needs, which evaluation seldom calls.

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
    train_op = partial(op, **options) if options else op
    evaluation_op = partial(train_op, **in_evaluation) if in_evaluation else train_op

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, {}, train_op(empty_batch(in_shape))[0].shape[1:]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if params or state:
            check_empty(name, params=params, state=state)
        y, op_vjp = train_op(x) if train else evaluation_op(x)

        def parameterless_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            return {}, op_vjp(dy) if input_gradient else None

        return y, parameterless_vjp, {}

    recipe = partial(parameterless, name, op, dict(options), in_evaluation=dict(in_evaluation))
    return Layer(name, init, OpForward(op, options, call, recipe=recipe))


def parametric(
    name: str,
    init_params: Callable[[Key, tuple[int, ...]], Tree],
    op: Callable[..., tuple[Array, Callable[..., tuple[Tree, Any]]]],
    options: Mapping[str, Any] = NO_OPTIONS,
    *,
    optional_dx: bool = False,
    recipe: Callable[[], Layer] | None = None,
) -> Layer:
    """Turn an op with parameters, ``op(params, x, **options) -> y, vjp``, into a layer.

    Parameters
    ----------
    name : str
    init_params : callable
        ``init_params(key, in_shape) -> params``: the initial parameters. ``in_shape`` has no batch axis.
    op : callable
        ``init`` calls it with an empty batch (N = 0) to find the shape of its output.
    options : mapping, optional
        Keyword arguments of the op.
    optional_dx : bool
        True declares that the op's VJP accepts ``vjp(dy, input_gradient=False)`` and then returns None for dx without
        computing it, which saves time in the first layer of a model. If False, it is always called as ``vjp(dy)``, and
        a dx that is not needed is discarded.
    recipe : callable, optional
        ``recipe() -> Layer`` makes the layer again, so that it can be pickled although ``init_params`` is an inner
        function: a `functools.partial` of your factory.

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
    apply = partial(op, **options) if options else op

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        x = empty_batch(in_shape)
        params = init_params(key, in_shape)
        return params, {}, apply(params, x)[0].shape[1:]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if state:
            check_empty(name, state=state)
        y, op_vjp = apply(params, x)
        if optional_dx:
            return y, op_vjp, {}

        def parametric_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Any]:
            dparams, dx = op_vjp(dy)
            return dparams, dx if input_gradient else None

        return y, parametric_vjp, {}

    again = partial(parametric, name, init_params, op, dict(options), optional_dx=optional_dx)
    return Layer(name, init, OpForward(op, options, call, recipe=recipe or again))


def joining(
    name: str, op: Callable[..., tuple[Array, Callable[[Any], Any]]], options: Mapping[str, Any] = NO_OPTIONS
) -> Layer:
    """Turn an op of several arrays, ``op(*xs, **options) -> y, vjp``, into a layer whose x is a tuple of arrays.

    `funcnn.combinators.graph` passes such a tuple to a node of several sources.

    Parameters
    ----------
    name : str
    op : callable
        Its VJP returns a tuple of cotangents, or with a single array one cotangent, as those of `funcnn.ops.add`.
        ``init`` calls it with empty batches (N = 0) to find the shape of its output.
    options : mapping, optional
        Keyword arguments of the op.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import ops
    >>> layer = joining("concat", ops.concat)
    >>> layer.init((0,), ((8, 8, 3), (8, 8, 2)))[2]
    (8, 8, 5)
    >>> y, vjp, _ = layer.forward({}, (np.array([[1.0]]), np.array([[2.0, 3.0]])), {}, train=True)
    >>> vjp(y)[1]
    (array([[1.]]), array([[2., 3.]]))
    """
    apply = partial(op, **options) if options else op

    def init(key: Key, in_shape: tuple[Any, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, {}, apply(*map(empty_batch, _tuple_of("in_shape", "shapes", in_shape, tuple)))[0].shape[1:]

    def call(params: Tree, x: Any, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if params or state:
            check_empty(name, params=params, state=state)
        count = len(_tuple_of("x", "arrays", x, object))
        y, op_vjp = apply(*x)

        def joining_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Any]:
            if not input_gradient:
                return {}, None
            return {}, op_vjp(dy) if count > 1 else (op_vjp(dy),)

        return y, joining_vjp, {}

    def _tuple_of(argument: str, of: str, given: Any, kind: type) -> tuple[Any, ...]:
        if isinstance(given, tuple) and all(isinstance(entry, kind) for entry in given):
            return given
        got = f"{given}" if isinstance(given, tuple) else type(given).__name__
        raise TypeError(f"{name}: {argument} must be a tuple of {of}, one for each source of its node, not {got}")

    recipe = partial(joining, name, op, dict(options))
    return Layer(name, init, OpForward(op, options, call, recipe=recipe))


def output(layer: Layer, params: Tree, x: Any, state: Tree, kept: dict[str, Any] | None = None) -> Array:
    """Return the output of a layer in evaluation, without its VJP.

    The same as ``layer.forward(params, x, state, train=False)[0]``, in less memory: combinators keep no closures, and
    only those outputs that a layer has yet to read.

    Parameters
    ----------
    layer : Layer
    params, state : tree
    x : array (N, ...)
        Or a tuple of arrays for a layer of several.
    kept : dict, optional
        Where combinators keep what depends on params and state alone, for later calls with the same params, the same
        state and x of the same shape and dtype. Empty for the first call.

    Returns
    -------
    array (N, ...)

    Examples
    --------
    >>> from funcnn.layers import relu
    >>> output(relu(), {}, np.array([[-1.0, 2.0]]), {})
    array([[0., 2.]])
    """
    forward = layer.forward
    if isinstance(forward, OpForward) and forward.output is not None:
        return forward.output(params, x, state, kept)
    return forward(params, x, state, train=False)[0]


def pull_back(layer: Layer, vjp: Callable[..., tuple[Tree, Any]], dy: Any, *, input_gradient: bool) -> tuple[Tree, Any]:
    """Call a VJP that ``layer.forward`` returned. If dx is not needed, do not compute it where that is possible.

    Combinators and training call all VJPs of layers through this function, so that your own layer's VJP only has to
    accept ``vjp(dy)``.

    Parameters
    ----------
    layer : Layer
        The layer that the VJP belongs to. If its ``forward`` is an `OpForward`, the VJP accepts ``input_gradient``.
    vjp : callable
    dy : array (N, ...)
    input_gradient : bool
        Whether dx is needed.

    Returns
    -------
    dparams : tree
    dx : array or None
        None if ``input_gradient`` is False.

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> params, state, _ = dense(2).init((0,), (3,))
    >>> y, vjp, _ = dense(2).forward(params, np.ones((4, 3), np.float32), state, train=True)
    >>> dparams, dx = pull_back(dense(2), vjp, np.ones_like(y), input_gradient=False)
    >>> dparams["b"], dx
    (array([4., 4.], dtype=float32), None)
    """
    if input_gradient:
        return vjp(dy)
    if isinstance(layer.forward, OpForward):
        return vjp(dy, input_gradient=False)
    return vjp(dy)[0], None


def wrap_forward(layer: Layer, wrapper: Callable[..., Any]) -> Layer:
    """Return the layer with ``wrapper`` as its ``forward``, for tools that record what passes through a layer.

    The wrapper's VJPs must accept ``input_gradient``. The op is no longer known, so the layer is never fused.
    """
    return layer._replace(forward=OpForward(wrapper, NO_OPTIONS, wrapper))


def empty_batch(in_shape: tuple[int, ...]) -> Array:
    """Return a batch with N = 0. Computing an op on it costs next to nothing and gives the shape of its output."""
    if in_shape and isinstance(in_shape[0], tuple):
        raise TypeError(f"the layer takes one array, not {len(in_shape)}, of shapes {', '.join(map(str, in_shape))}")
    return np.zeros((0, *in_shape), np.float32)


def check_empty(name: str, **trees: Tree) -> None:
    """Raise a ValueError if one of the trees, params or state of a layer that has none, is not empty."""
    for what, given in trees.items():
        if given:
            raise ValueError(f"{name}: has no {what}, but was given {sorted(given)}")


# The errors that get a note of the layer where they happened.
LOCATED = (ValueError, TypeError, MemoryError)


def add_location(error: Exception, name: str) -> None:
    """Add the name of a layer to an error's note. For nested layers it reads ``in layer 1_serial / 0_relu``."""
    prefix = "in layer "
    notes: list[str] = getattr(error, "__notes__", [])
    if notes and notes[-1].startswith(prefix):
        notes[-1] = f"{prefix}{name} / {notes[-1].removeprefix(prefix)}"
    else:
        error.add_note(prefix + name)
