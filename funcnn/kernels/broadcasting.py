"""The adjoint of broadcasting, for the gradients of arrays that an operation repeated."""

from __future__ import annotations

from funcnn.tree import Array


def sum_to(shape: tuple[int, ...], dy: Array) -> Array:
    """Return dy summed over the axes along which an array of ``shape`` was repeated.

    Parameters
    ----------
    shape : tuple of int
        That broadcasts to dy's.
    dy : array

    Returns
    -------
    array of ``shape``
        ``dy`` itself if nothing was repeated.

    Examples
    --------
    >>> import numpy as np
    >>> sum_to((2, 1), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3.],
           [7.]])
    """
    if shape == dy.shape:
        return dy
    new = dy.ndim - len(shape)
    repeated = (a for a, s in enumerate(shape, start=new) if s != dy.shape[a])
    total: Array = dy.sum(axis=(*range(new), *repeated), keepdims=True)
    return total.reshape(shape)
