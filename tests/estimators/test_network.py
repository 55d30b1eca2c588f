"""The network of an estimator: its plain description, and models of the user's own."""

import json
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from funcnn import checkpoint, layers, serial, training
from funcnn.estimators import ConvNetClassifier
from funcnn.estimators.network import Network, build, default_model

DIGITS, LABELS = load_digits(return_X_y=True)


def small_net(image_shape, n_outputs):
    return serial(layers.flatten(), layers.dense(n_outputs))


def test_a_model_of_ones_own():
    for model in (small_net, small_net((8, 8, 1), 10)):
        net = clone(ConvNetClassifier(model=model, max_iter=5, random_state=0)).fit(DIGITS, LABELS)
        assert list(net.params_) == ["0_flatten", "1_dense"] and net.score(DIGITS, LABELS) > 0.9
    with pytest.raises(ValueError, match=r"output for images of \(8, 8, 1\) must be \(10,\), not \(3,\)"):
        ConvNetClassifier(model=serial(layers.flatten(), layers.dense(3))).fit(DIGITS, LABELS)
    with pytest.raises(TypeError, match="must return a funcnn Layer"):
        ConvNetClassifier(model=lambda image_shape, n_outputs: None).fit(DIGITS, LABELS)


def test_pickle_and_joblib(tmp_path):
    net = ConvNetClassifier(model=small_net, random_state=0, max_iter=2).fit(DIGITS[:99], LABELS[:99])
    joblib.dump(net, tmp_path / "net.joblib")
    for copy in (pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")):
        assert np.array_equal(copy.predict_proba(DIGITS[:9]), net.predict_proba(DIGITS[:9]))
        copy.partial_fit(DIGITS[:99], LABELS[:99])


def test_a_model_is_built_once_a_fit():
    built = []

    def counted(image_shape, n_outputs):
        built.append((image_shape, n_outputs))
        return small_net(image_shape, n_outputs)

    net = ConvNetClassifier(model=counted, max_iter=3, random_state=0, early_stopping=True)
    net.fit(DIGITS[:99], LABELS[:99])
    assert built == [((8, 8, 1), 10)]


DEFAULTS = {"channels": (32, 64), "kernel_size": 3, "pool": 2, "hidden": (64,), "activation": "relu", "dropout": 0.0}


@pytest.mark.parametrize(
    ("image_shape", "changes", "shapes"),
    [
        ((8, 8, 1), {}, {"0_conv2d": (3, 3, 1, 32), "3_conv2d": (3, 3, 32, 64), "7_dense": (256, 64)}),
        # images smaller than 8x8 may be tables: no pooling by default
        ((2, 2, 1), {}, {"0_conv2d": (2, 2, 1, 32), "2_conv2d": (2, 2, 32, 64), "5_dense": (256, 64)}),
        ((1, 30, 1), {}, {"0_conv2d": (1, 3, 1, 32), "2_conv2d": (1, 3, 32, 64), "5_dense": (1920, 64)}),
        ((1, 30, 1), {"pool": (1, 2)}, {"0_conv2d": (1, 3, 1, 32), "3_conv2d": (1, 3, 32, 64), "7_dense": (448, 64)}),
        ((9, 8, 2), {"pool": 5, "kernel_size": (4, 1)}, {"0_conv2d": (4, 1, 2, 32), "3_conv2d": (1, 1, 32, 64)}),
        ((8, 8, 1), {"dropout": 0.5, "hidden": 7, "channels": (3,)}, {"0_conv2d": (3, 3, 1, 3), "7_dense": (7, 10)}),
    ],
)
def test_the_default_network(image_shape, changes, shapes):
    model = default_model(image_shape, 10, **{**DEFAULTS, **changes})
    assert json.loads(json.dumps(model)) == model
    params, _, out_shape = build(Network(image_shape, 10, model)).init((0,), image_shape)
    assert out_shape == (10,)
    assert {name: params[name]["w"].shape for name in shapes} == shapes


AUTO = {"channels": "auto", "hidden": "auto", "activation": "auto"}


@pytest.mark.parametrize(
    ("image_shape", "layers"),
    [
        ((15, 16, 1), ["conv2d", "relu", "conv2d", "relu", "dense", "relu", "dense"]),
        ((16, 16, 3), [*["conv2d", "relu"] * 3, "dense", "relu", "dense"]),
        ((1, 30, 1), ["dense", "silu", "dense", "silu", "dense"]),
        ((2, 2, 1), ["dense", "silu", "dense", "silu", "dense"]),
    ],
    ids=["images", "large images", "tables", "small squares"],
)
def test_tables_have_no_convolutions_by_default(image_shape, layers):
    model = build(Network(image_shape, 10, default_model(image_shape, 10, **{**DEFAULTS, **AUTO})))
    assert [layer.name for layer in model.children if layer.name not in ("flatten", "max_pool")] == layers


def test_a_fitted_default_network_is_rebuilt_as_from_a_checkpoint():
    net = ConvNetClassifier(channels=(4,), activation="logistic", max_iter=1, random_state=0, threads=1)
    net.fit(DIGITS[:99], LABELS[:99])
    model = checkpoint.rebuild({"model": json.loads(json.dumps(net.network_.model))})
    x = ((DIGITS[:9] - net.offset_) / net.scale_).reshape(-1, 8, 8, 1)
    logits = training.predict(model, net.params_, net.state_, x)
    assert np.allclose(logits, net.decision_function(DIGITS[:9]), rtol=1e-4, atol=1e-5)
