"""Averages of parameters: their values, and that they survive training and saving."""

import io

import numpy as np
import pytest
from arrays import normal
from updates import PARAMS, assert_close, descend, gradients

from funcnn import losses, optim, training, tree
from funcnn.combinators import serial
from funcnn.layers import dense, tanh


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_average_params_is_the_weighted_mean_of_the_parameters_so_far(decay):
    plain, _ = descend(optim.adam(0.1), gradients(6))
    path, opt_state = descend(optim.chain(optim.adam(0.1), optim.average_params(decay)), gradients(6))
    assert_close(path[-1], plain[-1], rtol=0)
    weights = [decay ** (6 - k) for k in range(1, 7)]
    expected = tree.map(lambda *ps: sum(w * p for w, p in zip(weights, ps, strict=True)) / sum(weights), *path)
    assert_close(optim.averaged_params(opt_state), expected)


def test_averaged_params_are_the_initial_ones_before_the_first_step():
    optimizer = optim.accumulate(optim.chain(optim.sgd(0.1), optim.average_params(0.9)), 2)
    assert_close(optim.averaged_params(optimizer.init(PARAMS)), PARAMS, rtol=0)


def test_averaged_params_without_an_average_are_refused():
    with pytest.raises(ValueError, match="averaged_params: no average_params in this state, only"):
        optim.averaged_params(optim.sgd(0.1).init(PARAMS))


def test_averages_come_out_of_training_and_survive_saving():
    model = serial(dense(4), tanh(), dense(1))
    x, targets = normal(10, 3).astype(np.float32), normal(10, 1).astype(np.float32)
    optimizer = optim.accumulate(optim.chain(optim.adam(0.1), optim.average_params(0.5)), 1)

    def fit(**options):
        return training.fit(model, losses.mse, optimizer, x, targets, batch_size=10, **options)

    epochs = list(fit(epochs=3, key=(0,)))
    mean = tree.map(lambda a, b, c: (a + 2 * b + 4 * c) / 7, *(epoch.train_state.params for epoch in epochs))
    assert_close(optim.averaged_params(epochs[-1].train_state.opt_state), mean, rtol=1e-4)

    current = epochs[1].train_state
    file = io.BytesIO()
    np.savez(file, **tree.flatten(current.opt_state))
    file.seek(0)
    fresh = optimizer.init(model.init((1,), (3,))[0])
    loaded = tree.unflatten(dict(np.load(file)), like=fresh)
    (last,) = fit(epochs=3, resume=current._replace(opt_state=loaded))
    assert_close(last.train_state.opt_state, epochs[-1].train_state.opt_state, rtol=0)
