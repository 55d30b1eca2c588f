"""Twin of `funcnn.kernels.conv.row_blocks`: what is left to compute beside im2col's twins."""

from __future__ import annotations

from funcnn.kernels.compiled.conv import im2col
from funcnn.kernels.compiled.routines import same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def adjoint_x_of_blocks(dys: Array, weights: Array, g: Geometry, blocks: Geometry) -> Array:
    """See `funcnn.kernels.conv.row_blocks.adjoint_x_of_blocks`."""
    if blocks.dilation[-1] > 1 or not same_floats(dys, weights) or 0 in (dys.size, weights.size):
        return NotImplemented
    return im2col.adjoint_x(dys, weights, blocks)
