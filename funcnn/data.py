"""Data sets, and what is done to batches on their way to the model: pure functions of a key and arrays."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from funcnn import checks
from funcnn.kernels.geometry import Padding, PerAxis, geometry, per_axis
from funcnn.kernels.windows import pad
from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = [
    "batches",
    "breast_cancer",
    "cutout",
    "digits",
    "mean_and_std",
    "mixup",
    "one_hot",
    "random_crop",
    "random_flip",
    "random_shift",
    "split",
    "standardize",
]


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
    table = _digits_table()
    return (table[:, :-1].reshape(-1, 8, 8, 1) / 16).astype(np.float32), table[:, -1].astype(np.int64)


def _digits_table() -> Array:
    """Return the pixels and the digit of each image, (1797, 65): from the file that scikit-learn comes with.

    Importing scikit-learn takes longer than a network takes to learn the digits; it is done only if the file is
    elsewhere.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in spec.submodule_search_locations or () if spec else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    bunch = _datasets().load_digits()
    return np.column_stack((bunch.data, bunch.target))


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


def split(n: int, fractions: Sequence[float], *, key: Key, stratify: Array | None = None) -> tuple[Array, ...]:
    """Cut the indices 0..n-1, shuffled, into parts.

    Parameters
    ----------
    n : int
    fractions : sequence of float
        Of each part but the last, which takes what is left.
    key : tuple of int
    stratify : array (n,), optional
        Labels: each part takes its share of each class, to the nearest whole examples that add up to the part's size.
        A class too small for all parts is missing in some of them.

    Returns
    -------
    tuple of arrays of int
        One more than ``fractions``, of the same sizes with and without ``stratify``.

    Raises
    ------
    ValueError
        If the fractions are negative or sum to more than 1, or there is not one label for each index.

    Notes
    -----
    Stratified, a part of m out of the r examples that are left is due m c / r of a class with c left: the whole number
    of these first, then one more where the remainder is largest, drawing lots among equals.

    Examples
    --------
    >>> test, validation, train = split(10, [0.2, 0.1], key=(0,))
    >>> len(test), len(validation), len(train)
    (2, 1, 7)
    >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    >>> [labels[part].tolist() for part in split(9, [1 / 3], key=(0,), stratify=labels)]
    [[0, 0, 1], [0, 0, 1, 1, 0, 0]]
    """
    if min(fractions, default=0) < 0 or sum(fractions) > 1:
        raise ValueError(f"split: fractions must be >= 0 and sum to at most 1, got {list(fractions)}")
    ends = [round(n * f) for f in itertools.accumulate(fractions)]
    rng = generator(key)
    order = rng.permutation(n)
    if stratify is None:
        return tuple(np.split(order, ends))
    if np.shape(stratify) != (n,):
        raise ValueError(f"split: stratify needs one label for each of {n} indices, not shape {np.shape(stratify)}")
    classes, labels = np.unique(stratify, return_inverse=True)
    parts = []
    for size in np.diff([0, *ends]):
        counts = np.bincount(labels[order], minlength=len(classes))
        due, remainder = np.divmod(size * counts, max(len(order), 1))
        most = np.lexsort((rng.random(len(classes)), -remainder))
        due[most[: size - due.sum()]] += 1
        taken = _ranks(labels[order]) < due[labels[order]]
        parts.append(order[taken])
        order = order[~taken]
    return (*parts, order)


def _ranks(labels: Array) -> Array:
    """Number the examples of each class in the order in which they come: 0, 1, 2, ..."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty_like(by_class)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks


def mean_and_std(x: Array, axes: int | tuple[int, ...] | None = 0) -> tuple[Array, Array]:
    """Return mean and standard deviation, to `standardize` by: of the training data, for all data.

    Parameters
    ----------
    x : array (N, ...)
    axes : int, tuple of int or None
        To average over: 0 for each feature by itself, all but the last for each channel, None for all values alike.

    Returns
    -------
    mean, std : arrays
        Summed in double precision, of x's dtype and number of axes. ``std`` is 0 where all values are the same.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, or there is nothing to average.

    Examples
    --------
    >>> mean_and_std(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([[2., 5.]]), array([[1., 0.]]))
    """
    x = checks.floating("mean_and_std: x", x)
    if not x.size:
        raise ValueError(f"mean_and_std: x {x.shape} has no values")
    mean, std = (f(axis=axes, dtype=np.float64, keepdims=True).astype(x.dtype) for f in (x.mean, x.std))
    # equal numbers have a mean that is off by rounding, so a std that is almost 0: useless to divide by
    return mean, np.where(np.ptp(x, axis=axes, keepdims=True) == 0, x.dtype.type(0), std)


def standardize(x: Array, mean: Array, std: Array) -> Array:
    """Return (x - mean) / std; where std is 0, it is x - mean.

    Parameters
    ----------
    x : array (N, ...)
    mean, std : arrays or floats
        As `mean_and_std` returns them; they broadcast against ``x``.

    Returns
    -------
    array, shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not of floats, the shapes do not fit, or ``std`` is negative.

    Examples
    --------
    >>> train, test = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 6.0]])
    >>> standardize(test, *mean_and_std(train))
    array([[2., 1.]])
    """
    x = checks.floating("standardize: x", x)
    mean, std = np.asarray(mean, x.dtype), np.asarray(std, x.dtype)
    for name, given in (("mean", mean), ("std", std)):
        if given.ndim > x.ndim or any(g not in (1, s) for g, s in zip(given.shape[::-1], x.shape[::-1], strict=False)):
            raise ValueError(f"standardize: {name} {given.shape} does not go with x {x.shape}")
    if (std < 0).any():
        raise ValueError(f"standardize: std must be >= 0, got {std.min()}")
    return (x - mean) / np.where(std == 0, x.dtype.type(1), std)


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
