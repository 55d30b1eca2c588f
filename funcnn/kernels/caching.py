"""A cache of arrays that depend on shapes alone, such as lists of indices: all functions share a limit in bytes.

A training step looks up a dozen entries. So a hit is one look-up in a dict, without a lock and without a record of its
use: where the limit is reached, the oldest entries go, whether they are in use or not. An entry in use is then computed
anew once, which costs no more than the new entry that took its place.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

LIMIT = 64 << 20  # bytes of all entries together
_OBJECT = 64  # bytes that any object counts, such as a slice


def cached_arrays(f: Callable[..., T]) -> Callable[..., T]:
    """Cache the results of a function of hashable positional arguments, within the `LIMIT` of all such functions.

    Callers must not write to the arrays of a result. A result larger than half of the limit is not kept.
    """
    results: dict[tuple[Any, ...], T] = {}

    @wraps(f)
    def cached_f(*args: Any) -> T:
        try:
            return results[args]
        except KeyError:
            pass
        result = f(*args)
        _CACHE.keep(results, args, result)
        return result

    return cached_f


def cached_bytes() -> int:
    """Return the size of all entries."""
    return _CACHE.total


class _Cache:
    """All entries, the oldest first: the dict that holds it, its key, its size. There is one instance."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: deque[tuple[dict[Any, Any], tuple[Any, ...], int]] = deque()
        self.total = 0

    def keep(self, results: dict[Any, Any], key: tuple[Any, ...], result: Any) -> None:
        size = 16 * _OBJECT + _bytes(result)
        if size > LIMIT // 2:
            return
        with self.lock:
            if key in results:  # another thread was faster
                return
            results[key] = result
            self.entries.append((results, key, size))
            self.total += size
            while self.total > LIMIT and self.entries:
                others, oldest, freed = self.entries.popleft()
                others.pop(oldest, None)
                self.total -= freed

    def unlock(self) -> None:
        self.lock = threading.Lock()


def _bytes(result: Any) -> int:
    if isinstance(result, np.ndarray):
        return _OBJECT + max(result.nbytes, 0 if result.base is None else _bytes(result.base))
    return _OBJECT + (sum(map(_bytes, result)) if isinstance(result, (tuple, list)) else 0)


_CACHE = _Cache()
if hasattr(os, "register_at_fork"):
    # a forked process does not inherit the threads, one of which may hold the lock
    os.register_at_fork(after_in_child=_CACHE.unlock)
