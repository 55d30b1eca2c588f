"""`funcnn train --from FILE --freeze LAYERS`: what a run takes over, what it makes anew, and what it refuses."""

import json

import commands
import numpy as np
import onnx
import pytest
import safetensors.numpy
import screens
import shapes

from funcnn import models, predictor, training, tree
from funcnn.cli import pretrained, runs, training_loop
from funcnn.cli.train import Scaling
from funcnn.combinators import serial
from funcnn.data import open as open_data
from funcnn.data.scaling import PIXEL_SCALINGS
from funcnn.layers import batch_norm, conv2d, dense, global_avg_pool, relu

SHORT = ("--epochs", 2, "--batch-size", 16, "--threads", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of three shapes, and networks that were not trained on them."""
    from funcnn.onnx import to_onnx

    place = tmp_path_factory.mktemp("fine_tuning")
    shapes.make(place / "shapes", each=12)
    resnet = models.resnet(4, blocks=(1, 1), channels=(4, 8))
    params, state, _ = resnet.init((0,), (16, 16, 3))
    proto = to_onnx(resnet, params, state, (16, 16, 3), fold=False)
    (place / "resnet.onnx").write_bytes(proto.SerializeToString())
    rows = np.random.default_rng(0).standard_normal((60, 4))
    for name, classes in (("rows", 2), ("more", 3)):
        np.savez(place / f"{name}.npz", x=rows, y=np.digitize(rows[:, 0], (0, 0.8)[: classes - 1]))
    return place


def train(place, *options, code=0):
    result = commands.run("train", *options, cwd=place)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def assert_equal(a, b):
    """Two lists of trees are the same bits."""
    for one, other in zip(a, b, strict=True):
        assert tree.paths(one) == tree.paths(other)
        for leaf, same in zip(tree.leaves(one), tree.leaves(other), strict=True):
            np.testing.assert_array_equal(leaf, same)


def begun(place, file, classes, freeze, scaling=""):
    return pretrained.begin(pretrained.read(place / file), classes, freeze=freeze, scaling=scaling, seed=0)


def outputs_of(beginning, x):
    model = models.build(json.loads(json.dumps(beginning.model)))
    return model.forward(beginning.params, x, beginning.state, train=False)[0]


def test_frozen_body_of_an_onnx_file_under_a_new_head(place):
    options = ("--data", "shapes", "--from", "resnet.onnx", "--freeze", "body", *SHORT, "--output", "body.safetensors")
    said = train(place, *options)
    assert "images of 16x16, 3 channels; 3 classes" in said
    assert "resnet.onnx: its head, of 4 outputs, is made anew for 3 classes" in said
    assert "ImageNet's pixels, as the file does not say how" in said
    assert "27 of 1,391 parameters are trained" in said
    trained, file = predictor.load(place / "body.safetensors"), pretrained.read(place / "resnet.onnx")
    again = pretrained.read(place / "body.safetensors")
    assert_equal(again.params[:-1], file.params[:-1])
    assert trained.preprocessing["mean"] == [0.485, 0.456, 0.406]
    said_by = {
        ("evaluate", "body.safetensors", "shapes"): "accuracy",
        ("predict", "body.safetensors", "shapes/circle"): "circle",
        ("inspect", "body.safetensors"): "fine_tuned(body=network(nodes=[21 layers]), frozen_layers=20)",
        ("show", "attribution", "body.safetensors", "shapes"): "Grad-CAM of the maps of 0_frozen/",
    }
    for command, expected in said_by.items():
        result = commands.run(*command, cwd=place)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout


def test_features_of_a_frozen_body_train_the_same_model_as_the_body_itself(place):
    dataset = open_data(str(place / "shapes"), (16, 16), 3, fit="pad")
    given = dict.fromkeys(runs.Run._fields) | {"data": str(place / "shapes"), "freeze": "all-but-2", "epochs": 2}
    run = runs.new_run(given | {"from_file": "resnet.onnx", "shift": 0}, file := pretrained.read(place / "resnet.onnx"))
    splits = runs.hold_out(run, dataset)
    beginning = pretrained.begin(file, dataset.classes, freeze=run.freeze, scaling="", seed=0)
    model, initial = runs.start(run, dataset, splits, beginning)
    with_features = training_loop.train(run, model, initial, dataset, splits, quiet=True).checkpoint.train_state

    calls = []
    whole = model._replace(forward=lambda *args, **options: calls.append(1) or model.forward(*args, **options))
    whole = whole._replace(children=(), rebuild=None)  # nothing tells that it begins with a frozen layer
    without = training_loop.train(run, whole, initial, dataset, splits, quiet=True).checkpoint.train_state
    assert calls
    assert tree.paths(with_features.state) == tree.paths(without.state) == tree.paths(initial.train_state.state)
    for of in ("params", "state"):  # the last layers' statistics are trained, too
        for a, b in zip(*(tree.leaves(getattr(end, of)) for end in (with_features, without)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert_equal([with_features.state["0_frozen"]], [initial.train_state.state["0_frozen"]])


def test_a_frozen_run_resumes_bit_for_bit(place):
    options = ("--data", "shapes", "--from", "resnet.onnx", "--freeze", "body", "--batch-size", 16, "--threads", 1)
    options = (*options, "--epochs", 3)
    train(place, *options, "--output", "unbroken.safetensors", "--checkpoints", "c", "--keep", 9)
    steps = sorted((place / "c").glob("step-*.safetensors"), key=lambda path: int(path.stem[5:]))
    train(place, "--resume", steps[0], "--output", "resumed.safetensors", "--checkpoints", "d")
    a, b = (safetensors.numpy.load_file(place / f"{name}.safetensors") for name in ("unbroken", "resumed"))
    a.pop("history"), b.pop("history")
    assert a.keys() == b.keys()
    assert all((a[name] == b[name]).all() for name in a)
    assert any(name.startswith("state/0_frozen/params/") for name in a)


def test_a_finished_run_is_trained_longer_on_its_own_split(place):
    train(place, "--data", "shapes", *SHORT, "--seed", 3, "--test", 0.3, "--output", "first.safetensors")
    said = train(place, "--from", "first.safetensors", *SHORT, "--output", "longer.safetensors")
    assert "its head is kept, for 3 classes" in said
    first, longer = (predictor.load(place / f"{name}.safetensors").description for name in ("first", "longer"))
    assert longer["model"] == first["model"]
    assert longer["split"] == first["split"]
    assert longer["preprocessing"] == first["preprocessing"]
    said = train(place, "--from", "first.safetensors", *SHORT, "--seed", 4)
    assert "was trained on another part of shapes" in said
    said = train(place, "--from", "first.safetensors", "--folds", 2, code=2)
    assert "was trained on most of them" in said


def test_a_frozen_body_is_thawed(place):
    beginning = begun(place, "resnet.onnx", ["a", "b", "c"], "all-but-2")
    description = predictor.describe(beginning.model, (16, 16, 3), ["a", "b", "c"])
    predictor.from_description(description, beginning.params, beginning.state).save(place / "frozen.safetensors")
    thawed = begun(place, "frozen.safetensors", ["a", "b", "c"], "none")
    assert thawed.model["name"] == "network"
    x = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(outputs_of(thawed, x), outputs_of(beginning, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("freeze", ["none", "body", "all-but-2", "all-but-4"])
def test_a_file_begins_with_its_own_outputs(place, freeze):
    """The head is kept where the number of classes is that of the outputs."""
    import onnxruntime

    beginning = begun(place, "resnet.onnx", list("abcd"), freeze)
    assert "its head is kept" in beginning.notes[0]
    x = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    (expected,) = onnxruntime.InferenceSession(str(place / "resnet.onnx")).run(None, {"x": x})
    np.testing.assert_allclose(outputs_of(beginning, x), expected, rtol=1e-4, atol=1e-5)


def test_layers_are_frozen_up_to_a_place_where_one_value_passes(place):
    """A residual block is trained as a whole."""
    counts = {}
    for freeze in ("body", "all-but-2", "all-but-4", "all-but-5"):
        beginning = begun(place, "resnet.onnx", list("abcd"), freeze)
        counts[freeze] = beginning.model["arguments"]["frozen_layers"]
    assert counts["body"] == 20
    assert counts["all-but-2"] == counts["all-but-4"] == 10
    assert counts["all-but-5"] < 10
    with pytest.raises(ValueError, match=r"--freeze all-but-7 leaves no layer of .* to be frozen: 7 have weights"):
        begun(place, "resnet.onnx", list("abcd"), "all-but-7")


def test_our_own_export_brings_scaling_and_classes(place):
    train(place, "--data", "shapes", *SHORT, "--output", "net.safetensors")
    result = commands.run("export", "net.safetensors", "net.onnx", "--probabilities", cwd=place)
    assert result.returncode == 0, result.stderr
    ours, file = (pretrained.read(place / f"net.{kind}") for kind in ("safetensors", "onnx"))
    for name in ("mean", "std"):
        np.testing.assert_allclose(file.scaling[name], np.ravel(ours.scaling[name]), rtol=1e-5)
    assert file.classes == ours.classes == ["circle", "square", "triangle"]
    assert file.description["preprocessing"] == {"full_scale": 255.0}
    x = np.random.default_rng(0).random((2, 24, 24, 3), np.float32)
    a, b = (outputs_of(begun(place, f"net.{kind}", ours.classes, "none"), x) for kind in ("safetensors", "onnx"))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    other = begun(place, "net.onnx", ["ant", "bee", "cow"], "none")
    assert "its head, for the 3 classes circle, square, triangle, is made anew" in other.notes[0]


def test_a_file_that_scales_pixels_of_255_itself(tmp_path):
    from funcnn.onnx import to_onnx

    model = models.lenet5(3)
    params, state, _ = model.init((0,), (16, 16, 3))
    proto = to_onnx(model, params, state, (16, 16, 3), offset=127.5, scale=255 / 2)
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    found = pretrained.read(tmp_path / "net.onnx")
    np.testing.assert_allclose(found.scaling["mean"], [0.5] * 3, rtol=1e-6)
    np.testing.assert_allclose(found.scaling["std"], [0.5] * 3, rtol=1e-6)


def test_a_file_without_a_head_and_one_whose_classifier_is_a_convolution(tmp_path):
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (6, 3, 3, 3)), ("v", (5, 6, 1, 1)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]), helper.make_node("Softmax", ["e"], ["y"]),
    ]  # fmt: skip
    for count, output, name in ((2, "b", "body"), (6, "y", "classifier")):
        graph = helper.make_graph(nodes[:count], name, [x], [y], weights)
        graph.output[0].name = output
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
        found = begun(tmp_path, f"{name}.onnx", list("abc"), "body")
        assert "which the file does not have, is made anew for 3 classes" in found.notes[0]
        layers = [node["layer"] for node in found.model["arguments"]["body"]["arguments"]["nodes"]]
        assert layers == ["conv2d", "relu", "global_avg_pool", "dense"]


def test_grey_images_and_rows(place):
    images = np.random.default_rng(0).integers(0, 256, (30, 20, 20), dtype=np.uint8)
    np.savez(place / "grey.npz", x=images, y=np.arange(30) % 2)
    said = train(place, "--data", "grey.npz", "--from", "resnet.onnx", *SHORT, "--output", "grey.safetensors")
    assert "grey images are repeated to 3 channels" in said
    assert predictor.load(place / "grey.safetensors").predict(images[:2]).shape == (2,)
    train(place, "--data", "rows.npz", "--model", "mlp", *SHORT, "--output", "rows.safetensors")
    said = train(place, "--data", "more.npz", "--from", "rows.safetensors", "--freeze", "body", *SHORT)
    assert "its head, for the 2 classes 0, 1, is made anew for 3 classes" in said
    assert " rows of 4 features; 3 classes" in said
    said = train(place, "--data", "shapes", "--from", "rows.safetensors", code=2)
    assert "rows.safetensors takes 4 features; --data shapes has images of 24x24, 3 channels" in said


REFUSED = {
    ("--from", "resnet.onnx", "--model", "vgg"): "--model vgg cannot be combined with --from resnet.onnx",
    ("--from", "resnet.onnx", "--dropout", 0.5): "--dropout 0.5 cannot be combined with --from resnet.onnx",
    ("--from", "resnet.onnx", "--freeze", "all"): "--freeze all: must be none, body, or all-but-N such as all-but-2",
    ("--from", "resnet.onnx", "--image-size", 32): "--image-size 32: resnet.onnx takes images of 16x16, 3 channels",
    (
        "--from",
        "resnet.onnx",
        "--data",
        "iris",
    ): "--from resnet.onnx takes images of 16x16, 3 channels; --data iris has 4 features",
    ("--from", "resnet.onnx", "--output", "resnet.onnx"): "--output resnet.onnx would replace --from resnet.onnx",
    ("--freeze", "body"): "--freeze body needs --from FILE",
    ("--scaling", "data"): "--scaling data needs --from FILE",
    ("--from", ""): "--from needs a file, and its name is empty",
    (
        "--from",
        "resnet.onnx",
        "--data",
        "rows.npz",
        "--skip-broken",
    ): "--skip-broken leaves out image files; --data rows.npz has none",
}


@pytest.mark.parametrize(("options", "message"), REFUSED.items(), ids=[" ".join(map(str, o)) for o in REFUSED])
def test_options_that_cannot_be_combined(place, options, message):
    said = train(place, "--data", "shapes", *options, code=2)
    assert message in said
    assert said.count("\n") == 1


def test_every_scaling_of_pixels_is_a_value_of_the_option():
    assert list(Scaling) == [*PIXEL_SCALINGS, "raw", "data"]


@pytest.mark.parametrize(
    ("scaling", "black", "white"), [("0..1", 0, 1), ("0..255", 0, 255), ("-1..1", -1, 1), ("raw", 0, 255)]
)
def test_a_network_takes_pixels_in_the_range_that_scaling_names(place, scaling, black, white):
    found = pretrained.read(place / "resnet.onnx")
    beginning = pretrained.begin(found, list("abc"), freeze="none", scaling=scaling, seed=0, full_scale=255.0)
    made = predictor.preprocessing_for((16, 16, 3), beginning.scaling, full_scale=255)
    x = np.zeros((2, 16, 16, 3)) + np.array([0, 255])[:, None, None, None]
    np.testing.assert_allclose(predictor.preprocess(x, made)[:, 0, 0, 0], [black, white], rtol=1e-6)
    said = "the pixels as they are" if scaling == "raw" else f"pixels from {black} to {white}"
    assert beginning.notes[1].endswith(f"its inputs are {said}")


def test_a_file_that_begins_with_the_statistics_of_pixels_of_255(tmp_path):
    from funcnn.onnx import to_onnx

    model = serial(batch_norm(), conv2d(4, 3), relu(), global_avg_pool(), dense(3))
    params, state, _ = model.init((0,), (8, 8, 3))
    state["0_batch_norm"] = {"mean": np.full(3, 120, np.float32), "var": np.full(3, 3600, np.float32)}
    proto = to_onnx(model, params, state, (8, 8, 3))
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    beginning = begun(tmp_path, "net.onnx", list("abc"), "body")
    assert beginning.notes[1].endswith("its inputs are pixels from 0 to 255, as it was trained")
    assert beginning.model["arguments"]["body"]["arguments"]["nodes"][0]["layer"] == "batch_norm"


def test_the_head_is_kept_for_the_same_classes_in_another_order(place):
    x, y = np.random.default_rng(0).random((30, 6, 6)), np.arange(30) % 3
    names = np.array(["ant", "bee", "cow"])
    np.savez(place / "abc.npz", x=x, y=y, classes=names)
    np.savez(place / "cba.npz", x=x, y=2 - y, classes=names[::-1])
    options = ("--model", "mlp", *SHORT, "--output", "abc.safetensors")
    train(place, "--data", "abc.npz", *options)
    said = train(place, "--data", "cba.npz", "--from", "abc.safetensors", *SHORT, "--checkpoints", "reordered")
    assert "its head is kept, for 3 classes" in said
    assert "another part of" not in said
    a, b = (predictor.load(place / name).description["data"] for name in ("abc.safetensors", "reordered"))
    assert a["classes"] == b["classes"]
    assert a["fingerprint"] == b["fingerprint"]
    train(place, "--resume", "reordered")


def test_the_features_of_the_test_part_are_computed_once_at_the_end(place, monkeypatch):
    counts = []
    predict = training.predict

    def counting(model, params, state, x, **options):
        counts.append(len(x))
        return predict(model, params, state, x, **options)

    monkeypatch.setattr(training, "predict", counting)
    options = ("--data", "shapes", "--from", "resnet.onnx", "--freeze", "body", *SHORT, "--quiet")
    monkeypatch.chdir(place)
    code, _, errors = screens.command(monkeypatch, "train", *options)
    assert (code, errors) == (0, "")
    assert counts[0] == 36 - 7
    assert counts[-1] == 7


def test_a_network_of_four_channels_is_one_line(tmp_path, place):
    from funcnn.onnx import to_onnx

    model = models.lenet5(3)
    proto = to_onnx(model, *model.init((0,), (16, 16, 4))[:2], (16, 16, 4))
    (place / "four.onnx").write_bytes(proto.SerializeToString())
    said = train(place, "--data", "shapes", "--from", "four.onnx", code=2)
    assert "four.onnx takes images of 16x16, 4 channels; --data shapes has images of 1 or 3 channels" in said


@pytest.mark.parametrize("content", [None, b"", b"no ONNX"])
def test_a_file_that_is_no_network_is_one_line(place, content):
    if content is not None:
        (place / "broken.onnx").write_bytes(content)
    said = train(place, "--data", "shapes", "--from", "missing.onnx" if content is None else "broken.onnx", code=1)
    assert said.count("\n") == 1
    assert ".onnx" in said


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "features.0.weight"])
def test_weights_of_torchvision_are_refused_with_what_to_call(tmp_path, name):
    safetensors.numpy.save_file({name: np.zeros((4, 3, 3, 3), np.float32)}, tmp_path / "net.safetensors")
    with pytest.raises(
        ValueError, match=r"weights of torchvision without their network.*from_torchvision.*\.onnx file"
    ):
        pretrained.read(tmp_path / "net.safetensors")
