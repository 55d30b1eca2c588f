"""Padding, and windows as views."""

from __future__ import annotations

from operator import mul

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def pad(x: Array, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> Array:
    """Pad the spatial axes of ``x`` (N, spatial..., C) with ``value``; a negative width crops instead.

    Returns ``x`` itself if all widths are 0.
    """
    if not any(map(any, padding)):
        return x
    size = x.shape[1:-1]
    shape = (x.shape[0], *(s + lo + hi for s, (lo, hi) in zip(size, padding, strict=True)), x.shape[-1])
    interior = tuple(
        slice(max(lo, 0), max(lo, 0) + s + min(lo, 0) + min(hi, 0)) for s, (lo, hi) in zip(size, padding, strict=True)
    )
    source = tuple(slice(max(-lo, 0), s - max(-hi, 0)) for s, (lo, hi) in zip(size, padding, strict=True))
    padded = np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    padded[:, *interior] = x[:, *source]
    return padded


def crop(x: Array, padding: tuple[tuple[int, int], ...]) -> Array:
    """Return a view of ``x`` without the padding: the adjoint of `pad` with zeros."""
    return x[:, *(slice(lo, s - hi) for s, (lo, hi) in zip(x.shape[1:-1], padding, strict=True))]


def windows(x: Array, g: Geometry) -> Array:
    """Return all windows of the padded ``x`` (N, padded..., C) as a read-only view (N, out..., window..., C)."""
    return view(x, *shape_and_strides(x, g))


def shape_and_strides(x: Array, g: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape and the strides of the view of `windows`."""
    first, *spatial, last = x.strides
    strides = (first, *map(mul, spatial, g.stride), *map(mul, spatial, g.dilation), last)
    return (x.shape[0], *g.out, *g.window, x.shape[-1]), strides


def view(x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Return a read-only view of ``x`` with the given shape and strides, starting at its first entry."""
    if not x.flags.c_contiguous:
        return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)
    viewed: Array = np.ndarray(shape, x.dtype, x, 0, strides)  # takes a tenth of the time of as_strided
    viewed.flags.writeable = False
    return viewed
