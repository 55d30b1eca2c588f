"""Profiling: how long each layer of a model takes, forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from funcnn import blas, checks, html
from funcnn.combinators import map_layers
from funcnn.keys import Key
from funcnn.layer import Layer, pull_back, wrap_forward
from funcnn.tree import Array, Tree

__all__ = ["LayerTime", "LayerTimes", "layer_times"]


class LayerTime(NamedTuple):
    """The time of a layer in each round.

    Attributes
    ----------
    forward, backward : list of float
        Seconds. ``backward`` is 0 in a layer whose VJP is not called: one before the first parameters, which needs no
        gradient.

    Examples
    --------
    See `layer_times`.
    """

    forward: list[float]
    backward: list[float]


class LayerTimes(dict[str, LayerTime]):
    """The times of all layers by path, of which a notebook displays the medians.

    Examples
    --------
    See `layer_times`.
    """

    def _repr_html_(self) -> str:
        rows = [(path, 1e3 * median(time.forward), 1e3 * median(time.backward)) for path, time in self.items()]
        return html.table(("layer", "forward, ms", "backward, ms"), rows, "median times")


def layer_times(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array,
    *,
    cotangent: Callable[[Array], Array] = np.ones_like,
    rounds: int = 9,
    key: Key = (0,),
) -> LayerTimes:
    """Time each layer in a step of training: the model forward, and backward to the gradients of its parameters.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
        A batch.
    cotangent : callable, optional
        ``cotangent(y) -> dy``: what to pull back, such as ``lambda y: loss(y, targets)[1](1.0)``. By default ones.
    rounds : int, at least 1
        How often the batch goes through the model, after a first time that is not counted: it fills caches.
    key : tuple of int, optional
        For dropout and other random layers.

    Returns
    -------
    LayerTimes
        A dict of `LayerTime`.
        By path, as in `funcnn.combinators.map_layers`, in the order in which the layers come.

    Raises
    ------
    ValueError
        If ``rounds`` is less than 1; with the path of the layer, if the shapes do not fit.

    Notes
    -----
    Each layer is timed on its own, so that no layers are fused (`funcnn.fusion`): where an unwrapped model fuses
    convolution, pooling and ReLU, it is faster than the sum of the times. Compare medians over the rounds: a single
    round depends on what else the machine does.

    Examples
    --------
    >>> from funcnn.models import mlp
    >>> model = mlp(10, hidden=(16,))
    >>> params, state, _ = model.init((0,), (8, 8, 1))
    >>> times = layer_times(model, params, state, np.ones((32, 8, 8, 1), np.float32), rounds=3)
    >>> list(times)
    ['0_flatten', '1_dense', '2_relu', '3_dropout', '4_dense']
    >>> len(times["1_dense"].forward), times["1_dense"].backward[0] > 0, times["0_flatten"].backward
    (3, True, [0.0, 0.0, 0.0])
    """
    checks.count("layer_times", "rounds", rounds)
    times: dict[str, LayerTime] = {}

    def timed(path: str, layer: Layer) -> Layer:
        times[path] = LayerTime([], [])
        return wrap_forward(layer, _timed(layer, times[path]))

    timed_model = map_layers(timed, model)
    with blas.one_thread:
        for _ in range(rounds + 1):
            y, vjp, _ = timed_model.forward(params, x, state, train=True, key=key)
            pull_back(timed_model, vjp, cotangent(y), input_gradient=False)
    counted = {path: LayerTime(t.forward[1:], t.backward[1:] or [0.0] * rounds) for path, t in times.items()}
    return LayerTimes(counted)


def _timed(layer: Layer, time_of: LayerTime) -> Callable[..., Any]:
    """Return a layer's forward function that appends its seconds, and those of its VJP, to ``time_of``."""

    def timed_forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        start = time.perf_counter()
        y, vjp, new_state = layer.forward(params, x, state, train=train, key=key)
        time_of.forward.append(time.perf_counter() - start)

        def timed_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Any]:
            start = time.perf_counter()
            gradients = pull_back(layer, vjp, dy, input_gradient=input_gradient)
            time_of.backward.append(time.perf_counter() - start)
            return gradients

        return y, timed_vjp, new_state

    return timed_forward
