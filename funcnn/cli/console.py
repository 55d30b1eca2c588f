"""The command's console: one-line errors and messages on stderr, results on stdout."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from funcnn import streams
from funcnn.characters import visible
from funcnn.cli import jobs
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
    traceback. What cannot be written to stderr is dropped; results that cannot be written to stdout are a failure, the
    last one: files are written before. A terminal that hangs up interrupts as Ctrl-C does, and so does SIGTERM, which
    schedulers of jobs and containers send.

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
    streams.occupy_descriptors()
    stdout, stderr = streams.guard(sys.stdout, _results_lost), streams.guard(sys.stderr)
    if jobs.rank_and_size().size > 1:
        jobs.handle_signals()
    if jobs.rank_and_size().rank:
        stdout = streams.guard(None)
    with redirect_stdout(stdout), redirect_stderr(stderr), _interrupted_by("SIGHUP"), _interrupted_by("SIGTERM"):
        try:
            code = _run(app, name, arguments)
        except BaseException:
            jobs.abort_at_exit(1)
            raise
        finally:
            with suppress(OSError):  # a failure already, or reported
                stdout.flush()
            stderr.flush()
    if code:
        jobs.abort(code)
    sys.exit(code)


def _results_lost(error: Exception) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    raise OSError(f"cannot write the results to stdout: {getattr(error, 'strerror', None) or error}")


@contextmanager
def _interrupted_by(name: str) -> Iterator[None]:
    """Raise KeyboardInterrupt at a signal, unless it is ignored, as SIGHUP after ``nohup``."""
    number: int = getattr(signal, name, 0)  # Windows has no SIGHUP

    def interrupt(*_: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a shell sends another one
        raise KeyboardInterrupt

    if (
        not number
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(number) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _run(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    """Run the app, report errors, and return the exit code."""
    command = typer.main.get_command(app)
    adapt_help(command)
    path = _command_path(command, name, arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)  # whatever PYTHONWARNINGS says: neither lost nor a traceback
            warnings.showwarning = lambda message, *_, **__: _print_warning(f"{path}: warning: {message}")
            if jobs.rank_and_size().size > 1 and path not in (name, f"{name} train"):
                raise UsageError("runs in one process: only train is a job of several")
            code = command.main(list(arguments), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Interrupted as interrupted:
        _print_error(f"{path}: {interrupted}")
        return 130
    except BrokenPipeError:  # the reader, such as head, has closed the pipe, so an error message has no use
        code = 1
    except (UsageError, _TyperUsageError) as error:
        message = getattr(error, "format_message", error.__str__)()
        message = message.replace(": Value error, ", ": ").rstrip(".")  # pydantic's words, in some versions of typer
        if not isinstance(error, UsageError):
            message = " ".join(message.split())  # typer's lists of choices have a line for each
        if message:  # none where the command line is empty and the help has been printed
            _print_error(f"{path}: {message} (see {path} --help)")
        code = 2
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        _print_error(f"{path}: {str(error) or 'out of memory'}{notes}")
        code = 1
    if code == 130:  # some versions of typer return this for Ctrl-C
        _print_error(f"{path}: interrupted")
    return code or 0


def _command_path(command: Any, name: str, arguments: Sequence[str]) -> str:
    """Return the command's name with those of the sub-commands that the arguments begin with."""
    path = [name]
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument)
        if command is None:
            break
        path.append(argument)
    return " ".join(path)


def warn(message: str) -> None:
    """Warn of something that is not an error, in one line on stderr."""
    warnings.warn(message, stacklevel=2)


def _print_error(message: str) -> None:
    if jobs.reports():
        print(visible(message), file=sys.stderr)


def _print_warning(message: str) -> None:
    if jobs.rank_and_size().rank == 0:
        print(visible(message), file=sys.stderr)


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


def shell_command(words: Sequence[str]) -> str:
    r"""Return words as a line for a shell, in characters that can be seen.

    Examples
    --------
    >>> print(shell_command(["cat", "my file", "two\nlines"]))
    cat 'my file' $'two\x0alines'
    """
    return " ".join(shlex.quote(word) if visible(word) == word else _escaped_word(word) for word in words)


def _escaped_word(word: str) -> str:
    literal = {byte: chr(byte) for byte in range(0x20, 0x7F) if chr(byte) not in "'\\"}
    return "$'" + "".join(literal.get(byte, f"\\x{byte:02x}") for byte in os.fsencode(word)) + "'"


def logger(quiet: bool) -> Callable[[str], None]:
    """Return the function that prints a line on stderr, or does nothing if ``quiet``."""

    def log(message: str) -> None:
        if not quiet:
            print(visible(message), file=sys.stderr, flush=True)

    return log


def results_console() -> Console:
    """Return the console for results: stdout, as wide as the terminal, or as wide as needed in a pipe or file.

    Strings are printed unchanged: names of classes and files are not markup.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
