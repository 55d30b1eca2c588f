"""``funcnn evaluate``: figures of a trained model on labelled data."""

import json
import re
from functools import partial

import commands
import numpy as np
import pytest

run = partial(commands.run, "evaluate")


def test_evaluation(place):
    told = json.loads(run("net.safetensors", "more", "--json", cwd=place).stdout)
    assert told["examples"] == 15 and told["accuracy"] > 0.7 and told["loss"] > 0
    assert [row["class"] for row in told["classes"]] == ["circle", "square", "triangle"]
    assert np.sum(told["confusion"]) == 15 and np.trace(told["confusion"]) == told["right"]
    held_out = run("net.safetensors", "shapes", "--part", "test", cwd=place)
    assert re.match(r"test accuracy [\d.]+% \(\d+ of 60\)", held_out.stdout) and held_out.stderr == ""


FAILURES = {
    "evaluate a missing model": (("nix", "digits"), 1, "cannot read nix: No such file or directory"),
    "evaluate no data": (("net.safetensors",), 2, "Missing argument 'DATA'"),
    "other classes": (("net.safetensors", "digits"), 1, "digits: the model knows circle, square, tri"),
    "a part of other data": (("net.safetensors", "more", "--part", "test"), 1, "--part test: more"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_on_stderr(place, options, code, message):
    result = run(*options, cwd=place)
    assert result.returncode == code and message in result.stderr
    assert result.stderr.startswith("funcnn evaluate: ") and len(result.stderr.splitlines()) == 1
