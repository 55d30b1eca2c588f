"""``funcnn predict``: a line for each image or row of numbers."""

import csv
import importlib.util
import io
import json
import math
from functools import partial
from pathlib import Path

import commands
import numpy as np
import PIL.Image
import pytest
import shapes

from funcnn import predictor, serving
from funcnn.cli import runtimes
from funcnn.cli.options import RuntimeName
from funcnn.cli.predict import csv_text, examples, main
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor, TimeSeriesConvClassifier
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


ROWS, SERIES = np.random.default_rng(0).normal(size=(9, 3)), np.random.default_rng(1).normal(size=(9, 2, 16))
Y = np.arange(9) % 3
FITTED = {  # an estimator, its data, and what it says that it takes
    "rows": (ConvNetClassifier(channels=(), hidden_layer_sizes=()), ROWS, Y, None),
    "images": (ConvNetClassifier(channels=(2,)), ROWS.repeat(64, 1)[:, :64].reshape(9, 8, 8), Y, "images of 8x8"),
    "series": (TimeSeriesConvClassifier(), SERIES, Y, r"series of 2 channels, of length 16: \(n, 2, 16\) in an .npy"),
    "unequal": (
        TimeSeriesConvClassifier(),
        [x[:, : 16 - i % 4] for i, x in enumerate(SERIES)],
        Y,
        r"series of 2 channels, of any length: \(n, 2, time\) in an .npy file, or x of an .npz file, not",
    ),
    "one channel": (TimeSeriesConvClassifier(), SERIES[:, 0, :3], Y, None),
}


@pytest.mark.parametrize("name", FITTED)
def test_an_estimators_file_serves_arrays_in_its_units(tmp_path, monkeypatch, capsys, name):
    net, x, y, wanted = FITTED[name]
    monkeypatch.chdir(tmp_path)
    net.set_params(max_iter=1, random_state=0, threads=1).fit(x, y).save("net.safetensors")
    given = SERIES if name == "unequal" else x
    np.savez("x.npz", x=given)
    np.save("x.npy", given)
    np.savetxt("x.csv", ROWS, delimiter=",", header="a,b,c", comments="")
    PIL.Image.new("L", (8, 8)).save("image.png")
    predict = partial(main, model="net.safetensors", runtime=RuntimeName.numpy)
    for file in ("x.npz", "x.npy", *(["x.csv"] if wanted is None else [])):
        predict(inputs=[Path(file)])
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        expected = net.predict_proba(ROWS if file == "x.csv" else given)
        assert np.allclose([[float(row[c]) for c in "012"] for row in rows], expected, atol=1e-5)
    for file in ("image.png", *(["x.csv"] if wanted else [])):
        with pytest.raises(ValueError, match=wanted or "the estimator takes .*, not image files"):
            predict(inputs=[Path(file)])


def test_columns_of_a_table_are_matched_with_those_of_a_dataframe(tmp_path):
    net = ConvNetClassifier(hidden_layer_sizes=(), max_iter=1, random_state=0).fit(ROWS, Y)
    net.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    net.save(tmp_path / "net.safetensors")
    np.savetxt(tmp_path / "x.csv", ROWS[:, ::-1], delimiter=",", header="c,b,a", comments="")
    _, x = next(examples(tmp_path / "x.csv", None, predictor.load(tmp_path / "net.safetensors"), {}))
    assert np.allclose(x, ROWS)


@pytest.mark.parametrize(
    ("net", "y", "kind"), [(ConvNetRegressor(), Y, "numbers"), (ConvNetClassifier(), np.eye(3, dtype=int)[Y], "labels")]
)
def test_numbers_and_labels_are_predicted_in_python(tmp_path, net, y, kind):
    net.set_params(max_iter=1).fit(ROWS, y).save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=f"is an estimator's, which predicts {kind}: predict in Python"):
        main(model=tmp_path / "net.safetensors", inputs=[tmp_path / "x.csv"], runtime=RuntimeName.numpy)
