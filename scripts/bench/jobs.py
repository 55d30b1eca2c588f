"""The jobs that every framework does: networks as data, their inputs and initial weights, and a training recipe.

This module imports NumPy alone, so that a worker process holds its framework and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


class Conv(NamedTuple):
    """Convolution of a square kernel, with the same padding on all sides."""

    features: int
    kernel: int
    padding: int = 0
    stride: int = 1
    bias: bool = True
    groups: int = 1  # as many as features: each channel by itself


class Dense(NamedTuple):
    """Linear layer."""

    features: int


class MaxPool(NamedTuple):
    """Maximum over square windows with the same padding on all sides; a stride of 0 is the window's size."""

    window: int
    stride: int = 0
    padding: int = 0

    def step(self) -> int:
        """Return the stride."""
        return self.stride or self.window


class Dropout(NamedTuple):
    """Dropout of this fraction."""

    rate: float


class BatchNorm(NamedTuple):
    """Batch normalisation with running statistics, 0.9 the weight of the old ones."""


class Relu(NamedTuple):
    """Rectifier."""


class Flatten(NamedTuple):
    """From (N, H, W, C) to (N, H*W*C)."""


class GlobalAverage(NamedTuple):
    """From (N, H, W, C) to (N, C)."""


class Residual(NamedTuple):
    """The sum of a body and a shortcut, each a sequence; an empty one is the identity."""

    body: tuple[Any, ...]
    shortcut: tuple[Any, ...] = ()


class Network(NamedTuple):
    """A network for images (H, W, C); ``digits`` trains it on handwritten digits, otherwise on random numbers."""

    in_shape: tuple[int, int, int]
    layers: tuple[Any, ...]
    digits: bool = False


class Job(NamedTuple):
    """What is timed: training steps, or calls of the forward pass."""

    network: str
    batch: int = 64
    train: bool = True


class Task(NamedTuple):
    """A job with everything that a framework needs for it: all frameworks get the same weights and batches.

    Attributes
    ----------
    job : Job
    weights : list of array
        In the order of the layers, w before b, in funcnn's layout: (kernel..., in, out).
    batches : list of (array (N, H, W, C), array of int (N,))
        Used one after the other, again from the first after the last.
    threads : int
        How many cores to use.
    """

    job: Job
    weights: list[Array]
    batches: list[tuple[Array, Array]]
    threads: int


def _conv_norm(features: int, kernel: int, stride: int = 1) -> tuple[Any, ...]:
    return Conv(features, kernel, kernel // 2, stride, bias=False), BatchNorm()


def _block(features: int, stride: int) -> tuple[Any, ...]:
    body = (*_conv_norm(features, 3, stride), Relu(), *_conv_norm(features, 3))
    return Residual(body, _conv_norm(features, 1, stride) if stride > 1 else ()), Relu()


def _separable(in_features: int, features: int, stride: int) -> tuple[Any, ...]:
    depthwise = Conv(in_features, 3, 1, stride, bias=False, groups=in_features)
    return depthwise, BatchNorm(), Relu(), *_conv_norm(features, 1), Relu()


# Features and stride of MobileNet's blocks, the stem first.
_MOBILENET = ((32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))

NETWORKS = {
    "seed": Network((8, 8, 1), (Conv(1, 3), Relu(), Flatten(), Dense(10), Relu(), Dense(10)), digits=True),
    "digits32": Network((8, 8, 1), (Conv(32, 3), Relu(), Flatten(), Dense(128), Relu(), Dense(10)), digits=True),
    "lenet": Network(
        (28, 28, 1),
        (
            *(Conv(6, 5), Relu(), MaxPool(2), Conv(16, 5), Relu(), MaxPool(2)),
            *(Flatten(), Dense(120), Relu(), Dense(84), Relu(), Dense(10)),
        ),
    ),
    "vgg": Network(
        (32, 32, 3),
        (
            *(Conv(32, 3, 1), Relu(), Conv(32, 3, 1), Relu(), MaxPool(2)),
            *(Conv(64, 3, 1), Relu(), Conv(64, 3, 1), Relu(), MaxPool(2)),
            *(Flatten(), Dense(256), Relu(), Dense(10)),
        ),
    ),
    "bnnet": Network(
        (32, 32, 3),
        (
            *(Conv(16, 3, 1), BatchNorm(), Relu(), Conv(32, 3, 1), BatchNorm(), Relu(), MaxPool(2)),
            *(Conv(64, 3, 1), BatchNorm(), Relu(), MaxPool(2), GlobalAverage(), Dense(10)),
        ),
    ),
    "resnet": Network(  # funcnn.models.resnet(10, blocks=(1, 1, 1))
        (32, 32, 3),
        (*_conv_norm(16, 3), Relu(), *_block(16, 1), *_block(32, 2), *_block(64, 2), GlobalAverage(), Dense(10)),
    ),
    "estimator": Network(  # funcnn.models.convnet(10)
        (8, 8, 1),
        (
            *(Conv(32, 3, 1), MaxPool(2), Relu(), Conv(64, 3, 1), MaxPool(2), Relu()),
            *(Flatten(), Dropout(0.1), Dense(128), Relu(), Dropout(0.1), Dense(10)),
        ),
        digits=True,
    ),
    "resnet18": Network(  # funcnn.models.resnet(10, blocks=(2, 2, 2, 2), ...), as its docstring says
        (224, 224, 3),
        (
            *(*_conv_norm(64, 7, 2), Relu(), MaxPool(3, 2, 1), *_block(64, 1), *_block(64, 1)),
            *(part for features in (128, 256, 512) for stride in (2, 1) for part in _block(features, stride)),
            *(GlobalAverage(), Dense(10)),
        ),
    ),
    "mobilenet": Network(  # funcnn.models.mobilenet(10)
        (224, 224, 3),
        (
            *(*_conv_norm(32, 3, 2), Relu()),
            *(part for (before, _), after in pairwise(_MOBILENET) for part in _separable(before, *after)),
            *(GlobalAverage(), Dense(10)),
        ),
    ),
}
LARGE_NETWORKS = ("resnet18", "mobilenet")
TRAINING = {name: Job(name) for name in NETWORKS if name not in LARGE_NETWORKS}
PREDICTION = {f"predict {name} {batch}": Job(name, batch, False) for name in ("lenet", "vgg") for batch in (1, 256)}
# Images of 224x224: a step takes a second, so these run only if they are asked for.
LARGE = {"resnet18": Job("resnet18", 16)} | {
    f"{name} predict {batch}": Job(name, batch, False) for name in LARGE_NETWORKS for batch in (1, 16)
}
JOBS = TRAINING | PREDICTION | LARGE

# Of plain SGD: so low that thousands of steps on a few batches do not diverge.
LEARNING_RATE = 1e-3
# The estimator and the cold start train by AdamW and a one-cycle schedule, as `funcnn train` trains convnet.
PEAK_RATE, WEIGHT_DECAY, BATCH_SIZE, EPOCHS = 8e-3, 0.05, 24, 30
ENDLESS = 10**6  # steps of the estimator's schedule: more than are ever timed
# The accuracy at which the cold start ends, and the number of images that it is measured on. The others make 60 full
# batches.
ACCURACY, HELD_OUT = 0.97, 357


def is_adamw(job: Job) -> bool:
    """Return whether a job trains by AdamW and a one-cycle schedule, rather than by SGD."""
    return job.network == "estimator"


def initial_weights(network: Network, seed: int = 0) -> list[Array]:
    """Draw weights of variance 2 / fan-in, in the order and layout of `Task`; biases are 0 and scales 1."""
    rng, weights = np.random.default_rng(seed), list[Array]()

    def draw(shape: tuple[int, ...]) -> None:
        weights.append(rng.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape).astype(np.float32))

    def walk(layers: Sequence[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
        for layer in layers:
            match layer:
                case Conv(features, kernel, padding, stride, bias, groups):
                    draw((kernel, kernel, shape[-1] // groups, features))
                    weights.extend([np.zeros(features, np.float32)] * bias)
                    shape = (*((side + 2 * padding - kernel) // stride + 1 for side in shape[:2]), features)
                case Dense(features):
                    draw((shape[0], features))
                    weights.append(np.zeros(features, np.float32))
                    shape = (features,)
                case BatchNorm():
                    weights.extend([np.ones(shape[-1], np.float32), np.zeros(shape[-1], np.float32)])
                case MaxPool(window, _, padding):
                    sides = ((side + 2 * padding - window) // layer.step() + 1 for side in shape[:2])
                    shape = (*sides, shape[2])
                case Flatten():
                    shape = (math.prod(shape),)
                case GlobalAverage():
                    shape = shape[-1:]
                case Residual(body, shortcut):
                    after = walk(body, shape)
                    walk(shortcut, shape)
                    shape = after
        return shape

    walk(network.layers, network.in_shape)
    return weights


def digits() -> tuple[Array, Array]:
    """Load scikit-learn's digits: float32 (1797, 8, 8, 1) in [0, 1], and the labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images[..., None] / 16).astype(np.float32), bunch.target.astype(np.int64)


def split_digits(load: Callable[[], tuple[Array, Array]] = digits) -> tuple[Array, Array, Array, Array]:
    """Load the digits; return x and labels to train on, then x and labels held out, always the same."""
    x, labels = load()
    order = np.random.default_rng(0).permutation(len(x))
    held_out, train = order[:HELD_OUT], order[HELD_OUT:]
    return x[train], labels[train], x[held_out], labels[held_out]


def make_task(job: Job, threads: int) -> Task:
    """Return everything that a framework needs for a job."""
    network = NETWORKS[job.network]
    if network.digits:
        x, labels = digits()
    else:  # four batches: more would only need more memory
        rng = np.random.default_rng(0)
        x = rng.standard_normal((4 * job.batch, *network.in_shape), np.float32)
        labels = rng.integers(0, 10, 4 * job.batch)
    starts = range(0, len(x) - job.batch + 1, job.batch)
    batches = [(x[i : i + job.batch], labels[i : i + job.batch]) for i in starts]
    return Task(job, initial_weights(network), batches, threads)
