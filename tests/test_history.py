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


@pytest.mark.parametrize("suffix", history.FORMATS)
def test_what_is_saved_is_read_back_and_saved_again_as_the_same_bytes(tmp_path, suffix):
    rows = [*ROWS[:1], {"epoch": 2, "step": 6, "loss": 1 / 3, "note": 'a "b", c', "seconds": 2.0}]
    History(rows).save(tmp_path / f"run{suffix}")
    read = history.read(tmp_path / f"run{suffix}")
    assert read == [{"record": "epoch", **row} for row in rows]
    assert [type(value) for value in read[1].values()] == [str, int, int, float, str, float]
    History(rows).save(tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == (tmp_path / f"run{suffix}").read_bytes()
    assert history.read(tmp_path / f"missing{suffix}") == []


def test_what_is_not_finite_is_null_in_json_and_left_out_in_csv(tmp_path):
    for suffix, row in {".jsonl": {**ROWS[1], "loss": None}, ".json": {**ROWS[1], "loss": None}}.items():
        History(ROWS).save(tmp_path / f"run{suffix}")
        assert history.read(tmp_path / f"run{suffix}")[1] == {"record": "epoch", **row}
    History(ROWS).save(tmp_path / "run.csv")
    assert "loss" not in history.read(tmp_path / "run.csv")[1]


@pytest.mark.parametrize("suffix", history.FORMATS)
def test_an_unfinished_last_record_is_left_out(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    History(ROWS).save(path)
    whole = path.read_text()
    second = whole.rindex("2,") if suffix == ".csv" else whole.rindex("{")
    for end in range(second + 1, len(whole) - len("\n]\n")):
        path.write_text(whole[:end])
        assert [row["step"] for row in history.read(path)] == [3]


@pytest.mark.parametrize("suffix", history.FORMATS)
@pytest.mark.parametrize(
    "text", ["years of work\n", "years of work", "[1, 2]", '{"epoch": 1}\n', "epoch,loss\n1,2\n", "[" * 99999]
)
def test_other_files_are_no_histories(tmp_path, suffix, text):
    path = tmp_path / f"thesis{suffix}"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=rf"thesis{suffix} is not a history of a run: (line|record|row) 1 has no record"
    ):
        history.read(path)


def test_the_name_says_the_format(tmp_path):
    for name in ("run", "run.txt", "run.csv.gz"):
        with pytest.raises(
            ValueError, match=r"the name of a history ends in \.jsonl \(JSON lines\), \.json \(JSON\) or \.csv"
        ):
            History(ROWS).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_column_for_each_name_and_nothing_for_what_is_not_finite(tmp_path):
    History([*ROWS, {"epoch": 3, "step": 9, "loss": 0.125, "seconds": 1.5}]).save(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "loss", "validation_loss", "seconds"]
    assert [float(row["loss"] or "nan") for row in rows] == pytest.approx([0.75, np.nan, 0.125], nan_ok=True)
    assert rows[2]["validation_loss"] == "" and rows[2]["seconds"] == "1.5"
