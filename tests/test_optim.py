"""Optimizers against their published recurrences written out for one number, and schedules at chosen steps."""

import math

import numpy as np
import pytest

from funcnn import optim, tree

GRADS = [0.5, -2.0, 1.5, 0.25, -0.75, 3.0]


def run(optimizer, grads=GRADS, start=2.0):
    """The values of one parameter under given gradients."""
    params = {"layer": {"w": np.array([start])}}
    opt_state = optimizer.init(params)
    path = []
    for g in grads:
        updates, opt_state = optimizer.update({"layer": {"w": np.array([g])}}, opt_state, params)
        params = optim.apply_updates(params, updates)
        path.append(float(params["layer"]["w"][0]))
    return path


def sgd(rate, momentum=0.0, nesterov=False, decay=0.0):
    p, m, path = 2.0, 0.0, []
    for t, g in enumerate(GRADS):
        g = g + decay * p
        m = momentum * m + g
        p = p - (rate(t) if callable(rate) else rate) * (g + momentum * m if nesterov else m)
        path.append(p)
    return path


def adam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, decay=0.0):
    p, m, v, path = 2.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS, start=1):
        g = g + l2 * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        r = rate(t - 1) if callable(rate) else rate
        p = p - r * decay * p - r * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
        path.append(p)
    return path


HALVING = lambda step: 0.1 / 2**step  # noqa: E731 - a schedule is a function

OPTIMIZERS = {
    "sgd": (optim.sgd(0.1), sgd(0.1)),
    "sgd, schedule": (optim.sgd(HALVING), sgd(HALVING)),
    "sgd, momentum": (optim.sgd(0.1, momentum=0.9), sgd(0.1, 0.9)),
    "sgd, momentum and schedule": (optim.sgd(HALVING, momentum=0.9), sgd(HALVING, 0.9)),
    "sgd, nesterov": (optim.sgd(0.1, momentum=0.9, nesterov=True), sgd(0.1, 0.9, True)),
    "sgd, weight decay": (optim.sgd(0.1, weight_decay=0.2), sgd(0.1, decay=0.2)),
    "sgd, all": (
        optim.sgd(HALVING, momentum=0.8, nesterov=True, weight_decay=0.2),
        sgd(HALVING, 0.8, True, 0.2),
    ),
    "adam": (optim.adam(0.1), adam(0.1)),
    "adam, schedule": (optim.adam(HALVING), adam(HALVING)),
    "adam, hyperparameters": (optim.adam(0.1, b1=0.5, b2=0.9, eps=0.1), adam(0.1, 0.5, 0.9, 0.1)),
    "adam, L2": (optim.adam(0.1, weight_decay=0.3), adam(0.1, l2=0.3)),
    "adamw": (optim.adamw(0.1), adam(0.1, decay=0.01)),
    "adamw, decay": (optim.adamw(HALVING, weight_decay=0.5), adam(HALVING, decay=0.5)),
}


@pytest.mark.parametrize(("optimizer", "expected"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_trajectory(optimizer, expected):
    np.testing.assert_allclose(run(optimizer), expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [case[0] for case in OPTIMIZERS.values()], ids=OPTIMIZERS.keys())
def test_nothing_is_written_and_types_are_kept(optimizer):
    def frozen(value):
        array = np.full(3, value, np.float32)
        array.flags.writeable = False
        return array

    params = {"a": frozen(1.0), "b": {"c": frozen(2.0)}}
    grads = {"b": {"c": frozen(0.5)}, "a": frozen(-0.5)}  # in another order
    opt_state = optimizer.init(params)
    for _ in range(3):
        for leaf in tree.leaves(opt_state):
            leaf.flags.writeable = False
        updates, new_state = optimizer.update(grads, opt_state, params)
        again, _ = optimizer.update(grads, opt_state, params)
        tree.map(np.testing.assert_array_equal, updates, again)
        assert tree.paths(new_state) == tree.paths(opt_state)
        assert all(isinstance(leaf, np.ndarray) for leaf in tree.leaves(new_state))
        assert {u.dtype for u in tree.leaves(updates)} == {np.dtype(np.float32)}
        opt_state = new_state


@pytest.mark.parametrize("optimizer", [optim.sgd(0.1, momentum=0.9), optim.adam(0.1)])
def test_gradients_unlike_the_parameters_are_refused(optimizer):
    params = {"w": np.ones(2), "b": np.ones(1)}
    with pytest.raises(ValueError, match=r"lacks \['b'\]"):
        optimizer.update({"w": np.ones(2)}, optimizer.init(params), params)


def test_apply_updates_keeps_the_parameters_precision():
    params = optim.apply_updates({"w": np.float32([1])}, {"w": np.float64([0.5])})
    assert params["w"].dtype == np.float32 and params["w"] == 1.5


def test_clip_by_global_norm():
    grads = {"a": np.array([3.0, 0.0]), "b": {"c": np.array([[4.0]])}}
    for max_norm, scale in [(10.0, 1.0), (5.0, 1.0), (2.5, 0.5)]:
        clipped, _ = optim.clip_by_global_norm(max_norm).update(grads, {}, {})
        assert clipped["a"].tolist() == [3 * scale, 0] and clipped["b"]["c"].tolist() == [[4 * scale]]


def test_chain_goes_from_first_to_last():
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, momentum=0.9))
    np.testing.assert_allclose(run(optimizer, [10.0, -0.5]), [1.9, 1.9 - 0.1 * (0.9 - 0.5)], rtol=1e-12)
    assert optim.learning_rate(optimizer.init({"w": np.ones(1)})) == 0.1
    assert optim.learning_rate(optim.clip_by_global_norm(1.0).init({})) is None


def test_learning_rate_follows_the_schedule():
    optimizer, params = optim.adam(HALVING), {"w": np.ones(1)}
    opt_state = optimizer.init(params)
    for step in range(3):
        assert optim.learning_rate(opt_state) == HALVING(step)
        _, opt_state = optimizer.update(params, opt_state, params)


def test_schedules():
    assert [optim.constant(0.3)(s) for s in (0, 10)] == [0.3, 0.3]

    cosine = optim.cosine(2.0, steps=8, final=1.0)
    np.testing.assert_allclose([cosine(s) for s in (0, 2, 4, 8, 100)], [2, 1.5 + math.sqrt(0.125), 1.5, 1, 1])

    warm = optim.warmup_cosine(2.0, warmup_steps=4, steps=12, final=1.0)
    np.testing.assert_allclose([warm(s) for s in (0, 1, 3, 4, 8, 12, 13)], [0, 0.5, 1.5, 2, 1.5, 1, 1])
    assert optim.warmup_cosine(2.0, warmup_steps=0, steps=12)(0) == 2.0

    # with 21 steps and warmup of 11/21 the top is at step 10, in the middle between 0 and 20
    cycle = optim.one_cycle(1.0, steps=21, warmup=11 / 21, initial_divisor=10, final_divisor=100)
    np.testing.assert_allclose([cycle(s) for s in (0, 5, 10, 15, 20, 30)], [0.1, 0.55, 1, 0.5005, 0.001, 0.001])
    rates = [cycle(s) for s in range(21)]
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert optim.one_cycle(1.0, steps=1)(0) <= 1.0
    usual = optim.one_cycle(1.0, steps=100)
    np.testing.assert_allclose([usual(s) for s in (0, 29, 99)], [1 / 25, 1, 1 / 25e4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.sgd(-0.1), "sgd: the learning rate must be >= 0, got -0.1"),
        (lambda: optim.sgd(float("nan")), "the learning rate must be >= 0, got nan"),
        (lambda: optim.sgd(0.1, momentum=1.0), r"momentum must be in \[0, 1.0\), got 1.0"),
        (lambda: optim.sgd(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.sgd(0.1, weight_decay=-1), "weight_decay must be"),
        (lambda: optim.adam(0.1, b1=1.0), "adam: b1 must be"),
        (lambda: optim.adam(0.1, b2=-0.1), "adam: b2 must be"),
        (lambda: optim.adam(0.1, eps=-1), "eps must be"),
        (lambda: optim.adamw(0.1, weight_decay=-1), "adamw: weight_decay must be"),
        (lambda: optim.clip_by_global_norm(0.0), "max_norm must be > 0, got 0.0"),
        (lambda: optim.cosine(0.1, steps=0), "cosine: steps must be at least 1, got 0"),
        (lambda: optim.warmup_cosine(0.1, 5, 5), r"warmup_steps must be in \[0, 5\), got 5"),
        (lambda: optim.one_cycle(0.1, 5, warmup=1.0), r"warmup is a fraction in \(0, 1\), not 1.0"),
    ],
)
def test_bad_hyperparameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_public_optimizer_and_schedule_is_here():
    tested = {name.partition(",")[0] for name in OPTIMIZERS}
    others = {"Optimizer", "Schedule", "apply_updates", "chain", "clip_by_global_norm", "learning_rate"}
    schedules = {"constant", "cosine", "one_cycle", "warmup_cosine"}
    assert tested | others | schedules == set(optim.__all__)
