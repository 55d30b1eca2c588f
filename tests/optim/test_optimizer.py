"""Chains, applying updates, and learning rates that are read from a state and set in it."""

import math

import numpy as np
import pytest
from updates import assert_close, descend, gradients, transformed

from funcnn import optim, tree

HALVING = lambda step: 0.1 / 2**step  # noqa: E731 - a schedule is a function
WRAPPED = {
    "unwrapped": lambda optimizer: optimizer,
    "in a chain": lambda optimizer: optim.chain(optim.clip_by_norm(9.0), optimizer, optim.average_params(0.5)),
    "accumulate": lambda optimizer: optim.accumulate(optimizer, 1),
    "apply_if_finite": lambda optimizer: optim.apply_if_finite(optimizer),
    "freeze": lambda optimizer: optim.freeze(optimizer, lambda path: False),
}


def test_apply_updates_keeps_the_parameters_precision():
    params = optim.apply_updates({"w": np.float32([1])}, {"w": np.float64([0.5])})
    assert params["w"].dtype == np.float32 and params["w"] == 1.5


def test_learning_rate_follows_the_schedule():
    optimizer, params = optim.adam(HALVING), {"w": np.ones(1)}
    opt_state = optimizer.init(params)
    for step in range(3):
        assert optim.learning_rate(opt_state) == HALVING(step)
        _, opt_state = optimizer.update(params, opt_state, params)


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("make", [optim.sgd, optim.adam, optim.rmsprop, optim.lamb, optim.lion])
def test_a_learning_rate_set_counts_from_the_next_update_on(make, wrapped):
    params = {"w": np.array([2.0])}
    grads = [{"w": np.array([g])} for g in (0.5, -2.0, 1.5)]

    def updates(optimizer, rates):
        opt_state, path = optimizer.init(params), []
        for g, rate in zip(grads, rates, strict=True):
            if rate is not None:
                before = opt_state
                opt_state = optim.set_learning_rate(opt_state, rate)
                assert tree.paths(opt_state) == tree.paths(before) and optim.learning_rate(opt_state) == rate
            update, opt_state = optimizer.update(g, opt_state, params)
            path.append(float(update["w"][0]))
        return path

    whole = updates(wrapped(make(0.1)), [None, None, None])
    assert updates(wrapped(make(0.1)), [None, 0.05, None]) == pytest.approx([whole[0], whole[1] / 2, whole[2] / 2])
    scheduled = wrapped(make(optim.constant(0.1)))
    assert updates(scheduled, [None, 0.05, None]) == pytest.approx([whole[0], whole[1] / 2, whole[2]])


def test_setting_a_learning_rate_does_not_change_the_old_state():
    old = optim.sgd(0.1).init({})
    optim.set_learning_rate(old, 0.5)
    assert optim.learning_rate(old) == 0.1


def test_a_learning_rate_that_cannot_be_set_is_refused():
    with pytest.raises(
        ValueError, match=r"set_learning_rate: no learning rate in this state, only \['0/average/w', '0/s"
    ):
        optim.set_learning_rate(optim.chain(optim.average_params(0.5)).init({"w": np.ones(1)}), 0.1)
    for rate in (-0.1, math.nan, optim.constant(0.1)):
        with pytest.raises(ValueError, match="set_learning_rate: the learning rate must be a number >= 0, got"):
            optim.set_learning_rate(optim.sgd(0.1).init({}), rate)


def test_chain_goes_from_first_to_last():
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, momentum=0.9))
    path, opt_state = descend(optimizer, [{"w": np.array([10.0])}, {"w": np.array([-0.5])}], {"w": np.array([2.0])})
    np.testing.assert_allclose([p["w"][0] for p in path], [1.9, 1.9 - 0.1 * (0.9 - 0.5)], rtol=1e-12)
    assert optim.learning_rate(opt_state) == 0.1
    assert optim.learning_rate(optim.clip_by_global_norm(1.0).init({})) is None


def test_the_order_of_a_chain_matters():
    grads = {"w": np.array([10.0])}
    clip, step = optim.clip_by_value(1.0), optim.sgd(0.5)
    assert transformed(optim.chain(clip, step), grads, grads)["w"] == -0.5
    assert transformed(optim.chain(step, clip), grads, grads)["w"] == -1.0


def test_chains_associate():
    a, b, c = optim.clip_by_norm(0.5), optim.add_weight_decay(0.1), optim.adam(0.1)
    left, _ = descend(optim.chain(optim.chain(a, b), c), gradients(3))
    right, _ = descend(optim.chain(a, optim.chain(b, c)), gradients(3))
    assert_close(left[-1], right[-1], rtol=0)


@pytest.mark.parametrize("shape", [(1,), (3, 1), ()])
def test_updates_of_another_shape_are_refused_and_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"a parameter has shape \(3,\), its update \("):
        optim.apply_updates({"w": np.ones(3)}, {"w": np.ones(shape)})
