"""`funcnn train --find-lr`: the rates that were tried, a suggestion, and no model."""

import json

import numpy as np
import pytest
import screens


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    np.savez("points.npz", x=x, y=(x[:, 0] > 0).astype(int))
    return ("train", "--data", "points.npz", "--model", "mlp", "--find-lr")


def test_it_prints_the_loss_of_each_rate_and_a_suggestion_that_training_takes(table, monkeypatch, tmp_path):
    code, out, errors = screens.command(monkeypatch, *table, "--quiet")
    assert (code, errors) == (0, "")
    assert max(len(line) for line in out.partition("suggestion")[0].splitlines()) <= 50
    assert out.splitlines()[0].split() == ["learning", "rate", "loss"] and "suggestion: --learning-rate " in out
    rate = out.partition("--learning-rate ")[2].split()[0]
    assert 1e-5 < float(rate) < 10
    assert [path.name for path in tmp_path.iterdir()] == ["points.npz"]


def test_as_json(table, monkeypatch):
    code, out, _ = screens.command(monkeypatch, *table, "--quiet", "--json")
    found = json.loads(out)
    assert code == 0 and set(found) == {"rates", "losses", "before", "suggestion", "reason"}
    assert len(found["rates"]) == len(found["losses"]) and found["suggestion"] in np.array(found["rates"]) / 2


def test_what_it_cannot_be_combined_with(table, monkeypatch):
    for option in (["--output", "a.safetensors"], ["--folds", "3"], ["--history", "run.jsonl"]):
        code, out, errors = screens.command(monkeypatch, *table, *option)
        assert (code, out) == (2, "") and "--find-lr trains no network to the end" in errors
