"""Arrays and tables of a user's own, from training to prediction by command."""

import csv
import io
import json
import re

import commands
import numpy as np
import pytest
import screens
from PIL import Image

from funcnn import checkpoint, tree
from funcnn.cli import predict, runs
from funcnn.data import Splits

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 2
PIXELS = RNG.integers(0, 200, (60, 8, 8)) + np.where(np.arange(8) < 4, 55, 0) * LABELS[:, None, None]
DTYPES = ("uint8", "int64", "float32", "float64")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtypes")
    for dtype in DTYPES:
        np.savez(folder / f"{dtype}.npz", x=PIXELS.astype(dtype), y=LABELS)
        options = (
            "--data",
            f"{dtype}.npz",
            "--epochs",
            3,
            "--threads",
            1,
            "--quiet",
            "--output",
            f"{dtype}.safetensors",
        )
        result = commands.run("train", *options, cwd=folder)
        assert result.returncode == 0 and result.stderr == "", result.stderr
    for i in range(4):
        Image.fromarray(PIXELS[i].astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def test_the_same_pixels_train_the_same_model_whatever_their_dtype(trained):
    first, *others = (checkpoint.load(trained / f"{dtype}.safetensors") for dtype in DTYPES)
    assert first.description["preprocessing"]["full_scale"] == 255
    for other in others:
        assert other.description["preprocessing"] == first.description["preprocessing"]
        assert other.description["data"]["fingerprint"] == first.description["data"]["fingerprint"]
        for path, leaf in tree.flatten(first.train_state.params).items():
            np.testing.assert_array_equal(tree.flatten(other.train_state.params)[path], leaf)


def test_each_is_evaluated_and_predicted_as_the_others_and_as_files(trained):
    results = [commands.run("evaluate", "int64.safetensors", f"{dtype}.npz", "--json", cwd=trained) for dtype in DTYPES]
    assert len({result.stdout for result in results}) == 1 and json.loads(results[0].stdout)["examples"] == 60
    files = [f"{dtype}.npz" for dtype in DTYPES] + [f"{i}.png" for i in range(4)]
    table = commands.run("predict", "float64.safetensors", *files, cwd=trained)
    assert table.stderr == ""
    rows = [row[1:] for row in csv.reader(io.StringIO(table.stdout))][1:]
    assert rows[:60] == rows[60:120] == rows[120:180] == rows[180:240] and rows[240:] == rows[:4]


def test_a_range_that_contradicts_the_training_is_one_line(trained):
    np.savez(trained / "parts.npz", x=PIXELS / 255, y=LABELS)
    for command in (("evaluate",), ("predict",), ("show", "confusion")):
        result = commands.run(*command, "uint8.safetensors", "parts.npz", cwd=trained)
        assert result.returncode == 0
        assert re.fullmatch(
            rf"funcnn {' '.join(command)}: warning: parts.npz: the pixels go from 0 to \S+, and those of the training "
            r"from 0 to \d+; predictions are wrong unless both are in the same units \(convert those of the file, or "
            r"train on such as these\)\n",
            result.stderr,
        )


def test_a_folder_is_warned_of_once_not_for_each_batch(trained, tmp_path, monkeypatch):
    for i, image in enumerate(PIXELS[:5] > 150):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(predict, "BATCH", 2)
    monkeypatch.chdir(trained)
    code, table, errors = screens.command(monkeypatch, "predict", "uint8.safetensors", str(tmp_path))
    assert (code, len(table.splitlines())) == (0, 6)
    assert errors.count("\n") == 1
    assert "the pixels go from 0 to 1, and those of the training" in errors


@pytest.mark.parametrize(
    "options",
    [
        ("train", "--data", "rows.npz", "--model", "mlp", "--skip-broken"),
        ("train", "--data", "rows.npz", "--model", "mlp", "--fit", "crop"),
        ("train", "--data", "uint8.npz", "--fit", "crop"),
        ("evaluate", "uint8.safetensors", "uint8.npz", "--skip-broken"),
        ("predict", "uint8.safetensors", "uint8.npz", "--skip-broken"),
    ],
    ids=" ".join,
)
def test_options_for_image_files_are_refused_where_there_are_none(trained, options):
    np.savez(trained / "rows.npz", x=PIXELS[:, 0], y=LABELS)
    result = commands.run(*options, cwd=trained)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert any(
        said in result.stderr for said in ("--skip-broken leaves out image files", "says how images are resized")
    )


def test_training_names_the_file_whose_pixels_lie_outside_those_trained_on(tmp_path, monkeypatch):
    """As one that is not among the examples to train on."""
    x = np.where(PIXELS > 120, 1.0, -1.0)
    x[17] *= 1000
    np.savez(tmp_path / "own.npz", x=x, y=LABELS)
    monkeypatch.chdir(tmp_path)
    outside = [0, *range(18, 60), *range(1, 17)], [], [17]
    monkeypatch.setattr(runs, "hold_out", lambda *_: Splits(*(np.array(part, int) for part in outside)))
    options = ("--data", "own.npz", "--epochs", "1", "--validation", "0", "--quiet", "--output", "net.safetensors")
    code, _, errors = screens.command(monkeypatch, "train", *options)
    assert code == 0 and len(errors.splitlines()) == 1
    assert errors.startswith("funcnn train: warning: own.npz: the pixels go from -1000 to 1000, and those of")


def test_a_table_from_training_to_prediction(tmp_path):
    times = 1.7e9 + np.arange(60)
    lines = [
        f"{t!r},{'late' if t >= times[30] else 'early'},{RNG.random():.3f}" for t in RNG.permutation(times).tolist()
    ]
    (tmp_path / "table.csv").write_text("\n".join(["time,kind,noise", *lines]))
    options = ("--data", "table.csv", "--target", "kind", "--model", "mlp", "--output", "net.safetensors", "--json")
    result = commands.run("train", *options, cwd=tmp_path)
    assert result.returncode == 0 and json.loads(result.stdout)["accuracy"] > 0.8, result.stderr
    about = checkpoint.load(tmp_path / "net.safetensors").description["data"]
    assert about["feature_names"] == ["time", "noise"] and about["target"] == "kind"
    (tmp_path / "new.csv").write_text("noise;id;time\n" + f"0.5;7;{times[0]}\n0.5;8;{times[-1]}\n")
    predicted = commands.run("predict", "net.safetensors", "new.csv", "table.csv", cwd=tmp_path).stdout.splitlines()
    assert [line.split(",")[:2] for line in predicted[1:3]] == [["new.csv[0]", "early"], ["new.csv[1]", "late"]]
    assert len(predicted) == 63
    evaluated = commands.run("evaluate", "net.safetensors", "table.csv", "--json", cwd=tmp_path)
    assert json.loads(evaluated.stdout)["accuracy"] > 0.8
    (tmp_path / "new.csv").write_text("noise,hour\n0.5,7\n")
    result = commands.run("predict", "net.safetensors", "new.csv", cwd=tmp_path)
    assert result.returncode == 1 and "new.csv: has no column time; its columns are noise, hour" in result.stderr
    result = commands.run("export", "net.safetensors", "net.onnx", cwd=tmp_path)
    assert result.returncode == 1 and "feature 0 has mean 1.7e+09 and standard deviation 1" in result.stderr


def test_only_tables_have_a_target():
    result = commands.run("train", "--data", "digits", "--target", "kind")
    assert (
        result.returncode == 2
        and "--target kind names a column of a table (.csv, .tsv), and --data digits is none" in result.stderr
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "iris", "--model", "mlp", "--test", 0.01), "--test 0.02 --validation 0.1) are possible"),
        (("--data", "few.npz", "--model", "mlp"), "class 1 has 1 of 9 examples"),
        (
            ("--data", "few.npz", "--model", "mlp", "--folds", 2),
            "--folds 2 must be at most 1: the rarest class, 1, has 1",
        ),
    ],
)
def test_too_few_examples(tmp_path, options, message):
    np.savez(tmp_path / "few.npz", x=RNG.random((9, 2)), y=np.arange(9) == 4, classes=np.array(["0", "1"]))
    result = commands.run("train", *options, cwd=tmp_path)
    assert result.returncode in (1, 2) and message in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [("evaluate",), ("predict",), ("show", "features")])
def test_data_of_another_kind_name_the_file_and_both_shapes(trained, command):
    np.savez(trained / "rows.npz", x=PIXELS.reshape(60, -1), y=LABELS)
    (trained / "table.csv").write_text("a,b,kind\n1,2,0\n3,4,1\n")
    for file in ("rows.npz", "table.csv"):
        result = commands.run(*command, "uint8.safetensors", file, cwd=trained)
        assert result.returncode == 1 and f"{file}: the network takes images of 8x8, 1 channel, not " in result.stderr


def test_images_too_small_for_a_network_name_the_options_that_help(tmp_path):
    np.savez(tmp_path / "dots.npz", x=np.arange(30).reshape(30, 1, 1), y=LABELS[:30])
    result = commands.run("train", "--data", "dots.npz", cwd=tmp_path)
    said = (
        "dots.npz: --model convnet cannot take images of 1x1, 1 channel: --image-size 32 makes them larger, --model mlp"
    )
    assert result.returncode == 1 and said in result.stderr and len(result.stderr.splitlines()) == 1


def test_tables_have_no_image_size():
    result = commands.run("train", "--data", "iris", "--model", "mlp", "--image-size", 8)
    assert result.returncode == 2 and "--image-size resizes images; --data iris has none" in result.stderr


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_pixels_none_of_which_is_negative_are_one_line(tmp_path, command):
    np.savez(tmp_path / "centred.npz", x=PIXELS / 127.5 - 1, y=LABELS)
    np.savez(tmp_path / "parts.npz", x=PIXELS / 255, y=LABELS)
    options = ("--data", "centred.npz", "--epochs", 1, "--quiet", "--output", "net.safetensors")
    assert commands.run("train", *options, cwd=tmp_path).returncode == 0
    for file, lines in (("centred.npz", 0), ("parts.npz", 1)):
        result = commands.run(command, "net.safetensors", file, cwd=tmp_path)
        warned = [line for line in result.stderr.splitlines() if "warning: " in line]
        assert len(warned) == lines and all("and none is negative; those of the training" in w for w in warned)
