"""Folders of images: which files of them are images, and of which class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from funcnn.tree import Array

__all__ = ["LabelledFiles", "at_least", "image_files", "labelled_images"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}


class LabelledFiles(NamedTuple):
    """The image files of a folder with one sub-folder for each class.

    Attributes
    ----------
    files : list of Path
    labels : array of int (N,)
        Indices into ``classes``.
    classes : list of str
    """

    files: list[Path]
    labels: Array
    classes: list[str]


def labelled_images(path: Path, min_classes: int) -> LabelledFiles:
    """List the images of a folder with one sub-folder for each class."""
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(folders) < min_classes:
        found = f"only {', '.join(folder.name for folder in folders)}" if folders else "none"
        raise ValueError(
            f"{path}: needs a sub-folder of images for each class, {at_least(min_classes)}; there is {found}"
        )
    files = {folder: image_files(folder) for folder in folders}
    empty = [folder.name for folder, inside in files.items() if not inside]
    if empty:
        raise ValueError(f"{path}: no images in {', '.join(empty)} (files ending in {', '.join(sorted(SUFFIXES))})")
    paths = [file for inside in files.values() for file in inside]
    labels = np.repeat(np.arange(len(folders)), [len(inside) for inside in files.values()])
    return LabelledFiles(paths, labels, [folder.name for folder in folders])


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files in a folder and all below, in the order of their names.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of Path
        Files with the suffix of an image format (.png, .jpg, ...); they are not opened. Hidden files are left out.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in image_files(folder)]
    ['a.jpg', 'b.png']
    """
    return sorted(
        Path(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )


def at_least(n: int) -> str:
    return f"at least {('zero', 'one', 'two')[n] if 0 <= n <= 2 else n}"
