"""The report of `funcnn train` and `funcnn evaluate`: accuracy, precision, recall, the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from funcnn.characters import printable, visible
from funcnn.pictures.tables import FoldingTable, table
from funcnn.tree import Array


def print_report(console: Console, title: str, confusion: Array, names: Sequence[str]) -> None:
    """Print accuracy, precision and recall of each class, and the confusion matrix."""
    names = [printable(name, console.encoding) for name in names]
    report = report_figures(confusion, names)
    rows = [
        (row["class"], str(row["examples"]), _percent(row["precision"]), _percent(row["recall"]))
        for row in report["classes"]
    ]
    accuracy, right, count = report["accuracy"], report["right"], report["examples"]
    console.print(Text(f"{visible(title)} accuracy {accuracy:.2%} ({right} of {count})", "bold"), soft_wrap=True)
    console.print(table(("class", "examples", "precision", "recall"), rows))
    console.print("Confusion matrix: a row for each true class, a column for each predicted one")
    print_confusion(console, confusion, names)


def print_confusion(console: Console, confusion: Array, names: Sequence[str]) -> None:
    """Print a confusion matrix; where the names make it too wide, its columns are numbers that the rows explain."""
    matrix = _confusion_table(confusion, names, names)
    if not matrix.fits(console):
        numbers = [str(number) for number in range(1, len(names) + 1)]
        numbered = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
        short = _confusion_table(confusion, numbered, numbers)
        matrix = short if short.fits(console) else matrix
    console.print(matrix)


def _confusion_table(confusion: Array, rows: Sequence[str], columns: Sequence[str]) -> FoldingTable:
    entries = [[_entry(int(n), i == j) for j, n in enumerate(row)] for i, row in enumerate(confusion)]
    return table(("true", *columns), [(name, *row) for name, row in zip(rows, entries, strict=True)])


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
    rows = [
        (str(i), str(count), str(count - right), f"{right / count:.2%}")
        for i, (right, count) in enumerate(zip(rights, counts, strict=True), start=1)
    ]
    console.print(table(("fold", "examples", "wrong", "accuracy"), rows))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _entry(n: int, diagonal: bool) -> Text:
    return Text(str(n) if n else ".", "dim" if not n else "green" if diagonal else "bold red")
