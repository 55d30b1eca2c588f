"""Checkpoints that a run can resume from, and those that it cannot."""

import json

import pytest

from funcnn import checkpoint, models, optim, predictor, training
from funcnn.checkpoint import Checkpoint
from funcnn.cli import runs

RUN = runs.new_run({**dict.fromkeys(runs.Run._fields), "model": "mlp"})._asdict()


def written(path, **changes):
    """Write a checkpoint as from a run, with other entries of its description."""
    model = {"name": "mlp", "arguments": {"outputs": 3}}
    description = predictor.describe(model, (4,), ["a", "b", "c"], source="x", fingerprint="ff", run=RUN)
    state = training.start(models.build(model), optim.adam(1e-3), (4,), key=(0,))
    checkpoint.save(path, Checkpoint(state, json.loads(json.dumps({**description, **changes}))))
    return path


def resume(path):
    path, saved = runs.read_checkpoint(path)
    return runs.resume(path, runs.resumed_run(saved, {}), saved, None, None, same_folder=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": None}, "its description has no entry 'run', which those of funcnn train have"),
        ({"preprocessing": None}, "its description has no entry 'preprocessing'"),
        ({"data": None}, "its description has no entry 'data'"),
        ({"data": {"in_shape": [4], "classes": ["a", "b", "c"], "standardize": None}}, "no 'fingerprint' of the data"),
        ({"model": None}, "must have an entry 'model'"),
        ({"model": {"name": "mlp", "arguments": {"outputs": 3, "hidden": [9]}}}, "parameters are .* in layer 1_dense"),
        ({"run": {**RUN, "epoch": 3}}, r"not those of this version: missing \[\], more \['epoch'\]"),
        ({"run": {**RUN, "epochs": "3"}}, "its run has epochs '3', not of type int"),
        ({"run": {**RUN, "batch_size": True}}, "its run has batch_size True, not of type int"),
        ({"run": {**RUN, "batch_size": 0}}, "below 1"),
        ({"run": {**RUN, "image_size": 10**30}}, "its run has image_size 10+, not from 0 to"),
        ({"run": {**RUN, "learning_rate": float("nan")}}, "its run has learning_rate nan"),
        ({"run": {**RUN, "optimizer": "x"}}, "'x' is not a valid OptimizerName"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_a_checkpoint_lacks_is_said_with_its_name(tmp_path, changes, message):
    assert runs.read_checkpoint(written(tmp_path / "good.safetensors"))[1].description["run"] == RUN
    path = written(tmp_path / "net.safetensors", **changes)
    with pytest.raises(ValueError, match=rf"net\.safetensors: a run cannot resume from it: .*{message}"):
        resume(path)
