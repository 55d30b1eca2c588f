"""How many threads a kernel may use.

A kernel computes on the thread that calls it, unless a caller allows more: `funcnn.data_parallel` does for a batch that
it does not divide among threads itself. Only compiled kernels use more than one.
"""

from __future__ import annotations

from contextvars import ContextVar

# Work that takes one thread some 50 us. On two, less work takes as long: each first gets the other's results from the
# other's cache.
_MIN_WORK = 1 << 22
# What a pass over memory takes for a number, in multiply-adds of a product that take as long.
_WORK_OF_PASS = 32
_ALLOWED: ContextVar[int] = ContextVar("threads", default=1)


def worth(work: float) -> int:
    """Return how many threads a kernel should use for so much work, in multiply-adds of a matrix product.

    Examples
    --------
    >>> with Limit(2):
    ...     worth(1000), worth(10**8)
    (1, 2)
    """
    return _ALLOWED.get() if work >= _MIN_WORK else 1


def worth_passes(size: int) -> int:
    """Return how many threads a kernel should use that passes over so many numbers, and does little with each.

    Examples
    --------
    >>> with Limit(2):
    ...     worth_passes(1000), worth_passes(10**6)
    (1, 2)
    """
    return worth(_WORK_OF_PASS * size)


class Limit:
    """A ``with`` block in which the kernels that this thread calls may use up to ``n`` threads.

    Examples
    --------
    >>> with Limit(2):
    ...     worth(10**8)
    2
    >>> worth(10**8)
    1
    """

    __slots__ = ("_n", "_token")

    def __init__(self, n: int) -> None:
        self._n = n

    def __enter__(self) -> None:
        self._token = _ALLOWED.set(self._n)

    def __exit__(self, *_: object) -> None:
        _ALLOWED.reset(self._token)
