"""Data sets, and what is done to batches on their way to the model: pure functions of a key and arrays."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np

from funcnn.kernels import checks
from funcnn.kernels.windows import pad
from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = ["batches", "breast_cancer", "digits", "random_shift", "split"]


def digits() -> tuple[Array, Array]:
    """Load scikit-learn's handwritten digits.

    Returns
    -------
    x : array of float32 (1797, 8, 8, 1), in [0, 1]
    labels : array of int (1797,), in 0..9

    Raises
    ------
    ImportError
        If scikit-learn is not installed (``pip install funcnn[data]``).

    Examples
    --------
    >>> x, labels = digits()
    >>> x.shape, x.dtype, labels[:4]
    ((1797, 8, 8, 1), dtype('float32'), array([0, 1, 2, 3]))
    """
    bunch = _datasets().load_digits()
    return (bunch.images[..., None] / 16).astype(np.float32), bunch.target.astype(np.int64)


def breast_cancer() -> tuple[Array, Array]:
    """Load scikit-learn's breast cancer data (Wisconsin, diagnostic), as measured: its features want standardising.

    Returns
    -------
    x : array of float32 (569, 30)
    labels : array of int (569,)
        0 for malignant, 1 for benign.

    Raises
    ------
    ImportError
        If scikit-learn is not installed (``pip install funcnn[data]``).

    Examples
    --------
    >>> x, labels = breast_cancer()
    >>> x.shape, int(labels.sum())
    ((569, 30), 357)
    """
    bunch = _datasets().load_breast_cancer()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)


def _datasets() -> ModuleType:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError(f"the data come with scikit-learn: pip install 'funcnn[data]' ({error})") from None


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


def split(n: int, fractions: Sequence[float], *, key: Key) -> tuple[Array, ...]:
    """Cut the indices 0..n-1, shuffled, into parts.

    Parameters
    ----------
    n : int
    fractions : sequence of float
        Of each part but the last, which takes what is left.
    key : tuple of int

    Returns
    -------
    tuple of arrays of int
        One more than ``fractions``.

    Raises
    ------
    ValueError
        If the fractions are negative or sum to more than 1.

    Examples
    --------
    >>> test, validation, train = split(10, [0.2, 0.1], key=(0,))
    >>> len(test), len(validation), len(train)
    (2, 1, 7)
    """
    if min(fractions, default=0) < 0 or sum(fractions) > 1:
        raise ValueError(f"split: fractions must be >= 0 and sum to at most 1, got {list(fractions)}")
    ends = [round(n * f) for f in itertools.accumulate(fractions)]
    return tuple(np.split(generator(key).permutation(n), ends))


def random_shift(key: Key, x: Array, max_shift: int = 1, *, fraction: float = 1.0) -> Array:
    """Shift images, each by its own random number of cells, on each axis up to ``max_shift`` either way.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    max_shift : int >= 0
    fraction : float in [0, 1]
        Of the images, drawn at random, that are shifted; the others stay as they are.

    Returns
    -------
    array, shape of x
        Zeros where nothing moved in.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images, or an option is out of range.

    Examples
    --------
    >>> random_shift((0,), np.arange(1.0, 5.0).reshape(1, 4, 1)).ravel()
    array([2., 3., 4., 0.])
    """
    x = checks.images("random_shift", x)
    if not checks.is_int(max_shift) or max_shift < 0:
        raise ValueError(f"random_shift: max_shift is an int >= 0, not {max_shift!r}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"random_shift: fraction must be in [0, 1], got {fraction}")
    n, size = x.shape[0], x.shape[1:-1]
    rng = generator(key)
    starts = rng.integers(0, 2 * max_shift, (len(size), n), endpoint=True)
    starts[:, rng.random(n) >= fraction] = max_shift
    padded = pad(x, ((max_shift, max_shift),) * len(size))
    cells = [
        (start[:, None] + np.arange(s)).reshape(n, *(s if b == a else 1 for b in range(len(size))))
        for a, (s, start) in enumerate(zip(size, starts, strict=True))
    ]
    return padded[np.arange(n).reshape(n, *(1,) * len(size)), *cells]
