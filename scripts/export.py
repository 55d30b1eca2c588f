"""Write a trained model as an ONNX file, which other runtimes read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import artifacts
import numpy as np
import terminal
import typer
from files import check_writable, write_whole

from funcnn import training

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
TOLERANCE = 1e-4  # between two runtimes' outputs, of the largest


@app.command(help=__doc__)
def main(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="From train.py --output, or a checkpoint, or a folder of them, whose newest counts."
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="To write; replaced if it exists.")],
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="End with probabilities rather than logits; for two classes, the second's."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    if file.suffix != ".onnx":
        raise terminal.UsageError(f"{file}: the file's name must end in .onnx")
    check_writable(file)
    trained = artifacts.open_model(model)
    try:
        from funcnn.onnx import to_onnx
    except ImportError as error:
        raise ImportError(f"export.py needs onnx: pip install 'funcnn[onnx]' ({error})") from None
    scaling = trained.description["data"]["standardize"]
    offset = scale = None
    if scaling:
        offset, scale = np.asarray(scaling["mean"]), np.asarray(scaling["std"])
        scale = np.where(scale == 0, 1, scale)  # as in funcnn.data.standardize
    proto = to_onnx(
        trained.model,
        trained.params,
        trained.state,
        trained.in_shape,
        offset=offset,
        scale=scale,
        probabilities=probabilities,
        metadata={"classes": json.dumps(trained.classes), "outputs": "probabilities" if probabilities else "logits"},
    )
    content = proto.SerializeToString()
    checked_by = compared(content, trained, probabilities)
    write_whole(file, content)
    told = {
        "file": str(file),
        "bytes": len(content),
        "nodes": len(proto.graph.node),
        "opset": proto.opset_import[0].version,
        "checked_by": checked_by,
    }
    by = " and ".join(checked_by)
    line = f"wrote {file}: {told['nodes']} nodes, {told['bytes']:,} bytes, opset {told['opset']}, checked by {by}"
    print(json.dumps(told) if as_json else line)


def compared(content: bytes, trained: artifacts.Trained, probabilities: bool) -> list[str]:
    """Compare the graph's outputs with the model's where onnxruntime is installed; return what has checked it."""
    try:
        import onnxruntime
    except ImportError:
        return ["onnx"]
    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((4, *trained.in_shape), np.float32)
    (y,) = session.run(None, {"x": x})
    if probabilities:
        expected = artifacts.probabilities(trained, x)[:, -y.shape[1] :]
    else:
        expected = training.predict(trained.model, trained.params, trained.state, trained.prepare(x))
    if not np.allclose(y, expected, rtol=TOLERANCE, atol=TOLERANCE * float(abs(expected).max())):
        error = float(abs(y - expected).max())
        raise ValueError(f"onnxruntime {onnxruntime.__version__} computes other outputs, by up to {error:.3g}")
    return ["onnx", f"onnxruntime {onnxruntime.__version__}"]


if __name__ == "__main__":
    terminal.run(app)
