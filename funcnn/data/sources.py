"""Labelled data from built-in sets, .npz and .npy files, tables, and folders of images."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnn.data.archives import map_npy, read_npz
from funcnn.data.builtin import BUILTIN, load_builtin
from funcnn.data.examples import examples_and_scale
from funcnn.data.folders import at_least, describe_skipped, find_labelled_images
from funcnn.data.images import check_broken, check_varied, read_images
from funcnn.data.labels import check_classes, read_labels
from funcnn.data.lazy import blocks
from funcnn.data.splits import Splits
from funcnn.data.tables import SUFFIXES as TABLE_SUFFIXES
from funcnn.data.tables import read_table
from funcnn.tree import Array

__all__ = ["Dataset", "match_classes", "open", "open_array"]


# Whether the examples are kept in memory as the network takes them.
CACHES = ("auto", "memory", "none")


class Dataset(NamedTuple):
    """Labelled examples.

    Attributes
    ----------
    x : array of float32 (N, height, width, channels), or of floats (N, features)
        Not standardised: pixels divided by ``full_scale``, everything else as it was found. With ``cache`` of `open`,
        a source of these, which are read and converted when they are used.
    labels : array of int (N,)
        Indices into ``classes``.
    classes : list of str
    names : sequence of str
        Of the files, where each example is a file; else empty.
    full_scale : float
        What the raw pixels were divided by: the value of white, such as 255; 1 where they are as they were found.
    features : sequence of str
        Names of the columns, where the examples are rows of a table; else empty.
    target : str
        Name of the column of labels of a table; else empty.
    splits : Splits or None
        The parts that the data themselves name: a folder with sub-folders train and test, for example.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((3, 2), np.float32), np.array([0, 1, 0]), ["cat", "dog"])
    >>> [dataset.classes[label] for label in dataset.labels]
    ['cat', 'dog', 'cat']
    """

    x: Any
    labels: Array
    classes: list[str]
    names: Sequence[str] = ()
    full_scale: float = 1.0
    features: Sequence[str] = ()
    target: str = ""
    splits: Splits | None = None


def open(
    source: str | os.PathLike[str],
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    min_classes: int = 2,
    full_scale: float | None = None,
    target: str | None = None,
    features: Sequence[str] | None = None,
    fit: str | None = None,
    skip_broken: bool = False,
    cache: str = "memory",
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or path
        The name of a built-in set (`funcnn.data.BUILTIN`), an .npz file with arrays x and y (and, where y is of ints,
        their names in an array classes), an .npy file of x with y.npy beside it (and classes.npy), or a folder of x.npy
        and y.npy, a table of numbers (.csv, .tsv) with names of columns in its first line, or a
        folder with one sub-folder of images for each class. A folder may also have such folders for the parts of a
        split: train, test, and val, valid or validation.
    image_size : (height, width), optional
        That images of a folder are resized to. By default the size that most of them have, scaled so that no side is
        longer than 64 pixels. Other sources are left as they are.
    channels : 1 or 3, optional
        Of images of a folder; by default 1 if none of them has colours.
    min_classes : int
        How many classes must have examples: 2 to train, 1 is enough to evaluate.
    full_scale : float, optional
        What images of an .npz file are divided by; by default the smallest of 1, 255 and 65535 that holds all their
        pixels, whatever their dtype, and nothing where some are negative or larger. A trained model has its own,
        ``predictor.preprocessing["full_scale"]``. Image files have one each, by their number of bits.
    target : str, optional
        Of a table, the column of labels; by default the last.
    features : sequence of str, optional
        Of a table, the columns of numbers in the order of the examples; by default all but ``target``.
    fit : "pad", "crop" or "stretch", optional
        What becomes of images of a folder that have another aspect than ``image_size``, as `funcnn.data.resize` says.
        By default they are padded, with a warning.
    skip_broken : bool
        Whether to leave out images of a folder that cannot be read, with a warning. By default they are an error.
    cache : "memory", "none" or "auto"
        What becomes of arrays of .npz and .npy files, and of images of a folder. "memory": x is an array. "none": x is
        a source (`funcnn.data.Source`), of which a batch is converted or decoded when it is used; an .npy file, or a
        folder, may then be larger than the memory, and an .npz file takes only its own bytes. "auto": as "none" for
        arrays; for images as "memory", if they take no more than half of the memory that is available. The numbers are
        the same in all three.

    Returns
    -------
    Dataset
        Arrays as `funcnn.data.to_examples` makes them: images divided by their full scale.

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
        if Path(source).exists():
            warnings.warn(
                f"{source} is the built-in set here, not the file or folder of this name: that is ./{source}",
                stacklevel=2,
            )
        x, labels, classes, scale = load_builtin(str(source))
        return Dataset(x, labels, classes, full_scale=scale)
    if cache not in CACHES:
        raise ValueError(f"open: cache must be one of {', '.join(CACHES)}, not {cache!r}")
    path = Path(source)
    if is_folder_of_arrays(path):
        path /= "x.npy"
    if (path / "x.npy").is_file() and not any(inside.is_dir() for inside in path.iterdir()):
        found = ", ".join(sorted(inside.name for inside in path.iterdir()))
        raise ValueError(f"{path}: a folder of arrays has x.npy and y.npy, and may have classes.npy; found {found}")
    if path.is_dir():
        return _folder(path, image_size, channels, min_classes, fit, skip_broken, cache)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: neither a file nor a folder")
    if path.suffix.lower() in TABLE_SUFFIXES:
        table = read_table(path, target, features)
        if table.labels is None:
            raise ValueError(f"{path}: has no column {target} for the labels")
        dataset = Dataset(table.x, table.labels, table.classes, features=table.features, target=table.target)
        return _checked_dataset(str(path), dataset, min_classes)
    if path.suffix.lower() in (".npz", ".npy") or path.is_file():
        return _arrays(path, min_classes, full_scale, cache)
    raise ValueError(
        f"no data {source}: it is neither a folder of images, nor an .npz or .npy file, nor a table (.csv, .tsv), "
        f"nor one of {', '.join(BUILTIN)}"
    )


def open_array(
    path: str | os.PathLike[str],
    *,
    full_scale: float | None = None,
    features: Sequence[str] | None = None,
    cache: str = "memory",
) -> Any:
    """Read the examples, x, of an .npz or .npy file or a table (.csv, .tsv); labels need not be there.

    Parameters
    ----------
    path : path
    full_scale : float, optional
        What images are divided by, as for `open`.
    features : sequence of str, optional
        Of a table, the columns to read, in this order; by default all.
    cache : "memory", "none" or "auto"
        As for `open`.

    Returns
    -------
    array of float64 (N, features) or float32 (N, height, width, channels)
        As `funcnn.data.to_examples` makes it; a source of it, unless ``cache`` is "memory".

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
    raw = open_raw_array(path, features=features)
    if Path(path).suffix.lower() in TABLE_SUFFIXES:
        return raw
    x, _ = examples_and_scale(raw, str(path), full_scale)
    return x[:] if cache == "memory" else x


def open_raw_array(path: str | os.PathLike[str], *, features: Sequence[str] | None = None) -> Any:
    """Read the array that `open_array` reads, as the file has it."""
    path = Path(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return read_table(path, features=features or None, target="").x
    if path.suffix.lower() == ".npy":
        return map_npy(path)
    arrays, names = read_npz(path, ("x",))
    if "x" not in arrays:
        raise ValueError(f"{path}: needs an array x, and has {', '.join(names) or 'none'}")
    return arrays["x"]


def is_folder_of_arrays(path: Path) -> bool:
    """Return whether a folder has x.npy and y.npy, and nothing else but classes.npy.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("x.npy", "y.npy"):
    ...         Path(folder, name).touch()
    ...     is_folder_of_arrays(Path(folder))
    True
    """
    if not (path / "x.npy").is_file():
        return False
    names = {inside.name for inside in path.iterdir() if not inside.name.startswith(".")}
    return {"x.npy", "y.npy"} <= names <= {"x.npy", "y.npy", "classes.npy"}


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


def _arrays(path: Path, min_classes: int, full_scale: float | None, cache: str) -> Dataset:
    if path.suffix.lower() == ".npy":
        files = {"x": path, "y": path.with_name("y.npy"), "classes": path.with_name("classes.npy")}
        if not files["y"].exists():
            raise ValueError(f"{path}: needs the labels in {files['y'].name} beside it")
        arrays = {name: map_npy(file) for name, file in files.items() if name != "classes" or file.exists()}
    else:
        arrays, names = read_npz(path, ("x", "y", "classes"))
        if not {"x", "y"} <= arrays.keys():
            raise ValueError(f"{path}: needs arrays x and y, and has {', '.join(names) or 'none'}")
    x, scale = examples_and_scale(arrays["x"], str(path), full_scale)
    labels, classes = read_labels(arrays["y"], arrays.get("classes"), x, str(path))
    dataset = _checked_dataset(str(path), Dataset(x, labels, classes, full_scale=scale), min_classes)
    return dataset._replace(x=x[:]) if cache == "memory" else dataset


def _folder(
    path: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    min_classes: int,
    fit: str | None,
    skip_broken: bool,
    cache: str,
) -> Dataset:
    found = find_labelled_images(path, min_classes)
    if found.skipped:
        warnings.warn(f"{path}: skipped {describe_skipped(found.skipped)}", stacklevel=3)
    if found.missing:
        warnings.warn(f"{path}: {'; '.join(found.missing)}", stacklevel=3)
    images = read_images(found.files, image_size, channels, fit=fit, cache=cache)
    check_broken(images.broken, len(found.files), skip=skip_broken)
    names = [str(found.files[i].relative_to(path)) for i in images.read]
    splits = found.splits and Splits(*(np.flatnonzero(np.isin(images.read, part)) for part in found.splits))
    for name, part, before in zip(Splits._fields, splits or (), found.splits or (), strict=False):
        if len(part) < len(before) and not len(part):
            raise ValueError(f"{path}: none of the {len(before)} images of the {name} part can be read")
    labels = found.labels[images.read]
    dataset = Dataset(images.x, labels, found.classes, names, full_scale=images.full_scale, splits=splits)
    dataset = _checked_dataset(str(path), dataset, min_classes)
    if min_classes > 1:
        _warn_of_contradictions(str(path), dataset)
    return dataset


def _checked_dataset(where: str, dataset: Dataset, min_classes: int) -> Dataset:
    if min_classes > 1 and len(dataset.x.shape) > 2:
        check_varied(where, dataset.x)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    found = [name for name, n in zip(dataset.classes, counts, strict=True) if n]
    if len(found) < min_classes:
        names = f"one class, {found[0]}" if len(found) == 1 else f"{len(found)} classes, {', '.join(found)}"
        raise ValueError(f"{where}: all {len(dataset.x)} examples are of {names}; needs {at_least(min_classes)}")
    if min_classes > 1:
        if len(dataset.x.shape) <= 2:
            check_varied(where, dataset.x)
        check_classes(where, dataset.classes, len(dataset.x))
    return dataset


def _warn_of_contradictions(where: str, dataset: Dataset) -> None:
    """Warn of files that hold the same image under different classes."""
    first: dict[bytes, int] = {}
    images = (image for _, block in blocks(dataset.x) for image in block)
    for i, image in enumerate(images):
        earlier = first.setdefault(hashlib.sha256(image.tobytes()).digest(), i)
        if dataset.labels[i] != dataset.labels[earlier]:
            names, classes = dataset.names, [dataset.classes[dataset.labels[k]] for k in (earlier, i)]
            warnings.warn(
                f"{where}: the same image is there under different classes, first {names[earlier]} ({classes[0]}) and "
                f"{names[i]} ({classes[1]})",
                stacklevel=4,
            )
            return
