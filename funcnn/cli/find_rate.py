"""`funcnn train --find-lr`: which learning rates train the network well in its first steps."""

from __future__ import annotations

import math
from functools import partial

from funcnn import data, training
from funcnn.checkpoint import Checkpoint
from funcnn.cli import console
from funcnn.cli.runs import Run
from funcnn.cli.training_loop import features_of_frozen
from funcnn.data import Dataset, Selected, Splits
from funcnn.history import json_line
from funcnn.layer import Layer
from funcnn.optim.by_name import OPTIMIZERS
from funcnn.pictures.tables import table
from funcnn.pictures.tiles import Bar
from funcnn.predictor import loss_for, preprocess, targets_for
from funcnn.training import LearningRates


def find_rate(run: Run, model: Layer, initial: Checkpoint, dataset: Dataset, splits: Splits) -> LearningRates:
    """Try learning rates on the training part of the data, from the parameters with which the run would begin."""
    x = preprocess(dataset.x, initial.description["preprocessing"], full_scale=1, warn_of_range=False)
    classes = len(dataset.classes)
    x, targets = Selected(x, splits.train), targets_for(dataset.labels[splits.train], classes)
    if not run.shift:
        model, x = features_of_frozen(model, initial.train_state.state, x, run.threads)
    return training.lr_range(
        model,
        loss_for(classes)[1],
        OPTIMIZERS[run.optimizer](run.learning_rate, run.weight_decay),  # with a number, without a schedule
        x,
        targets,
        batch_size=run.batch_size,
        resume=initial.train_state,
        augment=partial(data.random_shift, max_shift=run.shift, fraction=0.5) if run.shift else None,
        threads=run.threads,
    )


def print_rates(found: LearningRates, as_json: bool) -> None:
    """Print the loss at each rate and the suggestion."""
    if as_json:
        arrays = {"rates": found.rates.tolist(), "losses": found.losses.tolist()}
        print(json_line({**found._asdict(), **arrays}))
        return
    width = 20  # the lines fit into 50 columns, also in a pipe
    finite = [loss for loss in found.losses.tolist() if math.isfinite(loss)]
    top = max([found.before, *finite])
    rows = [
        (
            f"{rate:.2g}",
            f"{loss:.4f}" if math.isfinite(loss) else "diverged",
            Bar(loss / top, width) if math.isfinite(loss) else "",
        )
        for rate, loss in zip(found.rates.tolist(), found.losses.tolist(), strict=True)
    ]
    out, before = console.results_console(), ("none", f"{found.before:.4f}", Bar(found.before / top, width))
    out.print(table(("learning rate", "loss", ""), [before, *rows]))
    out.print(f"suggestion: {'none' if found.suggestion is None else f'--learning-rate {found.suggestion:.2g}'}")
    out.print(found.reason)
