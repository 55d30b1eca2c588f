"""Random keys: tuples of ints that name a random stream. The same key gives the same numbers; drawing consumes nothing.

A key is a plain value: pass it to several functions, store it in a checkpoint, or extend it with `fold_in` to give each
layer, epoch or example a separate stream.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Key: TypeAlias = tuple[int, ...]

__all__ = ["Key", "fold_in", "generator", "shapes_only"]


# What keys that are no stream's begin with: a number that nobody gives by mistake.
_SHAPES_ONLY = -(2**63)


def fold_in(key: Key, i: int) -> Key:
    """Return the key of the ``i``-th stream derived from ``key``.

    Parameters
    ----------
    key : tuple of int
    i : int >= 0

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError, ValueError
        If ``key`` is not a tuple, or ``i`` is not an int >= 0. The ints in ``key`` are checked by `generator` alone.

    Examples
    --------
    >>> fold_in((7,), 3)
    (7, 3)
    """
    if not isinstance(key, tuple):
        _check_key(key)
    if type(i) is not int or i < 0:
        _check_key((i,))
    return (*key, i)


def generator(key: Key) -> np.random.Generator:
    """Return a new generator at the start of the stream that ``key`` names.

    Streams of different keys are statistically independent (NumPy's SeedSequence with a spawn key).

    Parameters
    ----------
    key : tuple of int

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError, ValueError
        If ``key`` is not a non-empty tuple of ints >= 0.

    Examples
    --------
    >>> bool((generator((0, 1)).random(3) == generator((0, 1)).random(3)).all())
    True
    """
    key = _check_key(key)
    return np.random.default_rng(np.random.SeedSequence(key[0], spawn_key=key[1:]))


def shapes_only(largest: int) -> Key:
    """Return the key of no stream: initializers make arrays of it that have a shape and a dtype, but take no memory.

    With it, ``Layer.init`` finds the shapes of parameters without drawing them. Keys that `fold_in` derives from it are
    of the same kind. `generator` refuses them.

    Parameters
    ----------
    largest : int
        How many numbers an array may have; initializers raise a ValueError for more.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> from funcnn.initializers import he_normal
    >>> he_normal(shapes_only(10**12), (1_000_000, 1_000_000)).strides
    (0, 0)
    """
    return (_SHAPES_ONLY, largest)


def largest_array(key: Key | None) -> int | None:
    """Return how many numbers an array may have, for a key that `shapes_only` made or derived; None for all others."""
    return key[1] if key and key[0] == _SHAPES_ONLY else None


def _check_key(key: Key) -> Key:
    if not isinstance(key, tuple) or not all(type(i) is int or isinstance(i, np.integer) for i in key):
        raise TypeError(f"a key must be a tuple of ints such as (0,) or (0, 3), not {key!r}")
    if not key or min(key) < 0:
        raise ValueError(f"a key must be a non-empty tuple of ints >= 0, not {key!r}")
    return key
