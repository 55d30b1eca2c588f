"""Epochs, steps and metrics: the training loop. See `funcnn.training`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import blas, checks, html, keys, optim, tree
from funcnn.data import batches
from funcnn.data.examplewise import Augmentation, augment_sources
from funcnn.data.lazy import Selected, Source, as_source, take
from funcnn.data_parallel import over_ranks, prepare_kernels
from funcnn.divergence import diverged
from funcnn.gradients import value_and_grad
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer
from funcnn.losses import Loss
from funcnn.optim import Optimizer, learning_rate
from funcnn.process_groups import ProcessGroup, digest, process_group
from funcnn.training.prediction import number_of_threads, predict
from funcnn.tree import Array, Tree

Metric: TypeAlias = Callable[[Array, Array], float]
Mixing: TypeAlias = Callable[[Key, Array, Array], tuple[Array, Array]]

__all__ = [
    "Epoch",
    "EpochIterator",
    "EpochPlan",
    "Metric",
    "Mixing",
    "Step",
    "TrainState",
    "evaluate",
    "fit",
    "start",
    "update",
]

# The random streams of a run, each derived from its key. A step's random numbers depend only on the key and the step.
_INIT, _ORDER, _AUGMENT, _FORWARD, _MIX = range(5)


def evaluate(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array | Source,
    targets: Array | Source,
    metrics: Mapping[str, Metric],
    *,
    threads: int | None = None,
    comm: Any = None,
) -> dict[str, float]:
    """Return the metrics of the model's outputs in evaluation mode.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array or source (N, ...)
    targets : array or source (N, ...)
        Read whole, as the outputs are kept whole.
    metrics : dict of callable
        ``metric(outputs, targets) -> float`` by name.
    threads, comm : optional
        As in `predict`. All ranks return the first one's metrics.

    Returns
    -------
    dict of float

    Examples
    --------
    >>> from funcnn.layers import relu
    >>> from funcnn.metrics import accuracy
    >>> evaluate(relu(), {}, {}, np.eye(2), np.array([0, 0]), {"accuracy": accuracy})
    {'accuracy': 0.5}
    """
    outputs = predict(model, params, state, x, threads=threads, comm=comm)
    whole = take(as_source(targets), slice(None))
    values = {name: float(metric(outputs, whole)) for name, metric in metrics.items()}
    return process_group("evaluate", comm).gather(values)[0]


class EpochPlan(NamedTuple):
    """How an epoch divides the examples into steps. A state within an epoch only goes on with the same plan.

    Attributes
    ----------
    examples, batch_size : int
    shuffle : bool
    steps : int
        The number of batches, without those whose weights are all 0.

    Examples
    --------
    >>> print(EpochPlan(100, 32, shuffle=True, steps=4))
    4 steps: 100 examples, shuffled, in batches of 32
    """

    examples: int
    batch_size: int
    shuffle: bool
    steps: int

    def __str__(self) -> str:
        order = "shuffled" if self.shuffle else "in order"
        return f"{self.steps} steps: {self.examples} examples, {order}, in batches of {self.batch_size}"


class TrainState(NamedTuple):
    """Everything that training passes from step to step. `fit` can resume from it with the same results.

    Attributes
    ----------
    params, state, opt_state : tree
        Of the model and the optimizer.
    key : tuple of int
        The key of the whole run. Together with ``epoch`` and ``step`` it determines all later random numbers.
    epoch, step : int
        The numbers of completed epochs and of completed steps, counted over all epochs.
    losses : sequence of float
        The losses of the completed steps of the current epoch. Their number is the position in the epoch.
    plan : EpochPlan, optional
        Of the current epoch, if some of its steps are completed.
    optimizer : str
        The name of the optimizer that ``opt_state`` belongs to; "" for unknown.

    Examples
    --------
    See `start`.
    """

    params: Tree
    state: Tree
    opt_state: Tree
    key: Key
    epoch: int
    step: int
    losses: Sequence[float] | Array = ()
    plan: EpochPlan | None = None
    optimizer: str = ""


class Step(NamedTuple):
    """The record that `EpochIterator.steps` yields after each step.

    Attributes
    ----------
    epoch : int
        The number of the current epoch, from 1.
    loss : float
        The loss of the step's batch, in training mode and before the update.
    train_state : TrainState
        After the step; pass it as ``resume`` to continue from there.

    Examples
    --------
    See `EpochIterator`.
    """

    epoch: int
    loss: float
    train_state: TrainState


class Epoch(NamedTuple):
    """The record that `fit` yields after each epoch.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        Mean of ``losses``, weighted by the batches' sizes (or the sums of their weights, with ``sample_weight``).
    losses : array (steps,)
        Each step's loss, in training mode and before its update.
    train, validation : dict of float
        The metrics after the epoch, in evaluation mode, on the training data (not augmented) and the validation data.
    seconds : float
        The time of the epoch's steps, without evaluation and the caller's code.
    train_state : TrainState
        After the epoch; pass it as ``resume`` to continue from there.

    Examples
    --------
    See `fit`.
    """

    epoch: int
    loss: float
    losses: Array
    train: dict[str, float]
    validation: dict[str, float]
    seconds: float
    train_state: TrainState

    def _repr_html_(self) -> str:
        parts = {"training": self.train, "validation": self.validation}
        measured = [(f"{part} {name}", value) for part, values in parts.items() for name, value in values.items()]
        return html.table((), [("epoch", self.epoch), ("loss", self.loss), *measured, ("seconds", self.seconds)])


class EpochIterator(Iterator[Epoch]):
    """The iterator that `fit` returns. Each ``next`` trains for one epoch and returns its `Epoch` record.

    Examples
    --------
    >>> from funcnn import losses, models, optim
    >>> x, labels = np.eye(6, dtype=np.float32), np.arange(6) % 2
    >>> def run(resume=None):
    ...     model, loss, optimizer = models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1)
    ...     return fit(model, loss, optimizer, x, labels, epochs=1, batch_size=2, key=(0,), resume=resume)
    >>> records = list(run().steps())
    >>> [type(record).__name__ for record in records]
    ['Step', 'Step', 'Step', 'Epoch']

    A run resumed after the first of the epoch's three steps yields the other two and the same epoch:

    >>> resumed = list(run(resume=records[0].train_state).steps())
    >>> len(resumed), bool((resumed[-1].losses == records[-1].losses).all())
    (3, True)
    """

    def __init__(self, records: Generator[Step | Epoch, None, None]) -> None:
        self._records = records

    def __next__(self) -> Epoch:
        with blas.one_thread:  # once an epoch instead of in each step
            for record in self._records:
                if isinstance(record, Epoch):
                    return record
        raise StopIteration

    def steps(self) -> Generator[Step | Epoch, None, None]:
        """Return an iterator over all records: a `Step` after each step and, after an epoch's last one, its `Epoch`.

        Use it to act within an epoch, such as to save checkpoints. Both iterators advance the same training.

        Examples
        --------
        >>> from funcnn import losses, models, optim
        >>> x, labels = np.eye(4, dtype=np.float32), np.arange(4) % 2
        >>> model, loss, optimizer = models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1)
        >>> records = fit(model, loss, optimizer, x, labels, epochs=1, batch_size=2, key=(0,)).steps()
        >>> [(type(record).__name__, record.train_state.step) for record in records]
        [('Step', 1), ('Step', 2), ('Epoch', 2)]
        """
        return self._records


def start(model: Layer, optimizer: Optimizer, in_shape: tuple[int, ...], *, key: Key) -> TrainState:
    """Return the state of training before the first step: initial parameters, state and optimizer state.

    Parameters
    ----------
    model : Layer
    optimizer : funcnn.optim.Optimizer
    in_shape : tuple of int
        The shape of an example, without the batch axis.
    key : tuple of int
        The key of the whole run.

    Returns
    -------
    TrainState

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> from funcnn.optim import sgd
    >>> train_state = start(dense(1), sgd(0.1), (30,), key=(0,))
    >>> train_state.params["w"].shape, train_state.step
    ((30, 1), 0)
    """
    _check_types("start", model, optimizer)
    params, state, _ = model.init(fold_in(key, _INIT), in_shape)
    return TrainState(params, state, optimizer.init(params), key, 0, 0, optimizer=optimizer.name)


def update(
    grad_fn: Callable[..., tuple[Any, Tree, Tree]],
    optimizer: Optimizer,
    train_state: TrainState,
    x: Array,
    targets: Array,
    *,
    sample_weight: Array | None = None,
    augment: Augmentation | None = None,
    mix: Mixing | None = None,
) -> tuple[TrainState, Any]:
    """Do one training step on a batch: loss, gradient, update. `fit` calls this in a loop; so can your own code.

    Parameters
    ----------
    grad_fn : callable
        From `funcnn.gradients.value_and_grad` or `funcnn.data_parallel.over_threads`.
    optimizer : funcnn.optim.Optimizer
    train_state : TrainState
        From `start` or the previous step. It is not modified.
    x : array (N, ...)
    targets : array (N, ...)
    sample_weight : array (N,), optional
    augment, mix : callable, optional
        As in `fit`, but both are applied to the whole batch.

    Returns
    -------
    train_state : TrainState
        After the step: with new params, state and opt_state, and ``step`` increased by 1. The other fields are
        unchanged; a loop that counts epochs sets them.
    value : float
        The loss, in training mode and before the update.

    Raises
    ------
    ValueError
        If the loss is not finite (the message has epoch, step and learning rate, and names the array and the example
        that are not finite, if any are), ``train_state`` is of an optimizer of another name, or the shapes do not fit a
        layer (a note names its path).

    Examples
    --------
    >>> from funcnn import losses
    >>> from funcnn.gradients import value_and_grad
    >>> from funcnn.layers import dense
    >>> from funcnn.optim import sgd
    >>> model, optimizer = dense(1), sgd(0.1)
    >>> train_state = start(model, optimizer, (2,), key=(0,))
    >>> grad_fn = value_and_grad(model, losses.mse)
    >>> x, targets = np.eye(2, dtype=np.float32), np.array([[5.0], [6.0]], np.float32)
    >>> values = []
    >>> for _ in range(3):
    ...     train_state, value = update(grad_fn, optimizer, train_state, x, targets)
    ...     values.append(value)
    >>> train_state.step, bool(values[2] < values[0])
    (3, True)
    """
    _check_name("update: train_state", train_state, optimizer)
    augmented = None if augment is None else lambda key, x: augment(key, np.asarray(x))
    return _update(grad_fn, optimizer, train_state, x, targets, sample_weight, None, augmented, mix)


def _update(
    grad_fn: Callable[..., tuple[Any, Tree, Tree]],
    optimizer: Optimizer,
    train_state: TrainState,
    x: Array | Source,
    targets: Array | Source,
    sample_weight: Array | None,
    batch: Array | None,
    augment: Callable[[Key, Source], Array | Source] | None,
    mix: Mixing | None,
) -> tuple[TrainState, Any]:
    """Do the step of `update` on the examples ``batch``; None is all of them. ``augment`` may return a source."""
    given = x, targets, sample_weight
    if batch is not None:
        x, targets = Selected(x, batch), take(targets, batch)
        sample_weight = None if sample_weight is None else sample_weight[batch]
    params, state, opt_state, key, epoch, step, losses, plan, _ = train_state
    if augment is not None:
        x = augment(fold_in(fold_in(key, _AUGMENT), step), x)
    if mix is not None:
        x, targets = mix(fold_in(fold_in(key, _MIX), step), np.asarray(x), np.asarray(targets))
    # An overflow makes the loss infinite or NaN, which raises an error below. NumPy's warnings would add nothing.
    with blas.one_thread, np.errstate(over="ignore", invalid="ignore"):
        value, grads, state = grad_fn(params, state, x, targets, fold_in(fold_in(key, _FORWARD), step), sample_weight)
        if not np.isfinite(value):
            raise diverged(
                f"the loss is {value}",
                _where(train_state),
                dict(zip(("x", "targets", "sample_weight"), given, strict=True)),
                changed={"the augmented x": x, "the mixed targets": targets},
                numbers=batch,
                trees={"parameters": train_state.params, "state": train_state.state},
            )
        params, opt_state = optim.step(optimizer, grads, opt_state, params)
    return TrainState(params, state, opt_state, key, epoch, step + 1, losses, plan, optimizer.name), value


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Array | Source,
    targets: Array | Source,
    *,
    epochs: int,
    batch_size: int = 64,
    key: Key | None = None,
    resume: TrainState | None = None,
    sample_weight: Array | None = None,
    augment: Augmentation | None = None,
    mix: Mixing | None = None,
    shuffle: bool = True,
    validation: tuple[Array | Source, Array | Source] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    threads: int | None = None,
    comm: Any = None,
) -> EpochIterator:
    """Train a model, yielding a record after each epoch. Stop iterating to stop training.

    No step is taken before the first ``next``. For early stopping, checkpoints and progress bars, write code in the
    loop over the records.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`.
    optimizer : funcnn.optim.Optimizer
    x : array or source (N, ...)
        Each batch is read when its step comes, each thread and rank reading its own shard (all of them the whole batch,
        if ``augment`` or ``mix`` needs it). Of sources, a shuffled epoch reads rows all over (``shuffle``).
    targets : array or source (N, ...)
    epochs : int
        Train until this many epochs are completed, including those before ``resume``.
    batch_size : int
        Each epoch uses every example once; its last batch may be smaller.
    key : tuple of int
        For all random numbers: initial weights, order, augmentation, dropout. Not needed with ``resume``.
    resume : TrainState, optional
        Continue from this state, the ``train_state`` of an earlier record (an epoch's or a step's) or from `start`.
    sample_weight : array (N,), optional
        A batch whose weights are all 0 is skipped.
    augment : callable, optional
        ``augment(key, x) -> x``, applied to each batch. The functions of `funcnn.data`, also with options bound by
        `functools.partial`, are applied to each shard's rows; and so is a function of your own, such as a composition
        of them, that `funcnn.data.Examplewise` declares to change each example by itself. Any other is given the whole
        batch. The augmented examples are the same.
    mix : callable, optional
        ``mix(key, x, targets) -> x, targets``, applied to each whole batch after ``augment``: an augmentation that
        changes the targets, too, such as `funcnn.data.mixup`. Metrics use the original examples and targets.
    shuffle : bool
        Whether each epoch takes the examples in a new random order.
    validation : (x, targets), optional
        Arrays or sources. Data for the metrics alone. Requires ``metrics``.
    metrics : dict of callable, optional
        ``metric(outputs, targets) -> float`` by name, evaluated after each epoch on the training and validation data.
    threads : int, optional
        The maximum number of threads, for steps (`funcnn.data_parallel.over_threads`) and metrics (`predict`), by
        default one per core. The same number gives the same results bit for bit, another number the same up to
        rounding.
    comm : mpi4py.MPI.Comm, optional
        The ranks of an MPI job, all of which call this function with the same arguments and yield the same records
        (`funcnn.data_parallel.over_ranks`). ``threads`` are those of each rank, by default 1. R ranks of one thread
        give bit for bit what R shards give on threads.

    Returns
    -------
    EpochIterator
        Yields an `Epoch` after each epoch. Its method ``steps`` yields a `Step` after each step, too.

    Raises
    ------
    TypeError
        If ``model``, ``optimizer`` or ``key`` is something else, such as a function that should have been called.
    ValueError
        Immediately, if the arguments do not fit each other, ``resume`` has the state of another model or another
        optimizer, or it is in the middle of an epoch with other numbers of examples, batch size or order; if an array
        has masked entries. While iterating, if a loss is not finite; the message has epoch, step and learning rate, and
        names the array and the example that are not finite, if any are. Also if the ranks of ``comm`` were given other
        arguments, or their parameters differ after an epoch.

    Examples
    --------
    >>> from funcnn import data, losses, metrics, models, optim
    >>> x, labels = data.digits()
    >>> for epoch in fit(models.mlp(), losses.softmax_cross_entropy, optim.adam(1e-2), x, labels, epochs=3, key=(0,)):
    ...     pass
    >>> params, state = epoch.train_state.params, epoch.train_state.state
    >>> metrics.accuracy(predict(models.mlp(), params, state, x), labels) > 0.95
    True
    """
    _check_types("fit", model, optimizer)
    for name, array in (("x", x), ("targets", targets), ("sample_weight", sample_weight), ("validation", validation)):
        for part in array if isinstance(array, tuple) else (array,):
            checks.unmasked("fit", name, part)
    x, targets = as_source(x), as_source(targets)
    weights = None if sample_weight is None else take(as_source(sample_weight), slice(None))
    metrics = metrics or {}
    if len(x.shape) < 2 or not targets.shape or len(x) != len(targets) or not len(x):
        raise ValueError(f"fit: x {x.shape} and targets {targets.shape} must have the same length, at least 1")
    if weights is not None and len(weights) != len(x):
        raise ValueError(f"fit: sample_weight {weights.shape} must have the length of x {x.shape}")
    if weights is not None and not weights.any():
        raise ValueError(f"fit: all {len(weights)} entries of sample_weight are 0")
    if validation is not None and (len(validation[0]) != len(validation[1]) or not metrics):
        lengths = f"{len(validation[0])} examples and {len(validation[1])} targets"
        raise ValueError(f"fit: validation needs metrics and one target per example; got {lengths}")
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if not checks.is_int(number):
            raise TypeError(f"fit: {name} must be an int, not {number!r}")
    if epochs < 0 or batch_size < 1:
        raise ValueError(f"fit: epochs must be >= 0 and batch_size >= 1, got {epochs} and {batch_size}")
    if resume is None and key is None:
        raise ValueError("fit: needs a key such as (0,), or resume")
    if resume is not None:
        _check_resumed(resume, model, x.shape[1:], optimizer)
    first = resume or start(model, optimizer, x.shape[1:], key=() if key is None else key)
    group = process_group("fit", comm)
    threads = number_of_threads("fit", threads, group)
    _check_ranks(group, first, f"{epochs} epochs of {len(x)} examples in batches of {batch_size}")
    whole_grad_fn = value_and_grad(model, loss)

    def batches_of(train_state: TrainState) -> list[tuple[Array, float]]:
        """Return (indices, total weight) for each batch of the epoch, without batches of total weight 0."""
        order = fold_in(fold_in(train_state.key, _ORDER), train_state.epoch + 1) if shuffle else None
        indices = batches(len(x), batch_size, key=order)
        if weights is None:
            return [(batch, len(batch)) for batch in indices]
        return [(batch, float(weights[batch].sum())) for batch in indices if weights[batch].any()]

    def plan_of(batches_in_epoch: Sequence[Any]) -> EpochPlan:
        return EpochPlan(len(x), batch_size, bool(shuffle), len(batches_in_epoch))

    if done_before := len(first.losses):
        plan = plan_of(batches_of(first))
        if done_before > plan.steps:
            raise ValueError(
                f"fit: resume has {done_before} completed steps in epoch {first.epoch + 1}, but {len(x)} examples "
                f"in batches of {batch_size} make {plan.steps} steps per epoch"
                + ("" if weights is None else ", without batches of weight 0")
            )
        if first.plan not in (None, plan):
            raise ValueError(
                f"fit: resume is in the middle of epoch {first.epoch + 1}, which had {first.plan}, but fit was given "
                f"{plan}; resume from the end of an epoch to change them"
            )

    def records(train_state: TrainState) -> Generator[Step | Epoch, None, None]:
        if train_state.epoch < epochs:  # all epochs count: a run that is resumed goes on with the same kernels
            prepare_kernels(model, train_state.params, train_state.state, x, batch_size, epochs)
        grad_fn = over_ranks(whole_grad_fn, comm, threads)
        augmented = None if augment is None else augment_sources(augment, x)
        while train_state.epoch < epochs:
            number, started, seconds = train_state.epoch + 1, time.perf_counter(), 0.0
            epoch_batches, done = batches_of(train_state), len(train_state.losses)
            plan = plan_of(epoch_batches)
            # The train_state of each step has a view of the losses so far; an entry is written only once.
            losses = np.empty(plan.steps)
            losses[:done] = train_state.losses
            for i, (batch, _) in enumerate(epoch_batches[done:], start=done):
                train_state, value = _update(
                    grad_fn, optimizer, train_state, x, targets, weights, batch, augmented, mix
                )
                losses[i] = value
                train_state = train_state._replace(losses=losses[: i + 1], plan=plan)
                seconds += time.perf_counter() - started
                yield Step(number, float(value), train_state)
                started = time.perf_counter()  # the time of the caller's code does not count
            if not math.isfinite(tree.norm(train_state.params)):
                last = train_state._replace(step=train_state.step - 1)
                given = {"x": x, "targets": targets, "sample_weight": weights}
                raise diverged("the parameters are no longer finite", _where(last), given)
            seconds += time.perf_counter() - started
            train_state = train_state._replace(epoch=number, losses=(), plan=None)
            _check_ranks(group, train_state, f"epoch {number}")
            on_train, on_validation = (
                evaluate(
                    model, train_state.params, train_state.state, data[0], data[1], metrics, threads=threads, comm=comm
                )
                if metrics and data
                else {}
                for data in ((x, targets), validation)
            )
            mean = float(np.average(losses, weights=[weight for _, weight in epoch_batches]))
            yield Epoch(number, mean, losses, on_train, on_validation, seconds, train_state)

    return EpochIterator(records(first))


def _check_types(where: str, model: Layer, optimizer: Optimizer) -> None:
    """Raise a TypeError for a function that makes a model or an optimizer, but was not called."""
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model must be a Layer, such as models.convnet(10), not {model!r}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{where}: optimizer must be an Optimizer, such as optim.sgd(0.1), not {optimizer!r}")


def _check_resumed(resume: TrainState, model: Layer, in_shape: tuple[int, ...], optimizer: Optimizer) -> None:
    """Raise an error if a state to resume from is not one, or not that of this model and this optimizer."""
    if not isinstance(resume, TrainState):
        raise TypeError(
            f"fit: resume must be a TrainState, such as a record's train_state, not {type(resume).__name__}"
        )
    _check_name("fit: resume", resume, optimizer)
    params, state = _init_shapes(model, in_shape, resume.key)
    for name, owner, expected, found in (
        ("params", "model", params, resume.params),
        ("state", "model", state, resume.state),
        ("opt_state", "optimizer", optimizer.init(resume.params), resume.opt_state),
    ):
        try:
            tree.map(lambda *_: None, expected, found)
            for (path, leaf), other in zip(tree.flatten(expected).items(), tree.leaves(found), strict=True):
                if np.shape(leaf) != np.shape(other):
                    raise ValueError(
                        f"trees differ at {path}: shape {np.shape(leaf)} in tree 0, {np.shape(other)} in tree 1"
                    )
        except ValueError as error:
            raise ValueError(
                f"fit: resume (tree 1) has the {name} of another {owner} than the one given (tree 0): {error}"
            ) from None


def _check_ranks(group: ProcessGroup, train_state: TrainState, at: str) -> None:
    """Raise an error unless the ranks of a group are at the same point, with the same parameters and state."""
    if group.size == 1:
        return
    points = group.gather((at, train_state.step, train_state.key))
    if any(point != points[0] for point in points):
        raise ValueError(f"fit: the ranks were given other arguments: {'; '.join(dict.fromkeys(p[0] for p in points))}")
    digests = group.gather(digest(train_state.params, train_state.state))
    others = [str(rank) for rank, other in enumerate(digests) if other != digests[0]]
    if others:
        raise ValueError(
            f"fit: the parameters of rank {', '.join(others)} differ from those of rank 0 ({at}, step "
            f"{train_state.step}): all ranks need the same libraries, and processors of one kind or OPENBLAS_CORETYPE"
        )


def _check_name(what: str, train_state: TrainState, optimizer: Optimizer) -> None:
    """Raise an error if a state is known to belong to an optimizer of another name: its arrays may look the same."""
    if train_state.optimizer and optimizer.name and train_state.optimizer != optimizer.name:
        raise ValueError(f"{what} was trained by {train_state.optimizer}, not {optimizer.name}")


def _init_shapes(model: Layer, in_shape: tuple[int, ...], key: Key) -> tuple[Tree, Tree]:
    """Return params and state of the shapes that a model makes for examples of a shape, if possible without drawing."""
    try:
        params, state, _ = model.init(keys.shapes_only(sys.maxsize), in_shape)
    except (ValueError, TypeError):  # a layer that draws by itself refuses such a key; any other error comes again
        params, state, _ = model.init(fold_in(key, _INIT), in_shape)
    return params, state


def _where(train_state: TrainState) -> str:
    """Say at which step an error is; ``train_state`` is the state before the step."""
    rate = learning_rate(train_state.opt_state)
    at = "" if rate is None else f" with learning rate {rate:g}"
    return f"in epoch {train_state.epoch + 1}, step {train_state.step}{at}"
