"""Shards of a batch, and what the ops that depend on the whole batch need to know about them.

Most layers compute each example independently, so a batch can be split into shards, each computed by its own thread
or process (`funcnn.data_parallel`). Two ops depend on the whole batch: batch normalisation takes statistics over it,
and dropout draws one array of random numbers for it. The code that computes a shard does so within `shard_scope`, and
these ops call `current_shard`. Outside a scope, the current shard is the whole batch.

Likewise, the rows of a batch may be augmented by parts, within `rows_scope`; augmentations call `batch_rows`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from funcnn.keys import Key
from funcnn.tree import Array


class Shard(NamedTuple):
    """One shard of a batch.

    Attributes
    ----------
    first, size : int
        The index of its first example in the batch, and its number of examples.
    key, batch_key : tuple of int
        The model's key in this shard, and the model's key for the whole batch, if there is one.
    gather : callable
        ``gather(*arrays) -> arrays`` waits until all shards have called it with arrays of the same shapes and dtypes,
        and returns for each of them an array (shards, ...), in the order of the shards. Do not write to it.
    """

    first: int
    size: int
    key: Key
    batch_key: Key | None
    gather: Callable[..., tuple[Array, ...]]


def no_gather(*arrays: Array) -> tuple[Array, ...]:
    """Return the arrays of a single shard, the whole batch."""
    return tuple(a[None] for a in arrays)


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


_ROWS: ContextVar[tuple[slice | Array, int, int] | None] = ContextVar("rows", default=None)


@contextmanager
def rows_scope(rows: slice | Array, examples: int, batch_size: int) -> Iterator[None]:
    """Within a ``with`` block, augment ``rows`` of a batch of ``batch_size`` examples, so many of them."""
    token = _ROWS.set((rows, examples, batch_size))
    try:
        yield
    finally:
        _ROWS.reset(token)


def batch_rows(examples: int) -> tuple[int, slice | Array]:
    """Say which rows of the batch an augmentation is given: it draws for the whole batch and keeps the rows' numbers.

    Parameters
    ----------
    examples : int
        The number of examples that the augmentation is given.

    Returns
    -------
    batch_size : int
        The number of examples of the batch, for which to draw random numbers.
    rows : slice or array of int
        Those of the batch that are given, an index of what was drawn. If they are the batch, all.

    Raises
    ------
    ValueError
        If an augmentation was given other examples than those that are being augmented.

    Examples
    --------
    >>> from funcnn.keys import generator
    >>> def brighten(key, x):
    ...     batch_size, rows = batch_rows(len(x))
    ...     return x * generator(key).uniform(0.8, 1.2, (batch_size, 1, 1, 1))[rows]
    >>> brighten((0,), np.ones((3, 1, 1, 1))).ravel().round(2)
    array([1.05, 0.91, 0.82])
    """
    rows, given, batch_size = _ROWS.get() or (slice(None), examples, examples)
    if given != examples:
        raise ValueError(f"augmentation by examples: {examples} examples instead of the {given} that are augmented")
    return batch_size, rows


class AllGather:
    """Exchanges arrays between the shards of a batch, each of which runs in its own thread.

    The last thread to arrive stacks the arrays of all, and passes them to ``exchange`` before it releases the others.

    Parameters
    ----------
    shards : int
        The number of threads.
    exchange : callable
        ``exchange(*arrays) -> arrays``: adds the shards of other processes to arrays (shards, ...).
    """

    def __init__(self, shards: int, exchange: Callable[..., tuple[Array, ...]]) -> None:
        self._barrier = threading.Barrier(shards, self._stack)
        self._exchange = exchange
        self._slots: list[tuple[Array, ...]] = [()] * shards
        self._stacked: tuple[Array, ...] = ()

    def _stack(self) -> None:
        self._stacked = self._exchange(*map(np.stack, zip(*self._slots, strict=True)))

    def gather(self, shard: int, *arrays: Array) -> tuple[Array, ...]:
        """Do what `Shard.gather` does; raise `threading.BrokenBarrierError` if another shard has called `abort`."""
        self._slots[shard] = arrays
        self._barrier.wait()
        return self._stacked  # written again only when all threads have arrived again, and so have read it

    def abort(self) -> None:
        """Make `gather` raise in all shards, those that wait and those that call it later, since one has failed."""
        self._barrier.abort()


def bounds(length: int, parts: int) -> list[int]:
    """Return where parts of nearly equal size begin, and where the last one ends.

    Examples
    --------
    >>> bounds(10, 3)
    [0, 3, 6, 10]
    """
    return [length * i // parts for i in range(parts + 1)]
