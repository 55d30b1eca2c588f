"""Show the layers of a trained model (output, parameters, multiply-adds, memory, time) and its weights."""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from funcnn import checkpoint, predictor, tree
from funcnn.characters import visible
from funcnn.cli.console import results_console
from funcnn.cli.options import AsJson, ModelFile
from funcnn.data import describe_shape
from funcnn.history import json_line
from funcnn.kernels import selection
from funcnn.pictures.tables import Column, FoldingTable
from funcnn.predictor import Predictor
from funcnn.profiling import LayerTime, layer_times
from funcnn.summary import summary


def main(
    *,
    model: ModelFile,
    batch_size: Annotated[int, typer.Option(min=1, help="Number of examples in the batch that is timed.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="How often the batch is timed; the median is shown.")] = 9,
    as_json: AsJson = False,
) -> None:
    trained = predictor.load(model)
    layers, weights = layer_figures(trained, batch_size, rounds), weight_figures(trained)
    if as_json:
        record = {"model": trained.description["model"], "data": trained.description["data"]}
        record |= {"versions": trained.description.get("versions"), "history": trained.history}
        timed_by = {"batch_size": batch_size, "kernels": selection.current()}
        print(json_line({**record, **timed_by, "layers": layers, "weights": weights}))
        return
    console = results_console()
    show_origin(console, trained)
    show_layers(console, layers, batch_size)
    show_weights(console, weights)


def layer_figures(trained: Predictor, batch_size: int, rounds: int) -> list[dict[str, Any]]:
    """Return the figures of each layer; memory in bytes, times in microseconds a batch."""
    rows = summary(trained.model, trained.in_shape)
    times = timed(trained, batch_size, rounds)
    return [
        {
            "layer": row.path,
            "output": list(row.out_shape),
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
            "weight_bytes": sum(
                np.asarray(leaf).nbytes
                for of in checkpoint.layer_trees(trained.params, trained.state, row.path)
                for leaf in tree.leaves(of)
            ),
            "output_bytes": 4 * int(np.prod(row.out_shape)),
            "forward_us": 1e6 * median(times[row.path].forward),
            "backward_us": 1e6 * median(times[row.path].backward),
        }
        for row in rows
    ]


def timed(trained: Predictor, batch_size: int, rounds: int) -> dict[str, LayerTime]:
    """Time each layer in a step of training on a batch of noise."""
    x = np.random.default_rng(0).standard_normal((batch_size, *trained.in_shape), np.float32)
    return layer_times(trained.model, trained.params, trained.state, x, rounds=rounds)


def weight_figures(trained: Predictor) -> list[dict[str, Any]]:
    """Return statistics of each array of parameters and state."""
    leaves = {**tree.flatten(trained.params), **tree.flatten(trained.state)}
    found = []
    for path in sorted(leaves, key=_layer_order):
        x = np.asarray(leaves[path], np.float64)
        finite = x[np.isfinite(x)]
        any_finite = finite.size > 0
        found.append(
            {
                "weights": path,
                "shape": list(x.shape),
                "mean": float(finite.mean()) if any_finite else None,
                "std": float(finite.std()) if any_finite else None,
                "min": float(finite.min()) if any_finite else None,
                "max": float(finite.max()) if any_finite else None,
                "zeros": int((x == 0).sum()),
                "not_finite": int(x.size - finite.size),
            }
        )
    return found


def _layer_order(path: str) -> list[tuple[int, str]]:
    """Return the key that sorts paths by the layers' numbers: 2_relu before 10_dense."""
    names = [name.partition("_") for name in path.split("/")]
    return [(int(number) if number.isdecimal() else -1, number + rest) for number, _, rest in names]


def show_origin(console: Console, trained: Predictor) -> None:
    """Print the model's name and arguments, its data, its training and the versions that trained it."""
    model, data = trained.description["model"], trained.description["data"]
    shape, source = describe_shape(trained.in_shape), data.get("source")  # an estimator's data have no name
    kind = data.get("kind", "classes")  # or labels, or numbers
    lines = [
        _call(model),
        f"trained on {source}, {data.get('examples')} examples: {shape}" if source else f"takes {shape}",
        f"{len(trained.classes)} {kind}: {', '.join(trained.classes)}" if trained.classes else f"predicts {kind}",
    ]
    if trained.history:
        last = trained.history[-1]
        formats = {"loss": ".4f", "train_accuracy": ".2%", "validation_accuracy": ".2%"}
        known = {name: last[name] for name in formats if last.get(name) is not None}
        after = ", ".join(f"{name.replace('_', ' ')} {value:{formats[name]}}" for name, value in known.items())
        steps = f", {last['step']} steps" if last.get("step") is not None else ""
        lines.append(f"{last.get('epoch')} epochs{steps}: {after}")
    if trained.description.get("versions"):
        lines.append(", ".join(f"{name} {value}" for name, value in trained.description["versions"].items()))
    for line in lines:
        console.print(Text(visible(line), overflow="fold"))
    console.print()


def _call(model: dict[str, Any]) -> str:
    """Return the call that makes a model, without what a table of its layers says better."""
    arguments = []
    for name, value in model["arguments"].items():
        if isinstance(value, dict) and value.keys() == {"name", "arguments"}:
            text = _call(value)
        else:
            text = f"[{len(value)} layers]" if name == "nodes" else str(value)
        arguments.append(f"{name}={text}")
    return f"{model['name']}({', '.join(arguments)})"


def show_layers(console: Console, layers: list[dict[str, Any]], batch_size: int) -> None:
    """Print the figures of each layer, and their totals."""
    summed = [name for name in layers[0] if name not in ("layer", "output")]
    rows = [*layers, {"layer": "total", "output": [], **{name: sum(row[name] for row in layers) for name in summed}}]
    total_time = rows[-1]["forward_us"] + rows[-1]["backward_us"] or 1.0
    columns = [
        Column("output", ["x".join(map(str, row["output"])) for row in rows]),
        Column("parameters", [f"{row['parameters']:,}" for row in rows]),
        Column("multiply-\nadds", [f"{row['multiply_adds']:,}" for row in rows]),
        Column("weights\nkB", [f"{row['weight_bytes'] / 1e3:,.1f}" for row in rows]),
        Column("output\nkB", [f"{row['output_bytes'] / 1e3:,.1f}" for row in rows]),
        Column("forward\nus", [f"{row['forward_us']:,.0f}" for row in rows]),
        Column("backward\nus", [f"{row['backward_us']:,.0f}" for row in rows]),
        Column("share", [f"{(row['forward_us'] + row['backward_us']) / total_time:.1%}" for row in rows]),
    ]
    title = f"Layers: multiply-adds and output of one example; time of a training step on a batch of {batch_size}"
    if selection.current() == "compiled":
        title += ", with compiled kernels"
    console.print(Text(title, "bold"))
    console.print(FoldingTable("layer", [row["layer"] for row in rows], columns))
    console.print()


def show_weights(console: Console, weights: list[dict[str, Any]]) -> None:
    """Print the statistics of each array."""
    columns = [Column("shape", ["x".join(map(str, row["shape"])) for row in weights])]
    for name in ("mean", "std", "min", "max"):
        columns.append(Column(name, ["-" if row[name] is None else f"{row[name]:.4g}" for row in weights]))
    for name in ("zeros", "not_finite"):
        columns.append(Column(name.replace("_", " "), [str(row[name]) if row[name] else "." for row in weights]))
    console.print(Text("Weights and running statistics", "bold"))
    console.print(FoldingTable("weights", [row["weights"] for row in weights], columns))
