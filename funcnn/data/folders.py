"""Folders of images: which of their files are images, of which class, and of which part of the split.

What is hidden, or made by a system for itself, is left out at every depth; links are followed; only regular files are
ever opened. What cannot be listed is an error that names it.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from funcnn.data.images import import_pillow
from funcnn.data.splits import Splits
from funcnn.tree import Array

__all__ = [
    "FoundImages",
    "LabelledImages",
    "at_least",
    "describe_skipped",
    "find_images",
    "find_labelled_images",
    "image_files",
]

# Folders of thumbnails, of lost files and of other things that are the system's own: not hidden by name, but no data.
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
# The names of folders that are parts of a split, in lower case.
PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
# Names that look like those of parts, as training_set and test1 do.
LIKE_PART = re.compile(r"(?<![a-z])(train(ing)?|test(ing)?|val(id(ation)?)?)(?![a-z])")
# Pillow knows these formats by name, but has no decoder of its own for them: drawings, containers and films.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


class FoundImages(NamedTuple):
    """The images in a folder and all below.

    Attributes
    ----------
    files : list of Path
        In the order of their names.
    skipped : Counter
        How much was left out, by reason.

    Examples
    --------
    >>> found = FoundImages([Path("a.png")], Counter({"hidden": 2}))
    >>> len(found.files), found.skipped["hidden"]
    (1, 2)
    """

    files: list[Path]
    skipped: Counter[str]


class LabelledImages(NamedTuple):
    """The images of a folder with one sub-folder for each class.

    Attributes
    ----------
    files : list of Path
    labels : array of int (N,)
        Indices into ``classes``.
    classes : list of str
    splits : Splits or None
        The parts that the folder is divided into, if it is.
    skipped : Counter
        How much was left out, by reason.
    missing : list of str
        Which classes a part other than the one for training lacks.

    Examples
    --------
    >>> found = LabelledImages([Path("cat/a.png")], np.array([0]), ["cat"], None, Counter(), [])
    >>> found.classes[found.labels[0]]
    'cat'
    """

    files: list[Path]
    labels: Array
    classes: list[str]
    splits: Splits | None
    skipped: Counter[str]
    missing: list[str]


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files in a folder and all below, in the order of their names.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of Path
        Files with the suffix of a format that Pillow opens (.png, .jpg, .jfif, ...), and those that their first bytes
        show to be of one. Hidden files and folders are left out; links are followed.

    Raises
    ------
    OSError, ImportError
        If a folder cannot be read, naming it; if Pillow (extra ``images``) is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in image_files(folder)]
    ['a.jpg', 'b.png']
    """
    return find_images(folder).files


def find_images(folder: str | os.PathLike[str]) -> FoundImages:
    """List the image files in a folder and all below as `image_files` does, and count what is left out.

    Parameters
    ----------
    folder : path

    Returns
    -------
    FoundImages

    Raises
    ------
    OSError, ImportError
        As `image_files` does.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", ".b.png", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     describe_skipped(find_images(folder).skipped)
    '1 hidden, 1 of no format that Pillow opens (.txt)'
    """
    found, skipped, seen = [], Counter[str](), _around(Path(folder))
    waiting = [Path(folder)]
    while waiting:
        where = waiting.pop()
        for entry in _entries(where, skipped):
            path = where / entry.name
            try:
                status = entry.stat()
            except OSError:  # a link that leads nowhere: reading it is what fails, as it should if it is an image
                if path.suffix.lower() in _suffixes():
                    found.append(path)
                else:
                    skipped["links to nowhere"] += 1
                continue
            if stat.S_ISDIR(status.st_mode):
                # of the entry itself Windows has no inode
                identity = _identity(path)
                if identity in seen:
                    skipped["folders that are linked twice or contain the link"] += 1
                else:
                    seen.add(identity)
                    waiting.append(path)
            elif not stat.S_ISREG(status.st_mode):
                skipped["neither file nor folder"] += 1
            elif _is_image(path):
                found.append(path)
            else:
                skipped[f"of no format that Pillow opens ({path.suffix or 'without suffix'})"] += 1
    return FoundImages(sorted(found), skipped)


def find_labelled_images(path: Path, min_classes: int) -> LabelledImages:
    """List the images of a folder with one sub-folder for each class, or with parts of a split that have those.

    Parameters
    ----------
    path : Path
    min_classes : int
        How many classes there must be.

    Returns
    -------
    LabelledImages

    Raises
    ------
    ValueError
        If there are fewer classes, classes without images, parts without classes, or classes that are not in the part
        to train on; if two folders are the same by a link; if classes have names of parts, such as test_set.
    OSError, ImportError
        As `image_files` does.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"):
    ...         Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
    ...         Path(folder, name).touch()
    ...     found = find_labelled_images(Path(folder), 2)
    >>> found.classes, found.labels, found.splits.test
    (['cat', 'dog'], array([0, 1, 0, 1]), array([2, 3]))
    """
    skipped = Counter[str]()
    top = _sub_folders(path, skipped)
    named: dict[str, list[Path]] = {}
    for folder in top:
        if folder.name.lower() in PARTS:
            named.setdefault(PARTS[folder.name.lower()], []).append(folder)
    if len(named) < 2:
        like_parts = [folder.name for folder in top if LIKE_PART.search(folder.name.lower())]
        if len(like_parts) > 1:
            raise ValueError(
                f"{path}: {', '.join(like_parts)} look like parts of a split: call them train and test (and val), with "
                "a sub-folder of images for each class in each; or else give these classes other names"
            )
        found = {folder: _found(folder, skipped) for folder in top}
        _check_classes(path, [folder.name for folder in top], min_classes)
        empty = [folder.name for folder, files in found.items() if not files]
        if empty:
            raise ValueError(f"{path}: no images in {', '.join(empty)}{_but(skipped)}")
        classes = [folder.name for folder in top]
        files = [file for inside in found.values() for file in inside]
        labels = np.repeat(np.arange(len(top)), [len(inside) for inside in found.values()])
        return LabelledImages(files, labels, classes, None, skipped, [])

    _check_parts(path, named, [folder for folder in top if folder.name.lower() not in PARTS])
    by_part: dict[str, dict[str, list[Path]]] = {}
    for part in Splits._fields:
        for folder in named.get(part, []):
            by_class = {inside.name: _found(inside, skipped) for inside in _sub_folders(folder, skipped)}
            by_part[part] = {name: files for name, files in by_class.items() if files}
            if not by_part[part]:
                raise ValueError(
                    f"{path}: {folder.name} is a part of the split, and has no sub-folders of images for the classes"
                )
    classes = sorted(set().union(*by_part.values()))
    _check_classes(path, classes, min_classes)
    untrained = [name for name in classes if "train" in by_part and name not in by_part["train"]]
    if untrained:
        raise ValueError(f"{path}: {named['train'][0].name} has no images of {', '.join(untrained)}")
    files, label_list, parts = [], [], []
    for number, part in enumerate(Splits._fields):
        for name, inside in by_part.get(part, {}).items():
            files += inside
            label_list += [classes.index(name)] * len(inside)
            parts += [number] * len(inside)
    of = np.array(parts)
    missing = [
        f"{named[part][0].name} has no images of {', '.join(absent)}"
        for part, by_class in by_part.items()
        if (absent := [name for name in classes if name not in by_class])
    ]
    splits = Splits(*(np.flatnonzero(of == number) for number in range(len(Splits._fields))))
    return LabelledImages(files, np.array(label_list), classes, splits, skipped, missing)


def describe_skipped(skipped: Counter[str]) -> str:
    """Return what was left out, as `find_images` counts it, in words.

    Examples
    --------
    >>> describe_skipped(Counter({"hidden": 2}))
    '2 hidden'
    """
    return ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))


def at_least(n: int) -> str:
    """Return "at least" and a number, in words up to two.

    Examples
    --------
    >>> at_least(2)
    'at least two'
    """
    return f"at least {('zero', 'one', 'two')[n] if 0 <= n <= 2 else n}"


def _check_classes(path: Path, classes: Sequence[str], min_classes: int) -> None:
    if len(classes) < min_classes:
        found = f"only {', '.join(classes)}" if classes else "none"
        is_deeper = len(classes) == 1 and _has_folders(path / classes[0])
        deeper = f"; or are the classes those of {path / classes[0]}?" if is_deeper else ""
        raise ValueError(
            f"{path}: needs a sub-folder of images for each class, {at_least(min_classes)}; there is {found}{deeper}"
        )


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and bool(_sub_folders(folder, Counter()))


def _check_parts(path: Path, named: dict[str, list[Path]], others: list[Path]) -> None:
    """Refuse folders of which it is not clear whether they are parts of a split or classes."""
    names = ", ".join(folder.name for part in Splits._fields for folder in named.get(part, []))
    for folders in named.values():
        if len(folders) > 1:
            raise ValueError(
                f"{path}: {' and '.join(folder.name for folder in folders)} are the same part of the split"
            )
    classes = [folder.name for folder in others if find_images(folder).files]
    if classes:
        raise ValueError(
            f"{path}: {names} are parts of a split, and beside them are {', '.join(classes)}, which are not"
        )


def _found(folder: Path, skipped: Counter[str]) -> list[Path]:
    found = find_images(folder)
    skipped.update(found.skipped)
    return found.files


def _but(skipped: Counter[str]) -> str:
    return f"; skipped: {describe_skipped(skipped)}" if skipped else ""


def _sub_folders(path: Path, skipped: Counter[str]) -> list[Path]:
    """Return the folders in a folder that are not hidden, in the order of their names; count all else."""
    folders: dict[tuple[int, int], Path] = {}
    around = _around(path)
    for entry in _entries(path, skipped):
        folder = path / entry.name
        if not folder.is_dir():
            skipped["outside of the folders of classes"] += 1
        elif (identity := _identity(folder)) in around:
            skipped["folders that are linked twice or contain the link"] += 1
        elif identity in folders:
            raise ValueError(
                f"{path}: {folders[identity].name} and {folder.name} are the same folder, linked: leave one out"
            )
        else:
            folders[identity] = folder
    return sorted(folders.values())


def _entries(folder: Path, skipped: Counter[str]) -> Iterable[os.DirEntry[str]]:
    """Return what is in a folder and not hidden."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        raise OSError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    kept = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in SYSTEM_FOLDERS]
    if len(kept) < len(entries):
        skipped["hidden"] += len(entries) - len(kept)
    return sorted(kept, key=lambda entry: entry.name)


def _around(folder: Path) -> set[tuple[int, int]]:
    """Return a folder and all that it is in: a link to one of these would lead back to where it is."""
    real = folder.resolve()
    return {_identity(each) for each in (real, *real.parents)}


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise OSError(f"cannot read the folder {path}: {error.strerror or error}") from None
    return status.st_dev, status.st_ino


@lru_cache(maxsize=1)
def _suffixes() -> frozenset[str]:
    """Return the suffixes of the formats that Pillow decodes, in lower case."""
    Image = import_pillow()
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN and name not in NOT_DECODED)


def _is_image(path: Path) -> bool:
    """Return whether Pillow can open a file, by its suffix or else by its first bytes."""
    if path.suffix.lower() in _suffixes():
        return True
    Image = import_pillow()
    # those of the other formats accept anything
    formats = [name for name, (_, accept) in Image.OPEN.items() if accept and name not in NOT_DECODED]
    try:
        with Image.open(path, formats=formats):
            return True
    except PermissionError:
        return True  # nobody knows; reading it is what fails
    except Exception:  # whatever a decoder raises of a file that is not of its format
        return False
