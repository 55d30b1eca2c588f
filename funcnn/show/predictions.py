"""Pictures of right and wrong predictions."""

from __future__ import annotations

import numpy as np
from rich.table import Table
from rich.text import Text

from funcnn import metrics
from funcnn.characters import visible
from funcnn.data import Dataset, take
from funcnn.data.lazy import extent
from funcnn.pictures.tiles import Gallery, HeatMap, Name
from funcnn.predictor import Predictor
from funcnn.show.examples import example_label, example_tile, has_images, matched
from funcnn.show.picture import Picture

__all__ = ["confusion", "mistakes"]


def confusion(trained: Predictor, dataset: Dataset, *, title: str = "") -> Picture:
    """Draw the confusion matrix as a heat map, with the most frequent confusions.

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        As `funcnn.data.open` returns it.
    title : str
        What the examples are, such as "test part".

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the data do not fit the model.

    Examples
    --------
    >>> from funcnn import data, models, predictor
    >>> description = predictor.describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
    >>> trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (2,))[:2])
    >>> dataset = data.Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ["a", "b", "c"])
    >>> print(str(confusion(trained, dataset, title="two points")).splitlines()[1])
    a row for each true class, a column for each predicted one
    """
    dataset = matched(trained, dataset)
    p = trained.predict_proba(dataset.x, full_scale=1, warn_of_range=False)
    counts = metrics.confusion_matrix(p, dataset.labels, len(trained.classes))
    right, names = int(counts.trace()), trained.classes
    wrong = counts - np.diag(counts.diagonal())
    table = Table.grid(padding=(0, 2, 0, 0))
    for k in np.argsort(-wrong, axis=None, kind="stable")[:8]:
        i, j = divmod(int(k), len(names))
        if wrong[i, j]:
            table.add_row(Name(f"{names[i]} predicted as {names[j]}"), f"{wrong[i, j]} of {counts[i].sum()}")
    head = Text(f"{prefix(title)}accuracy {right / counts.sum():.2%} ({right} of {counts.sum()})", "bold")
    axes = Text("a row for each true class, a column for each predicted one", "dim")
    return Picture([head, axes, Text(), HeatMap(counts, names), Text(), table])


def mistakes(trained: Predictor, dataset: Dataset, *, limit: int = 12, title: str = "") -> Picture:
    """Draw the images with a wrong prediction, in descending order of its probability.

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        As `funcnn.data.open` returns it.
    limit : int
        The largest number of images.
    title : str
        What the examples are, such as "test part".

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the examples are no images, or do not fit the model.

    Examples
    --------
    >>> from funcnn import data, models, predictor
    >>> network = {"name": "mlp", "arguments": {"outputs": 3}}
    >>> description = predictor.describe(network, (4, 4, 1), ["a", "b", "c"], full_scale=255)
    >>> trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (4, 4, 1))[:2])
    >>> image = np.eye(4, dtype=np.float32)[None, ..., None]
    >>> label = np.array([trained.classes.index(trained.predict(image, full_scale=1)[0])])
    >>> print(mistakes(trained, data.Dataset(image, label, ["a", "b", "c"])))
    no mistakes in 1 examples
    """
    dataset = matched(trained, dataset)
    if not has_images(dataset):
        raise ValueError(f"mistakes are shown as images; these examples have the shape {dataset.x.shape[1:]}")
    p = trained.predict_proba(dataset.x, full_scale=1, warn_of_range=False)
    predicted = p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != dataset.labels)
    if not len(wrong):
        return Picture([Text(f"{prefix(title)}no mistakes in {len(p)} examples", "bold")])
    order = wrong[np.argsort(-p[wrong, predicted[wrong]], kind="stable")][:limit]
    names = [visible(name) for name in trained.classes]
    ends = extent(dataset.x)
    tiles = [
        example_tile(ends, image, f"{example_label(dataset, n)}\npredicted {names[k]} ({p[n, k]:.0%})")
        for image, n, k in zip(take(dataset.x, order), order, predicted[order], strict=True)
    ]
    head = f"{prefix(title)}{len(wrong)} mistake{'s' * (len(wrong) != 1)} in {len(p)} examples"
    if len(order) < len(wrong):
        head += f"; the {len(order)} most confident"
    return Picture([Text(head, "bold"), Text(), Gallery(tiles, lines=40)])


def prefix(title: str) -> str:
    """Return the title with a colon, or nothing if it is empty."""
    return f"{visible(title)}: " if title else ""
