"""Resize images by interpolation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.geometry import PerAxis, check_growth, per_axis
from funcnn.tree import Array

# Where position o of the output lies in the input, on an axis of n positions of which the part from a to b (fractions
# of it) is resized to m by the factor f; ONNX's names
COORDINATES: dict[str, Callable[[Array, int, int, float, float, float], Array]] = {
    "half_pixel": lambda o, n, m, f, a, b: (o + 0.5) / f - 0.5,
    "half_pixel_symmetric": lambda o, n, m, f, a, b: n / 2 * (1 - m / (f * n)) + (o + 0.5) / f - 0.5,
    "pytorch_half_pixel": lambda o, n, m, f, a, b: (o + 0.5) / f - 0.5 if m > 1 else 0 * o,
    "align_corners": lambda o, n, m, f, a, b: o * ((n - 1) / (f * n - 1)) if f * n != 1 else 0 * o,
    "asymmetric": lambda o, n, m, f, a, b: o / f,
    "tf_half_pixel_for_nn": lambda o, n, m, f, a, b: (o + 0.5) / f,
    "tf_crop_and_resize": lambda o, n, m, f, a, b: (n - 1) * (a + o * (b - a) / (m - 1) if m > 1 else (a + b) / 2 + o),
}
# Which position is the nearest to a coordinate
ROUNDING: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda c: np.ceil(c - 0.5),
    "round_prefer_ceil": lambda c: np.floor(c + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(
    x: Array,
    size: PerAxis,
    *,
    mode: str = "linear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    factors: Sequence[float] | None = None,
    roi: Sequence[tuple[float, float]] | None = None,
    outside: float = 0.0,
) -> tuple[Array, Callable[[Any], Array]]:
    """Resize images, or a part of them, to another size, each spatial axis by itself.

    Parameters
    ----------
    x : array (N, S..., C)
        With at least one position.
    size : int or tuple of int, >= 1
        Of y, one for each spatial axis.
    mode : {"linear", "nearest"}
        "linear" interpolates between the two neighbours on each axis (bilinear for images); "nearest" takes one.
    coordinates : str
        Where position o of y lies in x, for an axis of n positions resized to m by the factor f:
        "half_pixel", (o + 1/2) / f - 1/2 (pixels are areas; PyTorch with ``align_corners=False``, Pillow, OpenCV);
        "align_corners", o (n - 1) / (f n - 1); "asymmetric", o / f; and ONNX's variants of these,
        "half_pixel_symmetric", "pytorch_half_pixel" (0 where m = 1) and "tf_half_pixel_for_nn", (o + 1/2) / f.
        What lies outside of x is moved to its edge. "tf_crop_and_resize" resizes a part of x,
        (n - 1) (a + o (b - a) / (m - 1)), or its centre (n - 1) (a + b) / 2 where m = 1.
    rounding : {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}
        For "nearest". The first two differ only halfway between positions.
    factors : sequence of float, optional
        f of each axis, where it is not m / n.
    roi : sequence of (float, float), optional
        For "tf_crop_and_resize": a and b of each axis, where the part begins and ends, 0 the first position of x and 1
        the last. They may lie outside of x, and b before a, which mirrors it. By default the whole of x.
    outside : float
        What y is where the part goes beyond x.

    Returns
    -------
    y : array (N, *size, C)
    vjp : callable

    Raises
    ------
    ValueError, TypeError
        If an option is none of these, ``roi`` is given for other coordinates, or ``x`` has no position.

    Notes
    -----
    On each axis y = R x, where row o of the matrix R (m, n) has 1 - t and t at the two neighbours of o's coordinate, t
    the distance to the lower one (for "nearest", a single 1). So dx = R^T dy on each axis. What is ``outside`` does not
    depend on x: there, dy does not count. There is no smoothing before an image is made smaller.

    Examples
    --------
    >>> y, vjp = resize(np.array([[[0.0], [4.0]]]), 4)
    >>> y.ravel(), vjp(np.ones_like(y)).ravel()
    (array([0., 1., 3., 4.]), array([2., 2.]))
    >>> resize(np.array([[[0.0], [4.0]]]), 3, coordinates="align_corners")[0].ravel()
    array([0., 2., 4.])
    >>> part = {"coordinates": "tf_crop_and_resize", "roi": [(0.5, 1.5)], "outside": -1.0}
    >>> resize(np.array([[[0.0], [4.0]]]), 3, **part)[0].ravel()
    array([ 2.,  4., -1.])
    """
    x = checks.images("resize", x)
    known = {"mode": ("linear", "nearest"), "coordinates": tuple(COORDINATES), "rounding": tuple(ROUNDING)}
    for (name, names), given in zip(known.items(), (mode, coordinates, rounding), strict=True):
        if given not in names:
            raise ValueError(f"resize: {name} must be one of {', '.join(names)}, not {given!r}")
    before = x.shape[1:-1]
    sizes = per_axis("resize", "size", size, len(before))
    if 0 in before:
        raise ValueError(f"resize: x {x.shape} has no positions to resize")
    check_growth("resize", f"size {sizes}", before, sizes)
    if factors is not None and (len(factors) != len(before) or not all(0 < f < np.inf for f in factors)):
        raise ValueError(f"resize: factors must be positive, one for each of {len(before)} axes, got {factors}")
    used = [m / n for m, n in zip(sizes, before, strict=True)] if factors is None else [float(f) for f in factors]
    part = [(0.0, 1.0)] * len(before) if roi is None else [(float(a), float(b)) for a, b in roi]
    if len(part) != len(before) or not np.isfinite(part).all() or (roi and coordinates != "tf_crop_and_resize"):
        raise ValueError(
            f"resize: roi must be (start, end) for each of {len(before)} axes, with coordinates 'tf_crop_and_resize', "
            f"got {roi} and {coordinates!r}"
        )
    positions = [
        COORDINATES[coordinates](np.arange(m, dtype=np.float64), n, m, f, a, b)
        for n, m, f, (a, b) in zip(before, sizes, used, part, strict=True)
    ]
    rounded = rounding if mode == "nearest" else ""
    axes = [_neighbours(at, n, rounded) for at, n in zip(positions, before, strict=True)]
    y = x
    for a, (lo, hi, t) in enumerate(axes, start=1):
        lower = y.take(lo, axis=a)
        y = lower + (y.take(hi, axis=a) - lower) * _along(t, a, x) if t.any() else lower
    inside: Any = None
    if coordinates == "tf_crop_and_resize":
        within = [(at >= 0) & (at <= n - 1) for at, n in zip(positions, before, strict=True)]
        inside = functools.reduce(np.logical_and.outer, within)[..., None]
        y = np.where(inside, y, y.dtype.type(outside))
    shape, dtype = y.shape, y.dtype

    def resize_vjp(dy: Any) -> Array:
        dy = checks.cotangent("resize", dy, shape, dtype)
        dy = dy if inside is None else np.where(inside, dy, 0)
        for a, (lo, hi, t) in reversed(list(enumerate(axes, start=1))):
            dx = np.zeros((*dy.shape[:a], before[a - 1], *dy.shape[a + 1 :]), dtype)
            for neighbour, weight in ((lo, 1 - t), (hi, t)) if t.any() else ((lo, 1 - t),):
                # R^T dy: a position gets the weighted dy of its outputs, which follow each other
                starts = np.flatnonzero(np.diff(neighbour, prepend=-1))
                at: Any = (*(slice(None),) * a, neighbour[starts])
                dx[at] += np.add.reduceat(dy * _along(weight, a, dy), starts, axis=a)
            dy = dx
        return dy

    return y, resize_vjp


def _along(weights: Array, axis: int, x: Array) -> Array:
    """Return one weight for each position of an axis of x in its precision, to multiply it by."""
    return weights.astype(x.real.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))


def _neighbours(at: Array, n: int, rounding: str) -> tuple[Array, Array, Array]:
    """Return, for each output's place, its two neighbours among n positions and the weight of the second.

    With ``rounding`` both neighbours are the nearest one.
    """
    if rounding:
        at = ROUNDING[rounding](at)
    at = np.clip(at, 0, n - 1)
    lo = np.floor(at).astype(np.intp)
    return lo, np.minimum(lo + 1, n - 1), at - lo
