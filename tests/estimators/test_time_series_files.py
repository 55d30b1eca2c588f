"""Estimators of time series elsewhere: as files, in a predictor, as ONNX graphs; what a layer computes."""

import subprocess
import sys

import commands
import numpy as np
import onnxruntime
import pytest
import skl2onnx
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from funcnn import models, predictor, serial
from funcnn.checkpoint import CheckpointError
from funcnn.estimators import ConvNetClassifier, TimeSeriesConvClassifier, TimeSeriesConvRegressor
from funcnn.layers import conv1d, dense, global_avg_pool, relu

QUICK = {"max_iter": 1, "random_state": 0, "threads": 1}
Y = np.arange(12) % 3
X = np.random.default_rng(0).normal(size=(12, 2, 16)) + Y[:, None, None] + [[0], [1e3]]
UNEQUAL = [x[:, : 9 + i % 8] for i, x in enumerate(X)]
NAMES = np.array(["a", "b", "c"])[Y]


def own(in_shape, outputs):
    return serial(conv1d(4, 3, padding="same"), relu(), global_avg_pool(), dense(outputs))


def narrow(in_shape, outputs):
    """The default network, narrower, for series of any length."""
    return models.fcn(outputs, channels=(4, 4), kernel_sizes=(5, 3), masked=True)


CASES = {
    "series": (TimeSeriesConvClassifier(**QUICK), X, NAMES),
    "rows": (TimeSeriesConvClassifier("inception_time", **QUICK), X[:, 0], Y),
    "labels": (TimeSeriesConvClassifier(own, **QUICK), X, np.eye(3, dtype=int)[Y]),
    "ensemble": (TimeSeriesConvClassifier(own, n_estimators=2, early_stopping=True, **QUICK), X, Y),
    "unequal": (TimeSeriesConvClassifier(augment=["jitter", "shift"], **QUICK), UNEQUAL, NAMES),
    "unequal rows": (TimeSeriesConvClassifier(narrow, n_estimators=2, **QUICK), [x[0] for x in UNEQUAL], Y),
    "numbers": (TimeSeriesConvRegressor(own, **QUICK), X, Y * 1e6),
    "unequal, numbers": (TimeSeriesConvRegressor(narrow, **QUICK), UNEQUAL, np.stack([Y, -Y], axis=1)),
}


def outputs(model, x):
    return model.predict(x) if getattr(model, "target_mean_", None) is not None else model.predict_proba(x)


def tolerance(net):
    return 1e-5 * np.max(getattr(net, "target_scale_", 1))


@pytest.mark.parametrize("name", CASES)
def test_the_estimator_comes_back_and_a_predictor_serves_the_same_file(tmp_path, name):
    net, x, y = CASES[name]
    net.fit(x, y).save(tmp_path / "net.safetensors")
    again = type(net).load(tmp_path / "net.safetensors")
    assert np.array_equal(outputs(again, x), outputs(net, x)) and np.array_equal(again.predict(x), net.predict(x))
    assert vars(again).keys() == vars(net).keys()
    for attribute in vars(net).keys() - {"network_", "params_", "state_", "_train_state", "model"}:
        assert np.array_equal(getattr(net, attribute), getattr(again, attribute)), attribute
    assert isinstance(again.model, str) == isinstance(net.model, str)
    served = predictor.load(tmp_path / "net.safetensors")
    if hasattr(net, "classes_"):
        assert np.allclose(served.predict_proba(x), net.predict_proba(x), atol=1e-5)
        assert np.array_equal(served.predict(x), net.predict(x) if net.multilabel_ else net.predict(x).astype(str))
    else:
        assert np.allclose(served.predict(x), net.predict(x), rtol=0, atol=tolerance(net))
    served.save(tmp_path / "again.safetensors")
    assert np.array_equal(outputs(type(net).load(tmp_path / "again.safetensors"), x), outputs(net, x))
    assert outputs(again.fit(x, y), x).shape == outputs(net, x).shape


def with_nan(x, time):
    """The series as one array, NaN behind their ends."""
    return np.stack([np.pad(s, [(0, 0), (0, time - s.shape[1])], constant_values=np.nan) for s in x])


@pytest.mark.parametrize("name", CASES)
def test_the_onnx_graph_computes_the_same_of_raw_series(tmp_path, name):
    net, x, y = CASES[name]
    proto = net.fit(x, y).to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    lengths = (16, 20) if net.masked_ else (16,)  # any, where series may have any
    for time in lengths:
        raw = with_nan([np.atleast_2d(s) for s in x], time) if net.masked_ else x
        *_, last = session.run(None, {"x": raw.astype(np.float32)})
        assert np.allclose(last, outputs(net, x), rtol=0, atol=max(tolerance(net), 1e-4)), time
    assert [o.name for o in proto.graph.output] == (["label", "probabilities"] if hasattr(net, "classes_") else ["y"])


def test_a_missing_value_within_a_series_is_no_padding():
    net = TimeSeriesConvClassifier(narrow, **QUICK).fit(UNEQUAL, Y)
    session = onnxruntime.InferenceSession(net.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    raw = with_nan(UNEQUAL, 16).astype(np.float32)
    raw[0, 1, 3] = np.nan
    probabilities = session.run(["probabilities"], {"x": raw})[0]
    assert np.isnan(probabilities[0]).all() and not np.isnan(probabilities[1:]).any()


def test_pipelines_of_rows_convert_with_skl2onnx():
    rows = X[:, 0].astype(np.float32)
    pipe = make_pipeline(StandardScaler(), TimeSeriesConvClassifier(own, **QUICK)).fit(rows, Y)
    proto = skl2onnx.to_onnx(pipe, rows[:1], target_opset=17).SerializeToString()
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"X": rows})[-1], pipe.predict_proba(rows), atol=1e-5)
    net = TimeSeriesConvClassifier(narrow, **QUICK).fit(UNEQUAL, Y)
    with pytest.raises(ValueError, match="this TimeSeriesConvClassifier takes series of any length: its to_onnx"):
        skl2onnx.to_onnx(net, rows[:1], target_opset=17)


def test_activations_take_raw_series():
    net = TimeSeriesConvClassifier(own, **QUICK).fit(X, Y)
    assert net.activations(X[:3], layer="0_conv1d").shape == (3, 16, 4)
    assert np.array_equal(net.activations(X, layer="3_dense"), net.decision_function(X))
    masked = TimeSeriesConvClassifier(narrow, n_estimators=2, **QUICK).fit(UNEQUAL, Y)
    assert np.array_equal(masked.activations(UNEQUAL, layer="2_reduce_mean"), masked.decision_function(UNEQUAL))


@pytest.mark.parametrize(
    ("fitted_on", "x", "error", "words"),
    [
        (X, X[..., :9], ValueError, r"series are of shape \(2, 16\), and x is \(12, 2, 9\)"),
        (X, X[0], ValueError, r"x is \(2, 16\); one series is x\[None\]"),
        (X, UNEQUAL, ValueError, "all series have a length of 16, and x has shapes"),
        (X, np.where(X > 0, X, np.nan), ValueError, "must be finite"),
        (X, np.full((1, 2, 16), "a"), TypeError, "must be real numbers"),
        (UNEQUAL, [np.full((2, 5), np.nan)], ValueError, r"contains NaN: in X\[0\], at channel 0, time 0"),
        (UNEQUAL, [np.zeros((3, 5))], ValueError, r"X\[0\] must be a series \(2, time\)"),
        (UNEQUAL, np.zeros(()), ValueError, r"a list of arrays \(2, time\)"),
    ],
    ids=["length", "one series", "unequal", "NaN", "strings", "NaN in a list", "channels", "a number"],
)
def test_what_a_predictor_refuses(tmp_path, fitted_on, x, error, words):
    model = narrow if fitted_on is UNEQUAL else own
    TimeSeriesConvClassifier(model, **QUICK).fit(fitted_on, Y).save(tmp_path / "net.safetensors")
    with pytest.raises(error, match=words):
        predictor.load(tmp_path / "net.safetensors").predict(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": [0.0]}, r"offset \(1,\) and scale \(2,\) must have a number for each channel"),
        ({"time": 9}, r"the preprocessing makes \[9, 2\], and the network takes \(16, 2\)"),
        ({"masked": True}, r"the preprocessing makes \[16, 3\], and the network takes \(16, 2\)"),
        ({"scale": [1.0, 0.0]}, "a finite scale above 0"),
    ],
)
def test_files_from_strangers(tmp_path, change, words):
    TimeSeriesConvClassifier(own, **QUICK).fit(X, Y).save(tmp_path / "net.safetensors")
    served = predictor.load(tmp_path / "net.safetensors")
    description = {**served.description, "preprocessing": {**served.preprocessing, **change}}
    with pytest.raises(ValueError, match=words):
        predictor.from_description(description, served.params, served.state)
    with pytest.raises(CheckpointError, match="holds a TimeSeriesConvClassifier, not a ConvNetClassifier"):
        ConvNetClassifier.load(tmp_path / "net.safetensors")


def test_a_predictor_needs_no_scikit_learn(tmp_path):
    TimeSeriesConvClassifier(**QUICK).fit(UNEQUAL, NAMES).save(tmp_path / "net.safetensors")
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['scipy'] = sys.modules['onnx'] = None; import numpy as np; "
        "from funcnn import predictor; "
        "print(*predictor.load(sys.argv[1]).predict([np.zeros((2, 5)), np.zeros((2, 30))]))"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "net.safetensors")]
    assert set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()) <= {"a", "b", "c"}


def test_the_command_inspects_the_file(tmp_path):
    TimeSeriesConvClassifier(**QUICK).fit(UNEQUAL, NAMES).save(tmp_path / "net.safetensors")
    assert "masked_batch_norm" in commands.run("inspect", "net.safetensors", cwd=tmp_path).stdout
