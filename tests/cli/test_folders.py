"""Folders of images on the command line: parts, other shapes, broken files."""

import json
import re

import commands
import numpy as np
import pytest
from PIL import Image

from funcnn import data, predictor
from funcnn.cli import parts, runs

RNG = np.random.default_rng(0)


def draw(folder, each, size=(6, 6)):
    """Write images of two classes, bright and dark."""
    for name, low in (("bright", 150), ("dark", 0)):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(RNG.integers(low, low + 100, size, dtype=np.uint8)).save(folder / name / f"{i}.png")


def train(*options, cwd):
    return commands.run("train", "--model", "mlp", "--epochs", 12, "--threads", 1, "--batch-size", 8, *options, cwd=cwd)


@pytest.fixture(scope="module")
def split_folder(tmp_path_factory):
    """A folder with parts of a split, and a model that was trained on it."""
    folder = tmp_path_factory.mktemp("split")
    draw(folder / "photos" / "train", 20)
    draw(folder / "photos" / "test", 7)
    done = train("--data", "photos", "--output", "net.safetensors", "--checkpoints", "kept", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "36 examples to train on, 4 to validate, 14 to test" in done.stderr
    assert "photos: the parts train, test are its folders'" in done.stderr
    assert "classes, bright, dark" in done.stderr and "(14 of 14)" in done.stdout
    return folder


def test_parts_are_recorded_so_that_they_can_be_evaluated_and_resumed(split_folder):
    trained = predictor.load(split_folder / "net.safetensors")
    assert trained.description["split"]["folders"] == ["train", "test"]
    assert trained.description["split"]["test"] is None and trained.description["split"]["validation"] == 0.1
    dataset = runs.open_matching(str(split_folder / "photos"), trained)
    names = parts.select_part(trained, dataset, "photos").dataset.names  # test, by default
    assert len(names) == 14 and all(name.startswith("test/") for name in names)
    assert len(parts.select_part(trained, dataset, "photos", parts.Part.validation).dataset.names) == 4
    resumed = train("--resume", "kept", cwd=split_folder)  # the epochs are done
    assert resumed.returncode == 0 and "(14 of 14)" in resumed.stdout


def test_parts_of_another_folder_can_be_evaluated(split_folder, tmp_path):
    draw(tmp_path / "new" / "train", 2)
    draw(tmp_path / "new" / "test", 3)
    trained = predictor.load(split_folder / "net.safetensors")
    dataset = runs.open_matching(str(tmp_path / "new"), trained)
    assert len(parts.select_part(trained, dataset, "new", parts.Part.test).dataset.x) == 6
    with pytest.raises(ValueError, match="--part validation: new is not what the model was trained on"):
        parts.select_part(trained, dataset, "new", parts.Part.validation)


def test_moving_an_image_to_another_part_makes_other_data(split_folder):
    dataset = data.open(split_folder / "photos")
    moved = dataset.splits._replace(train=dataset.splits.train[:-1], test=np.append(dataset.splits.test, 39))
    assert runs.fingerprint(dataset) != runs.fingerprint(dataset._replace(splits=moved))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test", 0.3), "--test 0.3 cannot be combined with --data photos, which has a folder for the test part"),
        (("--folds", 2), "--folds 2 cannot be combined with --data photos, which has parts of its own"),
    ],
)
def test_options_that_contradict_the_parts(split_folder, options, message):
    refused = train("--data", "photos", *options, cwd=split_folder)
    assert refused.returncode == 2 and message in refused.stderr and refused.stderr.count("\n") == 1


def test_images_of_another_aspect(tmp_path):
    draw(tmp_path / "a", 12, size=(6, 6))
    draw(tmp_path / "wide", 3, size=(6, 12))
    for path in (tmp_path / "wide").rglob("*.png"):
        path.rename(tmp_path / "a" / path.parent.name / f"wide{path.name}")
    said = "6 of 30 images have another aspect than 6x6 (height x width)"
    padded = train("--data", "a", "--output", "padded.safetensors", cwd=tmp_path)
    assert padded.returncode == 0 and padded.stderr.count(said) == 1
    cropped = train("--data", "a", "--fit", "crop", "--output", "cropped.safetensors", cwd=tmp_path)
    assert cropped.returncode == 0 and said not in cropped.stderr
    paths = sorted((tmp_path / "a").rglob("wide*.png"))
    names = [str(path.relative_to(tmp_path)) for path in paths]
    pixels = np.array([np.asarray(Image.open(path)) for path in paths])
    for fit, model in (("pad", "padded.safetensors"), ("crop", "cropped.safetensors")):
        trained = predictor.load(tmp_path / model)
        assert trained.preprocessing["fit"] == fit
        fitted = data.resize(pixels[..., None] / 255, (6, 6), fit=fit)  # of float64
        mean, std = (np.array(trained.preprocessing[name]) for name in ("mean", "std"))
        np.testing.assert_allclose(trained.prepare(pixels), (fitted - mean) / std, rtol=1e-4, atol=1e-5)
        table = commands.run("predict", model, "a", cwd=tmp_path)
        assert said not in table.stderr
        probabilities = dict(re.findall(r"^(\S+?),\w+,[\d.]+,([\d.]+),", table.stdout, re.M))
        expected = trained.predict_proba(pixels)[:, 0]  # arrays are fitted as files are
        np.testing.assert_allclose([float(probabilities[name]) for name in names], expected, atol=1e-5)


def test_images_of_an_array_that_are_padded_are_said(tmp_path):
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 256, (30, 6, 9), dtype=np.uint8), y=np.arange(30) % 2)
    done = train("--data", "a.npz", "--image-size", 12, cwd=tmp_path)
    assert "images of 6x9 (height x width) are padded to 12x12" in done.stderr and done.returncode == 0


def test_broken_images_are_named_together_or_skipped(split_folder, tmp_path):
    draw(tmp_path / "photos", 12)
    for i in range(3):
        (tmp_path / "photos" / "dark" / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    model = split_folder / "net.safetensors"
    for command in (
        ("train", "--data", "photos", "--model", "mlp", "--epochs", 1),
        ("evaluate", model, "photos"),
        ("show", "confusion", model, "photos"),
        ("predict", model, "photos"),
    ):
        refused = commands.run(*command, cwd=tmp_path)
        assert refused.returncode == 1 and "cannot read 3 of 24 images: photos/dark/0.png (" in refused.stderr
        assert "--skip-broken" in refused.stderr and "Traceback" not in refused.stderr
        done = commands.run(*command, "--skip-broken", cwd=tmp_path)
        assert done.returncode == 0 and "skipped 3 of 24 images: photos/dark/0.png (" in done.stderr
        assert "photos: skipped 1 " in done.stderr
    assert len(done.stdout.splitlines()) == 1 + 21
    result = json.loads(commands.run("evaluate", model, "photos", "--skip-broken", "--json", cwd=tmp_path).stdout)
    assert result["accuracy"] == 1


def test_a_narrow_range_of_16_bits_is_learned(tmp_path):
    for name, low in (("near", 660), ("far", 780)):
        (tmp_path / "depth" / name).mkdir(parents=True)
        for i in range(20):
            depth = RNG.integers(low, low + 70, (6, 6), dtype=np.uint16)
            Image.fromarray(depth).save(tmp_path / "depth" / name / f"{i}.png")
    done = train("--data", "depth", cwd=tmp_path)
    assert "(8 of 8)" in done.stdout


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_files_of_8_bits_given_to_a_model_of_floats_are_one_line(tmp_path, command):
    draw(tmp_path / "bits", 12)
    draw(tmp_path / "floats", 12)
    for path in (tmp_path / "floats").rglob("*.png"):
        pixels = np.asarray(Image.open(path), np.float32) / 25 - 5  # from -5 to 5, around what parts of 255 are
        path.unlink()
        Image.fromarray(pixels).save(path.with_suffix(".tif"))
    done = train("--data", "floats", "--output", "net.safetensors", cwd=tmp_path)
    assert done.returncode == 0 and predictor.load(tmp_path / "net.safetensors").preprocessing["full_scale"] == 1
    warned = commands.run(command, "net.safetensors", "bits", cwd=tmp_path)
    assert warned.returncode == 0 and "bits: the pixels, from 0 to 255, are parts of 255" in warned.stderr
    assert warned.stderr.count("warning: ") == 1
    same = commands.run(command, "net.safetensors", "floats", cwd=tmp_path)
    assert same.returncode == 0 and "warning: " not in same.stderr
