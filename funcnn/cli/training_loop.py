"""The loop of a run: train epoch by epoch, write checkpoints and history, stop early."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnn import checkpoint, data, files, metrics, training
from funcnn.checkpoint import Checkpoint
from funcnn.cli import console, jobs, runs
from funcnn.cli.history import history_writer
from funcnn.cli.runs import Run
from funcnn.combinators import frozen
from funcnn.combinators.children import child_names
from funcnn.data import Dataset, Selected, Source, Splits
from funcnn.data.lazy import select
from funcnn.history import epoch_row
from funcnn.keys import Key
from funcnn.layer import Layer, op_and_options
from funcnn.predictor import loss_for, preprocess, targets_for
from funcnn.progress import with_progress
from funcnn.stopping import update_best
from funcnn.training import Epoch, Step
from funcnn.tree import Array, Tree

# Seconds between two checkpoints of a run without --checkpoints and --checkpoint-every.
INTERVAL = 60.0


class CheckpointPolicy(NamedTuple):
    """Where and when a run writes checkpoints, and where its history.

    Attributes
    ----------
    folder : Path, optional
        Which the run has locked, unless ``not_held``. By default a new one, made when the first checkpoint is due.
    every : int, optional
        Steps between two checkpoints. By default they are written each minute and, if a folder is given, after each
        epoch.
    keep : int
        Number of checkpoints that stay, the newest.
    parent : Path
        Where the new folder is made by default.
    resumed : Path, optional
        The checkpoint that the run resumes from.
    same_folder : bool
        Whether it is in ``folder``.
    replaces : Path, optional
        One in the folder that Ctrl-C wrote where none was due, to remove when the next one is written.
    not_held : str
        Why the folder could not be locked, as it cannot be made or written to; "" if it is. It is tried again with each
        checkpoint.
    history : Path, optional
    history_steps : bool
        Whether the history has a line for each step, too.
    """

    folder: Path | None = None
    every: int | None = None
    keep: int = 3
    parent: Path = Path("checkpoints")
    resumed: Path | None = None
    same_folder: bool = False
    replaces: Path | None = None
    not_held: str = ""
    history: Path | None = None
    history_steps: bool = False


class Trained(NamedTuple):
    """The end of a run.

    Attributes
    ----------
    checkpoint : Checkpoint
        The last state.
    failures : list of str
        What was asked for and could not be written.
    """

    checkpoint: Checkpoint
    failures: list[str]


class InterruptedRun(Exception):  # noqa: N818 not an error
    """Ctrl-C.

    Attributes
    ----------
    step : int
    source : Path, optional
        The folder or file to resume from; None if no checkpoint could be written.
    failure : str
        Why ``source`` is none, or older than ``step``.
    """

    def __init__(self, step: int, source: Path | None, failure: str = "") -> None:
        super().__init__(f"interrupted after step {step}")
        self.step, self.source, self.failure = step, source, failure


def train(
    run: Run,
    model: Layer,
    initial: Checkpoint,
    dataset: Dataset,
    splits: Splits,
    *,
    policy: CheckpointPolicy | None = None,
    label: str = "",
    quiet: bool = False,
    comm: Any = None,
) -> Trained:
    """Train on the training part of the data.

    Parameters
    ----------
    run : Run
    model : Layer
        As ``initial.description`` describes it.
    initial : Checkpoint
        Where to start: before the first step, or where an earlier run was interrupted.
    dataset : Dataset
    splits : Splits
    policy : CheckpointPolicy, optional
        Without it no checkpoint is written, and if ``quiet`` nothing is measured after an epoch.
    label : str
        Begins each line of progress.
    quiet : bool
        Show nothing.
    comm : mpi4py.MPI.Comm, optional
        The ranks that train together, of which only the first shows and writes anything.

    Returns
    -------
    Trained

    Raises
    ------
    InterruptedRun
        For Ctrl-C after the first step, if there is a policy.
    """
    if has_stopped_early(run, initial):
        return Trained(initial, [])
    classes = len(dataset.classes)
    x = preprocess(dataset.x, initial.description["preprocessing"], full_scale=1, warn_of_range=False)
    used, n = np.concatenate([splits.train, splits.validation]), len(splits.train)  # without the test part's features
    x, targets = Selected(x, used), targets_for(dataset.labels[used], classes)
    if not run.shift:
        model, x = features_of_frozen(model, initial.train_state.state, x, run.threads, comm)
    _, loss = loss_for(classes)
    measures: dict[str, training.Metric] = {}
    if policy or not quiet:
        measures = {"accuracy": metrics.accuracy, "loss": lambda outputs, targets: float(loss(outputs, targets)[0])}
    records = training.fit(
        model,
        loss,
        runs.optimizer_for(run, len(splits.train)),
        Selected(x, np.arange(n)),
        targets[:n],
        epochs=run.epochs,
        batch_size=run.batch_size,
        resume=initial.train_state,
        augment=partial(data.random_shift, max_shift=run.shift, fraction=0.5) if run.shift else None,
        validation=(Selected(x, np.arange(n, len(used))), targets[n:]) if measures and n < len(used) else None,
        metrics=measures,
        threads=run.threads,
        comm=comm,
    ).steps()
    if comm is not None and comm.Get_rank() > 0:
        policy, quiet = None, True
    steps = -(-len(splits.train) // run.batch_size)
    displayed = with_progress(
        records,
        run.epochs,
        label=label,
        quiet=quiet,
        epochs_done=initial.train_state.epoch,
        steps_done=len(initial.train_state.losses),
        steps_per_epoch=steps,
    )
    # Close both here: no live line may be left on the terminal when Ctrl-C is reported.
    with closing(displayed), closing(checkpoints_of(run, initial, displayed)) as states:
        trained = store(initial, states, policy) if policy else Trained(deque((initial, *states), maxlen=1)[0], [])
    console.logger(quiet)(label + format_duration(initial, trained.checkpoint))
    return trained


def features_of_frozen(model: Layer, state: Tree, x: Source, threads: int, comm: Any = None) -> tuple[Layer, Source]:
    """Compute what a model's frozen first layers make of the examples once for all epochs, if it has such layers.

    Returns
    -------
    model : Layer
        Of the same parameters and state, which takes the features and passes them to the layers that are trained.
    features : array
        Or, if no layers are frozen, ``x``.
    """
    if not model.children or op_and_options(model.children[0])[0] is not frozen:
        return model, x
    assert model.rebuild is not None  # it is a combinator
    layer, *rest = model.children
    (name, *_) = child_names("fine_tuned", model.children)
    features = training.predict(layer, {}, state[name], x, threads=threads, comm=comm)

    def passed_on(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        return x, lambda dy: ({}, dy), state

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, state[name], in_shape  # `fit` compares the state that it resumes with this

    return model.rebuild(layer._replace(init=init, forward=passed_on), *rest), features


def format_duration(initial: Checkpoint, current: Checkpoint) -> str:
    """Return a sentence on how long the epochs between two checkpoints took."""
    seconds = [row["seconds"] for row in current.history[len(initial.history) :]]
    return f"trained in {sum(seconds):.2f} s, {1000 * np.median(seconds or 0):.2f} ms an epoch"


def checkpoints_of(run: Run, initial: Checkpoint, records: Iterator[Step | Epoch]) -> Generator[Checkpoint, None, None]:
    """Yield what a checkpoint would hold after each step and epoch, until the run stops early or ends.

    All have the same history, which grows by a row an epoch, since copying it each epoch would take quadratic time.
    `snapshot` returns the rows up to one of them.
    """
    history = list(initial.history)
    current = initial._replace(history=history)
    for record in records:
        if current.train_state is initial.train_state:
            current = runs.with_kernels(current)
        current = current._replace(train_state=record.train_state)
        if isinstance(record, Epoch):
            history.append(epoch_row(record))
            if run.early_stopping:
                best = update_best(current.best, record.validation["loss"], record.train_state)
                current = current._replace(best=best)
        yield current
        if has_stopped_early(run, current):
            return


def snapshot(initial: Checkpoint, current: Checkpoint) -> Checkpoint:
    """Return what `checkpoints_of` has yielded, with a history of its own that ends with its last epoch."""
    rows = len(initial.history) + current.train_state.epoch - initial.train_state.epoch
    return current._replace(history=current.history[:rows])


def has_stopped_early(run: Run, current: Checkpoint) -> bool:
    """Return whether the validation loss has not fallen for as many epochs as --early-stopping allows."""
    return bool(run.early_stopping) and current.best is not None and current.best.waited >= run.early_stopping


def store(initial: Checkpoint, states: Iterator[Checkpoint], policy: CheckpointPolicy) -> Trained:
    """Iterate over a run's states and write checkpoints and history on the way.

    What cannot be written is a warning, once, and the run goes on; the next checkpoint is tried again.
    """
    current = initial
    stored = initial if policy.same_folder else None
    folder, replaces, written = policy.folder, policy.replaces, time.monotonic()
    held_folder = policy.folder is not None and not policy.not_held
    failures: dict[str, str] = {}

    def fail(what: str, message: str) -> None:
        if what not in failures:
            console.warn(f"{message}; training goes on without {what}")
            failures[what] = message

    with ExitStack() as held:
        histories = held.enter_context(ExitStack())
        history = histories.enter_context(history_writer(policy.history, policy.history_steps, initial))

        def record(write: Callable[[], None]) -> None:
            try:
                write()
            except OSError as error:
                fail("a history", f"cannot write {policy.history}: {error.strerror}" if error.strerror else str(error))

        def add(state: Checkpoint) -> None:
            nonlocal folder, held_folder, stored, replaces
            if folder is None:
                folder = held.enter_context(locked_new_folder(policy.parent))
            elif not held_folder:
                held.enter_context(files.locked(folder))
            held_folder = True
            checkpoint.add(folder, snapshot(initial, state), keep=policy.keep, replaces=replaces)
            stored, replaces = state, None

        def try_to_add(state: Checkpoint) -> None:
            nonlocal written
            try:
                add(state)
            except OSError as error:
                fail("checkpoints", str(error))
            written = time.monotonic()

        try:
            if policy.not_held:
                fail("checkpoints", policy.not_held)
            for state in states:
                if "a history" not in failures:
                    record(partial(history.write, state))
                current = state  # only now: wherever Ctrl-C comes, the history is not behind the checkpoint
                if is_due(policy, current.train_state, time.monotonic() - written):
                    if "a history" not in failures:
                        record(history.flush)  # the history in the file is never behind the checkpoint
                    try_to_add(current)
            record(histories.close)
            if folder and stored is not current:
                try_to_add(current)
        except KeyboardInterrupt:
            jobs.ignore_interrupts()  # a second Ctrl-C must not stop the writing
            record(histories.close)
            if current.train_state.step == 0:
                raise
            if stored is not current:
                if not is_due(policy, current.train_state, 0):
                    current = current._replace(description={**current.description, "interrupted": True})
                try:
                    add(current)
                except OSError as error:
                    source = policy.resumed if stored is None else folder
                    raise InterruptedRun(current.train_state.step, source, str(error)) from None
            raise InterruptedRun(current.train_state.step, folder) from None
    asked = policy.folder or policy.every
    return Trained(current, [message for what, message in failures.items() if asked or what != "checkpoints"])


def is_due(policy: CheckpointPolicy, current: training.TrainState, seconds: float) -> bool:
    """Return whether it is time for a checkpoint, ``seconds`` after the last one."""
    if policy.every:
        return current.step % policy.every == 0 and len(current.losses) > 0
    return seconds >= INTERVAL or (policy.folder is not None and len(current.losses) == 0)


@contextmanager
def locked_new_folder(parent: Path) -> Iterator[Path]:
    """Make and lock a folder for a run's checkpoints that no other run has used."""
    folder = files.new_folder(parent)
    with files.locked(folder):
        yield folder


def confusion_on_test(
    run: Run, model: Layer, current: Checkpoint, dataset: Dataset, splits: Splits, comm: Any = None
) -> Array:
    """Return the confusion matrix on the test part of the data."""
    train_state = current.train_state
    x = select(dataset.x, splits.test)
    x = preprocess(x, current.description["preprocessing"], full_scale=1, warn_of_range=False)
    outputs = training.predict(model, train_state.params, train_state.state, x, threads=run.threads, comm=comm)
    return metrics.confusion_matrix(outputs, dataset.labels[splits.test], len(dataset.classes))
