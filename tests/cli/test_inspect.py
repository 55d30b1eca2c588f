"""``funcnn inspect``: the figures, and that all of them are there on any output."""

import json
import re

import commands
import numpy as np
import pytest
import saved_models
import screens
from rich.cells import cell_len

from funcnn.cli import inspect
from funcnn.estimators import ConvNetRegressor
from funcnn.profiling import LayerTime


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    arguments = {"outputs": 3, "channels": [4, 40], "hidden": [8]}

    def with_nan(path, leaf):
        return np.where(np.arange(leaf.size).reshape(leaf.shape) < 2, np.nan, leaf) if path == "0_conv2d/w" else leaf

    data = {"source": "grey.npz", "examples": 30}
    for name, change in (("grey", lambda path, leaf: leaf), ("nan", with_nan)):
        path = folder / f"{name}.safetensors"
        saved_models.save(path, "convnet", arguments, (8, 8, 1), saved_models.CLASSES, change, data=data)
    return folder


@pytest.fixture
def constant_times(monkeypatch):
    """Times that do not depend on the machine: a microsecond forward, a thousand backward."""
    from funcnn.combinators import map_layers

    def layer_times(model, *arguments, rounds):
        times = {}
        map_layers(lambda path, layer: times.setdefault(path, LayerTime([1e-6], [1e-3])) and layer, model)
        return times

    monkeypatch.setattr(inspect, "layer_times", layer_times)


def test_figures(folder, constant_times, monkeypatch):
    code, out, _ = screens.command(monkeypatch, "inspect", folder / "grey.safetensors", "--json")
    record = json.loads(out)
    layers = {row["layer"]: row for row in record["layers"]}
    conv = layers["3_conv2d"]
    assert code == 0 and conv["output"] == [4, 4, 40] and conv["parameters"] == 9 * 4 * 40 + 40
    assert conv["multiply_adds"] == 4 * 4 * 40 * 9 * 4
    assert (conv["weight_bytes"], conv["output_bytes"]) == (4 * conv["parameters"], 4 * 4 * 4 * 40)
    assert (conv["forward_us"], conv["backward_us"]) == (1.0, 1000.0)
    sizes = sum(np.prod(row["shape"], dtype=int) for row in record["weights"])
    assert sizes == sum(row["parameters"] for row in layers.values())
    (row,) = (row for row in record["weights"] if row["weights"] == "3_conv2d/w")
    assert row["min"] < row["mean"] < row["max"] and row["std"] > 0 and row["not_finite"] == 0
    _, out, _ = screens.command(monkeypatch, "inspect", folder / "nan.safetensors", "--json")
    weights = {row["weights"]: row for row in json.loads(out)["weights"]}
    assert [path for path, row in weights.items() if row["not_finite"]] == ["0_conv2d/w"]
    assert weights["0_conv2d/w"]["not_finite"] == 2 and weights["0_conv2d/w"]["min"] is not None
    assert list(weights).index("3_conv2d/w") < list(weights).index("11_dense/w")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("width", [50, 100])
def test_every_figure_on_any_output(width, encoding, folder, constant_times, monkeypatch):
    file = folder / "grey.safetensors"
    _, out, _ = screens.command(monkeypatch, "inspect", file, "--json")
    record = json.loads(out)
    figures = [f"{row['parameters']:,}" for row in record["layers"]] + [
        f"{row['multiply_adds']:,}" for row in record["layers"]
    ]
    figures += ["x".join(map(str, row["output"])) for row in record["layers"]]
    figures += ["x".join(map(str, row["shape"])) for row in record["weights"]]
    figures += [f"{row[name]:.4g}" for row in record["weights"] for name in ("mean", "std", "min", "max")]
    for mode in ("terminal", "pipe", "NO_COLOR"):
        code, out, errors = screens.command(monkeypatch, "inspect", file, width=width, encoding=encoding, mode=mode)
        assert code == 0 and not errors and out.startswith("convnet(outputs=3")
        assert "\ntrained on grey.npz, 30 examples: " in out
        assert max(map(cell_len, out.splitlines())) <= (200 if mode == "pipe" else width)
        words = out.split()
        for figure in set(figures):
            assert words.count(figure) >= figures.count(figure), figure
        assert re.search(r"3_conv2d\n +output 4x4x40" if width == 50 and mode != "pipe" else r"3_conv2d +4x4x40 ", out)


def test_on_a_narrow_terminal_without_unicode(folder):
    output, code = commands.on_a_terminal(
        "inspect", folder / "grey.safetensors", "--rounds", 1, columns=50, PYTHONIOENCODING="ascii"
    )
    assert code == 0 and output.isascii()
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in output.splitlines()]
    assert "3_conv2d" in lines and max(map(len, lines)) <= 50


def test_an_estimators_file_says_what_it_takes_and_predicts(tmp_path, monkeypatch):
    x = np.random.default_rng(0).uniform(size=(20, 8, 8))
    ConvNetRegressor((4,), max_iter=1, random_state=0).fit(x, x.mean(axis=(1, 2))).save(tmp_path / "net.safetensors")
    code, out, _ = screens.command(monkeypatch, "inspect", tmp_path / "net.safetensors")
    assert code == 0 and "None" not in out.partition("dropout_rate")[2].partition("\n")[2]
    assert out.splitlines()[1:3] == ["takes images of 8x8, 1 channel", "predicts numbers"]
