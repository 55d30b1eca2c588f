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
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from funcnn.tree import Array

# The class of every error that typer finds in a command line; not every version gives it a public name.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]


# box.SIMPLE in ASCII; rich's own choice would have bars between the columns
ASCII_BOX = box.Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)


class UsageError(Exception):
    """Options that do not go together."""


class Interrupted(Exception):  # noqa: N818 it is no error
    """Ctrl-C, with a message that says more than "interrupted"; it is printed as it stands."""


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
    path = _command_path(command, name, arguments)
    _print_what_the_encoding_lacks_as_escapes()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _complain(f"{path}: warning: {message}")
            code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Interrupted as interrupted:
        print(f"{path}: {interrupted}", file=sys.stderr)  # with a command to paste, whose spaces count
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as head, has closed the pipe: there is nobody to report to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (UsageError, _TyperUsageError) as error:
        message = getattr(error, "format_message", error.__str__)()
        _complain(f"{path}: {message} (see {path} --help)")
        code = 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        _complain(f"{path}: {error}{notes}")
        code = 1
    if code == 130:  # some versions of typer return this for Ctrl-C
        _complain(f"{path}: interrupted")
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


def _print_what_the_encoding_lacks_as_escapes() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def warn(message: str) -> None:
    """Warn of something that is not an error, in one line on stderr."""
    warnings.warn(message, stacklevel=2)


def _complain(message: str) -> None:
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
    """Return the console for results: stdout, as wide as the terminal, or as wide as needed where it is none.

    Strings are printed as they stand: names of classes and files are no markup.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=200)


def encodable(text: str, encoding: str) -> bool:
    """Return whether an encoding, such as ``"cp1252"``, has all characters of a text."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def printable(console: Console, text: str) -> str:
    """Return a text whose characters the encoding of a console's output has: escapes stand for the others."""
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


def print_report(console: Console, title: str, confusion: Array, names: Sequence[str]) -> None:
    """Print accuracy, precision and recall of each class, and the confusion matrix."""
    names = [printable(console, name) for name in names]
    report = report_figures(confusion, names)
    classes = new_table("class", "examples", "precision", "recall")
    for row in report["classes"]:
        classes.add_row(row["class"], str(row["examples"]), _percent(row["precision"]), _percent(row["recall"]))
    accuracy, right, count = report["accuracy"], report["right"], report["examples"]
    console.print(Text(f"{title} accuracy {accuracy:.2%} ({right} of {count})", "bold"), soft_wrap=True)
    print_whole(console, classes)
    console.print("Confusion matrix: a row for each true class, a column for each predicted one", soft_wrap=True)
    print_confusion(console, confusion, names)


def print_confusion(console: Console, confusion: Array, names: Sequence[str]) -> None:
    """Print a confusion matrix; where the names make it too wide, its columns are numbers that the rows explain."""
    matrix = _confusion_table(confusion, names, names)
    if not fits(console, matrix):
        numbers = [str(number) for number in range(1, len(names) + 1)]
        numbered = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
        short = _confusion_table(confusion, numbered, numbers)
        matrix = short if fits(console, short) else matrix
    print_whole(console, matrix)


def _confusion_table(confusion: Array, rows: Sequence[str], columns: Sequence[str]) -> Table:
    table = new_table("true", *columns)
    for i, name in enumerate(rows):
        table.add_row(name, *(_cell(int(n), i == j) for j, n in enumerate(confusion[i])))
    return table


def report_figures(confusion: Array, names: Sequence[str]) -> dict[str, Any]:
    """Return what `print_report` prints, in JSON's types; a precision or recall of no examples is None."""
    right, count = int(confusion.trace()), int(confusion.sum())
    examples, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    rows = []
    for i, name in enumerate(names):
        hits = int(confusion[i, i])
        precision, recall = (hits / int(n) if n else None for n in (predicted[i], examples[i]))
        rows.append({"class": name, "examples": int(examples[i]), "precision": precision, "recall": recall})
    return {
        "accuracy": right / count,
        "right": right,
        "examples": count,
        "classes": rows,
        "confusion": confusion.tolist(),
    }


def print_folds(console: Console, rights: Sequence[int], counts: Sequence[int]) -> None:
    """Print each fold's accuracy."""
    table = new_table("fold", "examples", "wrong", "accuracy")
    for i, (right, count) in enumerate(zip(rights, counts, strict=True), start=1):
        table.add_row(str(i), str(count), str(count - right), f"{right / count:.2%}")
    print_whole(console, table)


def new_table(first: str, *others: str) -> Table:
    """Return an empty table: names on the left, figures on the right."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def fits(console: Console, table: Table) -> bool:
    """Return whether a table fits the console: always, where the output is no terminal."""
    return not console.is_terminal or _width(console, table) <= console.width


def print_whole(console: Console, table: Table) -> None:
    """Print a table and leave no figure out.

    Where a terminal is too narrow for the table, each row becomes a block: its first cell, and below it a line for each
    other column.
    """
    if not encodable("─", console.encoding):
        table.box = ASCII_BOX
    if fits(console, table):
        console.width = max(_width(console, table), console.width)
        console.print(table)
        return
    first, *others = table.columns
    names = [str(column.header) for column in others]
    pad = max((cell_len(name) for name in names), default=0)
    for title, *cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print(Text(f"{first.header} ", "dim"), _text(title), sep="", soft_wrap=True)
        for name, cell in zip(names, cells, strict=True):
            space = " " * (pad - cell_len(name) + 2)
            console.print(Text(f"  {name}{space}", "dim"), _text(cell), sep="", soft_wrap=True)


def _text(cell: Any) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=100_000), table).maximum


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cell(n: int, diagonal: bool) -> Text:
    return Text(str(n) if n else ".", "dim" if not n else "green" if diagonal else "bold red")
