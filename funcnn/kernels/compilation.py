"""Compiling the kernels' twins (`funcnn.kernels.compiled`) with numba, and keeping them for later processes.

What is compiled is kept among the user's caches, or where NUMBA_CACHE_DIR says, in a folder whose name is a digest of
all that it depends on: the twins' sources, the versions of numba, NumPy and Python, and the processor. So nothing
outdated is ever loaded. A file in it, written at the end, tells that all twins are there: numba, whose import takes a
third of a second, is not asked. There is one for float32 and one for float64, which is compiled, in as much time again,
only where it is asked for.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import pkgutil
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from funcnn import extras, files
from funcnn.kernels.interrupts import interruptible, postponed

__all__ = ["Compilation", "compile_all", "folder", "is_compiled", "is_installed", "load"]

_PACKAGE = "funcnn.kernels.compiled"
_COMPLETE = "complete-{}"  # the file that is written when all twins are compiled for a dtype
# A second process compiles these meanwhile. They take about half of the time.
_BESIDE = tuple(
    f"{_PACKAGE}.{name}"
    for name in ("conv.direct", "conv.direct_adjoints", "conv.winograd", "conv.winograd_transforms", "updates")
)
_AFTERWARDS = tuple(f"{_PACKAGE}.{name}" for name in ("conv.conv_pool", "conv.row_blocks"))  # these import both halves
_KEPT = 16  # folders: of other versions, and of other copies of this library


class Compilation(NamedTuple):
    """What `compile_all` has done.

    Attributes
    ----------
    folder : Path
        Where the compiled twins are kept.
    modules : int
    seconds : float
        0 if they had been compiled before.

    Examples
    --------
    >>> Compilation(Path("kernels"), 9, 18.5).seconds
    18.5
    """

    folder: Path
    modules: int
    seconds: float


def is_installed() -> bool:
    """Return whether numba and SciPy, the extra ``fast``, are installed. They are not imported.

    Examples
    --------
    >>> isinstance(is_installed(), bool)
    True
    """
    return find_spec("numba") is not None and find_spec("scipy") is not None


@cache
def folder() -> Path:
    """Return the folder that keeps the compiled twins of these sources, versions and processor.

    Raises
    ------
    ImportError
        If numba is not installed.
    OSError
        If the user has no folder for caches.

    Examples
    --------
    >>> is_installed() and len(folder().name)
    16
    """
    sources = Path(__file__).with_name("compiled")
    numba = find_spec("numba")
    if numba is None or numba.origin is None:
        raise ImportError("No module named 'numba'")
    digest = hashlib.blake2b(digest_size=8)
    for path in [*sorted(sources.rglob("*.py")), Path(numba.origin).with_name("_version.py")]:
        digest.update(path.read_bytes())
    # such as NUMBA_BOUNDSCHECK; joblib sets the other one in its workers, and it concerns loops that no twin has
    options = sorted(
        item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] != "NUMBA_NUM_THREADS"
    )
    instructions = np.show_config(mode="dicts")["SIMD Extensions"]
    digest.update(repr((str(sources), np.__version__, sys.version, platform.machine(), instructions, options)).encode())
    return _caches() / digest.hexdigest()


def _caches() -> Path:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen, "funcnn")
    by_system = {"win32": ("LOCALAPPDATA", "~/AppData/Local"), "darwin": ("", "~/Library/Caches")}
    variable, default = by_system.get(sys.platform, ("XDG_CACHE_HOME", "~/.cache"))
    try:
        return Path(os.environ.get(variable) or default).expanduser() / "funcnn" / "kernels"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from None


def is_compiled(float64: bool = False) -> bool:
    """Return whether all twins have been compiled before, without importing numba.

    Parameters
    ----------
    float64 : bool
        For float64, too.

    Examples
    --------
    >>> isinstance(is_compiled(), bool)
    True
    """
    if not is_installed():
        return False
    with suppress(OSError):
        return all(map(_is_complete, _dtypes(float64)))
    return False


def _dtypes(float64: bool) -> tuple[str, ...]:
    return ("float32", "float64") if float64 else ("float32",)


def _is_complete(dtype: str) -> bool:
    # numba reads from no folder that it cannot write to
    return (folder() / _COMPLETE.format(dtype)).is_file() and os.access(folder(), os.W_OK)


def compile_all(progress: Callable[[str, int, int], None] | None = None, float64: bool = False) -> Compilation:
    """Compile all twins, unless they are compiled, and import them.

    If another process is compiling them, wait for it.

    Parameters
    ----------
    progress : callable, optional
        ``progress(module, done, modules)``, called before each module is compiled for a dtype.
    float64 : bool
        Compile them for float64, too, and not for float32 alone.

    Returns
    -------
    Compilation

    Raises
    ------
    ImportError
        If numba or SciPy is missing, does not fit this Python or NumPy, or fails.
    OSError
        If the folder cannot be written, naming it.

    Examples
    --------
    >>> compile_all().modules  # doctest: +SKIP
    9
    """
    try:
        for package in ("numba", "scipy"):
            importlib.import_module(package)
    except ImportError as error:  # also where they do not fit this Python or NumPy
        raise extras.missing("compiled kernels need numba and SciPy", "fast", error) from None
    except Exception as error:  # whatever a broken numba raises
        raise ImportError(f"numba fails: {_first_line(error)}") from error
    try:
        with postponed():
            seconds = sum([_compile_or_wait(dtype, progress) for dtype in _dtypes(float64)])
    except (ImportError, OSError):
        raise
    except Exception as error:  # also of files that a crash has damaged
        kept = "; what it kept may be damaged: delete " + str(folder()) if any(folder().rglob("*.nbi")) else ""
        raise ImportError(f"numba fails to compile: {_first_line(error)}{kept}") from error
    return Compilation(folder(), len(_names()), seconds)


def _compile(name: str, dtype: str) -> None:
    """Compile a module for a dtype, or load it: for float64 after float32, for which the import does it."""
    interruptible()
    try:
        module = importlib.import_module(name)
        if dtype == "float64":
            _routines().compile_for_float64(module)
    except OSError as error:  # such as of a full disk, which numba gives without the place
        raise OSError(f"cannot keep compiled kernels in {folder()}: {error.strerror or error}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), repr(error))


def _routines() -> Any:
    return importlib.import_module(f"{_PACKAGE}.routines")


def _compile_or_wait(dtype: str, progress: Callable[[str, int, int], None] | None) -> float:
    """Compile all modules for a dtype, or load them; return the seconds that it took to compile them."""
    names, seconds = _names(), 0.0
    while not _is_complete(dtype):
        try:
            with files.locked(folder()):
                started = time.perf_counter()
                beside = [name for name in names if name in _BESIDE]
                last = beside + [name for name in names if name in _AFTERWARDS]
                with _without_collector(), _compiling(beside, dtype) as wait:
                    for done, name in enumerate([name for name in names if name not in last] + last):
                        if progress:
                            progress(name, done, len(names))
                        if name in last:
                            wait()
                        _compile(name, dtype)
                files.write_atomic(folder() / _COMPLETE.format(dtype), "")
                _remove_old()
                seconds = time.perf_counter() - started
        except BlockingIOError:  # another process is at it
            interruptible()
            time.sleep(0.1)
    for name in names:
        _compile(name, dtype)
    return seconds


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let Python not look for cycles of garbage: among all that numba makes, that takes a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _compiling(names: list[str], dtype: str) -> Iterator[Callable[[], Any]]:
    """Let another process compile modules; give a function that waits for it.

    Whether it succeeds does not matter: then they are compiled when they are compiled here.
    """
    code = (
        f"import gc, sys; gc.disable(); sys.path[:] = {sys.path}; from {__name__} import _compile\n"
        f"for name in {names}: _compile(name, {dtype!r})"
    )
    try:
        if not (names and sys.executable):
            raise FileNotFoundError
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        yield lambda: None
        return

    def wait() -> None:
        while process.poll() is None:
            interruptible()
            time.sleep(0.01)

    try:
        yield wait
    finally:
        process.kill()
        process.wait()


def load(progress: Callable[[str, int, int], None] | None = None, float64: bool = False) -> dict[str, ModuleType]:
    """Import all modules of twins and return them by the names of the modules whose kernels they are the twins of.

    Parameters
    ----------
    progress, float64
        As in `compile_all`, which is called first.

    Examples
    --------
    >>> load()["funcnn.kernels.rectifier"]  # doctest: +SKIP
    <module 'funcnn.kernels.compiled.rectifier' ...>
    """
    compile_all(progress, float64)
    if float64:
        _routines().compute_float64()
    return {name.replace(_PACKAGE, "funcnn.kernels"): sys.modules[name] for name in _names()}


@cache
def _names() -> list[str]:
    """Return the names of all modules of twins, without importing any but the packages."""

    def names(path: Path, package: str) -> Iterator[str]:
        for info in pkgutil.iter_modules([str(path)]):
            if info.ispkg:
                yield from names(path / info.name, f"{package}.{info.name}")
            else:
                yield f"{package}.{info.name}"

    return sorted(names(Path(__file__).with_name("compiled"), _PACKAGE))


def _remove_old() -> None:
    """Keep a number of folders, the newest: a version that is no longer used leaves one behind."""
    with suppress(OSError):
        others = sorted(folder().parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)
