"""The history of a run: a file with a record of each epoch and, optionally, of each step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from funcnn import optim
from funcnn.checkpoint import Checkpoint
from funcnn.files import write_atomic
from funcnn.history import JSON_END, content, csv_line, file_format, json_line, names_of, read

__all__ = ["HistoryWriter", "history_writer"]


class HistoryWriter(NamedTuple):
    """The two things to do with an open history.

    Attributes
    ----------
    write : callable
        ``write(current)``: add the record of the epoch or step that has led to this checkpoint.
    flush : callable
        ``flush()``: leave no record in memory.
    """

    write: Callable[[Checkpoint], None]
    flush: Callable[[], None]


@contextmanager
def history_writer(path: Path | None, steps: bool, initial: Checkpoint) -> Iterator[HistoryWriter]:
    """Open a history for writing.

    Parameters
    ----------
    path : Path, optional
        Its name ends in .jsonl, .json or .csv. Without it nothing is written.
    steps : bool
        Write a record of each step, too.
    initial : Checkpoint
        Where the run starts. If it resumes, the file keeps its records up to this checkpoint and loses the later ones,
        which the run will write again.

    Raises
    ------
    ValueError, OSError
        If the file is not a history, or cannot be written; the message names it.
    """
    if path is None:
        yield HistoryWriter(lambda current: None, lambda: None)
        return
    rows = [{"record": "epoch", **row} for row in initial.history]
    if initial.train_state.step:
        step_rows = [row for row in read(path) if row["record"] == "step"]
        rows += [row for row in step_rows if row["step"] <= initial.train_state.step]
    rows.sort(key=lambda row: (row["step"], row["record"] == "epoch"))
    suffix, names = file_format(path), names_of(rows)
    write_atomic(path, content(rows, suffix))
    try:
        with open(path, "r+b") as file:
            file.seek(0, os.SEEK_END)

            def append(row: dict[str, Any]) -> None:
                if suffix == ".jsonl":
                    file.write((json_line(row) + "\n").encode())
                elif new := [name for name in row if name not in names]:  # the table gets a column
                    names.extend(new)
                    file.flush()
                    rows = [*read(path), row]
                    file.seek(0)
                    file.write(content(rows, suffix).encode())
                elif suffix == ".csv":
                    file.write(csv_line(row, names).encode())
                else:
                    file.seek(-len(JSON_END), os.SEEK_END)
                    file.write((",\n" + json_line(row) + JSON_END).encode())

            def write(current: Checkpoint) -> None:
                train_state = current.train_state
                if not len(train_state.losses):  # an epoch has just ended
                    append({"record": "epoch", **current.history[-1]})
                    file.flush()
                elif steps:
                    row = {
                        "record": "step",
                        "step": train_state.step,
                        "epoch": train_state.epoch + 1,
                        "loss": float(train_state.losses[-1]),
                        "learning_rate": optim.learning_rate(train_state.opt_state),
                    }
                    append(row)

            yield HistoryWriter(write, file.flush)
    except OSError as error:
        if error.filename is None and error.strerror:  # other errors already name what could not be written
            raise OSError(f"cannot write {path}: {error.strerror}") from None
        raise
