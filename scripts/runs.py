"""A run of training: what it is determined by, how it goes on from a checkpoint, what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sources
import terminal
from artifacts import loss_for, preparation, targets_for
from files import write_whole
from recipes import RECIPES, ModelName, OptimizerName, ScheduleName, make_optimizer, model_for
from sources import CARRIED, Dataset

from funcnn import checkpoint, data, metrics, optim, training, tree
from funcnn.checkpoint import Checkpoint
from funcnn.stopping import update_best
from funcnn.training import Epoch, Step
from funcnn.tree import Array, Tree

# Without being told otherwise, a run keeps a checkpoint a minute: of so much work nobody is asked whether it counts.
INTERVAL = 60.0


class Run(NamedTuple):
    """All that determines a run beside the data: numbers and strings, which checkpoints hold.

    The names are those of the command line's options.
    """

    model: str
    data: str
    image_size: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    dropout: float
    shift: int
    seed: int
    threads: int
    validation: float
    test: float
    early_stopping: int


class Keeping(NamedTuple):
    """Where and when a run keeps checkpoints, and where its history.

    Attributes
    ----------
    folder : Path, optional
        By default a new one, made when it is needed.
    every : int, optional
        Steps. By default after each epoch, if a folder is given, and each minute.
    keep : int
        How many checkpoints stay.
    history : Path, optional
        Of a file.
    steps : bool
        Whether the history has steps, too.
    command : str
        By which the run was started, but for what it is to be resumed from.
    """

    folder: Path | None = None
    every: int | None = None
    keep: int = 3
    history: Path | None = None
    steps: bool = False
    command: str = "train.py"


class Parts(NamedTuple):
    """Indices of the examples to train on, to validate on after each epoch, and to test on at the end."""

    train: Array
    validation: Array
    test: Array


def hold_out(labels: Array, classes: list[str], test: float, validation: float, seed: int) -> Parts:
    """Cut the data into training, validation and test part, each class in the same proportions in all of them."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels, minlength=len(classes))
    rarest, needed = int(counts.argmin()), 2 + bool(validation)
    if counts[rarest] < needed:
        raise ValueError(
            f"class {classes[rarest]} has {counts[rarest]} of {len(labels)} examples; to train, "
            f"{'validate, ' * bool(validation)}and test takes at least {needed} of each class"
        )
    everything = np.arange(len(labels))
    rest, tested = train_test_split(everything, test_size=test, stratify=labels, random_state=seed)
    if not validation:
        return Parts(rest, everything[:0], tested)
    trained, validated = train_test_split(
        rest, test_size=round(validation * len(everything)), stratify=labels[rest], random_state=seed
    )
    return Parts(trained, validated, tested)


def cross_validation(labels: Array, folds: int) -> list[Parts]:
    """Cut the data into folds, stratified and shuffled, each of them the test part once."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    return [Parts(trained, np.arange(0), tested) for trained, tested in splitter.split(labels, labels)]


def describe(run: Run, dataset: Dataset, parts: Parts) -> dict[str, Any]:
    """Return what a checkpoint has to say of a run, in JSON's types: model, data, options and versions."""
    name = ModelName(run.model)
    in_shape = dataset.x.shape[1:]
    if run.image_size and len(in_shape) == 3:
        in_shape = (run.image_size, run.image_size, in_shape[2])
    scaled = None
    if RECIPES[name].standardise or run.data not in CARRIED:
        # tabular features each by itself, the pixels of a channel all alike
        axes = tuple(range(dataset.x.ndim - 1)) if dataset.x.ndim > 2 else 0
        mean, std = data.mean_and_std(dataset.x[parts.train], axes=axes)
        scaled = {"mean": mean[0].tolist(), "std": std[0].tolist()}
    outputs, _ = loss_for(len(dataset.classes))
    return {
        "model": model_for(name, in_shape, outputs, run.dropout),
        "data": {
            "source": run.data,
            "examples": len(dataset.x),
            "in_shape": list(in_shape),
            "classes": list(dataset.classes),
            "standardize": scaled,
            "fingerprint": fingerprint(dataset),
        },
        "run": run._asdict(),
        "versions": checkpoint.versions(),
    }


def fingerprint(dataset: Dataset) -> str:
    """Return what tells the data from all others: a checksum of examples, labels and classes."""
    told = json.dumps([dataset.x.shape, dataset.classes]).encode()
    total = hashlib.sha256(told)
    total.update(np.ascontiguousarray(dataset.x).data)
    total.update(np.ascontiguousarray(dataset.labels).data)
    return total.hexdigest()


def prepared(description: dict[str, Any], x: Array) -> Array:
    """Return examples as the network takes them."""
    return preparation(tuple(description["data"]["in_shape"]), description["data"]["standardize"])(x)


def begin(run: Run, dataset: Dataset, parts: Parts) -> Checkpoint:
    """Return the state of a run before its first step."""
    description = describe(run, dataset, parts)
    return Checkpoint(_fresh(run, description, len(parts.train)), description)


def _fresh(run: Run, description: dict[str, Any], examples: int) -> training.TrainState:
    model, optimizer = checkpoint.rebuild(description), optimizer_for(run, examples)
    return training.start(model, optimizer, tuple(description["data"]["in_shape"]), key=(run.seed,))


def optimizer_for(run: Run, examples: int) -> optim.Optimizer:
    """Make the run's optimizer, for so many examples an epoch."""
    steps = run.epochs * -(-examples // run.batch_size)
    name, schedule = OptimizerName(run.optimizer), ScheduleName(run.schedule)
    return make_optimizer(name, run.learning_rate, schedule, run.weight_decay, steps)


def check_continues(path: Path, run: Run, saved: Checkpoint, dataset: Dataset, parts: Parts) -> None:
    """Refuse to go on from a checkpoint with other data, or without the optimizer's state."""
    if saved.description["data"]["fingerprint"] != fingerprint(dataset):
        raise ValueError(
            f"{path} was trained on other data: {run.data} has {len(dataset.x)} examples, "
            f"{sources.describe(dataset.x)}, and not the same content"
        )
    fresh = _fresh(run, saved.description, len(parts.train))
    for name in ("params", "state", "opt_state"):
        if _shapes(getattr(fresh, name)) != _shapes(getattr(saved.train_state, name)):
            raise ValueError(f"{path} has no {name} that fits the run")


def _shapes(of: Tree) -> dict[str, tuple[int, ...]]:
    return {path: np.shape(leaf) for path, leaf in tree.flatten(of).items()}


def train(
    run: Run,
    begun: Checkpoint,
    dataset: Dataset,
    parts: Parts,
    *,
    keeping: Keeping | None = None,
    label: str = "",
    quiet: bool = False,
) -> Checkpoint:
    """Train on one part of the data; return what is reached at the end.

    Parameters
    ----------
    run : Run
    begun : Checkpoint
        Where to go on, from `begin` or a file.
    dataset : Dataset
    parts : Parts
    keeping : Keeping, optional
        Without it nothing is kept on the way, and measures that nobody sees are not taken.
    label : str
        Begins each line that is shown.
    quiet : bool
        Show nothing.

    Returns
    -------
    Checkpoint

    Raises
    ------
    terminal.Interrupted
        For Ctrl-C, if something is kept: the message says how to go on.
    """
    if is_over(run, begun):
        return begun
    description, classes = begun.description, len(dataset.classes)
    x, targets = prepared(description, dataset.x), targets_for(dataset.labels, classes)
    _, loss = loss_for(classes)
    # What nobody sees need not be computed.
    watched: dict[str, training.Metric] = {}
    if keeping or not quiet:
        watched = {"accuracy": metrics.accuracy, "loss": lambda outputs, targets: float(loss(outputs, targets)[0])}
    records = training.fit(
        checkpoint.rebuild(description),
        loss,
        optimizer_for(run, len(parts.train)),
        x[parts.train],
        targets[parts.train],
        epochs=run.epochs,
        batch_size=run.batch_size,
        resume=begun.train_state,
        augment=(lambda key, images: data.random_shift(key, images, run.shift, fraction=0.5)) if run.shift else None,
        validation=(x[parts.validation], targets[parts.validation]) if watched and len(parts.validation) else None,
        metrics=watched,
        threads=run.threads,
    ).steps()
    steps = -(-len(parts.train) // run.batch_size)
    shown = terminal.shown(records, run.epochs, label=label, quiet=quiet, done=begun.train_state.epoch, steps=steps)
    with closing(followed(run, begun, shown)) as states:
        reached = kept(begun, states, keeping) if keeping else [begun, *states][-1]
    terminal.echo(quiet)(label + took(begun, reached))
    return reached


def took(begun: Checkpoint, reached: Checkpoint) -> str:
    """Say how long the epochs since took."""
    seconds = [row["seconds"] for row in reached.history[len(begun.history) :]]
    return f"trained in {sum(seconds):.2f} s, {1000 * np.median(seconds or 0):.2f} ms an epoch"


def followed(run: Run, begun: Checkpoint, records: Iterator[Step | Epoch]) -> Generator[Checkpoint, None, None]:
    """Yield what there is to keep after each step and epoch, until early stopping says that it is enough."""
    reached = begun
    for record in records:
        reached = reached._replace(train_state=record.train_state)
        if isinstance(record, Epoch):
            reached = reached._replace(history=[*reached.history, _row(record)])
            if run.early_stopping:
                reached = reached._replace(
                    best=update_best(reached.best, record.validation["loss"], record.train_state)
                )
        yield reached
        if is_over(run, reached):
            return


def is_over(run: Run, reached: Checkpoint) -> bool:
    """Say whether early stopping has waited long enough."""
    return bool(run.early_stopping) and reached.best is not None and reached.best.waited >= run.early_stopping


def _row(epoch: Epoch) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "step": epoch.train_state.step,
        "loss": epoch.loss,
        **{f"train_{name}": value for name, value in epoch.train.items()},
        **{f"validation_{name}": value for name, value in epoch.validation.items()},
        "learning_rate": optim.learning_rate(epoch.train_state.opt_state),
        "seconds": epoch.seconds,
    }


def kept(begun: Checkpoint, states: Iterator[Checkpoint], keeping: Keeping) -> Checkpoint:
    """Go through a run's states, writing checkpoints and history on the way; return the last."""
    reached = stored = begun
    folder, written = keeping.folder, time.monotonic()
    try:
        with noting(keeping, begun) as (note, flush):
            for reached in states:
                note(reached)
                if is_due(keeping, reached.train_state, time.monotonic() - written):
                    flush()  # a checkpoint's history is not behind it
                    folder = folder or new_folder()
                    checkpoint.add(folder, reached, keep=keeping.keep)
                    stored, written = reached, time.monotonic()
        if folder and stored is not reached:
            checkpoint.add(folder, reached, keep=keeping.keep)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        if reached.train_state.step == 0:
            raise
        if stored is not reached or folder is None:
            folder = folder or new_folder()
            checkpoint.add(folder, reached, keep=keeping.keep)
        raise terminal.Interrupted(
            f"interrupted after step {reached.train_state.step}; to go on: {keeping.command} --resume {folder}"
        ) from None
    return reached


def is_due(keeping: Keeping, reached: training.TrainState, since: float) -> bool:
    """Say whether it is time for a checkpoint, ``since`` seconds after the last one."""
    if keeping.every:
        return reached.step % keeping.every == 0 and len(reached.losses) > 0
    return since >= INTERVAL or (keeping.folder is not None and len(reached.losses) == 0)


def new_folder() -> Path:
    """Make a folder for a run's checkpoints that no run has used before."""
    for number in count(1):
        folder = Path("checkpoints", str(number))
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("numbers do not end")


@contextmanager
def noting(keeping: Keeping, begun: Checkpoint) -> Iterator[tuple[Callable[[Checkpoint], None], Callable[[], None]]]:
    """Give the function that adds a line to the history after each epoch, and after each step if that is wanted; and
    the one that leaves nothing of it in memory.

    A history that goes on first loses what comes after the checkpoint, for it will come again.
    """
    path = keeping.history
    if path is None:
        yield lambda reached: None, lambda: None
        return
    rows = [{"record": "epoch", **row} for row in begun.history]
    if begun.train_state.step:
        steps = [row for row in read_history(path) if row["record"] == "step"]
        rows += [row for row in steps if row["step"] <= begun.train_state.step]
    rows.sort(key=lambda row: (row["step"], row["record"] == "epoch"))
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
    try:
        with open(path, "a", encoding="utf-8") as file:

            def note(reached: Checkpoint) -> None:
                now = reached.train_state
                if not len(now.losses):
                    file.write(json.dumps({"record": "epoch", **reached.history[-1]}) + "\n")
                    file.flush()
                elif keeping.steps:
                    rate = optim.learning_rate(now.opt_state)
                    row = {"record": "step", "step": now.step, "epoch": now.epoch + 1, "loss": float(now.losses[-1])}
                    file.write(json.dumps({**row, "learning_rate": rate}) + "\n")

            yield note, file.flush
    except OSError as error:
        if error.filename is None and error.strerror:  # not one that says already what could not be written
            raise OSError(f"cannot write {path}: {error.strerror}") from None
        raise


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a file of --history; a last line that was not finished does not count.

    Raises
    ------
    ValueError, OSError
        If it is something else, or cannot be read. Nothing is wrong with a file that is not there.
    """
    if not path.exists():
        return []
    rows, lines = [], path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            rows.append({**row, "record": str(row["record"]), "step": int(row["step"])})
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"{path} is no history of a run: line {number} is not one of its lines") from None
    return rows
