"""The positions of sliding windows: every op with windows parses kernel, stride, padding and dilation here.

On an axis of S positions padded by lo and hi, a window of K taps with dilation d spans d*(K-1)+1 positions, and there
is a window at every stride-th position where it fits: out = (S + lo + hi - d*(K-1) - 1) // stride + 1.

For example, 8 positions and 3 taps give 6 windows. With P positions of padding on both sides and stride 1, S positions
give S - K + 2P + 1. Hand-written versions often make one of two mistakes: they add another 1, which counts a window
that does not fit, or add P instead of 2P, which forgets one side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from funcnn.checks import is_int

T = TypeVar("T")
PerAxis: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]


# No geometry in use comes near both. An image of so many positions takes 64 MB in float32 for each channel.
_MOST_POSITIONS = 1 << 24
_MOST_GROWTH = 1024


class Geometry(NamedTuple):
    """The windows of one op; each field has one entry per spatial axis."""

    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    out: tuple[int, ...]

    def __str__(self) -> str:
        return _describe(self.size, self.window, self.stride, self.padding, self.dilation)


def geometry(
    op: str,
    size: tuple[int, ...],
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Geometry:
    """Parse and check the options of a sliding window.

    Parameters
    ----------
    op : str
        The op's name for error messages.
    size : tuple of int
        The spatial shape of the input.
    window, stride, dilation : int or tuple of int
        An int applies to every axis.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        "same" gives ceil(size / stride) windows; if the total padding is odd, the extra position is at the end.
    ceil_mode : bool
        Round the number of windows up: the last one may extend beyond the padded input if it starts before the padding
        at the end. The returned padding includes the positions beyond.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong (the message names it), or a window does not fit (the message lists the geometry).

    Examples
    --------
    >>> geometry("conv", (8, 8), 3).out
    (6, 6)
    >>> geometry("conv", (8, 8), 3, stride=2, padding="same").padding
    ((0, 1), (0, 1))
    """
    return _geometry(op, size, window, stride, padding, dilation, ceil_mode)


def cached_by_shapes(f: Callable[..., T]) -> Callable[..., T]:
    """Cache the last 1,024 results of a function of shapes and options; converts lists and arrays to tuples."""
    cached = lru_cache(maxsize=1024, typed=True)(f)

    @wraps(cached)
    def cached_f(*args: Any) -> T:
        try:
            return cached(*args)
        except TypeError:  # raised by f, or because a list is not hashable
            if _is_hashable(args):
                raise
        args = to_tuple(args)
        return cached(*args) if _is_hashable(args) else f(*args)  # f knows what is wrong with the option

    return cached_f


def to_tuple(option: Any) -> Any:
    """Convert lists and arrays, also nested ones, to tuples."""
    if isinstance(option, np.ndarray):
        option = option.tolist()
    return tuple(to_tuple(o) for o in option) if isinstance(option, (list, tuple)) else option


def _is_hashable(args: tuple[Any, ...]) -> bool:
    try:
        hash(args)
    except TypeError:
        return False
    return True


@cached_by_shapes
def _geometry(
    op: str, size: tuple[int, ...], window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Geometry:
    rank = len(size)
    window = per_axis(op, "window", window, rank)
    stride = per_axis(op, "stride", stride, rank)
    dilation = per_axis(op, "dilation", dilation, rank)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    pads = _paddings(op, padding, size, stride, spans)
    check_growth(op, f"padding {tuple(pads)}", size, tuple(s + lo + hi for s, (lo, hi) in zip(size, pads, strict=True)))
    out = []
    for a, (s, span, step, (lo, hi)) in enumerate(zip(size, spans, stride, pads, strict=True)):
        room = s + lo + hi - span
        if room < 0:
            raise ValueError(
                f"{op}: the window spans {span} positions on spatial axis {a}, the padded input has {s + lo + hi}: "
                + _describe(size, window, stride, pads, dilation)
            )
        count = room // step + 1
        if ceil_mode and room % step and count * step < s + lo:
            count += 1
            pads[a] = (lo, hi + step - room % step)
        out.append(count)
    return Geometry(size, window, stride, tuple(pads), dilation, tuple(out))


def transposed_geometry(
    op: str,
    size: tuple[int, ...],
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
) -> Geometry:
    """Return the geometry of the convolution whose output has the given size; a transposed convolution is its adjoint.

    A convolution with a stride gives the same output size for several input sizes. ``output_padding``, from 0 to
    stride - 1, selects one: it is the number of positions at the end that no window reads. With "same" padding, the
    input size is size * stride.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong (the message names it), or the padding is larger than the input (the message lists the
        geometry).

    Examples
    --------
    >>> transposed_geometry("conv_transpose", (4, 4), 3, stride=2, padding=1, output_padding=1).size
    (8, 8)
    """
    return _transposed_geometry(op, size, window, stride, padding, output_padding, dilation)


@cached_by_shapes
def _transposed_geometry(
    op: str, out: tuple[int, ...], window: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Geometry:
    rank = len(out)
    window = per_axis(op, "window", window, rank)
    stride = per_axis(op, "stride", stride, rank)
    dilation = per_axis(op, "dilation", dilation, rank)
    extra = per_axis(op, "output_padding", output_padding, rank, least=0)
    if any(e >= t for e, t in zip(extra, stride, strict=True)):
        raise ValueError(f"{op}: output_padding {extra} must be less than the stride {stride}")
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    if padding == "same":
        if any(extra):
            raise ValueError(f"{op}: padding 'same' fixes the output's size, so output_padding must be 0, not {extra}")
        size = tuple(o * t for o, t in zip(out, stride, strict=True))
        check_growth(op, f"stride {stride}", out, size)
        return Geometry(size, window, stride, tuple(_paddings(op, padding, size, stride, spans)), dilation, out)
    pads = _paddings(op, padding, out, stride, spans)
    size = tuple(
        (o - 1) * t + span + e - lo - hi
        for o, t, span, e, (lo, hi) in zip(out, stride, spans, extra, pads, strict=True)
    )
    if min(size) < 1:
        raise ValueError(
            f"{op}: the padding leaves an output of {size}: " + _describe(out, window, stride, pads, dilation)
        )
    check_growth(op, f"stride {stride} and dilation {dilation}", out, size)
    return Geometry(size, window, stride, tuple(pads), dilation, out)


def check_growth(
    op: str, option: str, size: tuple[int, ...], enlarged: tuple[int, ...], positions: int = _MOST_POSITIONS
) -> None:
    """Raise a ValueError before an option makes an image so much larger that it can only be a mistake.

    That is more than `_MOST_GROWTH` times as large, and more than ``positions``.
    """
    if math.prod(enlarged) > max(positions, _MOST_GROWTH * math.prod(size)):
        raise ValueError(
            f"{op}: {option} makes {math.prod(enlarged):,} positions {enlarged} of the {math.prod(size):,} of an "
            f"image {size}, more than {_MOST_GROWTH} times as many"
        )


def per_axis(op: str, name: str, option: Any, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """Return an option as one int per spatial axis; it must be an int >= ``least`` or a tuple of them."""
    option = to_tuple(option)
    values = option if isinstance(option, tuple) else (option,) * rank
    if not all(is_int(v) for v in values):
        raise TypeError(f"{op}: {name} must be an int or a tuple of {rank} ints, not {option!r}")
    if len(values) != rank:
        raise ValueError(f"{op}: {name} {option} has {len(values)} entries, the input has {rank} spatial axes")
    if min(values) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {option}")
    return tuple(int(v) for v in values)


def layer_option(op: str, name: str, option: Any, rank: int | None = None, *, least: int = 1) -> Any:
    """Check an option of a layer when the layer is made, and return it normalised: one int per spatial axis.

    Without ``rank``, for a layer that takes any number of spatial axes, an int stays an int.
    """
    option = to_tuple(option)
    if rank is not None:
        return per_axis(op, name, option, rank, least=least)
    values = per_axis(op, name, option, len(option) if isinstance(option, tuple) else 1, least=least)
    return values if isinstance(option, tuple) else values[0]


def layer_padding(op: str, padding: Any, rank: int | None = None) -> Any:
    """Check a layer's padding when the layer is made, and return it normalised: "same", or one (lo, hi) per axis.

    Without ``rank``, for a layer that takes any number of spatial axes, an int stays an int.
    """
    padding = to_tuple(padding)
    if padding == "same":
        return padding
    if rank is not None or isinstance(padding, tuple):
        rank = len(padding) if rank is None else rank
        return tuple(_paddings(op, padding, (0,) * rank, (1,) * rank, [1] * rank))
    ((lo, _),) = _paddings(op, padding, (0,), (1,), [1])
    return lo


def _paddings(
    op: str, padding: Any, size: tuple[int, ...], stride: tuple[int, ...], spans: list[int]
) -> list[tuple[int, int]]:
    rank = len(size)
    if padding == "valid":
        return [(0, 0)] * rank
    if padding == "same":
        totals = [max((-(-s // t) - 1) * t + span - s, 0) for s, t, span in zip(size, stride, spans, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    entries = padding if isinstance(padding, tuple) else (padding,) * rank
    pads = [entry if isinstance(entry, tuple) else (entry, entry) for entry in entries]
    if not all(len(pair) == 2 and all(is_int(v) for v in pair) for pair in pads):
        raise TypeError(
            f"{op}: padding must be an int, one int or one (lo, hi) per spatial axis, 'valid' or 'same', "
            f"not {padding!r}"
        )
    if len(pads) != rank:
        raise ValueError(f"{op}: padding {padding} has {len(pads)} entries, the input has {rank} spatial axes")
    if min(v for pair in pads for v in pair) < 0:
        raise ValueError(f"{op}: padding must be at least 0, got {padding}")
    return [(int(lo), int(hi)) for lo, hi in pads]


def _describe(size: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> str:
    return f"input {size}, window {window}, stride {stride}, padding {tuple(padding)}, dilation {dilation}"
