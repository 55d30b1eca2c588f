"""Choose a method for a convolution or one of its two adjoints, and call it.

A method is a module of this folder with ``correlate`` and ``correlate_adjoint_w``; some also have
``correlate_adjoint_x``. All but "winograd" compute the products of the definition, and differ in the order of the sums.

im2col
    Copies windows to the rows of a matrix, which is multiplied by the weights. Any geometry.
toeplitz
    Multiplies whole images by one matrix, mostly zeros, to whole outputs. Any geometry of one group; for tiny images.
row_blocks
    Copies the windows of blocks of neighbouring outputs, and multiplies them by a Toeplitz matrix. Any geometry of one
    group; for few channels, where the im2col matrix has too few columns for a fast product, and for wide windows.
depthwise
    Multiplies and adds elementwise, tap by tap. For as many groups as input channels.
winograd
    Computes tiles of 4x4 outputs in Winograd's transformed form, with 36 products instead of 144. For 3x3 kernels in
    two dimensions, without stride, dilation or groups.

"auto" and "exact" ("auto" without "winograd") take the first method of `RULES` whose condition holds, or of
`COMPILED_RULES` where compiled kernels compute. The thresholds in the conditions were measured on two cores of an
x86-64 CPU with AVX-512; ``scripts/bench --methods`` measures them again: it times every method over a grid of shapes
and says where the chosen one is not the fastest. FUNCNN_KERNELS chooses the kernels that it times.

Where row_blocks or winograd is chosen and 2x2 max pooling follows in `funcnn.combinators.serial`, the two are fused
(`funcnn.kernels.conv.conv_pool`).

Shapes: x (N, size..., I), w (window..., I/groups, O), y (N, out..., O).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from funcnn.kernels.conv import depthwise, im2col, row_blocks, toeplitz, winograd
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.selection import active
from funcnn.tree import Array

METHODS = ("im2col", "toeplitz", "row_blocks", "depthwise", "winograd")
AUTO_METHODS = ("auto", "exact")  # the fastest method; the fastest except "winograd"
_EXACT: ContextVar[bool] = ContextVar("exact", default=False)


def applies(method: str, g: Geometry, in_channels: int, out_channels: int, groups: int) -> bool:
    """Return whether a method can compute a convolution from ``in_channels`` to ``out_channels`` channels."""
    if method == "depthwise":
        return groups == in_channels
    if method == "winograd":
        return groups == 1 and g.window == (3, 3) and g.stride == g.dilation == (1, 1)
    return method == "im2col" or groups == 1


class Problem(NamedTuple):
    """A convolution to choose a method for: ``n`` images of a geometry, from ``in_channels`` to ``out_channels``.

    ``exact`` excludes "winograd". ``prepared`` says that what depends on the weights alone is computed before, once for
    many images. ``adjoint_x`` asks for the method of dx instead of y. If the chosen method has no
    ``correlate_adjoint_x``, dx is computed as a correlation of dy, for which a method is chosen again.
    """

    g: Geometry
    n: int
    in_channels: int
    out_channels: int
    groups: int
    dtype: np.dtype[Any]
    exact: bool
    adjoint_x: bool
    prepared: bool = False


_WINOGRAD_WEIGHTS = 1 << 17  # in_channels * out_channels: from here on, "winograd" is slower than "im2col" ...
_WINOGRAD_WEIGHTS_COMPILED = 1 << 19  # ... and from here on if compiled: up to here the weights stay in a large cache
_PREPARED_TILES = 4  # if the weights are transformed before: so few tiles are enough, 256 times 256 weights or fewer
_TOEPLITZ_ENTRIES = 1 << 14  # entries of the matrix: up to here one product costs less than copying windows
_TOEPLITZ_IMAGES = 64  # images of a batch: up to here, more of them allow a larger matrix, which is built once a batch
_LARGE_COLUMNS = 1 << 19  # entries of an image's im2col matrix: 2 MB in float32

_TINY_OUTPUTS, _TINY_IMAGES, _TINY_WEIGHTS = 16, 32, 1 << 14  # at most, at least, at most (in_channels * out_channels)
_WHOLE_TILE_WEIGHTS = 1 << 13  # in_channels * out_channels, up to which "winograd" is faster for 4x4 outputs


def tiny_images(p: Problem) -> bool:
    """The Toeplitz matrix is small; or it is larger, but the batch is large enough and few enough entries are 0.

    How much larger it may be depends on the fraction of non-zero entries, which is about window / image.
    """
    nonzero = math.prod(p.g.window) / max(math.prod(p.g.size), 1)  # an upper bound: taps that read padding have none
    entries_per_image = 0 if nonzero < 1 / 6 else 1 << 10 if nonzero < 2 / 3 else 1 << 12
    return _toeplitz_fits(p, max(_TOEPLITZ_ENTRIES, min(p.n, _TOEPLITZ_IMAGES) * entries_per_image))


def tiny_images_compiled(p: Problem) -> bool:
    """The Toeplitz matrix is small. Compiled, other methods are faster than a larger one, whatever the batch."""
    return _toeplitz_fits(p, _TOEPLITZ_ENTRIES)


def _toeplitz_fits(p: Problem, most_entries: int) -> bool:
    entries = math.prod(p.g.size) * p.in_channels * math.prod(p.g.out) * p.out_channels
    return p.groups == 1 and entries <= most_entries


def no_sum_over_channels(p: Problem) -> bool:
    """As many groups as input channels, or a 1x1 kernel on one channel: no sum that a matrix product would speed up.

    With a stride, elementwise is faster for a 1x1 kernel only from one channel to one. Excludes float16, which would be
    rounded after every tap, whereas a matrix product sums in float32.
    """
    return _elementwise(p, 9 if math.prod(p.g.stride) == 1 else 1)


def no_sum_over_channels_compiled(p: Problem) -> bool:
    """As `no_sum_over_channels`, but a 1x1 kernel only from one channel to one: products of few columns are faster."""
    return _elementwise(p, 1)


def _elementwise(p: Problem, most_outputs: int) -> bool:
    pointwise = math.prod(p.g.window) == 1 and p.out_channels <= most_outputs
    return p.groups == p.in_channels and (p.groups > 1 or pointwise) and p.dtype != np.float16


def in_groups(p: Problem) -> bool:
    """Groups of several channels: only im2col can compute them."""
    return p.groups > 1


def many_tiles(p: Problem) -> bool:
    """A 3x3 kernel in float32, with enough channels and tiles for the saved products to outweigh the transforms.

    The tiles may cover at most 40 % more than the output. 16 tiles are enough; 32 where in_channels * out_channels is
    below 2**9 or above 2**15, since transforming the weights then takes a larger share of the time. If they are
    transformed before, `_PREPARED_TILES` are enough from 2**12 on. Up to 8 input channels, other methods copy little,
    and are faster for y and dw.
    """
    if p.in_channels < (6 if p.adjoint_x else 9) or p.in_channels + p.out_channels < 13:
        return False
    weights = p.in_channels * p.out_channels
    if weights >= _WINOGRAD_WEIGHTS:  # 36 planes of 512 kB or more, read anew for each chunk
        return False
    if p.prepared and weights >= 1 << 12:
        return _enough_tiles(p, 1.4, _PREPARED_TILES)
    return _enough_tiles(p, 1.4, 16 if 1 << 9 <= weights <= 1 << 15 else 32)


def many_tiles_compiled(p: Problem) -> bool:
    """As `many_tiles`, but transforms take less time: the tiles may cover 80 % more than the output, as of 6x6 or 9x9.

    Transforming 256 times 256 weights, or more, takes as long as is saved for some 48 tiles. With fewer channels than a
    vector's entries, transforms take as long as with more, and the other methods less.
    """
    weights = p.in_channels * p.out_channels
    if p.in_channels < 12 or p.out_channels < 8 or not 256 <= weights < _WINOGRAD_WEIGHTS_COMPILED:
        return False
    prepared = p.prepared and weights < _WINOGRAD_WEIGHTS
    return _enough_tiles(p, 1.8, _PREPARED_TILES if prepared else min(48, max(16, 3 * weights >> 12)))


def _enough_tiles(p: Problem, covered: float, enough: int) -> bool:
    if p.exact or p.dtype != np.float32 or not applies("winograd", p.g, p.in_channels, p.out_channels, p.groups):
        return False
    tiles = math.prod(-(-o // 4) for o in p.g.out)
    return tiles * 16 <= covered * math.prod(p.g.out) and tiles * p.n >= enough


def many_tiny_images(p: Problem) -> bool:
    """So few outputs that many taps read padding: compiled, im2col leaves these out, and copies no windows.

    Its products have a row for each image. With many channels, or where the outputs are whole tiles (4x4), Winograd's
    fewer products save more; but not yet with so many that its weights, four times as large, leave the cache.
    """
    weights, tiny = p.in_channels * p.out_channels, math.prod(p.g.out) <= _TINY_OUTPUTS and p.n >= _TINY_IMAGES
    if weights <= _WHOLE_TILE_WEIGHTS and many_tiles_compiled(p) and _enough_tiles(p, 1.0, _TINY_IMAGES):
        return False
    return tiny and weights <= _TINY_WEIGHTS and min(p.in_channels, p.out_channels) >= 8


def few_channels(p: Problem) -> bool:
    """So few channels that the im2col matrix, or for dx the result of the product, has too few columns for a fast one.

    For up to 1,024 outputs (images times positions), building a block's weights takes longer than it saves. With a
    stride along the row, the windows of a block share enough positions only where there is one input channel, or where
    they are longer than two strides and there are up to 16 output channels.
    """
    strided = math.prod(p.g.stride) > 1
    if p.g.window[-1] == 1:
        return False
    if p.adjoint_x:
        few_outputs = 7 if p.in_channels == 1 else 8
        return p.in_channels <= 8 if strided else p.in_channels <= 7 and p.out_channels > few_outputs
    step, width = p.g.stride[-1], p.g.window[-1]
    overlapping = step == 1 or (width > step if p.in_channels == 1 else width > 2 * step and p.out_channels <= 16)
    enough = p.prepared or p.n * math.prod(p.g.out) > 1024
    return p.in_channels <= 8 and p.out_channels <= 32 and overlapping and enough


def few_channels_compiled(p: Problem) -> bool:
    """As `few_channels`; or the outputs fit into a vector, which compiled row_blocks keeps in a register over all taps.

    That is for two dimensions without stride and dilation, and at least 3 channels: a vector of many positions has too
    many weights that are 0. There, the same method of dy gives dx, from 4 channels on.
    """
    plain = p.dtype in (np.float32, np.float64) and len(p.g.size) == 2
    plain = plain and p.g.stride == p.g.dilation == (1, 1) and min(map(min, p.g.padding)) >= 0
    if plain and p.adjoint_x and p.in_channels > 3:
        return False
    return few_channels(p) or (plain and not p.adjoint_x and p.g.window[-1] > 1 and 3 <= p.out_channels <= 16)


def wide_windows(p: Problem) -> bool:
    """Windows of 5 and more: neighbouring outputs share most of what they read, so a block copies much less.

    That gains where few output channels make thin products, or where the im2col matrix of one image does not stay in
    the cache. For up to 1,024 outputs, building a block's weights takes longer.
    """
    if p.adjoint_x or math.prod(p.g.stride) > 1 or p.g.window[-1] < 5 or p.n * math.prod(p.g.out) <= 1024:
        return False
    columns = math.prod(p.g.out) * math.prod(p.g.window) * p.in_channels
    return p.in_channels <= 256 and p.out_channels <= (32 if columns >= _LARGE_COLUMNS else 16)


def always(p: Problem) -> bool:
    """Any other convolution."""
    return True


# In this order: the first condition that holds decides. Compiled, each method takes less time, but for few channels
# im2col still takes up to twice as long as row_blocks.
RULES: tuple[tuple[str, Callable[[Problem], bool]], ...] = (
    ("toeplitz", tiny_images),
    ("depthwise", no_sum_over_channels),
    ("im2col", in_groups),
    ("winograd", many_tiles),
    ("row_blocks", few_channels),
    ("row_blocks", wide_windows),
    ("im2col", always),
)
COMPILED_RULES: tuple[tuple[str, Callable[[Problem], bool]], ...] = (
    ("toeplitz", tiny_images_compiled),
    ("depthwise", no_sum_over_channels_compiled),
    ("im2col", in_groups),
    ("im2col", many_tiny_images),
    ("winograd", many_tiles_compiled),
    ("row_blocks", few_channels_compiled),
    ("im2col", always),
)


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
    compiled: bool = False,
    prepared: bool = False,
) -> str:
    """Return the method for a `Problem`."""
    problem = Problem(g, n, in_channels, out_channels, groups, dtype, exact, adjoint_x, prepared)
    return next(method for method, condition in (COMPILED_RULES if compiled else RULES) if condition(problem))


def preference(method: Any) -> Any:
    """Return ``method``, but "exact" instead of "auto" within the context `exact`."""
    return "exact" if method == "auto" and _EXACT.get() else method


def check_method_name(op: str, method: Any) -> str:
    """Raise a ValueError for a method that does not exist; return the method."""
    if method not in AUTO_METHODS and method not in METHODS:
        raise ValueError(f"{op}: method must be 'auto', 'exact' or one of {METHODS}, not {method!r}")
    return str(method)


def check_method(op: str, method: Any, g: Geometry, in_channels: int, out_channels: int, groups: int) -> str:
    """Raise a ValueError for a method that does not exist or cannot compute this convolution; return the method."""
    method = check_method_name(op, method)
    if method not in AUTO_METHODS and not applies(method, g, in_channels, out_channels, groups):
        raise ValueError(
            f"{op}: method {method!r} cannot map {in_channels} to {out_channels} channels in {groups} groups with {g}"
        )
    return method


@contextmanager
def exact() -> Iterator[None]:
    """Compute convolutions within this context by the products of their definition: "auto" never takes "winograd".

    The VJP of a convolution computed within the context is exact, too, wherever it is called. As a decorator,
    ``@exact()`` applies to a function.

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


def correlate(
    x: Array,
    w: Array,
    g: Geometry,
    groups: int,
    method: str = "auto",
    b: Array | None = None,
    relu: bool = False,
) -> Array:
    """Return y[n, o] = b + sum over taps k of x[n, o*stride + k*dilation - lo] @ w[k], group by group.

    With ``relu``, return max(y, 0).
    """
    method = _chosen(method, g, x.shape[-1], w.shape[-1], groups, x)
    return _ROUTINES[method].correlate(x, w, g, groups, b, relu)


def prepare(
    x: Array, w: Array, g: Geometry, groups: int, method: str, b: Array | None = None, relu: bool = False
) -> Callable[[Array], Array]:
    """Return what computes `correlate` for any array of x's shape and dtype, by a method that is not "auto".

    What depends on w alone is computed once.
    """
    routine = _ROUTINES[method]
    if method == "depthwise":
        return lambda x: depthwise.correlate(x, w, g, groups, b, relu)
    prepared: Callable[[Array], Array] = routine.prepare(x, w, g, groups, b, relu)
    return prepared


def correlate_adjoint_x(dy: Array, w: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return dx: each dy[n, o] @ w[k].T is added to the position that output o reads with its tap k.

    Positions that are equal modulo the stride form a phase. Only some of the taps read a given phase, and its part of
    dx is itself a correlation, without a stride: of dy with these taps, flipped and with their channels swapped.
    """
    in_channels, out_channels = w.shape[-2] * groups, w.shape[-1]
    chosen = _chosen(method, g, in_channels, out_channels, groups, dy, adjoint_x=True)
    if chosen in ("toeplitz", "row_blocks"):
        return _ROUTINES[chosen].correlate_adjoint_x(dy, w, g, groups)
    if (
        chosen == "im2col"
        and groups == 1
        and math.prod(g.stride) > 1
        and g.dilation[-1] == 1
        and active(dy.size, dy.dtype)
        and w.size
    ):
        # compiled, adding what each window contributes takes less time than a correlation for each phase
        return row_blocks.adjoint_x_of_blocks(dy, w.reshape(-1, out_channels), g, g)
    kernel = swap_channels(w, groups)
    phases = list(_phases(g))
    if all(step == 1 for step in g.stride):
        return _correlate_phase(dy, kernel, phases[0], groups, method)
    dx = np.zeros((len(dy), *g.size, in_channels), np.result_type(dy, w))
    for phase in phases:
        dx[:, *phase.positions] = _correlate_phase(dy, kernel, phase, groups, method)
    return dx


def correlate_adjoint_w(x: Array, dy: Array, g: Geometry, groups: int, method: str = "auto") -> Array:
    """Return dw[k] = sum over n, o of the outer product of x at the position that tap k reads for o, and dy[n, o]."""
    method = _chosen(method, g, x.shape[-1], dy.shape[-1], groups, x)
    return _ROUTINES[method].correlate_adjoint_w(x, dy, g, groups)


def swap_channels(w: Array, groups: int) -> Array:
    """Transpose w (window..., I/groups, O) to (window..., O/groups, I), the weights from y's channels to x's."""
    split = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    return np.moveaxis(split, -1, -3).swapaxes(-1, -2).reshape(*w.shape[:-2], w.shape[-1] // groups, -1)


def _chosen(
    method: str, g: Geometry, in_channels: int, out_channels: int, groups: int, array: Array, adjoint_x: bool = False
) -> str:
    if method not in AUTO_METHODS:
        return method
    return choose(
        g, len(array), in_channels, out_channels, groups, array.dtype,
        exact=method == "exact", adjoint_x=adjoint_x, compiled=active(array.size, array.dtype),
    )  # fmt: skip


class _Phase(NamedTuple):
    """A phase of the stride: its positions, the taps that read them, last one first, and its correlation's geometry."""

    positions: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


def _correlate_phase(dy: Array, kernel: Array, phase: _Phase, groups: int, method: str) -> Array:
    g = phase.geometry
    if any(-lo >= s or -hi >= s for s, (lo, hi) in zip(g.size, g.padding, strict=True)):
        # no window reads these positions
        return np.zeros((len(dy), *g.out, kernel.shape[-1]), np.result_type(dy, kernel))
    if method not in AUTO_METHODS and not applies(method, g, dy.shape[-1], kernel.shape[-1], groups):
        method = "exact"
    return correlate(dy, kernel[phase.taps], g, groups, method)


def _phases(g: Geometry) -> Iterator[_Phase]:
    """Yield the phases of the stride that at least one tap reads.

    On one axis, the taps k with k*dilation = r + c*stride read position p = q*stride + r of the padded input, each in
    window q - c.
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
        tap_step = taps[1] - taps[0] if len(taps) > 1 else stride
        phase_dilation = tap_step * dilation // stride if len(taps) > 1 else 1
        span = phase_dilation * (len(taps) - 1)
        lo = (taps[0] * dilation - r) // stride + span - first
        flipped = slice(taps[-1], taps[0] - 1 if taps[0] else None, -tap_step)
        yield slice(start, None, stride), flipped, (lo, out + span - windows - lo), phase_dilation, len(taps), out
