"""The part of a data set to look at: what a model was trained on, and what was held out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from funcnn.cli import runs
from funcnn.data import Dataset
from funcnn.data.lazy import select
from funcnn.predictor import Predictor


class Part(StrEnum):
    """Values of --part."""

    all = "all"
    train = "train"
    validation = "validation"
    test = "test"


class Selection(NamedTuple):
    """A part of a data set.

    Attributes
    ----------
    dataset : Dataset
        The examples of the part, each named by its file or by its number in the whole data set.
    part : Part
    is_training_data : bool
        Whether the model was trained on this data set (on its training part).
    title : str
        The part and the data, such as ``"test part of digits"``.
    """

    dataset: Dataset
    part: Part
    is_training_data: bool
    title: str


def select_part(
    trained: Predictor, dataset: Dataset, source: str, part: Part | None = None, *, model: Path | None = None
) -> Selection:
    """Select a part of a data set, as the run that trained a model has split it.

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        With labels that are indices into the model's classes.
    source : str
        The name of the data set, for the title and for errors.
    part : Part, optional
        By default ``test`` of the data that the model was trained on, and ``all`` of other data.
    model : Path, optional
        The model's file, for errors.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        If the model was not trained on these data, so that only ``all`` and the parts that a folder names are known; if
        it was trained without validation part.
    """
    recorded = trained.description["data"]
    is_training_data = recorded.get("fingerprint") == runs.fingerprint(dataset) and bool(trained.description.get("run"))
    known = is_training_data and runs.records_split(trained.description)
    part = part or (Part.test if known else Part.all)
    if part is Part.all:
        return Selection(dataset, part, is_training_data, f"all of {source}")
    where = f"--part {part}" if model is None else f"--part {part} of {model}"
    own = () if dataset.splits is None else getattr(dataset.splits, part)
    if not is_training_data and not len(own):
        trained_on = recorded.get("source") or "data that its file does not name"
        raise ValueError(f"{where}: {source} is not what the model was trained on, {trained_on}")
    if is_training_data:
        own = getattr(runs.recorded_splits(where, trained.description, dataset), part)
    chosen = np.sort(own)
    if not len(chosen):
        raise ValueError(f"{where}: the model was trained with --validation 0")
    names = [dataset.names[n] for n in chosen] if dataset.names else [f"#{n}" for n in chosen]
    examples = dataset._replace(x=select(dataset.x, chosen), labels=dataset.labels[chosen], names=names)
    return Selection(examples, part, is_training_data, f"{part} part of {source}")
