"""Pictures of runs: loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from funcnn.characters import visible
from funcnn.history import History
from funcnn.pictures.curves import LINES, Curve, Panels, Plot, limits
from funcnn.pictures.tables import Column, FoldingTable
from funcnn.show.picture import Picture
from funcnn.training import Epoch
from funcnn.tree import Array

__all__ = ["curves"]


def curves(
    histories: Mapping[str, Sequence[Mapping[str, Any] | Epoch]] | Sequence[Mapping[str, Any] | Epoch],
    *,
    log: bool = False,
) -> Picture:
    """Draw loss and accuracy of a run, or of several, a plot for each measure, with their last and best values.

    Parameters
    ----------
    histories : sequence, or mapping of sequences
        A run's records: a `funcnn.history.History`, the ``history`` of a `Predictor`, or `Epoch` records; or several
        runs by their names.
    log : bool
        Logarithmic axis for losses.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If a run has neither loss nor accuracy.

    Examples
    --------
    >>> print(str(curves([{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}])).splitlines()[0])
    loss
    """
    runs = histories if isinstance(histories, Mapping) else {"": histories}
    names = [visible(name) for name in runs]
    measured = [measures(History.of(records)) for records in runs.values()]
    for name, run in zip(names, measured, strict=True):
        if not run:
            raise ValueError(f"{name or 'curves'} has no history of loss or accuracy")
    common, single = [], []
    for measure in dict.fromkeys(measure for run in measured for measure, _ in run):
        logarithmic = log and measure == "loss"
        groups = [
            [
                Curve(
                    name, *run[measure, part], LINES[k % len(LINES)], part,
                    dashed=part == "training" and len(parts) > 1, marker=k if len(names) > 1 else None,
                )
                for part in parts
            ]
            for k, (name, run) in enumerate(zip(names, measured, strict=True))
            if (parts := [part for m, part in run if m == measure])
        ]  # fmt: skip
        every = [curve for group in groups for curve in group]
        ends = min(float(curve.x.min()) for curve in every), max(float(curve.x.max()) for curve in every)
        low, high = limits(every, logarithmic)
        if measure == "loss" and not log:
            low = min(low, 0.0)
        if measure == "accuracy":
            low, high = max(low, 0.0), min(high, 1.0)
        plot = Plot(
            measure + ", logarithmic" * logarithmic, every, (low, high), ends, logarithmic,
            percent=measure == "accuracy",
        )  # fmt: skip
        common.append(plot)
        of_run = f"{plot.title}, {{}}" if len(names) > 1 else plot.title
        single += [plot._replace(title=of_run.format(group[0].name), curves=group) for group in groups]
    legend = Text("last loss, best accuracy and its epoch", "dim")
    return Picture([Panels(common, single), legend, ends_of_runs(names, measured)])


def measures(history: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[Array, Array]]:
    """Return epochs and values of each (measure, part of the data) in a history."""
    rows = [row for row in history if row.get("record") != "step"]
    names = {
        ("loss", "training"): "loss",
        ("loss", "validation"): "validation_loss",
        ("accuracy", "training"): "train_accuracy",
        ("accuracy", "validation"): "validation_accuracy",
    }
    points = {
        part: [(row["epoch"], row[name]) for row in rows if {"epoch", name} <= row.keys()]
        for part, name in names.items()
    }
    return {part: (xy[:, 0], xy[:, 1]) for part, given in points.items() if given for xy in [np.array(given, float)]}


def ends_of_runs(names: Sequence[str], runs: Sequence[dict[tuple[str, str], tuple[Array, Array]]]) -> RenderableType:
    """Return a table of each run's number of epochs, last loss, best accuracy and its epoch."""
    rows = []
    for run in runs:
        x, loss = run.get(("loss", "training")) or next(iter(run.values()))
        at, accuracy = run.get(("accuracy", "validation")) or run.get(("accuracy", "training")) or (x, x * np.nan)
        best = int(np.nan_to_num(accuracy, nan=-1.0).argmax())
        known = np.isfinite(accuracy[best])
        ends = (f"{accuracy[best]:.2%}", f"{at[best]:g}") if known else ("-", "-")
        rows.append((f"{x[-1]:g}", f"{loss[-1]:.4f}", *ends))
    columns = zip(("epochs", "loss", "best", "at"), zip(*rows, strict=True), strict=True)
    return FoldingTable("run", names, [Column(name, cells) for name, cells in columns])
