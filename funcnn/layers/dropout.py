"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from funcnn import ops
from funcnn.keys import Key
from funcnn.layer import Layer, OpForward, check_empty, empty_batch
from funcnn.ops.dropout import check_rate
from funcnn.tree import Array, Tree


def dropout(rate: float, *, shared_axes: Sequence[int] = ()) -> Layer:
    """Drop entries at random in training, and none in evaluation; see `funcnn.ops.dropout`.

    Training with a rate above 0 needs a key; the same key drops the same entries.

    Parameters
    ----------
    rate : float in [0, 1)
        The fraction dropped.
    shared_axes : sequence of int
        As in `funcnn.ops.dropout`.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If ``rate`` is out of range. ``forward`` raises it in training if there is no key.

    Examples
    --------
    >>> import numpy as np
    >>> layer, x = dropout(0.5), np.ones((1, 4))
    >>> layer.forward({}, x, {}, train=False)[0]
    array([[1., 1., 1., 1.]])
    >>> layer.forward({}, x, {}, train=True, key=(2,))[0]
    array([[2., 0., 0., 0.]])
    """
    check_rate(rate)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, {}, empty_batch(in_shape).shape[1:]

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_empty("dropout", params=params, state=state)
        y, op_vjp = (
            ops.dropout(x, rate=rate, key=key, shared_axes=shared_axes) if train and rate > 0 else ops.identity(x)
        )

        def dropout_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            return {}, op_vjp(dy) if input_gradient else None

        return y, dropout_vjp, {}

    options = {"rate": rate, "shared_axes": tuple(shared_axes)}
    recipe = partial(dropout, rate, shared_axes=tuple(shared_axes))
    return Layer("dropout", init, OpForward(ops.dropout, options, call, recipe=recipe))
