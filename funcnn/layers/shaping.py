"""Layers that rearrange or repeat entries: each computes the op of the same name in `funcnn.ops`."""

from __future__ import annotations

from funcnn import ops
from funcnn.kernels.geometry import Padding, PerAxis, layer_option, layer_padding
from funcnn.layer import Layer, parameterless


def flatten() -> Layer:
    """Merge all axes of an example into one.

    Examples
    --------
    >>> flatten().init((0,), (4, 4, 32))[2]
    (512,)
    """
    return parameterless("flatten", ops.flatten)


def identity() -> Layer:
    """Return the input unchanged.

    Examples
    --------
    >>> identity().init((0,), (4, 4, 32))[2]
    (4, 4, 32)
    """
    return parameterless("identity", ops.identity)


def pad(widths: Padding, *, mode: str = "constant", value: float = 0.0) -> Layer:
    """Pad the spatial axes.

    Parameters
    ----------
    widths, mode, value
        As in `funcnn.ops.pad`.

    Examples
    --------
    >>> pad(((0, 1), (2, 3)), mode="edge").init((0,), (8, 8, 1))[2]
    (9, 13, 1)
    """
    return parameterless("pad", ops.pad, {"widths": layer_padding("pad", widths), "mode": mode, "value": value})


def upsample(factor: PerAxis) -> Layer:
    """Enlarge images by repeating each position.

    Parameters
    ----------
    factor : int or tuple of int, >= 1

    Examples
    --------
    >>> upsample(2).init((0,), (4, 4, 8))[2]
    (8, 8, 8)
    """
    return parameterless("upsample", ops.upsample, {"factor": layer_option("upsample", "factor", factor)})


def depth_to_space(block: PerAxis) -> Layer:
    """Move groups of channels to blocks of positions, which gives larger images with fewer channels.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Examples
    --------
    >>> depth_to_space(2).init((0,), (4, 4, 8))[2]
    (8, 8, 2)
    """
    return parameterless(
        "depth_to_space", ops.depth_to_space, {"block": layer_option("depth_to_space", "block", block)}
    )


def space_to_depth(block: PerAxis) -> Layer:
    """Move blocks of positions to channels: the inverse of `depth_to_space`.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Examples
    --------
    >>> space_to_depth(2).init((0,), (8, 8, 2))[2]
    (4, 4, 8)
    """
    return parameterless(
        "space_to_depth", ops.space_to_depth, {"block": layer_option("space_to_depth", "block", block)}
    )
