"""The history of a run: a record of each epoch, and optionally of each step, as JSON lines and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from funcnn import extras, html, optim
from funcnn.files import write_atomic
from funcnn.training import Epoch

__all__ = ["History", "epoch_row", "json_line", "read"]


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
            Ends in .csv for CSV with a line of names; in anything else for JSON lines, as ``funcnn train --history``
            writes them and `read` reads them. Numbers that are not finite are empty, or null.

        Raises
        ------
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
        lines = [json_line({"record": "epoch", **row}) + "\n" for row in self]
        write_atomic(Path(path), self._csv() if Path(path).suffix.lower() == ".csv" else "".join(lines))

    def _csv(self) -> str:
        file = io.StringIO()
        writer = csv.DictWriter(file, self._names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(finite(row) for row in self)
        return file.getvalue()

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

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self for name in row))

    def _repr_html_(self) -> str:
        names = self._names()
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


def read(path: str | os.PathLike[str]) -> History:
    """Read the JSON lines of a history.

    Parameters
    ----------
    path : path
        If there is no such file, the history is empty. An unfinished last line is left out.

    Returns
    -------
    History
        Each row has its ``record``, "epoch" or "step".

    Raises
    ------
    ValueError, OSError
        If the file is not a history, or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     History([{"epoch": 1, "step": 9, "loss": 0.7}]).save(f"{folder}/run.jsonl")
    ...     read(f"{folder}/run.jsonl")
    [{'record': 'epoch', 'epoch': 1, 'step': 9, 'loss': 0.7}]
    """
    path = Path(path)
    if not path.exists():
        return History()
    rows, lines = History(), path.read_text(encoding="utf-8", errors="replace").split("\n")
    beginning = '{"record": '
    if not lines[-1].startswith(beginning[: len(lines[-1])]):
        raise ValueError(f"{path} is not a history of a run: line {len(lines)} has no record and step")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            rows.append({**row, "record": str(row["record"]), "step": int(row["step"])})
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"{path} is not a history of a run: line {number} has no record and step") from None
    return rows
