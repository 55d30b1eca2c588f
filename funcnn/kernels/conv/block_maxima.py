"""The maximum over pooling windows whose positions are arranged as contiguous parts of a row, and its adjoint."""

from __future__ import annotations

import numpy as np

from funcnn.kernels.pooling import first_argmax, maximum
from funcnn.kernels.selection import compilable
from funcnn.tree import Array


@compilable
def maxima_of_parts(outputs: Array, parts: int, return_argmax: bool) -> tuple[Array, Array | None]:
    """Return the maximum over equal parts of the last axis and, with ``return_argmax``, the first part that holds it.

    A NaN counts as the maximum.
    """
    size = outputs.shape[-1] // parts
    if parts == 4 and not return_argmax:  # two operations instead of three
        maxima = np.maximum(outputs[..., : 2 * size], outputs[..., 2 * size :])
        return np.maximum(maxima[..., :size], maxima[..., size:]), None
    taps = [outputs[..., k * size : (k + 1) * size] for k in range(parts)]
    maxima = maximum(taps)
    return maxima, first_argmax(taps, maxima) if return_argmax else None


@compilable
def scatter_to_parts(dy: Array, argmax: Array, parts: int) -> Array:
    """Return the cotangent of the outputs of `maxima_of_parts`: dy in the part that holds the maximum, 0 in others."""
    size = dy.shape[-1]
    dz = np.empty((*dy.shape[:-1], parts * size), dy.dtype)
    for k in range(parts):
        np.multiply(dy, argmax == k, out=dz[..., k * size : (k + 1) * size])
    return dz
