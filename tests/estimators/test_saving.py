"""Estimators as files: what comes back, what serves, what is refused."""

import subprocess
import sys

import commands
import numpy as np
import pytest
from sklearn.datasets import load_digits

from funcnn import checkpoint, predictor, serial
from funcnn.checkpoint import CheckpointError
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor
from funcnn.estimators.saving import _to_plain
from funcnn.layer import parameterless
from funcnn.layers import conv2d, dense, flatten, relu

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS, LABELS = DIGITS[:200], LABELS[:200]
IMAGES = DIGITS.reshape(-1, 8, 8)
LETTERS, SEVERAL = np.array(["even", "odd"])[LABELS % 2], (LABELS[:, None] % [2, 3] == 0).astype(int)
SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0, "threads": 1}


def own_model(image_shape, outputs):
    return serial(conv2d(4, 3), relu(), flatten(), dense(outputs))


CASES = {
    "rows": (ConvNetClassifier(**SMALL), DIGITS, LABELS),
    "images": (ConvNetClassifier(**SMALL, early_stopping=True, class_weight={0: 2.0}), IMAGES, LABELS),
    "names": (ConvNetClassifier(**SMALL, tol=np.float32(0.1)), DIGITS[:60, :30], LETTERS[:60]),
    "labels": (ConvNetClassifier(**SMALL, solver="sgd"), DIGITS, SEVERAL),
    "one class": (ConvNetClassifier(**SMALL), DIGITS, np.zeros(200)),
    "a function": (ConvNetClassifier(**SMALL, model=own_model), DIGITS, LABELS),
    "a layer": (ConvNetClassifier(**SMALL, model=own_model((8, 8, 1), 10)), DIGITS, LABELS),
    "a generator": (ConvNetClassifier(**{**SMALL, "random_state": np.random.RandomState(3)}), DIGITS, LABELS),
    "numbers": (ConvNetRegressor(**SMALL), DIGITS, LABELS * 1e6),
    "several numbers": (ConvNetRegressor(**SMALL), DIGITS[:, :30], np.stack([LABELS, -LABELS], axis=1)),
}


def outputs(model, x):
    return model.predict(x) if getattr(model, "target_mean_", None) is not None else model.predict_proba(x)


@pytest.mark.parametrize("name", CASES)
def test_the_estimator_comes_back(tmp_path, name):
    net, x, y = CASES[name]
    net.fit(x, y).save(tmp_path / "net.safetensors")
    again = type(net).load(tmp_path / "net.safetensors")
    assert np.array_equal(outputs(again, x), outputs(net, x)) and np.array_equal(again.predict(x), net.predict(x))
    unlike = {"network_", "params_", "state_", "_train_state", "model", "random_state"}
    assert vars(again).keys() == vars(net).keys()
    for attribute in vars(net).keys() - unlike:
        mine, other = getattr(net, attribute), getattr(again, attribute)
        assert np.array_equal(mine, other) and (type(mine) is type(other) or attribute == "tol"), attribute
    assert np.array_equal(again._key(), net._key())
    for _ in range(2):  # without the optimizer's state and with it
        again.partial_fit(x, y)
        net.partial_fit(x, y).save(tmp_path / "net.safetensors")
        assert np.array_equal(outputs(again, x), outputs(net, x))
        again = type(net).load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_a_predictor_serves_the_same_file(tmp_path, name):
    net, x, y = CASES[name]
    net.fit(x, y).save(tmp_path / "net.safetensors")
    served = predictor.load(tmp_path / "net.safetensors")
    if isinstance(net, ConvNetRegressor):
        assert np.allclose(served.predict(x), net.predict(x), rtol=0, atol=1e-5 * abs(y).max())
        with pytest.raises(ValueError, match="a regressor's, which predicts numbers"):
            served.predict_proba(x)
    else:
        assert np.allclose(served.predict_proba(x), net.predict_proba(x), atol=1e-5)
        predicted = net.predict(x) if net.multilabel_ else net.predict(x).astype(str)
        assert np.array_equal(served.predict(x), predicted)
    assert len(served.history) == net.n_iter_
    served.save(tmp_path / "again.safetensors")
    assert np.array_equal(outputs(type(net).load(tmp_path / "again.safetensors"), x), outputs(net, x))


def test_a_predictor_needs_no_scikit_learn(tmp_path):
    ConvNetClassifier(**SMALL).fit(DIGITS, LETTERS).save(tmp_path / "net.safetensors")
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['scipy'] = sys.modules['onnx'] = None; import numpy as np; "
        "from funcnn import predictor; print(*predictor.load(sys.argv[1]).predict(np.zeros((2, 64))))"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "net.safetensors")]
    assert set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()) <= {"even", "odd"}


def test_what_a_predictor_refuses(tmp_path):
    ConvNetClassifier(**SMALL).fit(IMAGES, LABELS).save(tmp_path / "net.safetensors")
    served = predictor.load(tmp_path / "net.safetensors")
    assert np.array_equal(served.predict(DIGITS), served.predict(IMAGES[..., None]))
    for x, words in (
        (DIGITS[:, :30], r"examples are of shape \(64,\) or \(8, 8\), and x is \(200, 30\)"),
        (IMAGES[0], r"x is \(8, 8\); one example is x\[None\]"),
        (np.where(DIGITS > 3, np.nan, 0), "must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            served.predict(x)
    with pytest.raises(ValueError, match="full_scale is for networks of `funcnn train`"):
        served.predict(DIGITS, full_scale=16)


def double(x):
    return 2 * x, lambda dy: 2 * dy


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"model": serial(parameterless("double", double), flatten(), dense(10))},
            "double: cannot be described.*no code",
        ),
        ({"augment": lambda key, x: x}, r"not the parameter augment, .*set_params\(augment=None\)"),
    ],
)
def test_code_is_refused_with_what_to_do(tmp_path, parameters, words):
    net = ConvNetClassifier(**SMALL, **parameters).fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match=words):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def changed(path, change):
    """Write a file with a changed entry "estimator" beside another one."""
    saved = checkpoint.load(path)
    change(saved.description["estimator"])
    checkpoint.save(path.with_name("changed.safetensors"), saved)
    return path.with_name("changed.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda of: of.update(version=2), r"was written by a later funcnn, \d.*, in version 2 of the format"),
        (lambda of: of.update({"class": "ConvNetRegressor"}), "holds a ConvNetRegressor, not a ConvNetClassifier"),
        (lambda of: of["attributes"].update(predict=1), "no attribute 'predict'"),
        (lambda of: of["attributes"].update(__class__=1), "no attribute '__class__'"),
        (lambda of: of["parameters"].update(momentum=1), "unexpected keyword argument 'momentum'"),
        (lambda of: of["parameters"].update(tol={"pickle": "x"}), "no value is tagged 'pickle'"),
        (lambda of: of["attributes"].update(classes_={"array": [1], "dtype": "V9"}), "no array is of 'V9'"),
        (lambda of: of.pop("attributes"), "'attributes' is missing"),
    ],
)
def test_files_from_strangers_and_of_later_versions(tmp_path, change, words):
    ConvNetClassifier(**SMALL).fit(DIGITS, LABELS).save(tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match=words):
        ConvNetClassifier.load(changed(tmp_path / "net.safetensors", change))


def test_a_file_of_no_estimator(tmp_path):
    described = predictor.describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
    params, state, _ = checkpoint.rebuild(described).init((0,), (2,))
    predictor.from_description(described, params, state).save(tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no estimator: funcnn\.predictor\.load reads it"):
        ConvNetClassifier.load(tmp_path / "net.safetensors")


def test_objects_are_no_plain_values():
    with pytest.raises(ValueError, match="a file holds no code and no objects, so not it, <object"):
        _to_plain("it", object())


def test_activations_take_raw_examples():
    net = ConvNetClassifier(**SMALL).fit(IMAGES, LABELS)
    logits = net.activations(IMAGES[:5], layer="6_dense")
    assert np.array_equal(logits, net.decision_function(IMAGES[:5]))
    maps = net.activations(DIGITS[:5], layer="0_conv2d")
    assert maps.shape == (5, 8, 8, 4)
    with pytest.raises(ValueError, match="0_conv2d"):
        net.activations(IMAGES, layer="9_conv2d")


def test_the_command_inspects_an_estimators_file_and_refuses_the_rest_in_a_line(tmp_path):
    ConvNetClassifier(**SMALL).fit(IMAGES, LABELS).save(tmp_path / "net.safetensors")
    inspected = commands.run("inspect", "net.safetensors", cwd=tmp_path).stdout
    assert "0_conv2d" in inspected and "takes images of 8x8, 1 channel" in inspected
    assert " epochs: loss" in inspected
    for arguments, words in (
        (("export", "net.safetensors", "net.onnx"), "is an estimator's: export it in Python, by its to_onnx"),
        (("evaluate", "net.safetensors", "digits"), "digits: the model is an estimator's, and takes arrays"),
        (("show", "features", "net.safetensors", "digits"), "digits: the model is an estimator's"),
        (("train", "--data", "digits", "--from", "net.safetensors"), "is an estimator's: train on in Python"),
    ):
        run = commands.run(*arguments, cwd=tmp_path)
        assert run.returncode in (1, 2) and words in run.stderr and run.stderr.count("\n") == 1, run.stderr
