"""How many threads a kernel may use.

A kernel computes on the thread that calls it, unless a caller allows more: `funcnn.data_parallel` does for a batch that
it does not divide among threads itself. Only compiled kernels use more than one.
"""

from __future__ import annotations

from contextvars import ContextVar

_ALLOWED: ContextVar[int] = ContextVar("threads", default=1)


def allowed() -> int:
    """Return how many threads a kernel may use.

    Examples
    --------
    >>> allowed()
    1
    """
    return _ALLOWED.get()


class Limit:
    """A ``with`` block in which the kernels that this thread calls may use up to ``n`` threads.

    Examples
    --------
    >>> with Limit(2):
    ...     allowed()
    2
    """

    __slots__ = ("_n", "_token")

    def __init__(self, n: int) -> None:
        self._n = n

    def __enter__(self) -> None:
        self._token = _ALLOWED.set(self._n)

    def __exit__(self, *_: object) -> None:
        _ALLOWED.reset(self._token)
