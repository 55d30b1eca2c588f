"""Compile a function of loops for float32 and float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import config, njit

from funcnn.kernels import compilation
from funcnn.tree import Array

F = TypeVar("F", bound=Callable[..., Any])

# A function that routines call, compiled for the types that it is called with. None is called from Python or C, which
# spares the time to compile that.
helper = njit(
    nogil=True, error_model="numpy", fastmath={"contract"}, no_cpython_wrapper=True, no_cfunc_wrapper=True
)  # fmt: skip
# One that is compiled into each of its callers: vectors would go through memory from one function to another.
inlined = njit(
    nogil=True, error_model="numpy", fastmath={"contract"}, forceinline=True, no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)  # fmt: skip
_DTYPES = ("float32", "float64")
_FLOATS = frozenset(map(np.dtype, _DTYPES))
_MAX_AXES = 8  # of an array that is only read


def routine(*signatures: str, reassociate: bool = False, exact: bool = False) -> Callable[[F], F]:
    """Compile a function when its module is imported, or load it from numba's cache.

    Parameters
    ----------
    *signatures : str
        Types of the result and the arguments, as numba writes them, with T for float32 and float64: "void(R[:,::1],
        T[::1])". R is an array of T that is only read: only for these numba takes one that NumPy forbids to write to,
        or that is not aligned in memory. Numba refuses other types, so a routine is never given an array of another
        dtype, rank or contiguity than it was compiled for. Shapes are the caller's to check.
    reassociate : bool
        Sums may be taken in another order than written, so that they are vectorised. The order is the same in each run.
    exact : bool
        Every operation is rounded as NumPy rounds it.

    Returns
    -------
    callable
        The decorator. Within a routine that is not ``exact``, a multiplication and an addition may become one
        instruction ("contract"), which rounds once; NaN and infinities keep their meaning.
    """
    fastmath = set() if exact else {"contract", "reassoc"} if reassociate else {"contract"}
    types = [*dict.fromkeys(_typed(signature, dtype) for dtype in _DTYPES for signature in signatures)]

    def compiled(function: F) -> F:
        before, config.CACHE_DIR = config.CACHE_DIR, str(compilation.folder())
        try:
            return njit(types, cache=True, nogil=True, error_model="numpy", fastmath=fastmath, no_cfunc_wrapper=True)(
                function
            )
        finally:
            config.CACHE_DIR = before

    return compiled


def _typed(signature: str, dtype: str) -> str:
    """Write a dtype for T, and what R stands for as numba writes it."""
    for axes in range(1, _MAX_AXES + 1):
        read_only = f"Array({dtype}, {axes}, 'C', readonly=True, aligned=False)"
        signature = signature.replace(f"R[{':,' * (axes - 1)}::1]", read_only)
    return re.sub(r"\bT\b", dtype, signature)


def same_floats(*arrays: Array | None) -> bool:
    """Return whether all arrays, those that are None aside, are of one dtype that routines are compiled for."""
    dtype = None
    for a in arrays:  # a loop: a generator takes twice as long
        if a is None:
            continue
        if dtype is None:  # NumPy takes None for float64 where it compares dtypes
            dtype = a.dtype
        if a.dtype != dtype:
            return False
    return dtype in _FLOATS
