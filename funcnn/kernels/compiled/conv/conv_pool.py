"""Twins of `funcnn.kernels.conv.conv_pool`."""

from __future__ import annotations

from collections.abc import Callable

from funcnn.kernels.compiled.conv import direct, direct_adjoints, winograd
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array


def maxima_of_blocks(
    x: Array, w: Array, g: Geometry, return_argmax: bool, b: Array | None = None
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.maxima_of_blocks`."""
    if not direct.computes(g, x, w, b) or min(g.out) < 2:
        return NotImplemented
    y, argmax = direct.correlate_max(x, w, g, b)
    return y, argmax if return_argmax else None


def prepare_max_of_blocks(x: Array, w: Array, g: Geometry, b: Array | None, relu: bool) -> Callable[[Array], Array]:
    """See `funcnn.kernels.conv.conv_pool.prepare_max_of_blocks`."""
    if not direct.computes(g, x, w, b) or min(g.out) < 2:
        return NotImplemented
    correlate = direct.prepare(x, w, g, b, relu, pooled=True)
    return lambda x: correlate(x)[0]


def adjoints_of_blocks(
    x: Array, w: Array, dy: Array, argmax: Array, g: Geometry, input_gradient: bool
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.adjoints_of_blocks`."""
    if not direct_adjoints.computes_adjoints(g, x, w, dy):
        return NotImplemented
    return direct_adjoints.adjoints(x, w if input_gradient else None, dy, argmax, g)


def adjoints_of_tiles(
    x: Array, w: Array, dy: Array, argmax: Array, g: Geometry, input_gradient: bool, preference: str
) -> tuple[Array, Array | None]:
    """See `funcnn.kernels.conv.conv_pool.adjoints_of_tiles`.

    The cotangent of the convolution's output is not stored: the tiles are read from dy and the argmax. dx is the
    correlation of that cotangent with the weights, flipped and with their channels swapped.
    """
    if not (winograd.computes(g, x, dy) and winograd.computes(g, w, dy)):
        return NotImplemented
    dw = winograd.adjoint_w(x, dy, argmax, g)
    if not input_gradient:
        return dw, None
    back = Geometry(g.out, g.window, g.stride, tuple((2 - lo, 2 - hi) for lo, hi in g.padding), g.dilation, g.size)
    flipped = w[::-1, ::-1].swapaxes(-1, -2)
    return dw, winograd.correlate_argmax(dy, argmax, flipped, back, None, False, back.out)[0]
