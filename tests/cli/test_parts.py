"""Parts of a data set: the one that a run has trained on, and those that it has held out."""

import numpy as np
import pytest

from funcnn.cli import runs
from funcnn.cli.parts import Part, select_part
from funcnn.data import Dataset
from funcnn.predictor import Predictor

RUN = runs.Run(
    model="mlp", data="rows.npz", image_size=0, epochs=1, batch_size=8, optimizer="sgd", learning_rate=0.1,
    schedule="constant", weight_decay=0.0, dropout=0.0, shift=0, seed=3, threads=1, validation=0.1, test=0.2,
    early_stopping=0,
)  # fmt: skip


def dataset(names=()):
    x = np.arange(100, dtype=np.float32)[:, None]
    return Dataset(x, np.arange(100) % 2, ["even", "odd"], names)


def trained(run=RUN, on=None):
    description = {
        "data": {"source": run.data, "fingerprint": runs.fingerprint(on or dataset())},
        "run": run._asdict(),
        "split": runs.split_record(run),
    }
    return Predictor(None, {}, {}, (1,), ["even", "odd"], {}, description, [])


def test_parts_are_those_of_the_run_and_keep_their_numbers():
    data, splits = dataset(), runs.hold_out(RUN, dataset())
    for part, size in ((Part.train, 70), (Part.validation, 10), (Part.test, 20)):
        selection = select_part(trained(), data, "rows.npz", part)
        np.testing.assert_array_equal(selection.dataset.x[:, 0], np.sort(getattr(splits, part)))
        np.testing.assert_array_equal(selection.dataset.labels, selection.dataset.x[:, 0] % 2)
        assert selection.dataset.names == [f"#{int(n)}" for n in selection.dataset.x[:, 0]]
        assert len(selection.dataset.x) == size and selection.title == f"{part} part of rows.npz"
    named = select_part(trained(), dataset([f"{n}.png" for n in range(100)]), "folder", Part.test).dataset
    assert named.names == [f"{int(n)}.png" for n in named.x[:, 0]]


def test_by_default_what_the_model_has_not_seen():
    selection = select_part(trained(), dataset(), "rows.npz")
    assert selection.part is Part.test and selection.is_training_data and len(selection.dataset.x) == 20
    other = dataset()._replace(x=dataset().x + 1)
    selection = select_part(trained(), other, "other.npz")
    assert selection.part is Part.all and not selection.is_training_data and selection.title == "all of other.npz"
    assert selection.dataset is other
    everything = select_part(trained(), dataset(), "rows.npz", Part.all)
    assert everything.is_training_data and len(everything.dataset.x) == 100


def test_parts_that_are_not_there():
    other = dataset()._replace(x=dataset().x + 1)
    with pytest.raises(ValueError, match=r"^--part test: other is not what the model was trained on, rows.npz$"):
        select_part(trained(), other, "other", Part.test)
    with pytest.raises(ValueError, match=r"^--part validation: the model was trained with --validation 0$"):
        select_part(trained(RUN._replace(validation=0.0)), dataset(), "rows.npz", Part.validation)
    without_run = trained()._replace(description={"data": {}})
    assert select_part(without_run, dataset(), "rows.npz").part is Part.all
    with pytest.raises(ValueError, match="data that its file does not name"):
        select_part(without_run, dataset(), "rows.npz", Part.train)


def test_a_file_of_an_older_version_has_no_parts():
    older = trained()
    del older.description["split"]
    assert select_part(older, dataset(), "rows.npz").part is Part.all
    with pytest.raises(ValueError, match=r"^--part test: an older version of funcnn wrote the model"):
        select_part(older, dataset(), "rows.npz", Part.test)


@pytest.mark.parametrize(
    "wrong",
    [{"test": "x"}, {"test": None}, {"key": []}, {"key": 3}, {"folders": 7}, {"folders": ["train"], "test": None}],
    ids=str,
)
def test_errors_name_the_models_file(wrong):
    broken = trained()
    split = {"method": runs.SPLIT_METHOD, "test": 0.2, "validation": 0.1, "folders": [], "key": [0]}
    broken.description["split"] = {**split, **wrong}
    message = r"^--part test of net.safetensors: the model's file has no split of data, but {"
    with pytest.raises(ValueError, match=message):
        select_part(broken, dataset(), "rows.npz", Part.test, model="net.safetensors")


def test_errors_name_the_models_file_where_it_names_no_data():
    unknown = trained()._replace(description={"data": {}, "run": None, "split": None})
    message = "^--part test of net.safetensors: rows.npz is not what .*, data that its file does not name$"
    with pytest.raises(ValueError, match=message):
        select_part(unknown, dataset(), "rows.npz", Part.test, model="net.safetensors")
