"""Where windows lie on an array: kernel, stride, padding and dilation parsed once, for every op that slides a window.

Along one axis of S positions padded by lo and hi, a window of K taps that are d positions apart spans d*(K-1)+1
positions, and starts at every stride-th position where it fits: out = (S + lo + hi - d*(K-1) - 1) // stride + 1.

So 8 positions and 3 taps give 6 windows, and a padding of P on both sides adds 2P positions: S - K + 2P + 1 without
strides. Two slips are common in hand-written versions of this formula: one more at the end, which counts a window that
does not fit, and P for 2P, which forgets a side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeAlias, TypeVar

from funcnn.checks import is_int

T = TypeVar("T")
PerAxis: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]


class Geometry(NamedTuple):
    """The windows of one op, an entry per spatial axis in each field."""

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
        Named in errors.
    size : tuple of int
        The spatial shape of the input.
    window, stride, dilation : int or tuple of int
        An int applies to every axis.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        "same" makes the output ceil(size / stride), with the odd position of padding at the end.
    ceil_mode : bool
        Round the number of windows up: the last one may reach beyond the padding, as long as it starts before the end
        padding. The positions it lacks are added to the returned padding.

    Raises
    ------
    TypeError, ValueError
        Naming the option, or the whole geometry if a window does not fit.

    Examples
    --------
    >>> geometry("conv", (8, 8), 3).out
    (6, 6)
    >>> geometry("conv", (8, 8), 3, stride=2, padding="same").padding
    ((0, 1), (0, 1))
    """
    return _geometry(op, size, window, stride, padding, dilation, ceil_mode)


def remembered(f: Callable[..., T]) -> Callable[..., T]:
    """Keep the last results of a function of shapes and options; lists among these become tuples."""
    known = lru_cache(maxsize=1024, typed=True)(f)

    @wraps(known)
    def remembered_f(*args: Any) -> T:
        try:
            return known(*args)
        except TypeError:  # by f, or because lists cannot be looked up
            if (frozen := _frozen(args)) == args:
                raise
        return known(*frozen)

    return remembered_f


def _frozen(option: Any) -> Any:
    return tuple(_frozen(o) for o in option) if isinstance(option, (list, tuple)) else option


@remembered
def _geometry(
    op: str, size: tuple[int, ...], window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Geometry:
    rank = len(size)
    window = per_axis(op, "window", window, rank)
    stride = per_axis(op, "stride", stride, rank)
    dilation = per_axis(op, "dilation", dilation, rank)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    pads = _paddings(op, padding, size, stride, spans)
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
    """Find the convolution whose output has the given size, and whose adjoint therefore starts from it.

    A convolution with strides gives the same output size for several input sizes; ``output_padding`` chooses among
    them: it is the number of positions at the end that no window reaches, 0 to stride - 1. With "same" padding the
    input size is size * stride.

    Raises
    ------
    TypeError, ValueError
        Naming the option, or the whole geometry if nothing is left of the input.

    Examples
    --------
    >>> transposed_geometry("conv_transpose", (4, 4), 3, stride=2, padding=1, output_padding=1).size
    (8, 8)
    """
    return _transposed_geometry(op, size, window, stride, padding, output_padding, dilation)


@remembered
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
    return Geometry(size, window, stride, tuple(pads), dilation, out)


def per_axis(op: str, name: str, option: Any, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """Return an option that is an int >= ``least`` or a tuple of them as one int for each spatial axis."""
    option = _frozen(option)
    values = option if isinstance(option, tuple) else (option,) * rank
    if not all(is_int(v) for v in values):
        raise TypeError(f"{op}: {name} is an int or a tuple of {rank} ints, not {option!r}")
    if len(values) != rank:
        raise ValueError(f"{op}: {name} {option} has {len(values)} entries, the input has {rank} spatial axes")
    if min(values) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {option}")
    return tuple(int(v) for v in values)


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
            f"{op}: padding is an int, one int or one (lo, hi) per spatial axis, 'valid' or 'same', not {padding!r}"
        )
    if len(pads) != rank:
        raise ValueError(f"{op}: padding {padding} has {len(pads)} entries, the input has {rank} spatial axes")
    if min(v for pair in pads for v in pair) < 0:
        raise ValueError(f"{op}: padding must be at least 0, got {padding}")
    return [(int(lo), int(hi)) for lo, hi in pads]


def _describe(size: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> str:
    return f"input {size}, window {window}, stride {stride}, padding {tuple(padding)}, dilation {dilation}"
