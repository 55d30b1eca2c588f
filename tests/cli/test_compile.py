"""``funcnn compile``, and the kernels that a run's checkpoints record."""

import json
from pathlib import Path

import screens

from funcnn import checkpoint
from funcnn.kernels import compilation, selection
from funcnn.kernels.compilation import Compilation


def compiled(seconds):
    def compile_all(progress, float64):
        for done, module in enumerate(("bias", "pooling")):
            progress(f"funcnn.kernels.compiled.{module}", done, 2)
        return Compilation(Path("/caches/1f"), 2, seconds)

    return compile_all


def test_it_says_what_it_compiles_where_and_how_long_that_took(monkeypatch):
    monkeypatch.setattr(compilation, "compile_all", compiled(18.44))
    code, out, err = screens.command(monkeypatch, "compile")
    assert (code, out) == (0, "2 modules of kernels, compiled in 18.4 s, are in /caches/1f\n")
    assert err.splitlines() == [
        "compiling funcnn.kernels.compiled.bias (1 of 2)",
        "compiling funcnn.kernels.compiled.pooling (2 of 2)",
    ]
    code, out, err = screens.command(monkeypatch, "compile", "--json", "--quiet")
    assert (code, json.loads(out), err) == (0, {"folder": "/caches/1f", "modules": 2, "seconds": 18.44}, "")


def test_it_says_that_they_were_compiled_before(monkeypatch):
    monkeypatch.setattr(compilation, "compile_all", compiled(0.0))
    assert screens.command(monkeypatch, "compile")[1] == "2 modules of kernels, compiled before, are in /caches/1f\n"


def test_what_cannot_be_compiled_is_an_error_in_one_line(monkeypatch):
    def fail(progress, float64):
        raise ImportError("compiled kernels need numba and SciPy")

    monkeypatch.setattr(compilation, "compile_all", fail)
    expected = 1, "", "funcnn compile: compiled kernels need numba and SciPy\n"
    assert screens.command(monkeypatch, "compile") == expected


def test_a_run_records_its_kernels_and_warns_if_it_resumes_with_others(tmp_path, monkeypatch):
    kernels = ["compiled"]
    monkeypatch.setattr(selection, "current", lambda: kernels[-1])
    model, kept = tmp_path / "model.safetensors", tmp_path / "kept"
    options = "--model", "mlp", "--data", "iris", "--schedule", "constant", "--epochs", 1
    options = *options, "--checkpoints", kept, "--output", model
    assert screens.command(monkeypatch, "train", *options)[0] == 0
    assert checkpoint.load(model).description["versions"]["kernels"] == "compiled"
    assert "kernels compiled" in screens.command(monkeypatch, "inspect", model)[1]
    code, _, err = screens.command(monkeypatch, "train", "--resume", kept, "--epochs", 2)
    assert code == 0 and "warning" not in err
    kernels.append("numpy")
    code, _, err = screens.command(monkeypatch, "train", "--resume", kept, "--epochs", 3)
    (line,) = (line for line in err.splitlines() if "warning" in line)
    assert code == 0 and line == (
        "funcnn train: warning: the last bits may differ from those of an unbroken run, which began with kernels "
        "compiled, now numpy"
    )


def test_kernels_that_a_run_compiles_at_its_first_step_are_the_recorded_ones(tmp_path, monkeypatch):
    asked = iter(["numpy"])
    monkeypatch.setattr(selection, "current", lambda: next(asked, "compiled"))
    model = tmp_path / "model.safetensors"
    code, *_ = screens.command(
        monkeypatch, "train", "--model", "mlp", "--data", "iris", "--epochs", 1, "--output", model
    )
    assert code == 0 and checkpoint.load(model).description["versions"]["kernels"] == "compiled"


def test_an_unknown_choice_is_one_line(monkeypatch):
    monkeypatch.setenv("FUNCNN_KERNELS", "fast")
    selection._choice_of_process.cache_clear()
    try:
        code, out, err = screens.command(monkeypatch, "train", "--model", "mlp", "--data", "iris", "--epochs", 1)
    finally:
        selection._choice_of_process.cache_clear()
    line = "funcnn train: FUNCNN_KERNELS: kernels must be one of auto, numpy, compiled, not 'fast'\n"
    assert (code, out, err) == (1, "", line)
