"""What the ranks of a job compute, compared with threads bit for bit: run by `test_ranks` under mpiexec."""

import functools
import sys

import numpy as np
from arrays import normal
from mpi4py import MPI
from sources import Strict

from funcnn import data, data_parallel, losses, optim, training, tree
from funcnn.combinators import residual, serial
from funcnn.gradients import value_and_grad
from funcnn.layer import Layer
from funcnn.layers import batch_norm, conv2d, dense, dropout, flatten, global_avg_pool, max_pool, relu, tanh

COMM = MPI.COMM_WORLD
X = normal(23, 6, 6, 2)
X32 = X.astype(np.float32)
LABELS = np.random.default_rng(0).integers(0, 3, 23)
WEIGHTS = np.where(np.arange(23) < 8, 0.0, np.linspace(0.1, 5, 23))
PLAIN = serial(conv2d(4, 3, padding="same"), tanh(), max_pool(2), flatten(), dense(3))
NORMALIZED = serial(
    conv2d(4, 3, bias=False), batch_norm(), relu(), residual(serial(conv2d(4, 3, padding=1), batch_norm())),
    global_avg_pool(), batch_norm(), dropout(0.3), dense(3),
)  # fmt: skip


def own_layer(x_seen):
    """A layer with a state of its own in each shard, which is then averaged, and a key of its own."""

    def forward(params, x, state, *, train, key=None):
        x_seen.append(len(x))
        y = x + np.random.default_rng(key).standard_normal(x.shape) if train else x
        return y, lambda dy: ({}, dy), {"mean": x.mean(axis=0)}

    return Layer("own", lambda key, in_shape: ({}, {"mean": np.zeros(in_shape)}, in_shape), forward)


def start(model, dtype=np.float64):
    params, state, _ = model.init((0,), X.shape[1:])
    return tree.map(lambda p: p.astype(dtype), params), tree.map(lambda s: s.astype(dtype), state)


def assert_same(a, b):
    assert tree.paths(a) == tree.paths(b)
    for path, leaf in tree.flatten(a).items():
        other = np.asarray(tree.flatten(b)[path])
        assert (np.asarray(leaf).dtype, np.shape(leaf)) == (other.dtype, other.shape), path
        assert np.asarray(leaf).tobytes() == other.tobytes(), path


def compare(model, *arguments, loss=losses.softmax_cross_entropy, dtype=np.float64, sync_batch_stats=True, **named):
    grad_fn, (params, state) = value_and_grad(model, loss), start(model, dtype)
    threaded = data_parallel.over_threads(grad_fn, COMM.size, min_work=0, sync_batch_stats=sync_batch_stats)
    ranked = data_parallel.over_ranks(grad_fn, COMM, sync_batch_stats=sync_batch_stats)
    wanted, got = threaded(params, state, *arguments, **named), ranked(params, state, *arguments, **named)
    for a, b in zip(got, wanted, strict=True):
        assert_same(a, b)


def one_step():
    key, cross_entropy = (3,), losses.softmax_cross_entropy
    for examples in (23, 3, 2):
        compare(NORMALIZED, X[:examples], LABELS[:examples], key=key)
        compare(NORMALIZED, X[:examples].astype(np.float32), LABELS[:examples], key=key, dtype=np.float32)
    compare(PLAIN, X[:1], LABELS[:1])
    compare(NORMALIZED, X, LABELS, key=key, sync_batch_stats=False)
    compare(serial(own_layer([]), PLAIN), X, LABELS, key=key)
    compare(serial(conv2d(3, 3), batch_norm()), X, np.random.default_rng(1).integers(0, 3, (23, 4, 4)))
    for loss in (
        functools.partial(cross_entropy, class_weight=np.array([0.1, 1.0, 10.0])),
        functools.partial(cross_entropy, ignore_index=1, label_smoothing=0.1),
    ):
        for weights in (None, WEIGHTS):
            compare(PLAIN, X, LABELS, loss=loss, sample_weight=weights)


def shards_are_numbered_over_all_ranks():
    seen = []
    model = serial(own_layer(seen), PLAIN)
    grad_fn, (params, state) = value_and_grad(model, losses.softmax_cross_entropy), start(model)
    runs = [data_parallel.over_ranks(grad_fn, COMM, 2, min_work=0)(params, state, X, LABELS, (3,)) for _ in range(2)]
    assert sum(COMM.allgather(sum(seen))) == 2 * len(X)
    for again, got in zip(*runs, strict=True):
        assert_same(again, got)
    wanted = data_parallel.over_threads(grad_fn, 2 * COMM.size, min_work=0)(params, state, X, LABELS, (3,))
    for got, other in zip(runs[0], wanted, strict=True):
        tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14), got, other)


def fitted(x=X32, **changes):
    options = {
        "augment": data.random_shift,
        "mix": data.mixup,
        "validation": (X32[:9], data.one_hot(LABELS[:9], 3)),
        "metrics": {"loss": lambda outputs, targets: float(losses.softmax_cross_entropy(outputs, targets)[0])},
    } | changes
    steps = 2 * 5
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(optim.cosine(0.1, steps), momentum=0.9))
    return training.fit(
        NORMALIZED,
        losses.softmax_cross_entropy,
        optimizer,
        x,
        data.one_hot(LABELS, 3),
        epochs=2,
        batch_size=5,  # the last one has 3
        key=(7,),
        sample_weight=1 + WEIGHTS,
        **options,
    )


def epochs():
    # on threads as on ranks, however small the batches: a prediction, too, is divided
    training.loop.over_ranks = functools.partial(data_parallel.over_ranks, min_work=0)
    data_parallel._MIN_WORK = 1000
    wanted, got = list(fitted(threads=COMM.size)), list(fitted(comm=COMM, threads=1))
    assert len(got) == 2
    for a, b in zip(got, wanted, strict=True):
        assert (a.epoch, a.loss, a.train, a.validation) == (b.epoch, b.loss, b.train, b.validation)
        assert_same({"losses": a.losses}, {"losses": b.losses})
        for field in ("params", "state", "opt_state"):
            assert_same(getattr(a.train_state, field), getattr(b.train_state, field))
    params, state = got[-1].train_state[:2]
    for batch_size in (256, 4):
        alone = training.predict(NORMALIZED, params, state, X, batch_size, threads=COMM.size)
        assert_same(training.predict(NORMALIZED, params, state, X, batch_size, comm=COMM, threads=1), alone)


def each_rank_reads_and_augments_its_own_rows():
    training.loop.over_ranks = functools.partial(data_parallel.over_ranks, min_work=0)
    shift = functools.partial(data.random_shift, fraction=0.5)
    source, options = Strict(X32), {"mix": None, "validation": None, "metrics": None}
    got = list(fitted(source, comm=COMM, threads=1, augment=shift, **options))
    wanted = list(fitted(threads=COMM.size, augment=lambda key, x: shift(key, x), **options))
    for a, b in zip(got, wanted, strict=True):
        assert_same(a.train_state.params, b.train_state.params)
    # an example to see its shape; of the last batches, the first ranks read one of three examples each
    assert source.reads[0] == 1
    rows = COMM.allgather(sum(source.reads[1:]))
    assert sum(rows) == 2 * len(X) and max(rows) <= 2 * (4 * -(-5 // COMM.size) + -(-3 // COMM.size)), rows


def message_of(run):
    try:
        run()
    except ValueError as error:
        return str(error)
    return ""


def ranks_that_drift_apart():
    records = fitted(comm=COMM).steps()
    step = next(records)
    step.train_state.params["7_dense"]["b"][0] += COMM.rank  # as other arithmetic would have it
    message = message_of(lambda: list(records))
    assert message.startswith("fit: the parameters of rank 1" if COMM.size > 1 else ""), message
    assert ("(epoch 1, step 5)" in message) == (COMM.size > 1)
    message = message_of(lambda: training.fit(
        PLAIN, losses.mse, optim.sgd(0.1), X, LABELS, epochs=1 + COMM.rank, key=(0,), comm=COMM
    ))  # fmt: skip
    assert (": 1 epochs of 23 examples in batches of 64; 2 epochs" in message) == (COMM.size > 1)


CASES = (
    one_step, epochs, each_rank_reads_and_augments_its_own_rows, shards_are_numbered_over_all_ranks,
    ranks_that_drift_apart,
)  # fmt: skip

if __name__ == "__main__":
    for name in sys.argv[1:]:
        {case.__name__: case for case in CASES}[name]()
    print("".join(f"rank {COMM.rank} of {COMM.size}: {name}\n" for name in sys.argv[1:]), end="", flush=True)
