"""Rearrange the entries of an array, or repeat some of them.

Each op returns y and ``vjp(dy) -> dx``. Each number of y is a copy of one number of x, or constant. In the pairing of
dy with the change of y, the factor of a number of x is therefore the sum of the dy at its copies, and that is its dx:
also where there is one copy, or none.

x must be an array of floats (else a TypeError). The ops on images need x (N, S..., C) with one to three spatial axes
(else a ValueError), and raise a TypeError or ValueError for a wrong option.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels import windows
from funcnn.kernels.broadcasting import sum_to
from funcnn.kernels.geometry import Padding, PerAxis, check_growth, geometry, per_axis
from funcnn.tree import Array


def identity(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Return the input unchanged: y is ``x`` itself, and dx is dy.

    Parameters
    ----------
    x : array, any shape

    Examples
    --------
    >>> y, vjp = identity(np.array([1.0]))
    >>> y, vjp(np.array([5.0]))
    (array([1.]), array([5.]))
    """
    x = checks.floating("identity: x", x)
    shape, dtype = x.shape, x.dtype

    def identity_vjp(dy: Any) -> Array:
        return checks.cotangent("identity", dy, shape, dtype)

    return x, identity_vjp


def flatten(x: Array) -> tuple[Array, Callable[[Any], Array]]:
    """Merge all axes except the first into one.

    Parameters
    ----------
    x : array (N, ...)

    Returns
    -------
    y : array (N, F)
    vjp : callable

    Raises
    ------
    ValueError
        If ``x`` has no axis.

    Notes
    -----
    The entries and their order are the same, so dx is dy in the shape of x.

    Here the channels are the last axis and vary fastest; in PyTorch they are the first axis of an image and vary
    slowest. Weights from PyTorch of a dense layer after `flatten` therefore need their rows reordered.

    Examples
    --------
    >>> y, vjp = flatten(np.zeros((2, 8, 8, 3)))
    >>> y.shape, vjp(y).shape
    ((2, 192), (2, 8, 8, 3))
    """
    x = checks.floating("flatten: x", x)
    if x.ndim < 1:
        raise ValueError("flatten: x needs a first axis for the examples; got a scalar")
    shape, dtype = x.shape, x.dtype
    flat = (shape[0], math.prod(shape[1:]))

    def flatten_vjp(dy: Any) -> Array:
        return checks.cotangent("flatten", dy, flat, dtype).reshape(shape)

    return x.reshape(flat), flatten_vjp


def reshape(x: Array, shape: Sequence[int]) -> tuple[Array, Callable[[Any], Array]]:
    """Give each example another shape, its entries in row-major order.

    Parameters
    ----------
    x : array (N, ...)
    shape : sequence of int
        Of an example of y, without the batch axis; one size may be -1, for what is left.

    Returns
    -------
    y : array (N, *shape)
    vjp : callable

    Raises
    ------
    ValueError
        If an example of ``x`` has another number of entries.

    Notes
    -----
    The entries and their order are the same, so dx is dy in the shape of x.

    Examples
    --------
    >>> y, vjp = reshape(np.zeros((2, 4, 6)), (3, -1))
    >>> y.shape, vjp(y).shape
    ((2, 3, 8), (2, 4, 6))
    """
    x = checks.floating("reshape: x", x)
    size, known = math.prod(x.shape[1:]), math.prod(s for s in shape if s != -1)
    free = [s for s in shape if s == -1]
    if not x.ndim or len(free) > 1 or any(s < -1 for s in shape) or (size % known if free and known else size != known):
        raise ValueError(f"reshape: x {x.shape} has {size} entries an example, which cannot have the shape {shape}")
    y = x.reshape(x.shape[0], *(size // max(known, 1) if s == -1 else s for s in shape))
    before, after, dtype = x.shape, y.shape, y.dtype

    def reshape_vjp(dy: Any) -> Array:
        return checks.cotangent("reshape", dy, after, dtype).reshape(before)

    return y, reshape_vjp


def transpose(x: Array, axes: Sequence[int]) -> tuple[Array, Callable[[Any], Array]]:
    """Reorder the axes of each example.

    Parameters
    ----------
    x : array (N, ...)
    axes : sequence of int
        Axis k of y is axis ``axes[k]`` of x. ``axes[0]`` is 0, the batch axis.

    Returns
    -------
    y : array (N, ...)
    vjp : callable

    Raises
    ------
    ValueError
        If ``axes`` is not a permutation of the axes of ``x`` that begins with 0.

    Notes
    -----
    A permutation of the entries, so dx is dy with its axes in the order of x again: by the inverse permutation.

    Examples
    --------
    >>> y, vjp = transpose(np.zeros((2, 3, 8, 8)), (0, 2, 3, 1))
    >>> y.shape, vjp(y).shape
    ((2, 8, 8, 3), (2, 3, 8, 8))
    """
    x = checks.floating("transpose: x", x)
    if sorted(axes) != list(range(x.ndim)) or [*axes][:1] != [0]:
        raise ValueError(f"transpose: axes {axes} must be 0 and then the other axes of x {x.shape} in any order")
    y = x.transpose(axes)
    shape, dtype, back = y.shape, y.dtype, np.argsort(axes)

    def transpose_vjp(dy: Any) -> Array:
        return checks.cotangent("transpose", dy, shape, dtype).transpose(back)

    return y, transpose_vjp


def broadcast_to(x: Array, shape: Sequence[int]) -> tuple[Array, Callable[[Any], Array]]:
    """Repeat each example along axes of size 1, so that it can be joined with a larger one.

    Parameters
    ----------
    x : array (N, ...)
    shape : sequence of int
        Of an example of y, without the batch axis. It has as many axes as an example of x; a size differs only where
        that of x is 1.

    Returns
    -------
    y : array (N, *shape)
        A read-only view of x.
    vjp : callable

    Raises
    ------
    ValueError
        If ``shape`` does not fit.

    Notes
    -----
    Every repetition is a copy, so dx is the sum of dy over the repetitions (`sum_to`).

    Examples
    --------
    >>> y, vjp = broadcast_to(np.array([[[1.0, 2.0]]]), (3, 2))
    >>> y.shape, vjp(y)
    ((1, 3, 2), array([[[3., 6.]]]))
    """
    x = checks.floating("broadcast_to: x", x)
    if len(shape) != x.ndim - 1 or any(a not in (1, b) for a, b in zip(x.shape[1:], shape, strict=True)):
        raise ValueError(f"broadcast_to: examples of shape {x.shape[1:]} cannot be repeated to {tuple(shape)}")
    y = np.broadcast_to(x, (x.shape[0], *shape))
    before, after, dtype = x.shape, y.shape, y.dtype

    def broadcast_to_vjp(dy: Any) -> Array:
        return sum_to(before, checks.cotangent("broadcast_to", dy, after, dtype))

    return y, broadcast_to_vjp


def crop(x: Array, bounds: Sequence[tuple[int, int | None, int]]) -> tuple[Array, Callable[[Any], Array]]:
    """Cut out a part of each example, or every k-th position of it, also in reverse.

    Parameters
    ----------
    x : array (N, ...)
    bounds : sequence of (start, stop, step)
        One for each axis of an example: what ``range(start, stop, step)`` lists is kept, in this order. They are ints
        with step >= 1 and 0 <= start <= stop <= size, or step <= -1, 0 <= start < size and -1 <= stop <= start. A
        stop of None is the axis's size.

    Returns
    -------
    y : array (N, ...)
        A view of x.
    vjp : callable

    Raises
    ------
    ValueError
        If ``bounds`` are not those of ``x``.

    Notes
    -----
    What is kept is copied once, the rest not at all: dx is dy where y was cut out, 0 elsewhere.

    Examples
    --------
    >>> y, vjp = crop(np.array([[1.0, 2.0, 3.0, 4.0]]), [(1, 4, 2)])
    >>> y, vjp(y)
    (array([[2., 4.]]), array([[0., 2., 0., 4.]]))
    >>> crop(np.array([[1.0, 2.0, 3.0, 4.0]]), [(2, -1, -1)])[0]
    array([[3., 2., 1.]])
    """
    x = checks.floating("crop: x", x)
    sized = [(a, size if stop is None else stop, step, size) for (a, stop, step), size in zip(bounds, x.shape[1:])]  # noqa: B905
    if len(bounds) != x.ndim - 1 or not all(
        (0 <= start <= stop <= size and step >= 1) or (-1 <= stop <= start < size and start >= 0 and step <= -1)
        for start, stop, step, size in sized
    ):
        raise ValueError(f"crop: examples of shape {x.shape[1:]} do not have the bounds {tuple(bounds)}")
    # to a slice, a stop of -1 is the last position
    kept = (slice(None), *(slice(start, stop if stop >= 0 else None, step) for start, stop, step, _ in sized))
    y = x[kept]
    before, after, dtype = x.shape, y.shape, y.dtype

    def crop_vjp(dy: Any) -> Array:
        dy = checks.cotangent("crop", dy, after, dtype)
        dx = np.zeros(before, dy.dtype)
        dx[kept] = dy
        return dx

    return y, crop_vjp


def pad(
    x: Array, widths: Padding, *, mode: str = "constant", value: float = 0.0
) -> tuple[Array, Callable[[Any], Array]]:
    """Pad the spatial axes.

    Parameters
    ----------
    x : array (N, S..., C)
    widths : int, tuple of int, tuple of (lo, hi)
        Positions to add: one number for both sides of every axis, one number per axis, or one (lo, hi) per axis. (In
        PyTorch, the widths start with the last axis.)
    mode : {"constant", "reflect", "edge", "wrap"}
        What the added positions hold. "constant": ``value``. "reflect": the image, mirrored about its outermost
        positions. "edge": the outermost positions ("replicate" in PyTorch). "wrap": the image, repeated ("circular" in
        PyTorch).
    value : float

    Returns
    -------
    y : array (N, lo + S + hi, ..., C)
    vjp : callable

    Notes
    -----
    Every position of y is a copy of a position of x, or constant. So dx at a position is the sum of dy over its copies.

    Examples
    --------
    >>> x = np.array([[[1.0], [2.0], [3.0]]])
    >>> pad(x, 2)[0].ravel(), pad(x, 2, mode="reflect")[0].ravel()
    (array([0., 0., 1., 2., 3., 0., 0.]), array([3., 2., 1., 2., 3., 2., 1.]))
    >>> y, vjp = pad(x, ((0, 2),), mode="edge")
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([1., 2., 3., 3., 3.]), array([1., 1., 3.]))
    """
    x = checks.images("pad", x)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ValueError(f"pad: mode must be 'constant', 'reflect', 'edge' or 'wrap', not {mode!r}")
    if isinstance(widths, str):
        raise TypeError(f"pad: widths must be numbers of positions, not {widths!r}")
    size = x.shape[1:-1]
    if mode != "constant" and 0 in size:
        raise ValueError(f"pad: x {x.shape} has no positions to repeat")
    # `geometry` parses and checks the widths; a window of one position fits any image
    widths = geometry("pad", tuple(max(s, 1) for s in size), 1, padding=widths).padding
    if mode == "constant":
        y = windows.pad(x, widths, value)
        sources = []
    else:
        y = x
        sources = [np.pad(np.arange(s), pair, mode=mode) for s, pair in zip(size, widths, strict=True)]  # type: ignore[call-overload]
        for a, source in enumerate(sources):
            y = y.take(source, axis=a + 1)
    shape, dtype = y.shape, y.dtype

    def pad_vjp(dy: Any) -> Array:
        dy = checks.cotangent("pad", dy, shape, dtype)
        if mode == "constant":
            return windows.crop(dy, widths)
        for a, source in reversed(list(enumerate(sources))):
            dx = np.zeros((*dy.shape[: a + 1], size[a], *dy.shape[a + 2 :]), dy.dtype)
            np.add.at(dx, (*(slice(None),) * (a + 1), source), dy)
            dy = dx
        return dy

    return y, pad_vjp


def upsample(x: Array, factor: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Enlarge images by repeating each position (nearest neighbour).

    Parameters
    ----------
    x : array (N, S..., C)
    factor : int or tuple of int, >= 1

    Returns
    -------
    y : array (N, factor * S, ..., C)
    vjp : callable

    Notes
    -----
    Every position has prod(factor) copies, a block of y. dx is the sum of dy over the block.

    Examples
    --------
    >>> y, vjp = upsample(np.array([[[1.0], [2.0]]]), 2)
    >>> y.ravel(), vjp(y).ravel()
    (array([1., 1., 2., 2.]), array([2., 4.]))
    """
    x = checks.images("upsample", x)
    size = x.shape[1:-1]
    factors = per_axis("upsample", "factor", factor, len(size))
    check_growth("upsample", f"factor {factor}", size, tuple(s * k for s, k in zip(size, factors, strict=True)))
    y = x
    for a, k in enumerate(factors):
        y = y.repeat(k, axis=a + 1)
    shape, dtype = y.shape, y.dtype
    split = [n for pair in zip(size, factors, strict=True) for n in pair]
    copies = tuple(range(2, 2 * len(size) + 1, 2))

    def upsample_vjp(dy: Any) -> Array:
        dy = checks.cotangent("upsample", dy, shape, dtype)
        return dy.reshape(shape[0], *split, shape[-1]).sum(axis=copies)

    return y, upsample_vjp


def depth_to_space(x: Array, block: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Move groups of channels to blocks of positions, which gives larger images with fewer channels.

    Parameters
    ----------
    x : array (N, S..., C)
        C must be divisible by the number of positions of a block. The channels that become one position of the block
        are contiguous, as in TensorFlow and in ONNX's mode DCR. In PyTorch's ``pixel_shuffle`` and in ONNX's mode CRD,
        the channels that become one channel of y are contiguous.
    block : int or tuple of int, >= 1

    Returns
    -------
    y : array (N, block * S, ..., C / positions)
    vjp : callable

    Notes
    -----
    A permutation of the entries; its VJP is `space_to_depth`.
    W. Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN, 2016
    (arXiv:1609.05158).

    Examples
    --------
    >>> y, vjp = depth_to_space(np.array([[[1.0, 2.0, 3.0, 4.0]]]), 2)
    >>> y, vjp(y)
    (array([[[1., 2.],
            [3., 4.]]]), array([[[1., 2., 3., 4.]]]))
    """
    x = checks.images("depth_to_space", x)
    blocks = per_axis("depth_to_space", "block", block, x.ndim - 2)
    if x.shape[-1] % math.prod(blocks):
        raise ValueError(
            f"depth_to_space: block {blocks} needs channels divisible by {math.prod(blocks)}, x is {x.shape}"
        )
    y = _depth_to_space(x, blocks)
    shape, dtype = y.shape, y.dtype

    def depth_to_space_vjp(dy: Any) -> Array:
        return _space_to_depth(checks.cotangent("depth_to_space", dy, shape, dtype), blocks)

    return y, depth_to_space_vjp


def space_to_depth(x: Array, block: PerAxis) -> tuple[Array, Callable[[Any], Array]]:
    """Move blocks of positions to channels: the inverse of `depth_to_space`.

    Parameters
    ----------
    x : array (N, S..., C)
        S must be divisible by ``block``.
    block : int or tuple of int, >= 1

    Returns
    -------
    y : array (N, S / block, ..., C * positions)
    vjp : callable

    Notes
    -----
    A permutation of the entries; its VJP is `depth_to_space`.

    Examples
    --------
    >>> y, vjp = space_to_depth(np.array([[[1.0], [2.0], [3.0], [4.0]]]), 2)
    >>> y, vjp(y).ravel()
    (array([[[1., 2.],
            [3., 4.]]]), array([1., 2., 3., 4.]))
    """
    x = checks.images("space_to_depth", x)
    blocks = per_axis("space_to_depth", "block", block, x.ndim - 2)
    if any(s % k for s, k in zip(x.shape[1:-1], blocks, strict=True)):
        raise ValueError(f"space_to_depth: block {blocks} does not divide the spatial axes of x {x.shape}")
    y = _space_to_depth(x, blocks)
    shape, dtype = y.shape, y.dtype

    def space_to_depth_vjp(dy: Any) -> Array:
        return _depth_to_space(checks.cotangent("space_to_depth", dy, shape, dtype), blocks)

    return y, space_to_depth_vjp


def _depth_to_space(x: Array, blocks: tuple[int, ...]) -> Array:
    size, rank = x.shape[1:-1], len(blocks)
    channels = x.shape[-1] // math.prod(blocks)
    split = x.reshape(x.shape[0], *size, *blocks, channels)
    order = [n for a in range(rank) for n in (1 + a, 1 + rank + a)]
    out = tuple(s * k for s, k in zip(size, blocks, strict=True))
    return split.transpose(0, *order, 2 * rank + 1).reshape(x.shape[0], *out, channels)


def _space_to_depth(x: Array, blocks: tuple[int, ...]) -> Array:
    size, rank = x.shape[1:-1], len(blocks)
    out = tuple(s // k for s, k in zip(size, blocks, strict=True))
    split = x.reshape(x.shape[0], *(n for pair in zip(out, blocks, strict=True) for n in pair), x.shape[-1])
    order = [*range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2)]
    channels = x.shape[-1] * math.prod(blocks)
    return split.transpose(0, *order, 2 * rank + 1).reshape(x.shape[0], *out, channels)
