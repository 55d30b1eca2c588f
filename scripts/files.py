"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path) -> None:
    """Find out before the work, not after, that a file could not be written.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If it is a directory, or nothing can be written beside it.
    """
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a directory")
    temporary = _beside(path)
    try:
        open(temporary, "xb").close()
        temporary.unlink()
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that an older one stays until this one is complete.

    Parameters
    ----------
    path : Path
    content : str or bytes
        Text is written as UTF-8.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is still there.
    """
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error.strerror or error}") from None
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
