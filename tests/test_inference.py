"""Evaluation without closures computes what the forward pass does, in fewer passes and less memory."""

import tracemalloc

import numpy as np
import pytest
from arrays import normal
from test_folding import MODELS, trained

from funcnn import ops, training, tree
from funcnn.combinators import graph, serial
from funcnn.inference import steps
from funcnn.layer import output
from funcnn.layers import (
    add,
    avg_pool,
    batch_norm,
    conv2d,
    dense,
    depthwise_conv2d,
    flatten,
    identity,
    max_pool,
    relu,
    tanh,
)

IMAGE = (12, 12, 8)

# layers, and the number of steps
SEQUENCES = {
    "norm": ((conv2d(12, 3, bias=False), batch_norm()), 1),
    "norm, relu": ((conv2d(12, 3), batch_norm(), relu(), tanh()), 2),
    "more weights than outputs": ((conv2d(40, 11), batch_norm(), relu()), 1),
    "more weights than outputs, pool": ((conv2d(40, 10, padding=1), batch_norm(), relu(), max_pool(2)), 1),
    "relu, other pool": ((conv2d(5, 3), relu(), max_pool(3, stride=2, padding=1), tanh()), 2),
    "fused pool": ((conv2d(12, 3, padding=1), batch_norm(), relu(), max_pool(2)), 1),
    "fused pool, no bias": ((conv2d(12, 3, padding=1, bias=False), max_pool(2), relu()), 1),
    "identities": ((conv2d(12, 3, padding=1), identity(), batch_norm(), identity(), max_pool(2)), 1),
    "average pool": ((conv2d(5, 3), relu(), avg_pool(2)), 2),
    "depthwise": ((depthwise_conv2d(3, multiplier=2, stride=2), batch_norm(), relu()), 1),
    "dense": ((dense(5, bias=False), batch_norm(), relu(), flatten(), dense(3), relu()), 3),
    "relu, pool": ((tanh(), relu(), max_pool(2)), 2),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_computes_what_the_forward_pass_does(case):
    layers, count = SEQUENCES[case]
    model = serial(*layers)
    assert len(steps(list(map(str, layers)), layers)) == count
    for dtype, tolerance in ((np.float32, 4e-5), (np.float64, 1e-12), (np.complex128, 1e-12)):
        params, state = trained(model, IMAGE, dtype if dtype == np.float32 else np.float64)
        params = tree.map(lambda leaf: -leaf, params)  # scales below 0, too
        for n in (0, 1, 3):
            x = normal(n, *IMAGE).astype(dtype)
            y = output(model, params, x, state)
            expected = model.forward(params, x, state, train=False)[0]
            assert y.dtype == expected.dtype == dtype
            np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * abs(expected).max(initial=0))


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    model, in_shape = MODELS[name]
    params, state = trained(model, in_shape)
    x = normal(2, *in_shape)
    expected = model.forward(params, x, state, train=False)[0]
    np.testing.assert_allclose(output(model, params, x, state), expected, rtol=0, atol=1e-12 * abs(expected).max())


def test_arrays_of_several_dtypes_keep_their_precision():
    model = serial(conv2d(4, 3), batch_norm(), relu())
    params, state = trained(model, IMAGE, np.float32)
    x = normal(2, *IMAGE)
    expected = model.forward(params, x, state, train=False)[0]
    assert expected.dtype == np.float64
    np.testing.assert_array_equal(output(model, params, x, state), expected)


@pytest.mark.parametrize("predict", [training.predict, lambda *args: training.prepared(*args[:3])(args[3])])
def test_half_precision_does_not_overflow_where_the_layers_do_not(predict):
    model = serial(dense(1, bias=False), batch_norm())
    params, state, _ = model.init((0,), (1,))
    params = {**params, "0_dense": {"w": np.full((1, 1), 300)}}
    state = {**state, "1_batch_norm": {"mean": np.full(1, 300), "var": np.zeros(1)}}
    params, state = (tree.map(lambda leaf: leaf.astype(np.float16), part) for part in (params, state))
    x = np.ones((2, 1), np.float16)
    assert model.forward(params, x, state, train=False)[0].tolist() == [[0.0], [0.0]]
    assert predict(model, params, state, x).tolist() == [[0.0], [0.0]]


def test_an_output_that_two_layers_read_stays_as_it_is():
    model = graph((conv2d(8, 3, padding=1), -1), (relu(), 0), (batch_norm(), 0), (add(), 0, 1), (add(), 2, 3))
    params, state = trained(model, IMAGE)
    x = normal(2, *IMAGE)
    expected = model.forward(params, x, state, train=False)[0]
    np.testing.assert_allclose(output(model, params, x, state), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("leaf", "at"), [("w", "0_conv2d"), ("b", "0_conv2d"), ("scale", "1_batch_norm"), ("mean", "1_batch_norm")]
)
def test_errors_are_those_of_the_layers(leaf, at):
    model = serial(conv2d(4, 3), batch_norm(), relu(), max_pool(2))
    params, state = trained(model, IMAGE)
    for part in (params[at], state[at]):
        if leaf in part:
            part[leaf] = part[leaf][..., :3] if leaf != "w" else part[leaf][:, :, :3]
    errors = []
    for evaluate in (output, lambda *args: model.forward(*args, train=False)):
        with pytest.raises(ValueError, match=r"must be|takes") as raised:
            evaluate(*((model,) if evaluate is output else ()), params, normal(2, *IMAGE), state)
        errors.append((str(raised.value), raised.value.__notes__))
    assert errors[0] == errors[1] and errors[0][1] == [f"in layer {at}"]


def test_a_parameter_that_a_layer_does_not_have_is_an_error():
    model = serial(conv2d(4, 3), relu())
    params, state = trained(model, IMAGE)
    params["1_relu"] = {"w": np.ones(4)}
    with pytest.raises(ValueError, match="relu: has no params"):
        output(model, params, normal(2, *IMAGE), state)


CHAINS = {
    "convolutions": lambda: [conv2d(8, 3, padding=1, method="im2col"), batch_norm(), relu()] * 7,
    "depthwise": lambda: [depthwise_conv2d(3, padding=1), batch_norm(), relu()] * 7,
    "elementwise": lambda: [tanh(), relu(), batch_norm()] * 7,
}


@pytest.mark.parametrize("case", CHAINS)
def test_peak_memory_is_that_of_neighbouring_activations(case):
    model = serial(*CHAINS[case]())
    params, state = trained(model, (48, 48, 8), np.float32)
    x = normal(32, 48, 48, 8).astype(np.float32)
    output(model, params, x, state)
    tracemalloc.start()
    try:
        y = output(model, params, x, state)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.nbytes == x.nbytes
    assert peak < 4 * x.nbytes


def test_relu_in_place_does_not_write_to_its_input():
    model = serial(identity(), relu())
    x = normal(2, 3)
    before = x.copy()
    np.testing.assert_array_equal(
        output(model, {"0_identity": {}, "1_relu": {}}, x, {"0_identity": {}, "1_relu": {}}), ops.relu(before)[0]
    )
    np.testing.assert_array_equal(x, before)
