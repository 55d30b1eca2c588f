"""``funcnn export``: ONNX files that compute what the model computes."""

import csv
import io
import json
from functools import partial

import commands
import numpy as np
import onnxruntime
import shapes

run = partial(commands.run, "export")


def test_an_exported_model_predicts_the_same(trained_folder):
    result = run("net.safetensors", "net.onnx", "--probabilities", "--json", cwd=trained_folder)
    assert result.returncode == 0 and result.stderr == ""
    assert json.loads(result.stdout)["checked_by"] == ["onnx", f"onnxruntime {onnxruntime.__version__}"]
    session = onnxruntime.InferenceSession(trained_folder / "net.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(shapes.CLASSES) and metadata["inputs"] == "pixels divided by 255"
    np.savez(trained_folder / "grey.npz", x=np.full((1, 24, 24, 3), 99, np.uint8))
    (row,) = csv.DictReader(
        io.StringIO(commands.run("predict", "net.safetensors", "grey.npz", cwd=trained_folder).stdout)
    )
    (y,) = session.run(None, {"x": np.full((1, 24, 24, 3), 99 / 255, np.float32)})
    assert np.allclose(y[0], [float(row[name]) for name in shapes.CLASSES], atol=1e-5)


def test_an_export_that_fails_leaves_what_was_there(trained_folder):
    (trained_folder / "old.onnx").write_bytes(b"as it was")
    (trained_folder / "folder.onnx").mkdir()
    for options, code, words in (
        (("shapes/circle/000.png", "old.onnx"), 1, "000.png"),
        (("net.safetensors", "old.pb"), 2, "must end in .onnx"),
        (("net.safetensors", "folder.onnx"), 1, "it is a directory"),
    ):
        result = run(*options, cwd=trained_folder)
        assert result.returncode == code and result.stderr.count("\n") == 1 and words in result.stderr
    assert (trained_folder / "old.onnx").read_bytes() == b"as it was"
