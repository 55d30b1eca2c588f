"""Estimators as ONNX graphs, compared with themselves in onnxruntime."""

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from funcnn.estimators import ConvNetClassifier, ConvNetRegressor
from funcnn.layer import parameterless

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS, LABELS = DIGITS[:200], LABELS[:200]
IMAGES = DIGITS.reshape(-1, 8, 8)
LETTERS, SEVERAL = np.array(["even", "odd"])[LABELS % 2], (LABELS[:, None] % [2, 3] == 0).astype(int)
SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0, "threads": 1}


def run(proto, x, name="x"):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: x})


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (DIGITS, LABELS),
        (DIGITS[:, :30] + 1e5, LETTERS),
        (IMAGES, LABELS > 3),
        (np.stack([IMAGES, 3 * IMAGES, IMAGES**2], axis=-1), LABELS * 1.0),
        (DIGITS, SEVERAL),
        (DIGITS, np.zeros(200)),
    ],
    ids=["rows", "a table far from 0, two names", "images", "colours", "multilabel", "one class"],
)
def test_probabilities_and_labels_are_the_estimators(x, y):
    net = ConvNetClassifier(**SMALL).fit(x, y)
    x = np.concatenate([x, 9 * x - 7 * x.mean()]).astype(np.float32)  # images are clipped to what was seen
    label, probabilities = run(net.to_onnx(), x)
    assert np.allclose(probabilities, net.predict_proba(x), atol=1e-5)
    assert np.array_equal(label, net.predict(x))


@pytest.mark.parametrize("y", [LABELS * 1e6, np.stack([LABELS, -LABELS], axis=1)], ids=["one", "several"])
def test_numbers_are_the_regressors(y):
    net = ConvNetRegressor(**SMALL).fit(DIGITS, y)
    x = DIGITS.astype(np.float32)
    assert np.allclose(run(net.to_onnx(), x)[0], net.predict(x), rtol=0, atol=1e-5 * abs(y).max())


def test_the_file_has_the_same_graph(tmp_path):
    net = ConvNetClassifier(**SMALL).fit(DIGITS, LABELS)
    proto = net.to_onnx(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == proto.SerializeToString()


def double(x):
    return 2 * x, lambda dy: 2 * dy


def test_a_layer_of_the_users_own_is_refused():
    def model(image_shape, outputs):
        from funcnn import layers, serial

        return serial(parameterless("double", double), layers.flatten(), layers.dense(outputs))

    net = ConvNetClassifier(**SMALL, model=model).fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match="double: cannot be exported to ONNX"):
        net.to_onnx()


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (ConvNetClassifier, LABELS),
        (ConvNetClassifier, LETTERS),
        (ConvNetClassifier, SEVERAL),
        (ConvNetRegressor, LABELS),
    ],
    ids=["classes", "names", "multilabel", "numbers"],
)
def test_pipelines_convert_with_skl2onnx(estimator, y, opset):
    pipe = make_pipeline(MinMaxScaler(), estimator(**SMALL)).fit(DIGITS, y)
    x = DIGITS.astype(np.float32)
    *_, outputs = run(skl2onnx.to_onnx(pipe, x[:1], target_opset=opset), x, "X")
    expected = pipe.predict_proba(x) if estimator is ConvNetClassifier else pipe.predict(x)
    assert np.allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize(
    "combined",
    [
        lambda pipe: CalibratedClassifierCV(pipe, cv=2),  # takes what decision_function returns
        lambda pipe: VotingClassifier([("a", pipe), ("b", pipe)], voting="soft", flatten_transform=False),
    ],
    ids=["calibrated", "voting"],
)
@pytest.mark.parametrize("y", [LABELS, LABELS % 2], ids=["ten classes", "two classes"])
def test_estimators_of_pipelines_convert_with_skl2onnx(combined, y):
    net = combined(make_pipeline(ConvNetClassifier(**SMALL))).fit(DIGITS, y)
    x = DIGITS.astype(np.float32)
    proto = skl2onnx.to_onnx(net, x[:1], target_opset=17, options={id(net): {"zipmap": False}})
    assert np.allclose(run(proto, x, "X")[1], net.predict_proba(x), atol=1e-5)
