"""Blocks of a routine on several threads: the same results as on one, whatever the threads do."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import systems

from funcnn import layers, ops, residual, serial, tree
from funcnn.data_parallel import over_threads
from funcnn.gradients import value_and_grad
from funcnn.kernels import threads
from funcnn.layer import parameterless
from funcnn.losses import softmax_cross_entropy
from funcnn.training import predict

pytest.importorskip("numba", reason="the extra fast is not installed")

from funcnn.kernels import products
from funcnn.kernels.compiled import parallel
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine
from funcnn.kernels.selection import use_kernels

RNG = np.random.default_rng(0)
POSIX = pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no teams")


@in_parallel
def _square(arguments, thread, block):
    """Square some numbers; the first one below 0 is an error."""
    x, y, size = arguments
    for i in range(block * size, min((block + 1) * size, len(x))):
        if x[i] < 0:
            raise ValueError
        y[i] = x[i] * x[i]


@routine("void(int64[::1], float64[::1], int64, float64[::1])")
def square(team, x, size, y):
    _square(team, (x, y, size), (len(x) + size - 1) // size)


def squares(x, size, members):
    y = np.full_like(x, np.nan)
    square(team(members), x, size, y)
    return y


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("blocks", [0, 1, 2, 100])
def test_each_block_is_computed_once_before_the_caller_goes_on(members, blocks):
    x = np.arange(7.0 * blocks)
    for _ in range(100):
        np.testing.assert_array_equal(squares(x, 7, members), x * x)


def test_callers_at_the_same_time_do_not_mix_their_blocks():
    def task(i):
        x = np.full(1000, float(i))
        return all((squares(x, 10, 2) == i * i).all() for _ in range(300))

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(task, range(4)))


def test_an_error_in_a_block_is_raised_and_does_not_last():
    x = np.arange(100.0)
    x[57] = -1
    for members in (1, 2):
        with pytest.raises(ValueError, match="a block of a compiled kernel failed"):
            squares(x, 10, members)
        np.testing.assert_array_equal(squares(np.ones(100), 10, members), np.ones(100))


@POSIX
def test_a_team_whose_worker_is_late_is_skipped_for_a_while():
    x = np.arange(100.0)
    array = team(2)
    array[parallel._SKIP] = 2
    for left in (1, 0, 0):
        np.testing.assert_array_equal(squares(x, 10, 2), x * x)
        assert array[parallel._SKIP] == left


@pytest.mark.parametrize("started", [0, 1])
def test_where_no_more_threads_can_be_started_the_others_compute_all_blocks(monkeypatch, started):
    start, left = parallel.threading.Thread.start, iter(range(started))

    def start_or_fail(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(parallel, "_TEAMS", {})
    monkeypatch.setattr(parallel.threading.Thread, "start", start_or_fail)
    x = np.arange(20.0)
    for _ in range(3):
        np.testing.assert_array_equal(squares(x, 2, 3), x * x)


def test_beside_the_threads_of_a_blas_that_cannot_be_limited_there_is_no_team(monkeypatch):
    monkeypatch.setattr(parallel.blas, "can_limit", lambda: False)
    monkeypatch.setattr(parallel, "_TEAMS", {})
    assert not len(team(2)) and not parallel._TEAMS


@POSIX
def test_one_thread_is_one_thread(monkeypatch):
    monkeypatch.setattr(parallel, "_TEAMS", {})
    model = serial(layers.dense(300))
    params, state, _ = model.init((0,), (300,))
    x, labels = RNG.normal(size=(64, 300)).astype(np.float32), np.zeros(64, int)
    with use_kernels("compiled"):
        for n in (1, 2):
            over_threads(value_and_grad(model, softmax_cross_entropy), n)(params, state, x, labels)
            predict(model, params, state, x, threads=n)
            assert len(parallel._TEAMS) == n - 1


@systems.needs("fork")
def test_a_forked_process_has_workers_of_its_own():
    squares(np.ones(100), 10, 2)
    child = os.fork()
    if not child:
        os._exit(0 if (squares(np.full(100, 3.0), 10, 2) == 9).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def conv(method, shape=(1, 26, 33, 32), out_channels=48):
    """Return a convolution with its derivatives, large enough for several threads."""
    x = RNG.normal(size=shape).astype(np.float32)
    w = RNG.normal(size=(3, 3, shape[-1], out_channels)).astype(np.float32)
    params = {"w": w, "b": RNG.normal(size=out_channels).astype(np.float32)}

    def result():
        y, vjp = ops.conv(params, x, padding=1, method=method)
        dparams, dx = vjp(np.cos(y))
        return np.concatenate([a.ravel() for a in (y, dparams["w"], dparams["b"], dx)])

    return result


def conv_and_maxima():
    """Compute a convolution with 2x2 maxima, and its derivatives."""
    x = np.random.default_rng(1).normal(size=(67, 21, 18, 3)).astype(np.float32)
    model = serial(layers.conv2d(9, 5), layers.max_pool(2))
    params, state, _ = model.init((0,), x.shape[1:])
    y, vjp, _ = model.forward(params, x, state, train=True)
    dparams, dx = vjp(np.cos(y))
    return np.concatenate([a.ravel() for a in (y, *tree.leaves(dparams), dx)])


def derivatives(layer, shape, dtype=np.float32):
    """Return a layer with its derivatives, where it computes y and where it may be fused with a ReLU or a pool."""
    x = RNG.normal(size=shape).astype(dtype)
    params, state, _ = layer.init((0,), shape[1:])

    def result():
        y, vjp, new_state = layer.forward(params, x, state, train=True)
        dparams, dx = vjp(np.cos(y))
        return np.concatenate([a.ravel() for a in (y, *tree.leaves(new_state), *tree.leaves(dparams), dx)])

    return result


X, W, DY = (RNG.normal(size=size) for size in ((170, 300), (300, 130), (170, 130)))
CASES = {
    "product": lambda: products.product(X, W),
    "product_adjoint_w": lambda: products.product_adjoint_w(X, DY),
    "product_adjoint_x": lambda: products.product_adjoint_x(W, DY),
    "im2col": conv("im2col"),
    "winograd": conv("winograd"),
    "tiny_images": conv("im2col", (70, 4, 3, 37), 40),
    "few_channels": conv("row_blocks", (67, 15, 18, 3), 20),
    "few_channels_and_maxima": conv_and_maxima,
    "strided": derivatives(layers.conv2d(24, 3, stride=2, padding=1, bias=False), (13, 35, 33, 16)),
    "strided_and_large": derivatives(layers.conv2d(80, 3, stride=2), (3, 9, 15, 300)),
    "batch_norm": derivatives(layers.batch_norm(), (11, 37, 33, 24)),
    "batch_norm_and_relu": derivatives(serial(layers.batch_norm(), layers.relu()), (40000, 7), np.float64),
    "batch_norm_and_pool": derivatives(
        serial(layers.batch_norm(), layers.relu(), layers.max_pool(3, stride=2, padding=1)), (5, 51, 53, 13)
    ),
    "max_pool": derivatives(layers.max_pool(3, stride=2), (7, 61, 63, 9)),
    "avg_pool": derivatives(layers.avg_pool(3, padding=1), (7, 61, 63, 9)),
    "residual": derivatives(serial(residual(layers.relu()), layers.relu()), (9, 41, 43, 17)),
}


@pytest.mark.parametrize("case", CASES)
def test_several_threads_give_what_one_gives_and_the_same_bits_each_time(case):
    with use_kernels("compiled"):
        alone = CASES[case]()
        for n in (2, 3):
            with threads.Limit(n):
                first, second = CASES[case](), CASES[case]()
            team(n)[parallel._SKIP] = 1000  # a worker that is late
            with threads.Limit(n):
                without_workers = CASES[case]()
            team(n)[parallel._SKIP] = 0
            np.testing.assert_array_equal(first, second)
            np.testing.assert_array_equal(first, without_workers)
            np.testing.assert_allclose(first, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["batch_norm", "batch_norm_and_relu", "batch_norm_and_pool", "max_pool", "residual"])
def test_passes_over_blocks_and_images_give_the_same_bits_on_any_number_of_threads(case):
    with use_kernels("compiled"):
        alone = CASES[case]()
        with threads.Limit(3):
            np.testing.assert_array_equal(CASES[case](), alone)


@pytest.mark.parametrize(
    ("activation", "kernels", "options", "shards"),
    [
        (layers.relu(), "compiled", {}, [6]),
        (layers.relu(), "numpy", {}, [3, 3]),
        (layers.tanh(), "compiled", {}, [3, 3]),  # computed on one thread
        (layers.relu(), "compiled", {"sync_batch_stats": False}, [3, 3]),
        (layers.relu(), "compiled", {"min_work": 0}, [3, 3]),
    ],
)
def test_a_batch_stays_whole_where_kernels_share_all_layers_among_threads(activation, kernels, options, shards):
    seen = []

    def count(x):
        seen.append(len(x))
        return x, lambda dy: dy

    model = serial(
        parameterless("count", count), layers.conv2d(32, 3), layers.batch_norm(), activation, layers.flatten()
    )
    params, state, _ = model.init((0,), (6, 6, 1))
    x, labels = RNG.normal(size=(6, 6, 6, 1)).astype(np.float32), np.zeros(6, int)
    grad_fn = over_threads(value_and_grad(model, softmax_cross_entropy), 2, **{"min_work": 1} | options)
    with use_kernels(kernels):
        seen.clear()
        grad_fn(params, state, x, labels)  # estimates the work by an example
        seen.clear()
        grad_fn(params, state, x, labels)
    assert seen == shards


def test_depthwise_gives_the_same_bits_on_any_number_of_threads():
    x, w = RNG.normal(size=(2, 60, 60, 40)), RNG.normal(size=(3, 3, 1, 40))
    with use_kernels("compiled"):
        alone = ops.conv({"w": w}, x, groups=40, bias=False)[0]
        with threads.Limit(2):
            np.testing.assert_array_equal(ops.conv({"w": w}, x, groups=40, bias=False)[0], alone)
