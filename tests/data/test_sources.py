"""Data from users: what is accepted, how it is read, and what is said of everything else."""

import warnings

import numpy as np
import pytest
import shapes
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from funcnn import data
from funcnn.data import images

RNG = np.random.default_rng(0)
X, Y = RNG.random((6, 5, 4, 3)), np.array([3, 1, 3, 1, 7, 7])


def saved(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "data.npz"


@pytest.fixture
def folder(tmp_path):
    shapes.make(tmp_path / "shapes", each=2)
    return tmp_path / "shapes"


def test_the_sets_of_scikit_learn():
    for name, shape, classes in [
        ("digits", (1797, 8, 8, 1), 10), ("breast-cancer", (569, 30), 2), ("iris", (150, 4), 3), ("wine", (178, 13), 3),
    ]:  # fmt: skip
        found = data.open(name)
        assert found.x.shape == shape and found.x.dtype == np.float32 and len(found.classes) == classes
        assert np.array_equal(np.unique(found.labels), np.arange(classes))


def test_a_folder_that_is_called_like_a_built_in_set_is_said(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("digits")
    with pytest.warns(UserWarning, match=r"digits is the built-in set here, not the file or folder .* \./digits"):
        assert len(data.open("digits").x) == 1797
    assert data.open("./digits").classes == ["circle", "square", "triangle"]


def test_arrays(npz):
    found = data.open(saved(npz, x=X, y=Y))
    np.testing.assert_array_equal(found.x, X.astype(np.float32))
    assert found.classes == ["1", "3", "7"] and found.labels.tolist() == [1, 0, 1, 0, 2, 2]
    grey = data.open(saved(npz, x=(255 * X[..., 0]).astype(np.uint8), y=Y[:, None].astype(np.float64)))
    assert grey.x.shape == (6, 5, 4, 1) and 0.5 < grey.x.max() <= 1 and grey.classes == found.classes
    rows = data.open(saved(npz, x=(255 * X[:, :, 0, 0]).astype(np.uint8), y=np.array(list("abcabc"))))
    assert rows.x.shape == (6, 5) and rows.classes == ["a", "b", "c"]
    named = data.open(saved(npz, x=X, y=Y, classes=np.array(list("abcdefgh"))))
    assert named.classes == list("abcdefgh") and named.labels.tolist() == Y.tolist()


def test_images_of_an_array_that_are_all_equal_are_refused_for_training(npz):
    saved(npz, x=np.full((6, 4, 4), 7), y=Y)
    with pytest.raises(ValueError, match=r"data\.npz: all 6 images are equal, each pixel is 0\.02"):
        data.open(npz)
    assert len(data.open(npz, min_classes=1).x) == 6  # to evaluate


ARRAYS = {
    "nothing": ({}, "needs arrays x and y, and has none"),
    "no labels": ({"x": X, "labels": Y}, "needs arrays x and y, and has x, labels"),
    "other lengths": (
        {"x": X, "y": Y[:5]},
        r"y must have one label for each of the 6 examples of x \(6, 5, 4, 3\), got \(5,\)",
    ),
    "probabilities": (
        {"x": X, "y": np.eye(6)},
        r"y must have one label for each .*, got \(6, 6\); .*y\.argmax\(axis=1\)",
    ),
    "equal rows": ({"x": np.ones((6, 2)), "y": Y}, "all 6 rows are equal, each number is 1"),
    "equal images": ({"x": np.full((6, 4, 4), 9), "y": Y}, "all 6 images are equal"),
    "numbers to predict": ({"x": np.eye(30), "y": np.arange(30)}, "30 different numbers, from 0 to 29, of 30 examples"),
    "digits that float64 loses": (
        {"x": 2**60 + np.arange(12).reshape(6, 2), "y": Y},
        r"x\[0, 1\], 1152921504606846977, has more digits than float64 holds",
    ),
    "the largest whole number": ({"x": np.full((6, 2), 2**64 - 1, np.uint64), "y": Y}, "has more digits than float64"),
    "labels between": ({"x": X, "y": Y + 0.5}, r"y must be whole numbers or names, got 3\.5"),
    "labels missing": ({"x": X, "y": Y + np.nan}, "y must be whole numbers or names, got nan"),
    "names as objects": ({"x": X, "y": np.array(list("abcabc"), object)}, "array y cannot be read .*saved as str"),
    "one class": ({"x": X, "y": 0 * Y}, "all 6 examples are of one class, 0; needs at least two"),
    "too few names": ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, "classes has 2 names, y goes from 1 to 7"),
    "names and classes": (
        {"x": X, "y": Y.astype(str), "classes": np.array(["a", "b"])},
        "classes names the numbers of y, and y is of names such as 1",
    ),
    "one name twice": ({"x": X, "y": Y % 2, "classes": np.array(["a", "a"])}, "classes has a more than once"),
    "float labels that are no numbers of their own": ({"x": X, "y": Y * 1e300}, r"y has labels up to .*e\+300"),
    "no values": ({"x": X[:0], "y": Y[:0]}, r"x \(0, 5, 4, 3\) must be \(N, features\)"),
    "one axis": ({"x": Y, "y": Y}, r"x \(6,\) must be \(N, features\)"),
    "volumes": ({"x": X[None], "y": Y[:1]}, r"x \(1, 6, 5, 4, 3\) must be \(N, features\)"),
    "channels first": (
        {"x": X.transpose(0, 3, 1, 2).repeat(2, 3), "y": Y},
        r"the channels last, not first: got \(6, 3, 5, 8\)",
    ),
    "text": ({"x": np.full((6, 2), "a"), "y": Y}, "x must be of numbers, not <U1"),
    "not finite": ({"x": np.where(X[4].max() < X, np.nan, X), "y": Y}, r"x must be finite; \d of 6 examples are not"),
    "too large": ({"x": X * 1e39, "y": Y}, "x must be finite; .* examples are not, the first is number 0"),
}


@pytest.mark.parametrize(("arrays", "message"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_data(npz, arrays, message):
    with pytest.raises(ValueError, match=rf"data\.npz: .*{message}"):
        data.open(saved(npz, **arrays))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and then rubbish", b"x,y\n1,2\n"], ids=["empty", "zip", "text"])
def test_files_that_are_no_arrays(npz, content):
    npz.write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz: not an \.npz file that can be read"):
        data.open(str(npz))


def test_a_single_array_and_a_missing_file(npz):
    with open(npz, "wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match="it holds a single array"):
        data.open(str(npz))
    with pytest.raises(OSError, match=r"cannot read missing\.npz: No such file"):
        data.open("missing.npz")
    with pytest.raises(ValueError, match="no data missing: it is neither a folder"):
        data.open("missing")


@pytest.mark.parametrize("content", [b"plain text\n", b"\x89PNG\r\n\x1a\n", b""])
def test_a_file_that_is_no_npz_is_not_said_to_be_a_pickle(tmp_path, content):
    (tmp_path / "some.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.png: not an \.npz file") as caught:
        data.open(tmp_path / "some.png")
    assert "pickle" not in str(caught.value)


def test_to_evaluate_one_class_is_enough(npz, folder):
    one = data.open(saved(npz, x=X, y=0 * Y), min_classes=1)
    assert one.classes == ["0"] and not one.labels.any()
    with pytest.raises(ValueError, match="for each class, at least 4; there is only circle, square, triangle"):
        data.open(folder, min_classes=4)
    with pytest.raises(ValueError, match="all 6 examples are of 2 classes, 0, 1; needs at least 3"):
        data.open(saved(npz, x=X, y=np.arange(6) % 2), min_classes=3)


def test_a_folder_of_images(folder):
    found = data.open(str(folder))
    assert found.x.shape == (6, 24, 24, 3) and found.x.dtype == np.float32 and 0 <= found.x.min() < found.x.max() <= 1
    assert found.classes == ["circle", "square", "triangle"] and found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.names[2] == "square/000.png"
    pixels = np.asarray(Image.open(folder / found.names[2]))
    np.testing.assert_allclose(found.x[2] * 255, pixels, atol=1e-4)


def test_images_of_many_kinds_get_one_size(folder):
    grey = RNG.integers(0, 256, (40, 30), dtype=np.uint8)
    kinds = {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.gif": Image.fromarray(grey).convert("P"),
        "transparent.png": Image.fromarray(grey).convert("RGBA"),
        "print.jpg": Image.fromarray(grey).convert("CMYK"),
        "bits.bmp": Image.fromarray(grey).convert("1"),
    }
    for name, image in kinds.items():
        image.save(folder / "circle" / name)
    (folder / "circle" / "notes.txt").write_text("not an image, and not read as one")
    with pytest.warns(UserWarning, match=r"skipped 1 of no format that Pillow opens \(\.txt\)"):
        found = data.open(str(folder), fit="stretch")
    assert found.x.shape == (12, 24, 24, 3)  # most are of 24x24
    (folder / "circle" / "notes.txt").unlink()
    opened = data.open(str(folder), image_size=(40, 30), channels=1, fit="stretch")
    for name in ("grey.png", "deep.png", "transparent.png"):
        np.testing.assert_allclose(opened.x[opened.names.index(f"circle/{name}"), ..., 0] * 255, grey, atol=1.01)


def test_grey_images_have_one_channel_and_large_ones_are_made_smaller(tmp_path):
    for name, colour in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        Image.new("L", (300, 150), colour).save(tmp_path / name / "1.png")
    found = data.open(str(tmp_path))
    assert found.x.shape == (2, 32, 64, 1)
    np.testing.assert_allclose(found.x[:, 0, 0, 0] * 255, [10, 200], rtol=1e-6)


def test_images_that_cannot_be_read_are_named(folder):
    broken = folder / "square" / "001.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(OSError, match=r"cannot read the image .*square/001\.png: "):
        data.open(str(folder))
    broken.write_bytes(b"GIF89a")
    with pytest.raises(OSError, match=r"cannot read the image .*square/001\.png: "):
        data.open(str(folder))


def test_folders_that_are_no_data(tmp_path):
    with pytest.raises(ValueError, match="needs a sub-folder of images for each class, at least two; there is none"):
        data.open(str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="there is only a"):
        data.open(str(tmp_path))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="no images in a, b"):
        data.open(str(tmp_path))


def test_classes_go_by_their_names():
    dataset = data.Dataset(X, np.array([0, 1, 0, 1, 0, 0]), ["c", "a"])
    assert data.match_classes(dataset, ["a", "b", "c"], "new").labels.tolist() == [2, 0, 2, 0, 2, 2]
    with pytest.raises(ValueError, match="new: the model knows a, b, not c"):
        data.match_classes(dataset, ["a", "b"], "new")


def test_open_takes_paths_and_does_not_change_raw_arrays(npz):
    saved(npz, x=(255 * X).astype(np.uint8), y=Y)
    np.testing.assert_array_equal(data.open(npz, image_size=(2, 2)).x, data.open_array(str(npz)))
    np.testing.assert_array_equal(data.open_array(npz), data.to_examples((255 * X).astype(np.uint8)))
    np.savez(npz, z=X)
    with pytest.raises(ValueError, match=r"data\.npz: needs an array x, and has z"):
        data.open_array(npz)


def test_the_names_of_the_classes_are_those_of_scikit_learn():
    for name, load in (("breast-cancer", load_breast_cancer), ("iris", load_iris), ("wine", load_wine)):
        assert data.open(name).classes == [str(c) for c in load().target_names]
    assert data.BUILTIN == ("digits", "breast-cancer", "iris", "wine")
    assert data.open("digits").classes == list("0123456789")


def test_classes_that_a_model_knows_may_be_missing():
    dataset = data.Dataset(X, Y, list("abcdefgh"))
    matched = data.match_classes(dataset, list("hgfedcba"))
    assert [matched.classes[i] for i in matched.labels] == [dataset.classes[i] for i in Y]


def test_classes_of_labels_that_are_true_or_false(npz):
    dataset = data.open(saved(npz, x=X, y=Y.min() < Y, classes=np.array(["no", "yes"])))
    assert dataset.classes == ["no", "yes"] and dataset.labels.tolist() == (Y.min() < Y).astype(int).tolist()


def test_images_are_kept_in_memory_unless_they_take_more_than_half_of_it(folder, monkeypatch):
    expected, needed = data.open(folder), data.open(folder).x.nbytes
    assert type(expected.x) is np.ndarray
    for available, kept in ((2 * needed, True), (2 * needed - 1, False)):
        monkeypatch.setattr(images, "available_memory", lambda available=available: available)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = data.open(folder, cache="auto")
        assert isinstance(found.x, np.ndarray) == kept
        said = [str(each.message) for each in caught if "decoded by the batch" in str(each.message)]
        assert len(said) == (not kept) and all("0.0 GB, more than half of the 0.0 GB" in message for message in said)
        np.testing.assert_array_equal(np.asarray(found.x), expected.x)
    with pytest.raises(ValueError, match="cache must be one of auto, memory, none, not 'disk'"):
        data.open(folder, cache="disk")


def test_an_image_that_is_damaged_after_it_was_checked_is_named(folder):
    found = data.open(folder, cache="none")
    (folder / found.names[1]).write_bytes(b"no image")
    with pytest.raises(OSError, match=f"cannot read the image .*{found.names[1]}"):
        found.x[1:2]


def test_pairs_of_arrays(tmp_path):
    x, y = np.arange(48, dtype=np.uint8).reshape(6, 8), np.array(["ant", "bee"] * 3)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"x\.npy: needs the labels in y\.npy beside it"):
        data.open(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", y)
    for source in (tmp_path, tmp_path / "x.npy"):
        for cache in ("memory", "none", "auto"):
            dataset = data.open(source, cache=cache)
            assert isinstance(dataset.x, np.ndarray) == (cache == "memory")
            assert dataset.classes == ["ant", "bee"] and dataset.x.shape == (6, 8)
            np.testing.assert_array_equal(np.asarray(dataset.x), x)
    np.testing.assert_array_equal(data.open_array(tmp_path / "x.npy"), x)
    np.save(tmp_path / "y.npy", np.arange(6) % 2)
    np.save(tmp_path / "classes.npy", np.array(["cat", "dog"]))
    assert data.open(tmp_path).classes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npy file that can be read"),
        (b"PK\x03\x04", "not an .npy file that can be read"),
        (np.array([object()] * 6), "not an .npy file that can be read: .*Python objects"),
        (np.full((6, 2), np.nan), "x must be finite; 6 of 6 examples are not, the first is number 0"),
    ],
)
def test_damaged_files_of_arrays(tmp_path, content, message):
    np.save(tmp_path / "y.npy", np.arange(6) % 2)
    if isinstance(content, bytes):
        (tmp_path / "x.npy").write_bytes(content)
    else:
        np.save(tmp_path / "x.npy", content, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"x\.npy: {message}"):
        data.open(tmp_path / "x.npy")


def test_a_folder_of_arrays_without_labels_is_no_folder_of_images(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    np.save(tmp_path / "labels.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"has x\.npy and y\.npy.*; found labels\.npy, x\.npy"):
        data.open(tmp_path)
