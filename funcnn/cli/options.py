"""Options and arguments that several sub-commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "ModelFile", "Quiet", "Threads"]

ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A file that `funcnn train --output` wrote, a checkpoint, or a folder of checkpoints, of which the newest "
        "counts.",
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Largest number of threads, by default the number of cores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the results alone.")]
