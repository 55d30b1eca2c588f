"""Checks of arguments. Each returns the checked value or raises a TypeError or ValueError that names what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnn.tree import Array, Tree


def is_int(value: Any) -> bool:
    """Return whether ``value`` is a Python or NumPy int; a bool is not one."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def count(where: str, name: str, value: Any, *, least: int = 1) -> None:
    """Raise unless ``value`` is an int >= ``least``."""
    if not is_int(value):
        raise TypeError(f"{where}: {name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{where}: {name} must be at least {least}, got {value}")


def fraction(where: str, name: str, value: float) -> None:
    """Raise unless ``value`` is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{where}: {name} must be in [0, 1], got {value}")


def unmasked(where: str, name: str, array: Any) -> None:
    """Raise a ValueError if an array has masked entries, whose values NumPy would use as if they were not."""
    if np.ma.is_masked(array):
        masked = np.count_nonzero(np.ma.getmask(array))
        raise ValueError(f"{where}: {name} has {masked} masked entries: fill them, or leave out their examples")


def floating(where: str, x: Any) -> Array:
    """Return ``x`` as a floating or complex array; raise a TypeError for integers, usually unscaled images."""
    x = np.asarray(x)
    if x.dtype.kind not in "fc":
        raise TypeError(
            f"{where} has dtype {x.dtype}; funcnn computes in floats, so scale it first, "
            "e.g. x.astype(np.float32) / 255 for 8-bit images"
        )
    return x


def images(op: str, x: Any) -> Array:
    """Return ``x`` as a floating array (N, spatial..., C) with one to three spatial axes."""
    x = floating(f"{op}: x", x)
    image_axes(op, x.shape)
    return x


def image_axes(op: str, shape: tuple[int, ...]) -> None:
    """Raise unless ``shape`` is (N, spatial..., C) with one to three spatial axes."""
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"{op}: x must be (N, spatial..., C) with 1 to 3 spatial axes, got shape {shape}")


def leaves(op: str, params: Tree, names: tuple[str, ...]) -> list[Array]:
    """Return the arrays of ``params`` in the order of ``names``; raise unless these are exactly its keys."""
    if not isinstance(params, dict):
        raise TypeError(f"{op}: params must be a dict with the leaves {list(names)}, not {type(params).__name__}")
    try:
        arrays = [np.asarray(params[name]) for name in names]
    except KeyError:
        arrays = []
    if not len(arrays) == len(names) == len(params):
        missing, extra = sorted(set(names) - params.keys()), sorted(params.keys() - set(names))
        raise ValueError(
            f"{op}: params must have exactly the leaves {list(names)}; missing {missing}, unexpected {extra}"
        )
    for name, array in zip(names, arrays, strict=True):
        if array.dtype.kind not in "fc":
            floating(f"{op}: params[{name!r}]", array)
    return arrays


def weights_and_bias(op: str, params: Tree, bias: bool) -> tuple[Array, Array | None]:
    """Return the leaves ``w`` and ``b`` of ``params``; with ``bias=False``, ``w`` and None."""
    if isinstance(params, dict) and len(params) == 1 + bias:
        w, b = params.get("w"), params.get("b")
        # the usual case; the general check below would take a tenth of a small layer's time
        if type(w) is np.ndarray and w.dtype.kind in "fc":
            if not bias:
                return w, None
            if type(b) is np.ndarray and b.dtype.kind in "fc":
                return w, b
    if not bias:
        return leaves(op, params, ("w",))[0], None
    w, b = leaves(op, params, ("w", "b"))
    return w, b


def broadcasts_to_example(op: str, name: str, leaf: Array, x: Array) -> None:
    """Raise unless a leaf broadcasts to an example of x (N, ...)."""
    example = x.shape[x.ndim - leaf.ndim :]
    if leaf.ndim >= x.ndim or any(a not in (1, b) for a, b in zip(leaf.shape, example, strict=True)):
        raise ValueError(f"{op}: {name} {leaf.shape} does not broadcast to an example of x {x.shape}")


def cotangent(op: str, dy: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return ``dy`` as an array of the output's shape and dtype; a complex ``dy`` stays complex.

    NumPy would silently broadcast a ``dy`` of the wrong shape and return a wrong gradient, so the shape is checked. A
    VJP passes its output's shape and dtype rather than the output, so that it need not keep the output.
    """
    dy = np.asarray(dy)
    if dy.shape != shape:
        raise ValueError(f"{op}_vjp: dy has shape {dy.shape}, but the output has shape {shape}")
    if dy.dtype is not dtype and dy.dtype != dtype and dy.dtype.kind != "c":
        dy = dy.astype(dtype)
    return dy


def groups(op: str, groups: Any, in_channels: int, out_channels: int) -> None:
    """Raise unless ``groups`` is an int that divides both the input and the output channels."""
    if not is_int(groups):
        raise TypeError(f"{op}: groups must be an int, not {groups!r}")
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{op}: groups {groups} must divide the {in_channels} input and the {out_channels} output channels"
        )


def axis(op: str, axis: int, ndim: int) -> int:
    """Return ``axis`` as a non-negative index; raise a ValueError if it is out of range."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"{op}: axis {axis} is out of range for an array with {ndim} axes")
    return axis % ndim


def same_shape(op: str, xs: Sequence[Array], except_axis: int | None = None) -> None:
    """Raise unless all arrays have the same shape, ``except_axis`` aside: NumPy would broadcast some others."""
    shapes = [x.shape for x in xs]
    compared = shapes if except_axis is None else [s[:except_axis] + s[except_axis + 1 :] for s in shapes]
    if any(shape != compared[0] for shape in compared):
        on_axes = "" if except_axis is None else f" on all axes but {except_axis}"
        raise ValueError(f"{op}: the arrays' shapes must be equal{on_axes}; got {', '.join(map(str, shapes))}")
