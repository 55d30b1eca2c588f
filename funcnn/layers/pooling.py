"""Pooling."""

from __future__ import annotations

from functools import partial

from funcnn import ops
from funcnn.kernels.geometry import Padding, PerAxis
from funcnn.layer import Layer, described, parameterless


def max_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Layer:
    """Maximum over windows, by default side by side; see `funcnn.ops.max_pool`.

    Parameters
    ----------
    window, stride, padding, dilation, ceil_mode
        As in `funcnn.ops.max_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> max_pool(2).init((0,), (8, 8, 32))[2]
    (4, 4, 32)
    """
    layer = parameterless(
        "max_pool",
        ops.max_pool,
        in_evaluation=partial(ops.max_pool, keep_input=True),
        options={"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode},
    )
    return described(layer)


def avg_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """Mean over windows, by default side by side; see `funcnn.ops.avg_pool`.

    Parameters
    ----------
    window, stride, padding, dilation, ceil_mode, count_include_pad
        As in `funcnn.ops.avg_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> avg_pool(2).init((0,), (9, 9, 32))[2]
    (4, 4, 32)
    """
    return parameterless(
        "avg_pool",
        ops.avg_pool,
        options={
            "window": window,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
            "count_include_pad": count_include_pad,
        },
    )


def global_avg_pool() -> Layer:
    """Mean over all positions; see `funcnn.ops.global_avg_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> global_avg_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_avg_pool", ops.global_avg_pool)


def global_max_pool() -> Layer:
    """Maximum over all positions; see `funcnn.ops.global_max_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> global_max_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_max_pool", ops.global_max_pool)


def adaptive_avg_pool(size: PerAxis) -> Layer:
    """Mean over as many windows as the output shall have positions; see `funcnn.ops.adaptive_avg_pool`.

    Parameters
    ----------
    size : int or tuple of int, >= 1
        Of the output.

    Returns
    -------
    Layer

    Examples
    --------
    >>> adaptive_avg_pool((3, 2)).init((0,), (7, 9, 32))[2]
    (3, 2, 32)
    """
    return parameterless("adaptive_avg_pool", ops.adaptive_avg_pool, options={"size": size})


def adaptive_max_pool(size: PerAxis) -> Layer:
    """Maximum over as many windows as the output shall have positions; see `funcnn.ops.adaptive_max_pool`.

    Parameters
    ----------
    size : int or tuple of int, >= 1
        Of the output.

    Returns
    -------
    Layer

    Examples
    --------
    >>> adaptive_max_pool((3, 2)).init((0,), (7, 9, 32))[2]
    (3, 2, 32)
    """
    return parameterless("adaptive_max_pool", ops.adaptive_max_pool, options={"size": size})
