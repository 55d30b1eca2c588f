"""Embedding: look up rows of a table by integer ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array, Tree


def embedding(params: Tree, ids: Array) -> tuple[Array, Callable[..., Tree]]:
    """Replace each id by its row of a table: one vector for each word, symbol or category.

    Parameters
    ----------
    params : dict
        ``w`` (V, D), one row for each of V ids.
    ids : array of int (N, ...), in [0, V)

    Returns
    -------
    y : array (N, ..., D)
    vjp : callable
        ``vjp(dy) -> dparams``; ids are integers and have no cotangent.

    Raises
    ------
    TypeError
        If ``w`` is not of floats or ``ids`` not of integers.
    ValueError
        If an id is out of range, or the shapes do not fit.

    Notes
    -----
    y[n] = w[ids[n]] is the product of one-hot vectors with w, so row v of dw is the sum of dy[n] over all n with
    ids[n] = v.

    Examples
    --------
    >>> y, vjp = embedding({"w": np.array([[1.0, 2.0], [3.0, 4.0]])}, np.array([[1, 1, 0]]))
    >>> y
    array([[[3., 4.],
            [3., 4.],
            [1., 2.]]])
    >>> vjp(np.ones_like(y))["w"]
    array([[1., 1.],
           [2., 2.]])
    """
    (w,) = checks.leaves("embedding", params, ("w",))
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, not {ids.dtype}")
    if w.ndim != 2 or ids.ndim < 1:
        raise ValueError(f"embedding: w must be (V, D) and ids (N, ...); got w {w.shape} and ids {ids.shape}")
    if ids.size and not (ids.min() >= 0 and ids.max() < len(w)):
        raise ValueError(
            f"embedding: ids must lie in 0..{len(w) - 1} for w {w.shape}; got values from {ids.min()} to {ids.max()}"
        )
    y = w[ids]
    shape, dtype, table = y.shape, y.dtype, w.shape

    def embedding_vjp(dy: Any) -> Tree:
        dy = checks.cotangent("embedding", dy, shape, dtype)
        dw = np.zeros(table, dy.dtype)
        np.add.at(dw, ids, dy)
        return {"w": dw}

    return y, embedding_vjp
