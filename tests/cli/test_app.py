"""The ``funcnn`` command as a whole: its entry points, and what holds for every sub-command."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import commands
import pytest
import typer

import funcnn
from funcnn.cli import app, plain_help, train

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
    assert result.stderr == f"funcnn: the command needs {package}: pip install 'funcnn[cli]', or '.[cli]' in a clone\n"


def test_all_packages_that_are_missing_are_named():
    program = (
        "-c",
        "import sys; sys.modules.update(typer=None, rich=None, safetensors=None); from funcnn.cli import main; main()",
    )
    assert commands.run(program=program).stderr == (
        "funcnn: the command needs typer, rich and safetensors: pip install 'funcnn[cli]', or '.[cli]' in a clone\n"
    )


def test_a_mistake_before_the_sub_command_is_the_command_s():
    result = commands.run("trian")
    assert result.returncode == 2 and result.stderr.startswith("funcnn: No such command 'trian'")
    assert result.stderr.endswith("(see funcnn --help)\n") and result.stderr.count("\n") == 1


def help_of(*names, **environment):
    """Return the lines of a help text."""
    result = commands.run(*names, "--help", env=commands.ENVIRONMENT | {"COLUMNS": "50", "LANG": "C"} | environment)
    assert result.returncode == 0 and result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", ["train", "evaluate", "show"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_help_in_any_encoding(name, encoding):
    lines = help_of(name, PYTHONIOENCODING=encoding)
    assert all(len(line) <= 50 for line in lines)
    assert not any("\\" in line or "\u2026" in line for line in lines)


def commands_below(command):
    yield command
    for sub_command in getattr(command, "commands", {}).values():
        yield from commands_below(sub_command)


def test_narrow_help_of_every_command_has_its_options_whole():
    for command in commands_below(typer.main.get_command(app.app)):
        context = command.make_context(command.name, [], resilient_parsing=True)
        text = "\n".join(plain_help.help_lines(command, context, 50))
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert set(options) <= set(re.findall(r"--[\w-]+", text))
        for described in (command, *getattr(command, "commands", {}).values()):
            assert " ".join(described.help.split()) in " ".join(text.split())
        assert all(len(line) <= 50 for line in text.splitlines())


def test_help_of_a_common_terminal_has_every_option_whole():
    shown = re.findall(r"--[\w-]+", "\n".join(help_of("train", PYTHONIOENCODING="utf-8", COLUMNS="80")))
    (command,) = (c for c in commands_below(typer.main.get_command(app.app)) if c.name == "train")
    assert {option for parameter in command.params for option in parameter.opts} <= set(shown)


def test_narrow_help_keeps_names_and_groups():
    lines = help_of("train", PYTHONIOENCODING="utf-8")
    assert {"Options:", "Checkpoints:", "Evaluation:", "Output:"} <= set(lines)
    assert {name for line in lines for name in re.findall(r"breast-cancer|scikit-learn|one-cycle", line)} == {
        "breast-cancer", "scikit-learn", "one-cycle",
    }  # fmt: skip
    lines = help_of(PYTHONIOENCODING="utf-8")
    start = lines.index("  train") + 1
    assert " ".join(map(str.strip, lines[start : start + 3])) == train.__doc__.strip().rstrip()


def test_no_sub_command_is_help():
    result = commands.run(env=commands.ENVIRONMENT | {"COLUMNS": "50"})
    assert (result.returncode, result.stderr) == (2, "")
    assert result.stdout.split() == commands.run("--help", env=commands.ENVIRONMENT | {"COLUMNS": "50"}).stdout.split()


NARROW = commands.ENVIRONMENT | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "50"}


def test_help_in_a_narrow_terminal_cuts_no_word_off():
    shown = commands.run("--help", env=NARROW).stdout
    assert "--install-completion" in shown and "--show-completion" in shown
    for name in COMMANDS:
        module = importlib.import_module(f"funcnn.cli.{name}")
        assert " ".join(module.__doc__.split()) in " ".join(shown.split())
    for arguments in (["train"], ["evaluate"], ["show", "attribution"], ["show", "confusion"], ["show", "curves"]):
        narrow = commands.run(*arguments, "--help", env=NARROW).stdout
        wide = commands.run(*arguments, "--help", env=NARROW | {"COLUMNS": "120"}).stdout
        assert "\u2026" not in narrow and "\u2500" not in narrow and "\u2500" in wide
        options = set(re.findall(r"--[a-z-]+", wide))
        assert len(options) > 4 and options <= set(re.findall(r"--[a-z-]+", narrow))


def test_help_names_values_in_words():
    for arguments in (["train"], ["evaluate"], ["show", "features"], ["show", "attribution"]):
        shown = commands.run(*arguments, "--help").stdout
        assert not re.search(r"<(int|float|list)", shown)


def test_errors_have_no_words_of_a_library_s_own():
    wrong = commands.run("train", "--model", "convent")
    assert wrong.returncode == 2 and "Value error" not in wrong.stderr and "'convent' is not one of" in wrong.stderr
    assert commands.run("inspect").stderr == ("funcnn inspect: Missing argument 'MODEL' (see funcnn inspect --help)\n")


def test_options_are_passed_by_name():
    for command in commands_below(typer.main.get_command(app.app)):
        if command.params:
            parameters = inspect.signature(command.callback).parameters.values()
            assert all(p.kind is p.KEYWORD_ONLY for p in parameters), command.name
    for path in (ROOT / "scripts").glob("*/app.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(not node.args.args for node in body if getattr(node, "name", "") == "main"), path


def test_no_file_on_the_path_hides_a_module_of_the_standard_library():
    for folder in ("scripts", "tests"):
        for path in (ROOT / folder).iterdir():
            if path.suffix == ".py" or (path / "__init__.py").exists():
                assert path.stem not in sys.stdlib_module_names, path
