"""``funcnn predict``: a line for each image or row of numbers."""

import csv
import importlib.util
import io
import json
import math
from functools import partial

import commands
import numpy as np
import pytest
import shapes

from funcnn import serving
from funcnn.cli import runtimes
from funcnn.cli.options import RuntimeName
from funcnn.cli.predict import csv_text
from funcnn.summary import summary

run = partial(commands.run, "predict")


def test_predictions(trained_folder):
    np.savez(trained_folder / "some.npz", x=np.zeros((2, 24, 24, 3), np.uint8))
    table = run("net.safetensors", "more/square", "more/circle/000.png", "some.npz", cwd=trained_folder)
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
    lines = run("net.safetensors", "more/square", "--json", cwd=trained_folder).stdout.splitlines()
    for line, row in zip(map(json.loads, lines), rows[:5], strict=True):
        assert line["input"] == row["input"] and line["class"] == row["class"]
        assert line["probabilities"] == {name: float(row[name]) for name in shapes.CLASSES}


def test_rows_of_numbers_of_two_classes(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["left", "right"], 60)
    x = rng.standard_normal((120, 3)) * [1, 1, 1000] + np.where(y == "left", 0, 3)[:, None] * [1, 0, 0]
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    options = ("--data", "rows.npz", "--model", "mlp", "--quiet", "--checkpoints", "kept")
    trained = commands.run("train", *options, "--json", cwd=tmp_path)
    assert trained.returncode == 0 and json.loads(trained.stdout)["accuracy"] > 0.8
    table = run("kept", "rows.npz", cwd=tmp_path).stdout.splitlines()
    assert table[0] == "input,class,probability,left,right" and len(table) == 121
    assert np.mean([line.split(",")[1] == name for line, name in zip(table[1:], y, strict=True)]) > 0.85
    x[7, 2] = np.inf
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    broken = run("kept", "rows.npz", cwd=tmp_path)
    assert broken.returncode == 1 and broken.stdout == ""
    assert "rows.npz: x must be finite; 1 of 120 examples are not, the first is number 7" in broken.stderr


def test_a_spreadsheet_computes_no_name():
    names = ["=1+1", "+1", "-1.5", "-1+2", "@SUM(A1)", "\t=1+1", "\r=1", "cat", "7", "＝1", "a=1", "'"]
    cells = ["'=1+1", "+1", "-1.5", "'-1+2", "'@SUM(A1)", r"\t=1+1", r"\r=1", "cat", "7", "'＝1", "a=1", "'"]
    assert list(map(csv_text, names)) == cells


def test_onnxruntime_gives_the_same_rows(trained_folder):
    given = ("net.safetensors", "more/square", "--json")
    ours, served = (run(*given, *options, cwd=trained_folder) for options in ((), ("--runtime", "onnxruntime")))
    assert ours.stdout == served.stdout != "" and served.stderr == ""


def test_auto_starts_onnxruntime_for_many_examples_only(trained_folder, monkeypatch):
    trained, from_examples = runtimes.load(trained_folder / "net.safetensors", RuntimeName.auto)
    work = sum(row.multiply_adds for row in summary(trained.model, trained.in_shape))
    assert trained.session is None and from_examples * work == pytest.approx(3e10)
    for runtime in ("numpy", "onnxruntime"):
        trained, never = runtimes.load(trained_folder / "net.safetensors", RuntimeName(runtime))
        assert (trained.session is not None) == (runtime == "onnxruntime") and never == math.inf
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert runtimes.load(trained_folder / "net.safetensors", RuntimeName.auto)[1] == math.inf


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_auto_says_why_it_stays_with_numpy(trained_folder, monkeypatch, command):
    def differ(outputs, expected):
        raise ValueError("onnxruntime computes other outputs")

    monkeypatch.setattr(runtimes, "_WORTHWHILE", 0)
    monkeypatch.setattr(serving, "compare", differ)
    given = {"predict": ["more/square", "more/circle"], "evaluate": ["more"]}[command]
    result = commands.run(command, "net.safetensors", *given, "--json", cwd=trained_folder)
    explicit = commands.run(command, "net.safetensors", *given, "--runtime", "onnxruntime", cwd=trained_folder)
    reason = "onnxruntime computes other outputs"
    assert result.returncode == 0 and result.stdout
    assert result.stderr == (
        f"funcnn {command}: warning: NumPy computes the network, as onnxruntime cannot: {reason}\n"
    )
    assert (explicit.returncode, explicit.stdout, explicit.stderr) == (1, "", f"funcnn {command}: {reason}\n")


FAILURES = {
    "a picture for a model": (("more/circle/000.png", "more"), 1, "000.png is damaged or not a"),
    "a missing input": (("net.safetensors", "more", "nix"), 1, "cannot read nix: No such file"),
    "no image": (("net.safetensors", "net.safetensors"), 1, "cannot read the image net.safetensors: "),
    "nothing": (("net.safetensors",), 2, "Missing argument 'INPUTS...'"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_on_stderr(trained_folder, options, code, message):
    result = run(*options, cwd=trained_folder)
    assert result.returncode == code and message in result.stderr
    assert result.stderr.startswith("funcnn predict: ") and len(result.stderr.splitlines()) == 1
