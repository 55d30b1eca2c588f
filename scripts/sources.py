"""Labelled data from where users have them: scikit-learn's data sets, .npz files, folders of images."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnn import data
from funcnn.tree import Array

__all__ = ["CARRIED", "Dataset", "image_files", "open_array", "open_data", "open_images", "resize"]

CARRIED = ("digits", "breast-cancer", "iris", "wine")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
# Images from a camera are far larger than what a network here learns from in minutes.
LARGEST_SIDE = 64


class Dataset(NamedTuple):
    """Labelled examples.

    Attributes
    ----------
    x : array of float32 (N, height, width, channels) or (N, features)
        Raw: images from 0 to 1, everything else as it was found.
    labels : array of int (N,)
        Indices into ``classes``.
    classes : list of str
    names : list of str
        Of the files, where each example is a file; else empty.
    """

    x: Array
    labels: Array
    classes: list[str]
    names: Sequence[str] = ()


def open_data(source: str, *, image_size: tuple[int, int] | None = None, channels: int | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str
        One of scikit-learn's (`CARRIED`), an .npz file with arrays x and y, or a folder with one sub-folder of images
        for each class.
    image_size : (height, width), optional
        That images of a folder are resized to. By default the size that most of them have, but no side longer than
        `LARGEST_SIDE`. What is not a folder stays as it is.
    channels : 1 or 3, optional
        Of images of a folder; by default 1 if none of them has colours.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError, OSError, ImportError
        If there is no such data set, or something is wrong in it; the message names file and numbers.
    """
    if source in CARRIED:
        return _carried(source)
    path = Path(source)
    if path.is_dir():
        return _folder(path, image_size, channels)
    if path.suffix == ".npz" or path.is_file():
        return _npz(path)
    raise ValueError(
        f"no data {source}: it is neither a folder of images, nor an .npz file, nor one of {', '.join(CARRIED)}"
    )


def _carried(name: str) -> Dataset:
    if name == "digits":
        x, labels = data.digits()
        return Dataset(x, labels, [str(i) for i in range(10)])
    if name == "breast-cancer":
        return Dataset(*data.breast_cancer(), ["malignant", "benign"])
    from sklearn import datasets

    bunch = datasets.load_iris() if name == "iris" else datasets.load_wine()
    return Dataset(bunch.data.astype(np.float32), bunch.target.astype(np.int64), [str(c) for c in bunch.target_names])


def _npz(path: Path) -> Dataset:
    arrays = _arrays(path)
    if "y" not in arrays:
        raise ValueError(f"{path}: needs arrays x and y, and has {', '.join(arrays) or 'none'}")
    x, y = examples(str(path), arrays), arrays["y"]
    if y.shape == (len(y), 1):
        y = y[:, 0]
    if y.ndim != 1 or len(y) != len(x):
        raise ValueError(f"{path}: x {x.shape} has {len(x)} examples, and y {y.shape} must have one label for each")
    if y.dtype.kind == "f":
        if not (np.isfinite(y).all() and (y == np.round(y)).all()):
            raise ValueError(
                f"{path}: y has labels such as {y[y != np.round(y)][0]}; labels are whole numbers or names"
            )
        y = y.astype(np.int64)
    if y.dtype.kind not in "biuUS":
        raise ValueError(f"{path}: y is of {y.dtype}; labels are whole numbers or names")
    if y.dtype.kind == "S":
        y = np.char.decode(y)
    found, labels = np.unique(y, return_inverse=True)
    classes = [str(c) for c in found]
    if "classes" in arrays:
        names = [str(c) for c in arrays["classes"].ravel()]
        if y.dtype.kind not in "iu" or found[0] < 0 or found[-1] >= len(names):
            raise ValueError(f"{path}: classes has {len(names)} names, y goes from {found[0]} to {found[-1]}")
        classes, labels = names, y
    return _checked(str(path), Dataset(x, labels.astype(np.int64), classes))


def open_array(path: Path) -> Array:
    """Read the examples, x, of an .npz file; labels need not be there."""
    return examples(str(path), _arrays(path))


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with open(path, "rb") as opened:
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
        raise ValueError(f"array {name} cannot be read ({error}); names are to be saved as str") from None


def examples(where: str, arrays: dict[str, Array]) -> Array:
    """Return the array x as float32, with an axis of channels where there is none."""
    if "x" not in arrays:
        raise ValueError(f"{where}: needs an array x, and has {', '.join(arrays) or 'none'}")
    x = arrays["x"]
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{where}: x is of {x.dtype}, not of numbers")
    if x.ndim not in (2, 3, 4) or not x.size:
        raise ValueError(
            f"{where}: x {x.shape} must be (N, features), (N, height, width) or (N, height, width, channels)"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 2, 3, 4):
        raise ValueError(
            f"{where}: x {x.shape} has its channels first; funcnn wants them last, (N, height, width, channels)"
        )
    pixels = x.dtype == np.uint8 and x.ndim > 2
    x = x[..., None] if x.ndim == 3 else x
    with np.errstate(over="ignore"):
        x = x.astype(np.float32) / np.float32(255) if pixels else x.astype(np.float32)
    bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{where}: {bad.sum()} of {len(x)} examples of x have values that are not finite, the first is number "
            f"{bad.argmax()}"
        )
    return x


def _folder(path: Path, image_size: tuple[int, int] | None, channels: int | None) -> Dataset:
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(folders) < 2:
        found = f"only {folders[0].name}" if folders else "none"
        raise ValueError(f"{path}: needs a sub-folder of images for each class, at least two; there is {found}")
    files = {folder: image_files(folder) for folder in folders}
    empty = [folder.name for folder, inside in files.items() if not inside]
    if empty:
        raise ValueError(f"{path}: no images in {', '.join(empty)} (files ending in {', '.join(sorted(SUFFIXES))})")
    paths = [file for inside in files.values() for file in inside]
    labels = np.repeat(np.arange(len(folders)), [len(inside) for inside in files.values()])
    x = open_images(paths, image_size, channels)
    names = [str(file.relative_to(path)) for file in paths]
    return _checked(str(path), Dataset(x, labels, [folder.name for folder in folders], names))


def _checked(where: str, dataset: Dataset) -> Dataset:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if (counts > 0).sum() < 2:
        only = dataset.classes[int(counts.argmax())]
        raise ValueError(f"{where}: all {len(dataset.x)} examples are of one class, {only}; needs at least two")
    return dataset


def image_files(folder: Path) -> list[Path]:
    """List the image files in a folder and all below, in the order of their names, by their suffixes."""
    return sorted(
        Path(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )


def open_images(paths: Sequence[Path], size: tuple[int, int] | None = None, channels: int | None = None) -> Array:
    """Read image files as one array.

    Parameters
    ----------
    paths : sequence of Path
    size : (height, width), optional
        By default as in `open_data`.
    channels : 1 or 3, optional
        By default as in `open_data`. Transparency is left out.

    Returns
    -------
    array of float32 (N, height, width, channels), from 0 to 1

    Raises
    ------
    OSError, ImportError
        If a file cannot be read, naming it.
    """
    Image = _pillow()
    if size is None or channels is None:
        seen = [_open(Image, path, lambda image: (_upright(image).size, _is_grey(image))) for path in paths]
        size = size or _usual_size([s for s, _ in seen])
        channels = channels or (1 if all(grey for _, grey in seen) else 3)
    if channels not in (1, 3):
        raise ValueError(f"images have 1 channel or 3, and the network takes {channels}")
    mode, height, width = "L" if channels == 1 else "RGB", *size

    def pixels(image: Any) -> Array:
        image = _upright(image)
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).round().astype(np.uint8))
        image = image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image, np.uint8).reshape(height, width, channels)

    x = np.empty((len(paths), height, width, channels), np.float32)
    for i, path in enumerate(paths):
        x[i] = _open(Image, path, pixels)
    return x / np.float32(255)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"images need Pillow: pip install 'funcnn[images]' ({error})") from None
    return Image


def _open(Image: Any, path: Path, f: Callable[[Any], Any]) -> Any:
    try:
        with Image.open(path) as image:
            return f(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"cannot read the image {path}: {getattr(error, 'strerror', None) or error}") from None


def _upright(image: Any) -> Any:
    """Return a photograph as it was meant to be seen, not as the camera was held."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _is_grey(image: Any) -> bool:
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def _usual_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return height and width that most images have, made small enough; of several, the smallest."""
    counts = Counter(sizes)
    width, height = min(counts, key=lambda size: (-counts[size], size))
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(x: Array, size: tuple[int, int]) -> Array:
    """Return images (N, height, width, channels) in another size: by repeating pixels where they go into it, else by
    interpolation.
    """
    if x.shape[1:3] == size:
        return x
    if all(new % old == 0 for new, old in zip(size, x.shape[1:3], strict=True)):
        return x.repeat(size[0] // x.shape[1], axis=1).repeat(size[1] // x.shape[2], axis=2)
    Image = _pillow()
    planes = np.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])
    turned = [np.asarray(Image.fromarray(p).resize(size[::-1], Image.Resampling.BILINEAR)) for p in planes]
    return np.moveaxis(np.reshape(turned, (len(x), x.shape[3], *size)), 1, 3).astype(x.dtype)


def describe(x: Array) -> str:
    """Say what examples are like."""
    if x.ndim == 2:
        return f"{x.shape[1]} features"
    height, width, channels = x.shape[1:]
    return f"images of {height}x{width}, {channels} channel{'s' * (channels != 1)}"
