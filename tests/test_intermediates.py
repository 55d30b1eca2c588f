"""Activations, traces and statistics of layers, against models cut in two and the arrays themselves."""

import numpy as np
import pytest
from arrays import normal
from branches import BRANCHES, cut, frozen, made, outputs

from funcnn import losses, tree
from funcnn.combinators import serial
from funcnn.intermediates import activations, forward_backward, layer_statistics
from funcnn.layer import Layer
from funcnn.layers import conv2d, dense, flatten, relu, tanh


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


def test_forward_backward_in_training():
    params, state, x = made(BRANCHES, (4, 4, 2))
    dy = frozen(normal(5, 3))
    traces = forward_backward(BRANCHES, params, state, x, lambda y: dy, train=True, key=(3,))
    y, vjp, _ = BRANCHES.forward(params, x, state, train=True, key=(3,))
    dparams, _ = vjp(dy)
    np.testing.assert_array_equal(traces["7_dense"].output, y)
    assert (traces["2_residual/0_serial/2_dropout"].output == 0).mean() > 0.3
    np.testing.assert_array_equal(
        traces["2_residual/0_serial/0_conv2d"].dparams["w"], dparams["2_residual"]["0_serial"]["0_conv2d"]["w"]
    )
    # a bias's gradient is the sum of the cotangents that arrive at its layer's output
    for trace in traces.values():
        if "b" in trace.dparams:
            summed = trace.gradient.reshape(-1, trace.gradient.shape[-1]).sum(axis=0)
            np.testing.assert_allclose(trace.dparams["b"], summed, rtol=1e-10, atol=1e-12)


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


def test_statistics_of_no_examples_are_refused():
    params, state, x = made(BRANCHES, (4, 4, 2))
    with pytest.raises(ValueError, match="needs at least one example"):
        layer_statistics(BRANCHES, losses.mse, params, state, x[:0], 0)


def doubled(body):
    """A user's combinator, which names its child differently."""

    def init(key, in_shape):
        params, state, out_shape = body.init(key, in_shape)
        return {"body": params}, {"body": state}, out_shape

    def forward(params, x, state, *, train, key=None):
        y, vjp, new_state = body.forward(params["body"], x, state["body"], train=train, key=key)

        def doubled_vjp(dy):
            dparams, dx = vjp(2 * dy)
            return {"body": dparams}, dx

        return 2 * y, doubled_vjp, {"body": new_state}

    return Layer("doubled", init, forward, (body,), doubled)


def test_layers_inside_a_combinator_of_ones_own():
    model = serial(doubled(serial(dense(3), tanh())), dense(2))
    params, state, _ = model.init((0,), (4,))
    x = normal(5, 4)
    paths = ["0_doubled/0_serial/0_dense", "0_doubled/0_serial/1_tanh", "1_dense"]
    outputs = activations(model, params, state, x)
    assert list(outputs) == paths
    inner = params["0_doubled"]["body"]["0_dense"]
    np.testing.assert_allclose(outputs[paths[0]], x @ inner["w"] + inner["b"])
    y, vjp, _ = model.forward(params, x, state, train=True)
    traces = forward_backward(model, params, state, x, np.ones_like, train=True)
    expected, _ = vjp(np.ones_like(y))
    np.testing.assert_allclose(traces[paths[0]].dparams["w"], expected["0_doubled"]["body"]["0_dense"]["w"])
    rows = layer_statistics(model, losses.mse, params, state, x, np.zeros((5, 2)))
    assert [row.path for row in rows] == paths
    np.testing.assert_allclose(rows[0].params_norm, tree.norm(inner))
