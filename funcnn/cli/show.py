"""Show what a trained network has learned, in the terminal or as a picture in a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from funcnn import attribution, files, intermediates, metrics, predictor, tree
from funcnn.characters import visible
from funcnn.cli import runs
from funcnn.cli.console import UsageError, logger
from funcnn.cli.history import read_history
from funcnn.cli.options import DataSource, ModelFile, SkipBroken
from funcnn.cli.outputs import check_outputs
from funcnn.cli.parts import Part, select_part
from funcnn.cli.pictures import rendering
from funcnn.cli.pictures.curves import LINES, Curve, Panels, Plot, limits
from funcnn.cli.pictures.tiles import Bar, Gallery, HeatMap, Name, Scale, Tile, heat, photograph, signed
from funcnn.cli.tables import Column, FoldingTable
from funcnn.data import Dataset, resize, take
from funcnn.data.lazy import extent
from funcnn.layer import Layer
from funcnn.predictor import Predictor
from funcnn.summary import summary
from funcnn.tree import Array, Tree

SUFFIXES = (".svg", ".png")
FEATURES_IN_A_ROW = 32
ENOUGH_MAPS = 4  # of a layer, where there is no room for all
FEWEST_LINES_OF_MAPS = 8  # of each layer, with its title, before layers are left out


class Method(StrEnum):
    """Values of --method."""

    gradient = "gradient"
    gradient_times_input = "gradient-times-input"
    grad_cam = "grad-cam"


def picture_file(path: Path | None) -> Path | None:
    """Raise an error, before any work, if the picture could not be written."""
    if path is not None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--save {path}: the name of a picture ends in {' or '.join(SUFFIXES)}")
        if path.suffix.lower() == ".png":
            rendering.check_pillow()
        files.check_writable(path)
    return path


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
DataPart = Annotated[
    Part | None,
    typer.Option(
        metavar="PART",
        help=f"One of {', '.join(Part)}: part of the data that the model was trained on, by default test. Other data "
        "have one part, all.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", callback=picture_file, help="Write the picture to FILE.svg or FILE.png instead of printing it."
    ),
]
Light = Annotated[bool, typer.Option("--light", help="With --save: dark on white instead of light on black.")]
Columns = Annotated[
    int, typer.Option(metavar="N", min=20, max=400, help="With --save: width of the picture in characters.")
]


@app.command("kernels")
def show_kernels(
    *,
    model: ModelFile,
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path of the layer, such as 3_conv2d, by default the first one.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of kernels, the largest ones.")] = 64,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The kernels of a convolution, or the weights of a first dense layer as images."""
    check_outputs({"--save": save}, {"MODEL": model}, {})
    show_or_save(kernels(predictor.load(model), layer, limit), save, light, columns)


@app.command("features")
def show_features(
    *,
    model: ModelFile,
    data: DataSource,
    example: Annotated[int, typer.Option(metavar="N", min=0, help="Index of the example, from 0.")] = 0,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Only this layer, such as 3_conv2d; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Largest number of maps of a layer.")] = 16,
    lines: Annotated[
        int, typer.Option(metavar="N", min=10, help="Number of lines to fit into: maps are shrunk, and some left out.")
    ] = 60,
    skip_broken: SkipBroken = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The feature maps of an image, layer by layer."""
    check_outputs({"--save": save}, {"MODEL": model}, {"DATA": data})
    show_or_save(
        features(*open_both(model, data, skip_broken), example, layer or [], limit, lines), save, light, columns
    )


@app.command("attribution")
def show_attribution(
    *,
    model: ModelFile,
    data: DataSource,
    example: Annotated[
        list[int] | None, typer.Option(metavar="N", min=0, help="Index of the example, from 0; may be repeated.")
    ] = None,
    method: Annotated[
        list[Method] | None,
        typer.Option(metavar="NAME", help=f"One of {', '.join(Method)}; by default all. May be repeated."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Class whose score is explained, by default the predicted one."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Layer of Grad-CAM, by default the last activation with maps; earlier ones are finer."
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Which pixels drove a decision: input gradient, gradient times input, and Grad-CAM."""
    check_outputs({"--save": save}, {"MODEL": model}, {"DATA": data})
    picture = attributions(
        *open_both(model, data, skip_broken), example or [0, 1, 2], method or list(Method), of, layer
    )
    show_or_save(picture, save, light, columns)


@app.command("confusion")
def show_confusion(
    *,
    model: ModelFile,
    data: DataSource,
    part: DataPart = None,
    skip_broken: SkipBroken = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The confusion matrix as a heat map, and the most frequent confusions."""
    check_outputs({"--save": save}, {"MODEL": model}, {"DATA": data})
    trained, dataset = open_both(model, data, skip_broken)
    selected = select_part(trained, dataset, data, part, model=model)
    show_or_save(confusion(trained, selected.dataset, selected.title), save, light, columns)


@app.command("mistakes")
def show_mistakes(
    *,
    model: ModelFile,
    data: DataSource,
    part: DataPart = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Largest number of images.")] = 12,
    skip_broken: SkipBroken = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """The most confident mistakes, as images."""
    check_outputs({"--save": save}, {"MODEL": model}, {"DATA": data})
    trained, dataset = open_both(model, data, skip_broken)
    selected = select_part(trained, dataset, data, part, model=model)
    show_or_save(mistakes(trained, selected.dataset, limit, selected.title), save, light, columns)


@app.command("curves")
def show_curves(
    *,
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files that `funcnn train --history` wrote, or trained models.")
    ],
    log: Annotated[bool, typer.Option("--log", help="Logarithmic axis for losses.")] = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Loss and accuracy of a run, or of several runs side by side."""
    check_outputs({"--save": save}, {f"FILE {number}": path for number, path in enumerate(paths, 1)}, {})
    picture = curves(paths, [history(path) for path in paths], log, vector=save is not None)
    show_or_save(picture, save, light, columns)


@app.command("statistics")
def show_statistics(
    *,
    model: ModelFile,
    data: DataSource,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of examples, spread evenly over the data.")
    ] = 256,
    skip_broken: SkipBroken = False,
    save: Save = None,
    light: Light = False,
    columns: Columns = 100,
) -> None:
    """Activations and gradients of each layer: do units die, do signals vanish or explode?"""
    check_outputs({"--save": save}, {"MODEL": model}, {"DATA": data})
    show_or_save(statistics(*open_both(model, data, skip_broken), limit), save, light, columns)


def open_both(model: Path, data: str, skip_broken: bool) -> tuple[Predictor, Dataset]:
    """Read a model and its data, with labels that are indices into the model's classes."""
    trained = predictor.load(model)
    return trained, runs.open_matching(data, trained, skip_broken=skip_broken)


def history(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run from a model, or from a file of --history, which begins with a brace."""
    try:
        with open(path, "rb") as file:
            is_history = file.read(1) == b"{"
    except IsADirectoryError:  # of checkpoints
        is_history = False
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None
    return read_history(path) if is_history else predictor.load(path).history


def show_or_save(picture: Sequence[RenderableType], save: Path | None, light: bool, columns: int) -> None:
    """Print a picture, or write it to a file."""
    if save is None:
        console = Console(highlight=False, markup=False, emoji=False)
        for renderable in picture:
            console.print(renderable)
        return
    drawn = rendering.draw(Group(*picture), columns, rendering.LIGHT if light else rendering.DARK)
    content = rendering.svg(drawn) if save.suffix.lower() == ".svg" else rendering.png(drawn)
    files.write_atomic(save, content)
    logger(False)(f"wrote {save}: {len(content):,} bytes")


def kernels(trained: Predictor, layer: str | None, limit: int) -> list[RenderableType]:
    """Return the kernels of a layer as tiles."""
    arrays = kernel_arrays(trained)
    if not arrays:
        raise ValueError(
            "the model has neither convolutions of images nor a first dense layer whose weights are images"
        )
    path = next(iter(arrays)) if layer is None else layer
    if path not in arrays:
        raise UsageError(f"--layer {path}: no kernels there, but at {', '.join(arrays)}")
    w = arrays[path]
    height, width, in_channels, out_channels = w.shape
    top = float(np.abs(w).max())
    if in_channels == trained.in_shape[-1] == 3 and path == next(iter(arrays)):  # a kernel of colours
        tiles = [photograph(w[..., o], -top, top) for o in range(out_channels)]
        norms = np.linalg.norm(w.reshape(-1, out_channels), axis=0)
        legend: RenderableType = Text(
            f"weights of red, green and blue as colours; grey is 0, the largest is {top:.3g}", "dim"
        )
    else:
        captions = [
            (i, o, f"{i}>{o}" if in_channels > 1 else "") for o in range(out_channels) for i in range(in_channels)
        ]
        tiles = [signed(w[:, :, i, o], top, caption) for i, o, caption in captions]
        norms, legend = np.linalg.norm(w, axis=(0, 1)).T.ravel(), Scale(-top, top)
    largest = np.sort(np.argsort(-norms, kind="stable")[:limit])
    title = f"{path}: {out_channels} kernel{'s' * (out_channels != 1)} of {height}x{width}"
    title += f"x{in_channels}" * (in_channels > 1)
    if len(largest) < len(tiles):
        what = "slices, input>output channel" if tiles[0].caption else "kernels"
        title += f"; the {len(largest)} largest of {len(tiles)} {what}"
    picture = [Text(title, "bold"), legend, Text(), Gallery([tiles[k] for k in largest])]
    others = [other for other in arrays if other != path]
    return [*picture, Text(f"more with --layer: {', '.join(others)}", "dim")] if others else picture


def kernel_arrays(trained: Predictor) -> dict[str, Array]:
    """Return the weights that are images, (height, width, in, out), by layer in the model's order."""
    leaves = tree.flatten(trained.params)
    paths = [row.path for row in summary(trained.model, trained.in_shape)]
    weights = {path: leaves[f"{path}/w"] for path in paths if f"{path}/w" in leaves}
    found = {path: w for path, w in weights.items() if w.ndim == 4 and w.shape[:2] != (1, 1)}
    first = next(iter(weights), "")
    if not found and first and len(trained.in_shape) == 3 and len(weights[first]) == np.prod(trained.in_shape):
        return {first: weights[first].reshape(*trained.in_shape, -1)}  # each unit has a weight for each pixel
    return found


def features(
    trained: Predictor,
    dataset: Dataset,
    example: int,
    layers: Sequence[str],
    limit: int,
    lines: int = 60,
) -> list[RenderableType]:
    """Return the outputs of all layers, or of some, for an example."""
    image = select_examples(dataset, [example])
    x = trained.prepare(image, full_scale=1, warn_of_range=False)
    outputs = intermediates.activations(*network(trained), x)
    for path in layers:
        if path not in outputs:
            raise UsageError(f"--layer {path}: no such layer; the model has {', '.join(outputs)}")
    before: list[RenderableType] = [Text(example_label(dataset, example), "bold")]
    if has_images(dataset):
        before.append(Gallery([example_tile(extent(dataset.x), image[0])], lines=12))
    maps, last = [], x
    for path, batch in outputs.items():
        unchanged, last = np.array_equal(batch.ravel(), last.ravel()), batch
        if path in layers or not (layers or unchanged):  # leave out layers that only flatten, or drop nothing
            maps.append(maps_of_layer(path, batch[0], limit))
    after: list[RenderableType] = []
    if not layers:
        p = trained.predict_proba(image, full_scale=1, warn_of_range=False)[0]
        table = Table.grid(padding=(0, 2, 0, 0))
        for k in np.argsort(-p, kind="stable")[:10]:
            if p[k] < 0.0005:
                break
            table.add_row(Name(trained.classes[k]), Bar(float(p[k]), 20, "blue"), f"{p[k]:.1%}")
        after = [Text("largest predicted probabilities", "bold"), table]
    return [FeaturePage(before, maps, after, lines, bool(layers))]


def maps_of_layer(path: str, output: Array, limit: int) -> LayerMaps:
    """Return the maps (h, w, c) of a layer as tiles, or its features (c) as rows of pixels."""
    if output.ndim == 3:
        images, total = np.moveaxis(output, -1, 0)[:limit], output.shape[-1]
    else:
        across, total = min(FEATURES_IN_A_ROW, output.size), 1
        images = np.append(output, np.zeros(-output.size % across)).reshape(1, -1, across)
    top, negative = float(np.abs(images).max()), images.min() < 0
    tiles = [(signed if negative else heat)(image, top) for image in images]
    scale = Scale(-top if negative else 0.0, top)
    return LayerMaps(path, "x".join(map(str, output.shape)), tiles, total, scale)


class LayerMaps(NamedTuple):
    """The maps of a layer: a title with their scale, and as many tiles as fit into ``lines``, at least one row."""

    path: str
    shape: str
    tiles: Sequence[Tile]
    total: int
    scale: Scale
    lines: int = 20

    def fitted(self, console: Console, options: ConsoleOptions) -> tuple[list[Text], Gallery, int]:
        """Return the lines of the title, the tiles, and the number of lines of both."""
        for title_lines in (1, 2):
            gallery = Gallery(self.tiles, lines=max(self.lines - title_lines, 1), enough=ENOUGH_MAPS)
            layout = gallery.layout(console, options)
            if layout.lines(len(self.tiles)) > gallery.lines:
                capacity = max(layout.capacity(gallery.lines), layout.in_a_row)
                gallery = gallery._replace(tiles=self.tiles[:capacity])
                layout = gallery.layout(console, options)
            count = len(gallery.tiles)
            title = Text(f"{self.path}  {self.shape}", "bold")
            if count < self.total:
                title.append(f", the first {count} of {self.total} maps")
            scale = self.scale.text(console, options)
            if title_lines == 1 and title.cell_len + 3 + scale.cell_len <= options.max_width:
                return [Text.assemble(title, "   ", scale)], gallery, 1 + layout.lines(count)
        return [title, scale], gallery, 2 + layout.lines(count)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title, gallery, _ = self.fitted(console, options)
        yield from title
        yield gallery


class FeaturePage(NamedTuple):
    """Maps of layers, shrunk until the page has at most ``lines`` lines; then fewer layers, unless ``all_layers``."""

    before: Sequence[RenderableType]
    maps: Sequence[LayerMaps]
    after: Sequence[RenderableType]
    lines: int
    all_layers: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def count(renderables: Sequence[RenderableType]) -> int:
            return sum(len(console.render_lines(renderable, options)) for renderable in renderables)

        room = self.lines - count(self.before) - count(self.after)
        for each in range(max(20, room // max(len(self.maps), 1)), FEWEST_LINES_OF_MAPS - 1, -1):
            maps = [layer._replace(lines=each) for layer in self.maps]
            heights = [layer.fitted(console, options)[2] for layer in maps]
            if sum(heights) <= room:
                break
        chosen = list(range(len(maps)))
        rest: list[RenderableType] = []
        while not self.all_layers and len(chosen) > 1 and sum(heights[k] for k in chosen) + count(rest) > room:
            chosen = np.unique(np.linspace(0, len(maps) - 1, len(chosen) - 1).round().astype(int)).tolist()
            left_out = [maps[k].path for k in range(len(maps)) if k not in chosen]
            which = ": " + ", ".join(left_out) if len(left_out) <= 12 else " and a path that funcnn inspect lists"
            rest = [Text(f"{len(left_out)} more layers, with --layer{which}", "dim")]
        yield from self.before
        yield from (maps[k] for k in chosen)
        yield from rest
        yield from self.after


def attributions(
    trained: Predictor,
    dataset: Dataset,
    examples: Sequence[int],
    methods: Sequence[Method],
    of: str | None,
    layer: str | None,
) -> list[RenderableType]:
    """Return for each example its image and, beside it, the attribution of a class's score to the pixels."""
    if not has_images(dataset):
        raise ValueError(f"attribution is shown on images; these examples have the shape {dataset.x.shape[1:]}")
    if of is not None and of not in trained.classes:
        raise UsageError(f"--class {of}: the model's are {', '.join(trained.classes)}")
    images = select_examples(dataset, examples)
    x, model = trained.prepare(images, full_scale=1, warn_of_range=False), network(trained)
    maps = intermediates.activations(*model, x)
    p = trained.predict_proba(images, full_scale=1, warn_of_range=False)
    classes = p.argmax(axis=1) if of is None else np.full(len(x), trained.classes.index(of))
    large = [path for path, batch in maps.items() if batch.ndim == 4]
    at = layer or grad_cam_layer({path: maps[path] for path in large})
    if Method.grad_cam in methods and at not in large:
        reason = f"no maps at {layer}, but at {', '.join(large)}" if large else "the model has no layers with maps"
        raise UsageError(f"--method grad-cam: {reason}")

    compute = {
        Method.gradient: lambda: attribution.input_gradient(*model, x, classes),
        Method.gradient_times_input: lambda: attribution.gradient_times_input(*model, x, classes),
        Method.grad_cam: lambda: attribution.grad_cam(*model, x, at, classes),
    }
    columns = [(method, compute[method]()) for method in methods]
    tiles, ends = [], extent(dataset.x)
    for n, example in enumerate(examples):
        name = visible(trained.classes[classes[n]])
        explained = f"{'score of' if of else 'predicted'} {name} ({p[n, classes[n]]:.0%})"
        tiles.append(example_tile(ends, images[n], f"{example_label(dataset, example)}\n{explained}"))
        tiles += [attribution_tile(method, result[n], dataset.x.shape[1:3]) for method, result in columns]
    title = "Red (+) and yellow raise the score of the class, blue (-) lowers it"
    note = [Text(f"Grad-CAM of the maps of {at}", "dim")] if Method.grad_cam in methods else []
    return [
        Text(title, "bold"),
        *note,
        Text(),
        Gallery(tiles, group=1 + len(methods), lines=60, relative=True),
    ]


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


def confusion(trained: Predictor, dataset: Dataset, title: str = "") -> list[RenderableType]:
    """Return the confusion matrix, and the most frequent confusions."""
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
    return [head, axes, Text(), HeatMap(counts, names), Text(), table]


def mistakes(trained: Predictor, dataset: Dataset, limit: int, title: str = "") -> list[RenderableType]:
    """Return the images with a wrong prediction, in descending order of its probability."""
    if not has_images(dataset):
        raise ValueError(f"mistakes are shown as images; these examples have the shape {dataset.x.shape[1:]}")
    p = trained.predict_proba(dataset.x, full_scale=1, warn_of_range=False)
    predicted = p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != dataset.labels)
    if not len(wrong):
        return [Text(f"{prefix(title)}no mistakes in {len(p)} examples", "bold")]
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
    return [Text(head, "bold"), Text(), Gallery(tiles, lines=40)]


def prefix(title: str) -> str:
    """Return the title with a colon, or nothing if it is empty."""
    return f"{visible(title)}: " if title else ""


def curves(
    paths: Sequence[Path], histories: Sequence[Sequence[dict[str, Any]]], log: bool, *, vector: bool = False
) -> list[RenderableType]:
    """Return the curves of all runs, a plot for each measure, and a table of their last and best values."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    names = [visible(name) for name in names]
    measured = [measures(history) for history in histories]
    for path, run in zip(paths, measured, strict=True):
        if not run:
            raise ValueError(f"{path} has no history of loss or accuracy")
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
            percent=measure == "accuracy", vector=vector,
        )  # fmt: skip
        common.append(plot)
        of_run = f"{plot.title}, {{}}" if len(names) > 1 else plot.title
        single += [plot._replace(title=of_run.format(group[0].name), curves=group) for group in groups]
    legend = Text("last loss, best accuracy and its epoch", "dim")
    return [Panels(common, common if vector else single), legend, ends_of_runs(names, measured)]


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


def statistics(trained: Predictor, dataset: Dataset, limit: int) -> list[RenderableType]:
    """Return a table with a row for each layer, and warnings."""
    some = np.linspace(0, len(dataset.x) - 1, min(limit, len(dataset.x))).astype(int)
    classes = len(trained.classes)
    _, loss = predictor.loss_for(classes)
    x = trained.prepare(take(dataset.x, some), full_scale=1, warn_of_range=False)
    targets = predictor.targets_for(dataset.labels[some], classes)
    rows = intermediates.layer_statistics(trained.model, loss, trained.params, trained.state, x, targets)
    head = Text(f"activations and gradients of {len(some)} examples", "bold")
    return [
        Text.assemble(
            head,
            (
                "\nbars are logarithmic: a column less is half a power of ten",
                "dim",
            ),
        ),
        statistics_table(rows),
        Text(),
        *(Text(warning, "bold red") for warning in warnings(rows)),
    ]


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


def network(trained: Predictor) -> tuple[Layer, Tree, Tree]:
    """Return the model, its parameters and its state."""
    return trained.model, trained.params, trained.state


def select_examples(dataset: Dataset, examples: Sequence[int]) -> Array:
    """Return some of the examples."""
    if max(examples) >= len(dataset.x):
        raise UsageError(f"--example {max(examples)}: the data has {len(dataset.x)}, from 0 to {len(dataset.x) - 1}")
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
