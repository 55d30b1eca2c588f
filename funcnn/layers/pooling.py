"""Pooling layers: each computes the op of the same name in `funcnn.ops`, which explains the options."""

from __future__ import annotations

from typing import Any

from funcnn import ops
from funcnn.kernels.geometry import Padding, PerAxis, layer_option, layer_padding
from funcnn.layer import Layer, parameterless


def max_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Layer:
    """Maximum over windows; without ``stride``, they neither overlap nor leave gaps.

    Examples
    --------
    >>> max_pool(2).init((0,), (8, 8, 32))[2]
    (4, 4, 32)
    """
    options = _options("max_pool", window, stride, padding, dilation, ceil_mode)
    return parameterless("max_pool", ops.max_pool, options, in_evaluation={"keep_input": True})


def avg_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """Mean over windows; without ``stride``, they neither overlap nor leave gaps.

    Examples
    --------
    >>> avg_pool(2).init((0,), (9, 9, 32))[2]
    (4, 4, 32)
    """
    options = _options("avg_pool", window, stride, padding, dilation, ceil_mode)
    return parameterless("avg_pool", ops.avg_pool, {**options, "count_include_pad": bool(count_include_pad)})


def global_avg_pool() -> Layer:
    """Mean over all positions.

    Examples
    --------
    >>> global_avg_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_avg_pool", ops.global_avg_pool)


def global_max_pool() -> Layer:
    """Maximum over all positions.

    Examples
    --------
    >>> global_max_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_max_pool", ops.global_max_pool)


def adaptive_avg_pool(size: PerAxis) -> Layer:
    """Mean over windows whose size depends on the input's, so that the output has a given size.

    Parameters
    ----------
    size : int or tuple of int, >= 1
        Of the output.

    Examples
    --------
    >>> adaptive_avg_pool((3, 2)).init((0,), (7, 9, 32))[2]
    (3, 2, 32)
    """
    return parameterless(
        "adaptive_avg_pool", ops.adaptive_avg_pool, {"size": layer_option("adaptive_avg_pool", "size", size)}
    )


def adaptive_max_pool(size: PerAxis) -> Layer:
    """Maximum over windows whose size depends on the input's, so that the output has a given size.

    Parameters
    ----------
    size : int or tuple of int, >= 1
        Of the output.

    Examples
    --------
    >>> adaptive_max_pool((3, 2)).init((0,), (7, 9, 32))[2]
    (3, 2, 32)
    """
    return parameterless(
        "adaptive_max_pool", ops.adaptive_max_pool, {"size": layer_option("adaptive_max_pool", "size", size)}
    )


def _options(
    name: str, window: PerAxis, stride: PerAxis | None, padding: Padding, dilation: PerAxis, ceil_mode: bool
) -> dict[str, Any]:
    """Check the options that max and average pooling share, and return them normalised."""
    return {
        "window": layer_option(name, "window", window),
        "stride": None if stride is None else layer_option(name, "stride", stride),
        "padding": layer_padding(name, padding),
        "dilation": layer_option(name, "dilation", dilation),
        "ceil_mode": bool(ceil_mode),
    }
