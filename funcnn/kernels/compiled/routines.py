"""Compile a function of loops for float32 when its module is imported, and for float64 where that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numba import config, njit
from numba.np import linalg

from funcnn.kernels import compilation
from funcnn.kernels.interrupts import interruptible
from funcnn.tree import Array

F = TypeVar("F", bound=Callable[..., Any])


def _import_without_scipy() -> None:
    """Import the part of numba that asks whether there is a BLAS for its own products, which no routine uses.

    It would import all of scipy.linalg to find out, which takes as long as all the rest of numba. Whoever compiles such
    products elsewhere imports SciPy then.
    """
    ensure_blas, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas


_import_without_scipy()
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
_COMPUTED: set[np.dtype[Any]] = {np.dtype(np.float32)}  # by the routines of this process
_MAX_AXES = 8  # of an array that is only read


def routine(*signatures: str, reassociate: bool = False, exact: bool = False) -> Callable[[F], F]:
    """Compile a function for float32 when its module is imported, or load it from numba's cache.

    `compile_for_float64` adds float64.

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

    def compiled(function: F) -> F:
        function.signatures = signatures  # type: ignore[attr-defined]
        before, config.CACHE_DIR = config.CACHE_DIR, str(compilation.folder())
        try:
            dispatcher = njit(cache=True, nogil=True, error_model="numpy", fastmath=fastmath, no_cfunc_wrapper=True)(
                function
            )
        finally:
            config.CACHE_DIR = before
        _compile(dispatcher, signatures, "float32")
        return dispatcher

    return compiled


def compile_for_float64(module: ModuleType) -> None:
    """Compile the routines that a module has, those that it imports first, or load them from numba's cache."""
    for function in vars(module).values():
        _compile(function, getattr(getattr(function, "py_func", None), "signatures", ()), "float64")


def compute_float64() -> None:
    """Let twins compute float64, for which all routines have been compiled; until then they leave it to NumPy."""
    _COMPUTED.add(np.dtype(np.float64))


def _compile(dispatcher: Any, signatures: tuple[str, ...], dtype: str) -> None:
    """Compile a routine for signatures, where it is not yet, and for no others."""
    if signatures:
        interruptible()
        dispatcher.disable_compile(False)
        try:
            for signature in signatures:
                dispatcher.compile(_typed(signature, dtype))
        finally:
            dispatcher.disable_compile(bool(dispatcher.signatures))  # numba refuses it to one that failed at once


def _typed(signature: str, dtype: str) -> str:
    """Write a dtype for T, and what R stands for as numba writes it."""
    for axes in range(1, _MAX_AXES + 1):
        read_only = f"Array({dtype}, {axes}, 'C', readonly=True, aligned=False)"
        signature = signature.replace(f"R[{':,' * (axes - 1)}::1]", read_only)
    return re.sub(r"\bT\b", dtype, signature)


def same_floats(*arrays: Array | None) -> bool:
    """Return whether all arrays, those that are None aside, are of one dtype, which routines compute."""
    dtype = None
    for a in arrays:  # a loop: a generator takes twice as long
        if a is None:
            continue
        if dtype is None:  # NumPy takes None for float64 where it compares dtypes
            dtype = a.dtype
        if a.dtype != dtype:
            return False
    return dtype in _COMPUTED
