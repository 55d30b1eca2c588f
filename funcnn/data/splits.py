"""Splits: which examples to train on, and which to hold out for validation and test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from funcnn import checks
from funcnn.keys import Key, generator
from funcnn.tree import Array

__all__ = ["Splits", "hold_out", "split"]


class Splits(NamedTuple):
    """The indices of the examples for training, validation and test.

    Attributes
    ----------
    train, validation, test : arrays of int
        Indices: of the examples to train on, to validate on after each epoch, and to test on at the end.

    Examples
    --------
    >>> splits = hold_out(np.array([0, 1] * 5), test=0.2, key=(0,))
    >>> [len(part) for part in splits]
    [8, 0, 2]
    """

    train: Array
    validation: Array
    test: Array


def hold_out(
    labels: Array,
    test: float,
    validation: float = 0.0,
    *,
    key: Key,
    classes: Sequence[str] | None = None,
    given: Splits | None = None,
) -> Splits:
    """Split labelled data for training, validation and test, each class in the same proportions in all three.

    Parameters
    ----------
    labels : array of int (N,), >= 0
    test, validation : float in [0, 1)
        Fractions of all examples; 0 for none.
    key : tuple of int
    classes : sequence of str, optional
        Names of the labels 0, 1, ..., for errors. Each class must have examples.
    given : Splits, optional
        The parts that the data themselves name (`funcnn.data.Dataset.splits`), which stay what they are. Where there is
        no validation or test among them, it is held out of the part for training.

    Returns
    -------
    Splits
        Every class is in each part that has examples and is not given.

    Raises
    ------
    TypeError, ValueError
        If the labels are not ints, the fractions leave nothing to train on, or there are too few examples for each part
        to have one of each class.

    Examples
    --------
    >>> labels = np.repeat([0, 1], [70, 30])
    >>> splits = hold_out(labels, test=0.2, validation=0.1, key=(0,))
    >>> [np.bincount(labels[part]).tolist() for part in splits]
    [[49, 21], [7, 3], [14, 6]]
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise TypeError(f"hold_out: labels must be integers (N,), not {labels.dtype} {labels.shape}")
    if not (test >= 0 and validation >= 0 and test + validation < 1):
        raise ValueError(f"hold_out: test {test} and validation {validation} must be >= 0 and sum to less than 1")
    if labels.size and (labels.min() < 0 or (classes is not None and labels.max() >= len(classes))):
        below = "" if classes is None else f" and below {len(classes)}, the number of classes"
        raise ValueError(f"hold_out: labels must be >= 0{below}; they go from {labels.min()} to {labels.max()}")
    if given is not None:
        if not len(given.train):
            raise ValueError("hold_out: the data have parts for validation and test, and none to train on")
        fractions = (0.0 if len(given.test) else test, 0.0 if len(given.validation) else validation)
        rest = Splits(
            *(given.train[part] for part in hold_out(labels[given.train], *fractions, key=key, classes=classes))
        )
        validated, tested = (
            own if len(own) else held_out
            for own, held_out in ((given.validation, rest.validation), (given.test, rest.test))
        )
        return Splits(rest.train, validated, tested)
    present, counts = np.unique(labels, return_counts=True)
    if classes is not None:
        present, counts = np.arange(len(classes)), np.bincount(labels, minlength=len(classes))
    needed = 1 + bool(test) + bool(validation)
    if len(present) and counts.min() < needed:
        rarest = int(present[counts.argmin()])
        uses = ["train", *["validate"] * bool(validation), *["test"] * bool(test)]
        to = ", ".join(uses[:-1]) + "," * (len(uses) > 2) + " and " + uses[-1] if len(uses) > 1 else uses[0]
        fewer = "; validation=0 (--validation 0) takes one less" if validation and needed > 2 else ""
        raise ValueError(
            f"class {classes[rarest] if classes is not None else rarest} has {counts.min()} of {len(labels)} "
            f"examples; to {to} takes at least {needed} of each class: add examples of it, or leave it out{fewer}"
        )
    tested, validated, trained = split(len(labels), [test, validation], key=key, stratify=labels)
    splits = Splits(trained, validated, tested)
    for name, part, wanted in zip(Splits._fields, splits, (True, validation, test), strict=True):
        if wanted and len(part) < len(present):
            raise ValueError(
                f"{name} would have {len(part)} of {len(labels)} examples, too few for one of each of "
                f"{len(present)} classes, with test {test:g} and validation {validation:g}; "
                + _fractions_that_fit(len(labels), len(present), test, validation)
            )
    return splits


def _fractions_that_fit(n: int, classes: int, test: float, validation: float) -> str:
    """Return a sentence on what to hold out instead, so that each part has one example of each class."""
    least = math.ceil(100 * classes / n) / 100  # of a part
    larger = [max(fraction, least) if fraction else 0.0 for fraction in (test, validation)]
    smallest = [least if fraction else 0.0 for fraction in (test, validation)]
    for t, v in (larger, smallest, (larger[0], 0.0), (smallest[0], 0.0)):
        tested = round(n * t)
        sizes = [n - round(n * (t + v)), *[tested] * bool(t), *[round(n * (t + v)) - tested] * bool(v)]
        if min(sizes) >= classes:
            names = {**({"test": t} if test else {}), "validation": v}
            words = " and ".join(f"{name}={fraction:g}" for name, fraction in names.items())
            options = " ".join(f"--{name} {fraction:g}" for name, fraction in names.items())
            return f"{words} ({options}) {'are' if test else 'is'} possible"
    return "there are too few examples to hold any out"


def split(n: int, fractions: Sequence[float], *, key: Key, stratify: Array | None = None) -> tuple[Array, ...]:
    """Shuffle the indices 0..n-1 and split them into parts.

    Parameters
    ----------
    n : int
    fractions : sequence of float
        Of each part but the last, which takes what is left.
    key : tuple of int
    stratify : array (n,), optional
        Labels: each part has its share of each class, to the nearest whole examples that add up to the part's size.
        A class with an example for each part is in every part that is large enough to hold all classes; a smaller
        class is missing in some parts.

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
    Stratified, the quota of a class with c of the r examples that are left is m c / r in a part of m. Each class gets
    the whole number of its quota, then those with the largest remainders one more, equal ones by lot. Where this
    would leave a class out of this part or of a later one, its count is the nearest that does not.

    Examples
    --------
    >>> test, validation, train = split(10, [0.2, 0.1], key=(0,))
    >>> len(test), len(validation), len(train)
    (2, 1, 7)
    >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    >>> [labels[part].tolist() for part in split(9, [1 / 3], key=(0,), stratify=labels)]
    [[0, 0, 1], [0, 0, 1, 1, 0, 0]]
    """
    if not checks.is_int(n) or n < 0:
        raise ValueError(f"split: n must be an int >= 0, not {n!r}")
    # 1 up to rounding, as of fractions such as 0.1 and 0.7
    if not all(f >= 0 for f in fractions) or not math.fsum(fractions) <= 1 + 1e-9:
        raise ValueError(f"split: fractions must be >= 0 and sum to at most 1, got {list(fractions)}")
    ends = [min(n, round(n * f)) for f in itertools.accumulate(fractions)]
    rng = generator(key)
    order = rng.permutation(n)
    if stratify is None:
        return tuple(np.split(order, ends))
    if np.shape(stratify) != (n,):
        raise ValueError(f"split: stratify must have one label for each of {n} indices, got shape {np.shape(stratify)}")
    classes, labels = np.unique(stratify, return_inverse=True)
    sizes = np.diff([0, *ends, n])
    parts = []
    for part, size in enumerate(sizes[:-1]):
        counts = np.bincount(labels[order], minlength=len(classes))
        later = int(np.count_nonzero(sizes[part + 1 :] >= len(classes)))
        due = _examples_per_class(counts, int(size), later, rng.random(len(classes)))
        taken = _ranks(labels[order]) < due[labels[order]]
        parts.append(order[taken])
        order = order[~taken]
    return (*parts, order)


def _examples_per_class(counts: Array, size: int, later: int, lots: Array) -> Array:
    """Return how many examples of each class belong in a part.

    Parameters
    ----------
    counts : array of int (classes,)
        Examples that are left, of each class.
    size : int
        Of the part.
    later : int
        How many parts that are large enough to hold all classes come after it.
    lots : array of float (classes,)
        What decides between equal remainders.
    """
    total = max(int(counts.sum()), 1)
    quota = size * counts  # times total, so that all remainders are exact
    lowest = np.minimum(counts > later, size)
    highest = counts - np.minimum(later, np.maximum(counts - 1, 0))
    if size < len(counts):  # too small to hold all classes, so it leaves them to the later parts that can
        highest = counts - np.minimum(later, counts)
    if lowest.sum() > size:
        lowest = np.zeros_like(counts)
    due = np.clip(quota // total, lowest, highest)
    while missing := size - due.sum():
        step = 1 if missing > 0 else -1
        remainder = np.where(due < highest if step > 0 else due > lowest, step * (quota - due * total), -np.inf)
        due[np.lexsort((lots, -remainder))[0]] += step
    return due


def _ranks(labels: Array) -> Array:
    """Number the examples of each class in the order in which they come: 0, 1, 2, ..."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty_like(by_class)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks
