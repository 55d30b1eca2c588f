"""Export a trained model as an ONNX file, which other runtimes read.

The graph takes images of the model's size, with their pixels divided by the full scale of the training data (255 for
images of 8 bits): from 0 to 1. Rows of features it takes as they are. The file's metadata say so, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from funcnn import predictor, serving
from funcnn.characters import visible
from funcnn.cli import console
from funcnn.cli.options import AsJson, ModelFile
from funcnn.cli.outputs import check_outputs
from funcnn.data_parallel import cores
from funcnn.files import check_writable, write_atomic
from funcnn.history import json_line
from funcnn.tree import Array

# Largest step of float32 at a feature's mean, in standard deviations.
COARSEST = 0.01


def main(
    *,
    model: ModelFile,
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The file to write; an existing one is replaced.")],
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Output probabilities instead of logits; of two classes, the probability of the second.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    if file.suffix != ".onnx":
        raise console.UsageError(f"{file}: the file's name must end in .onnx")
    check_outputs({"FILE.onnx": file}, {"MODEL": model}, {})
    check_writable(file)
    trained = predictor.load(model)
    from funcnn.onnx import to_onnx
    from funcnn.onnx.metadata import of_full_scale

    offset = scale = None
    metadata = {"classes": json.dumps(trained.classes), "outputs": "probabilities" if probabilities else "logits"}
    if "offset" in trained.preprocessing:
        raise ValueError(f"{model} is an estimator's: export it in Python, by its to_onnx")
    if "full_scale" in trained.preprocessing:
        metadata |= of_full_scale(trained.preprocessing["full_scale"])
    if trained.preprocessing["mean"] is not None:
        offset, scale = (np.asarray(trained.preprocessing[name]) for name in ("mean", "std"))
        scale = np.where(scale == 0, 1, scale)  # as in funcnn.data.standardize
        check_resolution(offset, scale)
    proto = to_onnx(
        trained.model,
        trained.params,
        trained.state,
        trained.in_shape,
        offset=offset,
        scale=scale,
        probabilities=probabilities,
        metadata=metadata,
    )
    content = proto.SerializeToString()
    checked_by = check(content, trained, probabilities)
    write_atomic(file, content)
    report = {
        "file": str(file),
        "bytes": len(content),
        "nodes": len(proto.graph.node),
        "opset": proto.opset_import[0].version,
        "checked_by": checked_by,
    }
    by = " and ".join(checked_by)
    line = f"wrote {file}: {report['nodes']} nodes, {report['bytes']:,} bytes, opset {report['opset']}, checked by {by}"
    print(json_line(report) if as_json else visible(line))


def check_resolution(mean: Array, std: Array) -> None:
    """Raise if the graph's inputs, of float32, are too coarse for a feature."""
    coarse = np.spacing(abs(mean).astype(np.float32)) > COARSEST * std
    if coarse.any():
        at = int(coarse.argmax())
        raise ValueError(
            f"feature {at} has mean {mean.ravel()[at]:g} and standard deviation {std.ravel()[at]:g}, too coarse in the "
            "graph's float32 inputs: subtract a number such as the mean from it, and train again"
        )


def check(content: bytes, trained: predictor.Predictor, probabilities: bool) -> list[str]:
    """Compare the graph's outputs with the model's, if onnxruntime is installed; return the names of the checkers."""
    try:
        import onnxruntime
    except ImportError:
        return ["onnx"]
    session = serving.inference_session(content, cores())
    known = trained.preprocessing
    least, largest = np.divide(known["range"], known["full_scale"]) if "range" in known else (0, 1)
    x = np.random.default_rng(0).uniform(least, largest, (4, *trained.in_shape)).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    outputs = trained.predict_proba if probabilities else trained.outputs
    expected = outputs(x, full_scale=1, warn_of_range=False)[:, -y.shape[1] :]
    serving.compare(y, expected)
    return ["onnx", f"onnxruntime {onnxruntime.__version__}"]
