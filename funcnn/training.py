"""Training: gradients of a model's loss, predictions in batches, and epochs as a generator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import tree
from funcnn.data import batches
from funcnn.kernels import checks
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, pull_back
from funcnn.optim import Optimizer, apply_updates, learning_rate
from funcnn.parallel import cores, over_threads, spread
from funcnn.tree import Array, Tree

Loss: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Array]]]
Metric: TypeAlias = Callable[[Array, Array], float]

__all__ = ["Epoch", "Step", "TrainingState", "evaluate", "fit", "predict", "start", "steps", "value_and_grad"]

# The random streams of a run, each below the run's key: a step's numbers depend on the key and the step alone.
_INIT, _ORDER, _AUGMENT, _FORWARD, _MIX = range(5)


class GradFn(NamedTuple):
    """The function that evaluates a model's loss and its gradient in the parameters; see `value_and_grad`.

    It can be asked for the two functions that it is made of, so that a transformation such as
    `funcnn.parallel.over_threads` can put them together in another way.
    """

    model: Layer
    loss: Loss

    def __call__(
        self,
        params: Tree,
        state: Tree,
        x: Array,
        targets: Array,
        key: Key | None = None,
        sample_weight: Array | None = None,
    ) -> tuple[Any, Tree, Tree]:
        """Return the value, its gradient in ``params``, and the new state."""
        outputs, vjp, new_state = self.model.forward(params, x, state, train=True, key=key)
        value, loss_vjp = self.loss(outputs, targets, sample_weight=sample_weight)
        grads, _ = pull_back(vjp, loss_vjp(1.0), input_gradient=False)
        return value, grads, new_state


def value_and_grad(model: Layer, loss: Loss) -> GradFn:
    """Return the function that evaluates a model's loss in training mode and its gradient in the parameters.

    Parameters
    ----------
    model : Layer
    loss : callable
        ``loss(outputs, targets, *, sample_weight=None) -> value, vjp``, such as those of `funcnn.losses`; fix further
        options with `functools.partial`.

    Returns
    -------
    grad_fn : callable
        ``grad_fn(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``. The gradient in x
        is not computed.

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> from funcnn.losses import mse
    >>> grad_fn = value_and_grad(dense(1), mse)
    >>> params = {"w": np.array([[2.0]]), "b": np.array([0.0])}
    >>> value, grads, state = grad_fn(params, {}, np.array([[3.0]]), np.array([[5.0]]))
    >>> float(value), grads
    (1.0, {'w': array([[6.]]), 'b': array([2.])})
    """
    return GradFn(model, loss)


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

    parts = spread(outputs, x, batch_size, model, params, state, threads)
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


class TrainingState(NamedTuple):
    """All that training carries from step to step: `fit` goes on from one as if it had never stopped.

    Attributes
    ----------
    params, state, opt_state : tree
    key : tuple of int
        Of the whole run; together with ``epoch`` and ``step`` it determines all later random numbers.
    epoch, step : int
        Epochs and updates done.
    losses : sequence of float
        Of the steps done in the epoch begun: their number says where in the epoch training is.
    """

    params: Tree
    state: Tree
    opt_state: Tree
    key: Key
    epoch: int
    step: int
    losses: Sequence[float] | Array = ()


class Step(NamedTuple):
    """What `steps` yields after each step.

    Attributes
    ----------
    epoch : int
        Which it belongs to, from 1.
    loss : float
        In training mode and before the update.
    training : TrainingState
        From which training can go on.
    """

    epoch: int
    loss: float
    training: TrainingState


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
    training : TrainingState
        From which training can go on.
    """

    epoch: int
    loss: float
    losses: Array
    train: dict[str, float]
    validation: dict[str, float]
    seconds: float
    training: TrainingState


def start(model: Layer, optimizer: Optimizer, in_shape: tuple[int, ...], *, key: Key) -> TrainingState:
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
    TrainingState

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> from funcnn.optim import sgd
    >>> training = start(dense(1), sgd(0.1), (30,), key=(0,))
    >>> training.params["w"].shape, training.step
    ((30, 1), 0)
    """
    params, state, _ = model.init(fold_in(key, _INIT), in_shape)
    return TrainingState(params, state, optimizer.init(params), key, 0, 0)


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
    resume: TrainingState | None = None,
    sample_weight: Array | None = None,
    augment: Callable[[Key, Array], Array] | None = None,
    mix: Callable[[Key, Array, Array], tuple[Array, Array]] | None = None,
    shuffle: bool = True,
    validation: tuple[Array, Array] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    threads: int | None = None,
) -> Iterator[Epoch]:
    """Train a model, yielding a record after each epoch; whoever takes no more of them has stopped the training.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `value_and_grad`.
    optimizer : funcnn.optim.Optimizer
    x : array (N, ...)
    targets : array (N, ...)
    epochs : int
        Train until this many epochs are done in all.
    batch_size : int
        Each epoch goes through all examples once; its last batch may be smaller.
    key : tuple of int
        Of all randomness: initial weights, order, augmentation, dropout. Not needed with ``resume``.
    resume : TrainingState, optional
        Where to go on, from an earlier record's ``training`` or from `start`; in the middle of an epoch, too.
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
        On how many threads steps are computed at most (`funcnn.parallel.over_threads`) and metrics evaluated
        (`predict`), by default one for each core. The same number gives the same run, bit for bit; another one the
        same but for rounding. 1 leaves it to the BLAS to use several cores.

    Yields
    ------
    Epoch

    Raises
    ------
    ValueError
        Before the first step, if arguments do not fit; at a step whose loss is not finite, naming epoch, step and
        learning rate.

    Examples
    --------
    >>> from funcnn import data, losses, metrics, models, optim
    >>> x, labels = data.digits()
    >>> for epoch in fit(models.mlp(), losses.softmax_cross_entropy, optim.adam(1e-2), x, labels, epochs=3, key=(0,)):
    ...     pass
    >>> params, state = epoch.training.params, epoch.training.state
    >>> metrics.accuracy(predict(models.mlp(), params, state, x), labels) > 0.95
    True
    """
    records = _checked(
        model, loss, optimizer, x, targets, epochs, batch_size, key, resume, sample_weight, augment, mix, shuffle,
        validation, metrics, threads, every_step=False,
    )  # fmt: skip
    return (record for record in records if isinstance(record, Epoch))


def steps(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Array,
    targets: Array,
    *,
    epochs: int,
    batch_size: int = 64,
    key: Key | None = None,
    resume: TrainingState | None = None,
    sample_weight: Array | None = None,
    augment: Callable[[Key, Array], Array] | None = None,
    mix: Callable[[Key, Array, Array], tuple[Array, Array]] | None = None,
    shuffle: bool = True,
    validation: tuple[Array, Array] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    threads: int | None = None,
) -> Iterator[Step | Epoch]:
    """Train a model as `fit` does, yielding a record after each step, too: for checkpoints that lose no epoch.

    Parameters
    ----------
    model, loss, optimizer, x, targets
        As in `fit`, and so are the options.

    Yields
    ------
    Step or Epoch
        A Step after each step; after the last of an epoch, and the metrics, an Epoch.

    Raises
    ------
    ValueError
        As in `fit`; and if the state to resume has more steps of an epoch behind it than there are in one.

    Examples
    --------
    >>> from funcnn import losses, models, optim
    >>> x, labels = np.eye(6, dtype=np.float32), np.arange(6) % 2
    >>> options = {"epochs": 1, "batch_size": 2, "key": (0,)}
    >>> records = list(steps(models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, **options))
    >>> [type(record).__name__ for record in records]
    ['Step', 'Step', 'Step', 'Epoch']

    Whoever goes on from the first step has two more to do:

    >>> options["resume"] = records[0].training
    >>> rest = list(steps(models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, **options))
    >>> len(rest), bool((rest[-1].losses == records[-1].losses).all())
    (3, True)
    """
    return _checked(
        model, loss, optimizer, x, targets, epochs, batch_size, key, resume, sample_weight, augment, mix, shuffle,
        validation, metrics, threads, every_step=True,
    )  # fmt: skip


def _checked(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Array,
    targets: Array,
    epochs: int,
    batch_size: int,
    key: Key | None,
    resume: TrainingState | None,
    sample_weight: Array | None,
    augment: Callable[[Key, Array], Array] | None,
    mix: Callable[[Key, Array, Array], tuple[Array, Array]] | None,
    shuffle: bool,
    validation: tuple[Array, Array] | None,
    metrics: Mapping[str, Metric] | None,
    threads: int | None,
    *,
    every_step: bool,
) -> Iterator[Step | Epoch]:
    """Refuse what does not fit, at once; then return the records as they come."""
    x, targets = np.asarray(x), np.asarray(targets)
    weights = None if sample_weight is None else np.asarray(sample_weight)
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
    if resume is None:
        if key is None:
            raise ValueError("fit: needs a key such as (0,), or a state to resume")
        resume = start(model, optimizer, x.shape[1:], key=key)
    if len(resume.losses) > -(-len(x) // batch_size):
        raise ValueError(
            f"fit: the state to resume is {len(resume.losses)} steps into epoch {resume.epoch + 1}, but {len(x)} "
            f"examples in batches of {batch_size} make {-(-len(x) // batch_size)} steps an epoch"
        )
    threads = _threads("fit", threads)
    grad_fn = over_threads(value_and_grad(model, loss), threads)
    return _records(
        model, grad_fn, optimizer, x, targets, epochs, batch_size, resume, weights, augment, mix, shuffle,
        validation, metrics or {}, threads, every_step,
    )  # fmt: skip


def _records(
    model: Layer,
    grad_fn: Callable[..., tuple[Any, Tree, Tree]],
    optimizer: Optimizer,
    x: Array,
    targets: Array,
    epochs: int,
    batch_size: int,
    training: TrainingState,
    weights: Array | None,
    augment: Callable[[Key, Array], Array] | None,
    mix: Callable[[Key, Array, Array], tuple[Array, Array]] | None,
    shuffle: bool,
    validation: tuple[Array, Array] | None,
    metrics: Mapping[str, Metric],
    threads: int,
    every_step: bool,
) -> Iterator[Step | Epoch]:
    params, state, opt_state, key, done, step, before = training
    order_key, augment_key, forward_key, mix_key = (fold_in(key, s) for s in (_ORDER, _AUGMENT, _FORWARD, _MIX))
    for epoch in range(done + 1, epochs + 1):
        began, seconds = time.perf_counter(), 0.0
        # Each state has a view of the losses so far, whose entries are not written again.
        losses = np.empty(-(-len(x) // batch_size))
        losses[: len(before)] = before
        sizes: list[float] = []
        for batch in batches(len(x), batch_size, key=fold_in(order_key, epoch) if shuffle else None):
            batch_weights = None if weights is None else weights[batch]
            if batch_weights is not None and not batch_weights.any():
                continue  # nothing to learn from, and no mean to take
            sizes.append(len(batch) if batch_weights is None else float(batch_weights.sum()))
            if len(sizes) <= len(before):
                continue  # done before the run was resumed
            batch_x, batch_targets = x[batch], targets[batch]
            if augment is not None:
                batch_x = augment(fold_in(augment_key, step), batch_x)
            if mix is not None:
                batch_x, batch_targets = mix(fold_in(mix_key, step), batch_x, batch_targets)
            # What overflows shows in the loss, which is checked; NumPy's own warnings would only come before the error.
            with np.errstate(over="ignore", invalid="ignore"):
                value, grads, state = grad_fn(
                    params, state, batch_x, batch_targets, fold_in(forward_key, step), batch_weights
                )
                if not np.isfinite(value):
                    raise _diverged(f"the loss is {value}", epoch, step, opt_state)
                updates, opt_state = optimizer.update(grads, opt_state, params)
                params = apply_updates(params, updates)
            step += 1
            losses[len(sizes) - 1] = value
            if every_step:
                so_far = losses[: len(sizes)]
                seconds += time.perf_counter() - began
                yield Step(epoch, float(value), TrainingState(params, state, opt_state, key, epoch - 1, step, so_far))
                began = time.perf_counter()  # what the caller did meanwhile does not count
        if not math.isfinite(tree.norm(params)):
            raise _diverged("the parameters are no longer finite", epoch, step - 1, opt_state)
        seconds += time.perf_counter() - began
        on_train = evaluate(model, params, state, x, targets, metrics, threads=threads) if metrics else {}
        on_validation = (
            evaluate(model, params, state, *validation, metrics, threads=threads) if metrics and validation else {}
        )
        losses, before = losses[: len(sizes)], ()
        loss = float(np.average(losses, weights=sizes))
        reached = TrainingState(params, state, opt_state, key, epoch, step)
        yield Epoch(epoch, loss, losses, on_train, on_validation, seconds, reached)


def _diverged(what: str, epoch: int, step: int, opt_state: Tree) -> ValueError:
    rate = learning_rate(opt_state)
    at = "" if rate is None else f" with learning rate {rate:g}"
    return ValueError(f"training diverged: {what} in epoch {epoch}, step {step}{at}; try a lower learning rate")
