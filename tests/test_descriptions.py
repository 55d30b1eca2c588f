"""Models of layers of funcnn as plain data."""

import json

import numpy as np
import pytest
from layers.test_contract import EVERY
from test_pickling import COMBINATIONS, same_layer

from funcnn import models, ops, tree
from funcnn.combinators import parallel, residual, serial
from funcnn.descriptions import describe, described
from funcnn.layer import Layer, parameterless
from funcnn.layers import dense, relu


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations_are_built_again_from_json(name):
    plain = json.loads(json.dumps(describe(COMBINATIONS[name])))
    again = models.build({"name": "described", "arguments": {"layer": plain}})
    same_layer(COMBINATIONS[name], again, (8, 8, 4))
    assert describe(again) == plain


def test_every_layer_is_described():
    for name, layer, in_shape in EVERY:
        again = described(json.loads(json.dumps(describe(layer))))
        assert again.forward.op is layer.forward.op and again.name == layer.name, name
        assert again.init((0,), in_shape)[2] == layer.init((0,), in_shape)[2], name


def test_initializers_of_funcnn_are_named():
    model = models.mlp(3, hidden=(8,))
    again = described(describe(model))
    pairs = zip(*(tree.leaves(layer.init((0,), (4,))[0]) for layer in (model, again)), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def own(x):
    return 2 * x, lambda dy: 2 * dy


@pytest.mark.parametrize(
    "layer",
    [
        Layer("double", lambda key, shape: ({}, {}, shape), lambda params, x, state, *, train, key=None: own(x)),
        parameterless("double", own),
        parameterless("relu", own),
        relu()._replace(forward=lambda *args, **options: relu().forward(*args, **options)),
        parallel(relu(), relu(), join=lambda *xs: ops.add(*xs)),
        residual(serial(dense(3), parameterless("tanh", own))),
    ],
    ids=["forward", "op", "op of a known name", "wrapped", "join", "inside"],
)
def test_what_is_not_of_funcnn_is_refused(layer):
    with pytest.raises(ValueError, match="cannot be described"):
        describe(layer)


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"layer": "system"}, "funcnn.layers has no 'system'"),
        ({"name": "x"}, "must be a dict of"),
        ({"layer": "relu", "arguments": {"slope": 1}}, "relu does not take"),
        ({"layer": "dense", "arguments": {"features": 2}, "initializers": {"w_init": "os"}}, "no 'os'"),
        ({"layer": "relu", "name": "a/b"}, "without '/'"),
        ({"layer": "parallel", "layers": [{"layer": "relu"}], "join": "eval"}, "funcnn.ops has no 'eval'"),
    ],
)
def test_other_data_are_refused(plain, words):
    with pytest.raises(ValueError, match=words):
        described(plain)
