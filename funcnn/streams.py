"""Streams that cannot fail in the middle of a computation: on a full disk, a closed pipe, a terminal that hung up."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["guard", "occupy_descriptors"]


class _Guarded(io.RawIOBase):
    """Bytes to a stream's file until it fails: then ``failed(error)`` is called, once, and the rest is dropped."""

    def __init__(self, stream: TextIO | None, failed: Callable[[Exception], None] | None) -> None:
        self.stream, self.failed = stream, failed  # the stream, too, lest it is collected and closes its file
        self.target: Any = stream and getattr(stream.buffer, "raw", stream.buffer)
        self.broken = False

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return self.target is not None and bool(self.target.isatty())
        except (OSError, ValueError):  # closed
            return False

    def fileno(self) -> int:
        if self.target is None:
            raise io.UnsupportedOperation("fileno")
        return int(self.target.fileno())

    def write(self, content: Any) -> int:
        if not self.broken:
            try:
                if self.target is None:
                    raise OSError("it is closed")
                while (written := self.target.write(content)) is None:  # a full pipe that does not block: wait
                    select.select([], [self.target], [])
                self.target.flush()
                return int(written)
            except (OSError, ValueError) as error:  # a ValueError where the file was closed
                self.broken = True
                if self.failed:
                    self.failed(error)
        return len(content)


def guard(stream: TextIO | None, failed: Callable[[Exception], None] | None = None) -> TextIO:
    r"""Return a stream that writes to another one until that fails, and drops the rest without an error.

    Characters that its encoding lacks are escaped.

    Parameters
    ----------
    stream : text stream, optional
        None is what Python has in the place of a closed stdout or stderr: everything is dropped. A stream that is
        not an `io.TextIOWrapper` (as in a notebook) belongs to someone else, and is returned unchanged; so is one
        that is guarded.
    failed : callable, optional
        Called with the first error, and may raise another one.

    Returns
    -------
    text stream
        It has a buffer of its own, so that nothing is left in that of the other one.

    Examples
    --------
    >>> file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> with guard(file) as guarded:
    ...     print("é", file=guarded)
    >>> file.buffer.getvalue()
    b'\\xe9\n'
    >>> file.close()
    >>> print("lost", file=guard(file))
    """
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(_Guarded(None, failed)), "utf-8", line_buffering=True)
    if type(stream) is not io.TextIOWrapper or isinstance(getattr(stream.buffer, "raw", None), _Guarded):
        return stream
    with suppress(OSError, ValueError):  # the first write will find the same
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(stream, failed)),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def occupy_descriptors() -> None:
    """Open stdin, stdout and stderr on nothing where they are closed.

    Otherwise the next file that is opened becomes stdout, and receives what is printed.

    Examples
    --------
    >>> occupy_descriptors()
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
