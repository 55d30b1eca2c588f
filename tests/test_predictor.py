"""Predictors: a trained model sees raw data as training did, wherever it is loaded."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import shapes
from PIL import Image

from funcnn import checkpoint, data, losses, metrics, optim, predictor, stopping, training
from funcnn.checkpoint import Checkpoint, CheckpointError

RNG = np.random.default_rng(0)
MODEL = {"name": "mlp", "arguments": {"outputs": 3, "hidden": [8]}}
SCALING = {"mean": [0.2, 0.5, 0.1], "std": [0.5, 2.0, 0.0]}


def make(in_shape=(8, 6, 3), classes="abc", standardize=SCALING, seed=0):
    outputs, _ = predictor.loss_for(len(classes))
    description = predictor.describe(
        {"name": "mlp", "arguments": {"outputs": outputs, "hidden": [8]}},
        in_shape,
        list(classes),
        standardize=standardize if in_shape[-1] == 3 else None,
        full_scale=255,
    )
    params, state, _ = checkpoint.rebuild(description).init((seed,), in_shape)
    return predictor.from_description(description, params, state, [{"epoch": 1, "step": 7, "loss": 0.5}])


def test_examples_are_prepared_as_the_network_takes_them():
    def prepare(x):
        return predictor.preprocess(x, predictor.preprocessing_for((8, 8, 1), {"mean": [[[0.5]]], "std": [[[2.0]]]}))

    x = np.ones((2, 4, 4, 3), np.float32)
    np.testing.assert_allclose(prepare(x), np.full((2, 8, 8, 1), 0.25), rtol=1e-6)
    with pytest.raises(ValueError, match="takes images of 8x8, 1 channel, not 5 features"):
        prepare(np.ones((2, 5), np.float32))
    with pytest.raises(ValueError, match="takes images of 1 channels, not 2"):
        prepare(np.ones((2, 8, 8, 2), np.float32))
    with pytest.raises(ValueError, match="takes 4 features, not 5 features"):
        predictor.preprocess(np.ones((2, 5), np.float32), predictor.preprocessing_for((4,), None))


def test_raw_images_of_all_kinds_give_the_same_examples():
    p = make()
    pixels = RNG.integers(0, 256, (2, 16, 13, 3), dtype=np.uint8)
    expected = data.resize(pixels.astype(np.float32) / np.float32(255), (8, 6), fit="pad")
    expected = (expected - np.float32(SCALING["mean"])) / np.float32([0.5, 2.0, 1.0])
    np.testing.assert_allclose(p.prepare(pixels), expected, rtol=1e-6)
    np.testing.assert_array_equal(p.prepare(data.to_examples(pixels), full_scale=1), p.prepare(pixels))
    np.testing.assert_allclose(p.prepare(pixels.astype(np.float64) / 255, full_scale=1), expected, atol=1e-6)
    for dtype in (np.int64, np.uint16, np.float32, np.float64):
        np.testing.assert_array_equal(p.prepare(pixels.astype(dtype)), p.prepare(pixels))
    grey = pixels[..., 0]
    np.testing.assert_array_equal(p.prepare(grey), p.prepare(grey[..., None].repeat(3, 3)))
    assert p.prepare(pixels).dtype == np.float32


@pytest.mark.parametrize(
    ("in_shape", "shape", "message"),
    [
        ((8, 6, 3), (2, 4), r"takes images of 8x6, 3 channels, not 4 features: x \(2, 4\)"),
        ((8, 6, 3), (8, 6, 3), r"not an array with 3 axes: x \(8, 6, 3\); one example is x\[None\]"),
        ((8, 6, 3), (4, 8, 6, 2), r"takes images of 3 channels, not 2: x \(4, 8, 6, 2\)"),
        ((8, 6, 3), (4, 3, 8, 6), r"the channels last, not first: got \(4, 3, 8, 6\)"),
        ((8, 6, 3), (6,), r"not an array with 1 axes: x \(6,\)"),
        ((8, 6, 3), (1, 2, 8, 6, 3), r"not an array with 5 axes: x \(1, 2, 8, 6, 3\)"),
        ((8, 6, 1), (8, 6, 1), r"not an array with 3 axes: x \(8, 6, 1\); one example is x\[None\]"),
        ((8, 6, 1), (8, 6), r"not 6 features: x \(8, 6\); one example is x\[None\]"),
        ((4,), (2, 5), r"takes 4 features, not 5 features: x \(2, 5\)"),
        ((4,), (4,), r"takes 4 features, not an array with 1 axes: x \(4,\); one example is x\[None\]"),
        ((4,), (2, 4, 4, 3), r"takes 4 features, not images of 4x4, 3 channels"),
        ((4,), (4, 4, 1), r"takes 4 features, not an array with 3 axes"),
    ],
)
def test_shapes_that_do_not_fit_are_named(in_shape, shape, message):
    with pytest.raises(ValueError, match=message):
        make(in_shape).predict(np.ones(shape))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"prepare: x must be finite; 1 of 2 examples are not, the first is number 1"):
        make((2,)).predict([[1.0, 2.0], [np.nan, 1.0]])


def test_probabilities_and_classes():
    p = make()
    x = RNG.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
    logits = p.outputs(x).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = p.predict_proba(x, threads=1)
    assert logits.shape == probabilities.shape == (20, 3) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    assert p.predict(x).tolist() == [p.classes[i] for i in expected.argmax(axis=1)]
    assert len(set(p.predict(x))) > 1


def test_both_probabilities_of_two_classes_are_exact():
    description = predictor.describe({"name": "mlp", "arguments": {"outputs": 1, "hidden": []}}, (1,), ["no", "yes"])
    params = {"0_flatten": {}, "1_dense": {"w": np.ones((1, 1), np.float32), "b": np.zeros(1, np.float32)}}
    p = predictor.from_description(description, params, {"0_flatten": {}, "1_dense": {}})  # its output is its input
    z = np.array([[-300.0], [-50.0], [-1.0], [0.0], [50.0], [300.0]])
    probabilities = p.predict_proba(z)
    assert probabilities.shape == (6, 2) and p.outputs(z).shape == (6, 1)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-z[:, 0])), rtol=1e-14)
    np.testing.assert_allclose(probabilities[:, 0], 1 / (1 + np.exp(z[:, 0])), rtol=1e-14)  # exp(-300), not 0
    assert p.predict(z).tolist() == ["no", "no", "no", "no", "yes", "yes"]


@pytest.mark.parametrize("in_shape", [(8, 6, 3), (8, 6, 1), (4,)])
@pytest.mark.parametrize("classes", ["ab", "abc"])
def test_a_saved_predictor_is_loaded_as_it_was(tmp_path, in_shape, classes):
    p = make(in_shape, classes)
    p.save(tmp_path / "net.safetensors")
    loaded = predictor.load(tmp_path / "net.safetensors")
    x = RNG.random((5, *in_shape))
    assert np.array_equal(loaded.predict_proba(x, full_scale=1), p.predict_proba(x, full_scale=1))
    for name in ("in_shape", "classes", "preprocessing", "history"):
        assert getattr(loaded, name) == getattr(p, name), name
    assert json.loads(json.dumps(loaded.preprocessing)) == p.preprocessing
    assert loaded.description["model"] == p.description["model"]
    assert checkpoint.load(tmp_path / "net.safetensors").train_state.step == 7
    loaded.save(str(tmp_path / "again.safetensors"))
    assert predictor.load(tmp_path / "again.safetensors").description == loaded.description


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    p, path = make(), tmp_path / "net.safetensors"
    for broken, message in (
        (p._replace(description={}), "must have an entry 'model' with 'name'"),
        (p._replace(params=make((4, 4, 3)).params), r"in layer .*dense"),
        (p._replace(classes=["a", "b"]), r"output \(1, 3\) does not fit 2 classes, a, b"),
        (p._replace(preprocessing={**p.preprocessing, "size": [4, 4]}), r"makes \(4, 4, 3\) of examples"),
    ):
        with pytest.raises(ValueError, match=message):
            broken.save(path)
        assert not path.exists()


def test_the_description():
    run = {"epochs": 3}
    described = predictor.describe(
        MODEL, (8, 6, 3), ["a", "b", "c"], standardize={k: np.array(v) for k, v in SCALING.items()},
        full_scale=255, pixel_range=(3, 250), source="photos", examples=9, fingerprint="1f2e", run=run,
    )  # fmt: skip
    assert described == json.loads(json.dumps(described))
    assert described["data"] == {
        "source": "photos", "examples": 9, "in_shape": [8, 6, 3], "classes": ["a", "b", "c"], "standardize": SCALING,
        "fingerprint": "1f2e",
    }  # fmt: skip
    pixels = {"full_scale": 255.0, "range": [3.0, 250.0]}
    assert described["preprocessing"] == {**pixels, "channels": 3, "size": [8, 6], "fit": "pad", **SCALING}
    assert described["model"] == MODEL and described["run"] == run and "numpy" in described["versions"]
    assert predictor.preprocessing_for((4,), None) == {"features": 4, "mean": None, "std": None}
    with pytest.raises(ValueError, match=r"in_shape \(4, 4\) must be"):
        predictor.describe(MODEL, (4, 4), ["a", "b"])


def checkpointed(folder, step, description, best=None):
    params, state, _ = checkpoint.rebuild(description).init((step,), tuple(description["data"]["in_shape"]))
    train_state = training.TrainState(params, state, {}, (0,), step, step)
    return checkpoint.add(folder, Checkpoint(train_state, description, best))


def test_files_of_before_are_loaded(tmp_path):
    description = {
        "model": MODEL,
        "data": {"in_shape": [4], "classes": ["a", "b", "c"], "standardize": {"mean": [0.5], "std": [2.0]}},
    }
    p = predictor.load(checkpointed(tmp_path, 3, description))
    assert p.in_shape == (4,) and p.classes == ["a", "b", "c"]
    np.testing.assert_allclose(p.prepare(np.full((1, 4), 255, np.uint8)), 127.25, rtol=1e-6)
    p.save(tmp_path / "new.safetensors")
    assert predictor.load(tmp_path / "new.safetensors").preprocessing == p.preprocessing


@pytest.mark.parametrize("preprocessing", [None, {"uint8_divisor": 255, "channels": 1, "size": [4, 4]}])
def test_files_of_before_that_do_not_say_what_white_was_are_refused(tmp_path, preprocessing):
    description = predictor.describe(MODEL, (4, 4, 1), ["a", "b", "c"])
    path = checkpointed(tmp_path, 3, {**description, "preprocessing": preprocessing})
    with pytest.raises(CheckpointError, match="older version of funcnn wrote it and did not record the full scale"):
        predictor.load(path)


def test_the_best_epoch_counts(tmp_path):
    description = predictor.describe(MODEL, (4,), ["a", "b", "c"])
    params, state, _ = checkpoint.rebuild(description).init((99,), (4,))
    path = checkpointed(tmp_path, 3, description, stopping.BestEpoch(1, 0.5, params, state, 2))
    x = RNG.random((3, 4), np.float32)
    expected = training.predict(checkpoint.rebuild(description), params, state, x)
    np.testing.assert_array_equal(predictor.load(path).outputs(x), expected)
    assert not np.array_equal(predictor.load(checkpointed(tmp_path, 4, description)).outputs(x), expected)


def test_a_folder_is_its_newest_checkpoint_that_can_be_read(tmp_path):
    description = predictor.describe(MODEL, (4,), ["a", "b", "c"])
    first, second = (checkpointed(tmp_path, step, description) for step in (1, 2))
    x = RNG.random((3, 4))
    expected = [predictor.load(path).outputs(x) for path in (first, second)]
    np.testing.assert_array_equal(predictor.load(tmp_path).outputs(x), expected[1])
    second.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"step-000000002.*taking the one before, .*step-000000001"):
        np.testing.assert_array_equal(predictor.load(str(tmp_path)).outputs(x), expected[0])
    first.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        predictor.load(tmp_path)


def of_images(in_shape=(2, 2, 1), **preprocessing):
    about = predictor.describe(MODEL, in_shape, ["a", "b", "c"])
    return {"data": about["data"], "preprocessing": {**about["preprocessing"], **preprocessing}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": None}, "does not describe its model and data"),
        ({"data": {"in_shape": [4]}}, "does not describe its model and data: 'classes'"),
        ({"model": {"name": "Sequence", "arguments": {}}}, "funcnn.models has no 'Sequence'"),
        ({"preprocessing": {"features": 4}}, "'mean'"),
        ({"preprocessing": {"size": 4}}, "does not describe its model and data"),
        (
            {"preprocessing": {"features": 5, "mean": None, "std": None}},
            "makes \\(5,\\) of examples, and the network takes \\(4,\\)",
        ),
        ({"preprocessing": 7}, "does not describe its model and data"),
        ({"preprocessing": {"features": 4, "mean": [np.nan], "std": [1.0]}}, "not finite, with .*'mean': \\[nan\\]"),
        ({"preprocessing": {"features": 4, "mean": [0.0], "std": None}}, "not finite, with .*'std': None"),
        (of_images(size=[10**7, 10**7]), r"makes \(10000000, 10000000, 1\) of examples"),
        (of_images(full_scale=0), "full_scale must be a positive number, not 0"),
        (of_images(full_scale="x"), "full_scale must be a positive number, not 'x'"),
        (of_images(range=[0]), r"range of the training pixels must be two numbers, not \[0\]"),
        (of_images(range=[0.0, np.nan]), r"must be two numbers, not \[0.0, nan\]"),
        (of_images(in_shape=[10**6, 10**6, 1]), r"in_shape \(1000000, 1000000, 1\) must be ints >= 1 with a product"),
        (of_images(in_shape=[2, 0, 1]), r"in_shape \(2, 0, 1\) must be ints >= 1"),
    ],
)
def test_incomplete_descriptions(tmp_path, change, message):
    description = predictor.describe(MODEL, (4,), ["a", "b", "c"])
    path = checkpointed(tmp_path, 1, description)
    saved = checkpoint.load(path)
    checkpoint.save(path, saved._replace(description={**description, **change}))
    with pytest.raises(CheckpointError, match=message):
        predictor.load(path)


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*missing: No such file"):
        predictor.load(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        predictor.load(tmp_path / "text")


ALONE = """
import sys
for name in ("sklearn", "PIL", "typer", "rich", "threadpoolctl", "onnx", "scipy"):
    sys.modules[name] = None
import numpy as np
from funcnn import predictor
p = predictor.load(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], p.predict_proba(x))
p.save(sys.argv[1])
print(*p.predict(x))
"""


def test_numpy_and_safetensors_are_enough_and_raw_images_are_seen_as_in_training(tmp_path):
    """Trained on a folder of files; used elsewhere, on the pixels of other files of another size."""
    shapes.make(tmp_path / "shapes", each=60)
    dataset = data.open(tmp_path / "shapes", image_size=(16, 16))
    scaling = dict(zip(("mean", "std"), (a[0] for a in data.mean_and_std(dataset.x, (0, 1, 2))), strict=True))
    description = predictor.describe(
        {"name": "convnet", "arguments": {"outputs": 3, "channels": [8, 16]}}, (16, 16, 3), dataset.classes,
        standardize=scaling, full_scale=dataset.full_scale,
    )  # fmt: skip
    model = checkpoint.rebuild(description)
    x = predictor.preprocess(dataset.x, description["preprocessing"], full_scale=1)
    outputs, loss = predictor.loss_for(3)
    targets = predictor.targets_for(dataset.labels, outputs)
    *_, last = training.fit(model, loss, optim.adam(5e-3), x, targets, epochs=12, key=(0,), threads=1)
    train_state = last.train_state
    p = predictor.from_description(description, train_state.params, train_state.state)
    assert loss is losses.softmax_cross_entropy
    assert metrics.accuracy(p.outputs(dataset.x, full_scale=1), dataset.labels) > 0.8

    p.save(tmp_path / "net.safetensors")
    files = [tmp_path / "shapes" / name for name in dataset.names]
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    assert pixels.shape == (180, 24, 24, 3) and pixels.dtype == np.uint8
    np.save(tmp_path / "pixels.npy", pixels)
    names = [str(tmp_path / name) for name in ("net.safetensors", "pixels.npy", "probabilities.npy")]
    run = subprocess.run([sys.executable, "-c", ALONE, *names], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(np.load(names[2]), p.predict_proba(dataset.x, full_scale=1), atol=1e-5)
    assert run.stdout.split() == p.predict(dataset.x, full_scale=1).tolist()


def test_two_classes_have_one_target():
    assert predictor.loss_for(2) == (1, losses.sigmoid_binary_cross_entropy)
    targets = predictor.targets_for(np.array([0, 1, 1]), 2)
    assert targets.dtype == np.float32 and targets.tolist() == [[0.0], [1.0], [1.0]]
    labels = np.array([2, 0])
    assert predictor.targets_for(labels, 3) is labels


@pytest.mark.parametrize("pixel_range", [(1, 255), (200, 255), (0.5, 250), (1, 200)])
def test_making_a_predictor_says_nothing_of_its_own_range(pixel_range):
    model = {"name": "mlp", "arguments": {"outputs": 3}}
    description = predictor.describe(model, (4, 4, 1), ["a", "b", "c"], full_scale=255, pixel_range=pixel_range)
    params, state, _ = checkpoint.rebuild(description).init((0,), (4, 4, 1))
    predictor.from_description(description, params, state)  # warnings are errors here


def test_a_prepared_model_computes_no_other_parameters():
    saved, other = make(), make(seed=1)
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3))
    assert saved.prepared is not None and saved.prepared.made_of == (saved.model, saved.params, saved.state)
    first = saved.outputs(x)
    np.testing.assert_array_equal(saved._replace(params=other.params).outputs(x), other.outputs(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(saved)).outputs(x), first)
