"""The ``funcnn`` command as a whole: its entry points, and what holds for every sub-command."""

import re
import subprocess
import sys
from pathlib import Path

import commands
import pytest

import funcnn

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "evaluate", "predict", "inspect", "show", "export")


def test_version_and_help():
    assert commands.run("--version").stdout == f"funcnn {funcnn.__version__}\n"
    shown = commands.run("--help")
    assert shown.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^\W*{name} +\w", shown.stdout, re.MULTILINE)


def test_a_shell_completes_sub_commands_and_options():
    def completions(line):
        environment = {"_FUNCNN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
        return commands.run(env=commands.ENVIRONMENT | environment).stdout

    assert all(name in completions("funcnn ") for name in COMMANDS)
    assert "--history-steps" in completions("funcnn train --hist")
    assert "confusion" in completions("funcnn show c")
    script = commands.run(env=commands.ENVIRONMENT | {"_FUNCNN_COMPLETE": "source_bash"}).stdout
    assert "complete -o" in script and script.rstrip().endswith("funcnn")


def test_the_clone_s_script_is_the_sub_command():
    script = {"program": [ROOT / "scripts" / "train.py"]}
    options = ("--model", "seed", "--epochs", 2, "--quiet")
    assert commands.run(*options, **script).stdout == commands.run("train", *options).stdout
    assert commands.run("--help", **script).stdout == commands.run("train", "--help").stdout
    wrong = commands.run("--epochs", 0, **script)
    assert wrong.returncode == 2 and wrong.stderr == commands.run("train", "--epochs", 0).stderr
    assert wrong.stderr.startswith("funcnn train: Invalid value for '--epochs'")


@pytest.mark.parametrize("package", ["typer", "rich", "safetensors"])
def test_without_the_extra_one_line_names_it(package):
    program = ("-c", f"import sys; sys.modules[{package!r}] = None; from funcnn.cli import main; main()")
    result = commands.run("train", program=program)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"funcnn: the command needs {package}: pip install 'funcnn[cli]'\n"


def test_a_mistake_before_the_sub_command_is_the_command_s():
    result = commands.run("trian")
    assert result.returncode == 2 and result.stderr.startswith("funcnn: No such command 'trian'")
    assert result.stderr.endswith("(see funcnn --help)\n") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["train", "evaluate", "show"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_in_any_encoding(name, encoding):
    result = subprocess.run(
        [sys.executable, "-m", "funcnn", name, "--help"],
        capture_output=True,
        env=commands.ENVIRONMENT | {"PYTHONIOENCODING": encoding, "COLUMNS": "50", "LANG": "C"},
    )
    assert result.returncode == 0 and result.stderr == b""
    # an ellipsis that the encoding lacks is printed as its escape
    lines = result.stdout.decode(encoding).replace(r"\u2026", "~").splitlines()
    assert all(len(line) <= 50 for line in lines)


def test_no_file_on_the_path_hides_a_module_of_the_standard_library():
    for folder in ("scripts", "tests"):
        for path in (ROOT / folder).iterdir():
            if path.suffix == ".py" or (path / "__init__.py").exists():
                assert path.stem not in sys.stdlib_module_names, path
