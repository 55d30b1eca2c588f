"""Built-in data sets: small ones that come with scikit-learn."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from funcnn import extras
from funcnn.tree import Array

__all__ = ["BUILTIN", "breast_cancer", "digits", "iris", "wine"]


def digits() -> tuple[Array, Array]:
    """Load scikit-learn's handwritten digits.

    Returns
    -------
    x : array of float32 (1797, 8, 8, 1), in [0, 1]
    labels : array of int (1797,), in 0..9

    Raises
    ------
    ImportError
        If scikit-learn (extra ``estimators``) is not installed.

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
    """Load scikit-learn's breast cancer data (Wisconsin, diagnostic), as measured, on scales that differ widely.

    Returns
    -------
    x : array of float32 (569, 30)
    labels : array of int (569,)
        0 for malignant, 1 for benign.

    Raises
    ------
    ImportError
        If scikit-learn (extra ``estimators``) is not installed.

    Examples
    --------
    >>> x, labels = breast_cancer()
    >>> x.shape, int(labels.sum())
    ((569, 30), 357)
    """
    bunch = _datasets().load_breast_cancer()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)


def iris() -> tuple[Array, Array]:
    """Load scikit-learn's iris data (Fisher, 1936), as measured, in centimetres.

    Returns
    -------
    x : array of float32 (150, 4)
    labels : array of int (150,)
        0 for setosa, 1 for versicolor, 2 for virginica.

    Raises
    ------
    ImportError
        If scikit-learn (extra ``estimators``) is not installed.

    Examples
    --------
    >>> x, labels = iris()
    >>> x.shape, np.bincount(labels)
    ((150, 4), array([50, 50, 50]))
    """
    bunch = _datasets().load_iris()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)


def wine() -> tuple[Array, Array]:
    """Load scikit-learn's wine data, as measured: its features differ in scale by three orders of magnitude.

    Returns
    -------
    x : array of float32 (178, 13)
    labels : array of int (178,), in 0..2

    Raises
    ------
    ImportError
        If scikit-learn (extra ``estimators``) is not installed.

    Examples
    --------
    >>> x, labels = wine()
    >>> x.shape, np.bincount(labels)
    ((178, 13), array([59, 71, 48]))
    """
    bunch = _datasets().load_wine()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)


def _datasets() -> ModuleType:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise extras.missing("scikit-learn's data sets need scikit-learn", "estimators", error) from None


_SETS: dict[str, tuple[Callable[[], tuple[Array, Array]], list[str], float]] = {
    "digits": (digits, [str(i) for i in range(10)], 16.0),
    "breast-cancer": (breast_cancer, ["malignant", "benign"], 1.0),
    "iris": (iris, ["setosa", "versicolor", "virginica"], 1.0),
    "wine": (wine, ["class_0", "class_1", "class_2"], 1.0),
}
# The names by which `funcnn.data.open` knows them.
BUILTIN = tuple(_SETS)


def load_builtin(name: str) -> tuple[Array, Array, list[str], float]:
    """Return examples, labels, the names of the classes and the full scale of a set named in `BUILTIN`."""
    load, classes, full_scale = _SETS[name]
    return *load(), list(classes), full_scale
