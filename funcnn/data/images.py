"""Images: reading files, and converting arrays to the values, channels and size that a network was trained on.

Images are arrays (N, height, width, channels) of float32 from 0 to 1. Files and arrays take the same path, in NumPy:
values, channels, size. So a network that was trained on files gives the same outputs for the arrays that they decode
to, and serving it needs no Pillow, which decodes files and does nothing else here.

The values of a file are parts of the full scale of its mode: 255 for 8 bits and less, 65535 for 16. Pixels that have no
such scale, floats and ints of 32 bits, stay as they are. What is transparent is composited over white.
"""

from __future__ import annotations

import math
import os
import stat
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from funcnn import checks, extras
from funcnn.data.lazy import Mapped, Source, blocks, take
from funcnn.data.memory import available_memory
from funcnn.tree import Array

__all__ = [
    "FITS",
    "Images",
    "check_broken",
    "check_varied",
    "describe_shape",
    "import_pillow",
    "open_images",
    "read_images",
    "resize",
    "to_channels",
]

_T = TypeVar("_T")


# What becomes of images of another aspect than the size.
FITS = ("pad", "crop", "stretch")
# The number of files that an error names.
MOST_NAMED = 10
_ORIENTATION = 0x0112  # the number of the EXIF tag
# In pixels. Images from a camera are far larger than what a network here learns from in minutes.
LARGEST_SIDE = 64
# The pixels of an image must not depend on the others in its batch. The BLAS rounds by how many there are: images that
# shrink more than by this factor are resized by it one by one, others without it, all at once. It is 2 to 6 times as
# fast for a photograph, and 10 times as slow for a batch of images of 28x28.
_MOST_SHRUNK = 2
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


def resize(x: Array, size: tuple[int, int], *, fit: str = "stretch") -> Array:
    """Return images in another size.

    Parameters
    ----------
    x : array of float (N, height, width, C)
    size : (height, width), >= 1
    fit : "stretch", "pad" or "crop"
        What becomes of images of another aspect (height / width) than that of ``size``. They are stretched; or they
        keep their aspect, and get borders that repeat the pixels of their edges, or lose what is outside of the centre.

    Returns
    -------
    array (N, *size, C), dtype of x
        ``x`` itself where it has the size. Where both sides are whole multiples of the old ones, each pixel is
        repeated. Else the images are interpolated.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not an array of float images (N, height, width, C), ``size`` is not two ints >= 1, or ``fit`` is
        none of `FITS`.

    Notes
    -----
    Borders repeat the edges because these show the images' own background: on a white page, a black border would be an
    object of its own. Images that have the aspect of ``size``, to the nearest pixel,
    are the same in all three ways. The pixels of an image do not depend on the others of its batch.

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
    >>> resize(x, (3, 4), fit="pad")[0, :, :, 0]
    array([[0., 1., 2., 3.], [0., 1., 2., 3.], [0., 1., 2., 3.]])
    >>> resize(np.arange(8.0).reshape(1, 2, 4, 1), (2, 2), fit="crop")[0, :, :, 0]
    array([[1., 2.], [5., 6.]])
    """
    x = checks.floating("resize: x", x)
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"resize: x {x.shape} must be images (N, height, width, channels)")
    size = _check_size("resize", size)
    _check_fit("resize", fit)
    inner = _inner_size(x.shape[1:3], size)
    if fit == "pad" and inner != size:
        borders = [
            ((new - inside) // 2, new - inside - (new - inside) // 2) for new, inside in zip(size, inner, strict=True)
        ]
        return np.pad(resize(x, inner), [(0, 0), *borders, (0, 0)], mode="edge")
    if fit == "crop" and inner != size:
        x = _crop(x, size)
    if x.shape[1:3] == size:
        return x
    if all(new % old == 0 for new, old in zip(size, x.shape[1:3], strict=True)):
        return x.repeat(size[0] // x.shape[1], axis=1).repeat(size[1] // x.shape[2], axis=2)
    if len(x) > 1 and any(side > _MOST_SHRUNK * new for side, new in zip(x.shape[1:3], size, strict=True)):
        return np.concatenate([resize(x[i : i + 1], size) for i in range(len(x))])
    for axis, new in zip((1, 2), size, strict=True):
        if x.shape[axis] != new:
            x = _resize_axis(x, axis, new)
    return x


def _inner_size(old: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of images that are resized with their aspect kept, to be as large as fits into another size."""
    sides = list(zip(size, old, strict=True))
    if max((new - 0.5) / side for new, side in sides) <= min((new + 0.5) / side for new, side in sides):
        return size  # that of one scale for both sides, rounded
    scale = min(new / side for new, side in sides)
    height, width = (min(new, max(1, round(side * scale))) for new, side in sides)
    return height, width


def _crop(x: Array, size: tuple[int, int]) -> Array:
    """Return the centre of images, as large as has the aspect of a size."""
    scale = max(new / side for new, side in zip(size, x.shape[1:3], strict=True))
    window = [min(side, max(1, round(new / scale))) for new, side in zip(size, x.shape[1:3], strict=True)]
    top, left = ((side - inside) // 2 for side, inside in zip(x.shape[1:3], window, strict=True))
    return x[:, top : top + window[0], left : left + window[1]]


def _check_fit(where: str, fit: str) -> None:
    if fit not in FITS:
        raise ValueError(f"{where}: fit must be one of {', '.join(FITS)}, not {fit!r}")


def _check_size(where: str, size: Any) -> tuple[int, int]:
    if np.shape(size) != (2,) or not all(checks.is_int(s) and s >= 1 for s in size):
        raise ValueError(f"{where}: size must be (height, width), two ints >= 1, not {size!r}")
    return int(size[0]), int(size[1])


def _resize_axis(x: Array, axis: int, new: int) -> Array:
    old = x.shape[axis]
    moved = np.moveaxis(x, axis, 0)
    rows = moved.reshape(old, -1)
    resized = np.empty((new, rows.shape[1]), x.dtype)
    weighted = np.empty_like(rows[0])
    for row, (neighbours, weights) in zip(resized, _triangles(old, new, x.dtype), strict=True):
        if old > _MOST_SHRUNK * new:
            np.matmul(weights, rows[neighbours], out=row)
            continue
        np.multiply(rows[neighbours.start], weights[0], out=row)
        for neighbour, weight in zip(rows[neighbours][1:], weights[1:], strict=True):
            row += np.multiply(neighbour, weight, out=weighted)
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


class Images(NamedTuple):
    """What `read_images` has read.

    Attributes
    ----------
    x : array or source of float32 (N, height, width, channels)
        Parts of ``full_scale``, each file's own. As a source, it decodes the files when they are read.
    read : array of int (N,)
        Indices of the paths whose files could be read.
    full_scale : float
        255, or 65535 if some files are of 16 bits; 1 if their pixels are floats or ints of 32 bits, as they are.
    broken : dict
        Of the files that could not be read, path and reason.

    Examples
    --------
    >>> images = Images(np.zeros((1, 4, 4, 1), np.float32), np.array([1]), 255, {"a.png": "truncated"})
    >>> len(images.x), list(images.broken)
    (1, ['a.png'])
    """

    x: Any
    read: Array
    full_scale: float
    broken: dict[str, str]


def open_images(
    paths: Sequence[str | os.PathLike[str]],
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    fit: str | None = None,
) -> Array:
    """Read image files as one array.

    Parameters
    ----------
    paths : sequence of path
    size : (height, width), optional
        By default the size that most of the images have, scaled so that no side is longer than 64 pixels.
    channels : 1 or 3, optional
        By default 1 if none of the images has colours, else 3.
    fit : "pad", "crop" or "stretch", optional
        What becomes of images of another aspect, as `resize` says. By default they are padded, with a warning.

    Returns
    -------
    array of float32 (N, height, width, channels)
        From 0 to 1, parts of the full scale of each file's mode; floats and ints of 32 bits as they are. Photographs
        are turned upright as their camera noted, and what is transparent is white. In memory there is one image at a
        time in its full size.

    Raises
    ------
    ValueError
        If there are no paths, ``size`` is not two ints >= 1, ``channels`` is neither 1 nor 3, or some of the files have
        a full scale and others have none.
    OSError, ImportError
        If files cannot be read, naming them; if Pillow (extra ``images``) is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (6, 4), color=51).save(f"{folder}/grey.png")
    ...     x = open_images([f"{folder}/grey.png"])
    >>> x.shape, round(float(x.max()), 4)
    ((1, 4, 6, 1), 0.2)
    """
    images = read_images(paths, size, channels, fit=fit)
    check_broken(images.broken, len(paths))
    return images.x


def read_images(
    paths: Sequence[str | os.PathLike[str]],
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    fit: str | None = None,
    cache: str = "memory",
) -> Images:
    """Read image files as `open_images` does, and say which could be read and what their full scale is.

    Parameters
    ----------
    paths, size, channels, fit
        As for `open_images`.
    cache : "memory", "none" or "auto"
        Whether to keep the decoded images. "none" decodes each once to check it, and again when it is used. "auto"
        keeps them if they take no more than half of the memory that is available, and otherwise warns.

    Returns
    -------
    Images
        Without the files that are broken: `check_broken` makes an error or a warning of them.

    Raises
    ------
    ValueError, ImportError
        As `open_images` does.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.array([[0, 13107]], np.uint16)).save(f"{folder}/depth.png")
    ...     images = read_images([f"{folder}/depth.png"])
    >>> images.full_scale, images.x.ravel().round(4)
    (65535.0, array([0. , 0.2], dtype=float32))
    """
    if not len(paths):
        raise ValueError("open_images: paths must have at least one image")
    size = None if size is None else _check_size("open_images", size)
    if channels not in (None, 1, 3):
        raise ValueError(f"open_images: channels must be 1 or 3, as images have, got {channels}")
    if fit is not None:
        _check_fit("open_images", fit)
    names = [os.fspath(path) for path in paths]
    broken: dict[str, str] = {}
    if size is None or channels is None:  # by the headers: no file is decoded twice
        headers = [header for name in names if (header := _try(name, _header, broken))]
        size = size or _most_common_size([upright for upright, _ in headers] or [(1, 1)])
        channels = channels or (1 if all(grey for _, grey in headers) else 3)

    kept = _is_kept(cache, 4 * len(names) * math.prod(size) * channels)
    x = np.empty((len(names) if kept else 0, *size, channels), np.float32)
    read: list[int] = []
    reshaped: list[str] = []
    remarks: dict[str, list[str]] = {}
    scales: dict[float, str] = {}
    for i, name in enumerate(names):
        decoded = _try(name, _decode, broken, remarks) if name not in broken else None
        if decoded is None:
            continue
        if kept:
            x[len(read)] = _resized(decoded, size, channels, fit)
        read.append(i)
        scales.setdefault(decoded.full_scale, name)
        if _inner_size(decoded.pixels.shape[:2], size) != size:
            reshaped.append(name)
        for remark in decoded.remarks:
            remarks.setdefault(remark, []).append(name)
    if 1.0 in scales and len(scales) > 1:
        other = max(scales)
        raise ValueError(
            f"{scales[1.0]} has floats or ints of 32 bits, which have no full scale, and {scales[other]} has one, "
            f"{other:g}: these files cannot be used together"
        )
    if reshaped and fit is None:
        warnings.warn(
            f"{len(reshaped)} of {len(names)} images have another aspect than {size[0]}x{size[1]} (height x width), "
            f"first {reshaped[0]}: they are padded; fit (--fit) can be crop or stretch instead",
            stacklevel=2,
        )
    for remark, remarked in remarks.items():
        warnings.warn(f"{len(remarked)} of {len(names)} images {remark}; the first is {remarked[0]}", stacklevel=2)
    readable = np.array(read, np.int64)
    if read and not kept:
        decode = partial(_decode_again, names=names, size=size, channels=channels, fit=fit)
        return Images(Mapped(readable, decode), readable, max(scales), broken)
    return Images(x[: len(read)], readable, max(scales, default=1.0), broken)


def _is_kept(cache: str, needed: int) -> bool:
    """Return whether decoded images that take so many bytes are kept in memory."""
    if cache != "auto":
        return cache == "memory"
    available = available_memory()
    if needed > available / 2:
        warnings.warn(
            f"the decoded images take {needed / 1e9:.1f} GB, more than half of the {available / 1e9:.1f} GB of memory "
            "that are available: they are decoded by the batch, again in each epoch (cache, --cache, can be memory)",
            stacklevel=3,
        )
    return needed <= available / 2


# Python's filters of warnings, which reading a file changes, are those of all threads.
_DECODING = threading.Lock()


def _decode_again(numbers: Array, names: Sequence[str], size: tuple[int, int], channels: int, fit: str | None) -> Array:
    """Decode files that could be read before."""
    x, broken = np.empty((len(numbers), *size, channels), np.float32), dict[str, str]()
    for row, number in zip(x, numbers, strict=True):
        with _DECODING:
            decoded = _try(names[number], _decode, broken)
        if decoded is None:
            check_broken(broken, 1)
        else:
            row[:] = _resized(decoded, size, channels, fit)
    return x


def _resized(decoded: _Decoded, size: tuple[int, int], channels: int, fit: str | None) -> Array:
    return resize(to_channels(decoded.pixels[None], channels), size, fit=fit or "pad")[0]


def check_broken(broken: Mapping[str, str], tried: int, *, skip: bool = False) -> None:
    """Raise an error that names the files that could not be read, or warn of them.

    Parameters
    ----------
    broken : dict
        Path and reason of each.
    tried : int
        How many files there are with those that could be read.
    skip : bool
        Whether a warning is enough; not if none could be read.

    Raises
    ------
    OSError

    Examples
    --------
    >>> try:
    ...     check_broken({"a.png": "truncated", "b.png": "empty"}, 7)
    ... except OSError as error:
    ...     print(error)
    cannot read 2 of 7 images: a.png (truncated), b.png (empty)
    """
    if not broken:
        return
    named = ", ".join(f"{name} ({reason})" for name, reason in list(broken.items())[:MOST_NAMED])
    message = f"{len(broken)} of {tried} images: {named}{', ...' if len(broken) > MOST_NAMED else ''}"
    if skip and len(broken) < tried:
        warnings.warn(f"skipped {message}", stacklevel=2)
        return
    if len(broken) == 1:
        ((name, reason),) = broken.items()
        error = OSError(f"cannot read the image {name}: {reason}")
    else:
        error = OSError(f"cannot read {message}")
    if len(broken) < tried:
        error.add_note("--skip-broken, skip_broken=True in Python, leaves them out")
    raise error


class _Decoded(NamedTuple):
    pixels: Array  # float32 (height, width, channels), parts of full_scale
    full_scale: float
    remarks: list[str]  # what of the file is not in the pixels; "8 of 9 images" goes before it


def _try(
    path: str, f: Callable[[Any], _T], broken: dict[str, str], remarks: dict[str, list[str]] | None = None
) -> _T | None:
    """Return what a function makes of an image file, or note in ``broken`` why it cannot be read.

    Warnings of Pillow, which name no file, are noted in ``remarks``, but for those of files that are only large.
    """
    Image = import_pillow()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is not a regular file")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Image.open(path) as image:
                result = f(image)
        for each in caught:
            if remarks is not None and not issubclass(
                each.category, Image.DecompressionBombWarning | DeprecationWarning
            ):
                remarks.setdefault(f"make Pillow say: {' '.join(str(each.message).split())}", []).append(path)
        return result
    except Exception as error:  # decoders raise errors of all types, from struct.error to KeyError
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        broken[path] = "it is no image that Pillow knows" if "cannot identify" in reason else reason
        return None


def _header(image: Any) -> tuple[tuple[int, int], bool]:
    """Return the size (width, height) of an image as it stands upright, and whether it is grey; decode nothing."""
    # the method of the base class: that of PNG decodes the file, to look for a note behind the pixels
    orientation = import_pillow().Image.getexif(image).get(_ORIENTATION)
    # TIFF: whether size is that of the pixels as they are stored depends on Pillow's version
    size = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size
    return (size[::-1] if orientation in (5, 6, 7, 8) else size), _is_grey(image.mode)


def _decode(image: Any) -> _Decoded:
    from PIL import ImageOps

    kind, remarks = image.format, _remarks(image)
    image = ImageOps.exif_transpose(image)
    transparent = image.info.get("transparency")
    if image.mode == "F" or image.mode.startswith("I"):
        raw = np.asarray(image)[..., None]
        # some versions of Pillow open PNG and PGM of 16 bits as ints of 32
        of_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM"))
        full_scale = 65535.0 if of_16_bits else 1.0
        pixels = raw.astype(np.float32) / np.float32(full_scale)
        if not np.isfinite(pixels).all():
            raise ValueError("it has pixels that are not finite")
        if isinstance(transparent, int) and full_scale > 1:
            pixels = np.where(raw == transparent, np.float32(1), pixels)
        return _Decoded(pixels, full_scale, remarks)
    grey = _is_grey(image.mode)
    if image.mode == "LAB":
        image = _lab_to_rgb(image)
    elif image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if grey else "RGB")
    values = np.asarray(image, np.float32) / np.float32(255)
    values = values[..., None] if values.ndim == 2 else values
    if values.shape[2] in (2, 4):
        alpha = values[..., -1:]
        values = values[..., :-1] * alpha + (1 - alpha)
    return _Decoded(values, 255.0, remarks)


def _is_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")


def _remarks(image: Any) -> list[str]:
    """Return what is in a file and not in the pixels that are read of it."""
    remarks = []
    if _is_reduced(image):
        remarks.append("have 16 bits for each colour, of which Pillow reads the upper 8")
    # those of a phone (MPO) are the same view, those of Photoshop (PSD) layers of what is read
    if getattr(image, "is_animated", False) and image.format not in ("MPO", "PSD"):
        remarks.append("have several frames or pages, of which the first is used")
    return remarks


def _is_reduced(image: Any) -> bool:
    """Return whether a file has more bits than the mode in which Pillow opens it."""
    if image.mode.startswith("I"):
        return False
    for codec, _, _, arguments in image.tile:
        for argument in arguments if isinstance(arguments, tuple) else (arguments,):
            # PNG and TIFF: the raw mode; PPM: the largest value
            if ";16" in str(argument) or (codec.startswith("ppm") and isinstance(argument, int) and argument > 255):
                return True
    return False


def _lab_to_rgb(image: Any) -> Any:
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )


def import_pillow() -> Any:
    """Return the module PIL.Image with all of its formats, or raise the error that names the extra.

    Examples
    --------
    >>> import_pillow().__name__
    'PIL.Image'
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise extras.missing("images need Pillow", "images", error) from None
    Image.init()
    return Image


def check_varied(where: str, x: Source) -> None:
    """Refuse examples that are all equal: nothing can be learned from them.

    Parameters
    ----------
    where : str
        What error messages begin with.
    x : array or source (N, height, width, channels) or (N, features)

    Raises
    ------
    ValueError
        If there are several, and all are equal.

    Examples
    --------
    >>> check_varied("data", np.eye(2).reshape(2, 1, 2, 1))
    """
    first = take(x, slice(0, 1))
    if len(x) > 1 and x.shape[1] and all((block == first).all() for _, block in blocks(x)):
        low, high = first.min(), first.max()
        kind, number = ("images", "pixel") if len(x.shape) == 4 else ("rows", "number")
        values = f"each {number} is {low:g}" if low == high else f"with values from {low:g} to {high:g}"
        raise ValueError(f"{where}: all {len(x)} {kind} are equal, {values}: nothing can be learned from them")


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
        (features,), (time, channels) or (height, width, channels)

    Returns
    -------
    str

    Examples
    --------
    >>> describe_shape((8, 8, 1)), describe_shape((30,)), describe_shape((100, 3))
    ('images of 8x8, 1 channel', '30 features', 'series of 100 steps, 3 channels')
    """
    if len(shape) == 1:
        return f"{shape[0]} features"
    *sizes, channels = shape
    kind = f"series of {sizes[0]} steps" if len(sizes) == 1 else f"images of {'x'.join(map(str, sizes))}"
    return f"{kind}, {channels} channel{'s' * (channels != 1)}"
