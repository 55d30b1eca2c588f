"""Twins of `funcnn.kernels.conv.row_blocks`: no blocks, but each output by itself, where there are two dimensions."""

from __future__ import annotations

from funcnn.kernels.compiled.conv import direct, direct_adjoints, im2col
from funcnn.kernels.compiled.routines import same_floats
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def correlate(x: Array, w: Array, g: Geometry, groups: int, b: Array | None = None, relu: bool = False) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate`."""
    return direct.correlate(x, w, g, b, relu) if direct.computes(g, x, w, b) else NotImplemented


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int) -> Array:
    """See `funcnn.kernels.conv.dispatch.correlate_adjoint_w`."""
    return (
        direct_adjoints.adjoints(x, None, dy, None, g)[0]
        if direct_adjoints.computes_adjoints(g, x, dy)
        else NotImplemented
    )


def adjoint_x_of_blocks(dys: Array, weights: Array, g: Geometry, blocks: Geometry) -> Array:
    """See `funcnn.kernels.conv.row_blocks.adjoint_x_of_blocks`."""
    if blocks.dilation[-1] > 1 or not same_floats(dys, weights) or 0 in (dys.size, weights.size):
        return NotImplemented
    return im2col.adjoint_x(dys, weights, blocks)
