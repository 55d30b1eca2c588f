"""``funcnn evaluate``: figures of a trained model on labelled data."""

import json
import re
import shutil
from functools import partial

import commands
import numpy as np
import pytest
import saved_models
import screens

run = partial(commands.run, "evaluate")


def test_evaluation(trained_folder):
    printed = json.loads(run("net.safetensors", "more", "--json", cwd=trained_folder).stdout)
    assert printed["examples"] == 15 and printed["accuracy"] > 0.7 and printed["loss"] > 0
    assert [row["class"] for row in printed["classes"]] == ["circle", "square", "triangle"]
    assert np.sum(printed["confusion"]) == 15 and np.trace(printed["confusion"]) == printed["right"]
    held_out = run("net.safetensors", "shapes", "--part", "test", cwd=trained_folder)
    assert re.match(r"test accuracy [\d.]+% \(\d+ of 60\)", held_out.stdout) and held_out.stderr == ""


def test_data_may_have_one_of_the_classes(trained_folder):
    (trained_folder / "circles").mkdir(exist_ok=True)
    if not (trained_folder / "circles" / "circle").exists():
        shutil.copytree(trained_folder / "more" / "circle", trained_folder / "circles" / "circle")
    result = run("net.safetensors", "circles", "--json", cwd=trained_folder)
    rows = json.loads(result.stdout)["classes"]
    assert result.stderr == "" and [row["examples"] for row in rows] == [5, 0, 0]
    empty = run("net.safetensors", "circles/circle", cwd=trained_folder)
    assert empty.returncode == 1 and "for each class, at least one; there is none" in empty.stderr


def test_the_loss_of_a_wrong_example_is_its_logit(tmp_path, monkeypatch):
    # two classes, whose logit is 40 for every example: the probability of the first is 4e-18, that of the second rounds
    # to 1
    saved_models.save(
        tmp_path / "net.safetensors", "mlp", {"outputs": 1, "hidden": []}, (2,), ["a", "b"],
        lambda path, leaf: np.full_like(leaf, 40.0 if path.endswith("b") else 0.0),
    )  # fmt: skip
    for names, loss in ((["a"] * 4, 40.0), (["b"] * 4, np.exp(-40.0)), (["a", "b"], 20.0)):
        np.savez(tmp_path / "rows.npz", x=np.zeros((len(names), 2)), y=names)
        code, out, _ = screens.command(
            monkeypatch, "evaluate", tmp_path / "net.safetensors", tmp_path / "rows.npz", "--json"
        )
        np.testing.assert_allclose(json.loads(out)["loss"], loss, rtol=1e-6)
        assert code == 0


def test_outputs_that_are_not_finite_are_an_error(tmp_path, monkeypatch):
    saved_models.save(
        tmp_path / "net.safetensors", "mlp", {"outputs": 1, "hidden": []}, (2,), ["a", "b"],
        lambda path, leaf: np.full_like(leaf, np.nan),
    )  # fmt: skip
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 2)), y=["a", "b", "a"])
    for command in ("evaluate", "predict"):
        code, out, errors = screens.command(
            monkeypatch, command, tmp_path / "net.safetensors", tmp_path / "rows.npz", "--json"
        )
        assert code == 1 and out == "" and "outputs are not finite for 3 of 3 examples, the first is numbe" in errors


FAILURES = {
    "evaluate a missing model": (("nix", "digits"), 1, "cannot read nix: No such file or directory"),
    "evaluate no data": (("net.safetensors",), 2, "Missing argument 'DATA'"),
    "other classes": (("net.safetensors", "digits"), 1, "digits: the model knows circle, square, tri"),
    "a part of other data": (("net.safetensors", "more", "--part", "test"), 1, "--part test of net.safetensors: more"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_on_stderr(trained_folder, options, code, message):
    result = run(*options, cwd=trained_folder)
    assert result.returncode == code and message in result.stderr
    assert result.stderr.startswith("funcnn evaluate: ") and len(result.stderr.splitlines()) == 1
