"""What checkpoints, history and progress add to training: ``funcnn train`` with and without each of them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from statistics import median
from typing import Any
from unittest import mock

from rich.console import Console

from funcnn.cli.app import app
from funcnn.pictures.tables import table

EPOCHS = 10
BASELINE = "training alone"
# Each way of running the command: its options beside those of all.
WAYS = {
    BASELINE: ("--quiet",),
    "a checkpoint per epoch": ("--quiet", "--checkpoints", "checkpoints"),
    "history of epochs and steps": ("--quiet", "--history", "history.jsonl", "--history-steps"),
    "live progress": (),
}


def measure_overhead(console: Console, rounds: int, cores: int, epochs: int = EPOCHS) -> list[dict[str, Any]]:
    """Time the default training in rounds in which all ways of running it take turns, and print a table of medians.

    Parameters
    ----------
    console : Console
    rounds : int
    cores : int
        Threads to train on.
    epochs : int
        Epochs of each training.

    Returns
    -------
    list of dict
        For each way its seconds in each round, and ``more``, the median over the rounds of the time that it takes more
        than training alone in the same round, as a fraction.
    """
    common = ("train", "--epochs", str(epochs), "--threads", str(cores))
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds + 1):
        for name, options in WAYS.items():
            seconds[name].append(_seconds([*common, *options]))
    baseline = seconds[BASELINE][1:]  # the first round also imports and fills caches
    rows: list[dict[str, Any]] = [
        {"way": name, "seconds": own[1:], "more": median(t / a - 1 for t, a in zip(own[1:], baseline, strict=True))}
        for name, own in seconds.items()
    ]
    shown = [
        (
            row["way"],
            f"{median(row['seconds']):.3f}",
            f"{min(row['seconds']):.3f}",
            "" if row["way"] == BASELINE else f"{row['more']:+.1%}",
        )
        for row in rows
    ]
    console.print(f"Checkpoints, history and progress: medians of {rounds} rounds", style="bold")
    console.print(table((f"{epochs} epochs of the default training", "s", "best", "more"), shown))
    return rows


def _seconds(arguments: Sequence[str]) -> float:
    """Run the command in this process, in a new folder here (a real disk, not memory), its output discarded."""
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        chdir(folder),
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        mock.patch.dict(os.environ, TTY_COMPATIBLE="1"),  # so that rich shows live progress
    ):
        start = time.perf_counter()
        app(list(arguments), standalone_mode=False)
        return time.perf_counter() - start
