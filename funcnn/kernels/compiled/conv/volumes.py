"""What the routines of convolution are given: images of one to three dimensions as volumes, so that one serves all."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def as_volume(x: Array) -> Array:
    """Return (N, spatial..., C) with axes of one position put in front of the spatial ones: (N, D, H, W, C)."""
    n, *size, channels = x.shape
    return np.ascontiguousarray(x).reshape(n, *(1,) * (3 - len(size)), *size, channels)


def volume_geometry(g: Geometry) -> Array:
    """Return size, window, stride, padding in front, and dilation of each of three axes: (3, 5)."""
    axes = zip(g.size, g.window, g.stride, g.padding, g.dilation, strict=True)
    spatial = [(size, window, stride, lo, dilation) for size, window, stride, (lo, _), dilation in axes]
    return np.array([(1, 1, 1, 0, 1)] * (3 - len(spatial)) + spatial)


def bias_or_zeros(b: Array | None, channels: int, dtype: np.dtype[Any]) -> Array:
    """Return a contiguous bias; zeros if there is none."""
    return np.zeros(channels, dtype) if b is None else np.ascontiguousarray(b)
