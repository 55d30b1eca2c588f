"""Showing the progress of a training on stderr: a live line in a terminal or notebook, else a plain line each epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator

from funcnn.training import Epoch

__all__ = ["shown"]


def shown(
    epochs: Iterable[Epoch], total: int, describe: Callable[[Epoch], str], *, quiet: bool = False
) -> Iterator[Epoch]:
    """LayerTrace the epochs of a training on, and tell of each after whoever takes them has dealt with it.

    Parameters
    ----------
    epochs : iterable of Epoch
    total : int
        How many there will be at most.
    describe : callable
        ``describe(epoch) -> str``
    quiet : bool
        Show nothing.

    Yields
    ------
    Epoch

    Notes
    -----
    The live line is rich's; where rich is not installed, or stderr is a pipe or a file, lines are plain.
    """
    if quiet:
        yield from epochs
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
    except ImportError:
        yield from _plain(epochs, total, describe)
        return
    console = Console(stderr=True)
    if not (console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)):
        yield from _plain(epochs, total, describe)
        return
    with Progress(TextColumn("{task.description}", markup=False), BarColumn(30), console=console) as progress:
        task = progress.add_task(f"epoch 0/{total}", total=total)
        for epoch in epochs:
            yield epoch
            progress.update(task, completed=epoch.epoch, description=_line(epoch, total, describe))


def _plain(epochs: Iterable[Epoch], total: int, describe: Callable[[Epoch], str]) -> Iterator[Epoch]:
    for epoch in epochs:
        yield epoch
        print(_line(epoch, total, describe), file=sys.stderr, flush=True)


def _line(epoch: Epoch, total: int, describe: Callable[[Epoch], str]) -> str:
    return f"epoch {epoch.epoch:{len(str(total))}}/{total}  {describe(epoch)}"
