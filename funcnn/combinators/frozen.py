"""Layers that training leaves as they are."""

from __future__ import annotations

from functools import partial
from typing import Any

from funcnn.combinators.children import check_keys, child_names
from funcnn.keys import Key, fold_in
from funcnn.layer import LOCATED, Layer, OpForward, add_location, check_empty, output
from funcnn.tree import Array, Tree


def frozen(layer: Layer) -> Layer:
    """A layer that always computes as in evaluation, with parameters that no optimizer sees.

    Parameters
    ----------
    layer : Layer
        Such as a trained network without its last layer.

    Returns
    -------
    Layer
        It has no parameters. Its state is ``{"params": ..., "state": ...}``, those of ``layer``, and never changes:
        dropout is off, and batch normalisation uses its running statistics without updating them.

    Notes
    -----
    Training a model that begins with a frozen layer computes no gradient in it, and its forward pass keeps nothing for
    one. Where something before it has parameters, or the gradient of the input is wanted, its VJP calls the layer
    again, this time with closures, to compute dx.

    Examples
    --------
    >>> from funcnn import serial
    >>> from funcnn.layers import dense, relu
    >>> model = serial(frozen(serial(dense(16), relu())), dense(3))
    >>> params, state, _ = model.init((0,), (8,))
    >>> params["0_frozen"], state["0_frozen"]["params"]["0_dense"]["w"].shape
    ({}, (8, 16))
    """
    (name,) = child_names("frozen", (layer,))

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        try:
            params, state, out_shape = layer.init(fold_in(key, 0), in_shape)
        except LOCATED as error:
            add_location(error, name)
            raise
        return {}, {"params": params, "state": state}, out_shape

    def output_of_layer(params: Tree, x: Array, state: Tree, kept: dict[str, Any] | None = None) -> Array:
        if not kept:
            check_empty("frozen", params=params)
            check_keys("frozen", "state", state, ("params", "state"))
        try:
            return output(layer, state["params"], x, state["state"], kept)
        except LOCATED as error:
            add_location(error, name)
            raise

    def call(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        y = output_of_layer(params, x, state)

        def frozen_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            if not input_gradient:
                return {}, None
            try:
                return {}, layer.forward(state["params"], x, state["state"], train=False)[1](dy)[1]
            except LOCATED as error:
                add_location(error, name)
                raise

        return y, frozen_vjp, state

    forward = OpForward(frozen, {"layers": (layer,)}, call, output_of_layer, partial(frozen, layer))
    return Layer("frozen", init, forward, (layer,), frozen)
