"""What keeping and showing a run costs: the default job with and without checkpoints, history and progress."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import runs
import terminal
from recipes import RECIPES, ModelName
from rich.console import Console
from sources import open_data

EPOCHS = 10
ALONE = "training alone"


def overhead(console: Console, rounds: int, cores: int) -> list[dict[str, Any]]:
    """Time the default job in rounds in which all ways of keeping it take turns, and print a table of medians.

    Parameters
    ----------
    console : Console
    rounds : int
    cores : int
        Threads to train on.

    Returns
    -------
    list of dict
        For each way its seconds in each round, and the median of what it takes more than training alone in the same.
    """
    recipe = RECIPES[ModelName.convnet]._replace(epochs=EPOCHS)._asdict()
    recipe.pop("standardise")
    run = runs.Run(
        **recipe, model="convnet", data="digits", seed=0, threads=cores, validation=0.1, test=0.2, early_stopping=0
    )
    dataset = open_data(run.data)
    parts = runs.hold_out(dataset.labels, dataset.classes, run.test, run.validation, run.seed)
    begun = runs.begin(run, dataset, parts)

    def seconds(make: Callable[[Path], runs.Keeping], quiet: bool) -> float:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            began = time.perf_counter()
            runs.train(run, begun, dataset, parts, keeping=make(Path(folder)), quiet=quiet)
            return time.perf_counter() - began

    ways: dict[str, tuple[Callable[[Path], runs.Keeping], bool]] = {
        ALONE: (lambda folder: runs.Keeping(), True),
        "a checkpoint an epoch": (lambda folder: runs.Keeping(folder / "kept"), True),
        "history of epochs and steps": (lambda folder: runs.Keeping(history=folder / "h", steps=True), True),
        "live progress": (lambda folder: runs.Keeping(), False),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with open(os.devnull, "w", encoding="utf-8") as nowhere, mock.patch.dict(os.environ, TTY_COMPATIBLE="1"):
        for _ in range(rounds + 1):
            for name, way in ways.items():
                with redirect_stderr(nowhere):
                    taken[name].append(seconds(*way))
    found = [
        {"way": name, "seconds": times[1:], "more": median(t / a - 1 for t, a in zip(times, taken[ALONE], strict=True))}
        for name, times in taken.items()
    ]
    table = terminal.new_table(f"{EPOCHS} epochs of the default job", "s", "best", "more")
    for row, (name, times) in zip(found, taken.items(), strict=True):
        more = "" if name == ALONE else f"{row['more']:+.1%}"
        table.add_row(name, f"{median(times[1:]):.3f}", f"{min(times[1:]):.3f}", more)
    console.print(f"Keeping and showing a run: medians of {rounds} rounds", style="bold")
    terminal.print_whole(console, table)
    return found
