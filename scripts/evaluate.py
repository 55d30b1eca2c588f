"""Tell how well a trained model does on labelled data: accuracy, precision, recall, confusion matrix."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import artifacts
import numpy as np
import runs
import terminal
import typer

from funcnn import metrics


class Part(StrEnum):
    """Values of --part."""

    all = "all"
    train = "train"
    validation = "validation"
    test = "test"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="From train.py --output, or a checkpoint, or a folder of them, whose newest counts."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="As for train.py: a folder with one sub-folder of images for each class, an .npz file with arrays x "
            "and y, or one of scikit-learn's data sets. Classes go by their names; some may be missing.",
        ),
    ],
    part: Annotated[
        Part, typer.Option(help="Of the data that the model was trained on: the part that it was, or was not.")
    ] = Part.all,
    threads: Annotated[
        int | None, typer.Option(min=1, help="To compute on at most, by default one for each core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show results alone.")] = False,
) -> None:
    trained = artifacts.open_model(model)
    dataset = artifacts.open_matching(data, trained)
    told = trained.description["data"]
    seen = told.get("fingerprint") == runs.fingerprint(dataset)
    if part is not Part.all:
        if not seen:
            raise ValueError(f"--part {part}: {data} is not what the model was trained on, {told['source']}")
        run = runs.Run(**trained.description["run"])
        parts = runs.hold_out(dataset.labels, dataset.classes, run.test, run.validation, run.seed)
        chosen = getattr(parts, part)
        if not len(chosen):
            raise ValueError(f"--part {part}: the model was trained with --validation 0")
        dataset = dataset._replace(x=dataset.x[chosen], labels=dataset.labels[chosen])
    elif seen:
        terminal.echo(quiet)(
            "most of these data are what the model was trained on; --part test is what it has not seen"
        )

    probabilities = artifacts.probabilities(trained, dataset.x, threads=threads)
    confusion = metrics.confusion_matrix(probabilities, dataset.labels, len(trained.classes))
    with np.errstate(divide="ignore"):
        loss = float(-np.log(probabilities[np.arange(len(dataset.labels)), dataset.labels]).mean())
    if as_json:
        print(json.dumps({"loss": loss, **terminal.figures(confusion, trained.classes)}))
    else:
        terminal.report(terminal.results(), str(part) if part is not Part.all else data, confusion, trained.classes)


if __name__ == "__main__":
    terminal.run(app)
