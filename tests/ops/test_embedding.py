"""Embedding: rows of a table, and where their gradients go."""

import numpy as np
import pytest
from arrays import normal

from funcnn import layers, ops
from funcnn.combinators import serial
from funcnn.testing import check_vjp

W = normal(5, 3)


@pytest.mark.parametrize("shape", [(4,), (2, 6), (2, 3, 4)])
def test_it_is_the_product_with_one_hot_vectors(shape):
    ids = np.random.default_rng(0).integers(0, 5, shape)
    y, vjp = ops.embedding({"w": W}, ids)
    one_hot = np.eye(5)[ids]
    np.testing.assert_allclose(y, one_hot @ W)
    dy = normal(*y.shape)
    n, positions = len(ids), ids[:1].size
    one_hot, rows = one_hot.reshape(n, positions, 5), dy.reshape(n, positions, 3)
    each = np.einsum("npv,npd->nvd", one_hot, rows)
    np.testing.assert_allclose(vjp(dy)["w"], each.sum(axis=0), rtol=1e-12, atol=1e-12)
    check_vjp(lambda params: ops.embedding(params, ids), {"w": W}, strict=True)


@pytest.mark.parametrize(
    ("w", "ids", "error", "message"),
    [
        (W, np.array([0.0]), TypeError, "ids must be integers, not float64"),
        (W, np.array([True]), TypeError, "ids must be integers, not bool"),
        (W, np.array([0, 5]), ValueError, r"ids must lie in 0\.\.4 for w \(5, 3\); got values from 0 to 5"),
        (W, np.array([-1, 2]), ValueError, "got values from -1 to 2"),
        (W, np.array(1), ValueError, r"ids \(N, \.\.\.\); got w \(5, 3\) and ids \(\)"),
        (W[0], np.array([1]), ValueError, r"w must be \(V, D\)"),
    ],
)
def test_bad_input_is_named(w, ids, error, message):
    with pytest.raises(error, match=message):
        ops.embedding({"w": w}, ids)


def test_as_a_layer_at_the_start_of_a_model():
    model = serial(layers.embedding(5, 3), layers.conv1d(2, 2), layers.flatten(), layers.dense(1))
    params, state, out_shape = model.init((0,), (4,))
    assert params["0_embedding"]["w"].shape == (5, 3) and out_shape == (1,)
    params = {name: {leaf: a.astype(float) for leaf, a in child.items()} for name, child in params.items()}
    ids = np.array([[0, 4, 4, 2], [1, 0, 0, 0]])
    check_vjp(lambda params: first_of_the_pair(model.forward(params, ids, state, train=True)), params, strict=True)
    dparams, dx = model.forward(params, ids, state, train=True)[1](np.ones((2, 1)))
    assert dx is None
    assert not dparams["0_embedding"]["w"][3].any() and dparams["0_embedding"]["w"][4].any()


def first_of_the_pair(result):
    y, vjp, _ = result
    return y, lambda dy: vjp(dy)[0]


def test_rows_start_with_unit_variance_for_any_size():
    for vocabulary, features in ((2000, 4), (4, 2000)):
        w = layers.embedding(vocabulary, features).init((0,), (3,))[0]["w"]
        assert abs(w.var() - 1) < 0.05
    with pytest.raises(ValueError, match="vocabulary must be at least 1, got 0"):
        layers.embedding(0, 4)
