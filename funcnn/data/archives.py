""".npy files, and .npz files: zip archives of these, read without trust in what they declare.

An .npy file is mapped into memory: what is read of it is what is used. Of an .npz file, only the arrays that are asked
for are read. Their sizes are known from the directory of the archive and from the headers of the arrays; both are
compared with each other and with the memory before anything is allocated.
"""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnn.data.memory import available_memory
from funcnn.tree import Array

__all__ = ["map_npy", "read_npz"]

# More than NumPy's own limit for a header, and all that is unpacked before sizes are checked.
_HEADER = 1 << 16
# The largest factor by which deflate, the method of np.savez_compressed, makes data smaller.
_LARGEST_RATIO = 1032


def map_npy(path: Path) -> Array:
    """Return the array of an .npy file, which is read when it is used.

    Parameters
    ----------
    path : Path

    Returns
    -------
    array
        Read-only.

    Raises
    ------
    ValueError
        If the file is damaged, is something else, or has Python objects or no values.
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.arange(3))
    ...     map_npy(Path(folder, "x.npy"))
    array([0, 1, 2])
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about what it parses in damaged headers
            return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (ValueError, EOFError, OverflowError, LookupError, TypeError, MemoryError, SyntaxError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise OSError(f"cannot read {path}: {error.strerror or error}") from None
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path}: not an .npy file that can be read: {reason}") from None


def read_npz(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Array], list[str]]:
    """Read some arrays of an .npz file.

    Parameters
    ----------
    path : Path
    wanted : sequence of str
        Names of arrays. Those that the file lacks are left out.

    Returns
    -------
    arrays : dict of array
    names : list of str
        Of all arrays in the file.

    Raises
    ------
    ValueError
        If the file is damaged, is something else, or declares arrays that are larger than it or than the memory; if a
        wanted array occurs twice or holds Python objects.
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/data.npz", x=np.ones(3), z=np.array([object()]))
    ...     read_npz(Path(folder, "data.npz"), ["x", "y"])
    ({'x': array([1., 1., 1.])}, ['x', 'z'])
    """
    import struct  # here, so that `import funcnn` does not pay for zipfile: 6 ms with what it imports
    import zipfile
    import zlib

    damage = (
        ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError,
        OverflowError, LookupError, TypeError, MemoryError, SyntaxError, OSError,
    )  # fmt: skip
    reading = ""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about what it parses in damaged headers
            start = file.read(6)
            if start == b"\x93NUMPY":
                raise ValueError("it holds a single array, not x and y; save both by np.savez(file, x=x, y=y)")
            if start[:2] != b"PK":
                raise ValueError("it is no zip archive; a table of text must be called .csv or .tsv")
            with zipfile.ZipFile(file) as archive:
                members = [(info.filename.removesuffix(".npy"), info) for info in archive.infolist()]
                counts = Counter(name for name, _ in members)
                arrays = {}
                for name, info in members:
                    if name in wanted:
                        if counts[name] > 1:
                            raise ValueError(f"it has an array {name} {counts[name]} times")
                        reading = name
                        arrays[name] = _read_member(archive, info)
                        reading = ""
                return arrays, [repr(name)[1:-1] for name in counts]  # in one line
    except damage as error:
        if isinstance(error, OSError) and error.filename:  # of opening, not of what was read
            raise OSError(f"cannot read {path}: {error.strerror or error}") from None
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        reason = f"array {reading} cannot be read ({reason})" if reading else reason
        raise ValueError(f"{path}: not an .npz file that can be read: {reason}") from None


def _read_member(archive: Any, info: Any) -> Array:
    """Read one array, after its header and the directory agree on its size and it fits into the memory."""
    if info.compress_type not in (0, 8):  # stored, deflated
        raise ValueError(f"it is compressed by method {info.compress_type}; save by np.savez_compressed")
    if info.file_size > _LARGEST_RATIO * info.compress_size + 64:
        raise ValueError(f"it declares {info.file_size:,} bytes, packed in {info.compress_size:,}")
    with archive.open(info) as member:
        head = io.BytesIO(member.read(_HEADER))
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format is not for numbers or names")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(head)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects; names must be saved as str")
    content = info.file_size - head.tell()
    if min(shape, default=0) < 0 or not dtype.itemsize or math.prod(shape) * dtype.itemsize != content:
        raise ValueError(f"it declares {shape} of {dtype}, and has {content:,} bytes")
    if content > (available := available_memory()):
        raise ValueError(
            f"{shape} of {dtype} takes {content / 1e9:.1f} GB, and {available / 1e9:.1f} GB of memory are available; "
            "saved by np.save, as x.npy and y.npy, it need not fit"
        )
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
    return array
