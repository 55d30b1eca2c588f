"""Examples of a data set as parts of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnn.characters import visible
from funcnn.data import Dataset, match_classes, take
from funcnn.layer import Layer
from funcnn.pictures.tiles import Tile, photograph
from funcnn.predictor import Predictor
from funcnn.show.picture import ArgumentError
from funcnn.tree import Array, Tree


def matched(trained: Predictor, dataset: Dataset) -> Dataset:
    """Return the data set with labels that are indices into the model's classes."""
    return dataset if list(dataset.classes) == trained.classes else match_classes(dataset, trained.classes, "show")


def network(trained: Predictor) -> tuple[Layer, Tree, Tree]:
    """Return the model, its parameters and its state."""
    return trained.model, trained.params, trained.state


def select_examples(dataset: Dataset, examples: Sequence[int]) -> Array:
    """Return some of the examples."""
    if max(examples) >= len(dataset.x):
        raise ArgumentError("example", max(examples), f"the data has {len(dataset.x)}, from 0 to {len(dataset.x) - 1}")
    return take(dataset.x, np.array(examples))


def has_images(dataset: Dataset) -> bool:
    """Return whether the examples are images (h, w, c)."""
    return len(dataset.x.shape) == 4


def example_tile(ends: tuple[Any, Any], image: Array, caption: str = "") -> Tile:
    """Return an image as a tile, on the scale of the whole data: from the least to the largest of their pixels."""
    return photograph(image, float(ends[0]), float(ends[1]), caption)


def example_label(dataset: Dataset, example: int) -> str:
    """Return the true class of an example, and its file or its number."""
    name = Path(dataset.names[example]).name if dataset.names else f"#{example}"
    return visible(f"true {dataset.classes[dataset.labels[example]]} ({name})")
