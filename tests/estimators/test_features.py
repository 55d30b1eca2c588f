"""The transformer that returns a trained network's features."""

import pickle
import subprocess
import sys

import commands
import numpy as np
import onnxruntime
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from funcnn import data, models, predictor, training
from funcnn.combinators import frozen, serial
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor, Features
from funcnn.intermediates import activations, up_to
from funcnn.layers import conv2d, dense, flatten, global_avg_pool, relu
from funcnn.onnx import from_onnx, to_onnx

DIGITS, LABELS = load_digits(return_X_y=True)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (7, 12, 12, 3), dtype=np.uint8)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NET = models.resnet(5, blocks=(1, 1), channels=(4, 8))
PARAMS, STATE, _ = NET.init((3,), (12, 12, 3))
CHECKED = [Features(models.mlp(3)), Features(serial(dense(4), relu()))]


# with names of their own: those of scikit-learn would have the addresses of the layers' functions
CHECKS = {
    f"{model.model.name}-{check.func.__name__}-{i}": (estimator, check)
    for model in CHECKED
    for i, (estimator, check) in enumerate(estimator_checks_generator(model))
}


@pytest.mark.parametrize(("estimator", "check"), CHECKS.values(), ids=CHECKS.keys())
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_checks_are_not_hollow():
    assert len(list(estimator_checks_generator(CHECKED[0], mark=None))) >= 40


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(NET, PARAMS, STATE, (12, 12, 3)).SerializeToString())
    return path


@pytest.fixture
def saved(tmp_path):
    described = {"name": "resnet", "arguments": {"outputs": 5, "blocks": [1, 1], "channels": [4, 8]}}
    standardize = {"mean": MEAN, "std": STD}
    description = predictor.describe(described, (12, 12, 3), list("abcde"), standardize=standardize, full_scale=255)
    path = tmp_path / "net.safetensors"
    predictor.from_description(description, PARAMS, STATE).save(path)
    return path


def by_hand(x, path="global_avg_pool"):
    """The features in front of the classifier."""
    outputs = activations(NET, PARAMS, STATE, np.asarray(x, np.float32))
    return next(value for name, value in outputs.items() if name.endswith(path))


def test_a_file_a_predictor_and_a_layer_have_the_same_features(file, saved):
    expected = by_hand((PIXELS / 255 - MEAN) / STD)
    sources = {
        "onnx": Features(file, scaling="imagenet"),
        "text": Features(str(file), scaling={"mean": MEAN, "std": STD.tolist()}),
        "layer": Features(from_onnx(file, output="features"), scaling="imagenet"),
        "whole": Features(from_onnx(file), scaling="imagenet"),
        "saved": Features(saved),
        "predictor": Features(predictor.load(saved), threads=1),
    }
    for name, features in sources.items():
        made = features.fit_transform(PIXELS)
        assert made.dtype == np.float32 and np.allclose(made, expected, atol=1e-5), name


def test_without_a_word_on_scaling_pixels_are_passed_on_as_they_are(file):
    scaled = ((PIXELS / 255 - MEAN) / STD).astype(np.float32)
    assert np.allclose(Features(file, scaling="raw").fit_transform(PIXELS), by_hand(PIXELS), rtol=1e-4)
    assert np.allclose(Features(file).fit_transform(np.minimum(scaled, 1)), by_hand(np.minimum(scaled, 1)), atol=1e-5)
    with pytest.warns(UserWarning, match=r'pixels up to 25\d are passed on as they are.*give scaling="imagenet"'):
        Features(file).fit(PIXELS)


@pytest.mark.parametrize(("scaling", "factor", "offset"), [("0..1", 1, 0), ("0..255", 255, 0), ("-1..1", 2, -1)])
def test_a_range_is_that_in_which_the_network_takes_black_and_white(file, scaling, factor, offset):
    expected = by_hand(PIXELS / 255 * factor + offset)
    for x in (PIXELS, PIXELS / 255):
        assert np.allclose(Features(file, scaling=scaling).fit_transform(x), expected, rtol=1e-4, atol=1e-5)


def test_a_saved_model_warns_once_of_pixels_that_contradict_its_training(saved):
    features = Features(saved, batch_size=2).fit(PIXELS)
    assert features.full_scale_ == 255
    with pytest.warns(UserWarning) as caught:
        features.transform(PIXELS / 255)
    assert len(caught) == 1
    assert "Features: the pixels go from 0 to 1" in str(caught[0].message)
    assert "divided by 255, the white of the images that the network was trained on" in str(caught[0].message)


def test_an_exported_file_says_what_pixels_are_divided_by(saved):
    assert commands.run("export", saved, saved.with_suffix(".onnx")).returncode == 0
    features = Features(saved.with_suffix(".onnx")).fit(PIXELS // 4)
    assert features.full_scale_ == 255
    assert np.allclose(features.transform(PIXELS), by_hand((PIXELS / 255 - MEAN) / STD), atol=1e-5)


@pytest.mark.parametrize(("white", "dtype"), [(1, np.float64), (255, np.uint8), (255, np.float32), (65535, np.uint16)])
def test_white_is_the_smallest_scale_that_holds_the_pixels_whatever_their_dtype(file, white, dtype):
    x = (PIXELS / 255 * white).astype(dtype)
    features = Features(file, scaling="imagenet").fit(x)
    assert features.full_scale_ == white
    # also where the images that follow are all dark
    dark = np.maximum(x // 3, 2) if white > 1 else x / 3
    assert np.allclose(features.transform(dark), by_hand((dark / white - MEAN) / STD), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "said"), [(PIXELS / 255, "from 0 to 1"), (PIXELS * 3.0, "to 765"), (-1.0 * PIXELS, "-255")]
)
def test_pixels_that_contradict_those_of_fit_are_warned_of(file, x, said):
    features = Features(file, scaling="imagenet").fit(PIXELS)
    with pytest.warns(UserWarning, match=f"{said}.* divided by 255, the white of the images that fit saw"):
        features.transform(x)


def test_images_of_other_sizes_and_colours_are_made_what_the_network_takes(file):
    features = Features(file, scaling="imagenet").fit(PIXELS)
    large = RNG.integers(0, 256, (3, 30, 20, 3), dtype=np.uint8)
    resized = data.resize(large.astype(np.float32), (12, 12))
    assert np.allclose(features.transform(large), features.transform(resized), atol=1e-4)
    grey = PIXELS[..., 0]
    assert np.allclose(features.transform(grey), features.transform(grey[..., None].repeat(3, axis=3)), atol=1e-6)
    assert np.allclose(features.transform(PIXELS.reshape(7, -1)), features.transform(PIXELS))
    rows = Features(file, scaling="imagenet").fit_transform(grey.reshape(7, -1))
    assert np.allclose(rows, features.transform(grey), atol=1e-6)
    with pytest.raises(ValueError, match="the network takes images of 3 channels, not 4"):
        features.transform(np.zeros((2, 12, 12, 4)))


def test_open_sizes_are_those_of_x_or_image_shape(tmp_path):
    net = serial(conv2d(4, 3), relu(), global_avg_pool(), dense(2))
    params, state, _ = net.init((0,), (12, 12, 3))
    proto = to_onnx(net, params, state, (12, 12, 3))
    for axis, name in zip((1, 2), "hw", strict=True):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    assert Features(tmp_path / "net.onnx", scaling="raw").fit(PIXELS[:, :9]).in_shape_ == (9, 12, 3)
    assert Features(tmp_path / "net.onnx", scaling="raw").fit(PIXELS[..., 0]).in_shape_ == (12, 12, 3)
    small = Features(tmp_path / "net.onnx", image_shape=(6, 8), scaling="raw").fit(PIXELS)
    assert small.in_shape_ == (6, 8, 3) and small.transform(PIXELS).shape == (7, 4)


def test_maps_are_averaged_over_their_positions(file):
    names = list(activations(NET, PARAMS, STATE, np.zeros((1, 12, 12, 3), np.float32)))
    features = Features(predictor_of_net(), output=names[0], scaling=None).fit(PIXELS / 255)
    maps = by_hand(features._prepared(PIXELS / 255), names[0])
    assert maps.shape == (7, 12, 12, 4)
    assert np.allclose(features.transform(PIXELS / 255), maps.mean(axis=(1, 2)), atol=1e-6)
    assert list(features.get_feature_names_out()) == [f"features{i}" for i in range(4)]


def predictor_of_net():
    described = {"name": "resnet", "arguments": {"outputs": 5, "blocks": [1, 1], "channels": [4, 8]}}
    return predictor.from_description(predictor.describe(described, (12, 12, 3), list("abcde")), PARAMS, STATE)


def test_the_output_can_be_named(file):
    relus = [name for name in activations(NET, PARAMS, STATE, np.zeros((1, 12, 12, 3), np.float32)) if "relu" in name]
    layer = NET._replace(init=lambda key, in_shape: (PARAMS, STATE, (5,)))
    for path in relus:
        expected = by_hand(PIXELS / 255, path).mean(axis=(1, 2))
        assert np.allclose(Features(layer, output=path).fit_transform(PIXELS / 255), expected, atol=1e-5)
    logits = Features(file, output="y").fit_transform(PIXELS / 255)
    session = onnxruntime.InferenceSession(file.read_bytes())
    (expected,) = session.run(None, {"x": (PIXELS / 255).astype(np.float32)})
    assert np.allclose(logits, expected, atol=1e-5)
    with pytest.raises(ValueError, match="no layer 'nothing', only 0_conv2d"):
        Features(layer, output="nothing").fit(PIXELS / 255)
    with pytest.raises(ValueError, match="no value or node is called 'nothing'"):
        Features(file, output="nothing").fit(PIXELS / 255)


def test_up_to_computes_nothing_after_its_layer():
    def refuse(params, x, state, *, train, key=None):
        raise AssertionError("computed")

    model = serial(flatten(), relu(), dense(4)._replace(forward=refuse), relu())
    params, state, _ = model.init((0,), (3,))
    x = np.array([[1.0, -1.0, 2.0]])
    assert np.array_equal(up_to(model, "1_relu").forward(params, x, state, train=False)[0], np.maximum(x, 0))
    with pytest.raises(ValueError, match="only for evaluation"):
        up_to(model, "1_relu").forward(params, x, state, train=True)


def test_batches_keep_no_more_than_one_batch_and_change_nothing(file):
    whole = Features(file, scaling="imagenet", batch_size=100).fit_transform(PIXELS)
    assert np.allclose(Features(file, scaling="imagenet", batch_size=2).fit_transform(PIXELS), whole, atol=1e-6)
    sizes = []

    class Watched(Features):
        def _prepared(self, x):
            sizes.append(len(x))
            return super()._prepared(x)

    Watched(file, scaling="imagenet", batch_size=3).fit(PIXELS).transform(PIXELS)
    assert sizes == [1, 3, 3, 1]


def test_a_pickle_needs_the_file_no_more(file, saved):
    for features in (
        Features(file, scaling="imagenet"),
        Features(saved),
        Features(from_onnx(file), scaling="imagenet"),
    ):
        expected = features.fit_transform(PIXELS)
        stored = pickle.dumps(features)
        assert np.array_equal(pickle.loads(stored).transform(PIXELS), expected)
        assert np.array_equal(clone(features).fit_transform(PIXELS), expected)
    stored = pickle.dumps(Features(file, scaling="imagenet").fit(PIXELS))
    file.unlink()
    assert pickle.loads(stored).transform(PIXELS).shape == (7, 8)


def test_onnx_is_imported_only_for_its_files(saved):
    code = (
        f"import sys; import numpy as np; from funcnn.estimators import Features; "
        f"Features({str(saved)!r}).fit(np.zeros((1, 12, 12, 3), np.uint8)); print('onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": 3}, "'model' parameter of Features must be a path, a Predictor or a Layer"),
        ({"model": NET, "batch_size": 0}, "'batch_size' parameter of Features must be an int >= 1"),
        ({"model": NET, "threads": 1.5}, "'threads' parameter"),
        ({"model": NET, "image_shape": (3,)}, "'image_shape' parameter"),
        (
            {"model": NET, "scaling": "standard"},
            "must be 'imagenet', '0..1', '0..255', '-1..1', 'raw', a dict of mean and",
        ),
        ({"model": NET, "scaling": {"mean": 0}}, "a dict of mean and std"),
        ({"model": NET, "scaling": {"mean": (0, 0), "std": 1}}, "mean must be one number, or 3, one for each channel"),
        ({"model": NET, "scaling": {"mean": 0, "std": 0}}, "std must be above 0"),
        ({"model": NET, "output": 3}, "'output' parameter"),
    ],
)
def test_wrong_parameters_are_named(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Features(**settings).fit(PIXELS)


def test_what_does_not_fit_is_an_error(file, saved):
    with pytest.raises(ValueError, match="the saved model has its own preprocessing"):
        Features(saved, scaling="imagenet").fit(PIXELS)
    with pytest.raises(ValueError, match="100 pixels are no image of"):
        Features(file, scaling="imagenet").fit(np.zeros((3, 100)))
    with pytest.raises(NotFittedError):
        Features(file).transform(PIXELS)
    with pytest.raises(OSError, match="cannot read missing"):
        Features("missing.onnx").fit(PIXELS)


def test_it_works_in_a_pipeline():
    net = serial(conv2d(8, 3), relu())
    pipe = make_pipeline(Features(net, scaling="raw"), LogisticRegression(max_iter=500))
    images = DIGITS.reshape(-1, 8, 8) / 16
    assert pipe.fit(images[:200], LABELS[:200] % 2).score(images[200:400], LABELS[200:400] % 2) > 0.6
    pipe.set_output(transform="default")


SETTINGS = {"max_iter": 2, "random_state": 0, "threads": 1, "augment": None}


@pytest.mark.parametrize("freeze", [True, False])
def test_an_imported_body_gets_a_head_in_a_classifier(file, freeze):
    body = from_onnx(file, output="features")
    start = body.init((0,), (12, 12, 3))[0]
    model = serial(frozen(body) if freeze else body, dense(3))
    x, y = PIXELS / 255, np.arange(7) % 3
    net = ConvNetClassifier(model=model, **SETTINGS).fit(x, y)
    if freeze:
        assert np.array_equal(net.state_["0_frozen"]["params"]["0_conv2d"]["w"], start["0_conv2d"]["w"])
    else:
        name = next(iter(net.params_))
        assert not np.array_equal(net.params_[name]["0_conv2d"]["w"], start["0_conv2d"]["w"])
        assert np.allclose(net.params_[name]["0_conv2d"]["w"], start["0_conv2d"]["w"], atol=0.1)
    again = pickle.loads(pickle.dumps(net))
    assert np.array_equal(again.predict_proba(x), net.predict_proba(x))
    assert np.array_equal(clone(net).fit(x, y).predict_proba(x), net.predict_proba(x))
    assert training.predict(again.model_, again.params_, again.state_, np.zeros((1, 12, 12, 3))).shape == (1, 3)


def test_a_classifier_that_is_all_frozen_has_nothing_to_train(file):
    model = frozen(serial(from_onnx(file, output="features"), dense(3)))
    with pytest.raises(ValueError, match="has no parameters to train: all of its layers are frozen"):
        ConvNetClassifier(model=model, **SETTINGS).fit(PIXELS / 255, np.arange(7) % 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_trained_body_in_a_classifier_sees_pixels_as_it_was_trained(file, dtype):
    model = serial(frozen(from_onnx(file, output="features")), dense(3))
    x = (PIXELS if dtype is np.uint8 else PIXELS / 255).astype(dtype)
    net = ConvNetClassifier(model=model, scaling="imagenet", **SETTINGS).fit(x, np.arange(7) % 3)
    head = net.params_["1_dense"]
    logits = by_hand((PIXELS / 255 - MEAN) / STD) @ head["w"] + head["b"]
    assert np.allclose(net.decision_function(x), logits, atol=1e-4)
    raw = ConvNetRegressor(model=serial(flatten(), dense(1)), scaling="raw", **SETTINGS).fit(x, np.arange(7.0))
    assert not raw.offset_.any() and (raw.scale_ == 1).all()
    again = ConvNetClassifier(model=model, scaling={"mean": 0.5, "std": 0.5}, **SETTINGS)
    again.partial_fit(x, np.arange(7) % 3, classes=[0, 1, 2]).partial_fit(x[:3], np.arange(3))
    assert np.allclose(again.offset_, 0.5 * x.max().clip(1)) and np.isinf(again.range_).all()
    with pytest.raises(ValueError, match=r"'scaling' parameter of ConvNetClassifier must be 'imagenet', '0\.\.1'"):
        ConvNetClassifier(scaling="standard").fit(x, np.arange(7) % 3)
