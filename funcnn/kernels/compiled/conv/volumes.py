"""What the routines of convolution are given: images of one to three dimensions as volumes, so that one serves all."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def as_volume(x: Array) -> Array:
    """Return (N, spatial..., C) with axes of one position put in front of the spatial ones: (N, D, H, W, C)."""
    n, *size, channels = x.shape
    return np.ascontiguousarray(x).reshape(n, *(1,) * (3 - len(size)), *size, channels)


@lru_cache(maxsize=256)
def volume_geometry(g: Geometry) -> Array:
    """Return size, window, stride, padding in front, and dilation of each of three axes: (3, 5)."""
    axes = zip(g.size, g.window, g.stride, g.padding, g.dilation, strict=True)
    spatial = [(size, window, stride, lo, dilation) for size, window, stride, (lo, _), dilation in axes]
    return np.array([(1, 1, 1, 0, 1)] * (3 - len(spatial)) + spatial)


@lru_cache(maxsize=256)
def volume_out(g: Geometry) -> Array:
    """Return how many outputs there are on each of three axes."""
    return np.array((1,) * (3 - len(g.out)) + g.out)


def bias_or_zeros(b: Array | None, channels: int, dtype: np.dtype[Any]) -> Array:
    """Return a contiguous bias; zeros if there is none."""
    return np.zeros(channels, dtype) if b is None else np.ascontiguousarray(b)


@lru_cache(maxsize=256)
def tap_ranges(g: Geometry) -> Array:
    """Return for each output of an axis the position that it reads with tap 0, and the range of its taps within x.

    The array (outputs, 3) has the outputs of the first axis, then those of the second, then those of the third.
    """
    ranges = [[(0, 0, 1)]] * (3 - len(g.out))
    for size, window, stride, (lo, _), dilation, out in zip(*g, strict=True):
        starts = [o * stride - lo for o in range(out)]
        firsts = [min(max(0, -(start // dilation)), window) for start in starts]
        ends = [
            min(window, max(first, -((start - size) // dilation))) for start, first in zip(starts, firsts, strict=True)
        ]
        ranges.append(list(zip(starts, firsts, ends, strict=True)))
    return np.array([one for axis in ranges for one in axis]).reshape(-1, 3)


def writable(a: Array) -> Array:
    """Return a contiguous array that may be written to: ``a`` or a copy. Numba takes no other for some arguments."""
    return np.require(a, requirements=("C", "W"))
