"""The command's console: one-line errors and messages on stderr, results on stdout."""

from __future__ import annotations

import io
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from funcnn.cli.plain_help import adapt_help

# The class of every error that typer finds in a command line; not every version gives it a public name.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]


# Width, in characters, of results that are not printed on a terminal: large enough to wrap and fold no line.
PIPE_WIDTH = 100_000


class UsageError(Exception):
    """Options that cannot be combined."""


class Interrupted(Exception):  # noqa: N818 not an error
    """Ctrl-C, with a message that is printed instead of "interrupted", unchanged."""


def run(app: typer.Typer, name: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run the app and exit: 0 on success, 2 for a wrong command line, 1 for a failure, 130 for Ctrl-C.

    Errors and warnings are one line on stderr, after the command's name. Mistakes of the program itself keep their
    traceback.

    Parameters
    ----------
    app : typer.Typer
    name : str, optional
        Of the command; by default that of the file that was started.
    arguments : sequence of str, optional
        By default those of the command line.
    """
    name = name or os.path.basename(sys.argv[0])
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = typer.main.get_command(app)
    adapt_help(command)
    path = _command_path(command, name, arguments)
    _escape_unencodable_characters()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _print_error(f"{path}: warning: {message}")
            code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Interrupted as interrupted:
        print(f"{path}: {interrupted}", file=sys.stderr)  # with a command to paste, in which spaces matter
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as head, has closed the pipe, so an error message has no use
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (UsageError, _TyperUsageError) as error:
        message = getattr(error, "format_message", error.__str__)()
        message = message.replace(": Value error, ", ": ").rstrip(".")  # pydantic's words, in some versions of typer
        if message:  # none where the command line is empty and the help has been printed
            _print_error(f"{path}: {message} (see {path} --help)")
        code = 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        _print_error(f"{path}: {error}{notes}")
        code = 1
    if code == 130:  # some versions of typer return this for Ctrl-C
        _print_error(f"{path}: interrupted")
    sys.exit(code or 0)


def _command_path(command: Any, name: str, arguments: Sequence[str]) -> str:
    """Return the command's name with those of the sub-commands that the arguments begin with."""
    path = [name]
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument)
        if command is None:
            break
        path.append(argument)
    return " ".join(path)


def _escape_unencodable_characters() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def warn(message: str) -> None:
    """Warn of something that is not an error, in one line on stderr."""
    warnings.warn(message, stacklevel=2)


def _print_error(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr)


def invocation(sub_command: str) -> list[str]:
    """Return the words that start a sub-command in the way in which this process was started.

    Which is ``funcnn``, with its path where the shell would not find it by its name; ``python -m funcnn``; or a script
    of that sub-command, such as ``scripts/train.py``.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return [sys.executable, "-m", "funcnn", sub_command]
    if program.suffix == ".py":
        return [sys.executable, sys.argv[0]]
    found = shutil.which(program.name)
    known = found is not None and program.exists() and os.path.samefile(found, program)
    return [program.name if known else os.path.abspath(program), sub_command]


def logger(quiet: bool) -> Callable[[str], None]:
    """Return the function that prints a line on stderr, or does nothing if ``quiet``."""

    def log(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr, flush=True)

    return log


def results_console() -> Console:
    """Return the console for results: stdout, as wide as the terminal, or as wide as needed in a pipe or file.

    Strings are printed unchanged: names of classes and files are not markup.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
