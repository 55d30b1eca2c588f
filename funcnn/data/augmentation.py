"""What changes training batches at random on their way to the model: pure functions of a key and arrays.

Each takes floating arrays, whose first axis counts the examples, and raises TypeError for other dtypes and ValueError
for shapes and options that do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from funcnn import checks
from funcnn.kernels.geometry import Padding, PerAxis, geometry, per_axis
from funcnn.kernels.windows import pad
from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = ["cutout", "mixup", "one_hot", "random_crop", "random_flip", "random_shift"]


def one_hot(labels: Array, classes: int) -> Array:
    """Return labels as probabilities: 1 for the label's class, 0 for all others.

    Parameters
    ----------
    labels : array of int (N, ...), in [0, classes)
    classes : int >= 1

    Returns
    -------
    array of float32 (N, ..., classes)

    Raises
    ------
    TypeError, ValueError
        If the labels are not ints, or out of range.

    Examples
    --------
    >>> one_hot(np.array([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot: labels must be integers, not {labels.dtype}")
    if not checks.is_int(classes) or classes < 1:
        raise ValueError(f"one_hot: classes is an int >= 1, not {classes!r}")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"one_hot: labels must lie in 0..{classes - 1} for {classes} classes; "
            f"got values from {labels.min()} to {labels.max()}"
        )
    hot = np.zeros((labels.size, classes), np.float32)
    hot[np.arange(labels.size), labels.ravel()] = 1
    return hot.reshape(*labels.shape, classes)


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
    return _cut(pad(x, ((max_shift, max_shift),) * len(size)), starts, size)


def random_crop(key: Key, x: Array, size: PerAxis, *, padding: Padding = 0) -> Array:
    """Cut a window out of each image, each at its own random place.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the windows; an int applies to every spatial axis.
    padding : int, tuple of int, tuple of (lo, hi)
        Cells of zeros to add around the images first, as in `funcnn.ops.pad`.

    Returns
    -------
    array (N, size..., C)

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images, an option is out of range, or the window is larger than the images.

    Examples
    --------
    >>> random_crop((0,), np.arange(1.0, 9.0).reshape(2, 4, 1), 3)[..., 0]
    array([[2., 3., 4.],
           [6., 7., 8.]])
    """
    x = checks.images("random_crop", x)
    g = geometry("random_crop", x.shape[1:-1], size, padding=padding)
    rng = generator(key)
    starts = [rng.integers(0, places, len(x)) for places in g.out]
    return _cut(pad(x, g.padding), starts, g.window)


def _cut(x: Array, starts: Iterable[Array], size: tuple[int, ...]) -> Array:
    """Cut a window of ``size`` out of each image, at the image's own ``starts``, (N,) for each spatial axis."""
    n, rank = len(x), len(size)
    cells = [
        (start[:, None] + np.arange(s)).reshape(n, *(s if b == a else 1 for b in range(rank)))
        for a, (s, start) in enumerate(zip(size, starts, strict=True))
    ]
    return x[np.arange(n).reshape(n, *(1,) * rank), *cells]


def random_flip(key: Key, x: Array, *, axis: int = -2, probability: float = 0.5) -> Array:
    """Mirror images at random, each for itself.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    axis : int
        Of ``x``, one of the spatial ones. -2 is the last of them: left and right change places.
    probability : float in [0, 1]
        Of an image to be mirrored.

    Returns
    -------
    array, shape of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images, or an option is out of range.

    Examples
    --------
    >>> random_flip((0,), np.arange(1.0, 9.0).reshape(2, 4, 1))[..., 0]
    array([[1., 2., 3., 4.],
           [8., 7., 6., 5.]])
    """
    x = checks.images("random_flip", x)
    if checks.axis("random_flip", axis, x.ndim) in (0, x.ndim - 1):
        raise ValueError(f"random_flip: axis {axis} of x {x.shape} is not a spatial one")
    if not 0 <= probability <= 1:
        raise ValueError(f"random_flip: probability must be in [0, 1], got {probability}")
    flipped = generator(key).random((len(x), *(1,) * (x.ndim - 1))) < probability
    return np.where(flipped, np.flip(x, axis), x)


def cutout(key: Key, x: Array, size: PerAxis) -> Array:
    """Set a square of each image to 0, centred on any of its cells and clipped where it reaches beyond the border.

    T. DeVries and G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017
    (arXiv:1708.04552).

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the square; an int applies to every spatial axis. An even size reaches one cell farther to the front.

    Returns
    -------
    array, shape of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images, or ``size`` is out of range.

    Examples
    --------
    >>> cutout((0,), np.ones((2, 6, 1)), 3)[..., 0]
    array([[1., 1., 1., 1., 0., 0.],
           [1., 1., 0., 0., 0., 1.]])
    """
    x = checks.images("cutout", x)
    sizes = per_axis("cutout", "size", size, x.ndim - 2)
    rng = generator(key)
    inside = np.ones((len(x), *(1,) * (x.ndim - 1)), bool)
    for axis, (cells, width) in enumerate(zip(x.shape[1:-1], sizes, strict=True), start=1):
        start = rng.integers(0, max(cells, 1), len(x)) - width // 2
        offset = np.arange(cells) - start[:, None]
        within = (offset >= 0) & (offset < width)
        inside = inside & within.reshape(len(x), *(cells if a == axis else 1 for a in range(1, x.ndim)))
    return np.where(inside, x.dtype.type(0), x)


def mixup(key: Key, x: Array, targets: Array, *, alpha: float = 0.2) -> tuple[Array, Array]:
    """Mix each example, and its target, with another of the batch.

    H. Zhang et al., mixup: Beyond Empirical Risk Minimization, 2017 (arXiv:1710.09412). In `funcnn.training.fit`, by
    ``mix=lambda key, x, labels: mixup(key, x, one_hot(labels, 10))``.

    Parameters
    ----------
    key : tuple of int
    x : array (N, ...)
    targets : array of float (N, ...)
        Probabilities (N, C), such as `one_hot` makes of labels, or real outcomes.
    alpha : float > 0
        Small: mostly one of the two examples. 1: all proportions alike.

    Returns
    -------
    x, targets : arrays
        Of the shapes and dtypes given.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not of floats or of different length, or ``alpha`` is out of range.

    Notes
    -----
    (x_i, t_i) becomes lambda_i (x_i, t_i) + (1 - lambda_i) (x_j, t_j), j from a random permutation of the batch,
    lambda_i from Beta(alpha, alpha). Each pair has a lambda of its own, as in the paper's formula; to draw one for the
    whole batch, as is often done, has the same expectation and varies more.

    Examples
    --------
    >>> x, targets = mixup((3,), np.array([[0.0], [10.0]]), one_hot(np.array([0, 1]), 2), alpha=1.0)
    >>> x.round(2).ravel(), targets.round(3)
    (array([7.34, 1.79]), array([[0.266, 0.734],
           [0.821, 0.179]], dtype=float32))
    """
    x, targets = checks.floating("mixup: x", x), np.asarray(targets)
    if targets.dtype.kind != "f":
        raise TypeError(f"mixup: targets must be floats, not {targets.dtype}; make probabilities of labels by one_hot")
    if x.ndim < 1 or targets.ndim < 1 or len(x) != len(targets):
        raise ValueError(f"mixup: x {x.shape} and targets {targets.shape} must be of one length")
    if not 0 < alpha < math.inf:
        raise ValueError(f"mixup: alpha must be positive and finite, got {alpha}")
    rng = generator(key)
    share, other = rng.beta(alpha, alpha, len(x)), rng.permutation(len(x))

    def mixed(a: Array) -> Array:
        own = share.astype(a.dtype).reshape(-1, *(1,) * (a.ndim - 1))
        return own * a + (1 - own) * a[other]

    return mixed(x), mixed(targets)
