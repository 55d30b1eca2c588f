"""What the command line shows: one-line errors, progress on stderr, results on stdout."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from funcnn.training import Epoch, Step
from funcnn.tree import Array

# The class of all that typer itself finds wrong with a command line; it has no public name in every version.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]


class UsageError(Exception):
    """Options that do not go together."""


class Interrupted(Exception):  # noqa: N818 it is no error
    """Ctrl-C, when there is more to say of it than that."""


def run(app: typer.Typer) -> None:
    """Run the app and exit: 0 if all went well, 2 for a wrong command line, 1 for a failure, 130 for Ctrl-C.

    Whatever goes wrong is told in one line on stderr. A program's own mistakes keep their traceback.
    """
    name = os.path.basename(sys.argv[0])
    interrupted = "interrupted"
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Interrupted as stopped:
        interrupted, code = str(stopped), 130
    except BrokenPipeError:  # the reader, head say, has seen enough; nothing is left to be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (UsageError, _TyperUsageError) as error:
        told = getattr(error, "format_message", error.__str__)()
        _complain(f"{name}: {told} (see {name} --help)")
        code = 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        _complain(f"{name}: {error}{notes}")
        code = 1
    if code == 130:  # typer makes this of Ctrl-C in some versions
        _complain(f"{name}: {interrupted}")
    sys.exit(code or 0)


def warn(message: str) -> None:
    """Say on stderr, in one line, what is not an error yet."""
    _complain(f"{os.path.basename(sys.argv[0])}: warning: {message}")


def _complain(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr)


def shown(
    records: Iterator[Step | Epoch], total: int, *, label: str = "", quiet: bool = False, done: int = 0, steps: int = 0
) -> Iterator[Step | Epoch]:
    """Pass the records of a training on, showing each epoch on stderr: a live line on a terminal, else a plain one.

    Parameters
    ----------
    records : iterator of Step and Epoch
        From `funcnn.training.steps`, or the epochs alone.
    total : int
        How many epochs there will be.
    label : str
        Begins each line.
    quiet : bool
        Show nothing.
    done : int
        Epochs done before.
    steps : int
        How many there are in an epoch.
    """
    console = Console(stderr=True)
    if quiet:
        yield from records
    elif console.is_terminal and not console.is_dumb_terminal:
        yield from _shown_live(records, total, label, console, done, max(1, steps))
    else:
        began = time.monotonic()
        for record in records:
            if isinstance(record, Epoch):
                print(label + "  ".join(_parts(record, total, began, done).values()), file=sys.stderr, flush=True)
            yield record


def _shown_live(
    records: Iterator[Step | Epoch], total: int, label: str, console: Console, done: int, steps: int
) -> Iterator[Step | Epoch]:
    bar = BarColumn()
    line = TextColumn("{task.description}", markup=False)
    with Progress(line, bar, console=console, refresh_per_second=5) as progress:
        began = updated = told = time.monotonic()
        task = progress.add_task(f"{label}epoch {done}/{total}", total=total * steps, completed=done * steps)

        def update(parts: dict[str, str], completed: int) -> None:
            text = label + _fitting(parts, console.width - len(label))
            bar.bar_width = max(0, min(30, console.width - len(text) - 1))
            progress.update(task, completed=completed, description=text)

        for record in records:
            now = time.monotonic()
            if isinstance(record, Epoch):
                update(_parts(record, total, began, done), record.epoch * steps)
                updated = told = now
            elif now - updated > 0.1:
                updated, step = now, len(record.train_state.losses)
                completed = (record.epoch - 1) * steps + step
                if now - told > 1:  # what the last epoch was like has been seen
                    speed = {"epoch": f"epoch {record.epoch}/{total}", "step": f"step {step}/{steps}"}
                    update({**speed, "loss": f"loss {record.loss:.4f}"}, completed)
                else:
                    progress.update(task, completed=completed)
            yield record


def _parts(epoch: Epoch, total: int, began: float, done: int) -> dict[str, str]:
    left = (time.monotonic() - began) / (epoch.epoch - done) * (total - epoch.epoch)
    parts = {"epoch": f"epoch {epoch.epoch:{len(str(total))}}/{total}", "loss": f"loss {epoch.loss:.4f}"}
    if epoch.train:
        parts["train"] = f"train {epoch.train['accuracy']:.2%}"
    if epoch.validation:
        parts["validation"] = f"val {epoch.validation['accuracy']:.2%}"
    parts["speed"] = f"{len(epoch.losses) / epoch.seconds:.0f} steps/s"
    parts["left"] = f"{int(left // 60)}:{int(left % 60):02} left"
    return parts


def _fitting(parts: dict[str, str], width: int) -> str:
    """Join the parts, without the less important ones where the line would not fit."""
    for name in ("speed", "left", "train", "loss", "step"):
        if len("  ".join(parts.values())) < width:
            break
        parts.pop(name, None)
    return "  ".join(parts.values())


def results() -> Console:
    """Return the console for results: stdout, as wide as the terminal, or as it takes where it is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def report(console: Console, title: str, confusion: Array, names: Sequence[str]) -> None:
    """Print accuracy, precision and recall of each class, and the confusion matrix."""
    found = figures(confusion, names)
    classes = new_table("class", "examples", "precision", "recall")
    for row in found["classes"]:
        classes.add_row(row["class"], str(row["examples"]), _percent(row["precision"]), _percent(row["recall"]))

    matrix = new_table("true", *names)
    for i, name in enumerate(names):
        matrix.add_row(name, *(_cell(int(n), i == j) for j, n in enumerate(confusion[i])))

    right, count = found["right"], found["examples"]
    console.print(Text(f"{title} accuracy {found['accuracy']:.2%} ({right} of {count})", "bold"))
    print_whole(console, classes)
    console.print("Confusion matrix: a row for each true class, a column for each predicted one")
    print_whole(console, matrix)


def figures(confusion: Array, names: Sequence[str]) -> dict[str, Any]:
    """Return what `report` prints, in JSON's types; a precision or recall of no examples is None."""
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


def report_folds(console: Console, rights: Sequence[int], counts: Sequence[int]) -> None:
    """Print each fold's accuracy."""
    table = new_table("fold", "examples", "wrong", "accuracy")
    for i, (right, count) in enumerate(zip(rights, counts, strict=True), start=1):
        table.add_row(str(i), str(count), str(count - right), f"{right / count:.2%}")
    print_whole(console, table)


def print_whole(console: Console, table: Table) -> None:
    """Print a table without leaving figures out; a terminal too narrow for it wraps its lines."""
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(needed, console.width)
    console.print(table)


def new_table(first: str, *others: str) -> Table:
    """Return an empty table: names on the left, figures on the right."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cell(n: int, diagonal: bool) -> Text:
    return Text(str(n) if n else ".", "dim" if not n else "green" if diagonal else "bold red")


def echo(quiet: bool) -> Callable[[str], None]:
    """Return the function that says something on stderr, unless ``quiet``."""

    def say(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr, flush=True)

    return say
