"""Batches: the examples of each training step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from funcnn import checks
from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = ["batches"]


def batches(n: int, batch_size: int, *, key: Key | None = None) -> Iterator[Array]:
    """Yield the indices 0..n-1 in arrays of ``batch_size``; the last may be shorter.

    Parameters
    ----------
    n, batch_size : int >= 1
    key : tuple of int, optional
        Shuffles the indices. Without it they come in order; then the data themselves must be shuffled, since data
        sorted by class do not train.

    Returns
    -------
    iterator of arrays of int

    Raises
    ------
    TypeError, ValueError
        If a number is not an int, there are no examples, or ``batch_size`` is below 1.

    Examples
    --------
    >>> [b.tolist() for b in batches(5, 2)]
    [[0, 1], [2, 3], [4]]
    >>> sorted(int(i) for b in batches(5, 2, key=(0,)) for i in b)
    [0, 1, 2, 3, 4]
    """
    checks.count("batches", "n", n)
    checks.count("batches", "batch_size", batch_size)
    order = np.arange(n) if key is None else generator(key).permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
