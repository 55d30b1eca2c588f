"""Options and arguments that several sub-commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "DataSource", "ModelFile", "Quiet", "SkipBroken", "Threads"]

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
        "with arrays x and y, a table (.csv, .tsv), whose columns are matched by name, or one of scikit-learn's data "
        "sets. Classes are matched by name; some may be missing.",
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
