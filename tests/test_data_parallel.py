"""Threads: shards of a batch give the whole batch's results, the same bits each time, and errors reach the caller."""

import concurrent.futures
import functools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import systems
from arrays import normal

from funcnn import blas, data_parallel, gradients, losses, metrics, models, ops, optim, training, tree
from funcnn.combinators import residual, serial
from funcnn.keys import generator
from funcnn.layer import Layer, parameterless
from funcnn.layers import batch_norm, conv2d, dense, dropout, flatten, global_avg_pool, max_pool, relu, tanh

X = normal(23, 6, 6, 2)
LABELS = np.random.default_rng(0).integers(0, 3, 23)
PLAIN = serial(conv2d(4, 3, padding="same"), tanh(), max_pool(2), flatten(), dense(3))
NORMALIZED = serial(
    conv2d(4, 3, bias=False), batch_norm(), relu(), residual(serial(conv2d(4, 3, padding=1), batch_norm())),
    global_avg_pool(), batch_norm(), dense(3),
)  # fmt: skip
DROPPING = serial(conv2d(3, 3), dropout(0.4), flatten(), serial(dropout(0.5)), dense(3))


def start(model, in_shape=X.shape[1:], dtype=np.float64):
    params, state, _ = model.init((0,), in_shape)
    return tree.map(lambda p: p.astype(dtype), params), tree.map(lambda s: s.astype(dtype), state)


def threaded(model, n, loss=losses.softmax_cross_entropy, **options):
    return data_parallel.over_threads(gradients.value_and_grad(model, loss), n, **{"min_work": 0, **options})


def assert_close(a, b, tolerance=1e-12):
    assert tree.paths(a) == tree.paths(b)
    scale = max((np.abs(leaf).max(initial=0.0) for leaf in tree.leaves(b)), default=0.0)
    tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance * scale), a, b)


def assert_same(a, b):
    assert tree.paths(a) == tree.paths(b)
    tree.map(np.testing.assert_array_equal, a, b)


def compare(model, n, *arguments, loss=losses.softmax_cross_entropy, tolerance=1e-12, **named):
    """Assert that over n threads it gives what it gives on one."""
    params, state = start(model)
    got = threaded(model, n, loss)(params, state, *arguments, **named)
    wanted = gradients.value_and_grad(model, loss)(params, state, *arguments, **named)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a, b, tolerance)
    return got


def counting_shards(shards):
    """A layer that does nothing but note how many examples it was given, in training."""

    def forward(params, x, state, *, train, key=None):
        if train:
            shards.append(len(x))
        return x, lambda dy: ({}, dy), {}

    return Layer("counting", lambda key, in_shape: ({}, {}, in_shape), forward)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("model", [PLAIN, NORMALIZED, DROPPING, models.resnet(3, blocks=(1, 1), channels=(2, 4))])
def test_shards_give_the_whole_batchs_value_gradients_and_state(model, n):
    compare(model, n, X, LABELS, key=(3,))


def test_every_example_is_in_one_shard_and_all_shards_but_one_have_the_same_size():
    for n, batch, sizes in [(2, 23, [11, 12]), (3, 23, [7, 8, 8]), (4, 2, [1, 1]), (5, 1, [1])]:
        shards = []
        model = serial(counting_shards(shards), flatten(), dense(3))
        compare(model, n, X[:batch], LABELS[:batch])
        assert sorted(shards[: len(sizes)]) == sizes


def test_one_thread_is_the_function_as_it_is():
    params, state = start(PLAIN)
    grad_fn = gradients.value_and_grad(PLAIN, losses.softmax_cross_entropy)
    for a, b in zip(threaded(PLAIN, 1)(params, state, X, LABELS), grad_fn(params, state, X, LABELS), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    "loss",
    [
        functools.partial(losses.softmax_cross_entropy, class_weight=np.array([0.1, 1.0, 10.0])),
        functools.partial(losses.softmax_cross_entropy, ignore_index=1, label_smoothing=0.1),
        functools.partial(losses.focal, class_weight=np.array([0.0, 1.0, 3.0])),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_of_different_weight(loss, weighted):
    # in order of the labels, so that the first shard has little weight or none at all
    order = np.argsort(LABELS)
    weights = np.where(np.arange(23) < 8, 0.0, np.linspace(0.1, 5, 23)) if weighted else None
    compare(PLAIN, 3, X[order], LABELS[order], loss=loss, sample_weight=weights)


def test_a_loss_that_is_no_mean():
    def furthest(outputs, targets, *, sample_weight=None):
        value, vjp = losses.mse(outputs[:, :1], targets[:, None])
        worst = np.abs(outputs[:, 1]).argmax()

        def furthest_vjp(dvalue):
            dy = np.zeros_like(outputs)
            dy[:, :1] = vjp(dvalue)
            dy[worst, 1] = dvalue
            return dy

        return value + outputs[worst, 1], furthest_vjp

    compare(PLAIN, 4, X, LABELS.astype(float), loss=furthest)


def test_outputs_at_each_position():
    model = serial(conv2d(3, 3), batch_norm())
    compare(model, 2, X, np.random.default_rng(1).integers(0, 3, (23, 4, 4)))


def test_single_precision_is_kept_and_equal_to_rounding():
    params, state = start(NORMALIZED, dtype=np.float32)
    x = X.astype(np.float32)
    value, grads, new_state = threaded(NORMALIZED, 2)(params, state, x, LABELS)
    wanted = gradients.value_and_grad(NORMALIZED, losses.softmax_cross_entropy)(params, state, x, LABELS)
    assert value.dtype == np.float32
    assert {leaf.dtype for leaf in tree.leaves(grads) + tree.leaves(new_state)} == {np.dtype(np.float32)}
    assert_close(grads, wanted[1], 1e-5)
    assert_close(new_state, wanted[2], 1e-6)


def test_complex_numbers_pass():
    params, state = start(NORMALIZED)
    vector, unravel = tree.ravel(params)
    direction = normal(vector.size)
    grad_fn = threaded(NORMALIZED, 2)
    _, grads, _ = grad_fn(params, state, X, LABELS)
    moved, _, _ = grad_fn(unravel(vector + 1e-30j * direction), state, X, LABELS)
    np.testing.assert_allclose(tree.ravel(grads)[0] @ direction, moved.imag / 1e-30, rtol=1e-11)


def test_batch_norm_with_a_mean_far_above_its_deviation():
    model = serial(batch_norm(), flatten(), dense(3))
    compare(model, 3, 1e6 + X, LABELS, tolerance=1e-9)  # not 1e-4, where squares are subtracted


def test_batch_norm_can_use_the_statistics_of_each_shard():
    model = serial(conv2d(2, 3), batch_norm(decay=0.0), flatten(), dense(3))
    params, state = start(model)
    outputs, whole_state = [], []
    for shard in (X[:11], X[11:]):
        y, _, new = model.forward(params, shard, state, train=True)
        outputs.append(y)
        whole_state.append(new["1_batch_norm"])
    value, grads, new_state = threaded(model, 2, sync_batch_stats=False)(params, state, X, LABELS)
    np.testing.assert_allclose(value, losses.softmax_cross_entropy(np.concatenate(outputs), LABELS)[0], rtol=1e-12)
    for name in ("mean", "var"):
        mean = (11 * whole_state[0][name] + 12 * whole_state[1][name]) / 23
        np.testing.assert_allclose(new_state["1_batch_norm"][name], mean, rtol=1e-12)

    vector, unravel = tree.ravel(params)
    direction = normal(vector.size)
    moved, _, _ = threaded(model, 2, sync_batch_stats=False)(unravel(vector + 1e-30j * direction), state, X, LABELS)
    np.testing.assert_allclose(tree.ravel(grads)[0] @ direction, moved.imag / 1e-30, rtol=1e-11)


def test_batch_norm_needs_two_values_in_the_batch_not_in_each_shard():
    model = serial(flatten(), batch_norm(), dense(3))
    compare(model, 2, X[:2], LABELS[:2])
    params, state = start(model)
    with pytest.raises(ValueError, match="at least 2 values in each channel") as error:
        threaded(model, 2, sync_batch_stats=False)(params, state, X[:2], LABELS[:2])
    assert error.value.__notes__ == ["in layer 1_batch_norm"]


@pytest.mark.parametrize("shared_axes", [(), (1, 2), (0,), (0, 3), (1, 2, 3)])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_dropout_draws_the_whole_batchs_mask(shared_axes, n):
    # 5 * 3 * 1 entries an example: the generator, which makes two at a time, has to start in the middle
    model = serial(conv2d(1, (2, 4)), dropout(0.5, shared_axes=shared_axes), flatten(), dense(3))
    compare(model, n, X, LABELS, key=(7,))


def test_a_users_random_layer_draws_other_numbers_in_each_shard():
    drawn = []

    def forward(params, x, state, *, train, key=None):
        if train:
            drawn.append(generator(key).random())
        return x, lambda dy: ({}, dy), {}

    model = serial(Layer("noise", lambda key, in_shape: ({}, {}, in_shape), forward), flatten(), dense(3))
    params, state = start(model)
    for _ in range(2):
        threaded(model, 3)(params, state, X, LABELS, key=(1,))
    assert len(set(drawn[:3])) == 3 and set(drawn[:3]) == set(drawn[3:])


def test_a_run_repeats_bit_for_bit():
    model = serial(NORMALIZED.children[0], dropout(0.3), *NORMALIZED.children[1:])
    params, state = start(model, dtype=np.float32)
    grad_fn = threaded(model, 3)
    first = grad_fn(params, state, X.astype(np.float32), LABELS, (5,))
    for _ in range(10):
        again = grad_fn(params, state, X.astype(np.float32), LABELS, (5,))
        for a, b in zip(again, first, strict=True):
            assert_same(a, b)


def test_nothing_given_is_written():
    params, state = start(NORMALIZED)
    x, weights = X.copy(), np.ones(23)
    for array in (*tree.leaves(params), *tree.leaves(state), x, weights):
        array.flags.writeable = False
    grad_fn = threaded(NORMALIZED, 2)
    _, grads, new_state = grad_fn(params, state, x, LABELS, sample_weight=weights)
    kept = tree.map(np.copy, {"grads": grads, "state": new_state})
    grad_fn(params, state, x + 1, LABELS)
    assert_same(kept, {"grads": grads, "state": new_state})


def test_several_callers_at_once():
    params, state = start(NORMALIZED)
    grad_fn = threaded(NORMALIZED, 3)
    wanted = [grad_fn(params, state, X + i, LABELS) for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as callers:
        for _ in range(5):
            got = callers.map(lambda i: grad_fn(params, state, X + i, LABELS), range(6), timeout=60)
            for a, b in zip(got, wanted, strict=True):
                assert_same(a[1], b[1])


def test_a_layer_may_itself_train_something_on_threads():
    inner_params, inner_state = start(PLAIN)
    inner = threaded(PLAIN, 2)
    wanted = inner(inner_params, inner_state, X, LABELS)[0]
    seen = []

    def forward(params, x, state, *, train, key=None):
        value = inner(inner_params, inner_state, X, LABELS)[0]
        count = training.evaluate(PLAIN, inner_params, inner_state, X, LABELS, {"n": lambda o, t: len(o)})["n"]
        seen.append((value, count))  # in one append, because the shards alternate
        return x, lambda dy: ({}, dy), {}

    model = serial(Layer("inner", lambda key, in_shape: ({}, {}, in_shape), forward), flatten(), dense(3))
    compare(model, 2, X, LABELS)
    values, counts = zip(*seen, strict=True)
    np.testing.assert_allclose(values, wanted, rtol=1e-12)
    assert set(counts) == {len(X)}


def failing(where, error, size):
    """A layer that fails with a shard of that many examples."""

    def op(x):
        if len(x) == size and where == "forward":
            raise error

        def failing_vjp(dy):
            if len(x) == size and where == "backward":
                raise error
            return dy

        return x, failing_vjp

    return parameterless("failing", op)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize(("batch", "size"), [(23, 7), (22, 8)], ids=["the first", "the last"])
def test_if_a_shard_fails_the_others_stop_and_its_error_is_raised(where, error, batch, size):
    error = error("too bad")
    model = serial(conv2d(2, 3), batch_norm(), serial(failing(where, error, size)), batch_norm(), flatten(), dense(3))
    params, state = start(model)
    with pytest.raises(type(error), match="too bad") as raised:
        threaded(model, 3)(params, state, X[:batch], LABELS[:batch])
    assert raised.value is error
    if isinstance(error, ValueError):
        assert error.__notes__ == ["in layer 2_serial / 0_failing"]
    compare(NORMALIZED, 3, X, LABELS)  # the workers are ready for more


@pytest.mark.parametrize("waiting_in", [batch_norm, tanh], ids=["the batch statistics", "the end"])
def test_ctrl_c_ends_all_shards(waiting_in):
    ended = []

    def interrupting(x):
        if len(x) == 12:  # the second shard, on a worker
            time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
            ended.append(True)
        return x, lambda dy: dy

    model = serial(parameterless("interrupting", interrupting), waiting_in(), flatten(), dense(3))
    params, state = start(model)
    with pytest.raises(KeyboardInterrupt):
        threaded(model, 2)(params, state, X, LABELS)
    assert ended
    compare(NORMALIZED, 2, X, LABELS)


def test_wrong_shapes_are_reported_for_the_whole_batch():
    params, state = start(PLAIN)
    grad_fn = data_parallel.over_threads(gradients.value_and_grad(PLAIN, losses.softmax_cross_entropy), 2)
    with pytest.raises(ValueError, match=r"\(23, 6, 6, 1\)") as error:
        grad_fn(params, state, X[..., :1], LABELS)
    assert error.value.__notes__ == ["in layer 0_conv2d"]


def test_shards_see_the_callers_error_state():
    model = serial(parameterless("huge", lambda x: (np.exp(1000 + x), lambda dy: 0 * dy)), flatten())

    def loss(outputs, targets, *, sample_weight=None):
        return 0.0, lambda dvalue: np.zeros(outputs.shape)

    params, state = start(model)
    with np.errstate(over="ignore"):
        threaded(model, 2, loss)(params, state, X, LABELS)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        threaded(model, 2, loss)(params, state, X, LABELS)


def test_states_that_cannot_be_averaged():
    def forward(params, x, state, *, train, key=None):
        return x, lambda dy: ({}, dy), {"seen": state["seen"] + (len(x) if train else 0)}

    counter = Layer("counter", lambda key, in_shape: ({}, {"seen": np.array(0)}, in_shape), forward)
    model = serial(counter, flatten(), dense(3))
    params, state, _ = model.init((0,), X.shape[1:])
    assert threaded(model, 2)(params, state, X[:22], LABELS[:22])[2]["0_counter"]["seen"] == 11
    with pytest.raises(TypeError, match="different states, which are not floats"):
        threaded(model, 2)(params, state, X, LABELS)


@pytest.mark.parametrize(
    ("grad_fn", "n", "error", "message"),
    [
        (lambda params: params, 2, TypeError, "grad_fn must come from value_and_grad"),
        (gradients.value_and_grad(PLAIN, losses.mse), 2.0, TypeError, "n must be an int, not 2.0"),
        (gradients.value_and_grad(PLAIN, losses.mse), 0, ValueError, "n must be at least 1, got 0"),
    ],
)
def test_bad_arguments(grad_fn, n, error, message):
    with pytest.raises(error, match=f"over_threads: {message}"):
        data_parallel.over_threads(grad_fn, n)


def test_small_steps_stay_whole_and_large_ones_are_cut():
    shards = []
    model = serial(counting_shards(shards), *models.lenet5().children)
    params, state, _ = model.init((0,), (16, 16, 1))
    grad_fn = data_parallel.over_threads(gradients.value_and_grad(model, losses.softmax_cross_entropy), 2)
    for size, cut in [(8, [8]), (2000, [1000, 1000]), (8, [8]), (500, [500])]:
        shards.clear()
        grad_fn(params, state, np.zeros((size, 16, 16, 1), np.float32), np.zeros(size, int))
        assert shards == cut


def test_without_threadpoolctl_nothing_is_cut_for_speed(monkeypatch):
    monkeypatch.setattr(blas, "can_limit", lambda: False)
    shards = []
    model = serial(counting_shards(shards), *models.lenet5().children)
    params, state, _ = model.init((0,), (16, 16, 1))
    grad_fn = data_parallel.over_threads(gradients.value_and_grad(model, losses.softmax_cross_entropy), 2)
    grad_fn(params, state, np.zeros((2000, 16, 16, 1), np.float32), np.zeros(2000, int))
    assert shards == [2000]
    compare(NORMALIZED, 2, X, LABELS)


def test_fit_on_threads_is_fit_on_one_to_rounding_and_repeats_bit_for_bit():
    model = serial(conv2d(8, 3), batch_norm(), relu(), dropout(0.2), flatten(), dense(3))
    x, labels = normal(200, 24, 24, 3), np.random.default_rng(1).integers(0, 3, 200)

    def run(threads):
        *_, last = training.fit(
            model, losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, epochs=2, batch_size=128, key=(0,),
            metrics={"accuracy": metrics.accuracy}, threads=threads,
        )  # fmt: skip
        return last

    one, two, again = run(1), run(2), run(2)
    assert_same(two.train_state.params, again.train_state.params)
    assert_close(two.train_state.params, one.train_state.params, 1e-5)
    assert two.train == one.train
    assert not np.array_equal(
        tree.ravel(two.train_state.params)[0], tree.ravel(one.train_state.params)[0]
    )  # it was cut


def test_predict_on_threads():
    model = serial(conv2d(8, 3), batch_norm(), relu(), flatten(), dense(3))
    x = normal(301, 24, 24, 3)
    params, state, _ = model.init((0,), x.shape[1:])
    one = training.predict(model, params, state, x, 100, threads=1)
    for batch_size in (1000, 301, 150, 100, 7):
        for threads in (2, 3):
            outputs = training.predict(model, params, state, x, batch_size, threads=threads)
            np.testing.assert_allclose(outputs, one, rtol=1e-10)
    assert training.predict(model, params, state, x[:0], threads=2).shape == (0, 3)
    with pytest.raises(ValueError, match="predict: threads must be at least 1, got 0"):
        training.predict(model, params, state, x, threads=0)
    with pytest.raises(ValueError, match=r"x has shape|channels"):
        training.predict(model, params, state, x[..., :2], threads=2)


def test_predict_keeps_batches_whole_but_a_single_one(monkeypatch):
    monkeypatch.setattr(data_parallel, "_MIN_WORK", 10_500)  # as in test_more_shards_must_be_larger: of 10 examples
    sizes = []

    def forward(params, x, state, *, train, key=None):
        sizes.append(len(x))
        return x, lambda dy: ({}, dy), {}

    model = serial(Layer("recording", lambda key, in_shape: ({}, {}, in_shape), forward), dense(10))
    params, state, _ = model.init((0,), (10,))
    x = np.zeros((45, 10), np.float32)
    training.predict(model, params, state, x, threads=1)  # once for the work of an example
    for size, batch_size, expected in [
        (45, 100, [15, 15, 15]), (40, 40, [20, 20]), (19, 100, [19]), (1, 100, [1]), (0, 100, [0]),
        (45, 44, [1, 44]), (45, 20, [5, 20, 20]), (25, 5, [5] * 5), (3, 1, [1, 1, 1]),
    ]:  # fmt: skip
        training.predict(model, params, state, x[:size], batch_size, threads=3)
        sizes.clear()
        training.predict(model, params, state, x[:size], batch_size, threads=3)
        assert sorted(sizes) == expected


def test_predict_takes_as_many_threads_as_a_batchs_work_allows(monkeypatch):
    counts, run_concurrently = [], data_parallel.run_concurrently

    def recording(task, n, abort):
        counts.append(n)
        return run_concurrently(task, n, abort)

    monkeypatch.setattr(data_parallel, "_MIN_WORK", 10_500)
    monkeypatch.setattr(data_parallel, "run_concurrently", recording)
    model = serial(tanh(), dense(10))
    params, state, _ = model.init((0,), (10,))
    for batch_size, count in [(4, []), (9, []), (10, [2]), (14, [2]), (15, [3]), (30, [4])]:
        counts.clear()
        training.predict(model, params, state, np.zeros((120, 10), np.float32), batch_size, threads=5)
        assert counts == count


FORKED = """
import os, sys
import numpy as np
from funcnn import blas, data_parallel, gradients, losses, models, training
if {without}:
    sys.modules["threadpoolctl"] = None
model = models.resnet(3, blocks=(1,), channels=(2,))
params, state, _ = model.init((0,), (6, 6, 2))
grad_fn = data_parallel.over_threads(gradients.value_and_grad(model, losses.softmax_cross_entropy), 2, min_work=0)
x, labels = np.ones((8, 6, 6, 2), np.float32), np.zeros(8, int)
value = grad_fn(params, state, x, labels)[0]
child = os.fork()
if child == 0:
    os._exit(0 if grad_fn(params, state, x, labels)[0] == value else 1)
print(os.waitpid(child, 0)[1], grad_fn(params, state, x, labels)[0] == value)
"""


@systems.needs("fork")
@pytest.mark.parametrize("without", [False, True], ids=["with threadpoolctl", "without"])
def test_a_forked_process_has_workers_of_its_own(without):
    script = FORKED.format(without=without)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "0 True\n", run.stderr


@systems.needs("sched_setaffinity")
def test_the_core_count_is_what_the_process_may_use():
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        assert data_parallel.cores() == 1
    finally:
        os.sched_setaffinity(0, everywhere)
    assert data_parallel.cores() == len(everywhere)


def test_more_shards_must_be_larger():
    shards = []
    # an example is 10 * 100 of work in the first layer, 10 * 100 + 100 in the second: ten have 10,500 on average
    model = serial(counting_shards(shards), dense(10))
    params, state, _ = model.init((0,), (10,))
    grad_fn = threaded(model, 9, min_work=10_500)
    for size, count in [(19, 1), (20, 2), (44, 2), (45, 3), (79, 3), (80, 4)]:
        shards.clear()
        grad_fn(params, state, np.zeros((size, 10), np.float32), np.zeros(size, int))
        assert len(shards) == count


def test_dropout_by_a_key_of_its_own():
    def op(x):
        return ops.dropout(x, rate=0.5, key=(11,))

    compare(serial(parameterless("fixed", op), flatten(), dense(3)), 3, X, LABELS)


def calling(grad_fn, values):
    """A layer that calls ``grad_fn`` in training, on a thread of its own, and waits for it."""

    def forward(params, x, state, *, train, key=None):
        if train:
            thread = threading.Thread(target=lambda: values.append(grad_fn()[0]))
            thread.start()
            thread.join()
        return x, lambda dy: ({}, dy), {}

    return Layer("calling", lambda key, in_shape: ({}, {}, in_shape), forward)


@pytest.mark.parametrize("n", [2, 3])
def test_a_layer_may_call_over_threads_on_a_thread_of_its_own(n):
    params, state = start(NORMALIZED)
    inner, values = threaded(NORMALIZED, n), []
    expected = gradients.value_and_grad(NORMALIZED, losses.softmax_cross_entropy)(params, state, X, LABELS)[0]
    outer = serial(calling(lambda: inner(params, state, X, LABELS), values), *PLAIN.children)
    compare(outer, n, X, LABELS)
    assert len(values) > n
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_threads_do_not_accumulate():
    params, state = start(PLAIN)
    x, labels = np.repeat(X, 2, axis=0), np.repeat(LABELS, 2)

    def call(n):
        return threaded(PLAIN, n)(params, state, x, labels)[0]

    def call_from_threads(count):
        with concurrent.futures.ThreadPoolExecutor(count) as callers:
            return set(callers.map(call, [3] * 3 * count))

    assert len({call(n).round(9) for n in range(2, 20)}) == 1
    assert len(call_from_threads(8)) == 1
    after = [thread for thread in threading.enumerate() if thread.name.startswith("funcnn")]
    assert len(after) <= data_parallel._IDLE_POOLS * 18


def test_where_no_thread_can_be_started_the_error_is_raised_and_nobody_waits(monkeypatch):
    params, state = start(NORMALIZED)
    monkeypatch.setattr(data_parallel, "_THREADS", data_parallel._ThreadPool())
    start_thread, started = threading.Thread.start, []

    def failing(thread):
        if thread.name.startswith("funcnn"):
            started.append(thread)
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
        start_thread(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threaded(NORMALIZED, 4)(params, state, X, LABELS)


def test_a_model_that_cannot_compute_one_example_is_estimated_by_the_batch():
    def forward(params, x, state, *, train, key=None):
        if len(x) < 2:
            raise ValueError("needs two examples")
        return x, lambda dy: ({}, dy), {}

    pairs = serial(Layer("pairs", lambda key, in_shape: ({}, {}, in_shape), forward), *PLAIN.children)
    params, state = start(pairs)
    work = data_parallel._mean_layer_work(pairs, params, state, X)
    assert work > 0 and data_parallel._mean_layer_work(pairs, params, state, X[:1]) == work


def test_an_error_of_the_estimate_is_that_of_the_batch():
    params, state = start(PLAIN)
    with pytest.raises(ValueError, match=r"x \(23, 6, 6, 1\)"):
        data_parallel._mean_layer_work(PLAIN, params, state, X[..., :1])


def test_decisions_about_shapes_are_bounded(monkeypatch):
    monkeypatch.setattr(data_parallel, "_SHAPES", 4)
    model = serial(relu(), global_avg_pool())
    params, state, _ = model.init((0,), (1, 1))
    for size in range(1, 20):
        data_parallel._mean_layer_work(model, params, state, np.ones((2, size, 1)))
    assert len(data_parallel._WORK[model.forward]) <= 4
