"""Predict the classes of images or rows of numbers: a line for each, with the probability of every class.

Probabilities are rounded to six digits after the point. Where a name begins with a character that makes a spreadsheet
compute (=, +, -, @), an apostrophe before it makes it text in the CSV.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from funcnn.characters import visible
from funcnn.cli import console, runtimes
from funcnn.cli.options import ModelFile, Runtime, RuntimeName, SkipBroken, Threads
from funcnn.cli.runs import warn_of_other_pixels
from funcnn.data import open_array
from funcnn.data.folders import describe_skipped, find_images
from funcnn.data.images import check_broken, describe_shape, read_images
from funcnn.data.sources import is_folder_of_arrays, open_raw_array
from funcnn.data.tables import SUFFIXES as TABLE_SUFFIXES
from funcnn.history import json_line
from funcnn.predictor import Predictor
from funcnn.tree import Array

# Number of images that are in memory at a time.
BATCH = 256


def main(
    *,
    model: ModelFile,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUTS...",
            help="Image files, folders of images, .npz files with an array x, .npy files, tables "
            "(.csv, .tsv), whose columns are matched by name.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of CSV.")] = False,
    skip_broken: SkipBroken = False,
    runtime: Runtime = RuntimeName.auto,
    threads: Threads = None,
) -> None:
    trained, worthwhile = runtimes.load(model, runtime)
    kind = trained.description["data"].get("kind", "classes")
    if kind != "classes":
        raise ValueError(
            f"{model} is an estimator's, which predicts {kind}: predict in Python, by funcnn.predictor.load and predict"
        )
    units = {} if is_estimator(trained) else {"full_scale": 1.0}
    broken: dict[str, str] = {}
    arrays = [path / "x.npy" if is_folder_of_arrays(path) else path for path in inputs]
    known = [(path, files_of(path)) for path in arrays]  # errors come before the first line of results
    if skip_broken and not any(files for _, files in known):
        raise console.UsageError(f"--skip-broken leaves out image files; {', '.join(map(str, inputs))} has none")
    images = sum(len(files) for _, files in known if files)
    table, classes = csv.writer(sys.stdout, lineterminator="\n"), [csv_text(name) for name in trained.classes]
    header = [] if as_json else ["input", "class", "probability", *classes]
    for path, files in known:
        for names, x in examples(path, files, trained, broken):
            if broken and not skip_broken:
                continue  # to find all that are broken
            if (images if files else len(x)) >= worthwhile:
                trained, worthwhile = trained.with_runtime("auto"), math.inf
            try:
                probabilities = trained.predict_proba(x, **units, warn_of_range=False, threads=threads)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if header:  # only now: nothing is printed where the first input has an error
                table.writerow(header)
                header = []
            for name, row in zip(names, probabilities, strict=True):
                best = int(row.argmax())
                if as_json:
                    each = {c: round(float(p), 6) for c, p in zip(trained.classes, row, strict=True)}
                    line = {"input": name, "class": trained.classes[best], "probability": each[trained.classes[best]]}
                    print(json_line({**line, "probabilities": each}))
                else:
                    table.writerow([csv_text(name), classes[best], f"{row[best]:.6f}", *(f"{p:.6f}" for p in row)])
    check_broken(broken, sum(len(files or [path]) for path, files in known), skip=skip_broken)


def csv_text(name: str) -> str:
    """Return a name as a CSV cell that no spreadsheet computes; numbers stay numbers.

    After OWASP, CSV Injection. Tabs and line breaks, which may begin a formula as well, are escaped.
    """
    name = visible(name)
    if not name.startswith(tuple("=+-@＝＋－＠")):
        return name
    try:
        float(name)
    except ValueError:
        return f"'{name}"
    return name


def files_of(path: Path) -> list[Path] | None:
    """Return the image files of an input, or None for an .npz or .npy file or a table."""
    if not path.exists():
        raise FileNotFoundError(f"cannot read {path}: No such file or directory")
    if path.is_dir():
        files, skipped = find_images(path)
        left_out = f"skipped {describe_skipped(skipped)}" if skipped else ""
        if not files:
            raise ValueError(f"{path}: no images in it or below{'; ' * bool(left_out)}{left_out}")
        if left_out:
            console.warn(f"{path}: {left_out}")
        return files
    return None if path.suffix.lower() in {".npz", ".npy", *TABLE_SUFFIXES} else [path]


def examples(
    path: Path, files: list[Path] | None, trained: Predictor, broken: dict[str, str]
) -> Iterator[tuple[list[str], Array]]:
    """Yield names and examples, at most `BATCH` images at a time; note in ``broken`` which files cannot be read."""
    known = trained.preprocessing
    if is_estimator(trained):
        yield estimator_examples(path, files, trained)
        return
    if files is None:
        if len(trained.in_shape) == 3 and path.suffix.lower() in TABLE_SUFFIXES:
            raise ValueError(f"{path}: the network takes {describe_shape(trained.in_shape)}, not rows of a table")
        x = open_array(
            path,
            full_scale=known.get("full_scale"),
            features=trained.description["data"].get("feature_names"),
            cache="auto",
        )
        warn_of_other_pixels(x, known.get("full_scale", 1), known, str(path))
        yield [f"{path}[{i}]" for i in range(len(x))], x
        return
    if len(trained.in_shape) != 3:
        raise ValueError(
            f"{path}: the network takes rows of {trained.in_shape[0]} numbers, as of tables or arrays, not images"
        )
    height, width, channels = trained.in_shape
    warned = False
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        images = read_images(batch, (height, width), channels, fit=known["fit"])
        broken.update(images.broken)
        if len(images.read):
            if not warned:  # of the first images that contradict the training alone
                warned = warn_of_other_pixels(images.x, images.full_scale, known, str(path))
            yield [str(batch[i]) for i in images.read], images.x


def is_estimator(trained: Predictor) -> bool:
    """Return whether the model is a scikit-learn estimator's, which takes raw arrays as its `fit` did."""
    return "offset" in trained.preprocessing


def estimator_examples(path: Path, files: list[Path] | None, trained: Predictor) -> tuple[list[str], Array]:
    """Return names and raw examples of an estimator: the units of an image file are not those of its arrays."""
    if files is not None:
        raise ValueError(f"{path}: the estimator takes {estimator_input(trained)}, not image files")
    known, attributes = trained.preprocessing, trained.description.get("estimator", {}).get("attributes", {})
    names = attributes.get("feature_names_in_", {}).get("array")  # its columns, if it was fitted on a DataFrame
    rows = known.get("image_shape", [0])[0] == 1 or (known.get("channels") == 1 and not known["masked"])
    if path.suffix.lower() in TABLE_SUFFIXES and not rows:
        raise ValueError(f"{path}: the estimator takes {estimator_input(trained)}, not rows of a table")
    x = np.asarray(open_raw_array(path, features=names))
    return [f"{path}[{i}]" for i in range(len(x) if x.ndim else 0)], x


def estimator_input(trained: Predictor) -> str:
    """Describe what an estimator takes, and the files that hold it."""
    known, arrays = trained.preprocessing, "an .npy file, or x of an .npz file"
    if "masked" in known:
        channels, time = known["channels"], "time" if known["masked"] else known["time"]
        length = "of any length" if known["masked"] else f"of length {time}"
        return f"series of {channels} channel{'s' * (channels != 1)}, {length}: (n, {channels}, {time}) in {arrays}"
    if known["image_shape"][0] == 1:
        return f"rows of {known['features']} numbers: a table, {arrays}"
    return f"{describe_shape(known['image_shape'])}, in the units of its training: {arrays}"
