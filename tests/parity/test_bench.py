"""The benchmarks' PyTorch networks beside funcnn's: from the same weights the same losses, step after step."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"
STEPS = 3


@pytest.fixture(scope="module")
def modules():
    """The modules jobs, with_funcnn and with_torch, while PyTorch computes in float32 by default as it does there."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield [
            importlib.import_module(f"bench.{name}")
            for name in ("jobs", "frameworks.with_funcnn", "frameworks.with_torch")
        ]
    finally:
        sys.path.remove(str(SCRIPTS))
        torch.set_default_dtype(default)


NAMES = ["seed", "digits32", "lenet", "vgg", "bnnet", "resnet", "estimator", "predict lenet 1", "predict vgg 256"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_losses(name, memory_format, modules, monkeypatch):
    jobs, with_funcnn, with_torch = modules
    network = jobs.NETWORKS[jobs.JOBS[name].network]
    # different units are dropped at random, with the same weights, too
    certain = tuple(layer for layer in network.layers if not isinstance(layer, jobs.Dropout))
    monkeypatch.setitem(jobs.NETWORKS, jobs.JOBS[name].network, network._replace(layers=certain))
    if name == "estimator":
        monkeypatch.setattr(with_funcnn.models, "convnet", lambda outputs: with_funcnn._serial(certain))
    # steps so large that a wrong gradient shows in the next loss, and a batch so small that it takes no time
    monkeypatch.setattr(jobs, "LEARNING_RATE", 0.05)
    task = jobs.make_task(jobs.JOBS[name]._replace(batch=min(8, jobs.JOBS[name].batch)), 1)
    ours, theirs = with_funcnn.make_run(task), with_torch.make_run(task, memory_format)
    losses = np.array([[run(1) for _ in range(STEPS)] for run in (ours, theirs)])
    assert np.allclose(losses[0], losses[1], rtol=2e-4, atol=1e-6)
    assert len(set(losses[0])) == STEPS or not jobs.JOBS[name].train


def test_the_estimators_dropout_is_the_catalogues(modules):
    jobs, with_funcnn, _ = modules
    names = [layer.name for layer in with_funcnn.make_model(jobs.JOBS["estimator"]).children]
    assert names == [layer.name for layer in with_funcnn._serial(jobs.NETWORKS["estimator"].layers).children]
