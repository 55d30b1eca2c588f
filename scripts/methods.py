"""Every method of computing a convolution beside the one that funcnn chooses, over a grid of shapes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import terminal
from rich.console import Console
from sweep import Run, conv_run, in_turns

from funcnn.kernels.conv.dispatch import METHODS

KERNELS, STRIDES, SIDES = (1, 2, 3, 5, 7), (1, 2), (8, 16, 32, 64)
CHANNELS = ((1, 8), (3, 32), (6, 16), (8, 8), (16, 32), (32, 32), (64, 64), (128, 128), (256, 256))
DEPTHWISE = (1, 16, 64, 256)
BATCH = 64
# Batches are smaller where they would make more multiply-adds than this, and shapes left out where one image does.
MOST_WORK, MOST_WORK_OF_AN_IMAGE = 2**27, 2**30
# The matrix of "toeplitz" is not tried with more entries.
LARGEST_UNROLLED = 2**20
# A method that takes so many times the fastest one's time, once, is not timed again; nor one that takes twice as many
# at its first call, when caches are empty.
HOPELESS = 5.0
TOLERANCE, SHOWN = 1.1, 20


class Shape(NamedTuple):
    """A convolution of square images by a square kernel, its output as large as the input but for the stride."""

    kernel: int
    stride: int
    inner: int
    outer: int
    side: int
    groups: int

    def products(self) -> int:
        """Return the multiply-adds of an image's forward pass."""
        return (self.kernel * self.out()) ** 2 * self.inner * self.outer // self.groups

    def out(self) -> int:
        """Return the output's side."""
        return -(-self.side // self.stride)

    def batch(self) -> int:
        """Return how many images to take."""
        return max(1, min(BATCH, MOST_WORK // self.products()))

    def unrolled(self) -> int:
        """Return the entries of the matrix from whole images to whole outputs."""
        return (self.side * self.out()) ** 2 * self.inner * self.outer


class Comparison(NamedTuple):
    """The best time of a shape by each method that can compute it, "auto" among them."""

    shape: Shape
    seconds: dict[str, float]

    def best(self) -> str:
        """Return the fastest method."""
        return min((m for m in self.seconds if m != "auto"), key=lambda m: self.seconds[m])

    def ratio(self) -> float:
        """Return how many times the fastest method's time the choice takes."""
        return self.seconds["auto"] / self.seconds[self.best()]


def shapes() -> Iterator[Shape]:
    """Yield the grid."""
    for kernel, stride in itertools.product(KERNELS, STRIDES):
        full = ((inner, outer, 1) for inner, outer in CHANNELS)
        for inner, outer, groups in (*full, *((width, width, width) for width in DEPTHWISE)):
            for side in SIDES:
                shape = Shape(kernel, stride, inner, outer, side, groups)
                if shape.products() <= MOST_WORK_OF_AN_IMAGE:
                    yield shape


def compare(shape: Shape, rounds: int, seconds: float) -> Comparison:
    """Time forward pass and both gradients of a shape by every method."""

    def prepared(method: str) -> Run:
        return conv_run(
            shape.batch(), shape.side, shape.inner, shape.outer,
            kernel=shape.kernel, stride=shape.stride, groups=shape.groups, method=method,
        )  # fmt: skip

    runs, trials = dict[str, Run](), dict[str, float]()
    for method in METHODS:
        if method == "toeplitz" and shape.unrolled() > LARGEST_UNROLLED:
            continue
        run = prepared(method)
        try:
            first = _seconds(run)
        except ValueError:  # this method cannot compute it
            continue
        if not trials or first <= 2 * HOPELESS * min(trials.values()):
            runs[method], trials[method] = run, _seconds(run)
    limit = HOPELESS * min(trials.values())
    runs = {"auto": prepared("auto"), **{method: run for method, run in runs.items() if trials[method] <= limit}}
    times = in_turns(list(runs.values()), rounds, seconds)
    return Comparison(shape, {method: min(own) for method, own in zip(runs, times, strict=True)})


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run(1)
    return time.perf_counter() - began


def methods(console: Console, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the grid, print how good the choice is and where it is worst; return the figures."""
    found, say = [], terminal.echo(False)
    for (kernel, stride), group in itertools.groupby(shapes(), key=lambda shape: (shape.kernel, shape.stride)):
        say(f"measuring kernel {kernel}, stride {stride}")
        found += [compare(shape, rounds, seconds) for shape in group]
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
    title = f"the choice is the fastest method, or within {TOLERANCE - 1:.0%} of it, for {good} of {len(found)} shapes"
    console.print(title, style="bold", soft_wrap=True)
    table = terminal.new_table(
        "worst", "stride", "channels", "groups", "side", "batch", "us", "best", "method", "ratio"
    )
    for one in sorted(found, key=Comparison.ratio, reverse=True)[:SHOWN]:
        shape, best = one.shape, one.best()
        table.add_row(
            f"{shape.kernel}x{shape.kernel}", str(shape.stride), f"{shape.inner} to {shape.outer}", str(shape.groups),
            str(shape.side), str(shape.batch()), f"{1e6 * one.seconds['auto']:,.0f}", f"{1e6 * one.seconds[best]:,.0f}",
            best, f"{one.ratio():.2f}",
        )  # fmt: skip
    terminal.print_whole(console, table)
