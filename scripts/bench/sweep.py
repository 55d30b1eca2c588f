"""How funcnn's time grows with one size at a time: of a convolution, and of a whole network's loss and gradients.

Times are of one thread's processor, the shortest of all rounds: what other processes do meanwhile does not count, but
for slower memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from bench.report import announce
from bench.worker import steps_for
from funcnn import gradients, layers, losses, ops, serial
from funcnn.blas import one_thread
from funcnn.pictures.tables import table
from funcnn.tree import Array

Run = Callable[[int], object]
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Sides and channels also just below and above where the choice of the convolution's method may change.
SIDES = (4, 6, 7, 8, 9, 12, 15, 16, 17, 24, 28, 31, 32, 33, 48, 64)
CHANNELS = (1, 2, 3, 4, 6, 7, 8, 9, 12, 15, 16, 17, 24, 32, 33, 48, 64, 96, 128)
NETWORK_SIDES = (16, 20, 24, 28, 32, 36, 40, 48, 56, 64)
# A size is reported as slower than the next larger one if the larger takes less time by more than this fraction:
# equal jobs differ by as much.
NOISE = 0.05


class Series(NamedTuple):
    """A job at growing sizes.

    Attributes
    ----------
    title : str
    unit : str
        The unit of cost.
    sizes : tuple of int
    count : callable
        ``count(size)`` is the number of units.
    make : callable
        ``make(size) -> run``; ``run(n)`` does the job n times.
    """

    title: str
    unit: str
    sizes: Sequence[int]
    count: Callable[[int], int]
    make: Callable[[int], Run]


def series() -> list[Series]:
    """Return what is measured: a 3x3 convolution with both gradients, and the loss and gradients of a LeNet."""
    conv, net = "conv 3x3 same, forward and backward", "lenet, loss and gradients"
    return [
        Series(f"{conv}: batch, 16x16x16 to 32", "image", BATCHES, int, lambda n: conv_run(n, 16, 16, 32)),
        Series(f"{conv}: side, 16 images, 16 to 32", "1000 pixels", SIDES, _area, lambda n: conv_run(16, n, 16, 32)),
        Series(f"{conv}: input channels, 16x16x16 to 32", "channel", CHANNELS, int, lambda n: conv_run(16, 16, n, 32)),
        Series(f"{conv}: output channels, 16x16x16x16", "channel", CHANNELS, int, lambda n: conv_run(16, 16, 16, n)),
        Series(f"{net}: batch, 28x28x1", "image", BATCHES, int, lambda n: net_run(n, 28, 1)),
        Series(f"{net}: side, 32 images", "1000 pixels", NETWORK_SIDES, _area, lambda n: net_run(32, n, 1)),
        Series(f"{net}: input channels, 32 of 28x28", "channel", CHANNELS, int, lambda n: net_run(32, 28, n)),
    ]


def _area(side: int) -> int:
    return side * side


def _normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def conv_run(
    batch: int,
    side: int,
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    method: str = "auto",
) -> Run:
    """Return ``run(n)``, which computes a convolution and both its gradients n times."""
    params = {"w": _normal(kernel, kernel, in_channels // groups, out_channels), "b": _normal(out_channels)}
    x, out_side = _normal(batch, side, side, in_channels), -(-side // stride)
    dy = _normal(batch, out_side, out_side, out_channels)

    def run(times: int) -> None:
        for _ in range(times):
            _, vjp = ops.conv(params, x, padding="same", stride=stride, groups=groups, method=method)
            vjp(dy)

    return run


def net_run(batch: int, side: int, channels: int) -> Run:
    """Return ``run(n)``, which computes the loss and the gradients of a LeNet n times."""
    model = serial(
        layers.conv2d(6, 5), layers.relu(), layers.max_pool(2), layers.conv2d(16, 5), layers.relu(), layers.max_pool(2),
        layers.flatten(), layers.dense(120), layers.relu(), layers.dense(84), layers.relu(), layers.dense(10),
    )  # fmt: skip
    params, state, _ = model.init((0,), (side, side, channels))
    grad_fn = gradients.value_and_grad(model, losses.softmax_cross_entropy)
    x, labels = _normal(batch, side, side, channels), np.arange(batch) % 10

    def run(times: int) -> None:
        for _ in range(times):
            grad_fn(params, state, x, labels)

    return run


def shortest_times(runs: Sequence[Run], rounds: int, seconds: float) -> list[float]:
    """Return the shortest time of each run; in each round, the runs take turns of about ``seconds``."""
    with one_thread:
        for run in runs:  # the first call loads kernels and fills caches
            run(1)
        steps = [steps_for(run, seconds) for run in runs]
        rounds_of_runs = [
            [thread_seconds(run, count) / count for run, count in zip(runs, steps, strict=True)] for _ in range(rounds)
        ]
    return [min(times) for times in zip(*rounds_of_runs, strict=True)]


def thread_seconds(run: Run, times: int = 1) -> float:
    """Return how long this thread's processor takes for ``run(times)``."""
    start = time.thread_time()
    run(times)
    return time.thread_time() - start


def slower_than_larger(sizes: Sequence[int], times: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield each size with the next larger one, where the larger takes less time by more than `NOISE`."""
    for i in range(len(sizes) - 1):
        if times[i + 1] < (1 - NOISE) * times[i]:
            yield sizes[i], sizes[i + 1]


def measure_sweep(console: Console, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Measure and print every series; return the figures."""
    found = {}
    for one in series():
        announce(one.title)
        times = shortest_times([one.make(size) for size in one.sizes], rounds, seconds)
        scale = 1000 if one.unit.startswith("1000") else 1
        each = [scale * t / one.count(size) for size, t in zip(one.sizes, times, strict=True)]
        rows = [
            (str(size), f"{1e6 * t:,.0f}", f"{1e6 * per_unit:,.2f}")
            for size, t, per_unit in zip(one.sizes, times, each, strict=True)
        ]
        console.print(one.title, style="bold")
        console.print(table(("size", "us", f"us / {one.unit}"), rows))
        for smaller, larger in slower_than_larger(one.sizes, times):
            console.print(f"{smaller} takes longer than {larger}")
        console.print()
        found[one.title] = [
            {"size": size, "us": 1e6 * t, "us_per_unit": 1e6 * per_unit, "unit": one.unit}
            for size, t, per_unit in zip(one.sizes, times, each, strict=True)
        ]
    return found
