"""Finding out before the work, not after it, that its results could not be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["check_folder", "check_writable", "write_whole"]


def check_writable(path: Path) -> None:
    """Raise an OSError that says why, if a file could not be written at ``path``; leave everything as it is."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a directory")
    if path.exists() and not path.is_file():  # a device, which would be replaced by a file
        raise OSError(f"cannot write {path}: it is not a file")
    handle, temporary = _temporary_beside(path)
    os.close(handle)
    os.unlink(temporary)


def check_folder(path: Path) -> None:
    """Make a folder if need be, and raise an OSError that says why, if no file could be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {path}: {error.strerror}") from None
    check_writable(path / "checkpoint")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file all at once or not at all, text as UTF-8."""
    check_writable(path)
    handle, temporary = _temporary_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
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
