"""Folded batch normalisation computes what the model does in evaluation, wherever it can be found."""

import pickle

import numpy as np
import pytest
from arrays import normal

from funcnn import models, tree
from funcnn.combinators import frozen, graph, parallel, residual, serial
from funcnn.folding import fold_batch_norm
from funcnn.layer import output
from funcnn.layers import (
    add,
    affine,
    batch_norm,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose2d,
    dense,
    depthwise_conv2d,
    flatten,
    layer_norm,
    max_pool,
    relu,
    separable_conv2d,
    tanh,
)
from funcnn.ops import concat

IMAGE = (8, 8, 4)


def trained(model, in_shape, dtype=np.float64):
    """A model's params and state with random numbers in all leaves, variances above 0."""
    params, state, _ = model.init((0,), in_shape)
    seeds = iter(range(1000))
    params = tree.map(lambda leaf: (leaf + 0.3 * normal(*leaf.shape, seed=next(seeds))).astype(dtype), params)
    state = tree.map(lambda leaf: (leaf + 0.2 + normal(*leaf.shape, seed=next(seeds)) ** 2).astype(dtype), state)
    return params, state


def names(layer):
    """The names of all layers that have no children, in order."""
    return [name for child in layer.children for name in names(child)] if layer.children else [layer.name]


def check(model, in_shape, folded, *, left=0):
    """``folded`` layers become identities, ``left`` batch normalisations stay, and the output stays the same."""
    for dtype, tolerance in ((np.float64, 1e-12), (np.complex128, 1e-12), (np.float32, 2e-5)):
        params, state = trained(model, in_shape, np.float64 if dtype == np.complex128 else dtype)
        x = normal(3, *in_shape).astype(dtype)
        if dtype == np.complex128:
            x += 1j * normal(3, *in_shape, seed=1)
        before = [leaf.copy() for leaf in (*tree.leaves(params), *tree.leaves(state))]
        model_2, params_2, state_2 = fold_batch_norm(model, params, state)
        for old, leaf in zip(before, (*tree.leaves(params), *tree.leaves(state)), strict=True):
            np.testing.assert_array_equal(leaf, old)
        y, y_2 = output(model, params, x, state), output(model_2, params_2, x, state_2)
        assert y_2.dtype == y.dtype == dtype
        np.testing.assert_allclose(y_2, y, rtol=0, atol=tolerance * abs(y).max())
        assert names(model_2).count("identity") - names(model).count("identity") == folded
        assert names(model_2).count("batch_norm") == left
        assert tree.paths(params_2) == tree.paths(model_2.init((0,), in_shape)[0])
        assert tree.paths(state_2) == tree.paths(model_2.init((0,), in_shape)[1])


SEQUENCES = {
    "conv1d": (serial(conv1d(5, 3), batch_norm()), (9, 3)),
    "conv2d, without bias": (serial(conv2d(5, 3, stride=2, bias=False), batch_norm(eps=0.1), relu()), IMAGE),
    "conv3d": (serial(conv3d(3, 2), batch_norm()), (4, 4, 4, 2)),
    "groups": (serial(conv2d(6, 3, groups=2), batch_norm(decay=0.5), tanh()), IMAGE),
    "depthwise": (serial(depthwise_conv2d(3, multiplier=2, bias=False), batch_norm()), IMAGE),
    "separable": (serial(separable_conv2d(5, 3), batch_norm()), IMAGE),
    "transposed": (serial(conv_transpose2d(6, 3, stride=2), batch_norm()), IMAGE),
    "transposed, in groups": (serial(conv_transpose2d(6, 3, groups=2, bias=False), batch_norm()), IMAGE),
    "dense": (serial(flatten(), dense(5), batch_norm(), relu(), dense(2)), IMAGE),
    "dense, at each position": (serial(dense(5, bias=False), batch_norm()), IMAGE),
    "affine": (serial(conv2d(5, 3), affine()), IMAGE),
    "scale alone": (serial(conv2d(5, 3), affine(bias_shape=False)), IMAGE),
    "fused with pooling": (serial(conv2d(12, 3, padding=1), batch_norm(), relu(), max_pool(2)), (12, 12, 8)),
    "a nested end": (serial(serial(relu(), conv2d(5, 3)), batch_norm()), IMAGE),
    "a nested beginning": (serial(conv2d(5, 3), serial(batch_norm(), relu(), dense(2))), IMAGE),
    "frozen": (serial(frozen(serial(conv2d(5, 3, bias=False), batch_norm(), relu())), flatten(), dense(2)), IMAGE),
    "frozen, and then normalised": (serial(frozen(conv2d(5, 3)), batch_norm()), IMAGE),
    "branches": (
        parallel(serial(conv2d(5, 1, bias=False), batch_norm()), serial(conv2d(3, 1), tanh()), join=concat),
        IMAGE,
    ),
    "residual": (residual(serial(conv2d(4, 3, padding=1), batch_norm())), IMAGE),
    "graph": (graph((conv2d(4, 3, padding=1), -1), (batch_norm(), 0), (add(), 1, -1), (relu(), 2)), IMAGE),
    "before a graph": (serial(conv2d(4, 3), graph((batch_norm(), -1), (relu(), 0), (add(), 0, 1))), IMAGE),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_folds_into_the_layer_before(case):
    check(*SEQUENCES[case], folded=1)


def test_folds_one_after_the_other():
    check(serial(conv2d(5, 3, bias=False), batch_norm(), affine(), batch_norm()), IMAGE, folded=3)


LEFT = {
    "first": serial(batch_norm(), conv2d(5, 3)),
    "after an activation": serial(conv2d(5, 3), relu(), batch_norm()),
    "after pooling": serial(conv2d(5, 3), max_pool(2), batch_norm()),
    "after a sum": serial(residual(conv2d(4, 3, padding=1)), batch_norm()),
    "before a shortcut": serial(conv2d(4, 3), residual(serial(batch_norm(), relu()))),
    "a second reader": graph((conv2d(4, 3), -1), (batch_norm(), 0), (add(), 0, 1)),
    "a layer of one's own": serial(
        conv2d(4, 3)._replace(forward=lambda *args, **options: conv2d(4, 3).forward(*args, **options)), batch_norm()
    ),
    "a normalisation of one's own": serial(
        conv2d(4, 3), batch_norm()._replace(forward=lambda *args, **options: batch_norm().forward(*args, **options))
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_leaves_what_does_not_follow_such_a_layer_alone(case):
    check(LEFT[case], IMAGE, folded=0, left=1)
    params, state = trained(LEFT[case], IMAGE)
    for new, old in zip(fold_batch_norm(LEFT[case], params, state), (LEFT[case], params, state), strict=True):
        assert new is old


def test_affine_maps_that_differ_from_position_to_position_stay():
    model = serial(conv2d(5, 3), affine(scale_shape=(6, 6, 5), bias_shape=False), layer_norm())
    params, state = trained(model, IMAGE)
    assert fold_batch_norm(model, params, state)[0] is model


MODELS = {
    "seed_convnet": (models.seed_convnet(), (8, 8, 1)),
    "convnet": (models.convnet(), (8, 8, 1)),
    "mlp": (models.mlp(), (4, 4, 1)),
    "lenet5": (models.lenet5(), (28, 28, 1)),
    "vgg": (models.vgg(3, blocks=((8,), (12, 12)), hidden=(5,)), (12, 12, 3)),
    "resnet": (models.resnet(3, blocks=(1, 1), channels=(4, 8)), (12, 12, 3)),
    "resnet, bottleneck": (models.resnet(3, blocks=(1, 1), channels=(4, 8), bottleneck=True), (12, 12, 3)),
    "mobilenet": (models.mobilenet(3, stem=(4, 2), blocks=((8, 1), (8, 2))), (12, 12, 3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_keep_no_batch_normalisation(name):
    model, in_shape = MODELS[name]
    check(model, in_shape, folded=names(model).count("batch_norm"))


def test_weights_that_would_not_be_finite_stay():
    model = serial(conv2d(2, 1), batch_norm(eps=0.0))
    params, state = trained(model, IMAGE)
    state["1_batch_norm"]["var"][0] = 0.0
    assert fold_batch_norm(model, params, state)[0] is model


@pytest.mark.parametrize("leaf", ["w", "scale", "mean"])
def test_arrays_that_do_not_fit_are_left_to_the_forward_pass(leaf):
    model = serial(conv2d(5, 3), batch_norm())
    params, state = trained(model, IMAGE)
    for part in (params["0_conv2d"], params["1_batch_norm"], state["1_batch_norm"]):
        if leaf in part:
            part[leaf] = part[leaf][..., :2]
    assert fold_batch_norm(model, params, state)[0] is model
    assert fold_batch_norm(model, {}, state)[0] is model


def test_the_folded_model_can_be_pickled_and_shares_other_arrays():
    model = serial(conv2d(5, 3, bias=False), batch_norm(), conv2d(2, 3))
    params, state = trained(model, IMAGE)
    folded, folded_params, folded_state = fold_batch_norm(model, params, state)
    assert folded_params["2_conv2d"] is params["2_conv2d"]
    again, x = pickle.loads(pickle.dumps(folded)), normal(2, *IMAGE)
    y = output(folded, folded_params, x, folded_state)
    np.testing.assert_array_equal(output(again, folded_params, x, folded_state), y)
