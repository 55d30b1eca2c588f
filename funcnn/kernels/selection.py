"""Which kernels compute: NumPy's, or their compiled twins in `funcnn.kernels.compiled` (extra ``fast``).

A kernel with a compiled twin is decorated with `compilable`. The twin has the same name and arguments, in the module of
the same name below `funcnn.kernels.compiled`, and gives the same result up to rounding. It returns NotImplemented for
what it does not compute, such as complex numbers: then NumPy computes it.

"numpy"
    NumPy's kernels compute everything.
"compiled"
    The twins compute whatever they can.
"auto"
    The twins compute arrays of `MIN_SIZE` entries and more, where numba is installed.

`use_kernels` sets it for a block, the environment variable FUNCNN_KERNELS for a process.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

CHOICES = ("auto", "numpy", "compiled")
MIN_SIZE = 1 << 16  # entries of a kernel's first array: from here on, "auto" takes compiled kernels
_OF_PROCESS = os.environ.get("FUNCNN_KERNELS", "auto")
_CHOICE: ContextVar[str] = ContextVar("kernels", default=_OF_PROCESS)


def active(size: int) -> bool:
    """Return whether compiled kernels are to compute an array of ``size`` entries, where they can."""
    choice = _CHOICE.get()
    return choice == "compiled" or (choice == "auto" and size >= MIN_SIZE)


def compilable(kernel: F) -> F:
    """Let a kernel's compiled twin compute it, where that is `active` for the size of the first argument."""
    module, name = kernel.__module__.replace("funcnn.kernels", "funcnn.kernels.compiled", 1), kernel.__name__

    @wraps(kernel)
    def chosen(x: Any, *args: Any) -> Any:
        if active(x.size) and (twin := _twin(module, name)) is not None:
            y = twin(x, *args)
            if y is not NotImplemented:
                return y
        return kernel(x, *args)

    return chosen  # type: ignore[return-value]


@contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Choose the kernels of a block: "numpy", "compiled" or "auto"."""
    token = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(token)


@cache
def _twin(module: str, name: str) -> Callable[..., Any] | None:
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return None
