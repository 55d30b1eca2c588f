"""Wrappers of optimizers: accumulated, skipped and frozen updates."""

import math

import numpy as np
import pytest
from updates import PARAMS, assert_close, descend, gradients

from funcnn import optim, tree


def everything():
    """A chain with every kind of state, for which the scale of the gradients matters."""
    return optim.chain(
        optim.clip_by_global_norm(6.0),
        optim.adamw(optim.cosine(0.1, 20), eps=0.1, weight_decay=0.1),
        optim.sgd(0.9, momentum=0.5),
        optim.average_params(0.8),
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_accumulated_gradients_make_one_step_on_their_mean(steps):
    grads = gradients(4 * steps)
    means = [tree.map(lambda *gs: sum(gs) / steps, *grads[i : i + steps]) for i in range(0, len(grads), steps)]
    expected, inner = descend(everything(), means)
    path, opt_state = descend(optim.accumulate(everything(), steps), grads)
    for i, params in enumerate(path):
        whole = (i + 1) // steps
        assert_close(params, expected[whole - 1] if whole else PARAMS)
    assert_close(opt_state["inner"], inner)
    assert optim.learning_rate(opt_state) == optim.learning_rate(inner)


def test_apply_if_finite_is_the_optimizer_on_finite_gradients():
    expected, inner = descend(everything(), gradients(5))
    path, opt_state = descend(optim.apply_if_finite(everything()), gradients(5))
    assert_close(path[-1], expected[-1], rtol=0)
    assert_close(opt_state["inner"], inner, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_apply_if_finite_leaves_out_the_others(bad):
    grads = gradients(3)
    spoiled = {**grads[0], "0_conv2d": {"w": grads[0]["0_conv2d"]["w"], "b": np.array([1.0, bad, 1.0, 1.0])}}
    expected, inner = descend(everything(), grads)
    optimizer = optim.apply_if_finite(everything(), max_consecutive=2)
    with_spoiled = [grads[0], spoiled, spoiled, grads[1], spoiled, grads[2]]
    path, opt_state = descend(optimizer, with_spoiled)
    assert_close(path[-1], expected[-1], rtol=0)
    assert_close(opt_state, {"inner": inner, "consecutive": np.asarray(0), "skipped": np.asarray(3)}, rtol=0)
    with pytest.raises(
        ValueError, match=r"apply_if_finite: 3 gradients in a row were not finite, the last at \['0_con"
    ):
        descend(optimizer, [grads[0], spoiled, spoiled, spoiled])


def test_freeze_updates_the_other_parameters_as_without_the_frozen_ones():
    def frozen(path):
        return path.startswith("0_") and path.endswith("/w")

    def thawed(params):
        return {**params, "0_conv2d": {"b": params["0_conv2d"]["b"]}}

    grads = gradients(5)
    expected, inner = descend(everything(), [thawed(g) for g in grads], thawed(PARAMS))
    path, opt_state = descend(optim.freeze(everything(), frozen), grads)
    assert_close(thawed(path[-1]), expected[-1], rtol=0)
    assert_close(opt_state, inner, rtol=0)
    assert np.array_equal(path[-1]["0_conv2d"]["w"], PARAMS["0_conv2d"]["w"])


def test_freeze_nothing_and_everything():
    for frozen, rate in [(False, 0.1), (True, 0.0)]:
        path, _ = descend(optim.freeze(optim.sgd(0.1), lambda _, frozen=frozen: frozen), gradients(2))
        expected, _ = descend(optim.sgd(rate), gradients(2))
        assert_close(path[-1], expected[-1], rtol=0)
