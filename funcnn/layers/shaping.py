"""Rearranging an array."""

from __future__ import annotations

from funcnn import ops
from funcnn.kernels.geometry import Padding, PerAxis
from funcnn.layer import Layer, parameterless


def flatten() -> Layer:
    """All axes of an example in one; see `funcnn.ops.flatten`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> flatten().init((0,), (4, 4, 32))[2]
    (512,)
    """
    return parameterless("flatten", ops.flatten)


def identity() -> Layer:
    """The input as it is.

    Returns
    -------
    Layer

    Examples
    --------
    >>> identity().init((0,), (4, 4, 32))[2]
    (4, 4, 32)
    """
    return parameterless("identity", ops.identity)


def pad(widths: Padding, *, mode: str = "constant", value: float = 0.0) -> Layer:
    """More positions around the spatial axes; see `funcnn.ops.pad`.

    Parameters
    ----------
    widths, mode, value
        As in `funcnn.ops.pad`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> pad(((0, 1), (2, 3)), mode="edge").init((0,), (8, 8, 1))[2]
    (9, 13, 1)
    """
    return parameterless("pad", ops.pad, options={"widths": widths, "mode": mode, "value": value})


def upsample(factor: PerAxis) -> Layer:
    """Enlarge by repeating each position; see `funcnn.ops.upsample`.

    Parameters
    ----------
    factor : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> upsample(2).init((0,), (4, 4, 8))[2]
    (8, 8, 8)
    """
    return parameterless("upsample", ops.upsample, options={"factor": factor})


def depth_to_space(block: PerAxis) -> Layer:
    """Groups of channels laid out as blocks of positions; see `funcnn.ops.depth_to_space`.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> depth_to_space(2).init((0,), (4, 4, 8))[2]
    (8, 8, 2)
    """
    return parameterless("depth_to_space", ops.depth_to_space, options={"block": block})


def space_to_depth(block: PerAxis) -> Layer:
    """Blocks of positions laid out as channels; see `funcnn.ops.space_to_depth`.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> space_to_depth(2).init((0,), (8, 8, 2))[2]
    (4, 4, 8)
    """
    return parameterless("space_to_depth", ops.space_to_depth, options={"block": block})
