"""A progress display for training: a live line in a terminal or notebook, elsewhere a plain line for each epoch.

The live line is drawn by rich. Where rich is not installed, lines are plain.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, TypeVar

from funcnn import streams
from funcnn.characters import printable
from funcnn.training import Epoch, Step

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["with_progress"]

Record = TypeVar("Record", bound="Step | Epoch")

# Parts of a line that a narrow terminal leaves out, in this order.
_LEFT_OUT_FIRST = ("speed", "left", "train", "loss", "step", "label", "validation")
_BAR_WIDTH = 30
# Seconds between two updates of the bar, and between the line of a finished epoch and the first line of a step.
_BAR_INTERVAL, _EPOCH_LINE = 0.1, 1.0


def with_progress(
    records: Iterable[Record],
    total_epochs: int,
    *,
    label: str = "",
    quiet: bool = False,
    epochs_done: int = 0,
    steps_done: int = 0,
    steps_per_epoch: int = 0,
    describe: Callable[[Epoch], Mapping[str, str]] | None = None,
) -> Generator[Record, None, None]:
    """Yield the records of training unchanged, and show the progress on stderr.

    In a terminal or a notebook one line with a bar is redrawn, never wider than the terminal; it advances
    with each step if ``records`` has steps. Elsewhere (a pipe, a file, a dumb terminal) a line is printed after each
    epoch. Each epoch's line appears before the epoch is yielded. ``NO_COLOR`` and the encoding of stderr are honoured.
    Where stderr cannot be written (it is closed, a full disk, a pipe without a reader), training goes on without.

    Parameters
    ----------
    records : iterable of Step and Epoch
        `funcnn.training.fit(...)`, or its ``.steps()``.
    total_epochs : int
        The maximum number of epochs.
    label : str
        The beginning of each line.
    quiet : bool
        Show nothing.
    epochs_done : int
        Epochs of an earlier run that this one continues.
    steps_done : int
        Steps of that run in the epoch after these.
    steps_per_epoch : int
        Number of steps of an epoch; 0 if it is not known, and then the bar advances with each epoch.
    describe : callable, optional
        ``describe(epoch) -> dict``: the parts of the line after the epoch's number, by name. Parts named "speed",
        "left", "train", "loss" and "validation" are left out in this order where the terminal is too narrow. By
        default: the loss, accuracies on training and validation data if they were measured, steps a second, time left.

    Yields
    ------
    Step, Epoch

    Notes
    -----
    When the generator is closed, or after an exception or Ctrl-C, the cursor is visible at the beginning of a line. To
    close the generator as soon as a loop ends by ``break`` or an exception, write the loop in
    ``with contextlib.closing(with_progress(...)) as records:``.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn import losses, models, optim, training
    >>> x, labels = np.eye(4, dtype=np.float32), np.arange(4) % 2
    >>> model, loss, optimizer = models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1)
    >>> epochs = training.fit(model, loss, optimizer, x, labels, epochs=2, key=(0,))
    >>> [epoch.epoch for epoch in with_progress(epochs, 2, quiet=True)]
    [1, 2]
    """
    if quiet:
        yield from records
        return
    started = time.monotonic()

    def parts_of(epoch: Epoch) -> dict[str, str]:
        number = f"epoch {epoch.epoch:{len(str(total_epochs))}}/{total_epochs}"
        if describe is not None:
            return {"epoch": number, **describe(epoch)}
        parts = {"epoch": number, **_measures(epoch)}
        steps = len(epoch.losses) - (steps_done if epoch.epoch == epochs_done + 1 else 0)
        if steps <= 0:  # of this run: there is nothing yet to tell its speed by
            return parts
        if epoch.seconds > 0:
            parts["speed"] = f"{steps / epoch.seconds:.0f} steps/s"
        per_epoch = (time.monotonic() - started) / (epoch.epoch - epochs_done - steps_done / len(epoch.losses))
        return {**parts, "left": _time_left(per_epoch * (total_epochs - epoch.epoch))}

    stderr = streams.guard(sys.stderr)
    console = _live_console(stderr)
    if console is not None:
        yield from _live(records, parts_of, console, label, total_epochs, epochs_done, steps_per_epoch)
        return
    for record in records:
        if isinstance(record, Epoch):
            line = label + "  ".join(parts_of(record).values())
            with suppress(OSError, ValueError):  # of a stream that a caller has put in the place of stderr
                print(printable(line, getattr(stderr, "encoding", None) or "utf-8", "replace"), file=stderr, flush=True)
        yield record


def _live(
    records: Iterable[Record],
    parts_of: Callable[[Epoch], dict[str, str]],
    console: Console,
    label: str,
    total_epochs: int,
    epochs_done: int,
    steps_per_epoch: int,
) -> Generator[Record, None, None]:
    from rich.cells import cell_len, set_cell_size
    from rich.progress import BarColumn, Progress, TextColumn

    def joined(parts: dict[str, str]) -> str:
        line = parts.get("label", "") + "  ".join(text for name, text in parts.items() if name != "label")
        return printable(line, console.encoding, "replace")

    def fitting(parts: dict[str, str]) -> str:
        """Join the parts, without the less important ones where the line would not fit the terminal."""
        parts = {"label": label, **parts}
        for name in _LEFT_OUT_FIRST:
            if cell_len(joined(parts)) < console.width:
                return joined(parts)
            parts.pop(name, None)
        line = joined(parts)
        return line if cell_len(line) < console.width else set_cell_size(line, max(1, console.width - 1))

    bar = BarColumn()

    def resized(parts: dict[str, str]) -> str:
        """Return the line, and give the bar the space that is left beside it."""
        line = fitting(parts)
        bar.bar_width = max(0, min(_BAR_WIDTH, console.width - cell_len(line) - 1))
        return line

    # rich prints the loop's own output above the line. If stdout is not a terminal, it is left alone.
    to_terminal = sys.stdout is not None and sys.stdout.isatty()
    with Progress(
        TextColumn("{task.description}", markup=False),
        bar,
        console=console,
        refresh_per_second=5,
        redirect_stdout=to_terminal,
    ) as progress:
        first_line = resized({"epoch": f"epoch {epochs_done}/{total_epochs}"})
        task = progress.add_task(first_line, total=total_epochs, completed=epochs_done)
        bar_moved = epoch_drawn = time.monotonic()
        for record in records:
            now = time.monotonic()
            if isinstance(record, Epoch):
                progress.update(task, completed=record.epoch, description=resized(parts_of(record)))
                bar_moved = epoch_drawn = now
            elif isinstance(record, Step) and now - bar_moved > _BAR_INTERVAL:
                bar_moved, step = now, len(record.train_state.losses)
                progress.update(task, completed=record.epoch - 1 + (step / steps_per_epoch if steps_per_epoch else 0))
                if now - epoch_drawn > _EPOCH_LINE:
                    parts = {
                        "epoch": f"epoch {record.epoch}/{total_epochs}",
                        "step": f"step {step}/{steps_per_epoch}" if steps_per_epoch else f"step {step}",
                        "loss": f"loss {record.loss:.4f}",
                    }
                    progress.update(task, description=resized(parts))
            yield record


def _live_console(stderr: TextIO) -> Console | None:
    """Return rich's console for stderr if a line can be redrawn there, else None."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(file=stderr)
    return console if console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal) else None


def _measures(epoch: Epoch) -> dict[str, str]:
    parts = {"loss": f"loss {epoch.loss:.4f}"}
    if "accuracy" in epoch.train:
        parts["train"] = f"train {epoch.train['accuracy']:.2%}"
    if "accuracy" in epoch.validation:
        parts["validation"] = f"val {epoch.validation['accuracy']:.2%}"
    return parts


def _time_left(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02} left"
