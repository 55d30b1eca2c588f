"""LAMB: steps by the norm of each leaf, decay by mask."""

import numpy as np
from updates import descend, gradients

from funcnn import optim, tree


def test_lamb_steps_by_the_norm_of_each_leaf():
    params = {"w": np.array([[3.0, 0.0], [0.0, 4.0]]), "b": np.zeros(2)}
    grads = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([1.0, -2.0])}
    optimizer = optim.lamb(0.1, eps=0.0)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], np.full((2, 2), -0.1 * 5 / 2))  # |p| = 5, r all 1, |r| = 2
    np.testing.assert_allclose(updates["b"], [-0.1, 0.1])  # |p| = 0: unscaled


def test_masked_decay_of_lamb():
    grads = gradients(4)
    masked, _ = descend(optim.lamb(0.1, weight_decay=0.5, mask=optim.weights_only), grads)
    decayed, _ = descend(optim.lamb(0.1, weight_decay=0.5), grads)
    plain, _ = descend(optim.lamb(0.1), grads)
    for path, leaf in tree.flatten(masked[-1]).items():
        source, other = (decayed, plain) if path.endswith("/w") else (plain, decayed)
        assert np.array_equal(leaf, tree.flatten(source[-1])[path])
        assert not np.allclose(leaf, tree.flatten(other[-1])[path])
