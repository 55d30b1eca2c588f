"""Show what a trained network has learned, in the terminal or as a picture in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from funcnn import files, history, predictor, show
from funcnn.cli import runs
from funcnn.cli.console import UsageError, logger
from funcnn.cli.options import DataSource, ModelFile, SkipBroken
from funcnn.cli.outputs import check_outputs
from funcnn.cli.parts import Part, select_part
from funcnn.data import Dataset
from funcnn.pictures import rendering
from funcnn.predictor import Predictor
from funcnn.show import ArgumentError, Picture
from funcnn.show.explanations import Method
from funcnn.show.histories import measures
from funcnn.show.picture import SUFFIXES

OPTIONS = {"target": "class"}  # names of arguments that are not those of the options


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
    with named_options():
        picture = show.kernels(predictor.load(model), layer, limit=limit)
    show_or_save(picture, save, light, columns)


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
    trained, dataset = open_both(model, data, skip_broken)
    with named_options():
        picture = show.features(trained, dataset, example, layers=layer or [], limit=limit, lines=lines)
    show_or_save(picture, save, light, columns)


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
    trained, dataset = open_both(model, data, skip_broken)
    with named_options():
        picture = show.attribution(
            trained, dataset, example or [0, 1, 2], methods=method or list(Method), target=of, layer=layer
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
    show_or_save(show.confusion(trained, selected.dataset, title=selected.title), save, light, columns)


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
    picture = show.mistakes(trained, selected.dataset, limit=limit, title=selected.title)
    show_or_save(picture, save, light, columns)


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
    show_or_save(show.curves(runs_by_name(paths), log=log), save, light, columns)


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
    show_or_save(show.statistics(*open_both(model, data, skip_broken), limit=limit), save, light, columns)


def open_both(model: Path, data: str, skip_broken: bool) -> tuple[Predictor, Dataset]:
    """Read a model and its data, with labels that are indices into the model's classes."""
    trained = predictor.load(model)
    return trained, runs.open_matching(data, trained, skip_broken=skip_broken)


def records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a run from a model, or from a file that ends as those of --history."""
    try:
        open(path, "rb").close()
    except IsADirectoryError:  # of checkpoints
        pass
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None
    rows = history.read(path) if path.suffix.lower() in history.FORMATS else predictor.load(path).history
    if not measures(rows):
        raise ValueError(f"{path} has no history of loss or accuracy")
    return rows


def runs_by_name(paths: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Read the records of runs, by the names of their files, with their folders where these are needed."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return dict(zip(names, map(records, paths), strict=True))


@contextmanager
def named_options() -> Iterator[None]:
    """Turn the error of an argument into that of its option."""
    try:
        yield
    except ArgumentError as error:
        option = OPTIONS.get(error.argument, error.argument)
        raise UsageError(f"--{option} {error.value}: {error.problem}") from None


def show_or_save(picture: Picture, save: Path | None, light: bool, columns: int) -> None:
    """Print a picture, or write it to a file."""
    if save is None:
        console = Console(highlight=False, markup=False, emoji=False)
        for renderable in picture.content:
            console.print(renderable)
        return
    picture._replace(light=light, columns=columns).save(save)
    logger(False)(f"wrote {save}: {save.stat().st_size:,} bytes")
