"""Writing files: completely or not at all, and checking before long work that its results can be written."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["check_folder", "check_writable", "make_folder", "write_atomic"]


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file completely, or leave it unchanged if that fails.

    Parameters
    ----------
    path : path
        The folder must exist. An existing file is replaced; the new one has the permissions that the umask gives. A
        symbolic link stays, and the file that it leads to is written.
    content : str or bytes
        A str is written as UTF-8.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it.

    Notes
    -----
    The content goes to a hidden file in the same folder, ``.{name}.{random}.part``, which is flushed to the disk and
    renamed; then the folder is flushed as well, where it may be read, so that even a power cut leaves the old file or
    the new one. An error removes the hidden file; only a killed process leaves it behind.

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
        target = Path(os.path.realpath(path))
        temporary = _temporary_path(target)
        try:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise _with_message(error, f"cannot write {path}") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an error if `write_atomic` could not write a file; leave everything as it is.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the file's name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(f"{folder}/net.safetensors")
    ...     os.listdir(folder)
    []
    """
    path = Path(path)
    try:
        _check_kind(path)
        temporary = _temporary_path(Path(os.path.realpath(path)))
        open(temporary, "xb").close()
        temporary.unlink()
    except OSError as error:
        raise _with_message(error, f"cannot write {path}") from None


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, unless it exists.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the folder's name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     make_folder(f"{folder}/runs/first")
    ...     Path(folder, "runs", "first").is_dir()
    True
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _with_message(error, f"cannot make the folder {path}") from None


def check_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder unless it exists, and raise an error if no file could be written in it.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        With the folder's name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_folder(f"{folder}/checkpoints")
    ...     os.listdir(folder)
    ['checkpoints']
    """
    make_folder(path)
    check_writable(Path(path) / "checkpoint")


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError("it is a directory")
    if path.is_symlink() and not path.exists() and os.path.islink(os.path.realpath(path)):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if path.exists() and not path.is_file():  # a device or a pipe, which renaming would replace by a file
        raise OSError("it is not a file")


def _temporary_path(path: Path) -> Path:
    """Return a temporary name in the folder of ``path``: a file can be renamed within a folder."""
    name = path.name[:50]  # file systems allow 255 bytes, which the whole of a long name and the rest would exceed
    return path.with_name(f".{name}.{secrets.token_hex(4)}.part")


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere folders cannot be opened and flushed
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder in which one may write, and which one may not read
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _with_message(error: OSError, what: str) -> OSError:
    """Return the error, of the same class, with a message that names the file."""
    return type(error)(f"{what}: {error.strerror or error}")
