"""One contract for every layer and combinator: a new one joins by adding its line, and cannot be public without one."""

import functools
import inspect

import numpy as np
import pytest
from arrays import normal

from funcnn import combinators, initializers, layers, ops
from funcnn.combinators import parallel, residual, serial
from funcnn.layer import Layer, parametric, pull_back, wrap_forward
from funcnn.layers import conv2d, dense, dropout, flatten, max_pool, relu, tanh
from funcnn.testing import check_layer

IMAGE = (5, 6, 4)

LAYERS = {
    "avg_pool": [(layers.avg_pool(2), IMAGE), (layers.avg_pool(3, stride=2, padding=1, count_include_pad=True), IMAGE)],
    "conv1d": [
        (layers.conv1d(3, 3, bias=False), (7, 2)),
        (layers.conv1d(4, 2, stride=2, groups=2, padding="same"), (7, 2)),
    ],
    "conv2d": [(conv2d(3, 3), IMAGE), (conv2d(4, (2, 3), stride=2, padding=1, dilation=(2, 1), groups=4), IMAGE)],
    "conv3d": [(layers.conv3d(2, 2), (3, 3, 2, 2)), (layers.conv3d(2, (1, 2, 2), groups=2), (3, 3, 2, 2))],
    "dense": [
        (dense(4), (6,)),
        (dense(4, w_init=initializers.lecun_normal, b_init=initializers.ones), (3, 6)),
        (dense(4, bias=False), (6,)),
    ],
    "dropout": [(dropout(0.5), IMAGE), (dropout(0.5, shared_axes=(1, 2)), IMAGE), (dropout(0.0), IMAGE)],
    "flatten": [(flatten(), IMAGE), (flatten(), (3,))],
    "global_avg_pool": [(layers.global_avg_pool(), IMAGE)],
    "global_max_pool": [(layers.global_max_pool(), IMAGE)],
    "identity": [(layers.identity(), IMAGE)],
    "leaky_relu": [(layers.leaky_relu(), IMAGE), (layers.leaky_relu(0.3), (4,))],
    "log_softmax": [(layers.log_softmax(), (4,)), (layers.log_softmax(axis=1), IMAGE)],
    "max_pool": [(max_pool(2), IMAGE), (max_pool(3, stride=1, padding=1), IMAGE), (max_pool(2, ceil_mode=True), IMAGE)],
    "relu": [(relu(), IMAGE)],
    "sigmoid": [(layers.sigmoid(), IMAGE)],
    "softmax": [(layers.softmax(), (4,)), (layers.softmax(axis=1), IMAGE)],
    "relu6": [(layers.relu6(), IMAGE)],
    "hard_tanh": [(layers.hard_tanh(), IMAGE)],
    "hard_sigmoid": [(layers.hard_sigmoid(), IMAGE)],
    "hard_swish": [(layers.hard_swish(), IMAGE)],
    "selu": [(layers.selu(), IMAGE)],
    "silu": [(layers.silu(), IMAGE)],
    "mish": [(layers.mish(), IMAGE)],
    "softplus": [(layers.softplus(), IMAGE)],
    "softsign": [(layers.softsign(), IMAGE)],
    "log_sigmoid": [(layers.log_sigmoid(), IMAGE)],
    "elu": [(layers.elu(), IMAGE), (layers.elu(0.5), IMAGE)],
    "celu": [(layers.celu(), IMAGE), (layers.celu(0.5), IMAGE)],
    "gelu": [(layers.gelu(), IMAGE), (layers.gelu(approximate=True), IMAGE)],
    "pad": [(layers.pad(1), IMAGE), (layers.pad(((1, 2), (3, 0)), mode="wrap"), IMAGE)],
    "upsample": [(layers.upsample(2), IMAGE), (layers.upsample((1, 3)), IMAGE)],
    "depth_to_space": [(layers.depth_to_space(2), IMAGE), (layers.depth_to_space((1, 2)), IMAGE)],
    "space_to_depth": [(layers.space_to_depth((5, 2)), IMAGE)],
    "prelu": [(layers.prelu(), IMAGE), (layers.prelu(initial_slope=0.1), (4,))],
    "tanh": [(tanh(), IMAGE)],
    "conv_transpose1d": [(layers.conv_transpose1d(3, 3, stride=2, output_padding=1), (4, 2))],
    "conv_transpose2d": [
        (layers.conv_transpose2d(3, 3), IMAGE),
        (layers.conv_transpose2d(6, (2, 3), stride=2, padding=1, dilation=(2, 1), groups=2), IMAGE),
        (layers.conv_transpose2d(3, 3, stride=2, padding="same", bias=False), IMAGE),
    ],
    "conv_transpose3d": [(layers.conv_transpose3d(2, (1, 2, 2), stride=(1, 2, 1), groups=2), (3, 3, 2, 2))],
    "depthwise_conv1d": [(layers.depthwise_conv1d(3), (7, 2))],
    "depthwise_conv2d": [
        (layers.depthwise_conv2d(3, multiplier=2, stride=2, padding="same"), IMAGE),
        (layers.depthwise_conv2d((2, 1), dilation=2, bias=False), IMAGE),
    ],
    "depthwise_conv3d": [(layers.depthwise_conv3d((2, 1, 2)), (3, 3, 2, 2))],
    "separable_conv1d": [(layers.separable_conv1d(3, 3), (7, 2))],
    "separable_conv2d": [
        (layers.separable_conv2d(3, 3, padding="same"), IMAGE),
        (layers.separable_conv2d(3, 3, multiplier=2, stride=2, bias=False), IMAGE),
    ],
    "separable_conv3d": [(layers.separable_conv3d(3, (1, 2, 2)), (3, 3, 2, 2))],
    "adaptive_avg_pool": [(layers.adaptive_avg_pool((2, 4)), IMAGE), (layers.adaptive_avg_pool(7), IMAGE)],
    "adaptive_max_pool": [(layers.adaptive_max_pool((2, 4)), IMAGE), (layers.adaptive_max_pool(7), IMAGE)],
    "batch_norm": [(layers.batch_norm(), IMAGE), (layers.batch_norm(decay=0.5, eps=0.1), (4,))],
    "group_norm": [(layers.group_norm(2), IMAGE), (layers.group_norm(2, eps=0.1), (4,))],
    "instance_norm": [(layers.instance_norm(), IMAGE), (layers.instance_norm(eps=0.1), (3, 2, 2, 2))],
    "layer_norm": [(layers.layer_norm(), IMAGE), (layers.layer_norm(axes=(1, 3), eps=0.1), IMAGE)],
    "rms_norm": [(layers.rms_norm(), IMAGE), (layers.rms_norm(axes=(1, 2, 3), eps=0.1), IMAGE)],
}
OF_IDS = {"embedding"}  # its inputs are integers: see test_embedding
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
}
EVERY = [(name, layer, shape) for name, cases in {**LAYERS, **COMBINATORS}.items() for layer, shape in cases]
# One example without positions gives batch_norm nothing to take statistics of.
FOR_ONE_EXAMPLE = [case for case in EVERY if not (case[0] == "batch_norm" and len(case[2]) == 1)]


def test_every_public_layer_and_combinator_is_here():
    assert sorted([*LAYERS, *OF_IDS]) == sorted(layers.__all__)
    assert sorted([*COMBINATORS, "map_layers"]) == sorted(combinators.__all__)


@pytest.mark.parametrize(("name", "layer", "in_shape"), EVERY)
def test_contract(name, layer, in_shape):
    assert layer.name == name
    check_layer(layer, in_shape, strict=True)


@pytest.mark.parametrize(("name", "layer", "in_shape"), FOR_ONE_EXAMPLE)
def test_contract_for_one_example(name, layer, in_shape):
    check_layer(layer, in_shape, batch=1, strict=True)


def test_there_is_a_layer_for_each_op():
    # those of several arrays are for `parallel`; conv is conv1d, conv2d and conv3d, and its adjoint likewise
    not_layers = {"add", "concat", "multiply", "conv", "conv_transpose"}
    assert set(ops.__all__) - not_layers <= set(layers.__all__)


def test_layers_are_the_ops():
    x = normal(2, *IMAGE)
    layer = conv2d(4, 3, stride=2, padding=1, groups=2)
    params, state, _ = layer.init((0,), IMAGE)
    y, vjp, _ = layer.forward(params, x, state, train=True)
    y2, vjp2 = ops.conv(params, x, stride=2, padding=1, groups=2)
    assert np.array_equal(y, y2)
    assert np.array_equal(vjp(y)[0]["w"], vjp2(y)[0]["w"])


def test_parameters_start_in_single_precision_and_biases_at_zero():
    params, _, _ = serial(conv2d(3, 3), flatten(), dense(2)).init((0,), IMAGE)
    assert {leaf.dtype for child in params.values() for leaf in child.values()} == {np.dtype(np.float32)}
    assert not params["0_conv2d"]["b"].any() and params["0_conv2d"]["w"].any()


def test_each_child_draws_from_a_stream_of_its_own():
    params, _, _ = serial(dense(4), dense(4)).init((0,), (4,))
    assert not np.array_equal(params["0_dense"]["w"], params["1_dense"]["w"])
    y, _, _ = parallel(dropout(0.5), dropout(0.5), join=ops.concat).forward(
        {"0_dropout": {}, "1_dropout": {}}, np.ones((1, 64)), {"0_dropout": {}, "1_dropout": {}}, train=True, key=(0,)
    )
    assert not np.array_equal(y[:, :64], y[:, 64:])


def test_dropout_only_acts_in_training():
    x = np.ones((4, 50))
    layer = dropout(0.5)
    assert np.array_equal(layer.forward({}, x, {}, train=False)[0], x)
    assert np.array_equal(layer.forward({}, x, {}, train=False, key=(0,))[0], x)
    assert (layer.forward({}, x, {}, train=True, key=(0,))[0] == 0).any()


def test_training_without_a_key_where_one_is_needed():
    model = serial(dense(3), serial(dropout(0.5)))
    params, state, _ = model.init((0,), (4,))
    with pytest.raises(ValueError, match="a key is needed") as error:
        model.forward(params, normal(2, 4), state, train=True)
    assert error.value.__notes__ == ["in layer 1_serial / 0_dropout"]
    serial(dropout(0.0)).forward({"0_dropout": {}}, normal(2, 4), {"0_dropout": {}}, train=True)  # none is needed


def test_the_mode_has_no_default():
    with pytest.raises(TypeError, match="train"):
        relu().forward({}, normal(2, 3), {})


MODEL = serial(conv2d(3, 3), relu(), residual(serial(conv2d(3, 3, padding="same"), relu())), flatten(), dense(2))


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
    with pytest.raises(TypeError, match=f"{what} is a dict"):
        trees = {**given, what: []}
        MODEL.forward(trees["params"], normal(2, *IMAGE), trees["state"], train=False)


def test_leaves_for_a_layer_without_any():
    with pytest.raises(ValueError, match=r"relu: has no params, but was given \['w'\]"):
        relu().forward({"w": normal(1)}, normal(2, 3), {}, train=False)
    with pytest.raises(ValueError, match=r"dense: has no state, but was given \['mean'\]"):
        dense(1).forward({"w": normal(3, 1), "b": normal(1)}, normal(2, 3), {"mean": 0}, train=False)
    with pytest.raises(ValueError, match=r"dropout: has no params"):
        dropout(0.5).forward({"w": normal(1)}, normal(2, 3), {}, train=False)


def test_branches_that_do_not_fit_together():
    with pytest.raises(ValueError, match=r"add: the arrays' shapes must be equal; got \(0, 3, 4, 2\), \(0, 5, 6, 4\)"):
        residual(conv2d(2, 3)).init((0,), IMAGE)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dense(0), ValueError, "features must be at least 1, got 0"),
        (lambda: dense(2.5), TypeError, "features must be an int, not 2.5"),
        (lambda: conv2d(0, 3), ValueError, "features must be at least 1"),
        (lambda: conv2d(4, 0), ValueError, "kernel_size must be at least 1, got 0"),
        (lambda: conv2d(4, (3, 3, 3)), ValueError, r"kernel_size \(3, 3, 3\) has 3 entries, not 2"),
        (lambda: conv2d(4, 1.5), TypeError, "kernel_size must be an int or a tuple of 2 ints, not 1.5"),
        (
            lambda: conv2d(4, 3).init((0,), (64,)),
            ValueError,
            r"takes examples of shape \(height, width, channels\), got .*\(64,\)",
        ),
        (lambda: conv2d(4, 3, groups=3).init((0,), IMAGE), ValueError, "groups 3 must divide the 4 input and the 4"),
        (lambda: conv2d(4, 3, stride=0).init((0,), IMAGE), ValueError, "stride must be at least 1"),
        (lambda: dense(4).init((0,), ()), ValueError, r"takes examples of shape \(\.\.\., features\)"),
        (lambda: dropout(1.0), ValueError, r"rate, the fraction dropped, must be in \[0, 1\), not 1.0"),
        (lambda: serial(relu), TypeError, r"expected layers such as relu\(\), got <function relu"),
        (lambda: serial(), ValueError, "serial: needs at least one layer"),
        (lambda: parallel(), ValueError, "parallel: needs at least one layer"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def counting(layer, calls):
    """The layer, noting for each pull-back whether dx was asked for; its own VJP knows how to leave it out."""

    def forward(params, x, state, *, train, key=None):
        y, layer_vjp, new_state = layer.forward(params, x, state, train=train, key=key)

        def vjp(dy, *, input_gradient=True):
            calls.append(input_gradient)
            return pull_back(layer, layer_vjp, dy, input_gradient=input_gradient)

        return y, vjp, new_state

    return wrap_forward(layer, forward)


def test_without_dx_the_walk_back_ends_at_the_first_parameters():
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


def test_a_hand_written_layer_needs_no_more_than_the_protocol():
    def init(key, in_shape):
        return {"gain": np.ones(in_shape)}, {"calls": np.zeros(())}, in_shape

    def forward(params, x, state, *, train, key=None):
        if params.keys() != {"gain"}:
            raise ValueError(f"gain: params has the keys {sorted(params)}")

        def gain_vjp(dy):  # without the keyword that leaves dx out
            if dy.shape != x.shape:
                raise ValueError("dy has a wrong shape")
            return {"gain": (dy * x).sum(0)}, dy * params["gain"]

        return params["gain"] * x, gain_vjp, {"calls": state["calls"] + train}

    gain = Layer("gain", init, forward)
    check_layer(gain, (3,), strict=True)
    check_layer(serial(gain, tanh(), gain), (3,), strict=True)
    check_layer(residual(gain), (3,), strict=True)


def test_an_op_and_its_initial_values_make_a_layer():
    def scale(params, x):
        def scale_vjp(dy):
            if np.shape(dy) != y.shape:
                raise ValueError("dy has a wrong shape")
            return {"scale": (dy * x).sum(axis=tuple(range(x.ndim - 1)))}, dy * params["scale"]

        if params.keys() != {"scale"}:
            raise ValueError("scale: unexpected leaves")
        y = x * params["scale"]
        return y, scale_vjp

    layer = parametric("scale", lambda key, in_shape: {"scale": np.ones(in_shape[-1:], np.float32)}, scale)
    check_layer(layer, IMAGE, strict=True)
    check_layer(serial(layer, conv2d(2, 3), layer), IMAGE, strict=True)


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


def test_map_layers_keeps_how_branches_are_joined():
    model = parallel(tanh(), relu(), join=ops.concat)._replace(name="inception")
    same = combinators.map_layers(lambda path, layer: layer, model)
    assert same.name == "inception" and same.init((0,), (4,))[2] == (8,)


@pytest.mark.parametrize("name", sorted(set(ops.__all__) & set(layers.__all__)))
def test_a_layers_options_have_the_defaults_of_its_op(name):
    of_op, of_layer = (inspect.signature(getattr(module, name)).parameters for module in (ops, layers))
    for option in of_op.keys() & of_layer.keys():
        assert of_layer[option].default == of_op[option].default


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(layers.conv2d, 4, 3),
        functools.partial(layers.conv_transpose2d, 4, 3),
        functools.partial(layers.depthwise_conv2d, 3),
    ],
)
def test_a_convolution_takes_its_method_by_hand(make):
    params, _, _ = make().init((0,), (8, 8, 2))
    x = normal(2, 8, 8, 2)
    by_columns, _, _ = make(method="im2col").forward(params, x, {}, train=False)
    np.testing.assert_allclose(by_columns, make().forward(params, x, {}, train=False)[0], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="method must be 'auto', 'exact' or one of"):
        make(method="fast").init((0,), (8, 8, 2))
