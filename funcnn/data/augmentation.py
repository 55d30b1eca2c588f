"""Augmentation: random changes to training batches. Each is a pure function of a key and arrays.

All but `mixup` change each example by itself and draw for the batch (`funcnn.data.examplewise`), so that shards of a
batch can be augmented on their own.

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
from funcnn.sharding import batch_rows
from funcnn.tree import Array

__all__ = ["cutout", "jitter", "mixup", "one_hot", "random_crop", "random_flip", "random_scale", "random_shift"]


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
    checks.count("one_hot", "classes", classes)
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"one_hot: labels must lie in 0..{classes - 1} for {classes} classes; "
            f"got values from {labels.min()} to {labels.max()}"
        )
    hot = np.zeros((labels.size, classes), np.float32)
    hot[np.arange(labels.size), labels.ravel()] = 1
    return hot.reshape(*labels.shape, classes)


def random_shift(key: Key, x: Array, max_shift: int = 1, *, fraction: float = 1.0) -> Array:
    """Shift each image by a random number of positions, from -max_shift to max_shift, on each spatial axis.

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
    checks.count("random_shift", "max_shift", max_shift, least=0)
    checks.fraction("random_shift", "fraction", fraction)
    size, (n, rows) = x.shape[1:-1], batch_rows(len(x))
    rng = generator(key)
    starts = rng.integers(0, 2 * max_shift, (len(size), n), endpoint=True)
    starts[:, rng.random(n) >= fraction] = max_shift
    return _cut(pad(x, ((max_shift, max_shift),) * len(size)), starts[:, rows], size)


def random_crop(key: Key, x: Array, size: PerAxis, *, padding: Padding = 0) -> Array:
    """Cut a window out of each image at a random position.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the windows; an int applies to every spatial axis.
    padding : int, tuple of int, tuple of (lo, hi)
        Zeros to add around the images first, as in `funcnn.ops.pad`.

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
    rng, (n, rows) = generator(key), batch_rows(len(x))
    starts = [rng.integers(0, windows, n)[rows] for windows in g.out]
    return _cut(pad(x, g.padding), starts, g.window)


def _cut(x: Array, starts: Iterable[Array], size: tuple[int, ...]) -> Array:
    """Cut a window of ``size`` out of each image, at the image's own ``starts``, (N,) for each spatial axis."""
    n, rank = len(x), len(size)
    indices = [
        (start[:, None] + np.arange(s)).reshape(n, *(s if b == a else 1 for b in range(rank)))
        for a, (s, start) in enumerate(zip(size, starts, strict=True))
    ]
    return x[np.arange(n).reshape(n, *(1,) * rank), *indices]


def random_flip(key: Key, x: Array, *, axis: int = -2, probability: float = 0.5) -> Array:
    """Mirror each image with a given probability.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    axis : int
        Of ``x``, one of the spatial ones. -2 is the last of them: left and right are swapped.
    probability : float in [0, 1]
        That an image is mirrored.

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
        raise ValueError(f"random_flip: axis must be a spatial axis of x {x.shape}, got {axis}")
    checks.fraction("random_flip", "probability", probability)
    n, rows = batch_rows(len(x))
    flipped = generator(key).random((n, *(1,) * (x.ndim - 1)))[rows] < probability
    return np.where(flipped, np.flip(x, axis), x)


def jitter(key: Key, x: Array, std: float = 0.03) -> Array:
    """Add noise to each value, from a normal distribution of mean 0.

    With `random_scale` and `random_shift`, the usual augmentations of time series (N, time, C): T. Um et al., Data
    Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring Using Convolutional Neural Networks, 2017
    (arXiv:1706.00527).

    Parameters
    ----------
    key : tuple of int
    x : array (N, ...)
    std : float >= 0
        The standard deviation of the noise, in the unit of ``x``.

    Returns
    -------
    array, shape of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of floats, or ``std`` is out of range.

    Examples
    --------
    >>> jitter((0,), np.ones((1, 3, 1)), 0.1).ravel().round(3)
    array([1.013, 0.987, 1.064])
    """
    x = checks.floating("jitter: x", x)
    _check_std("jitter", std)
    n, rows = batch_rows(len(x))
    return x + np.asarray(generator(key).normal(0.0, std, (n, *x.shape[1:]))[rows], x.dtype)


def random_scale(key: Key, x: Array, std: float = 0.1) -> Array:
    """Multiply each channel of each example by a random factor, from a normal distribution of mean 1.

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    std : float >= 0
        The standard deviation of the factors.

    Returns
    -------
    array, shape of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float examples (N, S..., C), or ``std`` is out of range.

    Examples
    --------
    >>> random_scale((0,), np.array([[[1.0], [2.0]], [[1.0], [2.0]]]), 0.5)[..., 0].round(2)
    array([[1.06, 2.13],
           [0.93, 1.87]])
    """
    x = checks.images("random_scale", x)
    _check_std("random_scale", std)
    n, rows = batch_rows(len(x))
    shape = (n, *(1,) * (x.ndim - 2), x.shape[-1])
    return x * np.asarray(generator(key).normal(1.0, std, shape)[rows], x.dtype)


def _check_std(where: str, std: float) -> None:
    if not 0 <= std < math.inf:
        raise ValueError(f"{where}: std must be a finite number >= 0, got {std}")


def cutout(key: Key, x: Array, size: PerAxis) -> Array:
    """Set a square of each image to 0, centred on a random position and clipped at the border.

    T. DeVries and G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017
    (arXiv:1708.04552).

    Parameters
    ----------
    key : tuple of int
    x : array (N, S..., C)
    size : int or tuple of int, >= 1
        Of the square; an int applies to every spatial axis. An even size reaches one position farther before the centre
        than after it.

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
    rng, (n, rows) = generator(key), batch_rows(len(x))
    inside = np.ones((len(x), *(1,) * (x.ndim - 1)), bool)
    for axis, (length, width) in enumerate(zip(x.shape[1:-1], sizes, strict=True), start=1):
        start = rng.integers(0, max(length, 1), n)[rows] - width // 2
        offset = np.arange(length) - start[:, None]
        within = (offset >= 0) & (offset < width)
        inside = inside & within.reshape(len(x), *(length if a == axis else 1 for a in range(1, x.ndim)))
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
        Small: mostly one of the two examples. 1: all proportions are equally likely.

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
    lambda_i from Beta(alpha, alpha). Each pair has its own lambda, as in the paper's formula; to draw one for the
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
