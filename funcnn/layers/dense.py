"""Layers whose parameter is a matrix: the affine map `dense`, and `embedding`, a table of rows."""

from __future__ import annotations

from typing import Any

from funcnn import checks, ops
from funcnn.initializers import Initializer, he_normal, standard_normal, zeros
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, OpForward, check_empty, parametric
from funcnn.tree import Array, Tree


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
            raise ValueError("dense: takes examples of shape (..., features), got ()")
        return weights(key, (in_shape[-1], features), bias, w_init, b_init)

    return parametric("dense", init_params, ops.dense, {"bias": bool(bias)}, optional_dx=True)


def embedding(vocabulary: int, features: int, *, w_init: Initializer = standard_normal) -> Layer:
    """Replace each of ``vocabulary`` ids by a vector of ``features`` numbers; see `funcnn.ops.embedding`.

    The inputs are integers, which have no gradient, so the VJP returns None for dx.

    Parameters
    ----------
    vocabulary, features : int >= 1
    w_init : initializer
        By default `standard_normal`: an id selects a single row, so the fan-in is 1, and rows of variance 1 give the
        next layer inputs of variance 1.

    Returns
    -------
    Layer
        With the leaf ``w`` (vocabulary, features).

    Raises
    ------
    TypeError, ValueError
        If a number is not an int, or below 1.

    Examples
    --------
    >>> embedding(1000, 16).init((0,), (12,))[2]
    (12, 16)
    """
    checks.count("embedding", "vocabulary", vocabulary)
    checks.count("embedding", "features", features)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {"w": w_init(fold_in(key, 0), (vocabulary, features))}, {}, (*in_shape, features)

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_empty("embedding", state=state)
        y, op_vjp = ops.embedding(params, x)

        def embedding_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, None]:
            return op_vjp(dy), None

        return y, embedding_vjp, {}

    return Layer("embedding", init, OpForward(ops.embedding, {}, call))


def weights(key: Key, shape: tuple[int, ...], bias: bool, w_init: Initializer, b_init: Initializer) -> Tree:
    """Draw ``w`` of ``shape`` (..., in, out) and, with ``bias``, ``b`` (out), each with a key of its own."""
    w = {"w": w_init(fold_in(key, 0), shape)}
    return {**w, "b": b_init(fold_in(key, 1), shape[-1:])} if bias else w
