"""The times of layers: which calls are measured, and that measuring changes no result."""

import time

import numpy as np
import pytest

from funcnn import layers, losses, profiling, residual, serial
from funcnn.combinators import map_layers


def model_and_input():
    model = serial(
        layers.tanh(),
        layers.conv2d(3, 3, padding=1),
        residual(serial(layers.conv2d(3, 3, padding=1), layers.dropout(0.5))),
        layers.flatten(),
        layers.dense(2),
    )
    params, state, _ = model.init((0,), (6, 6, 1))
    return model, params, state, np.random.default_rng(0).standard_normal((4, 6, 6, 1)).astype(np.float32)


def test_each_layer_has_a_time_for_each_round(monkeypatch):
    model, params, state, x = model_and_input()
    ticks = iter(np.arange(10000.0).tolist())
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    times = profiling.layer_times(model, params, state, x, rounds=4)
    paths = []
    map_layers(lambda path, layer: paths.append(path) or layer, model)
    assert list(times) == paths and "2_residual/0_serial/0_conv2d" in paths
    for path, taken in times.items():  # every call begins and ends with a look at the clock: no other call is inside
        assert taken.forward == [1.0] * 4
        assert taken.backward == ([0.0] * 4 if path == "0_tanh" else [1.0] * 4)


def test_the_gradients_pulled_back_are_those_of_the_loss():
    model, params, state, x = model_and_input()
    targets, seen = np.ones((4, 2), np.float32), []

    def cotangent(y):
        seen.append(y)
        return losses.mse(y, targets)[1](1.0)

    before = [leaf.copy() for leaf in (x, params["1_conv2d"]["w"])]
    profiling.layer_times(model, params, state, x, cotangent=cotangent, rounds=2, key=(5,))
    expected, _, _ = model.forward(params, x, state, train=True, key=(5,))
    assert len(seen) == 3  # the first round is not counted
    for y in seen:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    for leaf, old in zip((x, params["1_conv2d"]["w"]), before, strict=True):
        np.testing.assert_array_equal(leaf, old)


def test_what_is_wrong_is_an_error():
    model, params, state, x = model_and_input()
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        profiling.layer_times(model, params, state, x, rounds=0)
    with pytest.raises(TypeError, match=r"rounds must be an int, not 1\.5"):
        profiling.layer_times(model, params, state, x, rounds=1.5)
    with pytest.raises(ValueError) as raised:
        profiling.layer_times(model, params, state, x[:, :, :5])
    assert any("4_dense" in note for note in raised.value.__notes__)
