"""Combinators: their contract, the names of their children, where errors happened, and what map_layers changes."""

import functools

import numpy as np
import pytest
from arrays import normal

from funcnn import combinators, layers, ops
from funcnn.combinators import frozen, graph, parallel, residual, serial
from funcnn.layer import pull_back, wrap_forward
from funcnn.layers import add, batch_norm, concat, conv2d, dense, dropout, flatten, max_pool, multiply, relu, tanh
from funcnn.testing import check_layer

IMAGE = (5, 6, 4)
DIAMOND = graph((conv2d(3, 1), -1), (tanh(), 0), (conv2d(3, 3, padding="same"), 0), (add(), 1, 2))
CROSSING = graph(
    (conv2d(2, 1), -1),
    (conv2d(2, 3, padding="same"), -1),
    (tanh(), 1),
    (conv2d(2, 1), 0),
    (multiply(), 0, 2),
    (concat(), 3, 1, 4, -1),
    (relu(), 5),
    (max_pool(2), 6),
)
COMBINATORS = {
    "serial": [
        (serial(relu()), IMAGE),
        (serial(flatten(), dense(5), tanh(), dropout(0.5), dense(2)), IMAGE),
        (serial(serial(flatten()), serial(serial(dense(3)), tanh())), IMAGE),
        (serial(conv2d(4, 1), residual(serial(tanh(), dropout(0.3))), flatten(), dense(2)), IMAGE),
    ],
    "parallel": [
        (parallel(tanh()), IMAGE),
        (parallel(conv2d(3, 1), conv2d(3, 3, padding="same"), serial(tanh(), conv2d(3, 1))), IMAGE),
        (parallel(conv2d(3, 1), tanh(), join=ops.concat), IMAGE),
        (parallel(max_pool(2), layers.avg_pool(2), join=functools.partial(ops.concat, axis=1)), IMAGE),
        (parallel(dropout(0.5), dropout(0.5)), IMAGE),
    ],
    "residual": [
        (residual(tanh()), IMAGE),
        (residual(serial(conv2d(4, 3, padding="same"), tanh())), IMAGE),
        (residual(conv2d(2, 3, stride=2, padding=1), conv2d(2, 1, stride=2)), (5, 5, 4)),
    ],
    "graph": [
        (graph((relu(), -1)), IMAGE),
        (graph((flatten(), -1), (dense(5), 0), (tanh(), 1), (dropout(0.5), 2), (dense(2), 3)), IMAGE),
        (DIAMOND, IMAGE),
        (CROSSING, IMAGE),
        (graph((multiply(), -1, -1, -1)), IMAGE),  # the input, three times
        (graph((dense(3), -1), (add(), 0, 0), (multiply(), 1, 0), (add(), -1, 2, 1)), (3,)),
        (graph((conv2d(4, 1), -1), (serial(tanh(), DIAMOND), 0), (DIAMOND, 0), (concat(axis=1), 1, 2)), IMAGE),
        (graph((add(), -1), (tanh(), 0)), (IMAGE, IMAGE)),  # the input is a tuple
        (graph((concat(), -1), (multiply(), -1), (concat(), 0, 1)), ((2, 3), (2, 3))),
        (serial(conv2d(4, 3), graph((flatten(), -1), (tanh(), -1), (flatten(), 1), (add(), 0, 2))), IMAGE),
    ],
    "frozen": [
        (frozen(conv2d(3, 3)), IMAGE),
        (frozen(serial(conv2d(3, 3), batch_norm(), relu(), dropout(0.5))), IMAGE),
        (frozen(frozen(DIAMOND)), IMAGE),
    ],
}
MODEL = serial(conv2d(3, 3), relu(), residual(serial(conv2d(3, 3, padding="same"), relu())), flatten(), dense(2))
EVERY = [(name, layer, shape) for name, cases in COMBINATORS.items() for layer, shape in cases]


def test_every_public_combinator_is_here():
    assert sorted([*COMBINATORS, "map_layers", "split", "split_points"]) == sorted(combinators.__all__)


@pytest.mark.parametrize(("name", "layer", "in_shape"), EVERY)
def test_contract(name, layer, in_shape):
    assert layer.name == name or layer.name == "serial"
    check_layer(layer, in_shape, strict=True)


@pytest.mark.parametrize(("name", "layer", "in_shape"), EVERY)
def test_contract_for_one_example(name, layer, in_shape):
    check_layer(layer, in_shape, batch=1, strict=True)


def test_parameters_start_in_single_precision_and_biases_at_zero():
    params, _, _ = serial(conv2d(3, 3), flatten(), dense(2)).init((0,), IMAGE)
    assert {leaf.dtype for child in params.values() for leaf in child.values()} == {np.dtype(np.float32)}
    assert not params["0_conv2d"]["b"].any() and params["0_conv2d"]["w"].any()


def test_each_child_draws_from_its_own_stream():
    params, _, _ = serial(dense(4), dense(4)).init((0,), (4,))
    assert not np.array_equal(params["0_dense"]["w"], params["1_dense"]["w"])
    y, _, _ = parallel(dropout(0.5), dropout(0.5), join=ops.concat).forward(
        {"0_dropout": {}, "1_dropout": {}}, np.ones((1, 64)), {"0_dropout": {}, "1_dropout": {}}, train=True, key=(0,)
    )
    assert not np.array_equal(y[:, :64], y[:, 64:])


def test_training_without_a_key_where_one_is_needed():
    model = serial(dense(3), serial(dropout(0.5)))
    params, state, _ = model.init((0,), (4,))
    with pytest.raises(ValueError, match="a key is needed") as error:
        model.forward(params, normal(2, 4), state, train=True)
    assert error.value.__notes__ == ["in layer 1_serial / 0_dropout"]
    serial(dropout(0.0)).forward({"0_dropout": {}}, normal(2, 4), {"0_dropout": {}}, train=True)  # none is needed


def test_names_of_children():
    params, state, _ = MODEL.init((0,), IMAGE)
    assert list(params) == list(state) == ["0_conv2d", "1_relu", "2_residual", "3_flatten", "4_dense"]
    assert list(params["2_residual"]) == ["0_serial", "1_identity"]
    y, vjp, new_state = MODEL.forward(params, normal(2, *IMAGE), state, train=True)
    assert list(vjp(y)[0]) == list(params) and new_state == state


def located(call, *args, **kwargs):
    with pytest.raises((ValueError, TypeError)) as error:
        call(*args, **kwargs)
    return type(error.value), str(error.value), error.value.__notes__


def test_errors_name_the_layer_and_keep_their_type():
    params, state, _ = MODEL.init((0,), IMAGE)
    x = normal(2, *IMAGE)
    inner = ["in layer 2_residual / 0_serial / 0_conv2d"]

    kind, message, notes = located(MODEL.forward, params, x[..., :3], state, train=False)
    assert (kind, notes) == (ValueError, ["in layer 0_conv2d"])
    assert "x (2, 5, 6, 3) has 3 channels" in message

    kind, _, notes = located(MODEL.forward, params, (255 * x).astype(np.uint8), state, train=False)
    assert (kind, notes) == (TypeError, ["in layer 0_conv2d"])

    broken = {**params, "2_residual": {**params["2_residual"], "0_serial": {"0_conv2d": {}, "1_relu": {}}}}
    kind, message, notes = located(MODEL.forward, broken, x, state, train=False)
    assert (kind, notes) == (ValueError, inner) and "missing ['b', 'w']" in message

    kind, message, notes = located(serial(relu(), serial(conv2d(2, 9))).init, (0,), IMAGE)
    assert (kind, notes) == (ValueError, ["in layer 1_serial / 0_conv2d"])
    assert "window spans 9 positions on spatial axis 0, the padded input has 5" in message

    _, vjp, _ = MODEL.forward(params, x, state, train=True)
    kind, message, notes = located(vjp, normal(2, 3))
    assert (kind, notes) == (ValueError, ["in layer 4_dense"])
    assert "dy has shape (2, 3), but the output has shape (2, 2)" in message


@pytest.mark.parametrize("what", ["params", "state"])
def test_missing_and_unexpected_children(what):
    params, state, _ = MODEL.init((0,), IMAGE)
    given = {"params": params, "state": state}
    one_less = {name: child for name, child in given[what].items() if name != "4_dense"}
    for changed, message in [
        (one_less, r"missing \['4_dense'\], unexpected \[\]"),
        ({**given[what], "5_relu": {}}, r"missing \[\], unexpected \['5_relu'\]"),
    ]:
        trees = {**given, what: changed}
        with pytest.raises(ValueError, match=rf"serial: {what} must have exactly the keys .*{message}"):
            MODEL.forward(trees["params"], normal(2, *IMAGE), trees["state"], train=False)
    with pytest.raises(TypeError, match=f"{what} must be a dict"):
        trees = {**given, what: []}
        MODEL.forward(trees["params"], normal(2, *IMAGE), trees["state"], train=False)


def test_branches_of_incompatible_shapes():
    with pytest.raises(ValueError, match=r"add: the arrays' shapes must be equal; got \(0, 3, 4, 2\), \(0, 5, 6, 4\)"):
        residual(conv2d(2, 3)).init((0,), IMAGE)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: serial([relu()]), TypeError, r"must be layers such as relu\(\), not a list; write serial\(\*layers\)"),
        (lambda: serial(relu), TypeError, r"arguments must be layers such as relu\(\), not <function relu"),
        (lambda: serial(), ValueError, "serial: needs at least one layer"),
        (lambda: parallel(), ValueError, "parallel: needs at least one layer"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def counting(layer, calls):
    """The layer, recording for each pull-back whether dx was requested; its own VJP can leave it out."""

    def forward(params, x, state, *, train, key=None):
        y, layer_vjp, new_state = layer.forward(params, x, state, train=train, key=key)

        def vjp(dy, *, input_gradient=True):
            calls.append(input_gradient)
            return pull_back(layer, layer_vjp, dy, input_gradient=input_gradient)

        return y, vjp, new_state

    return wrap_forward(layer, forward)


def test_without_dx_the_backward_pass_ends_at_the_first_parameters():
    calls = {"flatten": [], "first": [], "tanh": [], "last": []}
    model = serial(
        counting(flatten(), calls["flatten"]),
        counting(dense(4), calls["first"]),
        counting(tanh(), calls["tanh"]),
        counting(dense(2), calls["last"]),
    )
    params, state, _ = model.init((0,), IMAGE)
    y, vjp, _ = model.forward(params, normal(2, *IMAGE), state, train=True)
    dparams, dx = vjp(y, input_gradient=False)
    assert calls == {"flatten": [], "first": [False], "tanh": [True], "last": [True]}
    assert dx is None and dparams["0_flatten"] == {}
    assert np.array_equal(dparams["1_dense"]["w"], vjp(y)[0]["1_dense"]["w"])


def test_map_layers_sees_every_leaf_with_its_path():
    seen = []

    def note(path, layer):
        seen.append((path, layer.name))
        return layer

    same = combinators.map_layers(note, MODEL)
    assert [path for path, _ in seen] == [
        "0_conv2d", "1_relu", "2_residual/0_serial/0_conv2d", "2_residual/0_serial/1_relu", "2_residual/1_identity",
        "3_flatten", "4_dense",
    ]  # fmt: skip
    params, state, _ = MODEL.init((0,), IMAGE)
    x = normal(2, *IMAGE)
    first, second = (model.forward(params, x, state, train=False)[0] for model in (MODEL, same))
    assert np.array_equal(first, second)


def test_a_layer_that_needs_more_memory_than_there_is_is_named():
    with pytest.raises(MemoryError, match=r"shape \(8, 1000000000000\)") as caught:
        serial(dense(8), residual(serial(dense(10**12)))).init((0,), (8,))
    assert caught.value.__notes__ == ["in layer 1_residual / 0_serial / 0_dense"]


def test_map_layers_keeps_how_branches_are_joined():
    model = parallel(tanh(), relu(), join=ops.concat)._replace(name="inception")
    same = combinators.map_layers(lambda path, layer: layer, model)
    assert same.name == "inception" and same.init((0,), (4,))[2] == (8,)
