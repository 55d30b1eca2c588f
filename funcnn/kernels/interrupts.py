"""Ctrl-C while numba compiles: between two routines, as numba loses an exception that comes in the middle of one.

It calls Python from compiled code, which prints an exception and drops it, and then fails of something else.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["interruptible", "postponed"]

_POSTPONED: list[Callable[[], Any]] = []


@contextmanager
def postponed() -> Iterator[None]:
    """Let signals that Python code handles, such as Ctrl-C, wait in this block for `interruptible`, or for its end.

    Examples
    --------
    >>> with postponed():
    ...     interruptible()
    """
    handlers: dict[int, Callable[..., Any]] = {}
    if threading.current_thread() is threading.main_thread():  # others get no signals
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            handler = signal.getsignal(getattr(signal, name, signal.SIGINT))  # Windows has no SIGHUP
            if callable(handler):
                handlers[getattr(signal, name, signal.SIGINT)] = handler

    def postpone(number: int, frame: Any) -> None:
        _POSTPONED.append(partial(handlers[number], number, frame))

    try:
        for number in handlers:
            signal.signal(number, postpone)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        interruptible()


def interruptible() -> None:
    """Handle signals that have been postponed, which raises KeyboardInterrupt after Ctrl-C.

    Examples
    --------
    >>> interruptible()
    """
    if threading.current_thread() is threading.main_thread():
        while _POSTPONED:
            _POSTPONED.pop()()
