"""Show what a trained model is made of: each layer with its size, work, memory and time, and its weights."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import artifacts
import numpy as np
import sources
import terminal
import typer
from rich.console import Console

from funcnn import losses, tree
from funcnn.combinators import map_layers
from funcnn.layer import Layer, pull_back
from funcnn.summary import summary
from funcnn.tree import Array

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Times(NamedTuple):
    """Seconds of a layer, forward and backward, in each round."""

    forward: list[float]
    backward: list[float]


@app.command(help=__doc__)
def main(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="From train.py --output, or a checkpoint, or a folder of them, whose newest counts."
        ),
    ],
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in the batch that is timed.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is timed; the median counts.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    trained = artifacts.open_model(model)
    layers, weights = layer_figures(trained, batch_size, rounds), weight_figures(trained)
    if as_json:
        told = {"model": trained.description["model"], "data": trained.description["data"]}
        told |= {"versions": trained.description.get("versions"), "history": trained.history}
        print(json.dumps({**told, "batch_size": batch_size, "layers": layers, "weights": weights}))
        return
    console = terminal.results()
    show_origin(console, trained)
    show_layers(console, layers, batch_size)
    show_weights(console, weights)


def layer_figures(trained: artifacts.Trained, batch_size: int, rounds: int) -> list[dict[str, Any]]:
    """Return for each layer what it is, does and takes; memory in bytes, times in microseconds a batch."""
    rows = summary(trained.model, trained.in_shape)
    flat = {name: tree.flatten(getattr(trained, name)) for name in ("params", "state")}
    times = timed(trained, batch_size, rounds)
    return [
        {
            "layer": row.path,
            "output": list(row.out_shape),
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
            "weight_bytes": sum(np.asarray(leaf).nbytes for of in flat.values() for leaf in _below(row.path, of)),
            "output_bytes": 4 * int(np.prod(row.out_shape)),
            "forward_us": 1e6 * median(times[row.path].forward),
            "backward_us": 1e6 * median(times[row.path].backward),
        }
        for row in rows
    ]


def _below(path: str, flat: dict[str, Any]) -> list[Any]:
    return [leaf for name, leaf in flat.items() if name.startswith(f"{path}/")]


def timed(trained: artifacts.Trained, batch_size: int, rounds: int) -> dict[str, Times]:
    """Take a batch forward and backward through the model, as a step of training does, and time each layer."""
    times: dict[str, Times] = {}

    def clocked(path: str, layer: Layer) -> Layer:
        taken = times.setdefault(path, Times([], []))

        def forward(params: Any, x: Array, state: Any, **options: Any) -> Any:
            began = time.perf_counter()
            y, vjp, new_state = layer.forward(params, x, state, **options)
            taken.forward.append(time.perf_counter() - began)

            def clocked_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Any, Any]:
                began = time.perf_counter()
                grads = pull_back(vjp, dy, input_gradient=input_gradient)
                taken.backward.append(time.perf_counter() - began)
                return grads

            return y, clocked_vjp, new_state

        return layer._replace(forward=forward)

    model = map_layers(clocked, trained.model)
    x = np.random.default_rng(0).standard_normal((batch_size, *trained.in_shape), np.float32)
    for _ in range(rounds + 1):
        y, vjp, _ = model.forward(trained.params, x, trained.state, train=True, key=(0,))
        pull_back(vjp, losses.mse(y, np.zeros_like(y))[1](1.0), input_gradient=False)
    # The first round finds out what the later ones know; layers before the first weights have no way back.
    return {path: Times(taken.forward[1:], taken.backward[1:] or [0.0]) for path, taken in times.items()}


def weight_figures(trained: artifacts.Trained) -> list[dict[str, Any]]:
    """Return statistics of each array of parameters and state."""
    leaves = {**tree.flatten(trained.params), **tree.flatten(trained.state)}
    found = []
    for path in sorted(leaves, key=_in_order):
        x = np.asarray(leaves[path], np.float64)
        finite = x[np.isfinite(x)]
        has = finite.size > 0
        found.append(
            {
                "weights": path,
                "shape": list(x.shape),
                "mean": float(finite.mean()) if has else None,
                "std": float(finite.std()) if has else None,
                "min": float(finite.min()) if has else None,
                "max": float(finite.max()) if has else None,
                "zeros": int((x == 0).sum()),
                "not_finite": int(x.size - finite.size),
            }
        )
    return found


def _in_order(path: str) -> list[tuple[int, str]]:
    """Return what sorts paths as the layers come: 2_relu before 10_dense."""
    names = [name.partition("_") for name in path.split("/")]
    return [(int(number) if number.isdecimal() else -1, number + rest) for number, _, rest in names]


def show_origin(console: Console, trained: artifacts.Trained) -> None:
    """Print where the model comes from."""
    model, data = trained.description["model"], trained.description["data"]
    arguments = ", ".join(f"{name}={value}" for name, value in model["arguments"].items())
    shape = sources.describe(np.empty((0, *trained.in_shape)))
    lines = [
        f"{model['name']}({arguments})",
        f"trained on {data['source']}, {data['examples']} examples: {shape}",
        f"{len(trained.classes)} classes: {', '.join(trained.classes)}",
    ]
    if trained.history:
        last = trained.history[-1]
        after = {name: last[name] for name in ("train_accuracy", "validation_accuracy") if name in last}
        accuracies = "".join(f", {name.replace('_', ' ')} {value:.2%}" for name, value in after.items())
        lines.append(f"{last['epoch']} epochs, {last['step']} steps: loss {last['loss']:.4f}{accuracies}")
    if "versions" in trained.description:
        lines.append(", ".join(f"{name} {value}" for name, value in trained.description["versions"].items()))
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.print()


def show_layers(console: Console, layers: list[dict[str, Any]], batch_size: int) -> None:
    """Print a row for each layer, and their totals."""
    total_time = sum(row["forward_us"] + row["backward_us"] for row in layers) or 1.0
    names = ("output", "parameters", "multiply-adds", "weights kB", "output kB", "forward us", "backward us", "share")
    table = terminal.new_table("layer", *names)

    def add(name: str, shape: str, row: dict[str, Any]) -> None:
        share = (row["forward_us"] + row["backward_us"]) / total_time
        table.add_row(
            name, shape, f"{row['parameters']:,}", f"{row['multiply_adds']:,}", f"{row['weight_bytes'] / 1e3:,.1f}",
            f"{row['output_bytes'] / 1e3:,.1f}", f"{row['forward_us']:,.0f}", f"{row['backward_us']:,.0f}",
            f"{share:.1%}",
        )  # fmt: skip

    for row in layers:
        add(row["layer"], "x".join(map(str, row["output"])), row)
    summed = [name for name in layers[0] if name not in ("layer", "output")]
    add("total", "", {name: sum(row[name] for row in layers) for name in summed})
    console.print(f"Layers: work and output of an example, time of a batch of {batch_size} in training", style="bold")
    terminal.print_whole(console, table)
    console.print()


def show_weights(console: Console, weights: list[dict[str, Any]]) -> None:
    """Print a row for each array."""
    table = terminal.new_table("weights", "shape", "mean", "std", "min", "max", "zeros", "not finite")
    for row in weights:
        figures = ["-" if row[name] is None else f"{row[name]:.4g}" for name in ("mean", "std", "min", "max")]
        counts = [str(row[name]) if row[name] else "." for name in ("zeros", "not_finite")]
        table.add_row(row["weights"], "x".join(map(str, row["shape"])), *figures, *counts)
    console.print("Weights and running statistics", style="bold")
    terminal.print_whole(console, table)
