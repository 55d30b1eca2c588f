"""Training: one step, epochs as an iterator, predictions in batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import checks, tree
from funcnn.data import batches
from funcnn.data_parallel import cores, map_batches, over_threads
from funcnn.gradients import Loss, value_and_grad
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer
from funcnn.optim import Optimizer, apply_updates, learning_rate
from funcnn.tree import Array, Tree

Metric: TypeAlias = Callable[[Array, Array], float]
Augmentation: TypeAlias = Callable[[Key, Array], Array]
Mixing: TypeAlias = Callable[[Key, Array, Array], tuple[Array, Array]]

__all__ = [
    "Epoch",
    "EpochIterator",
    "Metric",
    "Step",
    "TrainState",
    "evaluate",
    "fit",
    "predict",
    "start",
    "update",
]

# The random streams of a run, each below the run's key: a step's numbers depend on the key and the step alone.
_INIT, _ORDER, _AUGMENT, _FORWARD, _MIX = range(5)


def predict(
    model: Layer, params: Tree, state: Tree, x: Array, batch_size: int = 256, *, threads: int | None = None
) -> Array:
    """Return the model's outputs in evaluation mode, computed in batches.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    batch_size : int >= 1
    threads : int, optional
        On how many threads batches are computed at most, by default one for each core. A batch too small to gain stays
        on one, a single large one is cut in pieces. 1 leaves it to the BLAS to use several cores.

    Returns
    -------
    array (N, ...)
        The same, but for rounding, for any number of threads and any size of batches.

    Raises
    ------
    TypeError, ValueError
        If ``batch_size`` or ``threads`` is not an int >= 1; with the path of the layer, if the shapes do not fit.

    Examples
    --------
    >>> from funcnn.layers import relu
    >>> predict(relu(), {}, {}, np.array([[-1.0], [2.0], [3.0]]), batch_size=2).ravel()
    array([0., 2., 3.])
    """
    x = np.asarray(x)
    if batch_size < 1 or x.ndim < 1:
        raise ValueError(
            f"predict: needs an array of examples and a batch_size >= 1, got shape {x.shape} and {batch_size}"
        )
    threads = _threads("predict", threads)

    def outputs(examples: Array) -> Array:
        return model.forward(params, examples, state, train=False)[0]

    parts = map_batches(outputs, x, batch_size, model, params, state, threads)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def evaluate(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array,
    targets: Array,
    metrics: Mapping[str, Metric],
    *,
    threads: int | None = None,
) -> dict[str, float]:
    """Return the metrics of the model's outputs in evaluation mode.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array (N, ...)
    targets : array (N, ...)
    metrics : dict of callable
        ``metric(outputs, targets) -> float`` by name.
    threads : int, optional
        As in `predict`.

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
    outputs = predict(model, params, state, x, threads=threads)
    return {name: float(metric(outputs, targets)) for name, metric in metrics.items()}


def _threads(where: str, threads: int | None) -> int:
    if threads is None:
        return cores()
    checks.count(where, "threads", threads)
    return threads


class TrainState(NamedTuple):
    """All that training carries from step to step: `fit` continues from one as if it had never stopped.

    Attributes
    ----------
    params, state, opt_state : tree
    key : tuple of int
        Of the whole run; together with ``epoch`` and ``step`` it determines all later random numbers.
    epoch, step : int
        Epochs and updates done.
    losses : sequence of float
        Of the steps already done in the current epoch; their number says where in the epoch training is.
    """

    params: Tree
    state: Tree
    opt_state: Tree
    key: Key
    epoch: int
    step: int
    losses: Sequence[float] | Array = ()


class Step(NamedTuple):
    """What `EpochIterator.steps` yields after each step.

    Attributes
    ----------
    epoch : int
        The epoch that the step belongs to, from 1.
    loss : float
        In training mode and before the update.
    train_state : TrainState
        From which training can continue.
    """

    epoch: int
    loss: float
    train_state: TrainState


class Epoch(NamedTuple):
    """What `fit` yields after each epoch.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        Mean of the steps' losses, weighted by the sizes of their batches.
    losses : array (steps,)
        Each step's loss, in training mode and before its update.
    train, validation : dict of float
        The metrics after the epoch, in evaluation mode, on the training data as given and on the validation data.
    seconds : float
        Time of the epoch's steps, evaluation not counted.
    train_state : TrainState
        From which training can continue.
    """

    epoch: int
    loss: float
    losses: Array
    train: dict[str, float]
    validation: dict[str, float]
    seconds: float
    train_state: TrainState


class EpochIterator(Iterator[Epoch]):
    """The epochs of a training, computed as they are asked for.

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

    A run that continues from the first step has two steps left:

    >>> rest = list(run(resume=records[0].train_state).steps())
    >>> len(rest), bool((rest[-1].losses == records[-1].losses).all())
    (3, True)
    """

    def __init__(self, records: Generator[Step | Epoch, None, None]) -> None:
        self._records = records

    def __next__(self) -> Epoch:
        for record in self._records:
            if isinstance(record, Epoch):
                return record
        raise StopIteration

    def steps(self) -> Generator[Step | Epoch, None, None]:
        """Return the iterator over all records: a `Step` after each step, and the `Epoch` after an epoch's last step.

        For what must not wait for the end of an epoch, such as checkpoints.
        """
        return self._records


def start(model: Layer, optimizer: Optimizer, in_shape: tuple[int, ...], *, key: Key) -> TrainState:
    """Return the state of training before the first epoch: fresh parameters and optimizer.

    Parameters
    ----------
    model : Layer
    optimizer : funcnn.optim.Optimizer
    in_shape : tuple of int
        Of an example.
    key : tuple of int
        Of the whole run.

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
    params, state, _ = model.init(fold_in(key, _INIT), in_shape)
    return TrainState(params, state, optimizer.init(params), key, 0, 0)


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
    """Do one step of training on a batch, for loops of your own; `fit` is a loop over it.

    Parameters
    ----------
    grad_fn : callable
        From `funcnn.gradients.value_and_grad` or `funcnn.data_parallel.over_threads`.
    optimizer : funcnn.optim.Optimizer
    train_state : TrainState
        From `start` or an earlier step. Nothing in it is written to.
    x : array (N, ...)
    targets : array (N, ...)
    sample_weight, augment, mix
        As in `fit`, for this batch.

    Returns
    -------
    train_state : TrainState
        After the step. ``epoch`` and ``losses`` are as before: they belong to the loop.
    value : float
        The loss, in training mode and before the update.

    Raises
    ------
    ValueError
        If the loss is not finite, naming epoch, step and learning rate; if something does not fit, with the path of
        the layer.

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
    params, state, opt_state, key, epoch, step, losses = train_state
    if augment is not None:
        x = augment(fold_in(fold_in(key, _AUGMENT), step), x)
    if mix is not None:
        x, targets = mix(fold_in(fold_in(key, _MIX), step), x, targets)
    # An overflow shows in the loss, which is checked; NumPy's own warnings would only come before the error.
    with np.errstate(over="ignore", invalid="ignore"):
        value, grads, state = grad_fn(params, state, x, targets, fold_in(fold_in(key, _FORWARD), step), sample_weight)
        if not np.isfinite(value):
            raise _diverged(f"the loss is {value}", train_state)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = apply_updates(params, updates)
    return TrainState(params, state, opt_state, key, epoch, step + 1, losses), value


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Array,
    targets: Array,
    *,
    epochs: int,
    batch_size: int = 64,
    key: Key | None = None,
    resume: TrainState | None = None,
    sample_weight: Array | None = None,
    augment: Augmentation | None = None,
    mix: Mixing | None = None,
    shuffle: bool = True,
    validation: tuple[Array, Array] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    threads: int | None = None,
) -> EpochIterator:
    """Train a model, yielding a record after each epoch. Stop iterating to stop training.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`.
    optimizer : funcnn.optim.Optimizer
    x : array (N, ...)
    targets : array (N, ...)
    epochs : int
        Train until this many epochs are done in all.
    batch_size : int
        Each epoch goes through all examples once; its last batch may be smaller.
    key : tuple of int
        Of all randomness: initial weights, order, augmentation, dropout. Not needed with ``resume``.
    resume : TrainState, optional
        Where to continue, from an earlier record's ``train_state`` or from `start`; in the middle of an epoch, too.
    sample_weight : array (N,), optional
        A batch whose weights are all 0 is left out.
    augment : callable, optional
        ``augment(key, x) -> x``, applied to each batch.
    mix : callable, optional
        ``mix(key, x, targets) -> x, targets``, applied to each batch after ``augment``, for what changes the targets as
        well, such as `funcnn.data.mixup`. Metrics are taken of the targets as they were.
    shuffle : bool
        Whether each epoch has the examples in a new order, rather than in the one given.
    validation : (x, targets), optional
        Needs metrics.
    metrics : dict of callable, optional
        ``metric(outputs, targets) -> float`` by name, evaluated after each epoch on the training and validation data.
    threads : int, optional
        The maximum number of threads, for steps (`funcnn.data_parallel.over_threads`) and metrics (`predict`), by
        default one for each core. The same number gives the same run, bit for bit; another one the same but for
        rounding. 1 leaves it to the BLAS to use several cores.

    Returns
    -------
    EpochIterator
        Iterates over an `Epoch` after each epoch; its method ``steps`` iterates over a `Step` after each step, too.

    Raises
    ------
    ValueError
        At once, if arguments do not fit, also if the state to resume has more steps of an epoch done than there are in
        one; at a step whose loss is not finite, naming epoch, step and learning rate.

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
    x, targets = np.asarray(x), np.asarray(targets)
    weights = None if sample_weight is None else np.asarray(sample_weight)
    metrics = metrics or {}
    if x.ndim < 2 or targets.ndim < 1 or len(x) != len(targets) or not len(x):
        raise ValueError(f"fit: x {x.shape} and targets {targets.shape} must be of one length, at least 1")
    if weights is not None and len(weights) != len(x):
        raise ValueError(f"fit: sample_weight {weights.shape} must be as long as x {x.shape}")
    if weights is not None and not weights.any():
        raise ValueError(f"fit: all {len(weights)} of sample_weight are 0")
    if validation is not None and (len(validation[0]) != len(validation[1]) or not metrics):
        lengths = f"{len(validation[0])} examples and {len(validation[1])} targets"
        raise ValueError(f"fit: validation data need as many targets as examples, and metrics; got {lengths}")
    if epochs < 0 or batch_size < 1:
        raise ValueError(f"fit: epochs must be >= 0 and batch_size >= 1, got {epochs} and {batch_size}")
    if resume is None and key is None:
        raise ValueError("fit: needs a key such as (0,), or a state to resume")
    first = resume or start(model, optimizer, x.shape[1:], key=key or ())
    if len(first.losses) > -(-len(x) // batch_size):
        raise ValueError(
            f"fit: the state to resume is {len(first.losses)} steps into epoch {first.epoch + 1}, but {len(x)} "
            f"examples in batches of {batch_size} make {-(-len(x) // batch_size)} steps an epoch"
        )
    threads = _threads("fit", threads)
    grad_fn = over_threads(value_and_grad(model, loss), threads)

    def batches_of(train_state: TrainState) -> list[tuple[Array, Array | None, float]]:
        """Return the epoch's batches: indices, weights and size. Those whose weights are all 0 have no mean to take."""
        order = fold_in(fold_in(train_state.key, _ORDER), train_state.epoch + 1) if shuffle else None
        indices = batches(len(x), batch_size, key=order)
        if weights is None:
            return [(batch, None, len(batch)) for batch in indices]
        return [(batch, weights[batch], float(weights[batch].sum())) for batch in indices if weights[batch].any()]

    def records(train_state: TrainState) -> Generator[Step | Epoch, None, None]:
        while train_state.epoch < epochs:
            number, started, seconds = train_state.epoch + 1, time.perf_counter(), 0.0
            plan, done = batches_of(train_state), len(train_state.losses)
            # Each state has a view of the losses so far, whose entries are not written again.
            losses = np.empty(len(plan))
            losses[:done] = train_state.losses
            for i, (batch, own, _) in enumerate(plan[done:], start=done):
                train_state, value = update(
                    grad_fn, optimizer, train_state, x[batch], targets[batch], sample_weight=own, augment=augment,
                    mix=mix,
                )  # fmt: skip
                losses[i] = value
                train_state = train_state._replace(losses=losses[: i + 1])
                seconds += time.perf_counter() - started
                yield Step(number, float(value), train_state)
                started = time.perf_counter()  # the caller's own time does not count
            if not math.isfinite(tree.norm(train_state.params)):
                raise _diverged("the parameters are no longer finite", train_state._replace(step=train_state.step - 1))
            seconds += time.perf_counter() - started
            train_state = train_state._replace(epoch=number, losses=())
            on_train, on_validation = (
                evaluate(model, train_state.params, train_state.state, data[0], data[1], metrics, threads=threads)
                if metrics and data
                else {}
                for data in ((x, targets), validation)
            )
            mean = float(np.average(losses, weights=[size for *_, size in plan]))
            yield Epoch(number, mean, losses, on_train, on_validation, seconds, train_state)

    return EpochIterator(records(first))


def _diverged(what: str, train_state: TrainState) -> ValueError:
    rate = learning_rate(train_state.opt_state)
    at = "" if rate is None else f" with learning rate {rate:g}"
    where = f"in epoch {train_state.epoch + 1}, step {train_state.step}{at}"
    return ValueError(f"training diverged: {what} {where}; try a lower learning rate")
