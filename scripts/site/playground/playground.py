"""What the page's worker runs: a network that trains in short turns, what it makes of an image, and its files.

The worker calls these functions with JSON and keeps the `Run` that they return. Nothing here knows of the browser.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import standins
from drawing import image_of

standins.install()

from funcnn import losses, models, optim, predictor, training  # noqa: E402
from funcnn.data import hold_out, random_shift  # noqa: E402
from funcnn.gradients import value_and_grad  # noqa: E402
from funcnn.keys import fold_in, generator  # noqa: E402
from funcnn.onnx.export import to_onnx  # noqa: E402
from funcnn.onnx.metadata import of_full_scale  # noqa: E402
from funcnn.ops import relu  # noqa: E402
from funcnn.predictor import Predictor  # noqa: E402
from funcnn.training import TrainState  # noqa: E402

Array = np.ndarray[Any, Any]

FULL_SCALE = 16.0
IN_SHAPE = (8, 8, 1)
BATCH_SIZE = 64
# Few drawings are repeated, each time shifted otherwise, until an epoch has this many examples.
EXAMPLES_PER_EPOCH = 320
HELD_OUT = 0.2
KEY = (0,)


# --- training in turns ------------------------------------------------------------------------------------------------


class Examples(NamedTuple):
    """Images in [0, 1] with their labels: those to train on, and those held out, which may be the same."""

    x: Array
    labels: Array
    held_out_x: Array
    held_out_labels: Array


class Run(NamedTuple):
    """A network in training: it, its data, where it is in an epoch, and the loss of the steps of this epoch."""

    trained: Predictor
    train_state: TrainState
    examples: Examples
    rate: float
    order: Array
    done: int
    losses: tuple[float, ...]


def digits(path: str) -> tuple[Array, Array, list[str]]:
    """Return the digits of a file: images from 0 to 16, labels, and the names of the classes."""
    with np.load(path) as file:
        return file["images"], file["labels"], [str(digit) for digit in range(10)]


def own(classes: Sequence[Any]) -> tuple[Array, Array, list[str]]:
    """Return drawings, a dict of ``name`` and ``images`` for each class, as `digits` does."""
    counts = [len(one["images"]) for one in classes]
    images = np.array([image for one in classes for image in one["images"]], float).reshape(-1, 8, 8)
    return images, np.repeat(np.arange(len(classes)), counts), [one["name"] for one in classes]


def start(settings: str, data: tuple[Array, Array, list[str]]) -> Run:
    """Return a run before its first step.

    Parameters
    ----------
    settings : str
        JSON: ``source`` of the examples, ``channels`` and ``kernel_size`` of the convolutions, ``hidden`` widths of the
        dense layers, and ``rate``.
    data : tuple
        From `digits` or `own`.
    """
    chosen, (images, labels, classes) = json.loads(settings), data
    outputs, _ = predictor.loss_for(len(classes))
    arguments: dict[str, Any] = {"outputs": outputs, "hidden": chosen["hidden"]}
    if chosen["channels"]:
        arguments |= {"channels": chosen["channels"], "kernel_size": chosen["kernel_size"]}
    name = "convnet" if chosen["channels"] else "mlp"
    described = predictor.describe(
        {"name": name, "arguments": arguments}, IN_SHAPE, classes, full_scale=FULL_SCALE, source=chosen["source"],
        examples=len(images),
    )  # fmt: skip
    model = getattr(models, name)(**arguments)
    train_state = training.start(model, optim.adam(chosen["rate"]), IN_SHAPE, key=KEY)
    trained = predictor.from_description(described, train_state.params, train_state.state)
    x = (images[..., None] / FULL_SCALE).astype(np.float32)
    train = held_out = np.arange(len(x))
    if np.bincount(labels, minlength=len(classes)).min() >= 1 / HELD_OUT:
        train, _, held_out = hold_out(labels, HELD_OUT, key=KEY)
    shown = x[train], labels[train]
    examples = Examples(*shown, *(shown if train is held_out else (x[held_out], labels[held_out])))
    return _next_epoch(Run(trained, train_state, examples, chosen["rate"], np.arange(0), 0, ()))


def with_rate(run: Run, rate: float) -> Run:
    """Return a run whose next steps have another learning rate."""
    return run._replace(rate=rate)


def _next_epoch(run: Run) -> Run:
    """Return a run at the beginning of its next epoch, with a new order of the examples."""
    rng, count = generator(fold_in(KEY, run.train_state.epoch)), len(run.examples.x)
    order = np.concatenate([rng.permutation(count) for _ in range(math.ceil(EXAMPLES_PER_EPOCH / count))])
    return run._replace(order=order, done=0, losses=())


def shifted(key: tuple[int, ...], x: Array) -> Array:
    """Return images, half of them shifted by a position: nobody draws exactly in the middle."""
    return random_shift(key, x, 1, fraction=0.5)


def advance(run: Run, seconds: float) -> Run:
    """Return a run after the steps that fit into some seconds, at least one, or after the last one of its epoch."""
    classes, train_state, done, values = len(run.trained.classes), run.train_state, run.done, list(run.losses)
    x, labels, *_ = run.examples
    # mypy does not see that a NamedTuple can be called
    grad_fn: Any = value_and_grad(run.trained.model, predictor.loss_for(classes)[1])
    optimizer = optim.adam(run.rate)
    until = time.perf_counter() + seconds
    while done < len(run.order) and (done == run.done or time.perf_counter() < until):
        batch = run.order[done : done + BATCH_SIZE]
        targets = predictor.targets_for(labels[batch], classes)
        train_state, value = training.update(grad_fn, optimizer, train_state, x[batch], targets, augment=shifted)
        values.append(float(value))
        done += BATCH_SIZE
    run = run._replace(
        trained=run.trained._replace(params=train_state.params, state=train_state.state), train_state=train_state,
        done=done, losses=tuple(values),
    )  # fmt: skip
    return _ended_epoch(run) if done >= len(run.order) else run


def _ended_epoch(run: Run) -> Run:
    """Return a run at the beginning of its next epoch, with a record of the one that ended."""
    p = run.trained.predict_proba(run.examples.held_out_x, full_scale=1, warn_of_range=False, threads=1)
    labels = run.examples.held_out_labels
    epoch = run.train_state.epoch + 1
    row = {
        "epoch": epoch,
        "step": run.train_state.step,
        "loss": float(np.mean(run.losses)),
        "validation_accuracy": float((p.argmax(axis=1) == labels).mean()),
        "validation_loss": float(losses.cross_entropy(p, labels)[0]),
    }
    run = run._replace(
        trained=run.trained._replace(history=[*run.trained.history, row]),
        train_state=run.train_state._replace(epoch=epoch),
    )
    return _next_epoch(run)


def as_json(answer: Any) -> str:
    """Return an answer as JSON, which has no numbers that are not finite."""
    try:
        return json.dumps(answer, allow_nan=False)
    except ValueError:
        raise ValueError(
            "what the network computes is no longer finite; start again with a lower learning rate"
        ) from None


def report(run: Run) -> str:
    """Return what the page shows of a run, as JSON."""
    shown = ("epoch", "loss", "validation_accuracy")  # a validation loss may be infinite
    last = {name: run.trained.history[-1][name] for name in shown} if run.trained.history else None
    loss = run.losses[-1] if run.losses else last and last["loss"]
    apart = run.examples.held_out_x is not run.examples.x
    counts = {"examples": len(run.examples.x), "held_out": len(run.examples.held_out_x) if apart else 0}
    at = run.train_state.epoch + run.done / len(run.order)
    return as_json({"at": at, "step": run.train_state.step, "loss": loss, "last": last, **counts})


# --- what a network makes of an image ---------------------------------------------------------------------------------


def image_of_json(strokes: str) -> str:
    """Return 64 numbers, row by row."""
    return json.dumps(image_of(json.loads(strokes)).ravel().tolist())


def probabilities(run: Run, image: str) -> str:
    """Return the probability of each class for an image from 0 to 16, as JSON."""
    p = run.trained.predict_proba(np.reshape(json.loads(image), (1, 8, 8)), threads=1)[0]
    return as_json({"classes": run.trained.classes, "probabilities": p.tolist()})


def held_out_image(run: Run) -> str:
    """Return a held-out image, 64 numbers from 0 to 16, row by row, as JSON."""
    return json.dumps((run.examples.held_out_x[0] * FULL_SCALE).ravel().tolist())


def first_layer(run: Run, image: str) -> str:
    """Return the kernels of the first layer with weights and what they make of an image, after ReLU, as JSON.

    The kernels of a dense layer are as large as the image, and what they make of it is one number each.
    """
    x = (np.reshape(json.loads(image), (1, *IN_SHAPE)) / FULL_SCALE).astype(np.float32)
    params, state = run.trained.params, run.trained.state
    for layer, (name, of_layer) in zip(run.trained.model.children, params.items(), strict=True):
        x, *_ = layer.forward(of_layer, x, state[name], train=False)
        if "w" in of_layer:
            w, (y, _) = of_layer["w"], relu(x)
            kernels = np.moveaxis(w.reshape(*(w.shape[:2] if w.ndim == 4 else IN_SHAPE[:2]), -1), -1, 0)
            maps = np.moveaxis(y[0], -1, 0) if y.ndim == 4 else y[0][:, None, None]
            return as_json({"kernels": kernels.round(4).tolist(), "maps": maps.round(4).tolist()})
    raise ValueError("the network has no layer with weights")


# --- its files --------------------------------------------------------------------------------------------------------


def safetensors(run: Run) -> bytes:
    """Return the file that `funcnn.predictor.load` reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.safetensors")
        run.trained.save(path)
        return path.read_bytes()


def onnx(run: Run) -> bytes:
    """Return an ONNX file, from pixels divided by 16 to probabilities, with its classes in the metadata."""
    trained = run.trained
    metadata = {"classes": json.dumps(trained.classes), "outputs": "probabilities", **of_full_scale(FULL_SCALE)}
    written = to_onnx(
        trained.model, trained.params, trained.state, trained.in_shape, probabilities=True, metadata=metadata
    )
    return written.SerializeToString()
