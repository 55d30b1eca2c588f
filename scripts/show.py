"""Show what a trained network has learned, in the terminal or as a picture in a file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import artifacts
import canvas
import files
import numpy as np
import pictures
import runs
import terminal
import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from funcnn import attribution, intermediates, metrics, tree
from funcnn.layer import Layer
from funcnn.summary import summary
from funcnn.tree import Array, Tree

SUFFIXES = (".svg", ".png")
FEATURES_IN_A_ROW = 32


class Method(StrEnum):
    """Values of --method."""

    gradient = "gradient"
    gradient_times_input = "gradient-times-input"
    grad_cam = "grad-cam"


def picture_file(path: Path | None) -> Path | None:
    """Refuse, before any work, a file that could not be written."""
    if path is not None:
        if path.suffix.lower() not in SUFFIXES:
            raise terminal.UsageError(f"--save {path}: the name of a picture ends in {' or '.join(SUFFIXES)}")
        if path.suffix.lower() == ".png":
            canvas.check_pillow()
        files.check_writable(path)
    return path


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by train.py.")]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="As for train.py's --data: a name, a .npz file or a folder of images.")
]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", callback=picture_file, help="Write the picture to FILE.svg or FILE.png instead of showing it."
    ),
]
Light = Annotated[bool, typer.Option("--light", help="With --save: dark on white instead of light on black.")]
Columns = Annotated[int, typer.Option(min=20, max=400, help="With --save: the picture's width in characters.")]


@app.command("kernels")
def show_kernels(
    model: Model,
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="Of this layer, such as 3_conv2d, instead of the first.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the largest.")] = 64,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The kernels of a convolution, or the weights of a first dense layer as images."""
    present(kernels(artifacts.open_model(model), layer, limit), save, light, columns)


@app.command("features")
def show_features(
    model: Model,
    data: Data,
    example: Annotated[int, typer.Option(min=0, help="Which of the examples, from 0.")] = 0,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Only this layer, such as 3_conv2d; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many maps of a layer.")] = 16,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The feature maps of an image, layer by layer."""
    present(features(*opened(model, data), example, layer or [], limit), save, light, columns)


@app.command("attribution")
def show_attribution(
    model: Model,
    data: Data,
    example: Annotated[
        list[int] | None, typer.Option(min=0, help="Which of the examples, from 0; may be repeated.")
    ] = None,
    method: Annotated[list[Method] | None, typer.Option(help="By default all; may be repeated.")] = None,
    of: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="What speaks for this class, not the predicted one.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Grad-CAM's layer, by default the last activation with maps; earlier ones are finer."
        ),
    ] = None,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Which pixels drove a decision: input gradient, gradient times input, and Grad-CAM."""
    shown = attributions(*opened(model, data), example or [0, 1, 2], method or list(Method), of, layer)
    present(shown, save, light, columns)


@app.command("confusion")
def show_confusion(model: Model, data: Data, save: Save = None, light: Light = False, columns: Columns = 100) -> None:
    """The confusion matrix as a heat map, and which classes are taken for which."""
    present(confusion(*opened(model, data)), save, light, columns)


@app.command("mistakes")
def show_mistakes(
    model: Model,
    data: Data,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 12,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The most confident mistakes, as images."""
    present(mistakes(*opened(model, data), limit), save, light, columns)


@app.command("curves")
def show_curves(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of train.py's --history, or models that it wrote.")
    ],
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis for losses.")] = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Loss and accuracy of a run, or of several runs side by side."""
    present(curves(paths, [history(path) for path in paths], log), save, light, columns)


@app.command("statistics")
def show_statistics(
    model: Model,
    data: Data,
    limit: Annotated[int, typer.Option(min=1, help="Take so many examples, spread over the data.")] = 256,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Activations and gradients layer by layer, to see a network dying or exploding."""
    present(statistics(*opened(model, data), limit), save, light, columns)


def opened(model: Path, data: str) -> tuple[artifacts.Trained, artifacts.Dataset]:
    """Read a model and data that go with it, labels counting the model's classes."""
    trained = artifacts.open_model(model)
    return trained, artifacts.open_matching(data, trained)


def history(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run: of a model, or of a file that begins with a brace as those of --history do."""
    try:
        with open(path, "rb") as file:
            is_history = file.read(1) == b"{"
    except IsADirectoryError:  # of checkpoints
        is_history = False
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None
    return runs.read_history(path) if is_history else artifacts.open_model(path).history


def present(shown: Sequence[RenderableType], save: Path | None, light: bool, columns: int) -> None:
    """Print, or write to a file."""
    if save is None:
        console = Console(highlight=False)
        for renderable in shown:
            console.print(renderable)
        return
    drawn = canvas.draw(Group(*shown), columns, canvas.LIGHT if light else canvas.DARK)
    content = canvas.svg(drawn) if save.suffix.lower() == ".svg" else canvas.png(drawn)
    files.write_whole(save, content)
    terminal.echo(False)(f"wrote {save}: {len(content):,} bytes")


def kernels(trained: artifacts.Trained, layer: str | None, limit: int) -> list[RenderableType]:
    """Return the kernels of a layer as tiles."""
    every = kernel_arrays(trained)
    if not every:
        raise ValueError(
            "the model has neither convolutions of images nor a first dense layer whose weights are images"
        )
    path = next(iter(every)) if layer is None else layer
    if path not in every:
        raise terminal.UsageError(f"--layer {path}: no kernels there, but at {', '.join(every)}")
    w = every[path]
    height, width, inner, outer = w.shape
    top = float(np.abs(w).max())
    if inner == trained.in_shape[-1] == 3 and path == next(iter(every)):  # a kernel on the image itself has colours
        tiles = [pictures.photograph(w[..., o], -top, top) for o in range(outer)]
        norms = np.linalg.norm(w.reshape(-1, outer), axis=0)
        legend: RenderableType = Text(f"red, green and blue of each weight; grey is 0, the largest {top:.3g}", "dim")
    else:
        named = [(i, o, f"{i}>{o}" if inner > 1 else "") for o in range(outer) for i in range(inner)]
        tiles = [pictures.signed(w[:, :, i, o], top, name) for i, o, name in named]
        norms, legend = np.linalg.norm(w, axis=(0, 1)).T.ravel(), pictures.Scale(-top, top)
    largest = np.sort(np.argsort(-norms, kind="stable")[:limit])
    head = f"{path}: {outer} kernel{'s' * (outer != 1)} of {height}x{width}" + (f"x{inner}" if inner > 1 else "")
    if len(largest) < len(tiles):
        what = "slices, input>output channel" if tiles[0].caption else "kernels"
        head += f"; the {len(largest)} largest of {len(tiles)} {what}"
    shown = [Text(head, "bold"), legend, Text(), pictures.Gallery([tiles[k] for k in largest])]
    others = [other for other in every if other != path]
    return [*shown, Text(f"more with --layer: {', '.join(others)}", "dim")] if others else shown


def kernel_arrays(trained: artifacts.Trained) -> dict[str, Array]:
    """Return the weights that can be looked at, (height, width, in, out), by layer in the model's order."""
    leaves = tree.flatten(trained.params)
    paths = [row.path for row in summary(trained.model, trained.in_shape)]
    weights = {path: leaves[f"{path}/w"] for path in paths if f"{path}/w" in leaves}
    found = {path: w for path, w in weights.items() if w.ndim == 4 and w.shape[:2] != (1, 1)}
    first = next(iter(weights), "")
    if not found and first and len(trained.in_shape) == 3 and len(weights[first]) == np.prod(trained.in_shape):
        return {first: weights[first].reshape(*trained.in_shape, -1)}  # each unit weighs the pixels of the image itself
    return found


def features(
    trained: artifacts.Trained, dataset: artifacts.Dataset, example: int, layers: Sequence[str], limit: int
) -> list[RenderableType]:
    """Return what an image becomes on its way through the layers."""
    image = chosen(dataset, [example])
    x = trained.prepare(image)
    maps = intermediates.activations(*network(trained), x)
    for path in layers:
        if path not in maps:
            raise terminal.UsageError(f"--layer {path}: no such layer; the model has {', '.join(maps)}")
    shown: list[RenderableType] = [Text(named_example(dataset, example), "bold")]
    if is_image(dataset):
        shown.append(pictures.Gallery([photograph(dataset, image[0])], lines=12))
    before = x
    for path, batch in maps.items():
        same, before = np.array_equal(batch.ravel(), before.ravel()), batch
        if path in layers or not (layers or same):  # what only flattens, or drops nothing, shows nothing new
            shown += maps_of_layer(path, batch[0], limit)
    if not layers:
        p = artifacts.probabilities(trained, image)[0]
        table = Table.grid(padding=(0, 2, 0, 0))
        for k in np.argsort(-p, kind="stable")[:10]:
            if p[k] < 0.0005:
                break
            table.add_row(trained.classes[k], pictures.bar(float(p[k]), 20, "blue"), f"{p[k]:.1%}")
        shown += [Text("what it says", "bold"), table]
    return shown


def maps_of_layer(path: str, maps: Array, limit: int) -> list[RenderableType]:
    """Return the maps (h, w, c) of a layer as tiles, or its features (c) as rows of pixels."""
    head = f"{path}  {'x'.join(map(str, maps.shape))}"
    if maps.ndim == 3:
        images = np.moveaxis(maps, -1, 0)[:limit]
        if len(images) < maps.shape[-1]:
            head += f", the first {len(images)} maps"
    else:
        across = min(FEATURES_IN_A_ROW, maps.size)
        images = np.append(maps, np.zeros(-maps.size % across)).reshape(1, -1, across)
    top, negative = float(np.abs(images).max()), images.min() < 0
    tiles = [(pictures.signed if negative else pictures.heat)(image, top) for image in images]
    return [Text(head, "bold"), pictures.Scale(-top if negative else 0.0, top), pictures.Gallery(tiles, lines=20)]


def attributions(
    trained: artifacts.Trained,
    dataset: artifacts.Dataset,
    examples: Sequence[int],
    wanted: Sequence[Method],
    of: str | None,
    layer: str | None,
) -> list[RenderableType]:
    """Return for each example its image and, beside it, which pixels speak for the class."""
    if not is_image(dataset):
        raise ValueError(f"attribution is shown on images; these examples have the shape {dataset.x.shape[1:]}")
    if of is not None and of not in trained.classes:
        raise terminal.UsageError(f"--class {of}: the model's are {', '.join(trained.classes)}")
    images = chosen(dataset, examples)
    x, model = trained.prepare(images), network(trained)
    maps = intermediates.activations(*model, x)
    p = artifacts.probabilities(trained, images)
    classes = p.argmax(axis=1) if of is None else np.full(len(x), trained.classes.index(of))
    large = [path for path, batch in maps.items() if batch.ndim == 4]
    at = layer or grad_cam_layer({path: maps[path] for path in large})
    if Method.grad_cam in wanted and at not in large:
        told = f"no maps at {layer}, but at {', '.join(large)}" if large else "the model has no layers with maps"
        raise terminal.UsageError(f"--method grad-cam: {told}")

    attributed = {
        Method.gradient: lambda: attribution.input_gradient(*model, x, classes),
        Method.gradient_times_input: lambda: attribution.gradient_times_input(*model, x, classes),
        Method.grad_cam: lambda: attribution.grad_cam(*model, x, at, classes),
    }
    columns = [(method, attributed[method]()) for method in wanted]
    tiles = []
    for n, example in enumerate(examples):
        says = f"{'for' if of else 'says'} {trained.classes[classes[n]]} ({p[n, classes[n]]:.0%})"
        tiles.append(photograph(dataset, images[n], f"{named_example(dataset, example)}\n{says}"))
        tiles += [attribution_tile(method, result[n], dataset.x.shape[1:3]) for method, result in columns]
    head = "What speaks for the class (red, +; yellow) and against it (blue, -)"
    remark = [Text(f"Grad-CAM: the maps of {at}", "dim")] if Method.grad_cam in wanted else []
    return [
        Text(head, "bold"),
        *remark,
        Text(),
        pictures.Gallery(tiles, together=1 + len(wanted), lines=60, relative=True),
    ]


def grad_cam_layer(maps: dict[str, Array]) -> str:
    """Return the last layer with maps of more than a pixel, if possible an activation: evidence is not negative."""
    large = [path for path, batch in maps.items() if max(batch.shape[1:3]) > 1]
    positive = [path for path in large if maps[path].min() >= 0]
    return (positive or large or list(maps) or [""])[-1]


def attribution_tile(method: Method, result: Array, size: tuple[int, ...]) -> pictures.Tile:
    """Return what a method found as a tile of the image's size, on a scale of its own."""
    if method is Method.grad_cam:
        enlarged = pictures.resized(result, (size[0], size[1]))
        return pictures.heat(enlarged, float(enlarged.max()), "Grad-CAM" + ("" if result.any() else "\nnothing"))
    if method is Method.gradient_times_input:
        values, caption = result.sum(axis=-1), "gradient\nx input"  # contributions add up
    else:
        largest = np.abs(result).argmax(axis=-1)[..., None]
        values, caption = np.take_along_axis(result, largest, axis=-1)[..., 0], "gradient"
    values = pictures.resized(values, (size[0], size[1])) if values.shape != size else values
    return pictures.signed(values, float(np.quantile(np.abs(values), 0.99)), caption)  # one pixel may outdo all others


def confusion(trained: artifacts.Trained, dataset: artifacts.Dataset) -> list[RenderableType]:
    """Return the confusion matrix, and the mistakes that are made most often."""
    p = artifacts.probabilities(trained, dataset.x)
    counts = metrics.confusion_matrix(p, dataset.labels, len(trained.classes))
    right, names = int(counts.trace()), trained.classes
    wrong = counts - np.diag(counts.diagonal())
    table = Table.grid(padding=(0, 2, 0, 0))
    for k in np.argsort(-wrong, axis=None, kind="stable")[:8]:
        i, j = divmod(int(k), len(names))
        if wrong[i, j]:
            table.add_row(f"{names[i]} taken for {names[j]}", f"{wrong[i, j]} of {counts[i].sum()}")
    head = Text(f"accuracy {right / counts.sum():.2%} ({right} of {counts.sum()})", "bold")
    axes = Text("a row for each true class, a column for each predicted one", "dim")
    return [head, axes, Text(), pictures.HeatMap(counts, names), Text(), table]


def mistakes(trained: artifacts.Trained, dataset: artifacts.Dataset, limit: int) -> list[RenderableType]:
    """Return the images that the model is wrong about, those it is surest of first."""
    if not is_image(dataset):
        raise ValueError(f"mistakes are shown as images; these examples have the shape {dataset.x.shape[1:]}")
    p = artifacts.probabilities(trained, dataset.x)
    says = p.argmax(axis=1)
    wrong = np.flatnonzero(says != dataset.labels)
    if not len(wrong):
        return [Text(f"no mistakes in {len(p)} examples", "bold")]
    order = wrong[np.argsort(-p[wrong, says[wrong]], kind="stable")][:limit]
    tiles = [
        photograph(dataset, dataset.x[n], f"{named_example(dataset, n)}\nsays {trained.classes[k]} ({p[n, k]:.0%})")
        for n, k in zip(order, says[order], strict=True)
    ]
    head = f"{len(wrong)} mistakes in {len(p)} examples; the most confident {len(order)}"
    return [Text(head, "bold"), Text(), pictures.Gallery(tiles, lines=40)]


def curves(paths: Sequence[Path], histories: Sequence[Sequence[dict[str, Any]]], log: bool) -> list[RenderableType]:
    """Return the curves of all runs, a panel for each measure, and a table of how they ended."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    measured = [measures(history) for history in histories]
    for path, run in zip(paths, measured, strict=True):
        if not run:
            raise ValueError(f"{path} has no history of loss or accuracy")
    plots, alone = [], []
    for measure in dict.fromkeys(measure for run in measured for measure, _ in run):
        logarithmic = log and measure == "loss"
        groups = [
            [
                pictures.Curve(
                    part if len(names) == 1 else name if part == parts[-1] else "",
                    x, y, pictures.LINES[k % len(pictures.LINES)], dotted=part == "training" and len(parts) > 1,
                )
                for part in parts
                for x, y in [run[measure, part]]
            ]
            for k, (name, run) in enumerate(zip(names, measured, strict=True))
            if (parts := [part for m, part in run if m == measure])
        ]  # fmt: skip
        every = [curve for group in groups for curve in group]
        ends = min(float(curve.x.min()) for curve in every), max(float(curve.x.max()) for curve in every)
        style = "{:.0%}".format if measure == "accuracy" else "{:.3g}".format
        title = measure + (", training dotted" if len(names) > 1 and any(curve.dotted for curve in every) else "")
        plot = pictures.Plot(title, every, pictures.limits(every, logarithmic), ends, logarithmic, style)
        plots.append(plot)
        alone += [plot._replace(curves=group) for group in groups]
    legend = Text("the last loss, the best accuracy and its epoch", "dim")
    return [pictures.Panels(plots, alone), legend, ends_of_runs(names, measured)]


def measures(history: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[Array, Array]]:
    """Return loss and accuracy over the epochs, for (measure, part of the data) that a history has."""
    rows = [row for row in history if row.get("record") != "step"]
    names = {
        ("loss", "training"): "loss",
        ("loss", "validation"): "validation_loss",
        ("accuracy", "training"): "train_accuracy",
        ("accuracy", "validation"): "validation_accuracy",
    }
    points = {part: [(row["epoch"], row[name]) for row in rows if name in row] for part, name in names.items()}
    return {part: (xy[:, 0], xy[:, 1]) for part, given in points.items() if given for xy in [np.array(given, float)]}


def ends_of_runs(names: Sequence[str], runs: Sequence[dict[tuple[str, str], tuple[Array, Array]]]) -> RenderableType:
    """Return a table of each run's length, last loss and best accuracy."""
    table = terminal.new_table("run", "epochs", "loss", "best", "at")
    for name, run in zip(names, runs, strict=True):
        x, loss = run.get(("loss", "training")) or next(iter(run.values()))
        at, accuracy = run.get(("accuracy", "validation")) or run.get(("accuracy", "training")) or (x, x * np.nan)
        best = int(np.nan_to_num(accuracy, nan=-1.0).argmax())
        known = np.isfinite(accuracy[best])
        ends = (f"{accuracy[best]:.2%}", f"{at[best]:g}") if known else ("-", "-")
        table.add_row(name, f"{x[-1]:g}", f"{loss[-1]:.4f}", *ends)
    return table


def statistics(trained: artifacts.Trained, dataset: artifacts.Dataset, limit: int) -> list[RenderableType]:
    """Return a table with a row for each layer, and what is wrong with them."""
    some = np.linspace(0, len(dataset.x) - 1, min(limit, len(dataset.x))).astype(int)
    classes = len(trained.classes)
    _, loss = artifacts.loss_for(classes)
    x, targets = trained.prepare(dataset.x[some]), artifacts.targets_for(dataset.labels[some], classes)
    rows = intermediates.layer_statistics(trained.model, loss, trained.params, trained.state, x, targets)
    head = f"activations and gradients of {len(some)} examples"
    return [Text(head, "bold"), Layers(rows), Text(), *(Text(told, "bold red") for told in worries(rows))]


class Layers(NamedTuple):
    """Statistics as a table, with as many columns as fit."""

    rows: list[intermediates.LayerStatistics]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        stds, gradients = [row.std for row in self.rows], [row.gradient_norm for row in self.rows]
        columns: dict[str, list[str | Text]] = {
            "std": [f"{std:.2g}" for std in stds],
            "": log_bars(stds, "blue"),
            "gradient": [f"{norm:.2g}" for norm in gradients],
            " ": log_bars(gradients, "magenta"),
            "dead": [share(row.dead, "bold red") for row in self.rows],
            "zeros": [share(row.zeros) for row in self.rows],
            "mean": [f"{row.mean:.2g}" for row in self.rows],
            "output": ["x".join(map(str, row.out_shape)) for row in self.rows],
            "weights": [f"{row.params_norm:.3g}" if row.params_norm else "" for row in self.rows],
            "their gradient": [f"{row.params_gradient_norm:.2g}" if row.params_norm else "" for row in self.rows],
        }
        order = ["output", "mean", "std", "", "zeros", "dead", "gradient", " ", "weights", "their gradient"]
        paths = [row.path for row in self.rows]
        if max(map(len, paths)) > max(width // 3, 18):  # of what it is in, the number is enough
            paths = ["/".join([*re.findall(r"(\d+)_[^/]*/", path), path.rpartition("/")[2]]) for path in paths]
        for least in ("their gradient", "weights", "output", "mean", "zeros", " ", "", None):
            table = terminal.new_table("layer", *(name.strip() for name in order))
            for column, name in zip(table.columns[1:], order, strict=True):
                if not name.strip():
                    column.justify, column.min_width = "left", 8
            for k, path in enumerate(paths):
                table.add_row(path, *(columns[name][k] for name in order))
            if least is None or Measurement.get(console, options.update(max_width=1000), table).maximum <= width:
                break
            order.remove(least)
        if "" in order:
            yield Text("a full bar is the largest, each cell half a power of ten", "dim")
        yield table


def log_bars(values: Sequence[float], style: str) -> list[str | Text]:
    """Return bars whose lengths are logarithms, of four powers of ten below the largest."""
    top = max((value for value in values if math.isfinite(value)), default=0.0)
    return [pictures.bar(1 + math.log10(v / top) / 4 if 0 < v <= top else v > top, 8, style) for v in values]


def share(fraction: float, style: str = "") -> Text:
    """Return a fraction as a percentage, in a style of its own from a half on."""
    return Text(f"{fraction:.0%}" if fraction else ".", style if fraction >= 0.5 else "" if fraction else "dim")


def worries(rows: Sequence[intermediates.LayerStatistics]) -> list[str]:
    """Say in words what the statistics show of a network dying or exploding."""
    told: list[str] = []
    before = 0.0
    for row in rows:
        if not math.isfinite(row.norm) or not math.isfinite(row.gradient_norm):
            return [*told, f"{row.path}: not finite any more"]
        if row.dead >= 0.5 and row.zeros > before:  # the layer that makes the zeros, not those that hand them on
            told.append(f"{row.path}: {row.dead:.0%} of the units are dead")
        before = row.zeros
    trained = [row for row in rows if row.params_norm]
    for what, values in (
        ("activations (std)", [row.std for row in trained]),
        ("gradients (norm)", [row.gradient_norm for row in trained]),
    ):
        small, large = int(np.argmin(values)), int(np.argmax(values))
        if values[small] * 1000 < values[large]:
            ends = [f"{values[k]:.2g} at {trained[k].path}" for k in sorted((small, large))]
            told.append(f"{what} go from {ends[0]} to {ends[1]}")
    return told


def network(trained: artifacts.Trained) -> tuple[Layer, Tree, Tree]:
    """Return the model, its parameters and its state."""
    return trained.model, trained.params, trained.state


def chosen(dataset: artifacts.Dataset, examples: Sequence[int]) -> Array:
    """Return some of the examples."""
    if max(examples) >= len(dataset.x):
        raise terminal.UsageError(f"--example {max(examples)}: the data has {len(dataset.x)}, from 0")
    return dataset.x[list(examples)]


def is_image(dataset: artifacts.Dataset) -> bool:
    """Say whether the examples are images (h, w, c)."""
    return dataset.x.ndim == 4


def photograph(dataset: artifacts.Dataset, image: Array, caption: str = "") -> pictures.Tile:
    """Return an image as a tile, on the scale of the whole data."""
    return pictures.photograph(image, float(dataset.x.min()), float(dataset.x.max()), caption)


def named_example(dataset: artifacts.Dataset, example: int) -> str:
    """Say of which class an example is, and which it is: its file or its number."""
    which = Path(dataset.names[example]).name if dataset.names else f"#{example}"
    return f"is {dataset.classes[dataset.labels[example]]} ({which})"


if __name__ == "__main__":
    terminal.run(app)
