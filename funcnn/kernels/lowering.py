"""Which routine computes a convolution: the one place that chooses.

A method is a module of this folder with ``correlate`` and ``correlate_adjoint_w``, and for some
``correlate_adjoint_x``; `funcnn.kernels.convolution` says what they compute. All but "winograd" add up the very
products of the definition, in one order or another.

columns
    Windows gathered as rows of a matrix, times the weights. Any geometry.
unrolled
    One matrix from whole images to whole outputs, mostly zeros. Any geometry of one group; for tiny images.
strips
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
   than 8 outputs (7 for a single channel): strips;
5. the rest: columns.

Where strips or winograd are chosen and a max pooling of 2x2 follows in `funcnn.combinators.serial`, it is computed with
them (`funcnn.kernels.pooled`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import numpy as np

from funcnn.kernels.geometry import Geometry

METHODS = ("columns", "unrolled", "strips", "depthwise", "winograd")
WISHES = ("auto", "exact")  # the quickest method; the quickest but "winograd"
_LARGEST_UNROLLED, _MANY = 1 << 14, 64  # entries of the matrix; images that count
_FEW_PLACES = 1024  # for so few outputs, laying out the weights of a strip takes longer than it saves
_EXACT: ContextVar[bool] = ContextVar("exact", default=False)


def applies(method: str, g: Geometry, inner: int, outer: int, groups: int) -> bool:
    """Say whether a method can compute a convolution from ``inner`` to ``outer`` channels."""
    if method == "depthwise":
        return groups == inner
    if method == "winograd":
        return groups == 1 and g.window == (3, 3) and g.stride == g.dilation == (1, 1)
    return method == "columns" or groups == 1


@lru_cache(maxsize=1024)
def choose(
    g: Geometry,
    n: int,
    inner: int,
    outer: int,
    groups: int,
    dtype: np.dtype[Any],
    *,
    exact: bool,
    adjoint_x: bool = False,
) -> str:
    """Return the method for ``n`` images of a geometry from ``inner`` to ``outer`` channels.

    Given ``adjoint_x``, for the way back to x by a routine of its own, if it has one; if not, that is a correlation
    itself, and the question is asked again for it.
    """
    window, entries = math.prod(g.window), math.prod(g.size) * inner * math.prod(g.out) * outer
    share = window / max(math.prod(g.size), 1)  # of the entries that are not 0, all but those that read padding
    for_each_image = 0 if 6 * share < 1 else 1 << 10 if 3 * share < 2 else 1 << 12
    if groups == 1 and entries <= max(_LARGEST_UNROLLED, min(n, _MANY) * for_each_image):
        return "unrolled"
    # float16 would be rounded at every tap, where a product adds up in float32
    pointwise = window == 1 and outer <= (9 if math.prod(g.stride) == 1 else 1)
    if groups == inner and (groups > 1 or pointwise) and dtype != np.float16:
        return "depthwise"
    if groups > 1:
        return "columns"
    if (
        dtype == np.float32
        and not exact
        and inner >= 6
        and outer >= 4
        and inner + outer >= 13
        and applies("winograd", g, inner, outer, groups)
        and (tiles := math.prod(-(-o // 4) for o in g.out)) * 16 <= 1.4 * math.prod(g.out)
        and tiles * n >= (16 if 1 << 9 <= inner * outer <= 1 << 15 else 32)
    ):
        return "winograd"
    if adjoint_x:
        suits = inner <= 8 if math.prod(g.stride) > 1 else inner <= 7 and outer > (7 if inner == 1 else 8)
    else:
        overlapping = g.stride[-1] == 1 or (inner == 1 and g.window[-1] > g.stride[-1])
        suits = inner <= 8 and outer <= 32 and overlapping and n * math.prod(g.out) > _FEW_PLACES
    return "strips" if suits and g.window[-1] > 1 else "columns"


def wish(method: Any) -> Any:
    """Return ``method``, but for "auto" within the context `exact`, where that is "exact"."""
    return "exact" if method == "auto" and _EXACT.get() else method


def requested(op: str, method: Any, g: Geometry, inner: int, outer: int, groups: int) -> str:
    """Refuse a method that there is not, or that cannot compute this convolution; return it, or the wish."""
    if method in WISHES:
        return str(method)
    if method not in METHODS:
        raise ValueError(f"{op}: method is 'auto', 'exact' or one of {METHODS}, not {method!r}")
    if not applies(method, g, inner, outer, groups):
        raise ValueError(f"{op}: method {method!r} cannot take {inner} to {outer} channels in {groups} groups with {g}")
    return str(method)


@contextmanager
def exact() -> Iterator[None]:
    """Keep convolutions to the very products of the definition, in whatever runs within this context.

    A convolution remembers the wish for its gradient. As a decorator, ``@exact()``, it holds within a function.

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
