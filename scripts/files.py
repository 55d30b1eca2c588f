"""Finding out before the work, not after it, that its results could not be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path) -> None:
    """Raise an OSError that says why, if a file could not be written at ``path``; leave everything as it is."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a directory")
    handle, temporary = _temporary_beside(path)
    os.close(handle)
    os.unlink(temporary)


def write_whole(path: Path, text: str) -> None:
    """Write a text file all at once or not at all."""
    check_writable(path)
    handle, temporary = _temporary_beside(path)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error.strerror}") from None
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _temporary_beside(path: Path) -> tuple[int, str]:
    """Open a temporary file in the folder of ``path``, from where it can be renamed to it; return handle and name."""
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from None
