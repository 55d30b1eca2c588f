"""The affine map of the last axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funcnn import checks
from funcnn.kernels.bias import add_bias, channel_sum
from funcnn.kernels.products import product, product_adjoint_w, product_adjoint_x
from funcnn.kernels.rectifier import rectify_adjoint
from funcnn.kernels.selection import for_size
from funcnn.tree import Array, Tree


def dense(params: Tree, x: Array, *, bias: bool = True) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Affine map y = x w + b of the last axis.

    Parameters
    ----------
    params : dict
        ``w`` (I, O) and ``b`` (O).
    x : array (N, ..., I)
    bias : bool
        Whether ``params`` has a ``b``.

    Returns
    -------
    y : array (N, ..., O)
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; ``vjp(dy, input_gradient=False)`` does not compute dx and returns None for it.

    Raises
    ------
    TypeError
        If an array is not of floats.
    ValueError
        If the shapes do not fit or ``params`` has other leaves.

    Notes
    -----
    With rows n over all leading axes,

        y[n,o] = sum_i x[n,i] w[i,o] + b[o]

    has the differential dx w + x dw + db. Pairing dy with it, and collecting the factors of dx, dw and db,

        <dy, dx w + x dw + db> = <dy w^T, dx> + <x^T dy, dw> + <sum_n dy[n], db>

    gives the cotangents

        dx = dy w^T
        dw = x^T dy
        db = sum_n dy[n]

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
    return dense_and_relu(params, x, bias=bias, relu=False)


def dense_and_relu(
    params: Tree, x: Array, *, bias: bool = True, relu: bool = True
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """`dense`, and with ``relu`` the ReLU of its output, written over it."""
    x, w, b = _checked(params, x, bias)
    y = _product_and_bias(product, x, w, b, relu)
    shape, dtype, outputs = y.shape, y.dtype, y if relu else None

    def dense_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("relu" if relu else "dense", dy, shape, dtype)
        if outputs is not None:
            dy = rectify_adjoint(outputs, dy)
        dparams: Tree = {"w": product_adjoint_w(_rows(x), _rows(dy))}
        if b is not None:
            dparams["b"] = channel_sum(dy)
        if not input_gradient:
            return dparams, None
        dx = product_adjoint_x(w, _rows(dy))
        return dparams, dx if x.ndim == 2 else dx.reshape(x.shape)

    return y, dense_vjp


def prepare_dense(
    params: Tree, x: Array, *, bias: bool = True, relu: bool = False, kept: bool = True
) -> Callable[[Array], Array]:
    """Return what computes `dense_and_relu` without the VJP, for any array of x's shape and dtype.

    Arguments are checked once. ``kept`` says that it serves many arrays.
    """
    x, w, b = _checked(params, x, bias)
    multiply = for_size(product, x.size)
    return lambda x: _product_and_bias(multiply, x, w, b, relu)


def _checked(params: Tree, x: Array, bias: bool) -> tuple[Array, Array, Array | None]:
    """Return x, w and b."""
    w, b = checks.weights_and_bias("dense", params, bias)
    x = checks.floating("dense: x", x)
    if w.ndim != 2 or (b is not None and b.shape != w.shape[1:]):
        got = f"w {w.shape}" if b is None else f"w {w.shape} and b {b.shape}"
        raise ValueError(f"dense: w must be (I, O) and b (O); got {got}")
    if x.ndim < 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"dense: x has shape {x.shape}, but w {w.shape} takes (N, ..., {w.shape[0]})")
    return x, w, b


def _product_and_bias(
    multiply: Callable[[Array, Array], Array], x: Array, w: Array, b: Array | None, relu: bool
) -> Array:
    if x.ndim == 2:
        return add_bias(multiply(x, w), b, relu)
    return add_bias(multiply(_rows(x), w).reshape(*x.shape[:-1], w.shape[1]), b, relu)


def _rows(a: Array) -> Array:
    """Reshape (N, ..., F) to a matrix (rows, F)."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
