"""A progress display for a training: a live line in a terminal or notebook, elsewhere a plain line for each epoch.

The live line is drawn by rich. Where rich is not installed, lines are plain.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from funcnn.training import Epoch, Step

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["with_progress"]

Record = TypeVar("Record", bound="Step | Epoch")

# What a narrow terminal leaves out of a line, the least important first.
_LEFT_OUT_FIRST = ("speed", "left", "train", "loss", "step", "label", "validation")
_BAR_WIDTH = 30
# Seconds between two movements of the bar, and for which the line of a finished epoch stays before steps replace it.
_BAR_INTERVAL, _EPOCH_SHOWN = 0.1, 1.0


def with_progress(
    records: Iterable[Record],
    total_epochs: int,
    *,
    label: str = "",
    quiet: bool = False,
    epochs_done: int = 0,
    steps_per_epoch: int = 0,
    describe: Callable[[Epoch], Mapping[str, str]] | None = None,
) -> Generator[Record, None, None]:
    """Yield the records of a training unchanged, and show on stderr how far it is.

    In a terminal or a notebook one line with a bar is drawn again and again, never wider than the terminal; it advances
    with each step if ``records`` has steps. Elsewhere (a pipe, a file, a dumb terminal) a line is printed after each
    epoch. Each epoch is shown before it is yielded. ``NO_COLOR`` and the encoding of stderr are honoured.

    Parameters
    ----------
    records : iterable of Step and Epoch
        `funcnn.training.fit(...)`, or its ``.steps()``.
    total_epochs : int
        How many epochs there will be at most.
    label : str
        The beginning of each line.
    quiet : bool
        Show nothing.
    epochs_done : int
        Epochs of an earlier run that this one continues.
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
    After an exception, Ctrl-C included, or when the generator is closed, the cursor is visible again at the beginning
    of a line. A loop that is left by ``break`` or by an exception of its own closes it at once if it is in
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
        per_epoch = (time.monotonic() - started) / max(1, epoch.epoch - epochs_done)
        return {"epoch": number, **_measures(epoch), "left": _time_left(per_epoch * (total_epochs - epoch.epoch))}

    console = _live_console()
    if console is not None:
        yield from _live(records, parts_of, console, label, total_epochs, epochs_done, steps_per_epoch)
        return
    for record in records:
        if isinstance(record, Epoch):
            line = label + "  ".join(parts_of(record).values())
            print(_encodable(line, getattr(sys.stderr, "encoding", None)), file=sys.stderr, flush=True)
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
        return _encodable(line, console.encoding)

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

    # What the loop prints appears above the line; but where stdout goes elsewhere, it must not be led to the terminal.
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
        bar_moved = epoch_shown = time.monotonic()
        for record in records:
            now = time.monotonic()
            if isinstance(record, Epoch):
                progress.update(task, completed=record.epoch, description=resized(parts_of(record)))
                bar_moved = epoch_shown = now
            elif isinstance(record, Step) and now - bar_moved > _BAR_INTERVAL:
                bar_moved, step = now, len(record.train_state.losses)
                progress.update(task, completed=record.epoch - 1 + (step / steps_per_epoch if steps_per_epoch else 0))
                if now - epoch_shown > _EPOCH_SHOWN:
                    parts = {
                        "epoch": f"epoch {record.epoch}/{total_epochs}",
                        "step": f"step {step}/{steps_per_epoch}" if steps_per_epoch else f"step {step}",
                        "loss": f"loss {record.loss:.4f}",
                    }
                    progress.update(task, description=resized(parts))
            yield record


def _live_console() -> Console | None:
    """Return rich's console for stderr if a line can be drawn again there, else None."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    return console if console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal) else None


def _measures(epoch: Epoch) -> dict[str, str]:
    parts = {"loss": f"loss {epoch.loss:.4f}"}
    if "accuracy" in epoch.train:
        parts["train"] = f"train {epoch.train['accuracy']:.2%}"
    if "accuracy" in epoch.validation:
        parts["validation"] = f"val {epoch.validation['accuracy']:.2%}"
    if epoch.seconds > 0:
        parts["speed"] = f"{len(epoch.losses) / epoch.seconds:.0f} steps/s"
    return parts


def _time_left(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02} left"


def _encodable(text: str, encoding: str | None) -> str:
    """Return the text with a question mark for each character that the encoding does not have."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
