"""Normalisation of series that are padded to one length, where padding must have no influence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.ops.normalization import batch_norm
from funcnn.tree import Array, Tree


def masked_batch_norm(
    params: Tree, x: Array, mask: Array, *, stats: Tree | None = None, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]], Tree]:
    """Batch normalisation of the positions of a mask; at all others y is 0.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, S..., C)
    mask : array (N, S..., 1)
        1 at the positions to normalise, 0 at the others: above 1/2 counts as 1.
    stats : dict, optional
        As in `funcnn.ops.batch_norm`.
    eps : float >= 0

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; dx is 0 outside of the mask.
    stats : dict

    Raises
    ------
    TypeError, ValueError
        As `funcnn.ops.batch_norm`; if the mask does not have the positions of x.

    Notes
    -----
    With P the selection of the mask's positions, y = P' batch_norm(P x), so dx = P' batch_norm_vjp(P dy).

    Examples
    --------
    >>> params, x = {"scale": np.ones(1), "bias": np.full(1, 5.0)}, np.array([[[1.0], [3.0], [0.0]]])
    >>> masked_batch_norm(params, x, np.array([[[1.0], [1.0], [0.0]]]), eps=0.0)[0].ravel()
    array([4., 6., 0.])
    """
    x, mask = checks.floating("masked_batch_norm: x", x), checks.floating("masked_batch_norm: mask", mask)
    if mask.shape != (*x.shape[:-1], 1):
        raise ValueError(f"masked_batch_norm: mask {mask.shape} must be {(*x.shape[:-1], 1)} for x {x.shape}")
    inside = mask[..., 0].real > 0.5
    y_inside, inside_vjp, stats = batch_norm(params, x[inside], stats=stats, eps=eps)
    y = _scatter(inside, y_inside)
    shape, dtype = y.shape, y.dtype

    def masked_batch_norm_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("masked_batch_norm", dy, shape, dtype)
        dparams, dx = inside_vjp(dy[inside], input_gradient=input_gradient)
        return dparams, None if dx is None else _scatter(inside, dx)

    return y, masked_batch_norm_vjp, stats


def _scatter(inside: Array, entries: Array) -> Array:
    y = np.zeros((*inside.shape, entries.shape[-1]), entries.dtype)
    y[inside] = entries
    return y
