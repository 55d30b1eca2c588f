"""Layers of a series and its mask, for nodes of `funcnn.combinators.graph` whose sources are these two."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from funcnn.layer import Layer, OpForward
from funcnn.layers.normalization import batch_norm, running_stats
from funcnn.ops.masking import masked_batch_norm as masked_batch_norm_op
from funcnn.tree import Array, Tree


def masked_batch_norm(*, decay: float = 0.9, eps: float = 1e-5) -> Layer:
    """Batch normalisation of the positions of a mask; see `funcnn.ops.masking.masked_batch_norm`.

    x is a tuple of the array (N, S..., C) and its mask (N, S..., 1). The mask's cotangent is 0.

    Parameters
    ----------
    decay, eps : float
        As in `funcnn.layers.batch_norm`, which also says what parameters and state are.

    Examples
    --------
    >>> masked_batch_norm().init((0,), ((20, 8), (20, 1)))[2]
    (20, 8)
    """
    norm = batch_norm(decay=decay, eps=eps)

    def init(key: Any, in_shape: tuple[Any, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return norm.init(key, in_shape[0])

    def call(params: Tree, x: Any, state: Tree, *, train: bool, key: Any = None) -> Any:
        array, mask = x
        mask_shape = mask.shape
        y, op_vjp, stats = masked_batch_norm_op(params, array, mask, stats=None if train else state, eps=eps)

        def masked_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, tuple[Array, Array] | None]:
            dparams, dx = op_vjp(dy, input_gradient=input_gradient)
            return dparams, None if dx is None else (dx, np.zeros(mask_shape, dx.dtype))

        return y, masked_vjp, running_stats(state, stats, decay) if train else state

    recipe = partial(masked_batch_norm, decay=decay, eps=eps)
    return Layer("masked_batch_norm", init, OpForward(masked_batch_norm_op, {"eps": eps}, call, recipe=recipe))
