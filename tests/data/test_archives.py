""".npz files that are damaged, or declare what they do not hold: one line, before anything is allocated."""

import io
import re
import zipfile

import numpy as np
import pytest

from funcnn import data
from funcnn.data import archives

X, Y = np.random.default_rng(0).random((6, 3)), np.arange(6) % 2


def header(shape, dtype="<f8"):
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": dtype, "fortran_order": False, "shape": shape})
    return written.getvalue()


def archived(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(array):
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**12,)), "it declares (1000000000000,) of float64, and has 0 bytes"),
        (header((-1, 3)), "it declares (-1, 3) of float64"),
        (header((10**12,), "<U0"), "it declares (1000000000000,) of <U0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "expected 2147483647 bytes got 0"),
        (npy(X) + b"more", "it declares (6, 3) of float64, and has 148 bytes"),
        (b"no array", "array x cannot be read"),
        (b"", "array x cannot be read"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_an_array_declares_is_compared_with_what_it_has(tmp_path, content, message, method):
    archived(tmp_path / "data.npz", [("x.npy", content), ("y.npy", npy(Y))], method)
    with pytest.raises(ValueError, match=rf"data\.npz: not an \.npz file .*{re.escape(message)}"):
        data.open(tmp_path / "data.npz")


def test_what_does_not_fit_into_the_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((1000, 100), np.uint8), y=np.arange(1000) % 2)
    monkeypatch.setattr(archives, "available_memory", lambda: 9e4)
    with pytest.raises(ValueError, match=r"array x cannot be read \(\(1000, 100\) of uint8 takes 0.0 GB, and"):
        data.open(tmp_path / "data.npz")


def test_only_what_is_asked_for_is_read(tmp_path):
    members = [("x.npy", npy(X)), ("y.npy", npy(Y)), ("z.npy", header((10**12,))), ("notes.txt", b"hello")]
    found = data.open(archived(tmp_path / "data.npz", members))
    np.testing.assert_array_equal(found.x, X)
    assert found.x.dtype == np.float64
    np.savez(tmp_path / "data.npz", x=X, y=Y, notes=np.array([{"by": "me"}], object))
    assert len(data.open(tmp_path / "data.npz").x) == len(data.open_array(tmp_path / "data.npz")) == 6


def test_methods_and_names_that_numpy_does_not_write(tmp_path):
    path = archived(tmp_path / "data.npz", [("x.npy", npy(X)), ("y.npy", npy(Y))], zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"it is compressed by method 12; save by np\.savez_compressed"):
        data.open(path)
    with pytest.raises(ValueError, match=r"has an array x 2 times"):
        data.open(archived(path, [("x.npy", npy(X)), ("x", npy(X))]))
    with pytest.raises(ValueError, match=r"needs the labels in y\.npy beside it"):
        (tmp_path / "x.npy").write_bytes(npy(X))
        data.open(tmp_path / "x.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_damage_is_one_line(tmp_path, save):
    written = io.BytesIO()
    save(written, x=X, y=np.array(["a", "b"] * 3), classes=np.array([1]))
    rng, path = np.random.default_rng(0), tmp_path / "data.npz"
    for n in range(300):
        content = np.frombuffer(written.getvalue(), np.uint8).copy()
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(len(content))] if n % 5 == 0 else content)
        try:
            data.open(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
