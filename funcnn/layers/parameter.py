"""A layer whose output is a learned array."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from funcnn import ops
from funcnn.initializers import Initializer, zeros
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, parametric
from funcnn.tree import Tree


def parameter(shape: Sequence[int], *, value_init: Initializer = zeros) -> Layer:
    """Return the same learned array for each example, to join it with others in a `funcnn.combinators.graph`.

    Parameters
    ----------
    shape : sequence of int
        Of the leaf ``value``, which is that of an example of the output.
    value_init : initializer

    Examples
    --------
    >>> parameter((1, 8)).init((0,), (16, 8))[2]
    (1, 8)
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return {"value": value_init(fold_in(key, 0), tuple(shape))}

    recipe = partial(parameter, tuple(shape), value_init=value_init)
    return parametric("parameter", init_params, ops.parameter, optional_dx=True, recipe=recipe)
