"""Compile a function of loops for float32 and float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

from funcnn.tree import Array

F = TypeVar("F", bound=Callable[..., Any])

_DTYPES = ("float32", "float64")
_MAX_AXES = 8  # of an array that is only read


def routine(*signatures: str, reassociate: bool = False) -> Callable[[F], F]:
    """Compile a function when its module is imported, or load it from numba's cache.

    Parameters
    ----------
    *signatures : str
        Types of the result and the arguments, as numba writes them, with T for float32 and float64: "void(R[:,::1],
        T[::1])". R is an array of T that is only read; numba takes no array that NumPy forbids to write to for
        another. Numba refuses other types, so a routine is never given an array of another dtype, rank or contiguity
        than it was compiled for. Shapes are the caller's to check.
    reassociate : bool
        Sums may be taken in another order than written, so that they are vectorised. The order is the same in each run.

    Returns
    -------
    callable
        The decorator. Within a routine, a multiplication and an addition may become one instruction ("contract"), which
        rounds once; NaN and infinities keep their meaning.
    """
    fastmath = {"contract", "reassoc"} if reassociate else {"contract"}
    types = [_typed(signature, dtype) for dtype in _DTYPES for signature in signatures]
    return njit(types, cache=True, nogil=True, error_model="numpy", fastmath=fastmath)


def _typed(signature: str, dtype: str) -> str:
    """Write a dtype for T, and what R stands for as numba writes it."""
    for axes in range(1, _MAX_AXES + 1):
        read_only = f"Array({dtype}, {axes}, 'C', readonly=True)"
        signature = signature.replace(f"R[{':,' * (axes - 1)}::1]", read_only)
    return re.sub(r"\bT\b", dtype, signature)


def same_floats(*arrays: Array | None) -> bool:
    """Return whether all arrays, those that are None aside, are of one dtype that routines are compiled for."""
    given = [a for a in arrays if a is not None]
    dtype = given[0].dtype
    return dtype in (np.float32, np.float64) and all(a.dtype == dtype and a.flags.aligned for a in given)
