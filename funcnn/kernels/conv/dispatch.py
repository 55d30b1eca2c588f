"""Which routine computes a convolution: the one place that chooses.

A method is a module of this folder with ``correlate`` and ``correlate_adjoint_w``, and for some
``correlate_adjoint_x``; `correlate` and its two adjoints below say what they compute. All but "winograd" add up the
very products of the definition, in one order or another.

columns
    Windows gathered as rows of a matrix, times the weights. Any geometry.
unrolled
    One matrix from whole images to whole outputs, mostly zeros. Any geometry of one group; for tiny images.
row blocks
    The same for a few neighbouring outputs of a row, the windows of these gathered. Any geometry of one group; for few
    channels, where a window is too short a row for a fast product.
depthwise
    Tap by tap, multiplied and added elementwise. For a group per input channel.
winograd
    Tiles of 4x4 outputs in Winograd's transformed form, with 36 products for 144. For 3x3 kernels in two dimensions,
    without stride, dilation or groups.

The rule, `choose`, takes the first that suits:

1. tiny images: unrolled. The matrix has up to 16,384 entries; or, where one in six is not 0, up to 1,024 for each of up
   to 64 images, and where two in three are not, up to 4,096;
2. a group per input channel, or a 1x1 kernel from a single channel to a single one, or without stride to up to 9:
   depthwise;
3. 3x3 kernels from at least 6 channels to at least 4, 13 or more together, in float32, if the tiles reach over the
   output by no more than 40 %, and there are at least 16 of them, or 32 for very few or very many weights: winograd;
4. up to 8 channels in, up to 32 out, no stride (from a single channel, less than the kernel), and outputs at more than
   1,024 places; or the way back to an x of few channels, up to 8 with a stride, without one up to 7 if there are more
   than 8 outputs (7 for a single channel): row blocks;
5. the rest: columns.

Where row blocks or winograd are chosen and a max pooling of 2x2 follows in `funcnn.combinators.serial`, it is computed
with them (`funcnn.kernels.conv.conv_pool`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from funcnn.kernels.conv import depthwise, im2col, row_blocks, toeplitz, winograd
from funcnn.kernels.geometry import Geometry
from funcnn.tree import Array

METHODS = ("im2col", "toeplitz", "row_blocks", "depthwise", "winograd")
AUTO_METHODS = ("auto", "exact")  # the quickest method; the quickest but "winograd"
_LARGEST_UNROLLED, _MANY = 1 << 14, 64  # entries of the matrix; images that count
_FEW_PLACES = 1024  # for so few outputs, laying out the weights of a block takes longer than it saves
_EXACT: ContextVar[bool] = ContextVar("exact", default=False)


def applies(method: str, g: Geometry, in_channels: int, out_channels: int, groups: int) -> bool:
    """Say whether a method can compute a convolution from ``in_channels`` to ``out_channels`` channels."""
    if method == "depthwise":
        return groups == in_channels
    if method == "winograd":
        return groups == 1 and g.window == (3, 3) and g.stride == g.dilation == (1, 1)
    return method == "im2col" or groups == 1


@lru_cache(maxsize=1024)
def choose(
    g: Geometry,
    n: int,
    in_channels: int,
    out_channels: int,
    groups: int,
    dtype: np.dtype[Any],
    *,
    exact: bool,
    adjoint_x: bool = False,
) -> str:
    """Return the method for ``n`` images of a geometry from ``in_channels`` to ``out_channels`` channels.

    Given ``adjoint_x``, for the way back to x by a routine of its own, if it has one; if not, that is a correlation
    itself, and the question is asked again for it.
    """
    window, entries = math.prod(g.window), math.prod(g.size) * in_channels * math.prod(g.out) * out_channels
    share = window / max(math.prod(g.size), 1)  # of the entries that are not 0, all but those that read padding
    for_each_image = 0 if 6 * share < 1 else 1 << 10 if 3 * share < 2 else 1 << 12
    if groups == 1 and entries <= max(_LARGEST_UNROLLED, min(n, _MANY) * for_each_image):
        return "toeplitz"
    # float16 would be rounded at every tap, where a product adds up in float32
    pointwise = window == 1 and out_channels <= (9 if math.prod(g.stride) == 1 else 1)
    if groups == in_channels and (groups > 1 or pointwise) and dtype != np.float16:
        return "depthwise"
    if groups > 1:
        return "im2col"
    if (
        dtype == np.float32
        and not exact
        and in_channels >= 6
        and out_channels >= 4
        and in_channels + out_channels >= 13
        and applies("winograd", g, in_channels, out_channels, groups)
        and (tiles := math.prod(-(-o // 4) for o in g.out)) * 16 <= 1.4 * math.prod(g.out)
        and tiles * n >= (16 if 1 << 9 <= in_channels * out_channels <= 1 << 15 else 32)
    ):
        return "winograd"
    if adjoint_x:
        suits = (
            in_channels <= 8
            if math.prod(g.stride) > 1
            else in_channels <= 7 and out_channels > (7 if in_channels == 1 else 8)
        )
    else:
        overlapping = g.stride[-1] == 1 or (in_channels == 1 and g.window[-1] > g.stride[-1])
        suits = in_channels <= 8 and out_channels <= 32 and overlapping and n * math.prod(g.out) > _FEW_PLACES
    return "row_blocks" if suits and g.window[-1] > 1 else "im2col"


def preference(method: Any) -> Any:
    """Return ``method``, but for "auto" within the context `exact`, where that is "exact"."""
    return "exact" if method == "auto" and _EXACT.get() else method


def requested(op: str, method: Any, g: Geometry, in_channels: int, out_channels: int, groups: int) -> str:
    """Refuse a method that there is not, or that cannot compute this convolution; return it, or the preference."""
    if method in AUTO_METHODS:
        return str(method)
    if method not in METHODS:
        raise ValueError(f"{op}: method is 'auto', 'exact' or one of {METHODS}, not {method!r}")
    if not applies(method, g, in_channels, out_channels, groups):
        raise ValueError(
            f"{op}: method {method!r} cannot take {in_channels} to {out_channels} channels in {groups} groups with {g}"
        )
    return str(method)


@contextmanager
def exact() -> Iterator[None]:
    """Keep convolutions to the very products of the definition, in whatever runs within this context.

    A convolution remembers the preference for its gradient. As a decorator, ``@exact()``, it holds within a function.

    Examples
    --------
    >>> from funcnn.ops import conv
    >>> x, w = np.ones((1, 8, 8, 8), np.float32), np.ones((3, 3, 8, 8), np.float32)
    >>> with exact():
    ...     y, vjp = conv({"w": w}, x, bias=False)
    >>> y.max()
    np.float32(72.0)
    """
    token = _EXACT.set(True)
    try:
        yield
    finally:
        _EXACT.reset(token)


_ROUTINES: dict[str, Any] = {
    "im2col": im2col,
    "toeplitz": toeplitz,
    "row_blocks": row_blocks,
    "depthwise": depthwise,
    "winograd": winograd,
}


def correlate(x: Array, w: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return y[n, o] = sum over taps k of x[n, o*stride + k*dilation - lo] @ w[k], group by group."""
    method = _chosen(method, g, x.shape[-1], w.shape[-1], groups, x)
    return _ROUTINES[method].correlate(x, w, g, groups)


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return dx: each dy[n, o] @ w[k].T added to the position that its tap k read.

    The positions a stride apart are a phase, which only some of the taps meet; and what it gets is a correlation
    itself, without a stride: of dy with these taps, flipped, their channels exchanged.
    """
    in_channels, out_channels = w.shape[-2] * groups, w.shape[-1]
    chosen = _chosen(method, g, in_channels, out_channels, groups, dy, adjoint_x=True)
    if chosen in ("toeplitz", "row_blocks"):
        return _ROUTINES[chosen].correlate_adjoint_x(dy, w, g, groups)
    kernel = swap_channels(w, groups)
    phases = list(_phases(g))
    if all(step == 1 for step in g.stride):
        return _correlate_phase(dy, kernel, phases[0], groups, method)
    dx = np.zeros((len(dy), *g.size, in_channels), np.result_type(dy, w))
    for phase in phases:
        dx[:, *phase.positions] = _correlate_phase(dy, kernel, phase, groups, method)
    return dx


def correlate_adjoint_w(
    x: Array, dy: Array, g: Geometry, groups: int, per_example: bool = False, method: str = "auto"
) -> Array:
    """Return dw[k] = sum over n, o of the outer product of the position that tap k read and dy[n, o].

    With ``per_example``, dw[n, k] without the sum over n.
    """
    if per_example:
        return im2col.correlate_adjoint_w(x, dy, g, groups, per_example)
    method = _chosen(method, g, x.shape[-1], dy.shape[-1], groups, x)
    return _ROUTINES[method].correlate_adjoint_w(x, dy, g, groups)


def swap_channels(w: Array, groups: int) -> Array:
    """Turn (window..., I/groups, O) into (window..., O/groups, I), the weights that take y's channels back to x's."""
    split = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    return np.moveaxis(split, -1, -3).swapaxes(-1, -2).reshape(*w.shape[:-2], w.shape[-1] // groups, -1)


def _chosen(
    method: str, g: Geometry, in_channels: int, out_channels: int, groups: int, array: Array, adjoint_x: bool = False
) -> str:
    if method not in AUTO_METHODS:
        return method
    return choose(
        g, len(array), in_channels, out_channels, groups, array.dtype, exact=method == "exact", adjoint_x=adjoint_x
    )


class _Phase(NamedTuple):
    """The positions a stride apart, the taps that meet them, last one first, and the geometry of their correlation."""

    positions: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


def _correlate_phase(dy: Array, kernel: Array, phase: _Phase, groups: int, method: str) -> Array:
    g = phase.geometry
    if any(-lo >= s or -hi >= s for s, (lo, hi) in zip(g.size, g.padding, strict=True)):
        # no window reaches these positions
        return np.zeros((len(dy), *g.out, kernel.shape[-1]), np.result_type(dy, kernel))
    if method not in AUTO_METHODS and not applies(method, g, dy.shape[-1], kernel.shape[-1], groups):
        method = "exact"
    return correlate(dy, kernel[phase.taps], g, groups, method)


def _phases(g: Geometry) -> Iterator[_Phase]:
    """Yield the phases of the stride that any tap meets.

    On one axis, position p = q*stride + r of the padded input is met by the taps k with k*dilation = r + c*stride, by
    each in window q - c.
    """
    axes = [_axis_phases(*axis) for axis in zip(g.size, g.window, g.stride, g.padding, g.dilation, g.out, strict=True)]
    for phase in product(*axes):
        positions, taps, padding, dilation, window, out = zip(*phase, strict=True)
        yield _Phase(positions, taps, Geometry(g.out, window, (1,) * len(out), padding, dilation, out))


def _axis_phases(
    size: int, window: int, stride: int, padding: tuple[int, int], dilation: int, windows: int
) -> Iterator[tuple[slice, slice, tuple[int, int], int, int, int]]:
    for r in range(stride):
        taps = [k for k in range(window) if k * dilation % stride == r]
        first = -(-(padding[0] - r) // stride)  # the first q past the padding
        start = first * stride + r - padding[0]
        out = len(range(start, size, stride))
        if not taps or not out:
            continue
        apart = taps[1] - taps[0] if len(taps) > 1 else stride
        step = apart * dilation // stride if len(taps) > 1 else 1
        reach = step * (len(taps) - 1)
        lo = (taps[0] * dilation - r) // stride + reach - first
        flipped = slice(taps[-1], taps[0] - 1 if taps[0] else None, -apart)
        yield slice(start, None, stride), flipped, (lo, out + reach - windows - lo), step, len(taps), out
