"""The history of a run: records of epochs, as JSON lines, as CSV, as a table, as a curve."""

import csv

import numpy as np
import pytest

from funcnn import history, losses, metrics, models, optim, training
from funcnn.history import History

ROWS = [
    {"epoch": 1, "step": 3, "loss": 0.75, "validation_loss": 0.5},
    {"epoch": 2, "step": 6, "loss": float("nan"), "validation_loss": 0.25},
]


def test_json_is_strict():
    record = {"loss": float("nan"), "rows": [{"a": float("-inf"), "b": 0.5}], "names": ("x\x1b", None, True)}
    assert (
        history.json_line(record)
        == '{"loss": null, "rows": [{"a": null, "b": 0.5}], "names": ["x\\u001b", null, true]}'
    )


def test_a_run_is_recorded_epoch_by_epoch():
    x, labels = np.eye(6, dtype=np.float32), np.arange(6) % 2
    run = History()
    for epoch in training.fit(
        models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, epochs=2, batch_size=3, key=(0,),
        validation=(x, labels), metrics={"accuracy": metrics.accuracy},
    ):  # fmt: skip
        run.add(epoch)
    assert [(row["epoch"], row["step"]) for row in run] == [(1, 2), (2, 4)]
    assert run[-1]["loss"] == epoch.loss and run[-1]["validation_accuracy"] == epoch.validation["accuracy"]
    assert History.of([epoch])[0] == run[-1]


def test_json_lines_are_read_back_and_can_be_continued_by_the_command(tmp_path):
    History(ROWS).save(tmp_path / "run.jsonl")
    rows = history.read(tmp_path / "run.jsonl")
    assert rows == [{"record": "epoch", **ROWS[0]}, {"record": "epoch", **ROWS[1], "loss": None}]
    rows.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "run.jsonl").read_bytes()


def test_csv_has_a_column_for_each_name_and_nothing_for_what_is_not_finite(tmp_path):
    History([*ROWS, {"epoch": 3, "step": 9, "loss": 0.125, "seconds": 1.5}]).save(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "loss", "validation_loss", "seconds"]
    assert [float(row["loss"] or "nan") for row in rows] == pytest.approx([0.75, np.nan, 0.125], nan_ok=True)
    assert rows[2]["validation_loss"] == "" and rows[2]["seconds"] == "1.5"
