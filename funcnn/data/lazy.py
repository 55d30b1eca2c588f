"""Data that are read in parts, when they are used: for more than fits into memory.

A source is anything with ``shape``, ``len``, ``x[slice]`` and ``x[indices]``: arrays and memory maps of NumPy, arrays
of h5py and zarr, and `Mapped` and `Selected`, which compute their rows when they are read. All code that reads a source
calls `take`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from funcnn.tree import Array

__all__ = ["Mapped", "Selected", "Source", "as_source", "blocks", "extent", "select", "take"]

# In numbers of rows of 8 bytes each, 2 MiB. Smaller blocks cost time for each, larger ones memory: what computes on a
# block has several copies of it.
_BLOCK = 1 << 18


class Source(Protocol):
    """What can be read in parts. Rows are read by slices, or by indices that are sorted and different.

    Examples
    --------
    >>> x: Source = np.zeros((5, 2))
    >>> take(x, slice(1, 3)).shape
    (2, 2)
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


def as_source(x: Any) -> Source:
    """Return a source as it is, and anything else, such as a list or a table of pandas, as an array.

    Parameters
    ----------
    x : source or array-like

    Returns
    -------
    source

    Examples
    --------
    >>> as_source([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    # the indices of pandas' own [] are names of columns, or labels of rows
    if isinstance(x, np.ndarray) or hasattr(x, "iloc"):
        return np.asarray(x)
    return x if all(hasattr(x, name) for name in ("shape", "__len__", "__getitem__")) else np.asarray(x)


def take(source: Source, rows: slice | Array) -> Array:
    """Read rows of a source.

    Parameters
    ----------
    source : source
        It is read by a slice, or by indices that are sorted and different, as h5py demands.
    rows : slice or array of int
        Indices in any order, also repeated.

    Returns
    -------
    array
        The rows in the order of the indices.

    Raises
    ------
    ValueError
        If the source returns another number of rows, or rows of another shape than it has.

    Examples
    --------
    >>> take(np.array([[0.0], [10.0], [20.0]]), np.array([2, 0, 2])).ravel()
    array([20.,  0., 20.])
    """
    if isinstance(source, (np.ndarray, Mapped, Selected)):
        return np.asarray(source[rows])
    if isinstance(rows, slice):
        return _read(source, rows, len(range(*rows.indices(len(source)))))
    distinct, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    first, end = (int(distinct[0]), int(distinct[-1]) + 1) if len(distinct) else (0, 0)
    # neighbours by a slice: h5py reads it at once, and indices one by one
    read = _read(source, slice(first, end) if end - first == len(distinct) else distinct, len(distinct))
    return read if np.array_equal(places, np.arange(len(read))) else read[places]


def _read(source: Source, rows: slice | Array, n: int) -> Array:
    """Return what a source of somebody else's has at n rows, if it is what its shape says."""
    read = np.asarray(source[rows])
    if read.shape != (n, *source.shape[1:]):
        raise ValueError(
            f"{type(source).__name__}: {n} rows were to be read of the source of shape {tuple(source.shape)} and "
            f"length {len(source)}, and it returned {read.shape}"
        )
    return read


class Mapped:
    """The rows of a source, changed by a function when they are read.

    Attributes
    ----------
    source : source
    function : callable
        ``function(rows) -> rows``: a pure function of each row by itself. Threads may call it at the same time.
    shape, dtype
        As the function makes them of the first row.

    Raises
    ------
    ValueError
        When rows are read, if the function returns another number of them, or of another shape than of the first.

    Examples
    --------
    >>> pixels = np.full((1000, 8, 8, 1), 255, np.uint8)
    >>> x = Mapped(pixels, lambda rows: rows.astype(np.float32) / 255)
    >>> x.shape, x.dtype, x[:2].max(), x[np.array([7, 3])].shape
    ((1000, 8, 8, 1), dtype('float32'), np.float32(1.0), (2, 8, 8, 1))
    """

    def __init__(self, source: Source, function: Callable[[Array], Array]) -> None:
        self.source, self.function = source, function
        first = np.asarray(function(take(source, slice(0, 1))))
        self.shape, self.dtype = (len(source), *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Array:
        read = take(self.source, rows)
        mapped = np.asarray(self.function(read))
        if mapped.shape != (len(read), *self.shape[1:]):
            raise ValueError(
                f"Mapped: the function made {mapped.shape} of rows {read.shape}, not {(len(read), *self.shape[1:])}"
            )
        return mapped

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


class Selected:
    """Some rows of a source, in an order of their own, read from it when they are used.

    Attributes
    ----------
    source : source
    indices : array of int (N,)
    shape : tuple of int

    Examples
    --------
    >>> x = Selected(np.arange(100.0), np.array([7, 3, 5]))
    >>> x.shape, x[1:]
    ((3,), array([3., 5.]))
    """

    def __init__(self, source: Source, indices: Array) -> None:
        self.source, self.indices = source, np.asarray(indices)
        self.shape = (len(self.indices), *source.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice | Array) -> Array:
        return take(self.source, self.indices[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


def select(source: Source, indices: Array) -> Source:
    """Return rows of an array as an array, and of another source as `Selected`.

    Examples
    --------
    >>> select(np.arange(100.0), np.array([7, 3]))
    array([7., 3.])
    """
    return source[indices] if isinstance(source, np.ndarray) else Selected(source, indices)


def blocks(source: Source) -> Iterator[tuple[int, Array]]:
    """Yield all rows of a source in order, in blocks of a few MB, each with the index of its first row.

    Examples
    --------
    >>> [(start, block.shape) for start, block in blocks(np.zeros((300, 1000)))]
    [(0, (262, 1000)), (262, (38, 1000))]
    """
    rows = max(1, _BLOCK // max(1, math.prod(source.shape[1:])))
    return ((start, take(source, slice(start, start + rows))) for start in range(0, len(source), rows))


def extent(source: Source) -> tuple[Any, Any]:
    """Return the least and the largest number of a source, which must not be empty.

    Examples
    --------
    >>> extent(np.array([[3, 7], [1, 5]]))
    (np.int64(1), np.int64(7))
    """
    ends = [(block.min(), block.max()) for _, block in blocks(source)]
    lows, highs = zip(*ends, strict=True)
    return np.min(lows), np.max(highs)
