"""A layer that scales and shifts by learned numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from funcnn import ops
from funcnn.initializers import Initializer, ones, zeros
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, parametric
from funcnn.tree import Tree


def affine(
    *,
    scale_shape: Sequence[int] | bool = True,
    bias_shape: Sequence[int] | bool = True,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Scale and shift each channel; see `funcnn.ops.affine`.

    Parameters
    ----------
    scale_shape, bias_shape : sequence of int or bool
        Shapes of ``scale`` and ``bias``, which broadcast to an example's. True stands for (C), False for none at all.
    scale_init, bias_init : initializer
        By default 1 and 0.

    Raises
    ------
    ValueError
        If both are False.

    Examples
    --------
    >>> affine().init((0,), (4, 4, 2))[0]["scale"]
    array([1., 1.], dtype=float32)
    >>> affine(scale_shape=False, bias_shape=(4, 1, 2)).init((0,), (4, 4, 2))[0]["bias"].shape
    (4, 1, 2)
    """
    if scale_shape is False and bias_shape is False:
        raise ValueError("affine: without scale and bias there is nothing to compute")
    shapes = [("scale", scale_shape, scale_init), ("bias", bias_shape, bias_init)]

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return {
            name: initial(fold_in(key, i), in_shape[-1:] if shape is True else tuple(shape))
            for i, (name, shape, initial) in enumerate(shapes)
            if shape is not False
        }

    recipe = partial(affine, scale_shape=scale_shape, bias_shape=bias_shape, scale_init=scale_init, bias_init=bias_init)
    return parametric("affine", init_params, ops.affine, optional_dx=True, recipe=recipe)
