"""Labels of every dtype: read rightly, or refused by a line that names the file, the array and the first bad entry."""

import contextlib
import re

import numpy as np
import pytest

from funcnn import data

X = np.random.default_rng(0).random((4, 3))


def opened(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", x=X, **arrays)
    return data.open(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("y", "labels", "classes"),
    [
        (np.array([b"bee", b"ant", "bée".encode(), b"ant"]), [1, 0, 2, 0], ["ant", "bee", "bée"]),
        (np.array(["cat ", "cat", " dog", "dog"]), [0, 0, 1, 1], ["cat", "dog"]),
        (np.array([True, False, True, False]), [1, 0, 1, 0], ["False", "True"]),
        (np.array([2.0, -1.0, 2.0, -1.0], np.float16), [1, 0, 1, 0], ["-1", "2"]),
        (np.array([2**64 - 1, 2**63, 2**63, 0], np.uint64), [2, 1, 1, 0], ["0", str(2**63), str(2**64 - 1)]),
        (np.array([[10], [9], [9], [10]], ">i2"), [1, 0, 0, 1], ["9", "10"]),
    ],
)
def test_labels_of_many_dtypes(tmp_path, y, labels, classes):
    found = opened(tmp_path, y=y)
    assert found.labels.tolist() == labels and found.classes == classes and found.labels.dtype == np.int64


def test_names_of_classes_are_text(tmp_path):
    y = np.array([1, 0, 1, 0])
    assert opened(tmp_path, y=y, classes=np.array([b"ant", b"bee "])).classes == ["ant", "bee"]
    assert opened(tmp_path, y=y.astype(float), classes=np.array([10, 20])).classes == ["10", "20"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [1, np.inf, 0, 1]}, "y must be whole numbers or names, got inf at y[1]"),
        ({"y": [1, 0, np.nan, 1]}, "y must be whole numbers or names, got nan at y[2]"),
        ({"y": [0, 1e300, 1, 1]}, "y has labels up to 1e+300, too large to be whole numbers in float64; the first is"),
        ({"y": np.float32([0, 1, 1, 2**25])}, "too large to be whole numbers in float32; the first is y[3]"),
        ({"y": 3}, "y must have one label for each of the 4 examples of x (4, 3), got ()"),
        ({"y": np.eye(4)}, "y must have one label for each of the 4 examples of x (4, 3), got (4, 4)"),
        ({"y": [b"a", "é".encode("latin-1"), b"b", b"b"]}, r"y[1] is b'\xe9', not in UTF-8; save names as str"),
        ({"y": ["a", "b", " ", "a"]}, "y[2] is ' ', an empty name"),
        ({"y": np.array(["2026-01-01"] * 4, "M8[D]")}, "y must be whole numbers or names, not datetime64[D]; y[0] is"),
        ({"y": np.ones(4, complex)}, "not complex128; y[0] is"),
        ({"y": np.zeros(4, [("a", int)])}, "not [('a', '<i8')]; y[0] is"),
        ({"y": np.array(["a", 1, None, "b"], object)}, "array y cannot be read (it holds pickled Python objects"),
        ({"y": [0, 1, 2, -1], "classes": ["a", "b"]}, "y goes from -1 to 2, the first without a name is y[2]"),
        ({"y": [0, 1, 0, 1], "classes": [b"a", b"a "]}, "classes has a more than once, at classes[0] and [1]"),
        ({"y": [0, 1, 0, 1], "classes": ["a", ""]}, "classes[1] is '', an empty name"),
        ({"y": [0, 1, 0, 1], "classes": "ab"}, "classes must be names, str (C,), not <U2 ()"),
        ({"y": [0, 1, 0, 1], "classes": np.array(["a", None], object)}, "array classes cannot be read"),
    ],
)  # fmt: skip
def test_labels_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=rf"data\.npz: .*{re.escape(message)}") as caught:
        opened(tmp_path, **{name: np.array(array) for name, array in arrays.items()})
    assert "\n" not in str(caught.value)


def test_whole_numbers_with_gaps_may_be_measurements(tmp_path):
    ages = np.repeat(np.arange(18, 90, 3), 5)
    np.savez(tmp_path / "data.npz", x=np.eye(len(ages)), y=ages)
    with pytest.warns(
        UserWarning, match="24 different numbers, from 18 to 87, and each is taken for a class; to predict"
    ):
        data.open(tmp_path / "data.npz")
    np.savez(tmp_path / "data.npz", x=np.eye(len(ages)), y=ages // 3)
    data.open(tmp_path / "data.npz")  # warnings are errors here


@pytest.mark.parametrize(
    ("names", "warned"),
    [(["cat", "Cat"], True), (["caf\u00e9", "cafe\u0301"], True), (["a  b", "a b"], True), (["a", "A"], False)],
)
def test_classes_that_are_written_almost_alike_are_said(tmp_path, names, warned):
    np.savez(tmp_path / "data.npz", x=np.eye(6), y=np.array(names * 3))
    with pytest.warns(UserWarning, match="are written almost alike") if warned else contextlib.nullcontext():
        assert len(data.open(tmp_path / "data.npz").classes) == 2
