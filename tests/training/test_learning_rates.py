"""The range test of the learning rate, on problems whose best rates are known."""

import numpy as np
import pytest

from funcnn import losses, models, optim, training, tree
from funcnn.layers import dense
from funcnn.optim import schedules

RNG = np.random.default_rng(0)
MODEL = dense(1, bias=False)


def quadratic(largest_curvature, condition=10.0):
    """Examples for which the mean squared error of a dense layer has the given largest curvature."""
    curvatures = largest_curvature * np.array([1.0, 1.0 / condition, 0.5])
    x = np.sqrt(1.5 * curvatures)[:, None] * np.eye(3)  # mse's Hessian is 2 x^T x / 3
    return x, x @ np.array([[1.0], [-2.0], [3.0]])


def search(optimizer=None, curvature=1.0, **options):
    x, targets = quadratic(curvature)
    return training.lr_range(MODEL, losses.mse, optimizer or optim.sgd(1.0), x, targets, **{"key": (0,), **options})


@pytest.mark.parametrize("curvature", [0.01, 1.0, 300.0])
def test_gradient_descent_on_a_quadratic_gets_a_rate_below_the_limit_of_stability(curvature):
    limit = 2 / curvature
    found = search(curvature=curvature, rates=limit * 2.0 ** np.arange(-10, 4) * 0.9)
    assert limit / 8 < found.suggestion < limit / 2
    assert np.isinf(found.losses[found.rates > 1.5 * limit]).all()
    assert np.isfinite(found.losses[found.rates < limit]).all()
    assert (np.diff(found.losses[found.rates < limit / 4]) < 0).all()  # the larger the better, far below the limit
    np.testing.assert_allclose(found.losses[0], found.before, rtol=0.2)


@pytest.mark.parametrize("optimizer", [optim.sgd(1.0, momentum=0.9), optim.adam(1.0), optim.lion(1.0)])
def test_the_suggestion_trains_nearly_as_well_as_the_best_constant_rate(optimizer):
    x = RNG.normal(size=(96, 12)).astype(np.float32)
    labels = (x @ RNG.normal(size=(12, 3))).argmax(axis=1)
    model, loss = models.mlp(3, hidden=(8,)), losses.softmax_cross_entropy
    found = training.lr_range(model, loss, optimizer, x, labels, key=(0,), batch_size=32)

    def trained(rate):
        start = training.start(model, optimizer, (12,), key=(0,))
        start = start._replace(opt_state=optim.set_learning_rate(start.opt_state, rate))
        try:
            *_, last = training.fit(model, loss, optimizer, x, labels, epochs=12, batch_size=32, resume=start)
        except ValueError:
            return np.inf
        return last.loss

    best = min(trained(rate) for rate in found.rates[::2])
    assert trained(found.suggestion) < best + 0.2 * (found.before - best)


def test_it_says_how_the_suggestion_was_found():
    found = search(rates=[1.0, 0.5, 0.25], steps=8)
    assert found.rates.tolist() == [0.25, 0.5, 1.0] and found.suggestion == 0.5
    assert found.reason.startswith("half of 1, which reduced the loss most in 8 steps, from ")
    assert found.reason.endswith("; it is the largest rate tried, a larger one may be better")


def test_where_no_rate_helps_there_is_no_suggestion():
    found = search(rates=[100.0, 1000.0])
    assert found.suggestion is None
    assert found.reason == f"no rate from 1e+02 to 1e+03 reduced the loss of {found.before:.4g} in 32 steps"


def test_the_start_is_not_changed_and_a_second_test_is_the_same():
    x, targets = quadratic(1.0)
    optimizer = optim.sgd(0.125, momentum=0.5)
    *_, last = training.fit(MODEL, losses.mse, optimizer, x, targets, epochs=30, key=(0,))
    held = tree.map(np.array, last.train_state.params)
    first, second = (search(optimizer, key=None, resume=last.train_state, rates=[0.1, 0.2]) for _ in range(2))
    tree.map(np.testing.assert_array_equal, last.train_state.params, held)
    np.testing.assert_array_equal(first.losses, second.losses)
    assert first.before < search(optimizer, rates=[0.1]).before / 2  # it started from the trained parameters


def test_rates_that_are_no_numbers():
    with pytest.raises(ValueError, match="lr_range: rates must be a sequence of positive numbers, got 'fast'"):
        search(rates="fast")


def test_data_that_are_not_finite_are_an_error_and_no_divergence():
    x, targets = quadratic(1.0)
    x[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"x\[1\]|example 1"):
        training.lr_range(MODEL, losses.mse, optim.sgd(1.0), x, targets, key=(0,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": []}, r"rates must be a sequence of positive numbers, got \[\]"),
        ({"rates": [0.1, -1.0]}, "rates must be a sequence of positive numbers"),
        ({"rates": [0.1, np.inf]}, "rates must be a sequence of positive numbers"),
        ({"rates": [0.1, 0.1]}, "rates must be different"),
        ({"steps": 3}, "steps must be at least 4, got 3"),
        ({"key": None}, "needs a key such as"),
        ({"optimizer": optim.sgd(schedules.cosine(0.1, 10))}, "the optimizer has a schedule"),
        ({"optimizer": optim.clip_by_value(0.1)}, "no learning rate in this state"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        search(**options)
