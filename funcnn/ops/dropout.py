"""Dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.keys import Key, generator
from funcnn.sharding import current_shard
from funcnn.tree import Array


def dropout(
    x: Array, *, rate: float, key: Key | None, shared_axes: Sequence[int] = ()
) -> tuple[Array, Callable[[Any], Array]]:
    """Set entries to 0 at random and scale the others up, so that the expectation does not change.

    Parameters
    ----------
    x : array, any shape
    rate : float in [0, 1)
        The fraction dropped.
    key : tuple of int
        The same key drops the same entries.
    shared_axes : sequence of int
        All entries along these axes are dropped or kept together. The spatial axes give spatial dropout, which drops
        whole channels.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> dx``

    Raises
    ------
    TypeError, ValueError
        If ``rate`` or ``shared_axes`` is out of range, or ``key`` is not a key.

    Notes
    -----
    With the fixed mask m, 0 with probability ``rate`` and else 1 / (1 - rate),

        y = m x
        dx = m dy

    N. Srivastava et al., Dropout, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> y, vjp = dropout(np.ones(6), rate=0.5, key=(0,))
    >>> y
    array([2., 2., 2., 0., 0., 0.])
    >>> bool((vjp(np.ones(6)) == y).all())
    True
    """
    x = checks.floating("dropout: x", x)
    check_rate(rate)
    if key is None:
        raise ValueError("dropout: a key is needed to drop at random, such as key=(0,)")
    shared = {checks.axis("dropout", a, x.ndim) for a in shared_axes}
    shape = tuple(1 if a in shared else s for a, s in enumerate(x.shape))
    kept = keep_mask(key, rate, shape, shared_over_batch=0 in shared)
    factor = 1 / (1 - float(rate))
    y = x * kept
    y *= factor
    shape, dtype = y.shape, y.dtype

    def dropout_vjp(dy: Any) -> Array:
        dx = checks.cotangent("dropout", dy, shape, dtype) * kept
        dx *= factor
        return dx

    return y, dropout_vjp


def check_rate(rate: float) -> None:
    """Raise a ValueError for a rate outside [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate, the fraction dropped, must be in [0, 1), not {rate}")


def keep_mask(key: Key, rate: float, shape: tuple[int, ...], *, shared_over_batch: bool = False) -> Array:
    """Draw a mask (N, ...), True for the entries to keep when the fraction ``rate`` is dropped.

    Within a shard, the mask is the shard's part of the mask of the whole batch; with ``shared_over_batch``, shape
    (1, ...), all shards draw the same mask.

    An entry is kept if a random number of 24 bits, scaled to [0, 1), is at least ``rate``. These are the numbers of
    `numpy.random.Generator.random` in single precision, which makes one from each half of the bit generator's 64-bit
    outputs, the lower half first. Comparing the halves as integers takes half the time of making floats of them.
    """
    shard = current_shard()
    if shard.batch_key is not None and key[: len(shard.key)] == shard.key:
        key = shard.batch_key + key[len(shard.key) :]
    bits: Any = generator(key).bit_generator
    skipped = 0 if shared_over_batch else shard.first * math.prod(shape) // shard.size
    if skipped:
        bits.advance(skipped // 2)
    first, count = skipped % 2, math.prod(shape)
    halves = bits.random_raw((first + count + 1) // 2).astype("<u8", copy=False).view("<u4")[first : first + count]
    return halves.reshape(shape) >= math.ceil(float(np.float32(rate)) * (1 << 24)) << 8
