"""Frozen layers: what training leaves as it is, what it does not compute, and what tools see inside."""

import numpy as np
import pytest
from arrays import normal

from funcnn import checkpoint, derivatives, intermediates, losses, optim, profiling, training, tree
from funcnn.combinators import frozen, graph, map_layers, residual, serial
from funcnn.data_parallel import over_threads
from funcnn.gradients import value_and_grad
from funcnn.layer import Layer, output, pull_back
from funcnn.layers import add, batch_norm, conv2d, dense, dropout, flatten, max_pool, relu
from funcnn.summary import summary

IMAGE = (8, 8, 3)
BODY = serial(
    conv2d(4, 3), batch_norm(), relu(), max_pool(2), residual(serial(conv2d(4, 3, padding="same"), dropout(0.5)))
)
MODEL = serial(frozen(BODY), flatten(), dense(3))
X, TARGETS = normal(24, *IMAGE).astype(np.float32), np.arange(24) % 3


def run(model, optimizer=None, epochs=2, resume=None):
    optimizer = optim.adam(0.01) if optimizer is None else optimizer
    loss = losses.softmax_cross_entropy
    records = training.fit(model, loss, optimizer, X, TARGETS, epochs=epochs, batch_size=8, key=(0,), resume=resume)
    return list(records)


def same_bits(a, b):
    return tree.paths(a) == tree.paths(b) and all(map(np.array_equal, tree.leaves(a), tree.leaves(b)))


def test_training_changes_no_bit_of_it_whatever_the_optimizer():
    for optimizer in (optim.sgd(0.1, momentum=0.9), optim.adamw(0.01, weight_decay=0.1)):
        before = training.start(MODEL, optimizer, IMAGE, key=(0,))
        after = run(MODEL, optimizer)[-1].train_state
        assert same_bits(before.state, after.state)
        assert not np.array_equal(before.params["2_dense"]["w"], after.params["2_dense"]["w"])
        assert sorted(tree.paths(after.params)) == ["2_dense/b", "2_dense/w"]
        assert not any("frozen" in path for path in tree.paths(after.opt_state))


def test_it_computes_as_in_evaluation():
    params, state, _ = BODY.init((0,), IMAGE)
    state["1_batch_norm"] = {"mean": np.full(4, 0.5, np.float32), "var": np.full(4, 2.0, np.float32)}
    expected = BODY.forward(params, X, state, train=False)[0]
    frozen_state = {"params": params, "state": state}
    for train in (True, False):  # dropout is off, so no key is needed
        y, _, new_state = frozen(BODY).forward({}, X, frozen_state, train=train)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)  # batch normalisation is folded
        assert new_state is frozen_state
        assert np.array_equal(output(frozen(BODY), {}, X, frozen_state), y)


def test_a_checkpoint_keeps_it_and_training_resumes_bit_for_bit(tmp_path):
    first, second = run(MODEL)
    checkpoint.save(tmp_path / "net.safetensors", checkpoint.Checkpoint(first.train_state, {}))
    loaded = checkpoint.load(tmp_path / "net.safetensors").train_state
    assert same_bits(loaded.state, first.train_state.state)
    resumed = run(MODEL, resume=loaded)[-1]
    assert same_bits(resumed.train_state.params, second.train_state.params)
    assert same_bits(resumed.train_state.state, second.train_state.state)


def test_threads_return_its_very_state():
    params, state, _ = MODEL.init((0,), IMAGE)
    grad_fn = value_and_grad(MODEL, losses.softmax_cross_entropy)
    value, grads, _ = grad_fn(params, state, X, TARGETS)
    threaded_value, threaded_grads, new_state = over_threads(grad_fn, 3, min_work=0)(params, state, X, TARGETS)
    assert same_bits(new_state, state) and np.isclose(threaded_value, value)
    assert np.allclose(threaded_grads["2_dense"]["w"], grads["2_dense"]["w"], atol=1e-6)


def counting(calls):
    """A layer with a parameter that counts the calls of its forward pass and of its VJP."""

    def forward(params, x, state, *, train, key=None):
        calls.append("forward")

        def vjp(dy):
            calls.append("vjp")
            return {"w": (dy * x).sum(axis=0)}, dy * params["w"]

        return params["w"] * x, vjp, state

    return Layer("scale", lambda key, in_shape: ({"w": np.ones(in_shape)}, {}, in_shape), forward)


@pytest.mark.parametrize(
    ("around", "calls_of_step"),
    [
        (lambda body: serial(body, dense(3)), ["forward"]),
        (lambda body: serial(relu(), body, dense(3)), ["forward"]),
        (lambda body: graph((relu(), -1), (body, 0), (dense(4), 0), (add(), 1, 2)), ["forward"]),
        (lambda body: graph((dense(4), -1), (body, -1), (add(), 0, 1)), ["forward"]),
        (lambda body: residual(body, dense(4)), ["forward"]),
        # the dense layer before it needs dx: the forward pass is repeated with closures
        (lambda body: serial(dense(4), body, dense(3)), ["forward", "forward", "vjp"]),
    ],
    ids=["first", "after relu", "beside dense in a graph", "join", "in a residual", "after dense"],
)
def test_no_vjp_of_it_is_called_unless_something_before_it_needs_one(around, calls_of_step):
    calls = []
    model = around(frozen(counting(calls)))
    params, state, _ = model.init((0,), (4,))
    y, vjp, _ = model.forward(params, normal(2, 4), state, train=True)
    dparams, dx = pull_back(model, vjp, y, input_gradient=False)
    assert calls == calls_of_step and dx is None and tree.paths(dparams) == tree.paths(params)


def test_the_gradient_passes_through_it():
    thawed = serial(dense(4), batch_norm(), dense(3))
    params, state, _ = thawed.init((0,), (5,))
    x = normal(6, 5)
    y, vjp, _ = thawed.forward(params, x, state, train=False)
    within = {"params": params["1_batch_norm"], "state": state["1_batch_norm"]}
    model = serial(dense(4), frozen(batch_norm()), dense(3))
    frozen_params = {"0_dense": params["0_dense"], "1_frozen": {}, "2_dense": params["2_dense"]}
    frozen_state = {"0_dense": {}, "1_frozen": within, "2_dense": {}}
    z, frozen_vjp, _ = model.forward(frozen_params, x, frozen_state, train=True)
    dparams, dx = frozen_vjp(y)
    assert np.array_equal(z, y) and np.allclose(dx, vjp(y)[1])
    assert np.allclose(dparams["0_dense"]["w"], vjp(y)[0]["0_dense"]["w"])


def test_tools_see_the_layers_inside():
    params, state, _ = MODEL.init((0,), IMAGE)
    inside = [f"0_frozen/0_serial/{name}" for name in (
        "0_conv2d", "1_batch_norm", "2_relu", "3_max_pool", "4_residual/0_serial/0_conv2d",
        "4_residual/0_serial/1_dropout", "4_residual/1_identity",
    )]  # fmt: skip
    paths = [*inside, "1_flatten", "2_dense"]
    rows = summary(MODEL, IMAGE)
    assert [row.path for row in rows] == paths
    assert rows[0].parameters == 4 * 3 * 3 * 3 + 4 and rows[0].multiply_adds == 6 * 6 * 4 * 3 * 3 * 3
    assert list(intermediates.activations(MODEL, params, state, X)) == paths
    assert list(intermediates.forward_backward(MODEL, params, state, X, np.ones_like)) == paths
    times = profiling.layer_times(MODEL, params, state, X, rounds=2)
    assert list(times) == paths and times[paths[0]].backward == [0.0, 0.0]
    same = map_layers(lambda path, layer: layer, MODEL)
    assert np.array_equal(output(same, params, X, state), output(MODEL, params, X, state))


def test_gradients_of_each_example_leave_it_out():
    params, state, _ = MODEL.init((0,), IMAGE)
    loss = losses.softmax_cross_entropy
    each = derivatives.per_example_gradients(MODEL, loss, params, state, X, TARGETS, train=True, key=(0,))
    grads = value_and_grad(MODEL, loss)(params, state, X, TARGETS)[1]
    assert each["0_frozen"] == {} and np.allclose(each["2_dense"]["w"].mean(axis=0), grads["2_dense"]["w"], atol=1e-5)


def test_errors_inside_it_have_their_path():
    with pytest.raises(ValueError, match="window spans 3 positions") as error:
        MODEL.init((0,), (2, 8, 3))
    assert error.value.__notes__ == ["in layer 0_frozen / 0_serial / 0_conv2d"]
    params, state, _ = MODEL.init((0,), IMAGE)
    with pytest.raises(ValueError, match="has 2 channels") as error:
        MODEL.forward(params, X[..., :2], state, train=True)
    assert error.value.__notes__ == ["in layer 0_frozen / 0_serial / 0_conv2d"]
    with pytest.raises(ValueError, match=r"frozen: state must have exactly the keys .*missing \['params'\]") as error:
        MODEL.forward(params, X, {**state, "0_frozen": {"state": {}}}, train=True)
    assert error.value.__notes__ == ["in layer 0_frozen"]
    with pytest.raises(ValueError, match=r"frozen: has no params, but was given \['w'\]"):
        MODEL.forward({**params, "0_frozen": {"w": np.ones(1)}}, X, state, train=True)
    with pytest.raises(TypeError, match="frozen: arguments must be layers"):
        frozen(relu)
