"""Shards of a batch: what an op that sees one of them has to know of the others.

Layers treat examples one by one, so a batch can be split into shards, and each shard goes through the model on a thread
of its own (`funcnn.data_parallel`). Two ops look further: batch normalisation takes statistics over the whole batch,
and dropout draws one block of random numbers for it. The code that runs a shard enters `shard_scope` for the time of
the call; an op asks `current_shard`. Outside every scope, the current shard is the whole batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from funcnn.keys import Key


class Shard(NamedTuple):
    """One shard of a batch.

    Attributes
    ----------
    first, size : int
        Its examples: ``size`` of the batch's, from index ``first`` on.
    key, batch_key : tuple of int
        The key that layers draw from in this shard, and the key that they would draw from with the whole batch, if any.
    gather : callable
        ``gather(value) -> values``: the values that all shards passed in the same call, in the order of the shards. It
        waits for the other shards.
    """

    first: int
    size: int
    key: Key
    batch_key: Key | None
    gather: Callable[[Any], list[Any]]


def no_gather(value: Any) -> list[Any]:
    """Gather from this shard alone."""
    return [value]


_WHOLE_BATCH = Shard(0, 1, (), None, no_gather)
_CURRENT = ContextVar("shard", default=_WHOLE_BATCH)


def current_shard() -> Shard:
    """Return the shard that is being computed in this thread or task; outside `shard_scope`, the whole batch."""
    return _CURRENT.get()


@contextmanager
def shard_scope(shard: Shard) -> Iterator[None]:
    """Make ``shard`` the current one within a ``with`` block, in this thread or task."""
    token = _CURRENT.set(shard)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class AllGather:
    """Exchanges values between the shards of a batch, each on a thread of its own.

    Two sets of slots take turns. A thread can be ahead of the others by one call, but it cannot begin the next but
    one, which would overwrite what they may still be reading, before all have come to the one between.
    """

    def __init__(self, shards: int) -> None:
        self._barrier = threading.Barrier(shards)
        self._slots: tuple[list[Any], list[Any]] = ([None] * shards, [None] * shards)
        self._turns = [0] * shards

    def gather(self, shard: int, value: Any) -> list[Any]:
        """See `Shard`; raises `threading.BrokenBarrierError` if another shard has called `abort`."""
        slots = self._slots[self._turns[shard] % 2]
        self._turns[shard] += 1
        slots[shard] = value
        self._barrier.wait()
        return list(slots)

    def abort(self) -> None:
        """Release all waiting shards with an error: one of them will not come."""
        self._barrier.abort()
