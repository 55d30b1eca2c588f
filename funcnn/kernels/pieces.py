"""A batch in pieces: what an op that sees one of them may have to know of the others.

Layers treat examples one by one, so a batch can be cut into pieces and each taken through a model on a thread of its
own (`funcnn.parallel`). Two ops look further: batch normalisation takes statistics over the whole batch, and dropout
draws one block of random numbers for it. Whoever runs the pieces says here, for the time of a call, which of them this
is; an op that asks and finds none has the whole batch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from funcnn.keys import Key, generator
from funcnn.tree import Array


class Piece(NamedTuple):
    """One piece of a batch.

    Attributes
    ----------
    first, size : int
        Its examples: ``size`` of the batch's, from index ``first`` on.
    key, batch_key : tuple of int
        The key that the piece's layers draw from, and the one that they would draw from with the whole batch, if any.
    gather : callable
        ``gather(value) -> values``: this piece's value and those that all the other pieces gave at the same time, in
        the order of the pieces; waits for them.
    """

    first: int
    size: int
    key: Key
    batch_key: Key | None
    gather: Callable[[Any], list[Any]]


def alone(value: Any) -> list[Any]:
    """Gather from nobody else."""
    return [value]


_WHOLE = Piece(0, 1, (), None, alone)
_CURRENT = ContextVar("piece", default=_WHOLE)


def current() -> Piece:
    """Return the piece that is being computed here; if none is, one that knows of no others."""
    return _CURRENT.get()


@contextmanager
def entered(piece: Piece) -> Iterator[None]:
    """Say for the time of a ``with`` block, in this thread or task, that a piece is being computed."""
    token = _CURRENT.set(piece)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Meeting:
    """Where the pieces of a batch, each on a thread of its own, exchange values.

    Two sets of slots take turns. A thread can be ahead of the others by one exchange, but it cannot begin the next but
    one, which would overwrite what they may still be reading, before all have come to the one between.
    """

    def __init__(self, pieces: int) -> None:
        self._barrier = threading.Barrier(pieces)
        self._slots: tuple[list[Any], list[Any]] = ([None] * pieces, [None] * pieces)
        self._turns = [0] * pieces

    def gather(self, piece: int, value: Any) -> list[Any]:
        """See `Piece`; raises `threading.BrokenBarrierError` if another piece has called off the exchanges."""
        slots = self._slots[self._turns[piece] % 2]
        self._turns[piece] += 1
        slots[piece] = value
        self._barrier.wait()
        return list(slots)

    def call_off(self) -> None:
        """Let nobody wait for a piece that will not come."""
        self._barrier.abort()


def keep(key: Key, rate: float, shape: tuple[int, ...], *, one_for_all: bool = False) -> Array:
    """Draw which entries of examples (N, ...) are kept when the fraction ``rate`` is dropped: in a piece, those that
    the whole batch's block has for its examples; with ``one_for_all``, shape (1, ...), those of all examples.

    An entry is kept where a number of 24 bits reaches ``rate``, as `numpy.random.Generator.random` makes one in single
    precision of each half of what the generator gives at a step, the lower half first. Comparing the halves themselves
    takes half the time. The generator can leave out as many steps as it is told to.
    """
    piece = current()
    if piece.batch_key is not None and key[: len(piece.key)] == piece.key:
        key = piece.batch_key + key[len(piece.key) :]
    bits: Any = generator(key).bit_generator
    before = 0 if one_for_all else piece.first * math.prod(shape) // piece.size
    if before:
        bits.advance(before // 2)
    first, count = before % 2, math.prod(shape)
    halves = bits.random_raw((first + count + 1) // 2).astype("<u8", copy=False).view("<u4")[first : first + count]
    return halves.reshape(shape) >= math.ceil(float(np.float32(rate)) * (1 << 24)) << 8
