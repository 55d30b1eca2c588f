"""Looking inside a model: what each layer puts out, which gradient comes back to it, and their statistics.

Nothing has to be hooked into a model for this. A layer hands on a new state and the gradients of its parameters, and
combinators put both together under the layers' paths; layers whose "state" is their output, and whose "gradients of the
parameters" hold the cotangent that arrived, therefore collect all intermediates of a forward and a backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcnn import tree
from funcnn.combinators import map_layers
from funcnn.gradients import Loss
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.tree import Array, Tree

__all__ = ["LayerStatistics", "LayerTrace", "activations", "forward_backward", "layer_statistics"]


class LayerTrace(NamedTuple):
    """What went through a layer.

    Attributes
    ----------
    output : array (N, ...)
    gradient : array (N, ...)
        Of the model's output in ``output``: the cotangent that arrived.
    dparams : tree
        The gradients of the layer's own parameters.
    """

    output: Array
    gradient: Array
    dparams: Tree


class LayerStatistics(NamedTuple):
    """A layer's part in one pass over a batch.

    Attributes
    ----------
    path : str
    out_shape : tuple of int
        Of an example's output.
    mean, std : float
        Of the outputs' entries.
    zeros : float in [0, 1]
        Fraction of the outputs' entries that are 0.
    dead : float in [0, 1]
        Fraction of the units (entries of the last axis: channels or features) whose output is 0 for every example and
        at every position. Behind a ReLU no gradient passes them, so that they cannot recover.
    norm : float
        Euclidean norm of an example's output, root mean square over the examples.
    gradient_norm : float
        Euclidean norm of the gradient of an example's own loss in its output, root mean square over the examples. So it
        depends on the number of examples as little as ``norm`` does.
    params_norm, params_gradient_norm : float
        Of all the layer's parameters together, and of the gradient of the batch's loss in them; 0 without parameters.
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


def activations(
    model: Layer, params: Tree, state: Tree, x: Array, *, train: bool = False, key: Key | None = None
) -> dict[str, Array]:
    """Return the output of each layer that is not made of others: the feature maps.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    train : bool
    key : tuple of int, optional
        For training.

    Returns
    -------
    dict of array (N, ...)
        By path, as in `funcnn.combinators.map_layers`, in the order in which the layers come.

    Raises
    ------
    ValueError
        With the path of the layer, if the shapes do not fit.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> model = seed_convnet()
    >>> params, state, _ = model.init((0,), (8, 8, 1))
    >>> maps = activations(model, params, state, np.ones((5, 8, 8, 1), np.float32))
    >>> list(maps)[:3], maps["1_relu"].shape
    (['0_conv2d', '1_relu', '2_flatten'], (5, 6, 6, 1))
    """
    observed, paths = _observed(model)
    _, _, outputs = observed.forward(params, x, state, train=train, key=key)
    return {path: _at(outputs, path)["output"] for path in paths}


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
    """Return what goes through each layer, forward and backward.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    cotangent : callable
        ``cotangent(y) -> dy``: what to pull back, chosen in view of the model's output.
    train : bool
    key : tuple of int, optional
        For training.

    Returns
    -------
    dict of LayerTrace
        By path, as in `activations`.

    Raises
    ------
    ValueError
        With the path of the layer, if the shapes do not fit.

    Examples
    --------
    >>> from funcnn import layers, serial
    >>> model = serial(layers.tanh(), layers.relu())
    >>> params, state, _ = model.init((0,), (2,))
    >>> passes = forward_backward(model, params, state, np.array([[0.5, -0.5]]), np.ones_like)
    >>> passes["0_tanh"].gradient
    array([[1., 0.]])
    """
    observed, paths = _observed(model)
    y, vjp, outputs = observed.forward(params, x, state, train=train, key=key)
    gradients, _ = vjp(cotangent(y))
    return {path: LayerTrace(**_at(outputs, path), **_at(gradients, path)) for path in paths}


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
) -> list[LayerStatistics]:
    """Return statistics of each layer's outputs and gradients, by which a network dying or exploding is seen.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`; a mean over the examples.
    params, state : tree
    x : array (N, ...)
        At least one example.
    targets : array (N, ...)
    train : bool
        In training, dropout and batch statistics are at work.
    key : tuple of int, optional
        For training.

    Returns
    -------
    list of LayerStatistics
        In the order in which the layers come. Numbers that are not finite are told as they are.

    Raises
    ------
    ValueError
        If there are no examples; with the path of the layer, if the shapes do not fit.

    Notes
    -----
    Initial weights are scaled so that ``std`` and ``gradient_norm`` stay of one order from layer to layer
    (`funcnn.layers`). Where they fall or grow from layer to layer by the same factor, signals vanish or explode; where
    ``dead`` nears 1, the layers before are out of the gradient's reach.

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

    # What overflows is in the statistics themselves, so that NumPy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore"):
        passes = forward_backward(model, params, state, x, cotangent, train=train, key=key)
        return [_statistics(path, through, _at(params, path)) for path, through in passes.items()]


def _statistics(path: str, through: LayerTrace, params: Tree) -> LayerStatistics:
    y, examples = through.output, len(through.output)
    zero = y == 0
    return LayerStatistics(
        path,
        y.shape[1:],
        float(y.mean(dtype=np.float64)),
        float(y.std(dtype=np.float64)),
        float(zero.mean()),
        float(zero.all(axis=tuple(range(y.ndim - 1))).mean()),
        tree.norm(y) / math.sqrt(examples),
        # the loss is a mean: an example's own is as many times larger
        tree.norm(through.gradient) * math.sqrt(examples),
        tree.norm(params),
        tree.norm(through.dparams),
    )


def _observed(model: Layer) -> tuple[Layer, list[str]]:
    """Return the model that hands on outputs for state and cotangents beside gradients, and its layers' paths."""
    paths: list[str] = []

    def observed(path: str, layer: Layer) -> Layer:
        paths.append(path)

        def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
            y, vjp, _ = layer.forward(params, x, state, train=train, key=key)

            def observed_vjp(dy: Any) -> tuple[Tree, Any]:
                dparams, dx = vjp(dy)
                return {"gradient": dy, "dparams": dparams}, dx

            return y, observed_vjp, {"output": y}

        return layer._replace(forward=forward)

    return map_layers(observed, model), paths


def _at(part: Tree, path: str) -> Any:
    """Return the part of a model's tree that belongs to the layer at ``path``."""
    for name in path.split("/") if path else ():
        part = part[name]
    return part
