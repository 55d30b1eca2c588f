"""The training script as a user runs it: what it prints where, what it leaves on disk, and how it fails."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import CONTROL, ENVIRONMENT

from funcnn import data, metrics, models, training, tree

SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"
run = partial(commands.run, SCRIPT)
on_a_terminal = partial(commands.on_a_terminal, SCRIPT)


def test_piped_it_prints_a_plain_line_for_each_epoch_and_results_apart(tmp_path):
    first = run("--model", "seed", "--epochs", 3)
    assert first.returncode == 0
    assert not CONTROL.search(first.stdout + first.stderr)
    epochs = [line for line in first.stderr.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 3
    for number, line in enumerate(epochs, start=1):
        assert re.fullmatch(
            rf"epoch {number}/3  loss \d\.\d{{4}}  train \d+\.\d\d%  val \d+\.\d\d%  \d+ steps/s  \d+:\d\d left", line
        )
    assert "epoch" not in first.stdout
    assert re.match(r"test accuracy \d+\.\d\d% \(\d+ of 360\)\n", first.stdout)
    assert "precision" in first.stdout and "recall" in first.stdout and "Confusion matrix" in first.stdout
    counts = [row.split()[1:] for row in first.stdout.splitlines()[-10:]]
    assert sum(int(n) for row in counts for n in row if n != ".") == 360

    # the same seed gives the same figures; another one does not
    assert run("--model", "seed", "--epochs", 3).stdout == first.stdout
    assert run("--model", "seed", "--epochs", 3, "--seed", 1).stdout != first.stdout


def test_quiet_shows_results_alone():
    result = run("--model", "mlp", "--epochs", 2, "--quiet")
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.startswith("test accuracy")


def test_saved_parameters_are_those_of_the_network_tested(tmp_path):
    path = tmp_path / "net.npz"
    path.write_bytes(b"an older file")
    result = run("--epochs", 2, "--output", path, "--validation", 0)
    assert result.returncode == 0 and f"saved 53,002 parameters to {path}" in result.stderr
    assert "val" not in result.stderr.replace("validate", "")
    assert os.listdir(tmp_path) == ["net.npz"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()

    model = models.convnet()
    params, state, _ = model.init((0,), (8, 8, 1))
    with np.load(path, allow_pickle=False) as file:
        saved = tree.unflatten(dict(file), like={"params": params, "state": state})
    x, labels = data.digits()
    accuracy = metrics.accuracy(training.predict(model, saved["params"], saved["state"], x), labels)
    tested = float(re.match(r"test accuracy ([\d.]+)%", result.stdout).group(1)) / 100
    assert abs(accuracy - tested) < 0.03 and accuracy > 0.8


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_folds():
    result = run("--data", "breast-cancer", "--model", "mlp", "--folds", 3, "--epochs", 10)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    rows = [line.split() for line in lines[2:5]]
    assert [int(row[0]) for row in rows] == [1, 2, 3] and sum(int(row[1]) for row in rows) == 569
    right, count = map(int, re.search(r"mean accuracy [\d.]+% \((\d+) of (\d+)\)", result.stdout).groups())
    assert count == 569 and right == 569 - sum(int(row[2]) for row in rows) and right / count > 0.95
    assert result.stderr.count("fold 3/3  epoch") == 10
    assert "malignant" in result.stdout and "benign" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "lenet5", "--epochs", 1, "--threads", 2, "--batch-size", 1000),
        ("--model", "mlp", "--epochs", 2, "--optimizer", "momentum", "--schedule", "cosine", "--learning-rate", 0.05),
        ("--epochs", 1, "--optimizer", "adam", "--schedule", "warmup-cosine", "--dropout", 0, "--shift", 2),
        (
            "--model",
            "seed",
            "--epochs",
            1,
            "--optimizer",
            "sgd",
            "--weight-decay",
            0.001,
            "--batch-size",
            7,
            "--test",
            0.5,
        ),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_options(options):
    result = run(*options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("test accuracy")


def test_on_a_terminal_progress_is_live_and_coloured():
    shown, code = on_a_terminal("--model", "seed", "--epochs", 4)
    assert code == 0
    assert "\x1b[" in shown and "━" in shown
    assert "epoch 4/4" in shown and "test accuracy" in shown
    assert re.search(r"\x1b\[(\d+;)*3\dm", shown)


def test_no_color_is_honoured():
    shown, code = on_a_terminal("--model", "seed", "--epochs", 2, NO_COLOR="1")
    assert code == 0 and "epoch 2/2" in shown
    assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", shown)


@pytest.mark.parametrize("columns", [30, 50, 80])
def test_a_narrow_terminal_loses_no_result(columns):
    shown, code = on_a_terminal("--model", "seed", "--epochs", 2, columns=columns)
    assert code == 0
    assert "…" not in shown
    progress = [
        line for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", shown).splitlines() if line.startswith("epoch 2/2")
    ]
    assert progress and all(len(line) <= columns for line in progress)


def test_ctrl_c_leaves_an_existing_file_alone(tmp_path):
    path = tmp_path / "net.npz"
    path.write_bytes(b"an older file")
    shown, code = on_a_terminal("--epochs", 500, "--output", path, interrupt_at=b"/500  loss")
    assert code == 130
    assert "train.py: interrupted" in shown and "Traceback" not in shown
    assert os.listdir(tmp_path) == ["net.npz"] and path.read_bytes() == b"an older file"


def test_a_reader_that_has_seen_enough_is_no_error():
    process = subprocess.Popen(
        f"{sys.executable} {SCRIPT} --model seed --epochs 1 --quiet | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors and "BrokenPipe" not in errors


FAILURES = {
    "unknown option": (("--modle", "seed"), 2, "No such option"),
    "unknown model": (("--model", "alexnet"), 2, "'alexnet' is not one of"),
    "no epochs": (("--epochs", 0), 2, "Invalid value for '--epochs'"),
    "not a number": (("--epochs", "many"), 2, "Invalid value for '--epochs'"),
    "missing value": (("--epochs",), 2, "requires an argument"),
    "too many arguments": (("digits",), 2, "unexpected extra argument"),
    "rate of 0": (("--learning-rate", 0), 2, "--learning-rate must be above 0"),
    "rate that is no number": (("--learning-rate", "inf"), 2, "--learning-rate must be above 0"),
    "dropout of 1": (("--dropout", 1), 2, "Invalid value for '--dropout'"),
    "dropout without any": (("--model", "seed", "--dropout", 0.5), 2, "--dropout does not go with --model seed"),
    "features for images": (
        ("--data", "breast-cancer"),
        2,
        "--model convnet takes images; --data breast-cancer has none",
    ),
    "features shifted": (("--data", "breast-cancer", "--model", "mlp", "--shift", 1), 2, "--shift moves images"),
    "nothing left": (("--validation", 0.5, "--test", 0.5), 2, "leave nothing to train on"),
    "no threads": (("--threads", 0), 2, "Invalid value for '--threads'"),
    "one fold": (("--folds", 1), 2, "Invalid value for '--folds'"),
    "too many folds": (("--folds", 200), 2, "the rarest class has 174 examples"),
    "folds saved": (("--folds", 5, "--output", "x.npz"), 2, "--output saves one network"),
    "a directory": (("--output", "."), 1, "cannot write .: it is a directory"),
    "a missing folder": (("--output", "missing/net.npz"), 1, "cannot write missing/net.npz: No such file or directory"),
    "divergence": (("--model", "mlp", "--optimizer", "sgd", "--learning-rate", 1e30), 1, "training diverged: "),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_line_on_stderr(options, code, message, tmp_path):
    result = run(*options, *(("--quiet",) if code == 1 else ()), cwd=tmp_path)
    assert result.returncode == code
    assert result.stdout == ""
    assert message in result.stderr and result.stderr.startswith("train.py: ")
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in (
        "model", "data", "epochs", "batch-size", "optimizer", "learning-rate", "schedule", "weight-decay", "dropout",
        "shift", "threads", "validation", "test", "seed", "folds", "output", "quiet",
    ):  # fmt: skip
        assert f"--{option}" in result.stdout


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import train

    path = tmp_path / "net.npz"
    path.write_bytes(b"an older file")

    def fails(*args, **kwargs):
        args[0].write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train.np, "savez", fails)
    state = training.TrainingState({"w": np.ones(3)}, {}, {}, (0,), 1, 1)
    with pytest.raises(OSError, match=r"cannot write .*: No space left on device"):
        train.save(path, state)
    assert os.listdir(tmp_path) == ["net.npz"] and path.read_bytes() == b"an older file"
