"""Labels from arrays: which class each example is of, and the names of the classes."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence

import numpy as np

from funcnn.data.lazy import Source
from funcnn.tree import Array

__all__ = ["REGRESSION", "check_classes", "read_labels"]

REGRESSION = "to predict numbers, funcnn.estimators.ConvNetRegressor in Python takes them"


def read_labels(y: Array, names: Array | None, x: Source, where: str) -> tuple[Array, list[str]]:
    """Return labels as indices, and the classes that they index.

    Parameters
    ----------
    y : array (N,) or (N, 1)
        Whole numbers of any dtype, or names: str, or bytes in UTF-8. Blanks around names do not count.
    names : array (C,), optional
        Of the classes that are numbered 0, 1, ... in ``y``.
    x : array or source (N, ...)
        The examples.
    where : str
        What error messages begin with: the name of the file.

    Returns
    -------
    labels : array of int (N,)
    classes : list of str

    Raises
    ------
    ValueError
        If ``y`` or ``names`` is none of these; the message names the array, and the first entry that is wrong.

    Examples
    --------
    >>> read_labels(np.array([7.0, 3.0, 7.0]), None, np.ones((3, 2)), "data.npz")
    (array([1, 0, 1]), ['3', '7'])
    >>> read_labels(np.array([1, 0, 1]), np.array([b"ant", b"bee"]), np.ones((3, 2)), "data.npz")
    (array([1, 0, 1]), ['ant', 'bee'])
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != x.shape[:1]:
        one_hot = "; of one-hot rows, save y.argmax(axis=1)" if y.ndim == 2 and len(y) == len(x) else ""
        raise ValueError(
            f"{where}: y must have one label for each of the {len(x)} examples of x {x.shape}, got {y.shape}{one_hot}"
        )
    if y.dtype.kind in "SU":
        distinct, inverse = np.unique(y, return_inverse=True)
        texts = _texts(distinct, y, "y", where)
        if names is not None:
            raise ValueError(f"{where}: classes names the numbers of y, and y is of names such as {texts[0]}")
        merged, numbers = np.unique(texts, return_inverse=True)
        return numbers.astype(np.int64)[inverse], merged.tolist()
    found, inverse = np.unique(_whole_numbers(y, where), return_inverse=True)
    if names is None:
        return inverse.astype(np.int64), [str(c) for c in found.tolist()]
    classes = _class_names(names, where)
    outside = found[(found < 0) | (found >= len(classes))]
    if len(outside):
        raise ValueError(
            f"{where}: classes has {len(classes)} names, y goes from {found[0]} to {found[-1]}, the first without a "
            f"name is y[{np.argmax((y < 0) | (y >= len(classes)))}]"
        )
    return found.astype(np.int64)[inverse], classes


def check_classes(where: str, classes: Sequence[str], examples: int) -> None:
    """Refuse classes that are measurements, and warn of those that may be, or that are one class written twice.

    Parameters
    ----------
    where : str
        What messages begin with.
    classes : sequence of str
    examples : int
        How many there are.

    Raises
    ------
    ValueError
        If there are more than ten whole numbers, and fewer than three examples of each on average.

    Warns
    -----
    UserWarning
        If there are more than twenty whole numbers with gaps between them; if names differ in blanks, in upper
        and lower case, or in how their characters are encoded.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     check_classes("pets.csv", ["Cat", "cat", "dog"], 30)
    >>> str(caught[0].message)
    'pets.csv: the classes Cat and cat are written almost alike; if they are one, write them alike'
    """
    if len(classes) > 10 and all(name.lstrip("-").isdecimal() for name in classes):
        numbers = [int(name) for name in classes]
        found = f"{where}: the labels are {len(numbers)} different numbers, from {min(numbers)} to {max(numbers)}"
        if examples < 3 * len(numbers):
            raise ValueError(f"{found}, of {examples} examples: too many for classes; {REGRESSION}")
        if len(numbers) > 20 and max(numbers) - min(numbers) >= len(numbers):
            warnings.warn(f"{found}, and each is taken for a class; {REGRESSION}", stacklevel=4)
    alike: dict[str, str] = {}
    for name in classes:
        if len(name) > 1:  # a and A may be letters
            written = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
            if (first := alike.setdefault(written, name)) != name:
                warnings.warn(
                    f"{where}: the classes {first} and {name} are written almost alike; if they are one, write them "
                    "alike",
                    stacklevel=4,
                )


def _whole_numbers(y: Array, where: str) -> Array:
    """Return labels that are numbers as integers."""
    if y.dtype.kind == "f":
        bad = ~np.isfinite(y) | (y != np.round(y))
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(f"{where}: y must be whole numbers or names, got {y[at]} at y[{at}]; {REGRESSION}")
        largest = 2.0 ** (np.finfo(y.dtype).nmant + 1)  # up to here, each whole number is one of its own
        bad = abs(y) > min(largest, 2.0**53)
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(
                f"{where}: y has labels up to {abs(y).max():g}, too large to be whole numbers in {y.dtype}; "
                f"the first is y[{at}]"
            )
        return y.astype(np.int64)
    if y.dtype.kind not in "biu":
        raise ValueError(f"{where}: y must be whole numbers or names, not {y.dtype}; y[0] is {y[0]!r}")
    return y


def _class_names(names: Array, where: str) -> list[str]:
    if names.ndim != 1 or names.dtype.kind not in "SUiu":
        raise ValueError(f"{where}: classes must be names, str (C,), not {names.dtype} {names.shape}")
    texts = (
        _texts(names, names, "classes", where) if names.dtype.kind in "SU" else [str(name) for name in names.tolist()]
    )
    for i, name in enumerate(texts):
        if name in texts[:i]:
            raise ValueError(f"{where}: classes has {name} more than once, at classes[{texts.index(name)}] and [{i}]")
    return texts


def _texts(names: Array, within: Array, array: str, where: str) -> list[str]:
    """Return names as str without blanks around them; an error says where in ``within`` the wrong one is first."""
    texts = []
    for name in names:
        try:
            text, wrong = (name.decode() if isinstance(name, bytes) else str(name)).strip(" "), "an empty name"
        except UnicodeDecodeError:
            text, wrong = "", "not in UTF-8; save names as str"
        if not text:
            raise ValueError(f"{where}: {array}[{np.argmax(within == name)}] is {name.tolist()!r}, {wrong}")
        texts.append(text)
    return texts
