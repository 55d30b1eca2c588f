"""Intermediate results of a model: each layer's output, the gradient that reaches it, and their statistics.

No hooks are needed. Here each layer is replaced by one that computes the same and notes under its path what passes
through it: its output, the dy that reaches its VJP, and dparams. One forward and one backward pass of the model then
show all intermediate results, however a combinator, of funcnn or your own, names and calls the layers inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnn import html, ops, tree
from funcnn.combinators import map_layers, parallel
from funcnn.combinators.children import child_names
from funcnn.keys import Key
from funcnn.layer import Layer, OpForward, empty_batch, op_and_options, output
from funcnn.losses import Loss
from funcnn.tree import Array, Tree

__all__ = [
    "LayerStatistics",
    "LayerTrace",
    "Statistics",
    "activations",
    "forward_backward",
    "layer_statistics",
    "up_to",
]


class LayerTrace(NamedTuple):
    """The results of a layer in one forward and backward pass.

    Attributes
    ----------
    output : array (N, ...)
    gradient : array (N, ...)
        The cotangent dy of ``output``, which the layer's VJP was called with.
    dparams : tree
        The gradients of the layer's parameters.

    Examples
    --------
    See `forward_backward`.
    """

    output: Array
    gradient: Array
    dparams: Tree


class LayerStatistics(NamedTuple):
    """Statistics of a layer in one forward and backward pass over a batch.

    Attributes
    ----------
    path : str
    out_shape : tuple of int
        The shape of the output per example.
    mean, std : float
        Mean and standard deviation over all entries of the output.
    zeros : float in [0, 1]
        Fraction of the output's entries that are 0.
    dead : float in [0, 1]
        Fraction of the units (indices of the last axis: channels or features) whose output is 0 for all examples and at
        all positions. In the output of a ReLU, such units pass no gradient back, so they cannot recover.
    norm : float
        Euclidean norm of an example's output, root mean square over the examples.
    gradient_norm : float
        Euclidean norm of the gradient of an example's loss (not the batch's mean) with respect to its output, root mean
        square over the examples. Like ``norm``, it does not depend on the batch size.
    params_norm, params_gradient_norm : float
        Euclidean norm of all the layer's parameters, and of the gradient of the batch's loss with respect to them; 0 if
        the layer has none.

    Examples
    --------
    See `layer_statistics`.
    """

    path: str
    out_shape: tuple[int, ...]
    mean: float
    std: float
    zeros: float
    dead: float
    norm: float
    gradient_norm: float
    params_norm: float
    params_gradient_norm: float


class Statistics(list[LayerStatistics]):
    """The statistics of all layers, which a notebook displays as a table.

    Examples
    --------
    See `layer_statistics`.
    """

    def _repr_html_(self) -> str:
        return html.table([name.replace("_", " ") for name in LayerStatistics._fields], self)


def activations(
    model: Layer, params: Tree, state: Tree, x: Array, *, train: bool = False, key: Key | None = None
) -> dict[str, Array]:
    """Return the output of each layer without children: the feature maps.

    A layer that its combinator does not call is missing.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    train : bool
    key : tuple of int, optional
        Needed for random layers in training.

    Returns
    -------
    dict of array (N, ...)
        By path, as in `funcnn.combinators.map_layers`, in the order of the layers in the model.

    Raises
    ------
    ValueError
        If the shapes do not fit a layer; a note names its path.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> model = seed_convnet()
    >>> params, state, _ = model.init((0,), (8, 8, 1))
    >>> maps = activations(model, params, state, np.ones((5, 8, 8, 1), np.float32))
    >>> list(maps)[:3], maps["1_relu"].shape
    (['0_conv2d', '1_relu', '2_flatten'], (5, 6, 6, 1))
    """
    recording_model, records = _with_recording(model)
    recording_model.forward(params, x, state, train=train, key=key)
    return {path: record["output"] for path, record in records.items() if "output" in record}


def up_to(model: Layer, path: str | None = None) -> Layer:
    """Return a model that ends with one of its layers, for features of its inputs.

    Parameters
    ----------
    model : Layer
    path : str, optional
        Of a layer without children, as in `activations`. By default the features that the model classifies by: if its
        last layer is dense, the input of that, else the model's own output.

    Returns
    -------
    Layer
        With the parameters and state of ``model``, for evaluation: in memory and time it takes nothing for the layers
        after the last, and it has no VJP.

    Raises
    ------
    ValueError
        If there is no such layer.

    Examples
    --------
    >>> from funcnn.models import mlp
    >>> model = mlp(3, hidden=(16,))
    >>> params, state, _ = model.init((0,), (4,))
    >>> x = np.ones((5, 4), np.float32)
    >>> up_to(model).forward(params, x, state, train=False)[0].shape
    (5, 16)
    >>> up_to(model, "4_dense").forward(params, x, state, train=False)[0].shape
    (5, 3)
    """
    last, of_input = (_last_dense(model), True) if path is None else (path, False)
    if last is None:
        return model
    known: list[str] = []

    def stopping(at: str, layer: Layer) -> Layer:
        known.append(at)

        def forward(params: Tree, x: Any, state: Tree, *, train: bool, key: Key | None = None) -> Any:
            raise _Reached(x if of_input else output(layer, params, x, state))

        return layer._replace(forward=forward) if at == last else layer

    stopping_model = map_layers(stopping, model)
    if last not in known:
        raise ValueError(f"up_to: the model has no layer {last!r}, only {', '.join(known)}")

    def output_there(params: Tree, x: Any, state: Tree, kept: dict[str, Any] | None = None) -> Array:
        try:
            output(stopping_model, params, x, state)
        except _Reached as reached:
            return reached.value
        raise ValueError(f"up_to: the model does not call its layer {last!r}")

    def forward(params: Tree, x: Any, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        if train:
            raise ValueError("up_to: only for evaluation")

        def refused_vjp(dy: Any, *, input_gradient: bool = True) -> Any:
            raise ValueError("up_to: has no VJP")

        return output_there(params, x, state), refused_vjp, state

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        params, state, _ = model.init(key, in_shape)
        return params, state, output_there(params, empty_batch(in_shape), state).shape[1:]

    return Layer("up_to", init, OpForward(up_to, {}, forward, output_there, partial(up_to, model, path)))


class _Reached(Exception):  # noqa: N818 not an error
    """What ends a model: the value that is wanted."""

    def __init__(self, value: Array) -> None:
        super().__init__()
        self.value = value


def _last_dense(model: Layer) -> str | None:
    """Return the path of the layer that makes the output, if it is dense."""
    names, layer = [], model
    while layer.children and op_and_options(layer)[0] is not parallel:
        names.append(child_names(layer.name, layer.children)[-1])
        layer = layer.children[-1]
    return "/".join(names) if op_and_options(layer)[0] is ops.dense else None


def forward_backward(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array,
    cotangent: Callable[[Array], Array],
    *,
    train: bool = False,
    key: Key | None = None,
) -> dict[str, LayerTrace]:
    """Return the output of each layer without children, its cotangent, and the gradients of its parameters.

    A layer that its combinator does not call, forward and backward, is missing.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    cotangent : callable
        ``cotangent(y) -> dy`` returns the cotangent of the model's output y, with which its VJP is called.
    train : bool
    key : tuple of int, optional
        Needed for random layers in training.

    Returns
    -------
    dict of LayerTrace
        By path, as in `activations`.

    Raises
    ------
    ValueError
        If the shapes do not fit a layer; a note names its path.

    Examples
    --------
    >>> from funcnn import layers, serial
    >>> model = serial(layers.tanh(), layers.relu())
    >>> params, state, _ = model.init((0,), (2,))
    >>> traces = forward_backward(model, params, state, np.array([[0.5, -0.5]]), np.ones_like)
    >>> traces["0_tanh"].gradient
    array([[1., 0.]])
    """
    return {path: trace for path, trace, _ in _traces(model, params, state, x, cotangent, train=train, key=key)}


def layer_statistics(
    model: Layer,
    loss: Loss,
    params: Tree,
    state: Tree,
    x: Array,
    targets: Array,
    *,
    train: bool = False,
    key: Key | None = None,
) -> Statistics:
    """Return statistics of each layer's outputs and gradients, which show dead units, vanishing and exploding signals.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`. Its value must be a mean over the examples.
    params, state : tree
    x : array (N, ...)
        At least one example.
    targets : array (N, ...)
    train : bool
        True applies dropout and normalises by batch statistics.
    key : tuple of int, optional
        Needed for random layers in training.

    Returns
    -------
    list of LayerStatistics
        In the order of the layers in the model. Numbers may be infinite or NaN.

    Raises
    ------
    ValueError
        If there are no examples, or the shapes do not fit a layer; a note names its path.

    Notes
    -----
    Initial weights are scaled so that ``std`` and ``gradient_norm`` keep their order of magnitude from layer to layer
    (`funcnn.layers`). If they fall or grow by a similar factor in each layer, signals vanish or explode. If ``dead`` is
    near 1, hardly any gradient reaches the layers before.

    Examples
    --------
    >>> from funcnn import layers, losses, serial
    >>> model = serial(layers.dense(2), layers.relu())
    >>> params = {"0_dense": {"w": np.array([[1.0, -1.0]]), "b": np.zeros(2)}, "1_relu": {}}
    >>> x = np.array([[1.0], [3.0]])
    >>> for row in layer_statistics(model, losses.mse, params, {"0_dense": {}, "1_relu": {}}, x, np.zeros((2, 2))):
    ...     print(row.path, row.mean, row.zeros, row.dead)
    0_dense 0.0 0.0 0.0
    1_relu 1.0 0.5 0.5
    """
    if not len(x):
        raise ValueError(f"layer_statistics: needs at least one example, got x of shape {np.shape(x)}")

    def cotangent(y: Array) -> Array:
        return loss(y, targets)[1](1.0)

    # An overflow shows in the statistics, so NumPy's warning would add nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        traces = _traces(model, params, state, x, cotangent, train=train, key=key)
        return Statistics(_statistics(path, trace, layer_params) for path, trace, layer_params in traces)


def _statistics(path: str, trace: LayerTrace, params: Tree) -> LayerStatistics:
    y, examples = trace.output, len(trace.output)
    zero = y == 0
    return LayerStatistics(
        path,
        y.shape[1:],
        float(y.mean(dtype=np.float64)),
        float(y.std(dtype=np.float64)),
        float(zero.mean()),
        float(zero.all(axis=tuple(range(y.ndim - 1))).mean()),
        tree.norm(y) / math.sqrt(examples),
        # the loss is a mean, so the gradient of an example's own loss is N times as large: sqrt(mean of (N g)^2)
        tree.norm(trace.gradient) * math.sqrt(examples),
        tree.norm(params),
        tree.norm(trace.dparams),
    )


def _traces(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array,
    cotangent: Callable[[Array], Array],
    *,
    train: bool,
    key: Key | None,
) -> list[tuple[str, LayerTrace, Tree]]:
    """Return path, trace and parameters of each layer."""
    recording_model, records = _with_recording(model)
    y, vjp, _ = recording_model.forward(params, x, state, train=train, key=key)
    vjp(cotangent(y))
    return [
        (path, LayerTrace(record["output"], record["gradient"], record["dparams"]), record["params"])
        for path, record in records.items()
        if "gradient" in record
    ]


def _with_recording(model: Layer) -> tuple[Layer, dict[str, dict[str, Any]]]:
    """Return a model that computes the same, and the records, by path, which its forward pass and its VJP fill."""
    records: dict[str, dict[str, Any]] = {}

    def with_recording(path: str, layer: Layer) -> Layer:
        record = records[path] = {}

        def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
            y, vjp, new_state = layer.forward(params, x, state, train=train, key=key)
            record.update(output=y, params=params)

            def recording_vjp(dy: Any) -> tuple[Tree, Any]:
                dparams, dx = vjp(dy)
                record.update(gradient=dy, dparams=dparams)
                return dparams, dx

            return y, recording_vjp, new_state

        return layer._replace(forward=forward)

    return map_layers(with_recording, model), records
