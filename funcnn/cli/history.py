"""The history of a run: a file with a line of JSON for each epoch and, optionally, for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from funcnn import optim
from funcnn.checkpoint import Checkpoint
from funcnn.files import write_atomic
from funcnn.history import json_line, read

__all__ = ["HistoryWriter", "history_writer"]


class HistoryWriter(NamedTuple):
    """The two things to do with an open history.

    Attributes
    ----------
    write : callable
        ``write(current)``: add the line of the epoch or step that has led to this checkpoint.
    flush : callable
        ``flush()``: leave no line in memory.
    """

    write: Callable[[Checkpoint], None]
    flush: Callable[[], None]


@contextmanager
def history_writer(path: Path | None, steps: bool, initial: Checkpoint) -> Iterator[HistoryWriter]:
    """Open a history for writing.

    Parameters
    ----------
    path : Path, optional
        Without it nothing is written.
    steps : bool
        Write a line for each step, too.
    initial : Checkpoint
        Where the run starts. If it resumes, the file keeps its lines up to this checkpoint and loses the later ones,
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
    write_atomic(path, "".join(json_line(row) + "\n" for row in rows))
    try:
        with open(path, "a", encoding="utf-8") as file:

            def write(current: Checkpoint) -> None:
                train_state = current.train_state
                if not len(train_state.losses):  # an epoch has just ended
                    file.write(json_line({"record": "epoch", **current.history[-1]}) + "\n")
                    file.flush()
                elif steps:
                    row = {
                        "record": "step",
                        "step": train_state.step,
                        "epoch": train_state.epoch + 1,
                        "loss": float(train_state.losses[-1]),
                        "learning_rate": optim.learning_rate(train_state.opt_state),
                    }
                    file.write(json_line(row) + "\n")

            yield HistoryWriter(write, file.flush)
    except OSError as error:
        if error.filename is None and error.strerror:  # other errors already name what could not be written
            raise OSError(f"cannot write {path}: {error.strerror}") from None
        raise
