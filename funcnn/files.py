"""Writing files: the whole content or nothing, and finding out before long work that its results cannot be written."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["check_folder", "check_writable", "make_folder", "write_atomic"]


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file completely, or not at all, which leaves what was there before.

    Parameters
    ----------
    path : path
        The folder must exist. An existing file is replaced; the new one has the permissions that the umask gives.
    content : str or bytes
        A str is written as UTF-8.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it.

    Notes
    -----
    The content goes to a hidden file in the same folder, ``.{name}.{random}.part``, which is flushed to the disk and
    renamed; then the folder is flushed as well, so that even a power cut leaves the old file or the new one. An error
    removes the hidden file; only a killed process leaves it behind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(f"{folder}/notes.txt", "all of it")
    ...     os.listdir(folder), Path(folder, "notes.txt").read_text()
    (['notes.txt'], 'all of it')
    """
    path = Path(path)
    try:
        _check_kind(path)
        temporary = _temporary_beside(path)
        try:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise _named(error, f"cannot write {path}") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an error if `write_atomic` could not write a file; leave everything as it is.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the file's name and the reason.
    """
    path = Path(path)
    try:
        _check_kind(path)
        temporary = _temporary_beside(path)
        open(temporary, "xb").close()
        temporary.unlink()
    except OSError as error:
        raise _named(error, f"cannot write {path}") from None


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, unless it exists.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the folder's name and the reason.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _named(error, f"cannot make the folder {path}") from None


def check_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder unless it exists, and raise an error if no file could be written in it.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the folder's name and the reason.
    """
    make_folder(path)
    check_writable(Path(path) / "checkpoint")


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError("it is a directory")
    if path.exists() and not path.is_file():  # a device or a pipe, which renaming would replace by a file
        raise OSError("it is not a file")


def _temporary_beside(path: Path) -> Path:
    """Return a name in the folder of ``path``, from where a file can be renamed to it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere folders cannot be opened, and renaming is all there is
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _named(error: OSError, what: str) -> OSError:
    """Return the error, of the same class, with a message that names the file."""
    return type(error)(f"{what}: {error.strerror or error}")
