"""Layers of funcnn, and whatever combines them, are pickled as what made them."""

import copy
import pickle

import numpy as np
import pytest
from layers.test_contract import EVERY

from funcnn import models, ops, tree
from funcnn.combinators import frozen, graph, parallel, residual, serial
from funcnn.initializers import lecun_normal
from funcnn.layer import Layer, parametric
from funcnn.layers import add, batch_norm, concat, conv2d, dense, dropout, relu, softmax

RNG = np.random.default_rng(0)
COMBINATIONS = {
    "serial": serial(conv2d(4, 3, w_init=lecun_normal), batch_norm(decay=0.5), relu()),
    "parallel": parallel(conv2d(4, 3, padding=1), relu(), join=ops.concat),
    "residual": residual(serial(conv2d(4, 3, padding=1), relu())),
    "graph": graph((conv2d(4, 3, padding=1), -1), (relu(), 0), (add(), 0, 1), (concat(), 2, -1)),
    "frozen": serial(frozen(serial(conv2d(4, 3), batch_norm())), relu()),
    "renamed": serial(relu()._replace(name="rectify"), conv2d(2, 1)._replace(name="mix"))._replace(name="body"),
    "resnet": models.resnet(3, blocks=(1, 1), channels=(4, 8)),
    "network": models.network([{"layer": "conv2d", "arguments": {"features": 2, "kernel_size": 3}}, {"layer": "relu"}]),
}


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations_stay_the_same(name, copied):
    same_layer(COMBINATIONS[name], copied(COMBINATIONS[name]), (8, 8, 4))


@pytest.mark.parametrize(
    ("name", "layer", "in_shape"), EVERY, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(EVERY)]
)
def test_every_layer_stays_the_same(name, layer, in_shape):
    try:
        stored = pickle.dumps(layer)
    except (AttributeError, pickle.PicklingError) as error:  # of the test's own initializers
        assert "of_positive" in str(error) or "lambda" in str(error)
        pytest.skip("made with an inner function of the test")
    again = pickle.loads(stored)
    assert again.forward.op is layer.forward.op and dict(again.forward.options).keys() == layer.forward.options.keys()
    assert again.name == layer.name
    params, _, out_shape = layer.init((0,), in_shape)
    other, _, other_shape = again.init((0,), in_shape)
    assert out_shape == other_shape and list(tree.paths(params)) == list(tree.paths(other))
    assert all(np.array_equal(*pair) for pair in zip(tree.leaves(params), tree.leaves(other), strict=True))


def same_layer(layer, again, in_shape):
    params, state, out_shape = layer.init((1,), in_shape)
    assert again.init((1,), in_shape)[2] == out_shape and again.name == layer.name
    assert list(tree.paths(again.init((1,), in_shape)[0])) == list(tree.paths(params))
    x = RNG.standard_normal((2, *in_shape)).astype(np.float32)
    y, vjp, _ = layer.forward(params, x, state, train=False)
    other_y, other_vjp, _ = again.forward(params, x, state, train=False)
    assert np.array_equal(y, other_y) and np.array_equal(vjp(y)[1], other_vjp(y)[1])


def given(key, in_shape):
    return {"w": np.eye(in_shape[-1], dtype=np.float32), "b": np.zeros(in_shape[-1], np.float32)}


def own_init(key, in_shape):
    return given(key, in_shape), {}, in_shape


def test_what_was_replaced_stays_replaced():
    again = pickle.loads(pickle.dumps(dense(3)._replace(init=own_init)))
    assert np.array_equal(again.init((0,), (3,))[0]["w"], np.eye(3)) and again.forward.op is ops.dense
    assert pickle.loads(pickle.dumps(parametric("own", given, ops.dense))).init((0,), (2,))[2] == (2,)


def test_an_inner_function_of_ones_own_cannot_be_stored():
    layer = relu()

    def forward(params, x, state, *, train, key=None):
        return layer.forward(params, x, state, train=train)

    with pytest.raises((AttributeError, pickle.PicklingError, TypeError), match="local object"):
        pickle.dumps(serial(Layer("own", own_init, forward), softmax(), dropout(0.5)))
