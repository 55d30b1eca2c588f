"""Layers that rearrange or repeat entries: each computes the op of the same name in `funcnn.ops`."""

from __future__ import annotations

from collections.abc import Sequence

from funcnn import ops
from funcnn.kernels.geometry import Padding, PerAxis, layer_option, layer_padding, to_tuple
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


def reshape(shape: Sequence[int]) -> Layer:
    """Give each example another shape, its entries in row-major order.

    Parameters
    ----------
    shape : sequence of int
        Without the batch axis; one size may be -1, for what is left.

    Examples
    --------
    >>> reshape((-1, 8)).init((0,), (4, 4, 8))[2]
    (16, 8)
    """
    return parameterless("reshape", ops.reshape, {"shape": tuple(shape)})


def transpose(axes: Sequence[int]) -> Layer:
    """Reorder the axes of each example.

    Parameters
    ----------
    axes : sequence of int
        As in `funcnn.ops.transpose`: 0, the batch axis, and then the others in their new order.

    Examples
    --------
    >>> transpose((0, 3, 1, 2)).init((0,), (4, 4, 8))[2]
    (8, 4, 4)
    """
    return parameterless("transpose", ops.transpose, {"axes": tuple(axes)})


def broadcast_to(shape: Sequence[int]) -> Layer:
    """Repeat each example along axes of size 1.

    Parameters
    ----------
    shape : sequence of int
        Without the batch axis.

    Examples
    --------
    >>> broadcast_to((4, 4, 8)).init((0,), (1, 1, 8))[2]
    (4, 4, 8)
    """
    return parameterless("broadcast_to", ops.broadcast_to, {"shape": tuple(shape)})


def crop(bounds: Sequence[tuple[int, int | None, int]]) -> Layer:
    """Cut out a part of each example, or every k-th position of it, also in reverse.

    Parameters
    ----------
    bounds : sequence of (start, stop, step)
        One for each axis of an example, as in `funcnn.ops.crop`.

    Examples
    --------
    >>> crop([(1, 3, 1), (0, 4, 2), (0, 8, 1)]).init((0,), (4, 4, 8))[2]
    (2, 2, 8)
    """
    return parameterless("crop", ops.crop, {"bounds": to_tuple(bounds)})


def resize(
    size: PerAxis,
    *,
    mode: str = "linear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    factors: Sequence[float] | None = None,
    roi: Sequence[tuple[float, float]] | None = None,
    outside: float = 0.0,
) -> Layer:
    """Resize images, or a part of them, to another size by interpolation.

    Parameters
    ----------
    size, mode, coordinates, rounding, factors, roi, outside
        As in `funcnn.ops.resize`.

    Examples
    --------
    >>> resize((8, 6)).init((0,), (4, 4, 8))[2]
    (8, 6, 8)
    """
    options = {
        "size": layer_option("resize", "size", size),
        "mode": mode,
        "coordinates": coordinates,
        "rounding": rounding,
        "factors": None if factors is None else tuple(float(f) for f in factors),
        "roi": None if roi is None else tuple((float(start), float(end)) for start, end in roi),
        "outside": float(outside),
    }
    return parameterless("resize", ops.resize, options)


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
