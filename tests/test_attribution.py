"""Attribution against models cut in two, complex steps, and laws of the networks that have some."""

import numpy as np
import pytest
from arrays import normal
from branches import BRANCHES, cut, made, outputs

from funcnn import layers, models, tree
from funcnn.attribution import grad_cam, gradient_times_input, input_gradient
from funcnn.combinators import serial
from funcnn.derivatives import jacobian
from funcnn.intermediates import activations
from funcnn.layers import (
    conv1d,
    conv2d,
    conv3d,
    dense,
    flatten,
    global_avg_pool,
    tanh,
)


def test_the_input_gradient_is_the_derivative_of_the_score():
    params, state, x = made(BRANCHES, (4, 4, 2), n=3)
    derivatives = np.stack(
        [jacobian(lambda one: outputs(BRANCHES, params, state, one[None])[0], example) for example in x]
    )
    classes = np.array([2, 0, 0])
    got = input_gradient(BRANCHES, params, state, x, classes)
    np.testing.assert_allclose(got, derivatives[range(3), classes], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(input_gradient(BRANCHES, params, state, x, 1), derivatives[:, 1], rtol=1e-10, atol=1e-12)
    predicted = outputs(BRANCHES, params, state, x).argmax(axis=1)
    np.testing.assert_array_equal(
        input_gradient(BRANCHES, params, state, x), input_gradient(BRANCHES, params, state, x, predicted)
    )


def test_a_single_logit_scores_for_class_1_and_against_class_0():
    model = serial(flatten(), dense(4), tanh(), dense(1))
    params, state, x = made(model, (3, 3, 1))
    score = jacobian(lambda one: outputs(model, params, state, one[None])[0, 0], x[0])
    np.testing.assert_allclose(input_gradient(model, params, state, x, 1)[0], score, rtol=1e-10)
    np.testing.assert_allclose(input_gradient(model, params, state, x, 0)[0], -score, rtol=1e-10)
    positive = outputs(model, params, state, x)[:, 0] > 0
    assert 0 < positive.sum() < 5
    np.testing.assert_array_equal(
        input_gradient(model, params, state, x), input_gradient(model, params, state, x, positive.astype(int))
    )


def test_contributions_add_up_to_the_logit():
    linear = serial(conv2d(4, 3), flatten(), dense(3))
    params, state, x = made(linear, (5, 5, 2))
    total = gradient_times_input(linear, params, state, x, 2).sum(axis=(1, 2, 3))
    at_zero = outputs(linear, params, state, np.zeros((1, 5, 5, 2)))[0, 2]  # all that the biases make
    np.testing.assert_allclose(total, outputs(linear, params, state, x)[:, 2] - at_zero, rtol=1e-11)

    model = models.convnet(3, channels=(4, 6), hidden=(8,))
    params, state, x = made(model, (8, 8, 2))
    params = tree.unflatten(
        {p: 0 * leaf if p.endswith("/b") else leaf for p, leaf in tree.flatten(params).items()}, params
    )
    total = gradient_times_input(model, params, state, x, 1).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(total, outputs(model, params, state, x)[:, 1], rtol=1e-11)


@pytest.mark.parametrize(("after", "path"), [(1, "0_conv2d"), (2, "1_batch_norm"), (4, "3_max_pool"), (6, "5_relu")])
def test_grad_cam_is_its_definition_on_the_model_cut_in_two(after, path):
    params, state, x = made(BRANCHES, (4, 4, 2), n=3)
    (head, *head_trees), (tail, *tail_trees) = cut(BRANCHES, params, state, after)
    maps, classes = outputs(head, *head_trees, x), [1, 2, 0]
    expected = np.zeros(maps.shape[:3])
    for n, c in enumerate(classes):
        gradient = jacobian(lambda a, c=c: outputs(tail, *tail_trees, a[None])[0, c], maps[n])
        for k in range(maps.shape[3]):
            expected[n] += gradient[..., k].mean() * maps[n, ..., k]
    expected[expected < 0] = 0
    assert (expected > 0).any() and (expected == 0).any()
    got = grad_cam(BRANCHES, params, state, x, path, classes)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("conv", "in_shape"), [(conv1d, (7, 1)), (conv2d, (6, 5, 1)), (conv3d, (4, 3, 5, 1))])
def test_grad_cam_is_class_activation_mapping_where_that_is_defined(conv, in_shape):
    model = serial(conv(6, 3), tanh(), global_avg_pool(), dense(3))
    params, state, x = made(model, in_shape)
    maps = activations(model, params, state, x)["1_tanh"]
    mapping = maps @ params["3_dense"]["w"][:, 1] / np.prod(maps.shape[1:-1])
    np.testing.assert_allclose(grad_cam(model, params, state, x, "1_tanh", 1), np.maximum(mapping, 0), atol=1e-14)
    logits = outputs(model, params, state, x)[:, 1]
    positions = tuple(range(1, mapping.ndim))
    np.testing.assert_allclose(mapping.sum(axis=positions), logits - params["3_dense"]["b"][1], rtol=1e-11)


def test_float32_stays():
    model = models.convnet(3, channels=(4,), hidden=())
    params, state, _ = model.init((0,), (8, 8, 1))
    x = normal(2, 8, 8, 1).astype(np.float32)
    for got in (gradient_times_input(model, params, state, x), grad_cam(model, params, state, x, "2_relu", 0)):
        assert got.dtype == np.float32 and len(got) == 2
    assert grad_cam(model, params, state, x[:0], "2_relu").shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (ValueError, "classes from 3 to 3 do not fit a model of 3", lambda *m: input_gradient(*m, 3)),
        (ValueError, "classes from -1 to 2 do not fit", lambda *m: gradient_times_input(*m, [0, 1, 2, -1, 0])),
        (ValueError, r"classes must be one for all 5 examples or one each, not", lambda *m: input_gradient(*m, [0, 1])),
        (TypeError, "classes must be ints, not float64", lambda *m: input_gradient(*m, 1.0)),
        (ValueError, "no layer at '9_relu'; the model has 0_conv2d, ", lambda *m: grad_cam(*m, "9_relu")),
        (ValueError, r"the output of 6_flatten is \(5, 20\)", lambda *m: grad_cam(*m, "6_flatten")),
        (ValueError, r"outputs must be \(N, C\)", lambda m, p, s, x: input_gradient(layers.relu(), {}, {}, x)),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(kind, message, call):
    with pytest.raises(kind, match=message):
        call(BRANCHES, *made(BRANCHES, (4, 4, 2)))
