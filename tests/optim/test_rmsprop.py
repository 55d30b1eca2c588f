"""RMSProp: a variance that rounding makes negative."""

import numpy as np

from funcnn import optim


def test_rmsprop_centered_takes_a_variance_that_rounding_makes_negative_for_zero():
    optimizer = optim.rmsprop(0.1, decay=0.5, centered=True, eps=1.0)
    params = {"w": np.zeros(1000, np.float32)}
    grads = {"w": np.random.default_rng(0).normal(size=1000).astype(np.float32)}
    opt_state = optimizer.init(params)
    for _ in range(40):
        updates, opt_state = optimizer.update(grads, opt_state, params)
    means = opt_state["0"]
    assert (means["square"]["w"] < means["mean"]["w"] ** 2).any()  # the case in question
    np.testing.assert_allclose(updates["w"], -0.1 * grads["w"], rtol=2e-3)
