"""``funcnn train`` as a user runs it: what it prints where, what it leaves on disk, and how it fails."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing
from enum import StrEnum
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
import screens
import shapes
import systems
import typer
from commands import CONTROL, ENVIRONMENT

from funcnn import checkpoint, data, files, metrics, training, tree
from funcnn.cli import main, runs, train
from funcnn.cli.app import app

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"

run = partial(commands.run, "train")
on_a_terminal = partial(commands.on_a_terminal, "train")


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
    assert re.match(r"test accuracy \d+\.\d\d% \(\d+ of 359\)\n", first.stdout)
    assert "precision" in first.stdout and "recall" in first.stdout and "Confusion matrix" in first.stdout
    counts = [row.split()[1:] for row in first.stdout.splitlines()[-10:]]
    assert sum(int(n) for row in counts for n in row if n != ".") == 359

    # the same seed gives the same figures; another one does not
    assert run("--model", "seed", "--epochs", 3).stdout == first.stdout
    assert run("--model", "seed", "--epochs", 3, "--seed", 1).stdout != first.stdout


def test_quiet_shows_only_results():
    result = run("--model", "mlp", "--epochs", 2, "--quiet")
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.startswith("test accuracy")


def test_a_saved_model_is_the_one_tested(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"an older file")
    result = run("--epochs", 2, "--output", path, "--validation", 0)
    assert result.returncode == 0 and f"saved 53,002 parameters to {path}" in result.stderr
    assert "val" not in result.stderr.replace("validate", "")
    assert os.listdir(tmp_path) == ["net.safetensors"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()

    saved = checkpoint.load(path)
    x, labels = data.digits()
    outputs = training.predict(checkpoint.rebuild(saved.description), *saved.train_state[:2], x)
    tested = float(re.match(r"test accuracy ([\d.]+)%", result.stdout).group(1)) / 100
    accuracy = metrics.accuracy(outputs, labels)
    assert abs(accuracy - tested) < 0.03 and accuracy > 0.8
    assert saved.train_state.opt_state == {} and saved.train_state.epoch == 2


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
    output, code = on_a_terminal("--model", "seed", "--epochs", 4)
    assert code == 0
    assert "\x1b[" in output and "━" in output
    assert "epoch 4/4" in output and "test accuracy" in output
    assert re.search(r"\x1b\[(\d+;)*3\dm", output)


def test_no_color_is_honoured():
    output, code = on_a_terminal("--model", "seed", "--epochs", 2, NO_COLOR="1")
    assert code == 0 and "epoch 2/2" in output
    assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", output)


@pytest.mark.parametrize("columns", [30, 50, 80])
def test_a_narrow_terminal_loses_no_result(columns):
    output, code = on_a_terminal("--model", "seed", "--epochs", 2, columns=columns)
    assert code == 0
    assert "…" not in output
    progress = [
        line for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", output).splitlines() if line.startswith("epoch 2/2")
    ]
    assert progress and all(len(line) <= columns for line in progress)


@pytest.fixture(scope="session")
def executable(tmp_path_factory):
    """The ``funcnn`` that an installation has, as pip writes it."""
    path = tmp_path_factory.mktemp("bin") / "funcnn"
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom funcnn.cli import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("start", ["on PATH", "by its path", "as a module", "from a clone"])
def test_ctrl_c_writes_a_checkpoint_and_prints_the_command_that_resumes(start, executable, tmp_path):
    path, python = os.environ["PATH"], sys.executable
    command, resume, path = {
        "on PATH": ((executable, "train"), ("funcnn", "train"), f"{executable.parent}:{path}"),
        "by its path": ((executable, "train"), (str(executable), "train"), "/usr/bin:/bin"),
        "as a module": ((python, "-m", "funcnn", "train"), (python, "-m", "funcnn", "train"), path),
        "from a clone": ((python, TRAIN), (python, str(TRAIN)), path),
    }[start]
    (tmp_path / "my  net.safetensors").write_bytes(b"an older file")
    options = (
        "--output", "my  net.safetensors", "--history", "h.jsonl", "--history-steps", "--threads", "1",
        "--checkpoint-every", "100", "--keep", "2",
    )  # fmt: skip
    run_options = ("--model", "seed", "--epochs", 3000)
    output, code = commands.start_on_a_terminal(
        (*command, *run_options, *options), interrupt_at=b"/3000  loss", cwd=tmp_path, PATH=path
    )
    assert code == 130 and "Traceback" not in output
    # on its own line, so that it can be pasted into a shell
    found = re.search(r"funcnn train: interrupted after step (\d+); to resume: (.*)\r\n", output)
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "h.jsonl", "my  net.safetensors"]
    assert (tmp_path / "my  net.safetensors").read_bytes() == b"an older file"
    saved = checkpoint.latest(tmp_path / "checkpoints" / "1").checkpoint
    assert saved.train_state.step == int(found[1])
    words = shlex.split(found[2])
    assert tuple(words[: len(resume)]) == resume and words[len(resume) :][:2] == ["--resume", "checkpoints/1"]
    assert sorted(words[len(resume) + 2 :]) == sorted(options)
    # without the later part of its schedule the run ends soon
    epochs = saved.train_state.epoch + 1
    rest = subprocess.run(
        f"{found[2]} --epochs {epochs} --json",
        shell=True, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT | {"PATH": path},
    )  # fmt: skip
    assert rest.returncode == 0 and json.loads(rest.stdout)["epochs"] == epochs, rest.stderr
    assert checkpoint.load(tmp_path / "my  net.safetensors").train_state.epoch == epochs
    assert sum(row["record"] == "step" for row in rows(tmp_path / "h.jsonl")) == epochs * 20


@systems.needs_shell()
def test_a_reader_that_has_seen_enough_is_no_error():
    process = subprocess.Popen(
        f"{sys.executable} -m funcnn train --model seed --epochs 1 --quiet | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable=shutil.which("bash"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
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
    "dropout without any": (("--model", "seed", "--dropout", 0.5), 2, "--dropout cannot be combined with --model seed"),
    "features for images": (
        ("--data", "breast-cancer"),
        2,
        "--model convnet takes images; --data breast-cancer has none",
    ),
    "features shifted": (("--data", "breast-cancer", "--model", "mlp", "--shift", 1), 2, "--shift moves images"),
    "nothing left": (("--validation", 0.5, "--test", 0.5), 2, "leave no examples to train on"),
    "no threads": (("--threads", 0), 2, "Invalid value for '--threads'"),
    "one fold": (("--folds", 1), 2, "Invalid value for '--folds'"),
    "too many folds": (("--folds", 200), 2, "the rarest class, 8, has 174 examples"),
    "folds saved": (("--folds", 5, "--output", "x"), 2, "--folds trains several networks and keeps none"),
    "no such data": (("--data", "cifar"), 2, "--data cifar is neither a file, nor a folder, nor one of"),
    "nothing to watch": (("--early-stopping", 3, "--validation", 0), 2, "--validation must be above 0"),
    "steps of no history": (("--history-steps",), 2, "--history-steps needs --history FILE"),
    "nothing to resume": (("--resume", "missing"), 1, "cannot read missing: No such file or directory"),
    "an empty folder": (("--resume", "."), 1, ". has no checkpoint that can be read"),
    "a history in a missing folder": (("--history", "missing/h"), 1, "cannot write missing/h: No such file"),
    "a directory": (("--output", "."), 1, "cannot write .: it is a directory"),
    "a device": (("--history", "/dev/null"), 1, "cannot write /dev/null: it is not a file"),
    "a missing folder": (("--output", "missing/net"), 1, "cannot write missing/net: No such file or directory"),
    "divergence": (("--model", "mlp", "--optimizer", "sgd", "--learning-rate", 1e30), 1, "training diverged: "),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_line_on_stderr(options, code, message, tmp_path):
    result = run(*options, *(("--quiet",) if code == 1 else ()), cwd=tmp_path)
    assert result.returncode == code
    assert result.stdout == ""
    assert message in result.stderr and result.stderr.startswith("funcnn train: ")
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in (
        "model", "data", "epochs", "batch-size", "optimizer", "learning-rate", "schedule", "weight-decay", "dropout",
        "shift", "threads", "validation", "test", "seed", "folds", "output", "quiet", "image-size", "early-stopping",
        "resume", "checkpoints", "checkpoint-every", "keep", "history", "history-steps", "json",
    ):  # fmt: skip
        assert f"--{option}" in result.stdout
    for default in ("convnet", "digits", "0.1", "0.2", "0"):
        assert f"(default {default})" in " ".join(result.stdout.replace("│", " ").split())


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@systems.needs_signal("SIGKILL")
def test_a_killed_run_is_resumed_exactly_past_a_damaged_checkpoint(tmp_path):
    options = ("--model", "mlp", "--dropout", 0.3, "--early-stopping", 50, "--quiet", "--history-steps")
    uninterrupted = run(*options, "--output", "a.safetensors", "--history", "a.jsonl", cwd=tmp_path)
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    keeping = ("--checkpoints", "kept", "--checkpoint-every", 7)
    command = [sys.executable, "-m", "funcnn", "train", *map(str, (*options, *keeping)), "--history", "b.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT) as process:
        while len(list(tmp_path.glob("kept/step-*"))) != 3 and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    again = run(*keeping, cwd=tmp_path)
    assert again.returncode == 1 and "kept has checkpoints of another run: resume it by --resume" in again.stderr
    newest = max((tmp_path / "kept").glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:-1])
    other = run("--resume", "kept", "--epochs", 40, cwd=tmp_path)
    assert other.returncode == 2 and "--epochs 40 cannot be combined with --resume: the run has 30" in other.stderr

    (tmp_path / "thesis.tex").write_text("years of work\n")
    mistaken = run("--resume", "kept", "--history", "thesis.tex", cwd=tmp_path)
    assert mistaken.returncode == 2 and "--history thesis.tex: the name of a history ends in .jsonl" in mistaken.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work\n"

    rest = run(
        "--resume", "kept", "--quiet", "--output", "b.safetensors", "--history", "b.jsonl", "--history-steps",
        "--checkpoint-every", 7, cwd=tmp_path,
    )  # fmt: skip
    assert rest.returncode == 0 and rest.stdout == uninterrupted.stdout
    warning = (
        rf"funcnn train: warning: kept/{newest.name} is damaged.*; resuming from the one before, kept/step-\d+.safe.*\n"
    )
    assert re.fullmatch(warning, rest.stderr)
    ends = [checkpoint.load(tmp_path / f"{name}.safetensors").train_state for name in "ab"]
    assert ends[0].step == ends[1].step == 30 * 40
    assert tree.ravel(ends[0].params)[0].tobytes() == tree.ravel(ends[1].params)[0].tobytes()
    histories = [rows(tmp_path / f"{name}.jsonl") for name in "ab"]
    for row in (*histories[0], *histories[1]):
        row.pop("seconds", None)
    assert histories[0] == histories[1]
    assert [row["epoch"] for row in histories[0] if row["record"] == "epoch"] == [*range(1, 31)]
    assert [row["step"] for row in histories[0] if row["record"] == "step"] == [*range(1, 1201)]

    output = run("--resume", "b.safetensors", cwd=tmp_path)
    assert (
        output.returncode == 1
        and "b.safetensors is a model file of --output, without the optimizer's state" in output.stderr
    )


def test_early_stopping_takes_the_best_epoch(tmp_path):
    options = ("--model", "mlp", "--epochs", 200, "--learning-rate", 0.05, "--early-stopping", 2)
    result = run(*options, "--json", "--output", "net.safetensors", "--history", "h.jsonl", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    losses = [row["validation_loss"] for row in rows(tmp_path / "h.jsonl")]
    printed = json.loads(result.stdout)
    assert printed["epochs"] == len(losses) < 200
    assert printed["best_epoch"] == 1 + int(np.argmin(losses)) == len(losses) - 2
    assert f"the best of {len(losses)} epochs was number {printed['best_epoch']}" in result.stderr


def test_a_run_builds_its_model_once(tmp_path, monkeypatch):
    built = []

    def rebuild(description, params=None, original=checkpoint.rebuild):
        built.append(description["model"]["name"])
        return original(description, params)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "rebuild", rebuild)
    for options in (("--checkpoints", "kept", "--output", "net.safetensors"), ("--resume", "kept", "--epochs", "2")):
        if "--resume" not in options:
            options = (*options, "--model", "seed", "--epochs", "1")
        with pytest.raises(SystemExit) as ended:
            main(["train", *options, "--quiet", "--json"])
        assert ended.value.code == 0 and built == ["seed_convnet"]
        built.clear()


COMMAND = typer.main.get_command(app).commands["train"]
OPTIONS = {option.name: option for option in COMMAND.params if option.name != "help"}


def given(option):
    """The words of an option with a value that is not its default."""
    hint = typing.get_type_hints(train.main)[option.name]
    (kind,) = {*(typing.get_args(hint) or (hint,))} - {type(None)}
    if kind is bool:
        return [option.opts[0]]
    if issubclass(kind, StrEnum):
        return [option.opts[0], next(value for value in kind if value != option.default)]
    return [option.opts[0], "0.25" if kind is float else "7"]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_command_that_resumes_has_every_option_that_the_checkpoint_has_not(name):
    option = OPTIONS[name]
    words = given(option)
    context = COMMAND.make_context("funcnn train", list(words))
    recorded = {field: context.params[field] for field in runs.Run._fields}
    repeated = shlex.split(train.resume_command(Path("run"), context, recorded))
    repeated = repeated[repeated.index("--resume") :]
    if name == "resume" or (name in runs.Run._fields and name not in runs.CHANGEABLE):
        assert repeated == ["--resume", "run"]
    else:
        assert repeated == ["--resume", "run", *words]
    if name in runs.Run._fields:  # changed when the run was resumed before: no checkpoint may have it yet
        changed = shlex.split(train.resume_command(Path("run"), context, recorded | {name: "another"}))
        assert changed[-len(words) :] == words


def test_the_folder_to_resume_from_is_named_once():
    context = COMMAND.make_context("funcnn train", ["--checkpoints", "run", "--resume", "old"])
    assert shlex.split(train.resume_command(Path("./run"), context, {}))[-2:] == ["--resume", "run"]
    assert shlex.split(train.resume_command(Path("old"), context, {}))[-4:] == [
        "--resume",
        "old",
        "--checkpoints",
        "run",
    ]


def in_process(*options):
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, options), "--quiet", "--json"])
    return ended.value.code


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """The working directory, with the folders of two finished runs, and the contents of all its files."""
    monkeypatch.chdir(tmp_path)
    assert in_process("--model", "seed", "--epochs", 3, "--checkpoints", "A") == 0
    assert in_process("--model", "seed", "--epochs", 4, "--seed", 1, "--checkpoints", "B") == 0
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        ("--resume", "A", "--checkpoints", "B"),
        ("--resume", "B", "--checkpoints", "A"),
        ("--resume", "A/step-000000040.safetensors", "--checkpoints", "B"),
        ("--resume", "A/step-000000040.safetensors", "--checkpoints", "A"),
        ("--checkpoints", "A"),
    ],
    ids=" ".join,
)
def test_a_folder_belongs_to_one_run(two_runs, capsys, options):
    before = contents(two_runs)
    assert in_process(*options) == 1
    assert re.search(r"[AB] has checkpoints of another run: resume it by --resume", capsys.readouterr().err)
    assert contents(two_runs) == before


def test_a_run_that_resumes_from_the_middle_of_a_folder_leaves_it_alone(two_runs, monkeypatch):
    before = contents(two_runs)
    monkeypatch.setattr("funcnn.cli.training_loop.INTERVAL", 0)
    assert in_process("--resume", "A/step-000000040.safetensors", "--output", "middle.safetensors") == 0
    assert {path: content for path, content in contents(two_runs).items() if path in before} == before
    assert len(list(two_runs.glob("checkpoints/1/step-*"))) == 3
    assert in_process("--resume", "A/step-000000060.safetensors", "--output", "newest.safetensors") == 0
    assert sorted(os.listdir()) == ["A", "B", "checkpoints", "middle.safetensors", "newest.safetensors"]
    ends = [checkpoint.load(f"{name}.safetensors").train_state.params for name in ("middle", "newest")]
    assert tree.ravel(ends[0])[0].tobytes() == tree.ravel(ends[1])[0].tobytes()


def test_a_run_in_a_folder_of_its_own_removes_no_other_runs_checkpoints(two_runs):
    for path in (two_runs / "A").iterdir():  # as a script may have collected them
        path.rename(two_runs / "B" / path.name.replace("00000", "00001", 1))
    assert in_process("--resume", "B/step-000010060.safetensors", "--keep", 1) == 0
    assert len(list((two_runs / "B").iterdir())) == 6
    (two_runs / "B" / "step-000000070.safetensors").mkdir()
    assert in_process("--resume", "B/step-000000080.safetensors", "--keep", 1) == 0


@pytest.mark.parametrize("options", [("--resume", "A"), ("--resume", "A/step-000000060.safetensors")], ids=" ".join)
def test_a_folder_that_a_run_writes_to_is_refused_to_others(two_runs, capsys, options):
    with files.locked("A"):
        assert in_process(*options) == 1
        assert in_process("--resume", "B", "--checkpoints", "A") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["funcnn train: A is in use: another run writes its checkpoints there"] * 2
    assert in_process(*options) == 0


@pytest.mark.filterwarnings("default")
def test_what_was_asked_for_and_not_written_is_exit_1_after_the_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").write_text("mine")
    options = ("--model", "seed", "--epochs", 1, "--output", "net.safetensors", "--history", "h.jsonl")
    monkeypatch.setattr("funcnn.cli.training_loop.INTERVAL", 0)
    for asked in ((), ("--checkpoint-every", 5)):
        assert in_process(*options, *asked) == len(asked) // 2
        captured = capsys.readouterr()
        assert json.loads(captured.out)["epochs"] == 1
        reason = "cannot make the folder checkpoints: File exists"
        lines = [f"funcnn train: warning: {reason}; training goes on without checkpoints", f"funcnn train: {reason}"]
        assert captured.err.splitlines() == (lines if asked else lines[:1])
        assert checkpoint.load("net.safetensors").train_state.epoch == 1 and len(rows(tmp_path / "h.jsonl")) == 1


@pytest.fixture
def read_only(monkeypatch):
    """Make the folder A one in which no file can be made, also for root."""

    def refuse(original, path, *arguments):
        if Path(path).parent.name == "A":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, *arguments)

    for name in ("_open_locked", "write_atomic"):
        monkeypatch.setattr(files, name, partial(refuse, getattr(files, name)))


NOWHERE = {
    "a file": ("plain", "cannot make the folder plain: File exists"),
    "no folder can be made": ("/proc/run", "cannot make the folder /proc/run: No such file or directory"),
    "a link to nothing": ("link", "cannot make the folder link: link is a link to away/far, which cannot be reached"),
    "read-only": ("A", "cannot write in A: Permission denied"),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("folder", "reason"), NOWHERE.values(), ids=NOWHERE.keys())
def test_checkpoints_that_cannot_be_written_from_the_start_do_not_stop_a_run(
    tmp_path, monkeypatch, capsys, read_only, folder, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "link").symlink_to("away/far")
    outputs = ("--output", "net.safetensors", "--history", "h.jsonl")
    assert in_process("--model", "seed", "--epochs", 2, "--checkpoints", folder, *outputs) == 1
    captured = capsys.readouterr()
    warning = f"funcnn train: warning: {reason}; training goes on without checkpoints"
    assert captured.err.splitlines() == [warning, f"funcnn train: {reason}"]
    assert json.loads(captured.out)["epochs"] == 2 and len(rows(tmp_path / "h.jsonl")) == 2
    assert checkpoint.load("net.safetensors").train_state.epoch == 2
    assert (tmp_path / "plain").read_text() == "mine"


@pytest.mark.filterwarnings("default")
def test_a_run_resumes_from_a_folder_that_has_become_read_only(two_runs, capsys, request):
    (two_runs / "A" / "step-000000060.safetensors").unlink()  # as if the run had been killed before
    before = contents(two_runs / "A")
    request.getfixturevalue("read_only")
    assert in_process("--resume", "A", "--output", "net.safetensors") == 1
    captured = capsys.readouterr()
    reason = "cannot write in A: Permission denied"
    warning = f"funcnn train: warning: {reason}; training goes on without checkpoints"
    assert captured.err.splitlines() == [warning, f"funcnn train: {reason}"]
    assert json.loads(captured.out.splitlines()[-1])["epochs"] == 3
    assert checkpoint.load("net.safetensors").train_state.step == 60
    assert contents(two_runs / "A") == before


@systems.needs("mkfifo")
def test_a_pipe_to_resume_from_is_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    code, _, errors = screens.command(monkeypatch, "train", "--resume", tmp_path / "pipe")
    assert (code, errors) == (1, f"funcnn train: cannot read {tmp_path}/pipe: it is not a file\n")


def test_ctrl_c_while_the_trained_model_is_tested_finds_it_saved(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.training_loop, "confusion_on_test", interrupted)
    monkeypatch.chdir(tmp_path)
    code, _, _ = screens.command(monkeypatch, "train", "--epochs", "1", "--output", "net.safetensors")
    assert code == 130 and checkpoint.load(tmp_path / "net.safetensors").train_state.epoch == 1


def test_an_output_that_cannot_be_written_at_the_end_does_not_hide_the_results(tmp_path, monkeypatch, capsys):
    def full(path, checkpoint):
        raise OSError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    assert in_process("--model", "seed", "--epochs", 1, "--output", tmp_path / "net.safetensors") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["epochs"] == 1
    assert captured.err == f"funcnn train: cannot write {tmp_path}/net.safetensors: No space left on device\n"


@pytest.mark.filterwarnings("default:.*skipped 1 hidden")
def test_checkpoints_are_not_put_among_the_classes_of_the_data(tmp_path, monkeypatch, capsys):
    shapes.make(tmp_path, each=10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("funcnn.cli.training_loop.INTERVAL", 0)
    assert in_process("--data", ".", "--epochs", 1) == 0
    assert not (tmp_path / "checkpoints").exists()
    assert in_process("--resume", ".checkpoints/1") == 0
    assert "funcnn train: warning: .: skipped 1 hidden\n" in capsys.readouterr().err  # the folder of the checkpoints
