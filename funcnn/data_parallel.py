"""Training and prediction on several threads, as transformations of pure functions.

A layer writes nothing that it did not make itself, so several threads can take shards of a batch through one model with
the same parameters, and nothing has to be locked. Python runs on one thread at a time, but NumPy lets the others go on
while it computes: this pays where arrays are large, and costs where they are small (`over_threads` says from where on).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from funcnn import checks, tree
from funcnn.combinators import map_layers
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, pull_back
from funcnn.sharding import AllGather, Shard, no_gather, shard_scope
from funcnn.summary import multiply_adds
from funcnn.tree import Array, Tree

if TYPE_CHECKING:
    from funcnn.gradients import GradFn

T = TypeVar("T")

__all__ = ["cores", "over_threads"]

# Threads take turns between NumPy's calls, so that it is the single layer that has to be large. The least work of the
# average layer that is worth a thread, in multiply-adds of the forward pass, and what an entry of a layer's output
# counts for, which is written and read several times over. On two cores, networks with half of it lost; with twice as
# much, all gained but those of dense layers no_gather, which the BLAS' own threads serve as well.
_MIN_WORK, _ENTRY = 14e6, 100


def cores() -> int:
    """Return how many cores this process may use.

    Returns
    -------
    int
        By its affinity; a quota of time, such as a container's, is not looked at.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_threads(
    grad_fn: GradFn, n: int, *, sync_batch_stats: bool = True, min_work: float = _MIN_WORK
) -> Callable[..., tuple[Any, Tree, Tree]]:
    """Return a function with the same results as ``grad_fn``, which works on shards of the batch on several threads.

    Parameters
    ----------
    grad_fn : callable
        From `funcnn.gradients.value_and_grad`.
    n : int >= 1
        How many shards at most, each on a thread of its own; `cores` tells how many can run at once. 1 changes
        nothing.
    sync_batch_stats : bool
        Whether batch normalisation in training takes its statistics over the whole batch, for which the threads wait
        for each other twice in each such layer. If not, each shard is normalised by its own: another function, as with
        batches of that size, somewhat quicker.
    min_work : float
        How much work the average layer must have with each of two shards, in multiply-adds forward. Of n shards, each
        must have n / 2 times as much, for between NumPy's calls the threads take turns. A batch too small for two goes
        to ``grad_fn`` as it is; 0 cuts every one, in ``n``.

    Returns
    -------
    callable
        ``threaded(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``, as ``grad_fn``.

    Raises
    ------
    TypeError, ValueError
        If ``grad_fn`` is another function, or ``n`` is not an int >= 1.

    Notes
    -----
    The model is differentiated shard by shard, but the loss once, of all outputs together. So the result is the whole
    batch's for any loss, with whatever weights of examples and classes and labels to ignore, without weighing shards
    against each other: with f the model, its outputs y = (f(x_1), ..., f(x_n)) and dy the loss's gradient in them, the
    gradient in the parameters is the sum of the shards' J_i^T dy_i. It is added up in the order of the shards.

    Dropout draws the same mask for an example as it does with the whole batch. A random layer of your own has another
    key in each shard, and one that lets examples depend on each other sees those of its shard alone. State that the
    shards leave behind differently, as the statistics of their own do, is averaged, weighted by their sizes; the
    average of variances then lacks what the means differ by.

    The result differs from ``grad_fn``'s by rounding, since sums are taken in another order; it is the same bit for bit
    whenever it is repeated with the same ``n``, and where a batch is cut depends on sizes no_gather, never on time.

    While the shards run, the BLAS library has one thread in each of them, by threadpoolctl (``pip install
    'funcnn[threads]'``; it comes with scikit-learn). Without it nothing is cut unless ``min_work`` is 0: with the BLAS'
    own threads in the way, steps took as long as on one thread.

    Inside a shard, as in prediction within a metric or a layer that trains something, everything stays on its thread.

    Examples
    --------
    >>> from funcnn import losses, models
    >>> from funcnn.gradients import value_and_grad
    >>> model = models.mlp(hidden=(8,))
    >>> params, state, _ = model.init((0,), (30,))
    >>> x, labels = np.ones((10, 30), np.float32), np.arange(10)
    >>> whole = value_and_grad(model, losses.softmax_cross_entropy)
    >>> threaded = over_threads(whole, 2, min_work=0)
    >>> value, grads, state = threaded(params, state, x, labels)
    >>> bool(np.isclose(value, whole(params, state, x, labels)[0]))
    True
    """
    model, loss = getattr(grad_fn, "model", None), getattr(grad_fn, "loss", None)
    if not isinstance(model, Layer) or loss is None:
        raise TypeError(
            f"over_threads: grad_fn must come from value_and_grad, which says what model and loss it is made of; got "
            f"{grad_fn!r}"
        )
    checks.count("over_threads", "n", n)
    if n == 1:
        return grad_fn.__call__
    known: dict[tuple[int, ...], int] = {}  # shards by the shape of the batch: looking closer takes microseconds

    def threaded_grad_fn(
        params: Tree, state: Tree, x: Array, targets: Array, key: Key | None = None, sample_weight: Array | None = None
    ) -> tuple[Any, Tree, Tree]:
        x = np.asarray(x)
        shards = 1 if _IN_SHARD.get() else known.get(x.shape)
        if shards is None:
            shards = known[x.shape] = _shards(model, params, state, x, n, min_work)
        if shards == 1:
            return grad_fn(params, state, x, targets, key, sample_weight)
        bounds = _bounds(len(x), shards)
        all_gather = AllGather(shards)

        def forward(i: int) -> tuple[Array, Callable[..., Any], Tree]:
            first, last = bounds[i : i + 2]
            own_key = None if key is None else fold_in(key, i)
            gather = partial(all_gather.gather, i) if sync_batch_stats else no_gather
            with shard_scope(Shard(first, last - first, own_key or (), key, gather)):
                return model.forward(params, x[first:last], state, train=True, key=own_key)

        with _THREADS:
            outputs, vjps, states = zip(*run_concurrently(forward, shards, all_gather.abort), strict=True)
            value, loss_vjp = loss(np.concatenate(outputs), targets, sample_weight=sample_weight)
            dys = np.split(loss_vjp(1.0), np.cumsum([len(y) for y in outputs[:-1]]))

            def backward(i: int) -> Tree:
                return pull_back(vjps[i], dys[i], input_gradient=False)[0]

            grads = run_concurrently(backward, shards, all_gather.abort)
        sizes = np.diff(bounds)
        return value, tree.map(_total, *grads), tree.map(partial(_average, sizes), *states)

    return threaded_grad_fn


def map_batches(
    f: Callable[[Array], Array], x: Array, batch_size: int, model: Layer, params: Tree, state: Tree, n: int
) -> list[Array]:
    """Return the results of ``f`` for one batch of examples after the other, with up to ``n`` of them computed at once.

    Every batch is computed whole, as on one thread, but that a single one is cut in shards if it has work enough.

    Parameters
    ----------
    f : callable
        ``f(x) -> outputs``, independent for each example: the model's forward pass.
    x : array (N, ...)
    batch_size : int
    model, params, state
        By which the work of a batch is judged.
    n : int

    Returns
    -------
    list of arrays
    """
    starts = range(0, max(len(x), 1), batch_size)
    shards = _shards(model, params, state, x[:batch_size], n, _MIN_WORK, len(starts))
    if shards == 1:
        return [f(x[i : i + batch_size]) for i in starts]
    bounds = _bounds(len(x), shards) if len(starts) == 1 else [*starts, len(x)]
    parts = list(pairwise(bounds))
    stopped = threading.Event()

    def some(i: int) -> list[Array]:
        return [f(x[first:last]) for first, last in parts[i::shards] if not stopped.is_set()]

    with _THREADS:
        results = run_concurrently(some, shards, stopped.set)
    return [results[k % shards][k // shards] for k in range(len(parts))]


def _shards(model: Layer, params: Tree, state: Tree, x: Array, n: int, min_work: float, batches: int = 1) -> int:
    """Return on how many threads, up to ``n``, it pays to take a batch of examples, or several that stay whole."""
    if n == 1 or _IN_SHARD.get() or x.ndim == 0 or len(x) * batches < 2:
        return 1
    if min_work == 0:
        return min(n, len(x) * batches)
    work = _work(model, params, state, x) * len(x)
    if batches > 1:
        shards = max(1, min(n, batches, int(2 * work / min_work)))
    else:
        shards = max(1, min(n, len(x), math.isqrt(int(2 * work / min_work))))
    return shards if shards == 1 or _THREADS.can_limit_blas() else 1


_WORK: WeakKeyDictionary[Callable[..., Any], dict[tuple[int, ...], float]] = WeakKeyDictionary()


def _work(model: Layer, params: Tree, state: Tree, x: Array) -> float:
    """Return the work of the model's average layer with one example, found by taking one through it, once."""
    try:
        known = _WORK.setdefault(model.forward, {})
    except TypeError:  # a callable of a kind that cannot be referred to weakly
        known = {}
    if x.shape[1:] not in known:
        work = []

        def counted(path: str, layer: Layer) -> Layer:
            def forward(params: Tree, x: Array, state: Tree, **options: Any) -> Any:
                result = layer.forward(params, x, state, **options)
                y = result[0]
                products = multiply_adds(layer.name, params, np.shape(x)[1:], np.shape(y)[1:])
                work.append(products + _ENTRY * np.size(y))
                return result

            return layer._replace(forward=forward)

        try:
            with np.errstate(all="ignore"):
                map_layers(counted, model).forward(params, x[:1], state, train=False)
        except (ValueError, TypeError):
            return 0.0  # what is wrong will be said of the whole batch
        known[x.shape[1:]] = sum(work) / max(len(work), 1)
    return known[x.shape[1:]]


def _bounds(length: int, shards: int) -> list[int]:
    return [length * i // shards for i in range(shards + 1)]


def _total(first: Array, *others: Array) -> Array:
    return sum(others, first)


def _average(sizes: Array, first: Any, *others: Any) -> Any:
    """Return what the shards' state has in common, or the average."""
    if all(np.array_equal(first, other) for other in others):
        return first
    if np.asarray(first).dtype.kind not in "fc":
        raise TypeError("over_threads: the shards of a batch leave different states, which are not floats to average")
    return np.average([first, *others], axis=0, weights=sizes).astype(np.asarray(first).dtype)


# Whether a shard is being computed here. What it calls must not wait for the threads that it keeps busy itself.
_IN_SHARD: ContextVar[bool] = ContextVar("inside", default=False)


def run_concurrently(task: Callable[[int], T], n: int, abort: Callable[[], None]) -> list[T]:
    """Return ``task(0)``, ..., ``task(n - 1)``, all computed at the same time: the first here, the others on workers.

    Each sees the caller's context variables, among them NumPy's error state. If one fails, ``abort()`` is to keep
    the others from waiting for it; the error raised is that of the first which did not fail for this reason alone.
    """

    def attended(i: int) -> T:
        _IN_SHARD.set(True)
        try:
            return task(i)
        except BaseException:
            abort()
            raise

    others = _THREADS.submit([partial(copy_context().run, attended, i) for i in range(1, n)])
    errors: list[BaseException] = []
    try:
        try:
            first = copy_context().run(attended, 0)
        except BaseException as error:
            errors.append(error)
        try:
            wait(others)
        except BaseException:  # Ctrl-C: nothing may go on behind the caller's back
            abort()
            wait(others)
            raise
        errors += [failure for other in others if (failure := other.exception()) is not None]
        for failure in errors:
            if not isinstance(failure, threading.BrokenBarrierError):
                raise failure
        return [first, *(other.result() for other in others)]
    finally:
        errors.clear()  # each refers to this frame by its traceback


class _ThreadPool:
    """What the process has once for all callers: workers, and the number of the BLAS' threads.

    As a context, it limits the BLAS to one thread in each Python thread. The limit is the process's, so the first
    caller to come sets it and the last to go lifts it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[int, ThreadPoolExecutor] = {}
        self._callers = 0
        self._controller: Any = None
        self._limit: Any = None

    def submit(self, tasks: Sequence[Callable[[], T]]) -> list[Any]:
        """Start tasks that may wait for each other, on workers kept for this number of them.

        Those of one caller enter the queue together, so that of two callers one gets all the workers it needs.
        """
        n = len(tasks)
        with self._lock:
            if n not in self._workers:
                self._workers[n] = ThreadPoolExecutor(n, f"funcnn-{n + 1}")
            return [self._workers[n].submit(task) for task in tasks]

    def can_limit_blas(self) -> bool:
        """Say whether threadpoolctl is installed."""
        with self._lock:
            if self._controller is None:
                self._controller = _blas_controller()
            return self._controller is not False

    def __enter__(self) -> None:
        can_limit = self.can_limit_blas()
        with self._lock:
            if self._callers == 0 and can_limit:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._callers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._callers -= 1
            if self._callers == 0 and self._limit is not None:
                self._limit.restore_original_limits()


def _blas_controller() -> Any:
    """Return what sets the BLAS' number of threads in microseconds, for it has found the libraries; or False."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return False
    return ThreadpoolController()


_THREADS = _ThreadPool()
if hasattr(os, "register_at_fork"):
    # a forked process has none of the threads, and of the locks whatever state they were in
    os.register_at_fork(after_in_child=_THREADS.__init__)  # type: ignore[misc]
