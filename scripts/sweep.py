"""What funcnn's own time grows with: a convolution, and a step of a whole network, over one size after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import terminal
from bench_worker import steps_taking
from rich.console import Console

from funcnn import gradients, layers, losses, ops, serial
from funcnn.tree import Array

Run = Callable[[int], object]
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Sides and channels also to either side of where one way of computing may give way to another.
SIDES = (4, 6, 7, 8, 9, 12, 15, 16, 17, 24, 28, 31, 32, 33, 48, 64)
CHANNELS = (1, 2, 3, 4, 6, 7, 8, 9, 12, 15, 16, 17, 24, 32, 33, 48, 64, 96, 128)
NETWORK_SIDES = (16, 20, 24, 28, 32, 36, 40, 48, 56, 64)
# A larger job may take this much less time than a smaller one before it is said: so far apart lie two equal ones.
NOISE = 0.05


class Series(NamedTuple):
    """A job at growing sizes.

    Attributes
    ----------
    title : str
    unit : str
        What the sizes count.
    sizes : tuple of int
    count : callable
        How many units a size has.
    make : callable
        ``make(size) -> run``; ``run(n)`` does the job n times.
    """

    title: str
    unit: str
    sizes: Sequence[int]
    count: Callable[[int], int]
    make: Callable[[int], Run]


def series() -> list[Series]:
    """Return what is measured: forward and both gradients of a 3x3 convolution, and a LeNet's value and gradients."""
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
    inner: int,
    outer: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    method: str = "auto",
) -> Run:
    """Return what does a convolution with both its gradients so many times."""
    params = {"w": _normal(kernel, kernel, inner // groups, outer), "b": _normal(outer)}
    x, out = _normal(batch, side, side, inner), -(-side // stride)
    dy = _normal(batch, out, out, outer)

    def run(times: int) -> None:
        for _ in range(times):
            _, vjp = ops.conv(params, x, padding="same", stride=stride, groups=groups, method=method)
            vjp(dy)

    return run


def net_run(batch: int, side: int, channels: int) -> Run:
    """Return what does a LeNet's loss with its gradients so many times."""
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


def in_turns(runs: Sequence[Run], rounds: int, seconds: float) -> list[list[float]]:
    """Return the times of each in rounds of about so many seconds, in which they take turns."""
    steps = [steps_taking(run, seconds) for run in runs]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, count, own in zip(runs, steps, times, strict=True):
            began = time.perf_counter()
            run(count)
            own.append((time.perf_counter() - began) / count)
    return times


def slower_than_larger(sizes: Sequence[int], times: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a size and the next larger one that takes less time, by more than noise."""
    for i in range(len(sizes) - 1):
        if times[i + 1] < (1 - NOISE) * times[i]:
            yield sizes[i], sizes[i + 1]


def sweep(console: Console, rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Measure and print every series; return the figures."""
    found = {}
    for one in series():
        terminal.echo(False)(f"measuring {one.title}")
        times = [median(own) for own in in_turns([one.make(size) for size in one.sizes], rounds, seconds)]
        scale = 1000 if one.unit.startswith("1000") else 1
        each = [scale * t / one.count(size) for size, t in zip(one.sizes, times, strict=True)]
        table = terminal.new_table("size", "us", f"us / {one.unit}")
        for size, t, per_unit in zip(one.sizes, times, each, strict=True):
            table.add_row(str(size), f"{1e6 * t:,.0f}", f"{1e6 * per_unit:,.2f}")
        console.print(one.title, style="bold")
        terminal.print_whole(console, table)
        for smaller, larger in slower_than_larger(one.sizes, times):
            console.print(f"{smaller} takes longer than {larger}")
        console.print()
        found[one.title] = [
            {"size": size, "us": 1e6 * t, "us_per_unit": 1e6 * unit}
            for size, t, unit in zip(one.sizes, times, each, strict=True)
        ]
    return found
