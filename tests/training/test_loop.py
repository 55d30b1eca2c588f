"""Training: the gradient is that of the loss, epochs are reproducible and can be resumed, failures say where."""

import math
import time

import numpy as np
import pytest
from arrays import normal

from funcnn import checkpoint, data, keys, losses, metrics, models, optim, training, tree
from funcnn.combinators import serial
from funcnn.gradients import value_and_grad
from funcnn.layers import conv2d, dense, dropout, flatten, relu, tanh

X = normal(23, 4, 4, 1).astype(np.float32)
LABELS = np.random.default_rng(0).integers(0, 3, 23)
MODEL = serial(conv2d(2, 3), tanh(), flatten(), dropout(0.2), dense(3))


def fit(**changes):
    options = {"epochs": 3, "batch_size": 5, "key": (0,), "augment": data.random_shift} | changes
    optimizer = optim.sgd(optim.cosine(0.1, steps=15), momentum=0.9)
    return training.fit(MODEL, losses.softmax_cross_entropy, optimizer, X, LABELS, **options)


def assert_same(a, b):
    assert tree.paths(a) == tree.paths(b)
    tree.map(np.testing.assert_array_equal, a, b)


def test_predict_in_batches_is_predict_at_once():
    params, state, _ = MODEL.init((0,), (4, 4, 1))
    whole, _, _ = MODEL.forward(params, X, state, train=False)
    for size in (1, 5, 23, 1000):
        np.testing.assert_allclose(training.predict(MODEL, params, state, X, size), whole, rtol=1e-5, atol=1e-6)
    assert training.predict(MODEL, params, state, X[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        training.predict(MODEL, params, state, X, 0)
    for call in (lambda: training.predict(MODEL, params, state, X, 2.5), lambda: fit(batch_size="5")):
        with pytest.raises(TypeError, match="batch_size must be an int, not"):
            call()


def test_a_run_is_not_resumed_with_weights_that_leave_fewer_steps():
    steps = list(fit(epochs=1).steps())
    weights = np.zeros(len(X))
    weights[0] = 1.0
    with pytest.raises(ValueError, match=r"4 completed steps .* make 1 steps per epoch, without batches of weight 0"):
        fit(epochs=1, key=None, resume=steps[3].train_state, sample_weight=weights)


def test_the_same_key_gives_the_same_run():
    first, second, other = list(fit()), list(fit()), list(fit(key=(1,)))
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        assert_same(a.train_state.params, b.train_state.params)
        assert np.array_equal(a.losses, b.losses)
    assert not np.array_equal(first[0].losses, other[0].losses)


@pytest.mark.parametrize("stopped", [1, 2])
def test_a_resumed_run_ends_like_an_uninterrupted_one(stopped):
    whole = list(fit())
    half = list(fit(epochs=stopped))
    resumed = list(fit(key=None, resume=half[-1].train_state))
    assert [e.epoch for e in resumed] == list(range(stopped + 1, 4))
    assert_same(whole[-1].train_state.params, resumed[-1].train_state.params)
    assert_same(whole[-1].train_state.opt_state, resumed[-1].train_state.opt_state)
    forgot = half[-1].train_state._replace(
        opt_state=training.start(MODEL, optim.sgd(0.1, momentum=0.9), (4, 4, 1), key=(0,)).opt_state
    )
    without_momentum = list(fit(key=None, resume=forgot))
    assert not np.array_equal(
        tree.ravel(whole[-1].train_state.params)[0], tree.ravel(without_momentum[-1].train_state.params)[0]
    )


@pytest.mark.parametrize("weights", [None, np.arange(23) % 8 == 0])
def test_a_run_resumed_at_any_step_has_the_same_records(weights):
    def records(**changes):
        optimizer = optim.sgd(optim.cosine(0.1, steps=15), momentum=0.9)
        options = {"epochs": 3, "batch_size": 5, "augment": data.random_shift, "key": (0,), "sample_weight": weights}
        options |= {"validation": (X[:7], LABELS[:7]), "metrics": {"accuracy": metrics.accuracy}} | changes
        return list(training.fit(MODEL, losses.softmax_cross_entropy, optimizer, X, LABELS, **options).steps())

    whole = records()
    steps = [record for record in whole if isinstance(record, training.Step)]
    assert [record.train_state.step for record in steps] == [*range(1, len(steps) + 1)]
    assert len(whole) == len(steps) + 3 and (len(steps) == 15 if weights is None else 3 <= len(steps) < 15)
    for done, record in enumerate(whole, start=1):
        rest = records(key=None, resume=record.train_state)
        assert len(rest) == len(whole) - done
        for a, b in zip(rest, whole[done:], strict=True):
            assert type(a) is type(b) and a.epoch == b.epoch and a.loss == b.loss
            assert a.train_state.step == b.train_state.step and np.array_equal(
                a.train_state.losses, b.train_state.losses
            )
            assert_same(a.train_state.opt_state, b.train_state.opt_state)
            if isinstance(a, training.Epoch):
                assert np.array_equal(a.losses, b.losses) and a.validation == b.validation and a.train == b.train
    with pytest.raises(
        ValueError, match=r"resume has 5 completed steps in epoch 1, but 23 examples in batches of 23 make 1 steps"
    ):
        fit(batch_size=23, resume=steps[0].train_state._replace(losses=[1.0] * 5))


def test_the_time_between_steps_is_not_the_epochs():
    for record in training.fit(
        MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), X, LABELS, epochs=1, batch_size=12, key=(0,)
    ).steps():
        if isinstance(record, training.Step):
            time.sleep(0.2)
    assert record.seconds < 0.2


def test_stopping_is_leaving_the_loop():
    for epoch in fit(epochs=1000):
        if epoch.epoch == 2:
            break
    assert epoch.train_state.epoch == 2 and epoch.train_state.step == 10


def test_records():
    validation = (X[:7], LABELS[:7])
    epochs = list(fit(validation=validation, metrics={"accuracy": metrics.accuracy, "size": lambda o, t: len(t)}))
    for number, epoch in enumerate(epochs, start=1):
        assert epoch.epoch == epoch.train_state.epoch == number
        assert epoch.train_state.step == 5 * number and epoch.losses.shape == (5,)
        np.testing.assert_allclose(epoch.loss, np.average(epoch.losses, weights=[5, 5, 5, 5, 3]))
        assert epoch.train["size"] == 23 and epoch.validation["size"] == 7
        params, state = epoch.train_state.params, epoch.train_state.state
        outputs, _, _ = MODEL.forward(params, X, state, train=False)
        assert epoch.train["accuracy"] == metrics.accuracy(outputs, LABELS)
        assert epoch.seconds > 0
    assert next(fit()).train == {} == next(fit()).validation


def test_every_example_is_seen_once_an_epoch_in_a_new_order():
    seen = []

    def record(key, x):
        seen.append(x[:, 0, 0, 0])
        return x

    list(fit(augment=record))
    epochs = [np.concatenate(seen[5 * e : 5 * e + 5]) for e in range(3)]
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.sort(X[:, 0, 0, 0]))
    assert not np.array_equal(epochs[0], epochs[1])


def test_augmentation_and_dropout_change_every_step():
    keys = []

    def record(key, x):
        keys.append(key)
        return x

    list(fit(augment=record))
    assert len(set(keys)) == 15


def test_mixing_changes_targets_too_and_comes_after_augmentation():
    seen = []

    def mix(key, x, labels):
        seen.append((key, x, labels))
        return data.mixup(key, x, data.one_hot(labels, 3), alpha=1.0)

    mixed = list(fit(mix=mix, augment=lambda key, x: x + 1, metrics={"accuracy": metrics.accuracy}))
    keys, xs, labels = zip(*seen, strict=True)
    assert len(set(keys)) == 15
    assert np.array_equal(np.sort(np.concatenate(xs[:5]).ravel()), np.sort((X + 1).ravel()))
    assert np.array_equal(np.sort(np.concatenate(labels[:5])), np.sort(LABELS))
    assert not np.array_equal(mixed[0].losses, next(fit(augment=lambda key, x: x + 1)).losses)
    as_they_are = list(fit(mix=lambda key, x, labels: (x, labels)))
    assert_same(as_they_are[-1].train_state.params, list(fit())[-1].train_state.params)
    resumed = list(fit(mix=mix, augment=lambda key, x: x + 1, key=None, resume=mixed[0].train_state))
    assert_same(mixed[-1].train_state.params, resumed[-1].train_state.params)


def test_weights_reach_the_loss_with_their_examples():
    weights = np.where(LABELS == 2, 0.0, 1.0)
    epochs = list(fit(sample_weight=weights, epochs=30, augment=None))
    outputs = training.predict(MODEL, *epochs[-1].train_state[:2], X)
    assert 2 not in metrics.classes(outputs)


def test_a_batch_without_any_weight_is_left_out():
    weights = np.zeros(23)
    weights[7] = 1.0
    for epoch in fit(sample_weight=weights):
        assert len(epoch.losses) == 1 and epoch.loss == epoch.losses[0] and epoch.train_state.step == epoch.epoch


def test_a_model_learns():
    x, labels = data.digits()
    *_, last = training.fit(
        models.convnet(channels=(8,), hidden=(32,), dropout_rate=0.0),
        losses.softmax_cross_entropy,
        optim.adam(3e-3),
        x[::3],
        labels[::3],
        epochs=8,
        batch_size=32,
        key=(0,),
        metrics={"accuracy": metrics.accuracy},
        validation=(x[1::3], labels[1::3]),
    )
    assert last.train["accuracy"] > 0.9 and last.validation["accuracy"] > 0.85


def test_a_diverging_run_stops_with_epoch_and_step():
    model = serial(flatten(), dense(8), relu(), dense(1))
    with pytest.raises(
        ValueError, match=r"training diverged: .* in epoch \d+, step \d+ with learning rate 1e\+10; try"
    ):
        list(training.fit(model, losses.mse, optim.sgd(1e10), X, X.sum((1, 2)), epochs=20, batch_size=5, key=(0,)))


def test_a_loss_that_is_nan_names_epoch_step_and_rate():
    x = X.copy()
    x[3] = np.nan
    with pytest.raises(ValueError, match=r"the loss is nan in epoch 1, step \d with learning rate 0\.1"):
        list(
            training.fit(
                MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), x, LABELS, epochs=1, batch_size=5, key=(0,)
            )
        )


def test_parameters_broken_by_the_last_step_are_noticed():
    def overflow(outputs, targets, *, sample_weight=None):
        return 1.0, lambda dvalue: np.full(outputs.shape, np.inf, outputs.dtype)

    with pytest.raises(ValueError, match=r"the parameters are no longer finite in epoch 1, step 0 with"):
        list(training.fit(dense(1), overflow, optim.sgd(0.1), normal(4, 2), normal(4), epochs=1, key=(0,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": None}, r"needs a key such as \(0,\), or resume"),
        ({"epochs": -1}, "epochs must be >= 0"),
        ({"batch_size": 0}, "batch_size >= 1, got 3 and 0"),
        ({"sample_weight": np.zeros(23)}, "all 23 entries of sample_weight are 0"),
        ({"validation": (X[:7], LABELS[:7])}, "validation needs metrics and"),
        ({"validation": (X[:7], LABELS[:6]), "metrics": {"n": len}}, "got 7 examples and 6 targets"),
        ({"sample_weight": np.ones(4)}, r"sample_weight \(4,\) must have the length of x \(23, 4, 4, 1\)"),
    ],
)
def test_bad_arguments_are_named_before_training(changes, message):
    with pytest.raises(ValueError, match=message):
        fit(**changes)


@pytest.mark.parametrize(
    ("model", "optimizer", "key", "message"),
    [
        (
            models.mlp,
            optim.sgd(0.1),
            (0,),
            r"fit: model must be a Layer, such as models.convnet\(10\), not <function mlp",
        ),
        (MODEL, optim.sgd, (0,), r"fit: optimizer must be an Optimizer, such as optim.sgd\(0.1\), not <function sgd"),
        (MODEL, optim.sgd(0.1), 0, r"a key must be a tuple of ints such as \(0,\)"),
        (MODEL, optim.sgd(0.1), [0], r"a key must be a tuple of ints such as \(0,\)"),
    ],
)
def test_arguments_of_another_type_are_named(model, optimizer, key, message):
    with pytest.raises(TypeError, match=message):
        training.fit(model, losses.softmax_cross_entropy, optimizer, X, LABELS, epochs=1, key=key)


def test_data_of_different_length():
    with pytest.raises(ValueError, match=r"x \(23, 4, 4, 1\) and targets \(22,\) must have the same length"):
        training.fit(MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), X, LABELS[:22], epochs=1, key=(0,))
    with pytest.raises(ValueError, match="at least 1"):
        training.fit(MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), X[:0], LABELS[:0], epochs=1, key=(0,))


def test_no_epochs():
    assert list(fit(epochs=0)) == []
    assert math.isclose(training.start(MODEL, optim.sgd(0.1), (4, 4, 1), key=(0,)).step, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", np.nan, r"the loss is nan in epoch 1, step \d with learning rate 0\.1: x has nan at example 19$"),
        ("x", -np.inf, "x has -inf at example 19$"),
        ("targets", np.inf, "targets has inf at example 19$"),
        ("sample_weight", np.nan, "sample_weight has nan at example 19$"),
    ],
)
def test_data_that_are_not_finite_are_named_and_not_the_learning_rate(name, value, message):
    given = {"x": X.copy(), "targets": X.sum((1, 2)), "sample_weight": np.ones(23)}
    given[name][19] = value
    model = serial(flatten(), dense(1))
    with pytest.raises(ValueError, match=message):
        list(training.fit(model, own_mse, optim.sgd(0.1), **given, epochs=1, batch_size=5, key=(0,)))
    grad_fn, train_state = value_and_grad(model, own_mse), training.start(model, optim.sgd(0.1), (4, 4, 1), key=(0,))
    with pytest.raises(ValueError, match=message.replace(r"step \d", "step 0")):
        training.update(grad_fn, optim.sgd(0.1), train_state, **given)


def own_mse(predictions, targets, *, sample_weight):
    """A loss that checks nothing, as users write them."""
    error = sample_weight[:, None] * (predictions - targets)
    return float((error * error).sum()), lambda dvalue: 2 * dvalue * error * sample_weight[:, None]


def test_several_bad_examples_are_counted():
    x = X.copy()
    x[7:10] = np.nan
    with pytest.raises(ValueError, match="x has nan at example 7, and values that are not finite at 2 more"):
        list(training.fit(MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), x, LABELS, epochs=1, key=(0,)))


def test_an_augmentation_that_makes_nan_is_named_with_the_example_of_the_callers_data():
    def spoil(key, x):
        return np.where(x == X[17], np.nan, x)

    with pytest.raises(ValueError, match=r"the augmented x has nan at example 17$"):
        next(fit(augment=spoil))


def test_a_bad_example_of_weight_zero_is_named_when_the_parameters_are_spoiled():
    x, weights = X.copy(), np.ones(23)
    x[4], weights[4] = np.nan, 0
    model = serial(flatten(), dense(3))
    with pytest.raises(ValueError, match=r"(the loss is nan|no longer finite) .*: x has nan at example 4$"):
        list(training.fit(model, losses.softmax_cross_entropy, optim.sgd(0.1), x, LABELS, epochs=1, batch_size=5,
                          key=(0,), sample_weight=weights))  # fmt: skip


def test_finite_data_that_are_too_large_are_named_beside_the_learning_rate():
    x = X.copy()
    x[11] = 1e30
    with pytest.raises(ValueError, match=r"lower learning rate, or scale x, which is as large as 1e\+30 at example 11"):
        list(training.fit(serial(flatten(), dense(1)), losses.mse, optim.sgd(0.1), x, X.sum((1, 2)), epochs=1,
                          key=(0,)))  # fmt: skip


def test_data_whose_gradients_overflow_are_named_beside_the_parameters():
    x = np.sign(X).astype(float) * 1e300
    with pytest.raises(
        ValueError, match=r"at 1_dense/. before this step; try a lower .* or scale x, .* large as 1e\+300"
    ):
        list(training.fit(models.mlp(3), losses.softmax_cross_entropy, optim.sgd(0.1), x, LABELS, epochs=3,
                          batch_size=5, key=(0,)))  # fmt: skip


def test_parameters_that_were_not_finite_before_the_step_are_named():
    spoiled = training.start(MODEL, optim.sgd(0.1), (4, 4, 1), key=(0,))
    spoiled.params["4_dense"]["b"][1] = np.inf
    with pytest.raises(
        ValueError, match=r"the parameters had values that are not finite at 4_dense/b before this step"
    ):
        next(training.fit(MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), X, LABELS, epochs=1, resume=spoiled))


def test_the_state_of_another_model_is_refused():
    optimizer = optim.sgd(0.1, momentum=0.9)
    wider = serial(conv2d(5, 3), tanh(), flatten(), dropout(0.2), dense(3))
    for model, message in (
        (wider, r"at 0_conv2d/b: shape \(2,\) in tree 0, \(5,\)"),
        (serial(flatten(), dense(3)), r"at the root: tree 1 lacks \['0_conv2d', '1_tanh'"),
    ):
        with pytest.raises(
            ValueError, match=rf"the params of another model than the one given \(tree 0\): .* {message}"
        ):
            fit(resume=training.start(model, optimizer, (4, 4, 1), key=(0,)))
    of_smaller_images = training.start(MODEL, optimizer, (3, 3, 1), key=(0,))
    with pytest.raises(ValueError, match=r"at 4_dense/w: shape \(8, 3\) in tree 0, \(2, 3\) in tree 1"):
        fit(resume=of_smaller_images)
    with pytest.raises(ValueError, match=r"the state of another model"):
        fit(resume=training.start(MODEL, optimizer, (4, 4, 1), key=(0,))._replace(state={}))


def test_a_model_that_draws_by_itself_is_resumed_as_any_other():
    def init(key, in_shape):
        return {"w": keys.generator(key).normal(size=(*in_shape, 1)).astype(np.float32)}, {}, (1,)

    model, x = dense(1)._replace(init=init, forward=dense(1, bias=False).forward), normal(8, 4).astype(np.float32)
    optimizer = optim.sgd(0.1)
    state = training.start(model, optimizer, (4,), key=(0,))
    resumed = training.fit(model, losses.mse, optimizer, x, x[:, :1], epochs=1, resume=state)
    assert [epoch.epoch for epoch in resumed] == [1]
    with pytest.raises(ValueError, match=r"at w: shape \(3, 1\) in tree 0, \(4, 1\) in tree 1"):
        training.fit(model, losses.mse, optimizer, x[:, :3], x[:, :1], epochs=1, resume=state)


@pytest.mark.parametrize("name", ["x", "targets", "sample_weight", "validation"])
def test_masked_entries_are_refused(name):
    """NumPy would compute with the numbers under the mask."""
    whole = {"x": X, "targets": np.ones((23, 3)), "sample_weight": np.ones(23), "validation": X}
    given = {part: np.ma.array(array, copy=True) for part, array in whole.items()}
    given[name][3] = np.ma.masked
    x, targets = given.pop("x"), given.pop("targets")
    options = given | {"validation": (given["validation"], whole["targets"]), "metrics": {"mse": losses.mse}}
    with pytest.raises(ValueError, match=rf"fit: {name} has \d+ masked entries: fill them, or leave out"):
        training.fit(MODEL, losses.mse, optim.sgd(0.1), x, targets, epochs=1, key=(0,), **options)


def test_the_state_of_another_optimizer_is_refused():
    saved = training.start(MODEL, optim.adam(0.1), (4, 4, 1), key=(0,))._replace(optimizer="")
    with pytest.raises(ValueError, match=r"resume .*the opt_state of another optimizer.*'momentum'.*'mean', 'squar"):
        fit(resume=saved)
    other = optim.sgd(0.1, momentum=0.9).init({**saved.params, "4_dense": {"w": X, "b": X}})
    with pytest.raises(
        ValueError, match=r"another optimizer .* at momentum/4_dense/b: shape \(3,\) in tree 0, \(23, 4"
    ):
        fit(resume=saved._replace(opt_state=other))


def trained_by(optimizer, resume=None):
    """The state after an epoch, or after one more."""
    epochs = 1 if resume is None else resume.epoch + 1
    loss = losses.softmax_cross_entropy
    (epoch,) = training.fit(MODEL, loss, optimizer, X, LABELS, epochs=epochs, key=(0,), resume=resume)
    return epoch.train_state


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (optim.adam(0.1), optim.adamw(0.1)),
        (optim.adamw(0.1), optim.radam(0.1)),
        (optim.adam(0.1), optim.sgd(0.1)),
        (
            optim.chain(optim.clip_by_value(1.0), optim.adam(0.1)),
            optim.chain(optim.clip_by_norm(1.0), optim.adam(0.1)),
        ),
        (optim.accumulate(optim.adam(0.1), 2), optim.accumulate(optim.adamw(0.1), 2)),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_an_optimizer_of_another_name_is_refused_also_where_its_state_looks_the_same(before, now):
    for saved in (trained_by(before), training.start(MODEL, before, (4, 4, 1), key=(0,))):
        with pytest.raises(ValueError) as refused:
            trained_by(now, saved)
        assert str(refused.value) == f"fit: resume was trained by {before.name}, not {now.name}"
        with pytest.raises(ValueError, match=r"^update: train_state was trained by .*, not "):
            training.update(value_and_grad(MODEL, losses.softmax_cross_entropy), now, saved, X, LABELS)


def test_optimizers_without_a_name_and_other_hyperparameters_are_compared_by_structure():
    saved = trained_by(optim.adam(0.1))
    assert saved.optimizer == "adam"
    unnamed = optim.adamw(0.1)._replace(name="")
    for optimizer in (optim.adam(optim.cosine(0.2, 10), b1=0.5, weight_decay=0.1), unnamed):
        assert trained_by(optimizer, saved).optimizer == optimizer.name
    assert trained_by(optim.adamw(0.1), saved._replace(optimizer="")).epoch == 2
    assert optim.chain(optim.clip_by_norm(1.0), unnamed).name == optim.freeze(unnamed, optim.weights_only).name == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": 4},
            r"in the middle of epoch 1, which had 5 steps: 23 examples, shuffled, in batches of 5, but",
        ),
        ({"n": 22}, r"but fit was given 5 steps: 22 examples, shuffled"),
        ({"shuffle": False}, r"but fit was given 5 steps: 23 examples, in order"),
        ({"sample_weight": np.repeat([0.0, 1.0], [18, 5]), "shuffle": True}, r"given \d steps: 23 examples"),
    ],
)
def test_an_epoch_only_goes_on_as_it_began(changes, message, tmp_path):
    n = changes.pop("n", 23)
    options = {"epochs": 3, "batch_size": 5, "key": (0,)} | changes
    optimizer = optim.sgd(optim.cosine(0.1, steps=15), momentum=0.9)
    records = list(fit(augment=None).steps())
    in_the_middle, at_the_end = records[1].train_state, records[5].train_state
    checkpoint.save(tmp_path / "step", checkpoint.Checkpoint(in_the_middle, {}))
    for state in (in_the_middle, checkpoint.load(tmp_path / "step").train_state):
        with pytest.raises(ValueError, match=message):
            training.fit(MODEL, losses.softmax_cross_entropy, optimizer, X[:n], LABELS[:n], **options, resume=state)
    training.fit(MODEL, losses.softmax_cross_entropy, optimizer, X[:n], LABELS[:n], **options, resume=at_the_end)


def test_a_fraction_of_an_epoch_and_a_record_to_resume_from_are_refused():
    with pytest.raises(TypeError, match=r"epochs must be an int, not 1\.5"):
        fit(epochs=1.5)
    with pytest.raises(TypeError, match="resume must be a TrainState, such as a record's train_state, not Epoch"):
        fit(resume=next(fit()))
