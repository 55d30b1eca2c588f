"""Where a package is missing, the error says in one line what to install."""

import subprocess
import sys

import pytest

NEEDS = {
    "sklearn.estimators": ("sklearn", "estimators", "import funcnn.estimators"),
    "sklearn.data": ("sklearn", "estimators", "import funcnn; funcnn.data.digits()"),
    "safetensors": ("safetensors", "checkpoint", "import funcnn.checkpoint"),
    "predictor": ("safetensors", "checkpoint", "import funcnn.predictor"),
    "onnx": ("onnx", "onnx", "import funcnn.onnx"),
    "images": ("PIL", "images", "import sys, funcnn; funcnn.data.open_images([sys.argv[1]])"),
}


@pytest.mark.parametrize("need", NEEDS)
def test_a_missing_package_is_named_with_its_extra(need, tmp_path):
    package, extra, program = NEEDS[need]
    (tmp_path / "a.png").touch()
    probe = f"import sys; sys.modules[{package!r}] = None; {program}"
    arguments = [sys.executable, "-c", probe, str(tmp_path / "a.png")]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError") and f": pip install 'funcnn[{extra}]', or '.[{extra}]' in a clone (" in last
