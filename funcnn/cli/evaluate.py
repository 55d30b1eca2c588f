"""Evaluate a trained model on labelled data: accuracy, precision, recall, confusion matrix."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from funcnn import metrics, predictor
from funcnn.cli import console, report, runs, runtimes
from funcnn.cli.options import (
    AsJson,
    Cache,
    CacheName,
    DataSource,
    ModelFile,
    Quiet,
    Runtime,
    RuntimeName,
    SkipBroken,
    Threads,
)
from funcnn.cli.parts import Part, select_part
from funcnn.history import json_line


def main(
    *,
    model: ModelFile,
    data: DataSource,
    part: Annotated[
        Part,
        typer.Option(
            metavar="PART",
            help=f"One of {', '.join(Part)}: evaluate on this part of the data that the model was trained on.",
        ),
    ] = Part.all,
    skip_broken: SkipBroken = False,
    cache: Cache = CacheName.auto,
    runtime: Runtime = RuntimeName.auto,
    threads: Threads = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    trained, worthwhile = runtimes.load(model, runtime)
    dataset = runs.open_matching(data, trained, skip_broken=skip_broken, cache=cache)
    selected = select_part(trained, dataset, data, part, model=model)
    if selected.is_training_data and part is Part.all:
        console.logger(quiet)(
            "the model was trained on most of these examples; --part test evaluates it on those it has not seen"
        )

    if len(selected.dataset.x) >= worthwhile:
        trained = trained.with_runtime("auto")
    logits = trained.outputs(selected.dataset.x, full_scale=1, warn_of_range=False, threads=threads)
    labels, classes = selected.dataset.labels, len(trained.classes)
    confusion = metrics.confusion_matrix(logits, labels, classes)
    if as_json:
        _, loss_of = predictor.loss_for(classes)
        loss, _ = loss_of(logits.astype(np.float64), predictor.targets_for(labels, classes))
        print(json_line({"loss": float(loss), **report.report_figures(confusion, trained.classes)}))
    else:
        report.print_report(
            console.results_console(), str(part) if part is not Part.all else data, confusion, trained.classes
        )
