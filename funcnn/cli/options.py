"""Options and arguments that several sub-commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "Cache",
    "CacheName",
    "DataSource",
    "ModelFile",
    "Quiet",
    "Runtime",
    "RuntimeName",
    "SkipBroken",
    "Threads",
]


class CacheName(StrEnum):
    """Values of --cache."""

    auto = "auto"
    memory = "memory"
    none = "none"


class RuntimeName(StrEnum):
    """Values of --runtime."""

    auto = "auto"
    numpy = "numpy"
    onnxruntime = "onnxruntime"


ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A file that `funcnn train --output` wrote, a checkpoint, or a folder of checkpoints, of which the newest "
        "counts.",
    ),
]
DataSource = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="As for `funcnn train --data`: a folder with one sub-folder of images for each class, an .npz file "
        "with arrays x and y, an .npy file of x with y.npy beside it, a table (.csv, .tsv), whose columns are matched "
        "by name, or one of scikit-learn's data sets. Classes are matched by name; some may be missing.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Largest number of threads, by default the number of cores.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the results.")]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave out image files that cannot be read. By default they are an error."),
]
Cache = Annotated[
    CacheName,
    typer.Option(
        metavar="HOW",
        help="Where the examples are: memory (converted, and images decoded, once), none (by the batch, each time: of "
        "data that are larger than the memory), or auto (arrays of .npy and .npz files by the batch; images in memory, "
        "unless they take more than half of what is available). The results are the same.",
    ),
]
Runtime = Annotated[
    RuntimeName,
    typer.Option(
        metavar="NAME",
        help="What computes the network: numpy; onnxruntime (extra serve), in a third to four fifths of the time once "
        "it has started, or an error where it cannot; or auto (onnxruntime where it is installed, can compute the "
        "network, and the examples are so many that they take NumPy about a second or more). The results differ by "
        "rounding.",
    ),
]
