"""Writing files: completely or not at all, locked against others, and checking before long work that it will work."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

__all__ = ["check_writable", "locked", "make_folder", "new_folder", "remove_unfinished", "same_file", "write_atomic"]


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
    the new one. An error removes the hidden file; only a killed process leaves it behind, which `remove_unfinished`
    removes. While it is written it is locked, so that nobody takes it for a leftover.

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
                _lock(file.fileno())
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
                if os.name != "posix":  # elsewhere an open file cannot be renamed, nor removed by others
                    file.close()
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
        for link in (Path(path), *Path(path).parents):
            if link.is_symlink() and not link.exists():
                reason = f"{link} is a link to {os.readlink(link)}, which cannot be reached"
                raise type(error)(f"cannot make the folder {path}: {reason}") from None
        raise _with_message(error, f"cannot make the folder {path}") from None


def new_folder(parent: str | os.PathLike[str]) -> Path:
    """Make a folder that did not exist, named by the first free number from 1 on.

    Parameters
    ----------
    parent : path
        It is made unless it exists.

    Raises
    ------
    OSError
        With the folder's name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     new_folder(parent).name, new_folder(parent).name
    ('1', '2')
    """
    make_folder(parent)
    for number in count(1):
        folder = Path(parent, str(number))
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise _with_message(error, f"cannot make the folder {folder}") from None
    raise AssertionError("unreachable: count does not end")


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder for this process alone, among those that ask for it by this function.

    Parameters
    ----------
    folder : path
        It is made unless it exists.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        If it cannot be made, or no file can be written in it. All name the folder.

    Notes
    -----
    A hidden file ``.lock`` in the folder is locked. The system releases it however the process ends. On file systems
    without locks nobody is kept out.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
    ...     try:
    ...         with locked(folder):
    ...             pass
    ...     except BlockingIOError as error:
    ...         print(str(error).replace(folder, "run"))
    run is in use: another run writes its checkpoints there
    """
    make_folder(folder)
    path = Path(folder, ".lock")
    try:
        handle = _open_locked(path)
    except OSError as error:
        raise _with_message(error, f"cannot write in {folder}") from None
    if handle is None:
        raise BlockingIOError(f"{folder} is in use: another run writes its checkpoints there")
    try:
        yield
    finally:
        with suppress(OSError):  # it stays where an open file cannot be removed
            path.unlink()
        os.close(handle)


def _open_locked(path: Path) -> int | None:
    """Open and lock a file, made unless it exists; return None if another process has locked it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(handle):
                os.close(handle)
                return None
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the one who had it has removed it meanwhile


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed, or return False if another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        elif sys.platform != "emscripten":  # in a browser there is no other process, and no module fcntl
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
    return True


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Remove a hidden file that a killed `write_atomic` left behind; leave it if it is being written.

    Parameters
    ----------
    path : path

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, ".notes.txt.1f2e3d4c.part")
    ...     _ = path.write_text("half of i")
    ...     remove_unfinished(path)
    ...     path.exists()
    False
    """
    path = Path(path)
    with suppress(OSError):
        if not path.is_file() or path.stat().st_size == 0:  # an empty one may be on the point of being locked
            return
        handle = os.open(path, os.O_RDWR)
        dead = _lock(handle)
        os.close(handle)
        if dead:
            path.unlink()


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Return whether two paths lead to one file or folder, through links of any kind, whether it exists or not.

    Parameters
    ----------
    a, b : path

    Examples
    --------
    >>> same_file("net.safetensors", "../" + Path.cwd().name + "/net.safetensors")
    True
    """
    with suppress(OSError):
        return os.path.samefile(a, b)
    return os.path.normcase(os.path.realpath(a)) == os.path.normcase(os.path.realpath(b))


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
