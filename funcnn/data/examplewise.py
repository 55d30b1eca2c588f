"""Augmentations that change each example by itself: each shard of a batch reads and augments its own rows alone.

Such an augmentation gives the same rows whichever of the batch it is given: what it does with a row depends on the row,
the key and the row's place in the batch. It draws its random numbers for the whole batch and keeps those of the rows
that it is given; `funcnn.sharding.batch_rows` says which. The augmentations of `funcnn.data` do, and so does a
`functools.partial` of them. A function of your own is declared by `Examplewise`; otherwise it is given whole batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from funcnn.data.augmentation import cutout, jitter, random_crop, random_flip, random_scale, random_shift
from funcnn.data.lazy import Source, take
from funcnn.keys import Key
from funcnn.sharding import rows_scope
from funcnn.tree import Array

__all__ = ["Augmentation", "Augmented", "Examplewise", "augment_sources", "is_examplewise"]

Augmentation: TypeAlias = Callable[[Key, Array], Array]

_EXAMPLEWISE = (cutout, jitter, random_crop, random_flip, random_scale, random_shift)


class Examplewise:
    """Declares that an augmentation changes each example by itself, so that shards can be augmented on their own.

    Attributes
    ----------
    function : callable
        ``function(key, x) -> x``: made of augmentations of `funcnn.data`, of what treats each row alike, and of what
        draws for the batch by `batch_rows`. Threads may call it at the same time.

    Examples
    --------
    >>> from funcnn.data import random_flip, random_shift
    >>> from funcnn.keys import fold_in
    >>> def shift_and_flip(key, x):
    ...     return random_flip(fold_in(key, 1), random_shift(fold_in(key, 0), x))
    >>> augment = Examplewise(shift_and_flip)
    >>> augment((0,), np.arange(1.0, 5.0).reshape(1, 4, 1)).ravel()
    array([2., 3., 4., 0.])
    """

    def __init__(self, function: Augmentation) -> None:
        self.function = function

    def __call__(self, key: Key, x: Array) -> Array:
        return self.function(key, x)


def is_examplewise(augment: Any) -> bool:
    """Return whether an augmentation is known, or declared, to change each example by itself.

    Examples
    --------
    >>> from funcnn.data import random_shift
    >>> is_examplewise(partial(random_shift, max_shift=2)), is_examplewise(lambda key, x: random_shift(key, x))
    (True, False)
    """
    while isinstance(augment, partial):
        augment = augment.func
    return isinstance(augment, Examplewise) or any(augment is f for f in _EXAMPLEWISE)


def augment_sources(augment: Augmentation, examples: Source) -> Callable[[Key, Source], Array | Source]:
    """Return ``f(key, batch)``, the augmented batch: a source if each shard may augment its own rows, or an array.

    Parameters
    ----------
    augment : callable
    examples : source
        The first is augmented once, to learn which shape it has then.

    Examples
    --------
    >>> from funcnn.data import random_shift
    >>> x = np.arange(8.0).reshape(2, 4, 1)
    >>> augmented = augment_sources(random_shift, x)((0,), x)
    >>> bool((augmented[1:] == random_shift((0,), x)[1:]).all())
    True
    """
    if not is_examplewise(augment):
        return lambda key, batch: augment(key, np.asarray(batch))
    example_shape = np.shape(augment((0,), take(examples, slice(0, 1))))[1:]
    return partial(Augmented, augment, example_shape)


class Augmented:
    """The rows of a batch, augmented when they are read: a source.

    Attributes
    ----------
    augment : callable
        It changes each example by itself.
    key : tuple of int
    batch : source
    shape : tuple of int
        With the shape of an augmented example.

    Raises
    ------
    ValueError
        When rows are read, if they have another shape.

    Examples
    --------
    >>> from funcnn.data import random_shift
    >>> x = np.arange(8.0).reshape(2, 4, 1)
    >>> Augmented(random_shift, (4, 1), (0,), x)[1:].shape
    (1, 4, 1)
    """

    def __init__(self, augment: Augmentation, example_shape: tuple[int, ...], key: Key, batch: Source) -> None:
        self.augment, self.key, self.batch = augment, key, batch
        self.shape = (len(batch), *example_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Array:
        read = take(self.batch, rows)
        with rows_scope(rows, len(read), len(self)):
            augmented = np.asarray(self.augment(self.key, read))
        if augmented.shape != (len(read), *self.shape[1:]):
            raise ValueError(
                f"the augmentation made {augmented.shape} of rows {read.shape}, not {(len(read), *self.shape[1:])}"
            )
        return augmented

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)
