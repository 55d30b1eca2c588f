"""Scale and shift by numbers that are fixed or learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcnn import checks
from funcnn.kernels.broadcasting import sum_to
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
    >>> import numpy as np
    >>> y, vjp = affine({"scale": np.array([2.0, 3.0]), "bias": np.array(1.0)}, np.array([[1.0, 1.0]]))
    >>> dparams, dx = vjp(np.ones((1, 2)))
    >>> y, dparams["bias"], dx
    (array([[3., 4.]]), array(2.), array([[2., 3.]]))
    """
    x = checks.floating("affine: x", x)
    given = [name for name in ("scale", "bias") if isinstance(params, dict) and name in params]
    names = tuple(given) or ("scale", "bias")
    leaves = dict(zip(names, checks.leaves("affine", params, names), strict=True))
    for name, leaf in leaves.items():
        checks.broadcasts_to_example("affine", name, leaf, x)
    y = x
    if "scale" in leaves:
        y = y * leaves["scale"]
    if "bias" in leaves:
        y = y + leaves["bias"]
    shape, dtype, factor = y.shape, y.dtype, x if "scale" in leaves else None  # a bias alone does not need x

    def affine_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("affine", dy, shape, dtype)
        terms = {name: dy * factor if name == "scale" else dy for name in leaves}
        dparams: Tree = {name: sum_to(leaf.shape, terms[name]) for name, leaf in leaves.items()}
        if not input_gradient:
            return dparams, None
        return dparams, dy * leaves["scale"] if "scale" in leaves else dy

    return y, affine_vjp
