"""What a notebook displays: tables of what people look at, and a whole notebook with a kernel where there is one."""

import functools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from funcnn import (
    data,
    html,
    intermediates,
    layers,
    losses,
    metrics,
    models,
    optim,
    predictor,
    profiling,
    serial,
    summary,
    training,
)
from funcnn.history import History

X, LABELS = np.eye(6, dtype=np.float32), np.arange(6) % 3
MODEL = serial(layers.dense(4), layers.relu(), layers.dense(3))
PARAMS, STATE, _ = MODEL.init((0,), (6,))


@functools.cache
def displayed():
    """Objects by what they are."""
    epochs = training.fit(
        MODEL, losses.softmax_cross_entropy, optim.sgd(0.1), X, LABELS, epochs=1, batch_size=6, key=(0,),
        validation=(X, LABELS), metrics={"accuracy": metrics.accuracy},
    )  # fmt: skip
    epoch = next(epochs)
    description = predictor.describe({"name": "mlp", "arguments": {"outputs": 3}}, (6,), ["<a>", "b&c", "d"])
    trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (6,))[:2])
    found = training.LearningRates(np.array([0.1, 1.0]), np.array([0.5, np.inf]), 0.7, 0.05, "half of the best")
    network = MODEL, losses.softmax_cross_entropy, PARAMS, STATE, X, LABELS
    return {
        "layer": (MODEL, "serial(dense(4), relu(), dense(3))"),
        "summary": (summary.summary(MODEL, (6,)), "<td>0_dense</td><td>4</td>"),
        "epoch": (epoch, "<td>validation accuracy</td>"),
        "history": (History.of([epoch]), "<th>validation_accuracy</th>"),
        "predictor": (trained, "&lt;a&gt;"),
        "statistics": (intermediates.layer_statistics(*network), "<th>gradient norm</th>"),
        "times": (profiling.layer_times(MODEL, PARAMS, STATE, X, rounds=1), "<td>2_dense</td>"),
        "learning rates": (found, "<caption>half of the best</caption>"),
    }


@pytest.mark.parametrize("what", displayed())
def test_what_people_look_at_is_displayed_as_html_that_is_well_formed_and_has_no_colours(what):
    shown, part = displayed()[what]
    content = shown._repr_html_()
    ElementTree.fromstring(f"<html>{content}</html>")
    assert part in content
    assert not re.search("color|background", content)  # so it is read on light and on dark pages


def test_html_of_any_text_is_text():
    content = html.table(["<b>"], [["<script>", "a & b"], [1.5, 12345], [True, (2, 3)]], "</table>")
    table = ElementTree.fromstring(content)
    assert list(table.itertext()) == ["</table>", "<b>", "<script>", "a & b", "1.5", "12,345", "True", "2×3"]


def test_a_summary_prints_as_a_table_and_is_a_list():
    rows = summary.summary(MODEL, (6,))
    assert str(rows) == summary.format_summary(rows) and str(rows).splitlines()[-1].startswith("total")
    assert rows == list(rows) and repr(rows).startswith("[Row(path='0_dense'")


CELLS = [
    """
from funcnn import data, losses, models, optim, predictor, show, summary, training
from funcnn.history import History
model = models.mlp(outputs=10, hidden=[8])
model
""",
    "summary.summary(model, (8, 8, 1))",
    """
dataset = data.open("digits")
fit = training.fit(model, losses.softmax_cross_entropy, optim.adam(0.01), dataset.x[:64], dataset.labels[:64],
                   epochs=3, key=(0,))
run = History()
for epoch in show.live(fit, 3):
    run.add(epoch)
""",
    "run",
    """
description = predictor.describe({"name": "mlp", "arguments": {"outputs": 10, "hidden": [8]}}, (8, 8, 1),
                                 dataset.classes, full_scale=1)
trained = predictor.from_description(description, epoch.train_state.params, epoch.train_state.state)
trained
""",
    "show.kernels(trained, limit=2)",
    "axes = run.plot()",
    "axes = show.curves(run).plot()",
]


def test_a_notebook_is_executed_and_its_curve_is_updated_in_place(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="make notebook installs what runs a notebook")
    for needed in ("ipykernel", "matplotlib"):
        pytest.importorskip(needed, reason="make notebook installs what runs a notebook")
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(cells=[new_code_cell(cell.strip()) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [[dict(output.get("data", {})) for output in cell.outputs] for cell in notebook.cells]
    kinds = [[sorted(content)[0] for content in cell] for cell in outputs]
    table, picture, figure = ["text/html"], ["image/svg+xml"], ["image/png"]
    assert kinds == [table, table, picture, table, table, picture, figure, figure]
    (curve,) = (content["image/svg+xml"] for content in outputs[2])  # one, of all three epochs
    (run,) = (content["text/html"] for content in outputs[3])
    assert curve.count("<polyline") >= 1 and run.count("<tr>") == 4
    assert not list(Path(tmp_path).iterdir())


def test_the_notebook_s_code_runs_without_one(capsys):
    names = {}
    for cell in CELLS[:3]:
        exec(cell, names)
    assert len(names["run"]) == 3
    assert capsys.readouterr().err.count("epoch") == 3  # a line each: the progress, where nothing can be updated
    assert data.open("digits").classes == names["dataset"].classes
