"""The history of a run: a record of each epoch, and optionally of each step, as JSON lines, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from funcnn import extras, html, optim
from funcnn.files import write_atomic
from funcnn.training import Epoch

__all__ = ["History", "content", "csv_line", "epoch_row", "file_format", "json_line", "read"]

FORMATS = {".jsonl": "JSON lines", ".json": "JSON", ".csv": "CSV"}  # by the end of a file's name
JSON_END = "\n]\n"  # of the array in a JSON file; the next record is written over it


class History(list[dict[str, Any]]):
    """The records of a run: a list of dicts, one for each epoch. A notebook displays it as a table.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn import losses, models, training
    >>> x, labels = np.eye(4, dtype=np.float32), np.arange(4) % 2
    >>> run = History()
    >>> for epoch in training.fit(
    ...     models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, epochs=2, key=(0,)
    ... ):
    ...     run.add(epoch)
    >>> [(row["epoch"], row["step"], row["learning_rate"]) for row in run]
    [(1, 1, 0.1), (2, 2, 0.1)]
    """

    @classmethod
    def of(cls, records: Iterable[Epoch | Mapping[str, Any]]) -> History:
        """Return the history of epochs that are over.

        Parameters
        ----------
        records : iterable of Epoch or dict

        Examples
        --------
        >>> History.of([{"epoch": 1, "loss": 0.7}])
        [{'epoch': 1, 'loss': 0.7}]
        """
        return cls(epoch_row(record) if isinstance(record, Epoch) else dict(record) for record in records)

    def add(self, epoch: Epoch) -> None:
        """Append the record of an epoch.

        Examples
        --------
        See `History`.
        """
        self.append(epoch_row(epoch))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: completely, or not at all.

        Parameters
        ----------
        path : path
            Ends in .jsonl for JSON lines, in .json for an array of the same records, in .csv for a table with a line of
            names; ``funcnn train --history`` writes the same files, and `read` reads them. Numbers that are not finite
            are null, or empty.

        Raises
        ------
        ValueError
            If the name ends in anything else.
        OSError
            If the file cannot be written, naming it.

        Examples
        --------
        >>> import tempfile
        >>> run = History([{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5, "validation_loss": 0.6}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run.save(f"{folder}/run.csv")
        ...     print(Path(folder, "run.csv").read_text())
        epoch,loss,validation_loss
        1,0.7,
        2,0.5,0.6
        """
        suffix = file_format(path)
        rows = list(self) if suffix == ".csv" else [{"record": "epoch", **row} for row in self]
        write_atomic(Path(path), content(rows, suffix))

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses with Matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default the current ones.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If ``ax`` is not given and Matplotlib is missing.

        Examples
        --------
        >>> class Axes:  # stands for Matplotlib's
        ...     def plot(self, x, y, label):
        ...         print(label, x, y)
        ...
        ...     def set(self, xlabel, ylabel):
        ...         pass
        ...
        ...     def legend(self):
        ...         pass
        >>> axes = History([{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}]).plot(Axes())
        training [1, 2] [0.7, 0.5]
        """
        axes = extras.axes("History.plot", ax)
        for name, label in (("loss", "training"), ("validation_loss", "validation")):
            rows = [row for row in self if row.get(name) is not None]
            if rows:
                axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], label=label)
        axes.set(xlabel="epoch", ylabel="loss")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        names = names_of(self)
        return html.table(names, [[row.get(name, "") for name in names] for row in self])


def epoch_row(epoch: Epoch) -> dict[str, Any]:
    """Return an epoch's figures as checkpoints and histories hold them.

    Parameters
    ----------
    epoch : Epoch

    Returns
    -------
    dict

    Examples
    --------
    See `History`.
    """
    return {
        "epoch": epoch.epoch,
        "step": epoch.train_state.step,
        "loss": epoch.loss,
        **{f"train_{name}": value for name, value in epoch.train.items()},
        **{f"validation_{name}": value for name, value in epoch.validation.items()},
        "learning_rate": optim.learning_rate(epoch.train_state.opt_state),
        "seconds": epoch.seconds,
    }


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of strict JSON, which has no NaN and no infinity: they become null.

    Parameters
    ----------
    record : dict

    Returns
    -------
    str

    Examples
    --------
    >>> json_line({"loss": float("inf"), "classes": [{"recall": 0.5}]})
    '{"loss": null, "classes": [{"recall": 0.5}]}'
    """
    return json.dumps(finite(record), allow_nan=False)


def finite(value: Any) -> Any:
    """Return a value of JSON's types with None in the place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def names_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names in records, in the order of their first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def file_format(path: str | os.PathLike[str]) -> str:
    """Return the end of a history's name in lower case, which says how the file is written.

    Parameters
    ----------
    path : path

    Returns
    -------
    str
        ".jsonl", ".json" or ".csv".

    Raises
    ------
    ValueError
        If the name ends in anything else.

    Examples
    --------
    >>> file_format("runs/First.CSV")
    '.csv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        ends = [f"{end} ({name})" for end, name in FORMATS.items()]
        raise ValueError(f"{path}: the name of a history ends in {', '.join(ends[:-1])} or {ends[-1]}")
    return suffix


def content(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Return the content of a file of records.

    Parameters
    ----------
    rows : sequence of dict
    suffix : str
        As `file_format` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> print(content([{"epoch": 1, "loss": 0.7}, {"epoch": 2}], ".json"), end="")
    [
    {"epoch": 1, "loss": 0.7},
    {"epoch": 2}
    ]
    """
    if suffix == ".csv":
        names = names_of(rows)
        return "".join([csv_line({name: name for name in names}, names), *(csv_line(row, names) for row in rows)])
    lines = [json_line(row) for row in rows]
    return "[\n" + ",\n".join(lines) + JSON_END if suffix == ".json" else "".join(line + "\n" for line in lines)


def csv_line(record: Mapping[str, Any], names: Sequence[str]) -> str:
    r"""Return a record as one line of CSV; empty are names that it lacks and numbers that are not finite.

    Parameters
    ----------
    record : dict
    names : sequence of str
        The columns.

    Returns
    -------
    str

    Examples
    --------
    >>> csv_line({"loss": 0.5, "epoch": 3}, ["epoch", "accuracy", "loss"])
    '3,,0.5\n'
    """
    line = io.StringIO()
    if names:
        csv.writer(line, lineterminator="\n").writerow([finite(record.get(name)) for name in names])
    return line.getvalue()


def read(path: str | os.PathLike[str]) -> History:
    """Read a history from a file of one of the formats of `History.save`.

    Parameters
    ----------
    path : path
        If there is no such file, the history is empty. An unfinished last record is left out.

    Returns
    -------
    History
        Each row has its ``record``, "epoch" or "step". What is empty in CSV is left out.

    Raises
    ------
    ValueError, OSError
        If the name ends in something else, or the file is not a history, or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     History([{"epoch": 1, "step": 9, "loss": 0.7}]).save(f"{folder}/run.csv")
    ...     read(f"{folder}/run.csv")
    [{'record': 'epoch', 'epoch': 1, 'step': 9, 'loss': 0.7}]
    """
    path = Path(path)
    suffix = file_format(path)
    if not path.exists():
        return History()
    text = path.read_text(encoding="utf-8", errors="replace")
    parse, unit = _PARSERS[suffix]
    rows = History()
    try:
        for row in parse(text):
            rows.append({**row, "record": str(row["record"]), "step": int(row["step"])})
    except (ValueError, LookupError, TypeError, RecursionError, csv.Error):
        raise ValueError(f"{path} is not a history of a run: {unit} {len(rows) + 1} has no record and step") from None
    return rows


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    *lines, rest = text.split("\n")
    for line in lines:
        yield json.loads(line)
    beginning = '{"record": '
    if not rest.startswith(beginning[: len(rest)]):
        raise ValueError("the last line is no record")


def _json_records(text: str) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError:  # the last record is unfinished
        rows = json.loads(text.rpartition(",\n")[0] + JSON_END)
    if not isinstance(rows, list):
        raise TypeError("not an array")
    yield from rows


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    whole, newline, _ = text.rpartition("\n")
    table = csv.DictReader(io.StringIO(whole, newline=""), strict=True)
    if text and not (newline and "step" in (table.fieldnames or ())):
        raise ValueError("no line of names")
    for row in table:
        if None in row:
            raise ValueError("more cells than names")
        yield {"record": "epoch"} | {name: _from_cell(cell) for name, cell in row.items() if cell}


def _from_cell(cell: str) -> int | float | str:
    for number in (int, float):
        with suppress(ValueError):
            return number(cell)
    return cell


# How a file is parsed, and what an error counts.
_PARSERS = {".jsonl": (_json_lines, "line"), ".json": (_json_records, "record"), ".csv": (_csv_rows, "row")}
