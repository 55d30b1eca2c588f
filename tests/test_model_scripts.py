"""From a folder of images to predictions, as a new user goes: train.py, evaluate.py, predict.py, inspect.py."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import onnxruntime
import pytest
import shapes

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(script, *options, **changes):
    return commands.run(SCRIPTS / script, *options, **changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, and a model trained on them."""
    place = tmp_path_factory.mktemp("place")
    shapes.make(place / "shapes", each=100)
    shapes.make(place / "more", each=5, seed=1)
    options = ("--data", "shapes", "--epochs", 20, "--output", "net.safetensors")
    result = run("train.py", *options, cwd=place)
    assert result.returncode == 0, result.stderr
    assert "shapes: 300 images of 24x24, 3 channels; 3 classes, circle, square, triangle" in result.stderr
    assert float(re.match(r"test accuracy ([\d.]+)%", result.stdout)[1]) > 80
    return place


def test_evaluation(place):
    told = json.loads(run("evaluate.py", "net.safetensors", "more", "--json", cwd=place).stdout)
    assert told["examples"] == 15 and told["accuracy"] > 0.7 and told["loss"] > 0
    assert [row["class"] for row in told["classes"]] == ["circle", "square", "triangle"]
    assert np.sum(told["confusion"]) == 15 and np.trace(told["confusion"]) == told["right"]
    held_out = run("evaluate.py", "net.safetensors", "shapes", "--part", "test", cwd=place)
    assert re.match(r"test accuracy [\d.]+% \(\d+ of 60\)", held_out.stdout) and held_out.stderr == ""


def test_an_exported_model_predicts_the_same(place):
    result = run("export.py", "net.safetensors", "net.onnx", "--probabilities", "--json", cwd=place)
    assert result.returncode == 0 and result.stderr == ""
    assert json.loads(result.stdout)["checked_by"] == ["onnx", f"onnxruntime {onnxruntime.__version__}"]
    session = onnxruntime.InferenceSession(place / "net.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(shapes.CLASSES)
    np.savez(place / "grey.npz", x=np.full((1, 24, 24, 3), 99, np.uint8))
    (row,) = csv.DictReader(io.StringIO(run("predict.py", "net.safetensors", "grey.npz", cwd=place).stdout))
    (y,) = session.run(None, {"x": np.full((1, 24, 24, 3), 99 / 255, np.float32)})
    assert np.allclose(y[0], [float(row[name]) for name in shapes.CLASSES], atol=1e-5)


def test_an_export_that_fails_leaves_what_was_there(place):
    (place / "old.onnx").write_bytes(b"as it was")
    (place / "folder.onnx").mkdir()
    for options, code, words in (
        (("shapes/circle/000.png", "old.onnx"), 1, "000.png"),
        (("net.safetensors", "old.pb"), 2, "must end in .onnx"),
        (("net.safetensors", "folder.onnx"), 1, "it is a directory"),
    ):
        result = run("export.py", *options, cwd=place)
        assert result.returncode == code and result.stderr.count("\n") == 1 and words in result.stderr
    assert (place / "old.onnx").read_bytes() == b"as it was"


def test_predictions(place):
    np.savez(place / "some.npz", x=np.zeros((2, 24, 24, 3), np.uint8))
    table = run("predict.py", "net.safetensors", "more/square", "more/circle/000.png", "some.npz", cwd=place)
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    names = [*(f"more/square/{i:03}.png" for i in range(5)), "more/circle/000.png", "some.npz[0]", "some.npz[1]"]
    assert [row["input"] for row in rows] == names and table.stderr == ""
    for row in rows:
        probabilities = {name: float(row[name]) for name in shapes.CLASSES}
        assert abs(sum(probabilities.values()) - 1) < 1e-5
        assert row["class"] == max(probabilities, key=probabilities.get)
        assert float(row["probability"]) == max(probabilities.values())
    assert sum(row["class"] == "square" for row in rows[:5]) >= 4
    assert rows[6] | {"input": ""} == rows[7] | {"input": ""}
    lines = run("predict.py", "net.safetensors", "more/square", "--json", cwd=place).stdout.splitlines()
    for line, row in zip(map(json.loads, lines), rows[:5], strict=True):
        assert line["input"] == row["input"] and line["class"] == row["class"]
        assert line["probabilities"] == {name: float(row[name]) for name in shapes.CLASSES}


def test_inspection(place):
    shown = run("inspect.py", "net.safetensors", "--rounds", 2, cwd=place).stdout
    assert shown.startswith("convnet(outputs=3, channels=[32, 64, 128], dropout_rate=0.1)\ntrained on shapes, 300 ex")
    told = json.loads(run("inspect.py", "net.safetensors", "--rounds", 2, "--json", cwd=place).stdout)
    layers = {row["layer"]: row for row in told["layers"]}
    conv = layers["3_conv2d"]
    assert conv["output"] == [12, 12, 64] and conv["parameters"] == 9 * 32 * 64 + 64
    assert conv["multiply_adds"] == 12 * 12 * 64 * 9 * 32
    assert (conv["weight_bytes"], conv["output_bytes"]) == (4 * conv["parameters"], 4 * 12 * 12 * 64)
    assert conv["forward_us"] > 0 and conv["backward_us"] > 0
    weights = {row["weights"]: row for row in told["weights"]}
    assert sum(np.prod(row["shape"]) for row in weights.values()) == sum(row["parameters"] for row in layers.values())
    row = weights["3_conv2d/w"]
    assert row["min"] < row["mean"] < row["max"] and row["std"] > 0 and row["not_finite"] == 0


def test_rows_of_numbers_of_two_classes(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["left", "right"], 60)
    x = rng.standard_normal((120, 3)) * [1, 1, 1000] + np.where(y == "left", 0, 3)[:, None] * [1, 0, 0]
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    options = ("--data", "rows.npz", "--model", "mlp", "--quiet", "--checkpoints", "kept")
    trained = run("train.py", *options, "--json", cwd=tmp_path)
    assert trained.returncode == 0 and json.loads(trained.stdout)["accuracy"] > 0.8
    table = run("predict.py", "kept", "rows.npz", cwd=tmp_path).stdout.splitlines()
    assert table[0] == "input,class,probability,left,right" and len(table) == 121
    assert np.mean([line.split(",")[1] == name for line, name in zip(table[1:], y, strict=True)]) > 0.85
    x[7, 2] = np.inf
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    broken = run("predict.py", "kept", "rows.npz", cwd=tmp_path)
    assert broken.returncode == 1 and broken.stdout == "input,class,probability,left,right\n"
    assert "rows.npz: 1 of 120 examples of x have values that are not finite, the first is number 7" in broken.stderr


FAILURES = {
    "evaluate a missing model": ("evaluate.py", ("nix", "digits"), 1, "cannot read nix: No such file or directory"),
    "evaluate no data": ("evaluate.py", ("net.safetensors",), 2, "Missing argument 'DATA'"),
    "other classes": ("evaluate.py", ("net.safetensors", "digits"), 1, "digits: the model knows circle, square, tri"),
    "a part of other data": (
        "evaluate.py",
        ("net.safetensors", "more", "--part", "test"),
        1,
        "--part test: more",
    ),
    "a picture for a model": (
        "predict.py",
        ("more/circle/000.png", "more"),
        1,
        "000.png is damaged or not a",
    ),
    "a missing input": ("predict.py", ("net.safetensors", "more", "nix"), 1, "cannot read nix: No such file"),
    "no image": ("predict.py", ("net.safetensors", "net.safetensors"), 1, "cannot read the image net.safetensors: "),
    "nothing": ("predict.py", ("net.safetensors",), 2, "Missing argument 'INPUTS...'"),
    "inspect a folder": ("inspect.py", ("more",), 1, "more has no checkpoint that can be read"),
    "no rounds": ("inspect.py", ("net.safetensors", "--rounds", 0), 2, "Invalid value for '--rounds'"),
}


@pytest.mark.parametrize(("script", "options", "code", "message"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_on_stderr(place, script, options, code, message):
    result = run(script, *options, cwd=place)
    assert result.returncode == code and message in result.stderr
    assert result.stderr.startswith(f"{script}: ") and len(result.stderr.splitlines()) == 1


def test_the_script_inspect_hides_no_module():
    probe = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import inspect; print(inspect.signature(print))"
    found = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("(*args")
