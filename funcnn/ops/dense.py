"""The affine map of the last axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funcnn import checks
from funcnn.kernels.bias import add_bias, channel_sum
from funcnn.tree import Array, Tree

_LARGE = 1 << 16  # entries of a product


def dense(params: Tree, x: Array, *, bias: bool = True) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Affine map y = x w + b of the last axis.

    Parameters
    ----------
    params : dict
        ``w`` (I, O) and ``b`` (O).
    x : array (N, ..., I)
    bias : bool
        Whether there is a ``b``.

    Returns
    -------
    y : array (N, ..., O)
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None); with ``per_example=True``,
        dparams is each example's own, its leaves with an axis (N) in front.

    Raises
    ------
    TypeError
        If an array is not of floats.
    ValueError
        If the shapes do not fit or ``params`` has other leaves.

    Notes
    -----
    With rows n over all leading axes, y[n,o] = sum_i x[n,i] w[i,o] + b[o]. Pairing dy with the differential

        <dy, dx w + x dw + db> = <dy w^T, dx> + <x^T dy, dw> + <sum_n dy, db>

    gives dx = dy w^T, dw = x^T dy, db = sum_n dy. Where n runs over the rows of one example alone, dw and db are that
    example's own.

    ``torch.nn.Linear`` keeps the same ``w`` as (out, in).

    Examples
    --------
    >>> import numpy as np
    >>> y, vjp = dense({"w": np.array([[1.0, 2.0]]), "b": np.array([0.0, 10.0])}, np.array([[3.0]]))
    >>> y
    array([[ 3., 16.]])
    >>> dparams, dx = vjp(np.array([[1.0, 1.0]]))
    >>> dparams["w"], dparams["b"], dx
    (array([[3., 3.]]), array([1., 1.]), array([[3.]]))
    """
    w, b = checks.weights_and_bias("dense", params, bias)
    x = checks.floating("dense: x", x)
    if w.ndim != 2 or (b is not None and b.shape != w.shape[1:]):
        got = f"w {w.shape}" if b is None else f"w {w.shape} and b {b.shape}"
        raise ValueError(f"dense: w must be (I, O) and b (O); got {got}")
    if x.ndim < 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"dense: x has shape {x.shape}, but w {w.shape} takes (N, ..., {w.shape[0]})")
    y = add_bias(_product(x, w), b)
    shape, dtype = y.shape, y.dtype

    def dense_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("dense", dy, shape, dtype)
        plain = x.ndim == 2 and not per_example
        dparams: Tree = {"w": _pairs(x, dy) if plain else _pairs(_rows(x, per_example), _rows(dy, per_example))}
        if b is not None:
            dparams["b"] = channel_sum(dy, per_example)
        return dparams, _product(dy, w.T) if input_gradient else None

    return y, dense_vjp


def _rows(a: Array, per_example: bool) -> Array:
    """View (N, ..., F) as one matrix of rows, or as one for each example."""
    if per_example:
        return a.reshape(len(a), math.prod(a.shape[1:-1]), a.shape[-1])
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def _product(x: Array, w: Array) -> Array:
    """Return x w; for two matrices `dot` begins sooner."""
    return x.dot(w) if x.ndim == 2 else x @ w


def _pairs(x: Array, dy: Array) -> Array:
    """Return x^T dy; where there is one row to sum over, broadcasting is quicker."""
    if x.shape[-2] == 1:
        return x.mT * dy
    # `dot` begins sooner, and ends later where the result is large
    return x.T.dot(dy) if x.ndim == 2 and x.shape[1] * dy.shape[1] < _LARGE else x.mT @ dy
