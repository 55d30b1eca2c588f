"""Serving: a predictor's network is computed by onnxruntime with the results of NumPy, or says why it is not."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

from funcnn import checkpoint, data, predictor, serving, training
from funcnn.layers import relu

RNG = np.random.default_rng(0)


def make(in_shape=(12, 10, 3), classes="abc", model="lenet5", **arguments):
    outputs, _ = predictor.loss_for(len(classes))
    scaling = {"mean": np.full(in_shape[-1], 0.4), "std": np.full(in_shape[-1], 0.2)}
    named = {"name": model, "arguments": {"outputs": outputs, **arguments}}
    description = predictor.describe(named, in_shape, list(classes), standardize=scaling, full_scale=255)
    params, state, _ = checkpoint.rebuild(description).init((0,), in_shape)
    return predictor.from_description(description, params, state)


@pytest.fixture(scope="module")
def slow():
    return make(model="mobilenet", stem=(4, 1), blocks=((8, 1),))


@pytest.fixture(scope="module")
def fast(slow):
    return slow.with_runtime("onnxruntime")


@pytest.fixture
def images():
    return RNG.integers(0, 256, (serving._BATCH + 3, 12, 10, 3), dtype=np.uint8)


def close(outputs, expected):
    return outputs.dtype == expected.dtype and np.allclose(outputs, expected, atol=1e-5)


def test_a_file_is_served_by_onnxruntime_with_the_same_results(tmp_path, slow, images):
    slow.save(tmp_path / "net.safetensors")
    for runtime in ("onnxruntime", "auto"):
        loaded = predictor.load(tmp_path / "net.safetensors", runtime=runtime)
        assert loaded.session is not None
        for threads in (None, 1, 1000):
            assert close(loaded.outputs(images, threads=threads), slow.outputs(images))
        assert (loaded.predict(images) == slow.predict(images)).all()
    assert predictor.load(tmp_path / "net.safetensors").session is None
    assert loaded.with_runtime("numpy").session is None


@pytest.mark.parametrize(("classes", "in_shape"), [("ab", (12, 10, 1)), ("abcd", (7,))])
def test_rows_and_two_classes_are_served(classes, in_shape):
    slow = make(in_shape, classes, "mlp", hidden=[5])
    x = RNG.random((3, *in_shape))
    assert close(slow.with_runtime("onnxruntime").predict_proba(x, full_scale=1 if len(in_shape) > 1 else None),
        slow.predict_proba(x, full_scale=1 if len(in_shape) > 1 else None))  # fmt: skip


def test_what_an_estimator_saved_is_served(tmp_path):
    from funcnn.estimators import ConvNetRegressor

    x = RNG.random((20, 64))
    estimator = ConvNetRegressor(max_iter=1, random_state=0).fit(x, x[:, 0])
    estimator.save(tmp_path / "net.safetensors")
    served = predictor.load(tmp_path / "net.safetensors", runtime="onnxruntime")
    assert close(served.predict(x), predictor.load(tmp_path / "net.safetensors").predict(x))
    assert served.predict(x[:0]).shape == (0,)


def test_sources_are_served(fast, slow, images):
    source = data.Mapped(images, np.asarray)
    assert close(fast.outputs(source), slow.outputs(images))


def test_a_served_predictor_can_be_copied_and_pickled(fast, images):
    for other in (pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast)):
        assert other.session is not None and close(other.outputs(images), fast.outputs(images))


def test_a_session_computes_no_other_parameters(fast, images):
    other = fast._replace(params=dict(fast.params))
    with pytest.raises(ValueError, match="session is of another network or other parameters: call with_runtime"):
        other.outputs(images)
    assert close(other.with_runtime("onnxruntime").outputs(images), fast.outputs(images))


def test_the_number_of_threads_is_given_to_onnxruntime(fast, images, monkeypatch):
    import onnxruntime

    given, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(serving, "cores", lambda: 3)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda g, o, **k: given.append(o.intra_op_num_threads) or session(g, o, **k)
    )
    served = pickle.loads(pickle.dumps(fast))
    for threads in (1, 1, None, 7):
        served.outputs(images, threads=threads)
    assert given == [1, 3]
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        served.outputs(images, threads=0)


def with_own_layer(slow):
    """The predictor with a layer that cannot be exported."""
    relu_of_ours = relu()._replace(forward=lambda *arguments, **options: relu().forward(*arguments, **options))
    return slow._replace(model=slow.model.rebuild(*slow.model.children[:2], relu_of_ours, *slow.model.children[3:]))


def test_what_cannot_be_exported_is_an_error_or_stays_with_numpy(slow, images):
    own = with_own_layer(slow)
    with pytest.raises(ValueError, match="relu: cannot be exported to ONNX"):
        own.with_runtime("onnxruntime")
    with pytest.warns(UserWarning, match=r"NumPy computes the network, as onnxruntime cannot: relu.*in layer 2_relu"):
        served = own.with_runtime("auto")
    assert served.session is None and close(served.outputs(images), slow.outputs(images))


def test_other_outputs_are_refused(slow, monkeypatch):
    monkeypatch.setattr(training, "predict", lambda *args, predict=training.predict: predict(*args) * 1.001)
    with pytest.raises(ValueError, match="onnxruntime computes other outputs, by up to"):
        slow.with_runtime("onnxruntime")
    with pytest.warns(UserWarning, match="NumPy computes the network, as onnxruntime cannot: onnxruntime computes oth"):
        assert slow.with_runtime("auto").session is None


def test_a_graph_that_onnxruntime_refuses_is_one_line():
    with pytest.raises(ValueError, match=r"^onnxruntime \S+ refuses the network: .+") as error:
        serving.inference_session(b"no graph", 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_named_and_auto_is_numpy(slow, monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("funcnn.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'funcnn\[serve\]'"):
        slow.with_runtime("onnxruntime")
    assert slow.with_runtime("auto").session is None


def test_other_runtimes_are_refused(slow):
    with pytest.raises(ValueError, match="runtime must be one of numpy, onnxruntime, auto, not 'torch'"):
        slow.with_runtime("torch")


def test_loading_a_predictor_imports_neither_onnx_nor_onnxruntime():
    probe = "import sys, funcnn.predictor; print({'onnx', 'onnxruntime', 'google'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout == "set()\n"
