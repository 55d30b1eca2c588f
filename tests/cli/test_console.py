"""The command's console: streams that cannot be written, encodings of every kind, names that are no text."""

import importlib.abc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import screens
import systems

from funcnn import checkpoint, cli
from funcnn.characters import visible
from funcnn.cli import app, console, runs


def test_every_command_on_a_narrow_terminal_in_small_encodings(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(["cat [old]", "b [/x]", "ß ≠ a class with a long name"]), 40)
    np.savez(tmp_path / "rows.npz", x=rng.standard_normal((120, 3)) + (y == "b [/x]")[:, None], y=y)
    for encoding in ("ascii", "cp1252"):
        environment = {"PYTHONIOENCODING": encoding, "LANG": "C", "NO_COLOR": "1"}
        options = ("--data", "rows.npz", "--model", "mlp", "--epochs", 2, "--output", "net.safetensors")
        names = [name.encode(encoding, "backslashreplace").decode(encoding) for name in np.unique(y)]
        for command in (
            ("train", *options),
            ("evaluate", "net.safetensors", "rows.npz"),
            ("export", "net.safetensors", "net.onnx"),
            ("predict", "net.safetensors", "rows.npz"),
        ):
            output, code = commands.on_a_terminal(*command, columns=50, cwd=tmp_path, encoding=encoding, **environment)
            assert code == 0 and "Traceback" not in output, output
            assert command[0] == "export" or all(name in output for name in names)


TRAIN = ("train", "--data", "rows.npz", "--model", "mlp", "--epochs", "2", "--output", "net.safetensors")
TRAIN = (*TRAIN, "--history", "history.jsonl", "--checkpoints", "kept", "--json")
OTHERS = {
    "evaluate": ("evaluate", "net.safetensors", "rows.npz"),
    "predict": ("predict", "net.safetensors", "rows.npz"),
    "inspect": ("inspect", "net.safetensors", "--rounds", "1"),
    "show": ("show", "confusion", "net.safetensors", "rows.npz"),
    "export": ("export", "net.safetensors", "net.onnx"),
}


def make_rows(folder):
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(["a", "=b\x1b[2J\n"]), 20)
    np.savez(folder / "rows.npz", x=rng.standard_normal((40, 3)), y=y)


def redirected(redirection, command, folder, *, program=commands.FUNCNN):
    """Run a program by a shell that redirects its streams."""
    words = ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, *program, *command]
    return subprocess.run(words, capture_output=True, text=True, env=commands.ENVIRONMENT, cwd=folder, timeout=120)


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    make_rows(folder)
    assert redirected("", TRAIN, folder).returncode == 0
    return folder


@systems.needs_shell("/dev/full")
@pytest.mark.parametrize(
    ("redirection", "code", "reason"),
    [
        ("2>/dev/full", 0, None),
        ("2>&-", 0, None),
        ("<&- 2>&-", 0, None),
        (">/dev/full", 1, "No space left on device"),
        (">&-", 1, "it is closed"),
        (">&- 2>&-", 1, None),
        (">/dev/full 2>/dev/full", 1, None),
    ],
)
def test_a_run_survives_streams_that_cannot_be_written(tmp_path, redirection, code, reason):
    make_rows(tmp_path)
    ended = redirected(redirection, TRAIN, tmp_path)
    assert ended.returncode == code
    if code == 0:
        assert len(json.loads(ended.stdout)["classes"]) == 2 and ended.stderr == ""
    else:
        assert ended.stdout == ""
        last = [f"funcnn train: cannot write the results to stdout: {reason}"] if reason else []
        assert ended.stderr.splitlines()[-1:] == last
    # everything else is safe, and has no line of the progress
    assert [json.loads(line)["epoch"] for line in (tmp_path / "history.jsonl").read_text().splitlines()] == [1, 2]
    assert len(list((tmp_path / "kept").iterdir())) == 2 and (tmp_path / "net.safetensors").exists()
    assert checkpoint.load(tmp_path / "net.safetensors").train_state.epoch == 2


@systems.needs_shell("/dev/full")
@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS)
def test_results_that_cannot_be_written_are_a_failure_in_one_line(rows_folder, command):
    name = " ".join(("funcnn", *command[: 1 + (command[0] == "show")]))
    ended = redirected(">/dev/full", command, rows_folder)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"{name}: cannot write the results to stdout: No space left on device"
    assert len(ended.stderr.splitlines()) == 1 + (command[0] == "evaluate")
    ended = redirected(">&- 2>&-", command, rows_folder)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


def test_a_reader_that_leaves_early_gets_no_message(rows_folder):
    ended = redirected("| head -1; exit ${PIPESTATUS[0]}", OTHERS["predict"], rows_folder)
    assert ended.stdout == "input,class,probability,'=b\\x1b[2J\\n,a\n" and ended.stderr == ""


def test_the_script_of_a_clone_survives_as_well(tmp_path):
    make_rows(tmp_path)
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    ended = redirected("2>&-", TRAIN[1:], tmp_path, program=(script,))
    assert ended.returncode == 0 and json.loads(ended.stdout)["epochs"] == 2


def test_python_without_streams(tmp_path, monkeypatch):
    make_rows(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as ended:
        console.run(app.app, "funcnn", TRAIN)
    assert ended.value.code == 1 and sys.stdout is sys.stderr is None
    assert (tmp_path / "net.safetensors").exists()


def test_a_terminal_that_hangs_up_interrupts_a_run_which_writes_its_checkpoint(tmp_path):
    make_rows(tmp_path)
    control, terminal = systems.terminal()
    options = (*TRAIN[:5], "--epochs", "1000000")
    words = (sys.executable, *commands.FUNCNN, *options)
    environment = commands.ENVIRONMENT | {"TERM": "xterm-256color"}
    process = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, cwd=tmp_path)
    os.close(terminal)
    shown = b""
    while b"loss" not in shown:
        shown += os.read(control, 65536)
    os.close(control)
    for _ in range(2):  # from the system and from the shell
        process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 130
    assert checkpoint.latest(tmp_path / "checkpoints" / "1")[1].train_state.step > 0


def test_sigterm_interrupts_a_run_which_writes_its_checkpoint(tmp_path):
    """Schedulers of jobs and containers send it before they kill. What a script starts with & ignores Ctrl-C."""
    make_rows(tmp_path)
    command = (sys.executable, *commands.FUNCNN, *TRAIN[:5], "--epochs", "1000000")
    words = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", *command)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=commands.ENVIRONMENT, cwd=tmp_path, text=True)
    while "loss" not in process.stderr.readline():
        pass
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after step" in errors and "to resume: " in errors
    assert checkpoint.latest(tmp_path / "checkpoints" / "1")[1].train_state.step > 0


@pytest.mark.parametrize("rank, line", [(None, "funcnn: interrupted\n"), (0, "funcnn: interrupted\n"), (1, "")])
def test_ctrl_c_while_the_command_is_imported_is_one_line_of_all_ranks(monkeypatch, capsys, rank, line):
    if rank is not None:
        monkeypatch.setenv("PMI_SIZE", "2")
        monkeypatch.setenv("PMI_RANK", str(rank))

    class Interrupting(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "funcnn.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "funcnn.cli.app")
    monkeypatch.delattr(cli, "app")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 130 and capsys.readouterr().err == line


@pytest.mark.parametrize("message", ["Unable to allocate 6 TiB for an array with shape (8, 10)", ""])
def test_a_lack_of_memory_is_one_line(monkeypatch, message):
    error = MemoryError(message)
    error.add_note("in layer 1_dense")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(runs, "open_data", fail)
    code, _, errors = screens.command(monkeypatch, "train")
    assert (code, errors) == (1, f"funcnn train: {message or 'out of memory'} (in layer 1_dense)\n")


@systems.needs_shell()
@pytest.mark.parametrize("name", ["plain", "it's", "my file", "a\nb", "a\x1b[31m'b\\", "caf\udce9", "é\u202e"])
def test_a_command_to_paste_leads_to_the_file_whatever_its_name(name):
    line = console.shell_command(["printf", "%s", name])
    assert visible(line) == line
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == os.fsencode(name)


def test_messages_show_the_names_in_them_in_one_line(tmp_path, monkeypatch):
    name = "a\n b\x1b[2J\udce9"
    code, out, errors = screens.command(monkeypatch, "evaluate", tmp_path / name, "digits")
    assert code == 1 and out == ""
    assert errors.startswith("funcnn evaluate: ") and errors.endswith("No such file or directory\n")
    assert r"a\n b\x1b[2J\xe9" in errors and len(errors.splitlines()) == 1
    code, _, errors = screens.command(monkeypatch, "train", "--data", f"{name}  [/x]")
    assert code == 2 and r"a\n b\x1b[2J\xe9  [/x]" in errors


@pytest.mark.parametrize("filters", ["ignore", "error"])
def test_warnings_are_printed_whatever_the_environment_makes_of_them(tmp_path, filters):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4))
    np.savez(tmp_path / "bytes.npz", x=pixels, y=np.repeat([0, 1], 10))
    np.savez(tmp_path / "parts.npz", x=pixels / 255, y=np.repeat([0, 1], 10))
    train = ("train", "--data", "bytes.npz", "--model", "mlp", "--epochs", 1, "--output", "net.safetensors")
    assert commands.run(*train, cwd=tmp_path).returncode == 0
    environment = commands.ENVIRONMENT | {"PYTHONWARNINGS": filters}
    result = commands.run("predict", "net.safetensors", "parts.npz", cwd=tmp_path, env=environment)
    assert result.returncode == 0
    assert result.stderr.startswith("funcnn predict: warning: ") and result.stderr.count("\n") == 1
