"""Pictures of what drove a decision."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from rich.text import Text

from funcnn import attribution as attributions
from funcnn import intermediates
from funcnn.characters import visible
from funcnn.data import Dataset, resize
from funcnn.data.lazy import extent
from funcnn.pictures.tiles import Gallery, Tile, heat, signed
from funcnn.predictor import Predictor
from funcnn.show.examples import example_label, example_tile, has_images, matched, network, select_examples
from funcnn.show.picture import ArgumentError, Picture
from funcnn.tree import Array

__all__ = ["attribution"]


class Method(StrEnum):
    """Names of the methods."""

    gradient = "gradient"
    gradient_times_input = "gradient-times-input"
    grad_cam = "grad-cam"


def attribution(
    trained: Predictor,
    dataset: Dataset,
    examples: Sequence[int] = (0, 1, 2),
    *,
    methods: Sequence[str] = tuple(Method),
    target: str | None = None,
    layer: str | None = None,
) -> Picture:
    """Draw images and, beside each, the attribution of a class's score to its pixels.

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        As `funcnn.data.open` returns it.
    examples : sequence of int
        Their indices.
    methods : sequence of str
        Of "gradient", "gradient-times-input" and "grad-cam".
    target : str, optional
        The class whose score is explained, by default the predicted one.
    layer : str, optional
        The layer of Grad-CAM, by default the last activation with maps; earlier ones are finer.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the examples are no images; if there is no such example, method, class or layer with maps.

    Examples
    --------
    >>> from funcnn import data, models, predictor
    >>> network = {"name": "mlp", "arguments": {"outputs": 3}}
    >>> description = predictor.describe(network, (4, 4, 1), ["a", "b", "c"], full_scale=255)
    >>> trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (4, 4, 1))[:2])
    >>> dataset = data.Dataset(np.eye(4, dtype=np.float32)[None, ..., None], np.array([1]), ["a", "b", "c"])
    >>> print(str(attribution(trained, dataset, [0], methods=["gradient"], target="b")).splitlines()[0])
    Red (+) and yellow raise the score of the class, blue (-) lowers it
    """
    dataset, chosen = matched(trained, dataset), [_method(name) for name in methods]
    if not has_images(dataset):
        raise ValueError(f"attribution is shown on images; these examples have the shape {dataset.x.shape[1:]}")
    if target is not None and target not in trained.classes:
        raise ArgumentError("target", target, f"the model's are {', '.join(trained.classes)}")
    images = select_examples(dataset, examples)
    x, model = trained.prepare(images, full_scale=1, warn_of_range=False), network(trained)
    maps = intermediates.activations(*model, x)
    p = trained.predict_proba(images, full_scale=1, warn_of_range=False)
    classes = p.argmax(axis=1) if target is None else np.full(len(x), trained.classes.index(target))
    large = [path for path, batch in maps.items() if batch.ndim == 4]
    at = layer or grad_cam_layer({path: maps[path] for path in large})
    if Method.grad_cam in chosen and at not in large:
        reason = f"no maps at {layer}, but at {', '.join(large)}" if large else "the model has no layers with maps"
        raise ArgumentError("method", Method.grad_cam, reason)

    compute = {
        Method.gradient: lambda: attributions.input_gradient(*model, x, classes),
        Method.gradient_times_input: lambda: attributions.gradient_times_input(*model, x, classes),
        Method.grad_cam: lambda: attributions.grad_cam(*model, x, at, classes),
    }
    columns = [(method, compute[method]()) for method in chosen]
    tiles, ends = [], extent(dataset.x)
    for n, example in enumerate(examples):
        name = visible(trained.classes[classes[n]])
        explained = f"{'score of' if target else 'predicted'} {name} ({p[n, classes[n]]:.0%})"
        tiles.append(example_tile(ends, images[n], f"{example_label(dataset, example)}\n{explained}"))
        tiles += [attribution_tile(method, result[n], dataset.x.shape[1:3]) for method, result in columns]
    title = "Red (+) and yellow raise the score of the class, blue (-) lowers it"
    note = [Text(f"Grad-CAM of the maps of {at}", "dim")] if Method.grad_cam in chosen else []
    return Picture([Text(title, "bold"), *note, Text(), Gallery(tiles, group=1 + len(chosen), lines=60, relative=True)])


def _method(name: str) -> Method:
    if name not in list(Method):
        raise ArgumentError("method", name, f"there are {', '.join(Method)}")
    return Method(name)


def grad_cam_layer(maps: dict[str, Array]) -> str:
    """Return the last layer with maps of more than a pixel, if possible one without negative outputs (a ReLU)."""
    large = [path for path, batch in maps.items() if max(batch.shape[1:3]) > 1]
    positive = [path for path in large if maps[path].min() >= 0]
    return (positive or large or list(maps) or [""])[-1]


def attribution_tile(method: Method, result: Array, size: tuple[int, ...]) -> Tile:
    """Return the result of a method as a tile of the image's size, with its own scale."""
    if method is Method.grad_cam:
        values, caption = result, "Grad-CAM" + ("" if result.any() else "\n(all zero)")
    elif method is Method.gradient_times_input:
        values, caption = result.sum(axis=-1), "gradient\nx input"  # contributions add up
    else:
        largest = np.abs(result).argmax(axis=-1)[..., None]
        values, caption = np.take_along_axis(result, largest, axis=-1)[..., 0], "gradient"
    values = resize(values[None, ..., None], (size[0], size[1]))[0, ..., 0]
    if method is Method.grad_cam:
        return heat(values, float(values.max()), caption)
    return signed(values, float(np.quantile(np.abs(values), 0.99)), caption)  # a single pixel may be far larger
