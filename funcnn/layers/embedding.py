"""Rows of a table, looked up by integer ids."""

from __future__ import annotations

from functools import partial
from typing import Any

from funcnn import checks, ops
from funcnn.initializers import Initializer, standard_normal
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, OpForward, check_empty
from funcnn.tree import Array, Tree


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

    recipe = partial(embedding, vocabulary, features, w_init=w_init)
    return Layer("embedding", init, OpForward(ops.embedding, {}, call, recipe=recipe))
