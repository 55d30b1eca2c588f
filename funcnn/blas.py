"""The threads of the BLAS, the library that NumPy multiplies matrices with: one, while this library computes.

A matrix product on several BLAS threads ends when the slowest has ended, and a thread whose core is taken by another
process waits for its turn, which takes milliseconds. So where the cores are busy, a product of 0.2 ms takes 30 ms or
more on two threads. On an idle machine the second thread saves half of the time of each product. It saves more than it
can cost only in products of some 2e9 multiply-adds and more (on two cores, both busy: 1e9 took 1.3 times as long on two
threads, 4e9 took 0.8), and a step with so much work is divided among Python threads (`funcnn.data_parallel`), which
wait a few times in each layer instead of in each product.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

# Environment variables that limit a BLAS, by a part of the name that NumPy was built with. A BLAS reads them once, when
# NumPy is imported.
_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "accelerate": ("VECLIB_MAXIMUM_THREADS",),
}


class _Library(NamedTuple):
    """A BLAS library that is loaded; ``set_num_threads`` may be called from any thread."""

    filepath: str
    description: str
    get_num_threads: Callable[[], int]
    set_num_threads: Callable[[int], Any]
    symbols: Any  # the library, by ctypes


# What libraries may write before and after a function's name: those of NumPy's wheels write both.
_AFFIXES = tuple(product(("", "scipy_"), ("", "64_", "_64")))


class _OneThread:
    """A ``with`` block in which the BLAS uses one thread for each thread that calls it. There is one instance.

    The number is global to the process, so the first caller to enter sets it, and the last one to leave restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0
        self._before: list[tuple[_Library, int]] = []

    def __enter__(self) -> None:
        entered = 0
        try:
            with self._lock:
                if self._callers == 0:
                    self._limit(_libraries())
                self._callers += 1
                entered = 1
        except BaseException:  # Ctrl-C: the block does not begin, so nobody leaves it
            self._leave(entered)
            raise

    def __exit__(self, *_: object) -> None:
        inside = 1
        try:
            with self._lock:
                self._callers = max(self._callers - 1, 0)  # 0 in a child process that was forked within the block
                inside = 0
                if self._callers == 0:
                    self._restore()
        except BaseException:  # Ctrl-C
            self._leave(inside)
            raise

    def _leave(self, callers: int) -> None:
        with self._lock:
            self._callers = max(self._callers - callers, 0)
            if self._callers == 0:
                self._restore()

    def find_libraries(self) -> None:
        """Look for libraries that were loaded meanwhile, and limit them as well if this is within a block."""
        with self._lock:
            known = {library.filepath for library in _libraries()}
            _libraries.cache_clear()
            if self._callers:
                self._limit(library for library in _libraries() if library.filepath not in known)

    def _limit(self, libraries: Iterable[_Library]) -> None:
        for library in libraries:
            number = library.get_num_threads()
            if number != 1:
                self._before.append((library, number))
                library.set_num_threads(1)

    def _restore(self) -> None:
        for library, number in self._before:
            library.set_num_threads(number)
        self._before = []

    def after_fork(self) -> None:
        """Begin anew in a child process, in which another thread's block never ends."""
        self._restore()
        self.__init__()  # type: ignore[misc]


one_thread = _OneThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_thread.after_fork)


def can_limit() -> bool:
    """Return whether the BLAS uses one thread within `one_thread`: by threadpoolctl, or always by its environment.

    threadpoolctl is the extra ``threads``. It finds OpenBLAS, MKL and BLIS, but not Apple's Accelerate.
    """
    return (bool(_libraries()) and not _is_accelerate()) or _limited_by_environment()


def description() -> dict[str, Any]:
    """Return name and version of NumPy's BLAS as ``blas``, and how many threads it has while this library computes.

    The number, ``blas_threads``, is left out where it is not known.
    """
    # SciPy may have brought a second library, which compiled kernels use, and NumPy does not: beside Accelerate, it is
    # the only one found.
    found = () if _is_accelerate() else _libraries()
    for library in sorted(found, key=lambda library: ("numpy" not in library.filepath, library.filepath)):
        return {"blas": library.description, "blas_threads": 1}
    name, version = _built_with()
    return {"blas": f"{name} {version}"} | ({"blas_threads": 1} if _limited_by_environment() else {})


def address(function: str) -> int | None:
    """Return the address of a function of NumPy's own BLAS, such as "sgemm_", or None where it is not found.

    Fortran passes by reference. The numbers that it reads have 64 bits, or 32: of a number of 64, the first 32.
    """
    for library in _libraries():
        found = _function(library.symbols, function) if "numpy" in library.filepath else None
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value
    return None


def _function(symbols: Any, name: str) -> Any:
    """Return a function of a library, or None if it has none of this name with any of the affixes."""
    names = (before + name + after for before, after in _AFFIXES)
    return next((symbols[name] for name in names if hasattr(symbols, name)), None)


@cache
def _libraries() -> tuple[_Library, ...]:
    """Return the BLAS libraries that threadpoolctl finds (slow to find, fast to use), none without it."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return ()
    return tuple(map(_library, ThreadpoolController().select(user_api="blas").lib_controllers))


def _library(controller: Any) -> _Library:
    """Return a library by threadpoolctl's controller of it.

    Of OpenBLAS, take the functions themselves. threadpoolctl lets only one thread set the number, the first that does,
    and silently ignores others; here the thread that enters a block first, and the one that leaves it last, may be any.
    And in each step of training, these take a third of the time.
    """
    names = (controller.internal_api, controller.version, getattr(controller, "architecture", None))
    get, set_ = controller.get_num_threads, controller.set_num_threads
    if controller.internal_api == "openblas" and controller.threading_layer != "openmp":
        get = _function(controller.dynlib, "openblas_get_num_threads") or get
        set_ = _function(controller.dynlib, "openblas_set_num_threads") or set_
    return _Library(controller.filepath, " ".join(name for name in names if name), get, set_, controller.dynlib)


def _limited_by_environment() -> bool:
    name = _built_with()[0]
    variables = next((variables for part, variables in _VARIABLES.items() if part in name.lower()), ())
    return next((os.environ[variable] for variable in variables if variable in os.environ), "") == "1"


def _is_accelerate() -> bool:
    return "accelerate" in _built_with()[0].lower()


def _built_with() -> tuple[str, str]:
    """Return name and version of the BLAS that NumPy was built with; Accelerate's version is that of macOS."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name, version = str(found.get("name", "unknown")), str(found.get("version", "unknown"))
    if "accelerate" in name.lower():
        import platform

        version = platform.mac_ver()[0]
    return name, version
