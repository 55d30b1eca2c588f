"""Normalisation layers: each computes the op of the same name in `funcnn.ops`, which has the formulas and ``eps``.

The parameters are ``scale`` and ``bias``, both (C), or of the shape of ``axes`` where there are any. Their initial
values are by default 1 and 0 (``scale_init``, ``bias_init``): a layer starts as plain standardisation, so that the
variance of activations does not change with depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from funcnn import checks, ops
from funcnn.initializers import Initializer, ones, zeros
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, OpForward, empty_batch, parameterless, parametric
from funcnn.tree import Array, Tree


def batch_norm(
    *, decay: float = 0.9, eps: float = 1e-5, scale_init: Initializer = ones, bias_init: Initializer = zeros
) -> Layer:
    """Standardise each channel: in training by the batch's statistics, in evaluation by their running averages.

    Training needs at least two values in each channel, so a batch of one example without spatial axes is an error.

    Parameters
    ----------
    decay : float in [0, 1]
        Weight of the old value in the running averages: 0.9 here is ``momentum=0.1`` in PyTorch and 0.9 in Keras. If
        training takes few steps, a smaller value makes the averages forget their initial values sooner.

    Returns
    -------
    Layer
        Its state is ``mean`` (C), initially 0, and ``var`` (C), initially 1. The running variance is an average of
        biased variances; PyTorch averages unbiased ones, which are larger by the factor n / (n - 1).

    Raises
    ------
    ValueError
        If ``decay`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> layer = batch_norm()
    >>> params, state, _ = layer.init((0,), (1,))
    >>> y, vjp, state = layer.forward(params, np.array([[9.0], [11.0]]), state, train=True)
    >>> state
    {'mean': array([1.], dtype=float32), 'var': array([1.], dtype=float32)}
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"batch_norm: decay, the weight of the old value, must be in [0, 1], not {decay}")

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        out_shape, channels = empty_batch(in_shape).shape[1:], in_shape[-1:]
        params = _scale_and_bias("batch_norm", key, in_shape, channels, scale_init, bias_init)
        return params, {"mean": zeros(key, channels), "var": ones(key, channels)}, out_shape

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        running = dict(zip(("mean", "var"), checks.leaves("batch_norm: state", state, ("mean", "var")), strict=True))
        if not train:
            return ops.batch_norm(params, x, stats=running, eps=eps)
        y, vjp, stats = ops.batch_norm(params, x, eps=eps)
        return y, vjp, next_state(running, stats)

    def next_state(running: Tree, stats: Tree) -> Tree:
        return running_stats(running, stats, decay)

    recipe = partial(batch_norm, decay=decay, eps=eps, scale_init=scale_init, bias_init=bias_init)
    return Layer("batch_norm", init, OpForward(ops.batch_norm, {"eps": eps}, call, None, recipe, next_state))


def running_stats(running: Tree, stats: Tree, decay: float) -> Tree:
    """Return the running averages of batch normalisation after a batch of these statistics.

    The state is not differentiated, so it stays real when x is complex for a complex-step derivative.
    """
    return {name: (decay * old + (1 - decay) * stats[name].real).astype(old.dtype) for name, old in running.items()}


def layer_norm(
    *,
    axes: int | Sequence[int] = -1,
    eps: float = 1e-5,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Standardise each example over the given axes, by default over the channels at each position.

    Parameters
    ----------
    axes : int or sequence of int
        Axes of the batch; axis 0, the examples, must not be among them.

    Examples
    --------
    >>> layer_norm(axes=(1, 2, 3)).init((0,), (4, 4, 2))[0]["scale"].shape
    (4, 4, 2)
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        shape = _normalized_shape("layer_norm", in_shape, axes)
        return _scale_and_bias("layer_norm", key, in_shape, shape, scale_init, bias_init)

    recipe = partial(layer_norm, axes=axes, eps=eps, scale_init=scale_init, bias_init=bias_init)
    options = {"axes": axes, "eps": eps}
    return parametric("layer_norm", init_params, ops.layer_norm, options, optional_dx=True, recipe=recipe)


def rms_norm(*, axes: int | Sequence[int] = -1, eps: float = 1e-5, scale_init: Initializer = ones) -> Layer:
    """Divide each example by its root mean square over the given axes, by default over the channels at each position.

    The only parameter is ``scale``.

    Parameters
    ----------
    axes : int or sequence of int
        Axes of the batch; axis 0, the examples, must not be among them.

    Examples
    --------
    >>> rms_norm().init((0,), (4, 4, 2))[0]
    {'scale': array([1., 1.], dtype=float32)}
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return {"scale": scale_init(fold_in(key, 0), _normalized_shape("rms_norm", in_shape, axes))}

    recipe = partial(rms_norm, axes=axes, eps=eps, scale_init=scale_init)
    options = {"axes": axes, "eps": eps}
    return parametric("rms_norm", init_params, ops.rms_norm, options, optional_dx=True, recipe=recipe)


def group_norm(
    groups: int, *, eps: float = 1e-5, scale_init: Initializer = ones, bias_init: Initializer = zeros
) -> Layer:
    """Standardise each group of channels of each example over its channels and positions.

    Parameters
    ----------
    groups : int >= 1
        Must divide the number of channels.

    Examples
    --------
    >>> group_norm(4).init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return _scale_and_bias("group_norm", key, in_shape, in_shape[-1:], scale_init, bias_init)

    recipe = partial(group_norm, groups, eps=eps, scale_init=scale_init, bias_init=bias_init)
    options = {"groups": groups, "eps": eps}
    return parametric("group_norm", init_params, ops.group_norm, options, optional_dx=True, recipe=recipe)


def instance_norm(*, eps: float = 1e-5, scale_init: Initializer = ones, bias_init: Initializer = zeros) -> Layer:
    """Standardise each channel of each example over its positions.

    Examples
    --------
    >>> instance_norm().init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return _scale_and_bias("instance_norm", key, in_shape, in_shape[-1:], scale_init, bias_init)

    recipe = partial(instance_norm, eps=eps, scale_init=scale_init, bias_init=bias_init)
    return parametric("instance_norm", init_params, ops.instance_norm, {"eps": eps}, optional_dx=True, recipe=recipe)


def local_response_norm(size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
    """Divide each number by a power of the sum of squares over neighbouring channels. It has no parameters.

    Parameters
    ----------
    size, alpha, beta, k
        As in `funcnn.ops.local_response_norm`.

    Examples
    --------
    >>> local_response_norm(5).init((0,), (4, 4, 8))[2]
    (4, 4, 8)
    """
    checks.count("local_response_norm", "size", size)
    options = {"size": size, "alpha": alpha, "beta": beta, "k": k}
    return parameterless("local_response_norm", ops.local_response_norm, options)


def _scale_and_bias(
    name: str,
    key: Key,
    in_shape: tuple[int, ...],
    shape: tuple[int, ...],
    scale_init: Initializer,
    bias_init: Initializer,
) -> Tree:
    if not in_shape:
        raise ValueError(f"{name}: examples must be of shape (..., channels), got ()")
    return {"scale": scale_init(fold_in(key, 0), shape), "bias": bias_init(fold_in(key, 1), shape)}


def _normalized_shape(name: str, in_shape: tuple[int, ...], axes: int | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of ``axes``, counted with the batch axis, which must not be one of them."""
    listed = list(axes) if isinstance(axes, Sequence) else [axes]
    over = sorted(checks.axis(name, a, len(in_shape) + 1) for a in listed)
    if 0 in over:
        raise ValueError(f"{name}: axes {axes} include axis 0, but examples must not depend on each other")
    return tuple(in_shape[a - 1] for a in over)
