"""Training on data that are read in parts: the same numbers, and never more rows than a batch at a time."""

from functools import partial

import numpy as np
import pytest
from arrays import normal
from sources import Strict

from funcnn import data, losses, metrics, optim, training, tree
from funcnn.combinators import serial
from funcnn.data import Examplewise, Mapped, Selected
from funcnn.data.examplewise import augment_sources
from funcnn.data_parallel import over_ranks, over_threads
from funcnn.gradients import value_and_grad
from funcnn.layers import conv2d, dense, flatten, tanh

PIXELS = np.random.default_rng(0).integers(0, 256, (23, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(23) % 3
MODEL = serial(conv2d(2, 3), tanh(), flatten(), dense(3))


def as_floats(rows):
    return rows.astype(np.float32) / 255


X = as_floats(PIXELS)


def fit(x, labels, **changes):
    options = {"epochs": 2, "batch_size": 5, "key": (0,), "metrics": {"accuracy": metrics.accuracy}} | changes
    options["validation"] = x, labels
    return list(training.fit(MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, **options).steps())


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.loss == b.loss and getattr(a, "validation", {}) == getattr(b, "validation", {})
        tree.map(np.testing.assert_array_equal, a.train_state.params, b.train_state.params)


@pytest.mark.parametrize("augment", [None, data.random_shift])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_memory_map_and_a_source_train_as_the_array_bit_for_bit(augment, threads, tmp_path):
    np.save(tmp_path / "x.npy", X)
    expected = fit(X, LABELS, augment=augment, threads=threads)
    for x, labels in (
        (np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS),
        (Strict(X), Strict(LABELS)),
        (Mapped(Strict(PIXELS), as_floats), Strict(LABELS)),
        (Selected(Strict(X[::-1]), np.arange(23)[::-1]), LABELS.tolist()),
    ):
        assert_same(fit(x, labels, augment=augment, threads=threads), expected)


def test_sources_are_read_by_the_batch_and_resumed_within_an_epoch():
    source = Strict(X)
    steps = fit(source, LABELS, metrics={"accuracy": metrics.accuracy}, threads=1)
    assert source.reads[:5] == [5, 5, 5, 5, 3]
    resumed = fit(source, LABELS, resume=steps[2].train_state, key=None)
    assert_same(resumed[-1:], steps[-1:])


def test_predictions_and_metrics_of_a_source():
    params, state, _ = MODEL.init((0,), (4, 4, 1))
    source = Strict(X)
    expected = training.predict(MODEL, params, state, X, 5)
    np.testing.assert_array_equal(training.predict(MODEL, params, state, source, 5), expected)
    assert source.reads == [5, 5, 5, 5, 3]
    measures = {"accuracy": metrics.accuracy}
    found = training.evaluate(MODEL, params, state, source, Strict(LABELS), measures)
    assert found == training.evaluate(MODEL, params, state, X, LABELS, measures)


def test_each_shard_reads_its_own_rows():
    params, state, _ = MODEL.init((0,), (4, 4, 1))
    source, batch = Strict(X), np.random.default_rng(1).permutation(23)
    threaded = over_threads(value_and_grad(MODEL, losses.softmax_cross_entropy), 3, min_work=0)
    value, grads, _ = threaded(params, state, Selected(source, batch), LABELS[batch])
    assert sorted(source.reads) == [7, 8, 8]
    expected, expected_grads, _ = threaded(params, state, X[batch], LABELS[batch])
    assert value == expected
    tree.map(np.testing.assert_array_equal, grads, expected_grads)


@pytest.mark.parametrize("shards, reads", [(1, [11]), (2, [5, 6]), (4, [2, 3, 3, 3]), (16, [1] * 11)])
def test_each_shard_reads_and_augments_its_own_rows(shards, reads):
    params, state, _ = MODEL.init((0,), (4, 4, 1))
    source, batch = Strict(X), np.random.default_rng(1).permutation(23)[:11]
    augmented = augment_sources(data.random_shift, source)((3,), Selected(source, batch))
    threaded = over_threads(value_and_grad(MODEL, losses.softmax_cross_entropy), shards, min_work=0)
    source.reads.clear()
    value, grads, _ = threaded(params, state, augmented, LABELS[batch])
    assert sorted(source.reads) == reads
    expected, expected_grads, _ = threaded(params, state, data.random_shift((3,), X[batch]), LABELS[batch])
    assert value == expected
    tree.map(np.testing.assert_array_equal, grads, expected_grads)


def test_training_on_shards_augments_what_whole_batches_augment(monkeypatch):
    monkeypatch.setattr(training.loop, "over_ranks", partial(over_ranks, min_work=0))
    for augment in (data.random_shift, partial(data.random_crop, size=4, padding=1), data.jitter):
        for threads in (1, 3):
            by_rows = fit(Strict(X), LABELS, augment=augment, threads=threads, metrics={"accuracy": metrics.accuracy})
            whole = fit(X, LABELS, augment=lambda key, x, augment=augment: augment(key, x), threads=threads)
            assert_same(by_rows, whole)
    alone = fit(X, LABELS, augment=data.jitter, threads=1)
    for step, other in zip(alone, by_rows, strict=True):  # of three threads
        np.testing.assert_allclose(step.loss, other.loss, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_augmentation_by_rows_that_makes_nan_is_named_with_the_example(threads, monkeypatch):
    monkeypatch.setattr(training.loop, "over_ranks", partial(over_ranks, min_work=0))
    spoil = Examplewise(lambda key, x: np.where(x == X[17, 0, 0, 0], np.float32("nan"), x))
    with pytest.raises(ValueError, match=r"the augmented x has nan at example 17$"):
        fit(X, LABELS, augment=spoil, threads=threads)


def test_what_is_not_finite_is_searched_by_blocks_and_named():
    wide = normal(6, 300_000).astype(np.float32)
    wide[4, 7] = np.nan
    wide[2, 9] = np.inf
    source, targets, once = Strict(wide), np.zeros((6, 1)), {"epochs": 1, "key": (0,), "threads": 1}
    with pytest.raises(ValueError, match="x has inf at example 2, and values that are not finite at 1 more"):
        next(training.fit(dense(1), losses.mse, optim.sgd(0.1), source, targets, **once))
    assert source.reads == [6, *[1] * 6]
    wide[:] = 1e30
    with pytest.raises(ValueError, match=r"scale x, which is as large as 1e\+30 at example 0"):
        next(training.fit(dense(1), losses.mse, optim.sgd(0.1), source, targets, **once))


def test_lengths_are_compared_without_reading():
    source = Strict(X)
    with pytest.raises(ValueError, match=r"x \(23, 4, 4, 1\) and targets \(22,\) must have the same length"):
        fit(source, LABELS[1:])
    assert source.reads == []
