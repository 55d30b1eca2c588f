"""What the page in the browser runs, outside of it: its files, its drawings, and its training in turns."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from playground import strokes

from funcnn import checkpoint, models, predictor
from funcnn.onnx import to_onnx
from funcnn.training import TrainState

PAGE = Path(__file__).parents[2] / "scripts" / "site" / "playground"

# In a process of its own, where the stand-ins take the place of safetensors and onnx from the beginning.
SCRIPT = """
import json, sys
from pathlib import Path
import playground
import numpy as np
from funcnn import data, tree

folder = Path(sys.argv[1])
x, labels = data.digits()
np.savez(folder / "digits.npz", images=(16 * x[..., 0]).astype(np.uint8), labels=labels)
digits = playground.digits(folder / "digits.npz")
two = playground.own([{"name": name, "images": [[shade] * 64] * 3} for name, shade in (("dark", 16), ("light", 2))])
settings = {"source": "digits", "channels": [4], "kernel_size": 3, "hidden": [8], "rate": 0.01}
networks = {
    "convnet": (digits, settings),
    "deeper": (digits, settings | {"channels": [2, 3], "kernel_size": 5, "hidden": []}),
    "mlp": (digits, settings | {"channels": []}),
    "two": (two, settings | {"rate": 0.03}),
}
told = {}
for name, (examples, chosen) in networks.items():
    run = playground.start(json.dumps(chosen), examples)
    reports = [json.loads(playground.report(run))]
    while run.train_state.epoch < 3:
        run = playground.advance(run, 0.05)
        reports.append(json.loads(playground.report(run)))
    (folder / f"{name}.safetensors").write_bytes(playground.safetensors(run))
    (folder / f"{name}.onnx").write_bytes(playground.onnx(run))
    images = examples[0][:3]
    answers = [json.loads(playground.probabilities(run, json.dumps(image.ravel().tolist()))) for image in images]
    view = json.loads(playground.first_layer(run, json.dumps(images[0].ravel().tolist())))
    told[name] = {"reports": reports, "images": images.tolist(), "answers": answers, "view": view}

run = playground.start(json.dumps(settings | {"rate": 1000.0}), digits)
while run.train_state.epoch < 2:
    run = playground.advance(run, 10)
told["wild"] = {"report": playground.report(run), "validation_loss": run.trained.history[-1]["validation_loss"]}
try:
    playground.advance(playground.start(json.dumps(settings | {"rate": 1e30}), digits), 10)
except ValueError as error:
    told["wild"]["diverged"] = str(error)
lost = run._replace(trained=run.trained._replace(params=tree.map(lambda leaf: leaf * np.nan, run.trained.params)))
try:
    playground.first_layer(lost, json.dumps([1] * 64))
except ValueError as error:
    told["wild"]["lost"] = str(error)
(folder / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    paths = {"PYTHONPATH": f"{PAGE}:{PAGE.parents[2]}", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True, env=paths)
    return folder


@pytest.fixture(scope="module")
def told(written):
    return json.loads((written / "told.json").read_text())


NETWORKS = ["convnet", "deeper", "mlp", "two"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_of_a_network_gives_the_predictions_of_the_page(written, told, name):
    loaded = predictor.load(written / f"{name}.safetensors")
    images, answers = told[name]["images"], told[name]["answers"]
    np.testing.assert_array_equal(
        [loaded.predict_proba([image])[0] for image in images], [answer["probabilities"] for answer in answers]
    )
    assert answers[0]["classes"] == loaded.classes
    assert [row["epoch"] for row in loaded.history] == [1, 2, 3]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stand_in_writes_the_same_onnx_as_the_library_does(written, name):
    loaded = predictor.load(written / f"{name}.safetensors")
    by_page = onnx.load(written / f"{name}.onnx")
    metadata = {entry.key: entry.value for entry in by_page.metadata_props}
    assert metadata == {
        "classes": json.dumps(loaded.classes), "outputs": "probabilities", "inputs": "pixels divided by 16"
    }  # fmt: skip
    by_library = to_onnx(
        loaded.model, loaded.params, loaded.state, loaded.in_shape, probabilities=True, metadata=metadata
    )
    assert by_page == by_library
    onnx.checker.check_model(by_page, full_check=True)


def test_the_stand_in_writes_the_same_safetensors_as_the_package_does(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PAGE))
    import standins

    params, state, _ = models.mlp(outputs=3).init((0,), (4,))
    counts = {"count": np.arange(3), "on": np.array([True]), "half": np.ones(2, np.float16), "size": np.uint8(3)}
    saved = checkpoint.Checkpoint(TrainState(params, state, counts, (0,), epoch=0, step=0), {"of": "größer"})
    checkpoint.save(tmp_path / "package", saved)
    monkeypatch.setattr(checkpoint.safetensors.numpy, "save", standins.save)
    checkpoint.save(tmp_path / "stand-in", saved)
    by_package, by_stand_in = (checkpoint.load(tmp_path / name) for name in ("package", "stand-in"))
    assert by_stand_in.description == by_package.description
    for one, other in zip(by_stand_in.train_state[:3], by_package.train_state[:3], strict=True):
        assert checkpoint.signature(one) == checkpoint.signature(other)
    np.testing.assert_array_equal(by_stand_in.train_state.opt_state["count"], [0, 1, 2])
    np.testing.assert_array_equal(by_stand_in.train_state.params["1_dense"]["w"], params["1_dense"]["w"])


def test_turns_report_their_progress(told):
    for name, examples, held_out in (("convnet", 1438, 359), ("two", 6, 0)):
        reports = told[name]["reports"]
        at = [report["at"] for report in reports]
        assert at[0] == 0 and at[-1] == 3 and at == sorted(set(at))
        assert reports[0]["loss"] is None and reports[0]["last"] is None
        assert {(report["examples"], report["held_out"]) for report in reports} == {(examples, held_out)}
        assert reports[-1]["last"]["epoch"] == 3
    assert told["two"]["reports"][-1]["last"]["validation_accuracy"] == 1


def test_the_first_layer_is_shown(told):
    views = {name: told[name]["view"] for name in NETWORKS}
    assert {name: (np.shape(view["kernels"]), np.shape(view["maps"])) for name, view in views.items()} == {
        "convnet": ((4, 3, 3), (4, 8, 8)), "deeper": ((2, 5, 5), (2, 8, 8)), "mlp": ((8, 8, 8), (8, 1, 1)),
        "two": ((4, 3, 3), (4, 8, 8)),
    }  # fmt: skip
    assert min(np.min(view["maps"]) for view in views.values()) >= 0


def test_numbers_that_are_not_finite_are_no_json_but_an_error(told):
    wild = told["wild"]
    assert "Infinity" not in wild["report"] and "NaN" not in wild["report"]
    assert wild["diverged"].startswith("training diverged: the loss is ") and "lower learning rate" in wild["diverged"]
    assert wild["lost"] == "what the network computes is no longer finite; start again with a lower learning rate"


def test_the_page_has_the_link_that_the_builder_removes_where_there_is_no_site(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGE.parent))
    from builder import playground

    assert (PAGE / "index.html").read_text("utf-8").count(playground.LINK) == 1


@pytest.fixture
def image_of(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGE))
    from drawing import image_of

    return image_of


@pytest.mark.parametrize("digit", strokes.DIGITS)
def test_a_drawn_digit_is_as_high_as_the_digits_are_and_has_as_much_ink(image_of, digit):
    image = image_of(strokes.DIGITS[digit])
    assert image.shape == (8, 8) and image.min() >= 0 and image.max() <= 16
    assert 295 <= image.sum() <= 330  # of 1024 bits; the means of the ten digits are from 303 to 330
    assert image[0].any() and image[-1].any()
    assert not image[:, 0].any() and not image[:, -1].any()


def test_place_and_size_of_a_drawing_do_not_matter(image_of):
    (points,) = strokes.DIGITS["2"]
    small = [[(0.7 + x / 4, y / 4) for x, y in points]]
    np.testing.assert_array_equal(image_of(small), image_of([points]))


def test_dots_and_dashes_are_not_blown_up(image_of):
    dot, dash = image_of([[(0.1, 0.9)]]), image_of([[(0.1, 0.9), (0.6, 0.9)]])
    assert 60 <= dot.sum() <= 90 and dot[3:5, 3:5].min() == 16
    assert dash[:2].max() == dash[-2:].max() == 0 < dash[3:5, 1:7].min()
    assert image_of([]).sum() == 0


def test_a_long_scribble_takes_little_memory(image_of):
    turns = np.linspace(0, 60, 2000)
    scribble = np.stack([0.5 + 0.45 * np.sin(1.7 * turns), 0.5 + 0.45 * np.cos(2.3 * turns)], axis=1)
    tracemalloc.start()
    image = image_of([scribble.tolist()])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 and image.sum() > 250


def test_most_drawn_digits_are_near_their_own_class(image_of):
    """The nearest mean of the digits' classes, without any network."""
    from funcnn import data

    x, labels = data.digits()
    means = np.stack([16 * x[labels == digit, ..., 0].mean(axis=0) for digit in range(10)])
    nearest = {
        digit: str(np.abs(means - image_of(drawing)).sum(axis=(1, 2)).argmin())
        for digit, drawing in strokes.DIGITS.items()
    }
    assert sum(digit == found for digit, found in nearest.items()) >= 7, nearest
