"""Dropout: only in training, with a key."""

import numpy as np

from funcnn.layers import dropout


def test_dropout_only_acts_in_training():
    x = np.ones((4, 50))
    layer = dropout(0.5)
    assert np.array_equal(layer.forward({}, x, {}, train=False)[0], x)
    assert np.array_equal(layer.forward({}, x, {}, train=False, key=(0,))[0], x)
    assert (layer.forward({}, x, {}, train=True, key=(0,))[0] == 0).any()
