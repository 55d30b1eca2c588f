"""The layer of a series and its mask."""

import pickle

import numpy as np
from arrays import normal

from funcnn.combinators import graph
from funcnn.layers import conv1d
from funcnn.layers.masking import masked_batch_norm
from funcnn.testing import check_layer


def test_contract():
    check_layer(masked_batch_norm(), ((6, 3), (6, 1)), strict=True)
    check_layer(graph((conv1d(1, 1), -1), (masked_batch_norm(), -1, 0)), (6, 3), strict=True)


def test_running_averages_are_those_of_the_mask():
    layer = pickle.loads(pickle.dumps(masked_batch_norm(decay=0.5)))
    params, state, _ = layer.init((0,), ((4, 2), (4, 1)))
    x, mask = normal(3, 4, 2), np.array([1.0, 1, 0, 0])[:, None] * np.ones((3, 1, 1))
    state = layer.forward(params, (x, mask), state, train=True)[2]
    np.testing.assert_allclose(state["mean"], x[:, :2].mean(axis=(0, 1)) / 2, rtol=1e-6)
    kept = layer.forward(params, (x, mask), state, train=False)[2]
    assert kept is state
