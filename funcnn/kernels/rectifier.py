"""The positive part of numbers, and its adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels.caching import cached_arrays
from funcnn.kernels.selection import compilable
from funcnn.tree import Array


@compilable
def rectify(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0), written to ``out`` if given, which may be x. A complex x is compared by its real part."""
    if x.dtype.kind != "f":
        return np.where(x.real <= 0, 0, x)
    # takes a third of the time of np.maximum with the Python number 0
    return np.asarray(x.clip(*_bounds(x.dtype), out))


@compilable
def rectify_adjoint(y: Array, dy: Array) -> Array:
    """Return dy where y, the positive part, is above 0, and 0 elsewhere."""
    if y.dtype.kind != "f":
        y = y.real
    dx = (y > _bounds(y.dtype)[0]).astype(dy.dtype)  # float * float is faster than float * bool
    dx *= dy
    return dx


@cached_arrays
def _bounds(dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return 0 and infinity as arrays, which saves converting Python numbers in each call."""
    zero, infinity = np.zeros((), dtype), np.full((), np.inf, dtype)
    zero.flags.writeable = infinity.flags.writeable = False
    return zero, infinity
