"""A prepared model predicts what `predict` does, and prepares its weights once for each shape."""

import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from arrays import normal
from test_folding import MODELS, trained
from test_inference import IMAGE, SEQUENCES

from funcnn import exact, residual, training, tree
from funcnn.combinators import frozen, graph, serial
from funcnn.kernels.conv import toeplitz, winograd
from funcnn.kernels.selection import use_kernels
from funcnn.layer import Layer
from funcnn.layers import add, batch_norm, conv2d, dense, flatten, max_pool, relu

OTHERS = {
    "residual": residual(serial(conv2d(8, 3, padding=1), batch_norm(), relu()), conv2d(8, 1)),
    "frozen": serial(frozen(serial(conv2d(8, 3), batch_norm(), relu())), flatten(), dense(3)),
    "graph": graph((conv2d(8, 3, padding=1), -1), (relu(), 0), (batch_norm(), 0), (add(), 0, 1), (add(), 2, 3)),
    "winograd, pool": serial(
        conv2d(16, 1), conv2d(16, 3, padding=1), relu(), max_pool(2), conv2d(16, 3, padding=1), relu()
    ),
    "one layer": conv2d(3, 3),
}
NETWORKS = {**MODELS, **{name: (serial(*layers), IMAGE) for name, (layers, _) in SEQUENCES.items()}}
NETWORKS |= {name: (layer, IMAGE) for name, layer in OTHERS.items()}


def close(y, expected):
    assert y.dtype == expected.dtype
    tolerance = 2e-5 if y.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * abs(expected).max(initial=0))


@pytest.mark.parametrize("name", NETWORKS)
def test_predicts_what_predict_does(name):
    model, in_shape = NETWORKS[name]
    params, state = trained(model, in_shape, np.float32)
    predict = training.prepared(model, params, state)
    for n in (2, 3, 2, 0):
        for seed in (0, 1):  # the first is prepared, and the second is not
            x = normal(n, *in_shape, seed=seed).astype(np.float32)
            close(predict(x), training.predict(model, params, state, x))
    x = normal(2, *in_shape)
    close(predict(x), training.predict(model, params, state, x))


def test_in_float64_and_with_compiled_kernels():
    model, in_shape = MODELS["resnet"]
    for dtype in (np.float32, np.float64):
        params, state = trained(model, in_shape, dtype)
        predict, x = training.prepared(model, params, state), normal(3, *in_shape).astype(dtype)
        for kernels in ("numpy", "auto", "numpy"):
            with use_kernels(kernels):
                close(predict(x), training.predict(model, params, state, x))


def lenet():
    model, in_shape = MODELS["lenet5"]
    params, state = trained(model, in_shape, np.float32)
    return model, params, state, normal(3, *in_shape).astype(np.float32)


def test_weights_are_prepared_once_for_a_shape(monkeypatch):
    cases = (*lenet(),), (OTHERS["winograd, pool"], *trained(OTHERS["winograd, pool"], IMAGE, np.float32), None)
    for model, params, state, x in cases:
        x = normal(4, *IMAGE).astype(np.float32) if x is None else x
        predict = training.prepared(model, params, state)
        with use_kernels("numpy"), monkeypatch.context() as patch:
            before = predict(x)
            for module, name in ((toeplitz, "matrix"), (winograd, "_transformed")):
                patch.setattr(module, name, None)
            np.testing.assert_array_equal(predict(x), before)
            with pytest.raises(TypeError, match="not callable"):
                training.predict(model, params, state, x)


def test_other_methods_are_prepared_anew():
    model = OTHERS["winograd, pool"]
    params, state = trained(model, IMAGE, np.float32)
    predict, x = training.prepared(model, params, state), normal(4, *IMAGE).astype(np.float32)
    with use_kernels("numpy"):
        predict(x)
        with exact():
            np.testing.assert_array_equal(predict(x), training.predict(model, params, state, x))


def test_what_is_kept_is_bounded():
    model, params, state, x = lenet()
    predict = training.prepared(model, params, state)
    for n in range(1, 9):
        predict(np.repeat(x[:1], n, axis=0))
    assert len(predict._kept) == 4


def test_a_layer_whose_output_has_another_shape_each_time():
    def forward(params, x, state, *, train, key=None):
        return x[:, : int(x[0, 0, 0, 0])], None, state

    crop = Layer("crop", lambda key, in_shape: ({}, {}, in_shape), forward)
    model = serial(crop, conv2d(4, 3), relu(), max_pool(2))
    params, state = trained(model, IMAGE, np.float32)
    predict = training.prepared(model, params, state)
    for height in (6, 9, 6):
        x = np.full((2, *IMAGE), height, np.float32)
        y = predict(x)
        assert y.shape[1] == (height - 2) // 2
        close(y, training.predict(model, params, state, x))


def test_threads_share_one():
    model, params, state, _ = lenet()
    predict = training.prepared(model, params, state)
    xs = [normal(1 + i % 6, 28, 28, 1, seed=i).astype(np.float32) for i in range(24)]
    barrier = threading.Barrier(4)

    def predict_all(_):
        barrier.wait()
        return [predict(x, threads=1) for x in xs]

    with ThreadPoolExecutor(4) as pool:
        for outputs in pool.map(predict_all, range(4)):
            for x, y in zip(xs, outputs, strict=True):
                close(y, training.predict(model, params, state, x))
    x = np.concatenate(xs)
    close(predict(x, 10, threads=2), training.predict(model, params, state, x))


def test_errors_are_those_of_predict():
    model, params, state, x = lenet()
    predict = training.prepared(model, params, state)
    for _ in range(2):
        for wrong, error in ((x[:, :3], ValueError), (x[..., 0], ValueError), (x.astype(int), TypeError)):
            with pytest.raises(error) as raised:
                predict(wrong)
            with pytest.raises(error) as expected:
                training.predict(model, params, state, wrong)
            assert str(raised.value) == str(expected.value)
            assert raised.value.__notes__ == expected.value.__notes__
        with pytest.raises(ValueError, match="batch_size >= 1"):
            predict(x, 0)
        predict(x)
    incomplete = training.prepared(model, {**params, "0_conv2d": {}}, state)
    with pytest.raises(ValueError, match="conv: params must"):
        incomplete(x)


def test_it_writes_to_nothing_can_be_pickled_and_keeps_no_examples():
    model, params, state, x = lenet()
    for leaf in (x, *tree.leaves(params)):
        leaf.flags.writeable = False
    predict = training.prepared(model, params, state)
    outputs = predict(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predict))(x), outputs)
    np.testing.assert_array_equal(predict(x), outputs)
    example = weakref.ref(x)
    del x, leaf
    assert example() is None
