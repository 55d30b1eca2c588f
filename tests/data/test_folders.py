"""Folders of images: what is taken for an image, of which class and part, and what is said of everything else."""

import os
import re
import shutil
import socket

import numpy as np
import pytest
import systems
from PIL import Image

from funcnn import data
from funcnn.data import folders

RNG = np.random.default_rng(0)


def draw(*paths, size=(6, 6)):
    """Write an image to each path; the suffix does not matter."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, size, dtype=np.uint8)).save(path, format="PNG")


def classes_of(root, *names, each=3):
    draw(*(root / name / f"{i}.png" for name in names for i in range(each)))
    return root


def test_hidden_files_and_folders_are_skipped_at_every_depth_and_counted(tmp_path):
    classes_of(tmp_path, "cat", "dog")
    draw(
        *(tmp_path / name for name in ("cat/.ipynb_checkpoints/0.png", "cat/deep/.x/y.png", "dog/._0.png")),
        *(tmp_path / name for name in (".git/a.png", "__MACOSX/cat/0.png", "dog/@eaDir/0.png/thumb.png")),
    )
    with pytest.warns(UserWarning, match=re.escape(f"{tmp_path}: skipped 6 hidden")):
        found = data.open(tmp_path)
    assert found.classes == ["cat", "dog"] and len(found.x) == 6


def test_what_pillow_opens_is_an_image_whatever_its_suffix(tmp_path):
    names = ["a.jfif", "b.JPG", "c.jpe", "d", "e.png.download", "f.Png", "g.JP2"]
    draw(*(tmp_path / "cat" / name for name in names))
    classes_of(tmp_path, "dog")
    for name, text in {"x.txt": "P1 is where we met", "y.h": "#define X 1", "z": "", "drawing.eps": "%!PS"}.items():
        (tmp_path / "cat" / name).write_text(text)
    with pytest.warns(UserWarning) as warned:
        found = data.open(tmp_path)
    assert [name for name in found.names if name.startswith("cat")] == [f"cat/{name}" for name in sorted(names)]
    (line,) = [str(each.message) for each in warned]
    for suffix in (".txt", ".h", "without suffix", ".eps"):
        assert f"1 of no format that Pillow opens ({suffix})" in line


def test_links_are_followed_once_and_never_in_a_loop(tmp_path):
    root = classes_of(tmp_path / "data", "cat", "dog")
    draw(tmp_path / "elsewhere" / "more" / "9.png")
    for name, target in {
        "cat/link": tmp_path / "elsewhere", "cat/self": ".", "cat/up": "..", "cat/root": "/", "cat/again": "link/more",
        "dog/link": tmp_path / "elsewhere", "dog/one.png": tmp_path / "elsewhere/more/9.png", "dog/gone": "nowhere",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    (root / "all").symlink_to(root)
    found = folders.find_labelled_images(root, 2)
    assert [str(file.relative_to(root)) for file in found.files] == [
        "cat/0.png", "cat/1.png", "cat/2.png", "cat/again/9.png",
        "dog/0.png", "dog/1.png", "dog/2.png", "dog/link/more/9.png", "dog/one.png",
    ]  # fmt: skip
    assert found.skipped == {"folders that are linked twice or contain the link": 5, "links to nowhere": 1}


def test_links_of_classes_to_folders_elsewhere(tmp_path):
    classes_of(tmp_path / "elsewhere", "cats", "dogs")
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / f"{name}s")
    assert data.open(tmp_path / "data").names[-1] == "dog/2.png"


def test_an_image_that_is_there_under_two_classes_is_said(tmp_path):
    classes_of(tmp_path, "cat", "dog")
    shutil.copy(tmp_path / "cat/1.png", tmp_path / "dog/copy.png")
    with pytest.warns(UserWarning, match=r"the same image .* first cat/1\.png \(cat\) and dog/copy\.png \(dog\)"):
        data.open(tmp_path)


def test_two_classes_are_not_one_folder(tmp_path):
    classes_of(tmp_path, "cat", "dog")
    (tmp_path / "chat").symlink_to("cat")
    with pytest.raises(ValueError, match=f"{tmp_path}: cat and chat are the same folder, linked: leave one out"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("train", "test1"), ("seg_train", "seg_test", "cat"), ("Val 2", "train")]
)
def test_classes_that_look_like_parts_are_refused(tmp_path, names):
    classes_of(tmp_path, *names)
    with pytest.raises(ValueError, match=r"look like parts of a split: call them train and test \(and val\)"):
        data.open(tmp_path)


def test_one_class_may_be_called_like_a_part(tmp_path):
    assert data.open(classes_of(tmp_path, "train", "trainer", "contest")).classes == ["contest", "train", "trainer"]


@systems.needs("mkfifo")
def test_fifos_and_sockets_are_never_opened(tmp_path, monkeypatch):
    classes_of(tmp_path, "cat", "dog")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "zero.png").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path / "dog")  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        with pytest.warns(UserWarning, match="skipped 3 neither file nor folder"):
            assert len(data.open(tmp_path).x) == 6
    with pytest.raises(OSError, match=r"cannot read the image .*pipe\.png: it is not a regular file"):
        data.open_images([tmp_path / "cat" / "pipe.png"])


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path, monkeypatch):
    classes_of(tmp_path, "cat/deep", "dog")
    scandir = os.scandir

    def refuse(path):
        if path == tmp_path / "cat" / "deep":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=r"cannot read the folder .*cat/deep: Permission denied"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test"},
        {"train": "Train", "validation": "val", "test": "Test"},
        {"train": "training", "validation": "valid"},
        {"train": "train", "validation": "validation", "test": "testing"},
    ],
)
def test_folders_of_parts_are_the_parts_of_the_split(tmp_path, names):
    for name in names.values():
        classes_of(tmp_path / name, "cat", "dog", each=10)
    found = data.open(tmp_path)
    assert found.classes == ["cat", "dog"] and np.bincount(found.labels).tolist() == [10 * len(names)] * 2
    for part, chosen in zip(data.Splits._fields, found.splits, strict=True):
        prefixes = {found.names[n].split("/")[0] for n in chosen}
        assert prefixes == ({names[part]} if part in names else set())
    splits = data.hold_out(found.labels, 0.2, 0.1, key=(0,), classes=found.classes, given=found.splits)
    sizes = {part: len(chosen) for part, chosen in zip(data.Splits._fields, splits, strict=True)}
    # a part without a folder is held out of the one to train on
    held_out = {"test": 4, "validation": 2}
    assert sizes == {
        **{part: 20 if part in names else n for part, n in held_out.items()},
        "train": 20 - sum(n for part, n in held_out.items() if part not in names),
    }
    assert sorted(np.concatenate(splits)) == list(range(len(found.x)))
    assert set(splits.train) <= set(found.splits.train)


def test_classes_that_are_missing_in_a_part(tmp_path):
    classes_of(tmp_path / "train", "ant", "bee", "cat")
    classes_of(tmp_path / "test", "ant", "cat")
    with pytest.warns(UserWarning, match="test has no images of bee"):
        assert data.open(tmp_path).classes == ["ant", "bee", "cat"]
    classes_of(tmp_path / "test", "dog")
    with pytest.raises(ValueError, match="train has no images of dog"):
        data.open(tmp_path)


def test_parts_that_are_not_clear(tmp_path):
    classes_of(tmp_path / "a", "train", "test")  # images, not classes
    with pytest.raises(
        ValueError, match="train is a part of the split, and has no sub-folders of images for the class"
    ):
        data.open(tmp_path / "a")
    classes_of(tmp_path / "b", "train/cat", "train/dog", "val/cat", "valid/cat")
    with pytest.raises(ValueError, match="val and valid are the same part of the split"):
        data.open(tmp_path / "b")
    classes_of(tmp_path / "c", "train/cat", "train/dog", "test/cat", "birds")
    with pytest.raises(ValueError, match="train, test are parts of a split, and beside them are birds, which are not"):
        data.open(tmp_path / "c")
    classes_of(tmp_path / "d", "train/cat", "train/dog")
    with pytest.raises(ValueError, match=r"there is only train; or are the classes those of .*d/train\?"):
        data.open(tmp_path / "d")
    classes_of(tmp_path / "e", "train", "bus")  # a class of vehicles
    assert data.open(tmp_path / "e").classes == ["bus", "train"]
    shutil.rmtree(tmp_path / "b" / "valid")
    classes_of(tmp_path / "b", "val/dog")
    splits = data.open(tmp_path / "b").splits
    with pytest.raises(ValueError, match="have parts for validation and test, and none to train on"):
        data.hold_out(np.zeros(6, int), 0.2, key=(0,), given=splits._replace(train=np.arange(0)))


def test_broken_images_are_all_named_at_once_or_skipped(tmp_path):
    classes_of(tmp_path, "cat", "dog", each=20)
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    for i in range(12):  # damaged in the header, truncated, empty, and a link to nowhere
        path = tmp_path / "dog" / f"{i}.png"
        path.write_bytes([b"GIF89a", whole[:-30], b"", whole[:20]][i % 4])
    (tmp_path / "dog" / "11.png").unlink()
    (tmp_path / "dog" / "11.png").symlink_to("nowhere")
    with pytest.raises(OSError, match="cannot read 12 of 40 images: ") as caught:
        data.open(tmp_path)
    named = re.findall(r"dog/(\d+)\.png \(", str(caught.value))
    assert len(set(named)) == 10 and str(caught.value).endswith(", ...")
    assert any("skip_broken=True" in note for note in caught.value.__notes__)
    with pytest.warns(UserWarning, match="skipped 12 of 40 images: "):
        found = data.open(tmp_path, skip_broken=True)
    assert np.bincount(found.labels).tolist() == [20, 8] and len(found.names) == len(found.x) == 28
    fresh = data.open_images([tmp_path / name for name in found.names])
    np.testing.assert_array_equal(found.x, fresh)


def test_parts_keep_their_images_where_broken_ones_are_skipped(tmp_path):
    for part in ("train", "test"):
        classes_of(tmp_path / part, "cat", "dog")
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped 1 of 12 images"):
        found = data.open(tmp_path, skip_broken=True)
    assert [found.names[n] for n in found.splits.test][::3] == ["test/cat/0.png", "test/dog/0.png"]
    for path in (tmp_path / "test").rglob("*.png"):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="skipped 7 of 12"),
        pytest.raises(ValueError, match="none of the 6 images of the test part can be read"),
    ):
        data.open(tmp_path, skip_broken=True)


def test_images_that_are_all_equal_are_refused_for_training(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (4, 4), 51).save(tmp_path / name / f"{i}.png")
    with pytest.raises(ValueError, match=r"all 6 images are equal, each pixel is 0\.2"):
        data.open(tmp_path)
    assert len(data.open(tmp_path, min_classes=1).x) == 6  # to evaluate
