"""Scale and shift by numbers that are fixed or learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.tree import Array, Tree


def affine(params: Tree, x: Array) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Scale and shift each example: y = scale x + bias, in the usual case channel by channel.

    Parameters
    ----------
    params : dict
        ``scale`` and ``bias``, or one of them. Each has a shape that broadcasts to that of an example, such as (C) for
        one number a channel and () for one number.
    x : array (N, ..., C)

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; ``vjp(dy, input_gradient=False)`` returns None for dx.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the leaves are others, or a shape does not fit.

    Notes
    -----
    dx = dy scale, and with sum over the examples and over the axes along which a leaf was repeated, dscale = sum dy x
    and dbias = sum dy.

    Examples
    --------
    >>> y, vjp = affine({"scale": np.array([2.0, 3.0]), "bias": np.array(1.0)}, np.array([[1.0, 1.0]]))
    >>> dparams, dx = vjp(np.ones((1, 2)))
    >>> y, dparams["bias"], dx
    (array([[3., 4.]]), array(2.), array([[2., 3.]]))
    """
    x = checks.floating("affine: x", x)
    names = tuple(name for name in ("scale", "bias") if isinstance(params, dict) and name in params)
    leaves = dict(zip(names, checks.leaves("affine", params, names or ("scale", "bias")), strict=True))
    for name, leaf in leaves.items():
        example = x.shape[x.ndim - leaf.ndim :]
        if leaf.ndim >= x.ndim or any(a not in (1, b) for a, b in zip(leaf.shape, example, strict=True)):
            raise ValueError(f"affine: {name} {leaf.shape} does not broadcast to an example of x {x.shape}")
    y = x
    if "scale" in leaves:
        y = y * leaves["scale"]
    if "bias" in leaves:
        y = y + leaves["bias"]
    shape, dtype = y.shape, y.dtype

    def affine_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("affine", dy, shape, dtype)
        dparams = {}
        if "scale" in leaves:
            dparams["scale"] = _sum_to(dy * x, leaves["scale"].shape)
        if "bias" in leaves:
            dparams["bias"] = _sum_to(dy, leaves["bias"].shape)
        if not input_gradient:
            return dparams, None
        return dparams, dy * leaves["scale"] if "scale" in leaves else dy

    return y, affine_vjp


def _sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an array of ``shape`` was repeated: the adjoint of broadcasting."""
    lead = array.ndim - len(shape)
    repeated = tuple(lead + a for a, s in enumerate(shape) if s == 1)
    return np.asarray(array.sum(axis=(*range(lead), *repeated))).reshape(shape)
