"""Attribution and intermediates, against models cut in two, complex steps, and laws of the networks that have some."""

import numpy as np
import pytest
from arrays import normal

from funcnn import layers, losses, models, tree
from funcnn.attribution import grad_cam, gradient_times_input, input_gradient
from funcnn.combinators import parallel, residual, serial
from funcnn.derivatives import jacobian
from funcnn.intermediates import activations, forward_backward, layer_statistics
from funcnn.layers import (
    batch_norm,
    conv1d,
    conv2d,
    conv3d,
    dense,
    dropout,
    flatten,
    global_avg_pool,
    max_pool,
    relu,
    tanh,
)
from funcnn.ops import concat

BRANCHES = serial(
    conv2d(4, 3, padding=1),
    batch_norm(),
    residual(serial(conv2d(4, 3, padding=1), tanh(), dropout(0.5))),
    max_pool(2),
    parallel(conv2d(2, 1), serial(relu(), conv2d(3, 1)), join=concat),
    relu(),
    flatten(),
    dense(3),
)


def frozen(array):
    array.flags.writeable = False
    return array


def made(model, in_shape, n=5, seed=0):
    """A model's parameters with biases that are not 0, its state, and examples, all in double precision, read-only."""
    params, state, _ = model.init((seed,), in_shape)
    params = tree.map(lambda leaf: frozen(leaf + 0.1 * normal(*leaf.shape, seed=1)), params)
    state = tree.map(lambda leaf: frozen(leaf.astype(np.float64)), state)
    return params, state, frozen(normal(n, *in_shape))


def outputs(model, params, state, x):
    return model.forward(params, x, state, train=False)[0]


def cut(model, params, state, i):
    """The two halves of a model in sequence, after ``i`` layers, each with its parameters and state."""
    names = list(params)
    halves = []
    for part, chosen in ((model.children[:i], names[:i]), (model.children[i:], names[i:])):
        half = serial(*part)
        renamed = [f"{k}_{layer.name}" for k, layer in enumerate(part)]
        trees = ({new: t[old] for new, old in zip(renamed, chosen, strict=True)} for t in (params, state))
        halves.append((half, *trees))
    return halves


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


def test_activations_are_the_outputs_of_the_model_cut_anywhere():
    params, state, x = made(BRANCHES, (4, 4, 2))
    maps = activations(BRANCHES, params, state, x)
    assert list(maps) == [
        "0_conv2d", "1_batch_norm", "2_residual/0_serial/0_conv2d", "2_residual/0_serial/1_tanh",
        "2_residual/0_serial/2_dropout", "2_residual/1_identity", "3_max_pool", "4_parallel/0_conv2d",
        "4_parallel/1_serial/0_relu", "4_parallel/1_serial/1_conv2d", "5_relu", "6_flatten", "7_dense",
    ]  # fmt: skip
    for i, path in enumerate(
        ("0_conv2d", "1_batch_norm", None, "3_max_pool", None, "5_relu", "6_flatten", "7_dense"), 1
    ):
        if path:
            head, head_params, head_state = cut(BRANCHES, params, state, i)[0] if i < 8 else (BRANCHES, params, state)
            np.testing.assert_array_equal(maps[path], outputs(head, head_params, head_state, x))
    both = [maps["4_parallel/0_conv2d"], maps["4_parallel/1_serial/1_conv2d"]]
    np.testing.assert_array_equal(maps["5_relu"], np.maximum(np.concatenate(both, axis=-1), 0))
    assert list(activations(relu(), {}, {}, x)) == [""]


def test_there_and_back_in_training():
    params, state, x = made(BRANCHES, (4, 4, 2))
    dy = frozen(normal(5, 3))
    passes = forward_backward(BRANCHES, params, state, x, lambda y: dy, train=True, key=(3,))
    y, vjp, _ = BRANCHES.forward(params, x, state, train=True, key=(3,))
    dparams, _ = vjp(dy)
    np.testing.assert_array_equal(passes["7_dense"].output, y)
    assert (passes["2_residual/0_serial/2_dropout"].output == 0).mean() > 0.3
    np.testing.assert_array_equal(
        passes["2_residual/0_serial/0_conv2d"].dparams["w"], dparams["2_residual"]["0_serial"]["0_conv2d"]["w"]
    )
    # a bias's gradient is the sum of the cotangents that arrive at its layer's output
    for through in passes.values():
        if "b" in through.dparams:
            summed = through.gradient.reshape(-1, through.gradient.shape[-1]).sum(axis=0)
            np.testing.assert_allclose(through.dparams["b"], summed, rtol=1e-10, atol=1e-12)


def test_statistics_are_those_of_the_arrays():
    params, state, x = made(BRANCHES, (4, 4, 2))
    labels = np.array([0, 1, 2, 0, 1])
    rows = layer_statistics(BRANCHES, losses.softmax_cross_entropy, params, state, x, labels)
    maps = activations(BRANCHES, params, state, x)
    assert [row.path for row in rows] == list(maps)
    relu_row, last = rows[10], rows[-1]
    y = maps["5_relu"]
    assert relu_row.out_shape == (2, 2, 5)
    assert relu_row.mean == pytest.approx(y.mean()) and relu_row.std == pytest.approx(y.std())
    assert relu_row.zeros == (y == 0).mean() and relu_row.params_norm == relu_row.params_gradient_norm == 0
    assert relu_row.norm == pytest.approx(np.sqrt(np.mean([np.sum(one**2) for one in y])))
    logits = maps["7_dense"]
    own = [losses.softmax_cross_entropy(logits[i : i + 1], labels[i : i + 1])[1](1.0) for i in range(5)]
    assert last.gradient_norm == pytest.approx(np.sqrt(np.mean([np.sum(g**2) for g in own])))
    assert last.params_norm == pytest.approx(tree.norm(params["7_dense"]))
    # examples counted twice change nothing
    twice = layer_statistics(
        BRANCHES, losses.softmax_cross_entropy, params, state, np.tile(x, (2, 1, 1, 1)), np.tile(labels, 2)
    )
    for row, again in zip(rows, twice, strict=True):
        np.testing.assert_allclose(row[2:], again[2:], rtol=1e-10, atol=1e-12)


def test_statistics_show_units_that_died_and_signals_that_explode():
    model = serial(conv2d(4, 3), relu(), flatten(), dense(3))
    params, state, x = made(model, (5, 5, 1))
    dying = {**params, "0_conv2d": {**params["0_conv2d"], "b": np.array([-100.0, 0.0, 0.0, -100.0])}}
    labels = np.arange(5) % 3
    rows = layer_statistics(model, losses.softmax_cross_entropy, dying, state, x, labels)
    assert [rows[0].dead, rows[1].dead, rows[3].dead] == [0.0, 0.5, 0.0]
    assert rows[2].dead >= 0.5  # behind flatten, every position is a unit
    half = np.array([-1.0, 1.0]) * np.ones((3, 2, 1))  # a single channel, alive at every second position
    (row,) = layer_statistics(relu(), losses.mse, {}, {}, half[..., None], np.zeros((3, 2, 2, 1)))
    assert (row.zeros, row.dead) == (0.5, 0.0)

    deep = serial(*(layer for _ in range(6) for layer in (dense(20), tanh())), dense(3))
    params, state, x = made(deep, (20,))
    for factor, grows in ((0.1, False), (3.0, True)):
        scaled = tree.map(lambda leaf, factor=factor: factor * leaf, params)
        rows = layer_statistics(deep, losses.softmax_cross_entropy, scaled, state, x, labels)
        gradients = [row.gradient_norm for row in rows if "dense" in row.path]
        steps = np.diff(np.log(gradients[:-1]))
        assert (steps < 0).mean() > 0.7 if grows else (steps > 1).all()

    with np.errstate(all="raise"):
        huge = tree.map(lambda leaf: (1e30 * leaf).astype(np.float32), params)
        rows = layer_statistics(
            serial(dense(20), dense(20)),
            losses.mse,
            {"0_dense": huge["0_dense"], "1_dense": huge["2_dense"]},
            {"0_dense": {}, "1_dense": {}},
            x.astype(np.float32),
            np.zeros((5, 20), np.float32),
        )
    assert not np.isfinite(rows[1].std)


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
        (ValueError, r"5 examples need one class for all or one each, not", lambda *m: input_gradient(*m, [0, 1])),
        (TypeError, "classes are ints, not float64", lambda *m: input_gradient(*m, 1.0)),
        (ValueError, "no layer at '9_relu'; the model's are 0_conv2d, ", lambda *m: grad_cam(*m, "9_relu")),
        (ValueError, r"the output of 6_flatten is \(5, 20\)", lambda *m: grad_cam(*m, "6_flatten")),
        (ValueError, r"outputs must be \(N, C\)", lambda m, p, s, x: input_gradient(layers.relu(), {}, {}, x)),
        (ValueError, "needs at least one example", lambda *m: layer_statistics(m[0], losses.mse, *m[1:3], m[3][:0], 0)),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(kind, message, call):
    with pytest.raises(kind, match=message):
        call(BRANCHES, *made(BRANCHES, (4, 4, 2)))
