"""Every method of computing a convolution beside the one that funcnn chooses, over a grid of shapes.

Times are of one thread's processor, the shortest of all rounds: what other processes do meanwhile does not count, but
for slower memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from bench.report import part_progress
from bench.sweep import Run, conv_run, shortest_times, thread_seconds
from funcnn.kernels.conv.dispatch import METHODS
from funcnn.kernels.selection import current
from funcnn.pictures.tables import table

KERNELS, STRIDES, SIDES = (1, 2, 3, 5, 7), (1, 2), (8, 16, 32, 64, 224)
CHANNELS = ((1, 8), (3, 32), (6, 16), (8, 8), (16, 32), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512))
DEPTHWISE = (1, 16, 64, 256, 512)
BATCH = 64
# Multiply-adds: a batch is made smaller that takes more than the first, and a shape left out of which one image takes
# more than the second.
MAX_OF_BATCH, MAX_OF_IMAGE = 2**27, 2**30
# Entries of x and y: a batch is made smaller that has more. Without this limit, 1x1 and depthwise kernels, which have
# few multiply-adds for each entry, take seconds a call, for pages of memory rather than for what the methods do.
MAX_ENTRIES = 2**21
# "toeplitz" is not timed where its matrix would have more entries.
MAX_TOEPLITZ_ENTRIES = 2**20
# A method whose trial takes this many times the fastest one's time is not timed further; nor is one whose first call,
# with empty caches, takes `TOO_SLOW_AT_FIRST` times as long.
TOO_SLOW, TOO_SLOW_AT_FIRST = 3.0, 12.0
# Seconds: a shape has fewer rounds, but at least `FEWEST_ROUNDS`, if one method would take longer for all of them.
MAX_SECONDS, FEWEST_ROUNDS = 0.6, 3
# A choice is good if it takes at most this many times the fastest method's time.
TOLERANCE = 1.1
# How often a shape is measured, at most, until the choice is good: equal methods may differ by more in a few rounds.
TRIES = 3
# How many shapes the table lists.
WORST = 20


class Shape(NamedTuple):
    """A convolution of square images by a square kernel, with ``same`` padding."""

    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    side: int
    groups: int

    def multiply_adds(self) -> int:
        """Return the multiply-adds of the forward pass of one image."""
        return (self.kernel * self.out_side()) ** 2 * self.in_channels * self.out_channels // self.groups

    def out_side(self) -> int:
        """Return the output's side."""
        return -(-self.side // self.stride)

    def batch(self) -> int:
        """Return the batch size."""
        entries = self.side**2 * self.in_channels + self.out_side() ** 2 * self.out_channels
        return max(1, min(BATCH, MAX_OF_BATCH // self.multiply_adds(), MAX_ENTRIES // entries))

    def toeplitz_entries(self) -> int:
        """Return the number of entries of the matrix from a whole image to its whole output."""
        return (self.side * self.out_side()) ** 2 * self.in_channels * self.out_channels


class Comparison(NamedTuple):
    """The best time of a shape by each method that can compute it, and by the choice, "auto"."""

    shape: Shape
    seconds: dict[str, float]

    def best(self) -> str:
        """Return the fastest method, "auto" if none was fast enough to be timed."""
        return min((m for m in self.seconds if m != "auto"), key=lambda m: self.seconds[m], default="auto")

    def ratio(self) -> float:
        """Return the choice's time as a multiple of the fastest method's."""
        return self.seconds["auto"] / self.seconds[self.best()]


def shapes() -> Iterator[Shape]:
    """Yield the grid."""
    for kernel, stride in itertools.product(KERNELS, STRIDES):
        full = ((in_channels, out_channels, 1) for in_channels, out_channels in CHANNELS)
        for in_channels, out_channels, groups in (*full, *((width, width, width) for width in DEPTHWISE)):
            for side in SIDES:
                shape = Shape(kernel, stride, in_channels, out_channels, side, groups)
                if shape.multiply_adds() <= MAX_OF_IMAGE:
                    yield shape


def compare(shape: Shape, rounds: int, seconds: float) -> Comparison:
    """Time the forward pass and both gradients of a shape by every method."""

    def run_by(method: str) -> Run:
        return conv_run(
            shape.batch(), shape.side, shape.in_channels, shape.out_channels,
            kernel=shape.kernel, stride=shape.stride, groups=shape.groups, method=method,
        )  # fmt: skip

    runs, trials = dict[str, Run](), dict[str, float]()
    for method in ("auto", *METHODS):  # the choice first, so that others that are too slow are known to be
        if method == "toeplitz" and shape.toeplitz_entries() > MAX_TOEPLITZ_ENTRIES:
            continue
        run = run_by(method)
        try:
            first = thread_seconds(run)
        except ValueError:  # this method cannot compute it
            continue
        if not trials or first <= TOO_SLOW_AT_FIRST * min(trials.values()):
            runs[method], trials[method] = run, min(first, thread_seconds(run))
    fastest = min(trials.values())
    runs = {method: run for method, run in runs.items() if method == "auto" or trials[method] <= TOO_SLOW * fastest}
    rounds = min(rounds, max(FEWEST_ROUNDS, round(MAX_SECONDS / max(fastest, seconds))))
    comparison = Comparison(shape, dict.fromkeys(runs, math.inf))
    for _ in range(TRIES):
        times = shortest_times(list(runs.values()), rounds, seconds)
        shortest = map(min, comparison.seconds.values(), times)
        comparison = Comparison(shape, dict(zip(runs, shortest, strict=True)))
        if comparison.ratio() <= TOLERANCE:
            break
    return comparison


def compare_methods(console: Console, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the grid, print how good the choice is and where it is worst; return the figures."""
    found: list[Comparison] = []
    grid = list(shapes())
    for (kernel, stride), group in itertools.groupby(grid, key=lambda shape: (shape.kernel, shape.stride)):
        part = list(group)
        name = f"kernel {kernel}, stride {stride}: shapes {len(found) + 1} to {len(found) + len(part)} of {len(grid)}"
        with part_progress(name, len(part)) as advance:
            for shape in part:
                found.append(compare(shape, rounds, seconds))
                advance()
    report(console, found)
    return [
        {
            **one.shape._asdict(),
            "batch": one.shape.batch(),
            "us": {method: 1e6 * seconds for method, seconds in one.seconds.items()},
            "auto_over_best": one.ratio(),
        }
        for one in found
    ]


def report(console: Console, found: Sequence[Comparison]) -> None:
    """Print how often the choice is as good as the best, and the shapes where it is worst."""
    good = sum(one.ratio() <= TOLERANCE for one in found)
    title = (
        f"{current()} kernels: the choice is the fastest method, or within {TOLERANCE - 1:.0%} of it, for {good} of "
        f"{len(found)} shapes"
    )
    console.print(title, style="bold", soft_wrap=True)
    rows = []
    for one in sorted(found, key=Comparison.ratio, reverse=True)[:WORST]:
        shape, best = one.shape, one.best()
        rows.append((
            f"{shape.kernel}x{shape.kernel}", str(shape.stride), f"{shape.in_channels} to {shape.out_channels}",
            str(shape.groups), str(shape.side), str(shape.batch()), f"{1e6 * one.seconds['auto']:,.0f}",
            f"{1e6 * one.seconds[best]:,.0f}", best, f"{one.ratio():.2f}",
        ))  # fmt: skip
    names = ("worst", "stride", "channels", "groups", "side", "batch", "us", "best", "method", "ratio")
    console.print(table(names, rows))
