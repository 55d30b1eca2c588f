"""Which kernels compute: NumPy's, or their compiled twins in `funcnn.kernels.compiled` (extra ``fast``).

A kernel with a compiled twin is decorated with `compilable`. The twin has the same name and arguments, in the module of
the same name below `funcnn.kernels.compiled`, and gives the same result up to rounding. It returns NotImplemented for
what it does not compute, such as complex numbers: then NumPy computes it.

"numpy"
    NumPy's kernels compute everything.
"compiled"
    The twins compute whatever they can. They are compiled first, for float32 and for float64, unless they have been:
    that takes some 30 s each.
"auto"
    The twins compute arrays of `LOAD_SIZE` entries and more, where numba and SciPy are installed and the twins have
    been compiled, as by ``funcnn compile``. A long run of training compiles them, and a short one does not even load
    them (`prepare`); once a run has taken them, they compute arrays from `MIN_SIZE` entries on, or from fewer. If they
    cannot be loaded or kept, NumPy's kernels compute, after a warning. NumPy computes float64 unless the twins have
    been compiled for it, as by ``funcnn compile --float64`` or for a long run with such parameters.

`use_kernels` sets it for a block, the environment variable FUNCNN_KERNELS for a process.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from funcnn import streams
from funcnn.kernels import compilation

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["active", "agree", "compilable", "current", "deciding", "for_size", "is_open", "prepare", "use_kernels"]

CHOICES = ("auto", "numpy", "compiled")
# Entries of a kernel's first array from which on "auto" takes compiled kernels, loading them if need be; and from which
# on they gain. The second holds only once a run of training is prepared: loading them in the middle of a step would
# leave it to chance which kernels another thread takes for its smaller arrays.
LOAD_SIZE, MIN_SIZE = 1 << 16, 1 << 12
# The work of a run of training, in multiply-adds, from which on it loads the twins, which takes about a second, or
# compiles them, which takes some 30. On two cores, NumPy's kernels do 0.7e11 to 1.7e11 a second, and the twins save a
# fifth to a half of the time. To measure it again, compare jobs of scripts/bench, ``--framework funcnn`` with
# ``--framework funcnn-fast``, and see ``funcnn compile``.
LOAD_WORK, COMPILE_WORK = 5e11, 1e13
_VARIABLE = "FUNCNN_KERNELS"
_CHOICE: ContextVar[str | None] = ContextVar("kernels", default=None)


def compilable(kernel: F, *, least: int = MIN_SIZE) -> F:
    """Let a kernel's compiled twin compute it, where that is chosen for the size of the first argument.

    Once a run of training has taken the twins, this one computes arrays from ``least`` entries on: fewer than
    `MIN_SIZE` for a kernel that makes many calls of NumPy.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn.kernels.rectifier import rectify_adjoint  # is decorated
    >>> rectify_adjoint(np.array([0.0, 3.0]), np.array([5.0, 5.0]))
    array([0., 5.])
    """
    module, name = kernel.__module__, kernel.__name__

    @wraps(kernel)
    def chosen(x: Any, *args: Any) -> Any:
        choice = _CHOICE.get() or _choice_of_process()
        if choice != "numpy" and (choice == "compiled" or x.size >= (least if _TWINS.prepared else LOAD_SIZE)):
            twin = getattr(_TWINS.get(choice).get(module), name, None)
            if twin is not None and (y := twin(x, *args)) is not NotImplemented:
                return y
        return kernel(x, *args)

    return chosen  # type: ignore[return-value]


def for_size(kernel: F, size: int) -> F:
    """Return a kernel for first arguments of one size: without the choice in each call where NumPy computes these.

    Examples
    --------
    >>> from funcnn.kernels.products import product  # is decorated
    >>> with use_kernels("numpy"):
    ...     for_size(product, 100) is product
    False
    """
    return kernel if active(size) else kernel.__wrapped__  # type: ignore[attr-defined]


@contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Choose the kernels of a block, for this thread and those that compute for it.

    Parameters
    ----------
    choice : str
        "numpy", "compiled" or "auto".

    Raises
    ------
    ValueError
        If it is another.
    ImportError
        For "compiled", if numba or SciPy (extra ``fast``) is missing or cannot be used.
    OSError
        For "compiled", if what is compiled cannot be kept.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn import ops
    >>> x = np.ones((1, 8, 8, 2))
    >>> with use_kernels("numpy"):
    ...     y, vjp = ops.max_pool(x, 2)
    >>> current() in ("numpy", "compiled")
    True
    """
    _check(choice, "use_kernels")
    if choice == "compiled":
        _TWINS.get(choice)
    token = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(token)


def active(size: int, dtype: Any = np.float32) -> bool:
    """Return whether compiled kernels compute arrays of ``size`` entries, as far as they compute such arrays at all.

    Examples
    --------
    >>> with use_kernels("numpy"):
    ...     active(10**6)
    False
    """
    choice = _choice()
    if choice != "auto" or size < _TWINS.least() or not _TWINS.usable():
        return choice == "compiled"
    return _TWINS.float64 or dtype != np.float64


def current() -> str:
    """Return which kernels compute large arrays of float32: "numpy" or "compiled".

    Examples
    --------
    >>> with use_kernels("numpy"):
    ...     current()
    'numpy'
    """
    choice = _choice()
    return choice if choice != "auto" else "compiled" if _TWINS.usable() else "numpy"


def deciding() -> tuple[str, int, bool, bool]:
    """Return what decides which kernels compute: while it is the same, the same kernels compute an array of a size.

    Examples
    --------
    >>> with use_kernels("numpy"):
    ...     deciding()[0]
    'numpy'
    """
    return _choice(), _TWINS.least(), _TWINS.usable(), _TWINS.float64


def is_open(float64: bool = False) -> bool:
    """Return whether it depends on the work of a run, of float32 or of float64, which kernels compute it.

    Examples
    --------
    >>> with use_kernels("numpy"):
    ...     is_open()
    False
    """
    settled = _TWINS.prepared and _TWINS.usable() and (_TWINS.float64 or not float64)
    return _choice() == "auto" and not settled and not _TWINS.failed and compilation.is_installed()


def prepare(work: float, float64: bool = False) -> None:
    """Decide before a run of training which kernels "auto" takes, by its work: for this run and what follows.

    It compiles the twins where that pays, and says so in a line on stderr. Once they are loaded, short runs take them,
    too.

    Parameters
    ----------
    work : float
        In multiply-adds, as `funcnn.data_parallel` estimates it.
    float64 : bool
        Whether the run's parameters are of float64.

    Examples
    --------
    >>> with use_kernels("numpy"):  # nothing to decide
    ...     prepare(1e9)
    """
    if is_open(float64):
        _TWINS.prepare(work, float64)


def agree(gather: Callable[[Any], list[Any]]) -> None:
    """Let several processes use the same kernels: NumPy's, unless all have the others, and for float64 alike.

    Parameters
    ----------
    gather : callable
        As of `funcnn.process_groups.ProcessGroup`.

    Raises
    ------
    ValueError
        If "compiled" was chosen for this process, and NumPy's for another.

    Examples
    --------
    >>> with use_kernels("numpy"):
    ...     agree(lambda value: [value])
    """
    choice = _choice()
    own = current() if choice != "auto" or _TWINS.get(choice) else "numpy"
    if choice == "auto" and own == "compiled" and not _TWINS.float64:
        own = "compiled for float32"
    kernels = gather(own)
    if len({*kernels}) > 1:
        if choice == "compiled":
            others = ", ".join(str(rank) for rank, other in enumerate(kernels) if other != "compiled")
            raise ValueError(f"compiled kernels are chosen, but rank {others} computes with NumPy's")
        _TWINS.give_up()


def _choice() -> str:
    return _CHOICE.get() or _choice_of_process()


@cache
def _choice_of_process() -> str:
    choice = os.environ.get(_VARIABLE) or "auto"
    _check(choice, _VARIABLE)
    return choice


def _say_once(module: str, done: int, modules: int) -> None:
    """Print, before the first module is compiled, what takes so long."""
    if not done:
        line = "funcnn: compiling the kernels, once: some 30 s (funcnn compile does it ahead)"
        print(line, file=streams.guard(sys.stderr), flush=True)


def _check(choice: Any, where: str) -> None:
    if choice not in CHOICES:
        raise ValueError(f"{where}: kernels must be one of {', '.join(CHOICES)}, not {choice!r}")


class _Twins:
    """The twins of the process: its modules, once they are loaded. There is one instance.

    "auto" decides once, so that the results of a process do not depend on what others compile meanwhile; `prepare`
    decides anew.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.modules: dict[str, ModuleType] = {}
        self.decided = self.compiled = self.failed = False
        self.prepared = False  # whether a run of training has taken them
        self.float64 = self.has_float64 = False  # whether "auto" takes them for float64, and whether they are loaded

    def usable(self) -> bool:
        """Return whether "auto" takes the twins, as far as is known without loading them."""
        if not self.decided:
            with self.lock:
                self.compiled = self.compiled or compilation.is_compiled()
                self.float64 = self.float64 or compilation.is_compiled(float64=True)
                self.decided = True
        return self.compiled and not self.failed

    def least(self) -> int:
        """Return from how many entries on "auto" takes the twins."""
        return MIN_SIZE if self.prepared else LOAD_SIZE

    def get(self, choice: str) -> dict[str, ModuleType]:
        """Return the modules by the names of the kernels' modules; none where "auto" does not take them."""
        if choice == "compiled":
            return self.modules if self.has_float64 else self._load(float64=True)
        if self.usable():
            try:
                return self.modules if self.modules and self.has_float64 >= self.float64 else self._load(self.float64)
            except (ImportError, OSError) as error:
                self._fail(error)
        return {}

    def prepare(self, work: float, float64: bool) -> None:
        """Decide for "auto" by the work of a run."""
        with self.lock:
            pays = work >= (LOAD_WORK if compilation.is_compiled(float64) else COMPILE_WORK)
            self.compiled = pays or (bool(self.modules) and self.usable())
            self.float64 = self.float64 or (float64 and pays) or compilation.is_compiled(float64=True)
            self.decided = True
        try:
            if self.get("auto"):
                self.prepared = True
        except KeyboardInterrupt:  # whoever did not wait for them shall not wait at the next array
            self.compiled = False
            raise

    def give_up(self) -> None:
        """Leave everything to NumPy in "auto"."""
        self.decided = self.failed = True

    def _load(self, float64: bool) -> dict[str, ModuleType]:
        with self.lock:  # the first thread compiles or loads them, others wait
            if not self.modules or float64 > self.has_float64:
                self.modules = compilation.load(_say_once, float64)
                # "auto" takes what is loaded: twins do not know for which choice they are called
                self.has_float64, self.float64 = float64, self.float64 or float64
            return self.modules

    def _fail(self, error: Exception) -> None:
        with self.lock:
            if not self.failed:
                self.give_up()
                warnings.warn(f"NumPy's kernels compute, without the compiled ones: {error}", stacklevel=2)


_TWINS = _Twins()


def _after_fork() -> None:
    _TWINS.lock = threading.RLock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
