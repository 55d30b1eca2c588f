"""Batches: which examples come together in a step of training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = ["batches"]


def batches(n: int, batch_size: int, *, key: Key | None = None) -> Iterator[Array]:
    """Yield arrays of indices that go through 0..n-1 once, the last one shorter if need be.

    Parameters
    ----------
    n, batch_size : int >= 1
    key : tuple of int, optional
        Shuffles. Without it, the indices come in order, and what comes in order should be in no order already: data
        sorted by class does not train.

    Returns
    -------
    iterator of arrays of int

    Raises
    ------
    ValueError
        If there are no examples, or ``batch_size`` is below 1.

    Examples
    --------
    >>> [b.tolist() for b in batches(5, 2)]
    [[0, 1], [2, 3], [4]]
    >>> sorted(int(i) for b in batches(5, 2, key=(0,)) for i in b)
    [0, 1, 2, 3, 4]
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"batches: needs at least 1 example and batches of at least 1, got {n} and {batch_size}")
    order = np.arange(n) if key is None else generator(key).permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
