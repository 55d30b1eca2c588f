"""Sums, means and maxima over axes: each layer computes the op of the same name in `funcnn.ops`.

``axes`` count from the batch axis 0, which must not be among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcnn import ops
from funcnn.kernels.geometry import to_tuple
from funcnn.layer import Layer, parameterless


def reduce_sum(axes: int | Sequence[int], *, keepdims: bool = False) -> Layer:
    """Sum over axes.

    Examples
    --------
    >>> reduce_sum((1, 2)).init((0,), (4, 4, 8))[2]
    (8,)
    """
    return parameterless("reduce_sum", ops.reduce_sum, _options(axes, keepdims))


def reduce_mean(axes: int | Sequence[int], *, keepdims: bool = False) -> Layer:
    """Mean over axes.

    Examples
    --------
    >>> reduce_mean((1, 2), keepdims=True).init((0,), (4, 4, 8))[2]
    (1, 1, 8)
    """
    return parameterless("reduce_mean", ops.reduce_mean, _options(axes, keepdims))


def reduce_max(axes: int | Sequence[int], *, keepdims: bool = False) -> Layer:
    """Maximum over axes.

    Examples
    --------
    >>> reduce_max(-1).init((0,), (4, 4, 8))[2]
    (4, 4)
    """
    return parameterless("reduce_max", ops.reduce_max, _options(axes, keepdims))


def _options(axes: int | Sequence[int], keepdims: bool) -> dict[str, Any]:
    return {"axes": to_tuple(axes), "keepdims": keepdims}
