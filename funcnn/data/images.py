"""Images: reading files, and converting arrays to the values, channels and size that a network was trained on.

Images are arrays (N, height, width, channels) of float32 from 0 to 1. Files and arrays take the same path, in NumPy:
values, channels, size. So a network that was trained on files gives the same outputs for the arrays that they decode
to, and serving it needs no Pillow, which decodes files and does nothing else here.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from funcnn import checks, extras
from funcnn.data.examples import to_examples
from funcnn.tree import Array

__all__ = ["describe_shape", "image_files", "open_images", "resize", "to_channels"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
# In pixels. Images from a camera are far larger than what a network here learns from in minutes.
LARGEST_SIDE = 64
# The parts of red, green and blue in a grey of the same brightness (ITU-R BT.601), as Pillow has them.
LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


def to_channels(x: Array, channels: int) -> Array:
    """Return grey images in colour, or colour images in grey.

    Parameters
    ----------
    x : array of float (N, height, width, C)
    channels : int
        1, 3 or C itself.

    Returns
    -------
    array (N, height, width, channels), dtype of x
        Grey is repeated; colours are weighted by their brightness, 0.299 red + 0.587 green + 0.114 blue.

    Raises
    ------
    ValueError
        If neither is possible.

    Examples
    --------
    >>> to_channels(np.array([[[[1.0, 0.5, 0.0]]]], np.float32), 1).round(4)
    array([[[[0.5925]]]], dtype=float32)
    """
    if x.shape[-1] == channels:
        return x
    if (x.shape[-1], channels) == (1, 3):
        return x.repeat(3, axis=-1)
    if (x.shape[-1], channels) == (3, 1):
        return x @ LUMA.astype(x.dtype)
    raise ValueError(f"to_channels: images {x.shape} of {x.shape[-1]} channels cannot be made images of {channels}")


def resize(x: Array, size: tuple[int, int]) -> Array:
    """Return images in another size.

    Parameters
    ----------
    x : array of float (N, height, width, C)
    size : (height, width), >= 1

    Returns
    -------
    array (N, *size, C), dtype of x
        ``x`` itself where it has the size. Where both sides are whole multiples of the old ones, each pixel is
        repeated. Else the images are interpolated.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images (N, height, width, C), or ``size`` is not two ints >= 1.

    Notes
    -----
    The interpolation is what Pillow calls BILINEAR, and PyTorch bilinear with ``antialias=True``, for each axis by
    itself. With s old pixels for a new one, new pixel i has its centre at c = (i + 1/2) s on the old axis, and is the
    mean of the old pixels j weighted by the triangle max(0, 1 - |j + 1/2 - c| / max(s, 1)), cut off at the border. When
    images shrink the triangle is as wide as the new pixels are apart, so that no old pixel is left out.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 4, 1)
    >>> resize(x, (1, 8)).ravel()
    array([0., 0., 1., 1., 2., 2., 3., 3.])
    >>> resize(x, (1, 2)).ravel().round(4)
    array([0.7143, 2.2857])
    """
    x = checks.floating("resize: x", x)
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"resize: x {x.shape} must be images (N, height, width, channels)")
    size = _check_size("resize", size)
    if x.shape[1:3] == size:
        return x
    if all(new % old == 0 for new, old in zip(size, x.shape[1:3], strict=True)):
        return x.repeat(size[0] // x.shape[1], axis=1).repeat(size[1] // x.shape[2], axis=2)
    for axis, new in zip((1, 2), size, strict=True):
        if x.shape[axis] != new:
            x = _resize_axis(x, axis, new)
    return x


def _check_size(where: str, size: Any) -> tuple[int, int]:
    if np.shape(size) != (2,) or not all(checks.is_int(s) and s >= 1 for s in size):
        raise ValueError(f"{where}: size must be (height, width), two ints >= 1, not {size!r}")
    return int(size[0]), int(size[1])


def _resize_axis(x: Array, axis: int, new: int) -> Array:
    old = x.shape[axis]
    moved = np.moveaxis(x, axis, 0)
    rows = moved.reshape(old, -1)
    resized = np.empty((new, rows.shape[1]), x.dtype)
    for row, (neighbours, weights) in zip(resized, _triangles(old, new, x.dtype), strict=True):
        np.matmul(weights, rows[neighbours], out=row)
    return np.ascontiguousarray(np.moveaxis(resized.reshape(new, *moved.shape[1:]), 0, axis))


@lru_cache(maxsize=32)  # most images of a folder are of a few sizes
def _triangles(old: int, new: int, dtype: np.dtype[Any]) -> list[tuple[slice, Array]]:
    """Return, for each new pixel of an axis, the old pixels it is made of and their weights, which sum to 1."""
    scale = old / new
    support = max(scale, 1.0)
    triangles = []
    for i in range(new):
        centre = (i + 0.5) * scale
        first, end = max(0, math.floor(centre - support + 0.5)), min(old, math.floor(centre + support + 0.5))
        weights = np.maximum(0, 1 - abs(np.arange(first, end) + 0.5 - centre) / support)
        triangles.append((slice(first, end), (weights / weights.sum()).astype(dtype)))
    return triangles


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


def open_images(
    paths: Sequence[str | os.PathLike[str]], size: tuple[int, int] | None = None, channels: int | None = None
) -> Array:
    """Read image files as one array.

    Parameters
    ----------
    paths : sequence of path
    size : (height, width), optional
        By default the size that most of the images have, scaled so that no side is longer than 64 pixels.
    channels : 1 or 3, optional
        By default 1 if none of the images has colours, else 3. Transparency is left out.

    Returns
    -------
    array of float32 (N, height, width, channels), from 0 to 1
        Photographs are turned upright as their camera noted. In memory there is one image at a time in its full size.

    Raises
    ------
    ValueError
        If there are no paths, ``size`` is not two ints >= 1, or ``channels`` is neither 1 nor 3.
    OSError, ImportError
        If a file cannot be read, naming it; if Pillow (extra ``images``) is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (6, 4), color=51).save(f"{folder}/grey.png")
    ...     x = open_images(image_files(folder))
    >>> x.shape, round(float(x.max()), 4)
    ((1, 4, 6, 1), 0.2)
    """
    if not len(paths):
        raise ValueError("open_images: paths must have at least one image")
    size = None if size is None else _check_size("open_images", size)
    if channels not in (None, 1, 3):
        raise ValueError(f"open_images: channels must be 1 or 3, as images have, got {channels}")
    Image = _pillow()
    if size is None or channels is None:
        seen = [_open(Image, path, lambda image: (_apply_orientation(image).size, _is_grey(image))) for path in paths]
        size = size or _most_common_size([s for s, _ in seen])
        channels = channels or (1 if all(grey for _, grey in seen) else 3)

    x = np.empty((len(paths), *size, channels), np.float32)
    for i, path in enumerate(paths):
        pixels = _open(Image, path, lambda image: _pixels(Image, image))
        x[i] = resize(to_channels(to_examples(pixels[None], full_scale=255), channels), size)[0]
    return x


def _pixels(Image: Any, image: Any) -> Array:
    """Return an image as an array of uint8 (height, width) or (height, width, 3)."""
    image = _apply_orientation(image)
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    return np.asarray(image.convert("L" if _is_grey(image) else "RGB"), np.uint8)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise extras.missing("images need Pillow", "images", error) from None
    return Image


def _open(Image: Any, path: str | os.PathLike[str], f: Callable[[Any], Any]) -> Any:
    try:
        with Image.open(path) as image:
            return f(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"cannot read the image {path}: {getattr(error, 'strerror', None) or error}") from None


def _apply_orientation(image: Any) -> Any:
    """Return a photograph turned as its EXIF orientation says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _is_grey(image: Any) -> bool:
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def _most_common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return height and width that most images have, scaled to `LARGEST_SIDE` at most; of several, the smallest."""
    counts = Counter(sizes)
    width, height = min(counts, key=lambda size: (-counts[size], size))
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def describe_shape(shape: Sequence[int]) -> str:
    """Describe the shape of an example in words.

    Parameters
    ----------
    shape : sequence of int
        (features,) or (height, width, channels)

    Returns
    -------
    str

    Examples
    --------
    >>> describe_shape((8, 8, 1)), describe_shape((30,))
    ('images of 8x8, 1 channel', '30 features')
    """
    if len(shape) == 1:
        return f"{shape[0]} features"
    height, width, channels = shape
    return f"images of {height}x{width}, {channels} channel{'s' * (channels != 1)}"
