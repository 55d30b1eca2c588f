"""Labelled data from built-in sets, .npz files and folders of images."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnn.data.builtin import BUILTIN, load_builtin
from funcnn.data.folders import at_least, describe_skipped, find_labelled_images
from funcnn.data.images import check_broken, check_varied, read_images, to_examples
from funcnn.data.splits import Splits
from funcnn.tree import Array

__all__ = ["Dataset", "match_classes", "open", "open_array"]


# Up to here, every whole number is a float64 of its own.
_EXACT_FLOATS = 2**53


class Dataset(NamedTuple):
    """Labelled examples.

    Attributes
    ----------
    x : array of float32 (N, height, width, channels) or (N, features)
        Not standardised: images from 0 to 1, everything else as it was found.
    labels : array of int (N,)
        Indices into ``classes``.
    classes : list of str
    names : sequence of str
        Of the files, where each example is a file; else empty.
    full_scale : float
        What the raw pixels were divided by.
    splits : Splits or None
        The parts that the data themselves name: a folder with sub-folders train and test, for example.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((3, 2), np.float32), np.array([0, 1, 0]), ["cat", "dog"])
    >>> [dataset.classes[label] for label in dataset.labels]
    ['cat', 'dog', 'cat']
    """

    x: Array
    labels: Array
    classes: list[str]
    names: Sequence[str] = ()
    full_scale: float = 1.0
    splits: Splits | None = None


def open(
    source: str | os.PathLike[str],
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    min_classes: int = 2,
    fit: str | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or path
        The name of a built-in set (`funcnn.data.BUILTIN`), an .npz file with arrays x and y (and, where y is of ints,
        their names in an array classes), or a folder with one sub-folder of images for each class. A folder may also
        have such folders for the parts of a split: train, test, and val, valid or validation.
    image_size : (height, width), optional
        That images of a folder are resized to. By default the size that most of them have, scaled so that no side is
        longer than 64 pixels. Other sources are left as they are.
    channels : 1 or 3, optional
        Of images of a folder; by default 1 if none of them has colours.
    min_classes : int
        How many classes must have examples: 2 to train, 1 is enough to evaluate.
    fit : "pad", "crop" or "stretch", optional
        What becomes of images of a folder that have another aspect than ``image_size``, as `funcnn.data.resize` says.
        By default they are padded, with a warning.
    skip_broken : bool
        Whether to leave out images of a folder that cannot be read, with a warning. By default they are an error.

    Returns
    -------
    Dataset
        Arrays as `funcnn.data.to_examples` makes them: 8-bit images divided by 255.

    Raises
    ------
    ValueError, OSError, ImportError
        If the data set does not exist or is invalid; the message names file and numbers.

    Examples
    --------
    >>> dataset = open("iris")
    >>> dataset.x.shape, dataset.classes
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    if source in BUILTIN:
        return Dataset(*load_builtin(str(source)))
    path = Path(source)
    if path.is_dir():
        return _folder(path, image_size, channels, min_classes, fit, skip_broken)
    if path.suffix == ".npz" or path.is_file():
        return _npz(path, min_classes)
    raise ValueError(
        f"no data {source}: it is neither a folder of images, nor an .npz file, nor one of {', '.join(BUILTIN)}"
    )


def open_array(path: str | os.PathLike[str]) -> Array:
    """Read the examples, x, of an .npz file; labels need not be there.

    Parameters
    ----------
    path : path

    Returns
    -------
    array of float32 (N, features) or (N, height, width, channels)
        As `funcnn.data.to_examples` makes it.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read or has no such array, naming it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/images.npz", x=np.full((2, 4, 4), 255, np.uint8))
    ...     x = open_array(f"{folder}/images.npz")
    >>> x.shape, float(x.max())
    ((2, 4, 4, 1), 1.0)
    """
    return _examples(Path(path), _arrays(Path(path)))


def match_classes(dataset: Dataset, classes: Sequence[str], where: str = "match_classes") -> Dataset:
    """Renumber the labels of a data set to index the classes of a model, matched by name.

    Parameters
    ----------
    dataset : Dataset
    classes : sequence of str
        The model's classes. Some may be missing in the data set.
    where : str
        What error messages begin with.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the data set has classes that the model does not know.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((3, 2), np.float32), np.array([0, 1, 0]), ["cat", "ant"])
    >>> match_classes(dataset, ["ant", "bee", "cat"]).labels
    array([2, 0, 2])
    """
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise ValueError(f"{where}: the model knows {', '.join(classes)}, not {', '.join(unknown)}")
    to = np.array([classes.index(name) for name in dataset.classes])
    return dataset._replace(labels=to[dataset.labels], classes=list(classes))


def _examples(path: Path, arrays: dict[str, Array]) -> Array:
    if "x" not in arrays:
        raise ValueError(f"{path}: needs an array x, and has {', '.join(arrays) or 'none'}")
    return to_examples(arrays["x"], where=str(path))


def _npz(path: Path, min_classes: int) -> Dataset:
    arrays = _arrays(path)
    if "y" not in arrays:
        raise ValueError(f"{path}: needs arrays x and y, and has {', '.join(arrays) or 'none'}")
    x, y = _examples(path, arrays), arrays["y"]
    if y.shape == (len(y), 1):
        y = y[:, 0]
    if y.ndim != 1 or len(y) != len(x):
        raise ValueError(
            f"{path}: y must have one label for each of the {len(x)} examples of x {x.shape}, got {y.shape}"
        )
    if y.dtype.kind == "f":
        if not (np.isfinite(y).all() and (y == np.round(y)).all()):
            raise ValueError(f"{path}: y must be whole numbers or names, got {y[y != np.round(y)][0]}")
        if np.abs(y).max(initial=0) > _EXACT_FLOATS:
            raise ValueError(
                f"{path}: y has labels up to {np.abs(y).max():g}, too large to be whole numbers in {y.dtype}"
            )
        y = y.astype(np.int64)
    if y.dtype.kind not in "biuUS":
        raise ValueError(f"{path}: y must be whole numbers or names, not {y.dtype}")
    if y.dtype.kind == "S":
        y = np.char.decode(y)
    found, labels = np.unique(y, return_inverse=True)
    classes = [str(c) for c in found]
    if "classes" in arrays:
        names = [str(c) for c in arrays["classes"].ravel()]
        if y.dtype.kind not in "biu":
            raise ValueError(f"{path}: classes names the numbers of y, and y is of names such as {found[0]}")
        if found[0] < 0 or found[-1] >= len(names):
            raise ValueError(f"{path}: classes has {len(names)} names, y goes from {found[0]} to {found[-1]}")
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise ValueError(f"{path}: classes has {', '.join(twice)} more than once")
        classes, labels = names, y
    return _checked_dataset(str(path), Dataset(x, labels.astype(np.int64), classes), min_classes)


def _arrays(path: Path) -> dict[str, Array]:
    import zipfile  # here, so that `import funcnn` does not pay for it: 6 ms with what it imports

    try:
        with path.open("rb") as opened:
            if opened.read(2) not in (b"PK", b"\x93N"):  # of zip and of .npy files; NumPy takes all others for pickles
                raise ValueError("it is no zip archive")
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array, not x and y")
            return {name: _array(file, name) for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an .npz file that can be read: {error}") from None
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None


def _array(file: Any, name: str) -> Array:
    try:
        return file[name]
    except ValueError as error:
        raise ValueError(f"array {name} cannot be read ({error}); names must be saved as str") from None


def _folder(
    path: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    min_classes: int,
    fit: str | None,
    skip_broken: bool,
) -> Dataset:
    found = find_labelled_images(path, min_classes)
    if found.skipped:
        warnings.warn(f"{path}: skipped {describe_skipped(found.skipped)}", stacklevel=3)
    if found.missing:
        warnings.warn(f"{path}: {'; '.join(found.missing)}", stacklevel=3)
    images = read_images(found.files, image_size, channels, fit=fit)
    check_broken(images.broken, len(found.files), skip=skip_broken)
    if min_classes > 1:
        check_varied(str(path), images.x)
    names = [str(found.files[i].relative_to(path)) for i in images.read]
    splits = found.splits and Splits(*(np.flatnonzero(np.isin(images.read, part)) for part in found.splits))
    for name, part, before in zip(Splits._fields, splits or (), found.splits or (), strict=False):
        if len(part) < len(before) and not len(part):
            raise ValueError(f"{path}: none of the {len(before)} images of the {name} part can be read")
    labels = found.labels[images.read]
    dataset = Dataset(images.x, labels, found.classes, names, full_scale=images.full_scale, splits=splits)
    return _checked_dataset(str(path), dataset, min_classes)


def _checked_dataset(where: str, dataset: Dataset, min_classes: int) -> Dataset:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    found = [name for name, n in zip(dataset.classes, counts, strict=True) if n]
    if len(found) < min_classes:
        names = f"one class, {found[0]}" if len(found) == 1 else f"{len(found)} classes, {', '.join(found)}"
        raise ValueError(f"{where}: all {len(dataset.x)} examples are of {names}; needs {at_least(min_classes)}")
    return dataset
