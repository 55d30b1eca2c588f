"""Shards of a batch, and what the ops that depend on the whole batch need to know about them.

Most layers compute each example independently, so a batch can be split into shards, each computed by its own thread
(`funcnn.data_parallel`). Two ops depend on the whole batch: batch normalisation takes statistics over it, and dropout
draws one array of random numbers for it. The code that computes a shard does so within `shard_scope`, and these ops
call `current_shard`. Outside a scope, the current shard is the whole batch.
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
        The index of its first example in the batch, and its number of examples.
    key, batch_key : tuple of int
        The model's key in this shard, and the model's key for the whole batch, if there is one.
    gather : callable
        ``gather(value) -> values`` waits until all shards have called it, and returns their values in the order of the
        shards.
    """

    first: int
    size: int
    key: Key
    batch_key: Key | None
    gather: Callable[[Any], list[Any]]


def no_gather(value: Any) -> list[Any]:
    """Return the values of a single shard, the whole batch."""
    return [value]


_WHOLE_BATCH = Shard(0, 1, (), None, no_gather)
_CURRENT = ContextVar("shard", default=_WHOLE_BATCH)


def current_shard() -> Shard:
    """Return the shard that this thread or task is computing; outside `shard_scope`, the whole batch."""
    return _CURRENT.get()


@contextmanager
def shard_scope(shard: Shard) -> Iterator[None]:
    """Make ``shard`` the current shard of this thread or task within a ``with`` block."""
    token = _CURRENT.set(shard)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class AllGather:
    """Exchanges values between the shards of a batch, each of which runs in its own thread.

    Calls alternate between two sets of slots. A thread that returns from a call may start the next one and write to the
    other set, while slower threads still read the first. It cannot write to the first set again before every thread has
    arrived at that next call, and so has finished reading.
    """

    def __init__(self, shards: int) -> None:
        self._barrier = threading.Barrier(shards)
        self._slots: tuple[list[Any], list[Any]] = ([None] * shards, [None] * shards)
        self._turns = [0] * shards

    def gather(self, shard: int, value: Any) -> list[Any]:
        """Do what `Shard.gather` does; raise `threading.BrokenBarrierError` if another shard has called `abort`."""
        slots = self._slots[self._turns[shard] % 2]
        self._turns[shard] += 1
        slots[shard] = value
        self._barrier.wait()
        return list(slots)

    def abort(self) -> None:
        """Make `gather` raise in all shards, those that wait and those that call it later, since one has failed."""
        self._barrier.abort()
