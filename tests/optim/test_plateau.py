"""A learning rate that falls when a measure stops improving."""

import math

import numpy as np
import pytest
from arrays import normal

from funcnn import losses, optim, training, tree
from funcnn.layers import dense


def watched_rates(values, **options):
    plateau = optim.reduce_on_plateau(**options)
    state, path = plateau.init(1.0), []
    for value in values:
        for leaf in state.values():
            leaf.flags.writeable = False
        new = plateau.update(state, value)
        assert {key: leaf.dtype for key, leaf in new.items()} == {key: leaf.dtype for key, leaf in state.items()}
        state = new
        path.append(float(state["learning_rate"]))
    return path


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([5, 4, 3, 2], {"patience": 0}, [1, 1, 1, 1]),
        ([5, 5, 5, 5], {"patience": 0}, [1, 0.5, 0.25, 0.125]),
        ([5, 5, 5, 5, 5, 5, 5], {"patience": 2}, [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
        ([5, 6, 4, 6, 6], {"patience": 1}, [1, 1, 1, 1, 0.5]),  # an improvement starts the count again
        ([5, 4.6, 4.4, 4.1], {"patience": 0, "threshold": 0.1}, [1, 0.5, 0.5, 0.25]),  # against the best, not the last
        ([5, 5.4, 5.6, 6.1], {"patience": 0, "threshold": 0.1, "mode": "max"}, [1, 0.5, 0.5, 0.25]),
        ([5, 5, 5, 5, 5, 5], {"patience": 0, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([5, 5, 5, 5], {"patience": 0, "min_rate": 0.3}, [1, 0.5, 0.3, 0.3]),
        ([5, 5], {"patience": 0, "min_rate": 2.0}, [1, 1]),  # never up
        ([5, math.nan, math.nan], {"patience": 1}, [1, 1, 0.5]),
        ([0, 0], {"patience": 0, "mode": "max"}, [1, 0.5]),
    ],
)
def test_reduce_on_plateau(values, options, expected):
    assert watched_rates(values, **{"factor": 0.5, "threshold": 0.0} | options) == expected


def test_a_rate_reduced_in_the_loop_equals_a_run_with_the_same_rates_as_a_schedule():
    model, optimizer = dense(1), optim.sgd(0.5, momentum=0.9)
    x, targets = normal(20, 3), normal(20, 1)
    plateau = optim.reduce_on_plateau(factor=0.5, patience=0, threshold=0.05)

    def fit(optimizer, **options):
        return training.fit(model, losses.mse, optimizer, x, targets, batch_size=5, **options)

    current, watched = training.start(model, optimizer, (3,), key=(0,)), plateau.init(0.5)
    used = []
    for epochs in range(1, 9):
        used.append(float(watched["learning_rate"]))
        (epoch,) = fit(optimizer, epochs=epochs, resume=current)
        watched = plateau.update(watched, epoch.loss)
        opt_state = optim.set_learning_rate(epoch.train_state.opt_state, watched["learning_rate"])
        current = epoch.train_state._replace(opt_state=opt_state)

    assert used[0] == 0.5 and used[-1] < 0.5  # it did fall
    known = optim.sgd(optim.piecewise(used, [4 * epoch for epoch in range(1, 8)]), momentum=0.9)
    *_, last = fit(known, epochs=8, key=(0,))
    tree.map(np.testing.assert_array_equal, last.train_state.params, current.params)
