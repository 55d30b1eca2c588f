"""Refuse outputs that would replace what a command reads, another of its outputs, or a file of another kind."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path

from funcnn import checkpoint, history
from funcnn.checkpoint import Checkpoint
from funcnn.cli.console import UsageError
from funcnn.data import BUILTIN
from funcnn.files import same_file

__all__ = ["check_history", "check_outputs", "check_picture", "check_replaceable", "is_inside"]


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None], data: Mapping[str, str | None]
) -> None:
    """Refuse outputs that are inputs or each other, that lie among the data, or where a file is of another kind.

    The last is checked here for pictures (`check_picture`), and for other outputs by functions of their own.

    Parameters
    ----------
    outputs, inputs : dict of Path
        By the options and arguments that name them. Those that are None were not given.
    data : dict of str
        The inputs that may be the name of a built-in data set or a folder of images.

    Raises
    ------
    UsageError, ValueError
    """
    written = {option: path for option, path in outputs.items() if path is not None}
    read = {name: path for name, path in inputs.items() if path is not None}
    sources = {name: Path(source) for name, source in data.items() if source is not None and source not in BUILTIN}
    for (first, a), (second, b) in itertools.combinations(written.items(), 2):
        if same_file(a, b):
            raise UsageError(f"{first} {a} and {second} {b} are the same file")
    for option, path in written.items():
        for name, source in {**read, **sources}.items():
            if same_file(path, source):
                raise UsageError(f"{option} {path} would replace {name} {source}: name another file")
        for name, folder in sources.items():
            place = path if option == "--checkpoints" else path.parent
            is_image = path.suffix.lower() == ".png" and path.exists()
            if is_inside(path, folder) and (is_image or not same_file(place, folder)):
                raise UsageError(f"{option} {path} is among the data of {name} {folder}: name a place elsewhere")
        if option == "--save":
            check_picture(path)


# The first bytes of a PNG, a GIF or an SVG, which may begin with declarations and comments.
_PICTURE = re.compile(
    rb"\x89PNG\r\n|GIF8|(\xef\xbb\xbf)?(<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg\b", re.DOTALL
)


def check_picture(path: Path) -> None:
    """Refuse to draw in the place of a file that is no picture, whatever its name; an empty one is replaced.

    Raises
    ------
    ValueError
    """
    if not path.is_file():  # there is none, or `write_atomic` refuses it
        return
    with open(path, "rb") as file:
        begins = file.read(1000)
    if begins and not _PICTURE.match(begins):
        raise ValueError(f"{path} exists and is not a picture: remove it or name another file")


def check_replaceable(path: Path) -> None:
    """Refuse to save a model where a run would take it for its checkpoint, or in the place of something else.

    Models of --output are replaced, and what has their suffix and cannot be read.

    Raises
    ------
    ValueError
    """
    if path.match("step-*.safetensors"):
        raise ValueError(f"{path} has the name of a checkpoint of a run: name another file")
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        if checkpoint.run_id(path) is not None:
            raise ValueError(f"{path} is a checkpoint from which a run can be resumed: name another file")
    except checkpoint.CheckpointError:
        if path.suffix != ".safetensors":
            raise ValueError(f"{path} exists and is not a model of funcnn: remove it or name another file") from None


def check_history(path: Path, saved: Checkpoint | None) -> None:
    """Refuse to replace a file that is no history, or, when a run resumes, the history of another run.

    Raises
    ------
    UsageError
        If the name does not end as that of a history.
    ValueError
        If the file exists and is something else.
    """
    try:
        history.file_format(path)
    except ValueError as error:
        raise UsageError(f"--history {error}") from None
    rows = [row for row in history.read(path) if row["record"] == "epoch"]
    if saved:
        losses = {row["epoch"]: row["loss"] for row in saved.history}
        for row in rows:  # the last epoch's may be ahead of the checkpoint
            if row.get("epoch") in losses and row.get("loss") != losses[row["epoch"]]:
                raise ValueError(f"{path} is the history of another run: its epoch {row['epoch']} has another loss")


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path leads into a folder, at any depth."""
    real, root = (Path(os.path.realpath(p)) for p in (path, folder))
    return any(same_file(parent, root) for parent in real.parents) if root.is_dir() else False
