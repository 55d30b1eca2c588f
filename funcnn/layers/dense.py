"""The affine map of the last axis, and the initial weights of layers that have ``w`` and ``b``."""

from __future__ import annotations

from functools import partial

from funcnn import checks, ops
from funcnn.initializers import Initializer, he_normal, zeros
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, parametric
from funcnn.tree import Tree


def dense(features: int, *, bias: bool = True, w_init: Initializer = he_normal, b_init: Initializer = zeros) -> Layer:
    """Affine map of the last axis to ``features``; see `funcnn.ops.dense`.

    Parameters
    ----------
    features : int >= 1
    bias : bool
        Whether the layer has a ``b``.
    w_init, b_init : initializer
        By default `he_normal` and zeros, which suit a ReLU after the layer.

    Returns
    -------
    Layer
        With the leaves ``w`` (in, features) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        If ``features`` is not an int, or below 1.

    Examples
    --------
    >>> params, state, out_shape = dense(10).init((0,), (64,))
    >>> params["w"].shape, params["b"].shape, out_shape
    ((64, 10), (10,), (10,))
    """
    checks.count("dense", "features", features)

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        if not in_shape:
            raise ValueError("dense: examples must be of shape (..., features), got ()")
        return weights(key, (in_shape[-1], features), bias, w_init, b_init)

    recipe = partial(dense, features, bias=bias, w_init=w_init, b_init=b_init)
    return parametric("dense", init_params, ops.dense, {"bias": bool(bias)}, optional_dx=True, recipe=recipe)


def weights(key: Key, shape: tuple[int, ...], bias: bool, w_init: Initializer, b_init: Initializer) -> Tree:
    """Draw ``w`` of ``shape`` (..., in, out) and, with ``bias``, ``b`` (out), each with its own key."""
    w = {"w": w_init(fold_in(key, 0), shape)}
    return {**w, "b": b_init(fold_in(key, 1), shape[-1:])} if bias else w
