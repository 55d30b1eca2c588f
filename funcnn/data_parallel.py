"""Training and prediction on several threads and processes, as transformations of pure functions.

A layer never writes to an array that it did not allocate, so several threads can compute shards of a batch with the
same model and parameters, without locks. Python code runs on one thread at a time, but NumPy releases the interpreter
lock while it computes. Threads therefore save time where arrays are large, and cost time where they are small.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from funcnn import blas, checks, ops, tree
from funcnn.combinators import map_layers
from funcnn.data.lazy import Selected, Source, as_source, take
from funcnn.kernels import selection
from funcnn.kernels import threads as kernel_threads
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, op_and_options, pull_back
from funcnn.ops.conv import depthwise_conv
from funcnn.process_groups import ALONE, ProcessGroup, digest, process_group, stack_all
from funcnn.sharding import AllGather, Shard, bounds, no_gather, shard_scope
from funcnn.summary import multiply_adds
from funcnn.tree import Array, Tree

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from funcnn.gradients import GradFn

T = TypeVar("T")

__all__ = ["cores", "over_ranks", "over_threads"]

# The minimum work per layer and shard, in multiply-adds of the forward pass (the mean over the model's layers). It is
# counted per layer because threads wait for the interpreter lock between NumPy's calls, so each call has to be long.
# With a lower value, small networks lose time to these waits; with a higher one, networks that would gain stay on one
# thread. On two cores, networks with half as much work became slower with two threads, and with twice as much all
# became faster except those of dense layers only. To measure it again,
# compare ``scripts/bench --job vgg --threads 1`` and ``--threads 2``; likewise for the jobs lenet, bnnet and resnet.
_MIN_WORK = 14e6
# The work of one entry of a layer's output, in multiply-adds, apart from the products counted by `multiply_adds`: an
# entry is written and read several times. Measured together with `_MIN_WORK`, by the same commands.
_WORK_PER_ENTRY = 100
_SHAPES = 1024  # of x, for which a decision is kept


def cores() -> int:
    """Return the number of cores that this process may use.

    Returns
    -------
    int
        By the process's CPU affinity. A quota of CPU time, such as a container's, is not taken into account.

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
    """Return a function with the same results as ``grad_fn`` that computes shards of the batch on several threads.

    Parameters
    ----------
    grad_fn : callable
        From `funcnn.gradients.value_and_grad`.
    n : int >= 1
        The maximum number of shards, each on its own thread. Usually the number of `cores`. With 1, ``grad_fn``
        computes every batch whole.
    sync_batch_stats : bool
        True: batch normalisation in training takes its statistics over the whole batch, for which the threads wait for
        each other twice in each such layer. False: each shard is normalised by its own statistics, which is somewhat
        faster and gives other results, those of smaller batches.
    min_work : float
        The minimum work for each of two shards, in multiply-adds of the forward pass per layer (the mean over all
        layers). For n shards, each needs n / 2 times as much, since between NumPy's calls only one thread runs at a
        time. A batch with too little work for two is passed to ``grad_fn`` whole. With 0, every batch is split into
        ``n`` shards.

    Returns
    -------
    callable
        ``threaded(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``, like ``grad_fn``.
        If x is a source (`funcnn.data.lazy`), each thread reads its own shard.

    Raises
    ------
    TypeError, ValueError
        If ``grad_fn`` does not come from `value_and_grad`, or ``n`` is not an int >= 1.

    Notes
    -----
    Each shard goes through the model forward and backward, but the loss is computed once, on the outputs of all shards.
    So the result is that of the whole batch for any loss, also with sample weights, class weights or ignored labels:
    with model f, outputs y = (f(x_1), ..., f(x_n)) and dy the gradient of the loss with respect to y, the gradient with
    respect to the parameters is the sum of J_i^T dy_i over the shards, added up in their order.

    Dropout draws the same mask for an example as it does with the whole batch. Your own random layer gets another key
    in each shard; your own layer that lets examples depend on each other sees only the examples of its shard. State
    that differs between the shards, such as statistics with ``sync_batch_stats=False``, is averaged, weighted by their
    sizes. (An average of variances leaves out the variance of the shards' means.)

    The result differs from ``grad_fn``'s by rounding, since sums are taken in another order. It is the same bit for bit
    in every run with the same ``n``: how a batch is split depends on its size and shape, never on time. In a batch that
    stays whole, compiled kernels divide long calls among up to ``n`` threads; their sums differ by rounding, too. If
    they compute nearly all layers, every batch stays whole, unless ``min_work`` is 0 or ``sync_batch_stats`` is False:
    then Python code runs once for the batch instead of once for each shard, on one thread at a time.

    Meanwhile threadpoolctl (extra ``threads``; scikit-learn includes it) limits the BLAS library to one thread per
    shard, also for a batch that stays whole: on several, a product waits for the one whose core is busy. Without
    threadpoolctl, or with Apple's Accelerate, which it cannot limit, do so by an environment variable, before Python
    starts: ``OPENBLAS_NUM_THREADS=1`` or ``VECLIB_MAXIMUM_THREADS=1``. Otherwise batches are split only if ``min_work``
    is 0, because with the BLAS' own threads competing, steps took as long as on one thread.

    Code that runs inside a shard, such as a layer that calls `funcnn.training.predict`, starts no further threads.

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
    _check_grad_fn("over_threads", grad_fn)
    checks.count("over_threads", "n", n)
    return _over_shards(grad_fn, n, ALONE, sync_batch_stats, min_work)


def over_ranks(
    grad_fn: GradFn, comm: Any, threads: int = 1, *, sync_batch_stats: bool = True, min_work: float = _MIN_WORK
) -> Callable[..., tuple[Any, Tree, Tree]]:
    """Return a function with the same results as ``grad_fn`` that computes shards of the batch on several processes.

    The processes are the ranks of an MPI job, such as ``mpiexec -n 4 python -m mpi4py program.py``, on one machine or
    several. All run the same program and call the function with the same arguments.

    Parameters
    ----------
    grad_fn : callable
        From `funcnn.gradients.value_and_grad`.
    comm : mpi4py.MPI.Comm, optional
        The communicator, usually ``mpi4py.MPI.COMM_WORLD`` (extra ``mpi``). None, or one of a single rank, is this
        process alone, with its ``threads``.
    threads : int >= 1
        The maximum number of shards on each rank, each on its own thread.
    sync_batch_stats, min_work
        As in `over_threads`; ``min_work`` decides over the threads of a rank. A batch is always split among the ranks.

    Returns
    -------
    callable
        ``over_ranks(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``, like
        ``grad_fn``. Each rank is given the whole batch, computes its own shard, and returns the same results.

    Raises
    ------
    TypeError, ValueError
        If ``grad_fn`` does not come from `value_and_grad`, ``comm`` is no communicator, or ``threads`` is not an
        int >= 1.

    Notes
    -----
    With one thread each, R ranks give bit for bit what `over_threads` gives with ``n=R, min_work=0``: the shards and
    their keys are the same, the loss is computed on the outputs of all, and gradients are added up in the order of the
    ranks. R ranks of T threads give the same as R T threads up to rounding, and the same bits in every run. Of a batch
    with fewer examples than ranks, the first ranks have one each.

    An error on one rank leaves the others waiting. ``python -m mpi4py`` ends the job in that case, and so does
    ``funcnn train``.

    Examples
    --------
    >>> from funcnn import losses, models
    >>> from funcnn.gradients import value_and_grad
    >>> model = models.mlp(hidden=(8,))
    >>> params, state, _ = model.init((0,), (30,))
    >>> comm = None  # in a job: from mpi4py import MPI; comm = MPI.COMM_WORLD
    >>> grad_fn = over_ranks(value_and_grad(model, losses.softmax_cross_entropy), comm)
    >>> value, grads, state = grad_fn(params, state, np.ones((10, 30), np.float32), np.arange(10))
    """
    _check_grad_fn("over_ranks", grad_fn)
    checks.count("over_ranks", "threads", threads)
    group = process_group("over_ranks", comm)
    if group.size > 1:
        selection.agree(group.gather)
    return _over_shards(grad_fn, threads, group, sync_batch_stats, min_work)


def _check_grad_fn(where: str, grad_fn: Any) -> None:
    if not isinstance(getattr(grad_fn, "model", None), Layer) or getattr(grad_fn, "loss", None) is None:
        raise TypeError(
            f"{where}: grad_fn must come from value_and_grad, which keeps its model and loss; got {grad_fn!r}"
        )


def _over_shards(
    grad_fn: GradFn, n: int, group: ProcessGroup, sync_batch_stats: bool, min_work: float
) -> Callable[..., tuple[Any, Tree, Tree]]:
    """Return ``grad_fn`` over up to ``n`` threads on each process of a group. Shards are numbered over all of them."""
    model, loss = grad_fn.model, grad_fn.loss
    threads_by_shape: dict[tuple[Any, ...], int] = {}  # a cache: `_choose_threads` takes microseconds in each step

    def choose_threads(params: Tree, state: Tree, x: Source, examples: int) -> int:
        """Return the number of threads for a rank's part of a batch, so many examples like those of ``x``."""
        shape = (*selection.deciding(), examples, *x.shape[1:])
        threads = threads_by_shape.get(shape)
        if threads is None:
            if len(threads_by_shape) >= _SHAPES:
                threads_by_shape.clear()
            part = Selected(x, np.arange(examples))
            threads = _choose_threads(model, params, state, part, n, min_work)
            if threads > 1 and min_work > 0 and sync_batch_stats and _kernels_share(model, params, state, part):
                threads = 1
            threads_by_shape[shape] = threads
        return threads

    def sharded_grad_fn(
        params: Tree,
        state: Tree,
        x: Array | Source,
        targets: Array,
        key: Key | None = None,
        sample_weight: Array | None = None,
    ) -> tuple[Any, Tree, Tree]:
        x = as_source(x)
        # what has no examples is an error of the model
        whole = _IN_SHARD.get() or not x.shape
        if whole or (group.size == 1 and choose_threads(params, state, x, len(x)) == 1):
            with blas.one_thread, kernel_threads.Limit(1 if _IN_SHARD.get() else n):
                return grad_fn(params, state, x, targets, key, sample_weight)
        examples = max(len(x), 1)
        if examples >= group.size:
            return grad_of_group(group, params, state, x, targets, key, sample_weight)
        first_ranks, result = group.first(examples), None
        if group.rank < examples:
            result = grad_of_group(first_ranks, params, state, x, targets, key, sample_weight)
        result, *_ = group.gather(result if group.rank == 0 else None)
        return result

    def grad_of_group(
        group: ProcessGroup,
        params: Tree,
        state: Tree,
        x: Source,
        targets: Array,
        key: Key | None,
        sample_weight: Array | None,
    ) -> tuple[Any, Tree, Tree]:
        threads = choose_threads(params, state, x, len(x) // group.size)
        shards = threads * group.size
        if shards == 1:
            with blas.one_thread, kernel_threads.Limit(n):
                return grad_fn(params, state, x, targets, key, sample_weight)
        ends, own = bounds(len(x), shards), group.rank * threads
        all_gather = AllGather(threads, partial(stack_all, group))

        def forward(i: int) -> tuple[Array, Callable[..., Any], Tree]:
            first, last = ends[own + i : own + i + 2]
            shard_key = None if key is None else fold_in(key, own + i)
            gather = partial(all_gather.gather, i) if sync_batch_stats else no_gather
            with shard_scope(Shard(first, last - first, shard_key or (), key, gather)):
                return model.forward(params, take(x, slice(first, last)), state, train=True, key=shard_key)

        with blas.one_thread, kernel_threads.Limit(n if threads == 1 else 1):
            outputs, vjps, states = zip(*run_concurrently(forward, threads, all_gather.abort), strict=True)
            sizes = np.diff(ends)
            sizes_of_ranks = sizes.reshape(group.size, threads).sum(axis=1).tolist()
            all_outputs = group.concatenate(np.concatenate(outputs), sizes_of_ranks)
            value, loss_vjp = loss(all_outputs, targets, sample_weight=sample_weight)
            own_dy = loss_vjp(1.0)[ends[own] :]
            dys = np.split(own_dy, np.cumsum([len(y) for y in outputs]))

            def backward(i: int) -> Tree:
                return pull_back(model, vjps[i], dys[i], input_gradient=False)[0]

            grads = run_concurrently(backward, threads, all_gather.abort)
        new_state = tree.map(partial(_average, sizes[own : own + threads]), *states)
        if group.size > 1:
            value, new_state = _agree(group, value, state, new_state, sizes_of_ranks)
        return value, group.total(tree.map(_sum, *grads)), new_state

    return sharded_grad_fn


def _agree(group: ProcessGroup, value: Any, state: Tree, new_state: Tree, sizes: Sequence[int]) -> tuple[Any, Tree]:
    """Return the first rank's value, and the ranks' new states, averaged where they differ.

    Processors of other kinds differ in the last bits of the value, and ranks that decide by it must decide alike. The
    ranks send their states, which may be large, only if they differ: usually each has the whole batch's statistics.
    """
    old = tree.flatten(state)
    changed = {path: leaf for path, leaf in tree.flatten(new_state).items() if leaf is not old.get(path)}
    checksum = np.frombuffer(digest(changed), np.uint8)
    values, checksums = stack_all(group, np.asarray(value)[None], checksum[None])
    if (checksums != checksums[0]).any():
        new_state = tree.map(partial(_average, sizes), *group.gather(new_state))
    return values[0], new_state


def map_batches(
    f: Callable[[Array], Array],
    x: Source,
    batch_size: int,
    model: Layer,
    params: Tree,
    state: Tree,
    n: int,
    group: ProcessGroup = ALONE,
) -> list[Array]:
    """Split examples into batches and return the results of ``f`` for them, computed on up to ``n`` threads.

    Each thread computes whole batches. Only if there is a single batch, it is split into shards if its work suffices.

    Parameters
    ----------
    f : callable
        ``f(x) -> outputs``, the model's forward pass. Examples must be independent of each other.
    x : array or source (N, ...)
    batch_size : int
    model, params, state
        For an estimate of the work of a batch.
    n : int
        Threads on each process.
    group : ProcessGroup
        The processes that compute a part of the batches each, if there is work enough.

    Returns
    -------
    list of arrays
        Concatenated, they are the outputs of all examples in order.
    """
    starts = range(0, max(len(x), 1), batch_size)
    # the first batch is read once, by the process that computes it
    head: Any = x
    if type(x) is not np.ndarray or len(x) > batch_size:
        head = take(x, slice(0, batch_size)) if group.rank == 0 else Selected(x, np.arange(len(x))[:batch_size])

    def batch(first: int, last: int) -> Array:
        return head[first:last] if first < len(head) else take(x, slice(first, last))

    threads = _choose_threads(model, params, state, head, n * group.size, _MIN_WORK, len(starts))
    if threads == 1:
        with blas.one_thread, kernel_threads.Limit(1 if _IN_SHARD.get() else n):
            return [f(head)] if len(starts) == 1 else [f(batch(i, i + batch_size)) for i in starts]
    ranges = list(pairwise(bounds(len(x), threads) if len(starts) == 1 else [*starts, len(x)]))
    parts = bounds(len(ranges), group.size)
    own = ranges[parts[group.rank] : parts[group.rank + 1]]
    threads = max(1, min(n, threads, len(own)))
    stopped = threading.Event()

    def results_of_thread(i: int) -> list[Array]:
        return [f(batch(first, last)) for first, last in own[i::threads] if not stopped.is_set()]

    with blas.one_thread:
        results = run_concurrently(results_of_thread, threads, stopped.set)
    in_order = [results[k % threads][k // threads] for k in range(len(own))]
    return [y for part in group.gather(in_order) for y in part]


def _choose_threads(
    model: Layer, params: Tree, state: Tree, x: Source, n: int, min_work: float, batches: int = 1
) -> int:
    """Return the number of threads, up to ``n``, among which a batch (or several whole batches) should be divided.

    The work W of a batch is estimated by `_mean_layer_work` times its examples. If k threads share one batch, each has
    W / k and must have at least min_work * k / 2, because threads wait for each other between NumPy's calls; so k is at
    most sqrt(2 W / min_work). If each thread computes whole batches, its work is W for any k; so k is at most 2 W /
    min_work.

    Parameters
    ----------
    model, params, state
    x : array or source (N, ...)
        One batch.
    n : int
    min_work : float
        As in `over_threads`.
    batches : int
        The number of batches of this size. If there are several, they are divided among the threads and stay whole.

    Returns
    -------
    int
        1 if threads would not pay, or if the BLAS' own threads cannot be limited.
    """
    if n == 1 or _IN_SHARD.get() or not x.shape or len(x) * batches < 2:
        return 1
    if min_work == 0:
        return min(n, len(x) * batches)
    work = _mean_layer_work(model, params, state, x) * len(x)
    if batches > 1:
        threads = max(1, min(n, batches, int(2 * work / min_work)))
    else:
        threads = max(1, min(n, len(x), math.isqrt(int(2 * work / min_work))))
    return threads if threads == 1 or blas.can_limit() else 1


def prepare_kernels(model: Layer, params: Tree, state: Tree, x: Source, batch_size: int, epochs: int) -> None:
    """Decide before a run of training whether compiled kernels compute it, and compile them where that pays.

    Parameters
    ----------
    model, params, state
    x : array or source (N, ...)
        All examples.
    batch_size, epochs : int
    """
    float64 = any(leaf.dtype == np.float64 for leaf in tree.leaves(params))
    if not selection.is_open(float64):
        return
    # where layers are smaller, compiled kernels gain little
    least = selection.LOAD_SIZE / min(batch_size, len(x))
    work = sum(layer.work for layer in _layer_work(model, params, state, x) if layer.entries >= least)
    selection.prepare(3 * epochs * len(x) * work, float64)  # a step goes forward, and backward to two gradients


class _LayerWork(NamedTuple):
    """A layer's work per example in multiply-adds, the entries of its output, and whether compiled kernels share it."""

    work: float
    entries: int
    shared: bool


_WORK: WeakKeyDictionary[Callable[..., Any], dict[tuple[int, ...], list[_LayerWork]]] = WeakKeyDictionary()
# The ops whose compiled kernels divide long calls among threads, or that take no time.
_SHARED_OPS = (
    ops.add, ops.batch_norm, ops.conv, ops.dense, ops.flatten, ops.global_avg_pool, ops.identity, ops.max_pool,
    ops.relu, depthwise_conv,
)  # fmt: skip
_MIN_SHARED = 0.95  # of the entries of all outputs: the other layers are computed on one thread


def _kernels_share(model: Layer, params: Tree, state: Tree, x: Source) -> bool:
    """Return whether compiled kernels divide nearly all work of a batch among threads.

    Then a batch stays whole: threads that wait in compiled code take over a block within a microsecond, and Python code
    runs once for the batch. Where each thread has a shard, it runs once for each shard, and only one thread at a time
    runs it, at some 70 us for each that waits.
    """
    dtypes = {leaf.dtype for leaf in tree.leaves(params)}
    if not all(dtype.char in "fd" and selection.active(selection.LOAD_SIZE, dtype) for dtype in dtypes):
        return False
    layers = _layer_work(model, params, state, x)
    return sum(layer.entries for layer in layers if layer.shared) >= _MIN_SHARED * sum(
        layer.entries for layer in layers
    )


def _is_shared(layer: Layer) -> bool:
    op, options = op_and_options(layer)
    return op in _SHARED_OPS and options.get("groups", 1) == 1 == np.prod(options.get("dilation", 1))


def _mean_layer_work(model: Layer, params: Tree, state: Tree, x: Source) -> float:
    """Return an estimate of a model's work per example, as the mean over its layers, in multiply-adds."""
    work = [layer.work for layer in _layer_work(model, params, state, x)]
    return sum(work) / max(len(work), 1)


def _layer_work(model: Layer, params: Tree, state: Tree, x: Source) -> list[_LayerWork]:
    """Return an estimate of each layer's work per example.

    A layer's work is its multiply-adds, plus `_WORK_PER_ENTRY` for each entry of its output. One forward pass of a
    single example shows the layers' shapes, or of the whole batch if the model cannot compute one; the result is cached
    by the model and the shape of an example. It is an estimate from shapes, not a measured time, so that a batch is
    split in the same way, and sums are rounded in the same way, in every run.
    """
    try:
        work_by_shape = _WORK.setdefault(model.forward, {})
    except TypeError:  # not all callables support weak references
        work_by_shape = {}
    found = work_by_shape.get(x.shape[1:])
    if found is None:
        work: list[_LayerWork] = []

        def count_work(path: str, layer: Layer) -> Layer:
            def forward(params: Tree, x: Any, state: Tree, **options: Any) -> Any:
                result = layer.forward(params, x, state, **options)
                out_shape = np.shape(result[0])[1:]
                # several arrays are not multiplied by params
                in_shape = () if isinstance(x, tuple) else np.shape(x)[1:]
                entries = math.prod(out_shape)
                products = multiply_adds(layer, params, in_shape, out_shape)
                work.append(_LayerWork(products + _WORK_PER_ENTRY * entries, entries, _is_shared(layer)))
                return result

            return layer._replace(forward=forward)

        counting = map_layers(count_work, model)
        with blas.one_thread, np.errstate(all="ignore"):
            try:
                counting.forward(params, take(x, slice(0, 1)), state, train=False)
            except (ValueError, TypeError):
                work.clear()
                counting.forward(
                    params, take(x, slice(None)), state, train=False
                )  # the error of the batch, if it has one
        if len(work_by_shape) >= _SHAPES:
            work_by_shape.clear()
        found = work_by_shape[x.shape[1:]] = work
    return found  # not looked up again: another thread may have cleared the cache


def _sum(first: Array, *others: Array) -> Array:
    return sum(others, first)


def _average(sizes: Array | Sequence[int], first: Any, *others: Any) -> Any:
    """Return a leaf of the shards' states if all are equal, otherwise their average weighted by ``sizes``."""
    if all(other is first or np.array_equal(first, other) for other in others):
        return first
    if np.asarray(first).dtype.kind not in "fc":
        raise TypeError(
            "over_threads: the shards of a batch return different states, which are not floats and cannot be averaged"
        )
    return np.average([first, *others], axis=0, weights=sizes).astype(np.asarray(first).dtype)


# Whether this thread is computing a shard. If so, it must not start tasks and wait for them: all workers may be busy
# with the other shards.
_IN_SHARD: ContextVar[bool] = ContextVar("in_shard", default=False)


def run_concurrently(task: Callable[[int], T], n: int, abort: Callable[[], None]) -> list[T]:
    """Return ``task(0)``, ..., ``task(n - 1)``, computed concurrently: the first on this thread, the others on workers.

    All tasks run with the caller's context variables, among them NumPy's error state. If a task fails, ``abort`` is
    called, which must release the tasks that wait for it. The first error is raised that is not a consequence of
    ``abort``.
    """

    def run_or_abort(i: int) -> T:
        _IN_SHARD.set(True)
        try:
            return task(i)
        except BaseException:
            abort()
            raise

    if n == 1:
        return [copy_context().run(run_or_abort, 0)]
    from concurrent.futures import wait

    errors: list[BaseException] = []
    others: list[Any] = []
    workers = _THREADS.acquire(n - 1)
    try:
        try:
            for i in range(1, n):
                others.append(workers.executor.submit(copy_context().run, run_or_abort, i))
            first = copy_context().run(run_or_abort, 0)
        except BaseException as error:
            abort()  # also where no more threads can be started
            errors.append(error)
        try:
            wait(others)
        except BaseException:  # such as Ctrl-C: all tasks must have ended before the caller continues
            abort()
            wait(others)
            raise
        errors += [failure for other in others if (failure := other.exception()) is not None]
        for failure in errors:
            if not isinstance(failure, threading.BrokenBarrierError):
                raise failure
        return [first, *(other.result() for other in others)]
    finally:
        _THREADS.release(workers)
        errors.clear()  # each holds this frame by its traceback: a reference cycle


_IDLE_POOLS = 4  # kept for so many callers at the same time; more callers start threads in each call


class _Workers(NamedTuple):
    number: int
    executor: ThreadPoolExecutor


class _ThreadPool:
    """The worker threads of the process. There is one instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Workers] = []

    def acquire(self, n: int) -> _Workers:
        """Return n or more workers for the caller alone, who must `release` them.

        Tasks may wait for each other, and a layer may start a thread that calls `over_threads` and wait for it. So
        callers share no workers: nobody waits for a worker that waits for him. Idle workers are kept for later calls.
        """
        from concurrent.futures import ThreadPoolExecutor  # brings logging along, a tenth of the import of funcnn

        with self._lock:
            for i in reversed(range(len(self._idle))):
                if self._idle[i].number >= n:
                    return self._idle.pop(i)
            if self._idle:  # too few: replace them
                self._idle.pop(0).executor.shutdown(wait=False)
        return _Workers(n, ThreadPoolExecutor(n, "funcnn"))

    def release(self, workers: _Workers) -> None:
        """Keep workers whose tasks have ended for later calls, or dismiss them if enough are idle."""
        with self._lock:
            if len(self._idle) < _IDLE_POOLS:
                self._idle.append(workers)
                return
        workers.executor.shutdown(wait=False)


_THREADS = _ThreadPool()
if hasattr(os, "register_at_fork"):
    # a forked process does not inherit the threads, and its copy of a lock may be held by one of them
    os.register_at_fork(after_in_child=_THREADS.__init__)  # type: ignore[misc]
