"""Pictures of what flows through the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.text import Text

from funcnn import intermediates, predictor
from funcnn.data import Dataset, take
from funcnn.pictures.tables import Column, FoldingTable
from funcnn.pictures.tiles import Bar
from funcnn.predictor import Predictor
from funcnn.show.examples import matched
from funcnn.show.picture import Picture

__all__ = ["statistics"]


def statistics(trained: Predictor, dataset: Dataset, *, limit: int = 256) -> Picture:
    """Draw activations and gradients of each layer, with warnings: do units die, do signals vanish or explode?

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        As `funcnn.data.open` returns it.
    limit : int
        The number of examples, spread evenly over the data.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the data do not fit the model.

    Examples
    --------
    >>> from funcnn import data, models
    >>> description = predictor.describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
    >>> trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (2,))[:2])
    >>> dataset = data.Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ["a", "b", "c"])
    >>> print(str(statistics(trained, dataset)).splitlines()[0])
    activations and gradients of 2 examples
    """
    dataset = matched(trained, dataset)
    some = np.linspace(0, len(dataset.x) - 1, min(limit, len(dataset.x))).astype(int)
    classes = len(trained.classes)
    _, loss = predictor.loss_for(classes)
    x = trained.prepare(take(dataset.x, some), full_scale=1, warn_of_range=False)
    targets = predictor.targets_for(dataset.labels[some], classes)
    rows = intermediates.layer_statistics(trained.model, loss, trained.params, trained.state, x, targets)
    head = Text(f"activations and gradients of {len(some)} examples", "bold")
    scale = ("\nbars are logarithmic: a column less is half a power of ten", "dim")
    worries = [Text(warning, "bold red") for warning in warnings(rows)]
    return Picture([Text.assemble(head, scale), statistics_table(rows), Text(), *worries])


def statistics_table(rows: Sequence[intermediates.LayerStatistics]) -> FoldingTable:
    """Return the statistics as a table."""
    stds, gradients = [row.std for row in rows], [row.gradient_norm for row in rows]
    columns = [
        Column("output", ["x".join(map(str, row.out_shape)) for row in rows]),
        Column("mean", [f"{row.mean:.2g}" for row in rows]),
        Column("std", [f"{std:.2g}" for std in stds]),
        Column("", log_bars(stds, "blue")),
        Column("zeros", [format_fraction(row.zeros) for row in rows]),
        Column("dead", [format_fraction(row.dead, "bold red") for row in rows]),
        Column("gradient", [f"{norm:.2g}" for norm in gradients]),
        Column("", log_bars(gradients, "magenta")),
        Column("weights", [f"{row.params_norm:.3g}" if row.params_norm else "" for row in rows]),
        Column("gradient\nof weights", [f"{row.params_gradient_norm:.2g}" if row.params_norm else "" for row in rows]),
    ]
    return FoldingTable("layer", [row.path for row in rows], columns)


def log_bars(values: Sequence[float], style: str) -> list[Bar]:
    """Return bars whose lengths are logarithms: from the largest value down to a ten-thousandth of it."""
    top = max((value for value in values if math.isfinite(value)), default=0.0)
    lengths = [1 + math.log10(v / top) / 4 if 0 < v <= top else float(v > top) for v in values]
    return [Bar(length, 8, style) for length in lengths]


def format_fraction(fraction: float, style: str = "") -> Text:
    """Return a fraction as a percentage, a dot for 0, in a style from a half on."""
    return Text(f"{fraction:.0%}" if fraction else ".", style if fraction >= 0.5 else "" if fraction else "dim")


def warnings(rows: Sequence[intermediates.LayerStatistics]) -> list[str]:
    """Return sentences about dead units, values that are not finite, and signals that vanish or explode."""
    found: list[str] = []
    before = 0.0
    for row in rows:
        if not math.isfinite(row.norm) or not math.isfinite(row.gradient_norm):
            return [*found, f"{row.path}: not finite any more"]
        if row.dead >= 0.5 and row.zeros > before:  # the layer that makes the zeros, not those that pass them on
            found.append(f"{row.path}: {row.dead:.0%} of the units are dead")
        before = row.zeros
    trained = [row for row in rows if row.params_norm]
    for what, values in (
        ("activations (std)", [row.std for row in trained]),
        ("gradients (norm)", [row.gradient_norm for row in trained]),
    ):
        small, large = int(np.argmin(values)), int(np.argmax(values))
        if values[small] * 1000 < values[large]:
            ends = [f"{values[k]:.2g} at {trained[k].path}" for k in sorted((small, large))]
            found.append(f"{what} go from {ends[0]} to {ends[1]}")
    return found
