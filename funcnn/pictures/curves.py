"""Curves over the epochs: in a terminal of braille dots or ASCII marks, in a file of lines.

Without colour or braille dots, each run has its own axes, so that there are no more than two curves to distinguish:
the training part is dotted, or marked by points where the validation part is marked by asterisks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from funcnn.characters import encodable
from funcnn.pictures.tiles import RGB, batched, has_colour
from funcnn.tree import Array

# M. Okabe and K. Ito, Color Universal Design, 2008; all of middle lightness
LINES = [(0, 134, 209), (213, 94, 0), (0, 158, 115), (204, 121, 167), (176, 134, 0), (130, 110, 220)]
# Corners and first angle (degrees) of the polygon that marks points of each run: circle, square, triangle, ...
MARKERS = [(16, 0), (4, 45), (3, -90), (4, 0), (3, 90), (5, -90)]
NARROWEST_PLOT = 48  # columns
# (column, row) of the dot for each bit of a braille character from U+2800
DOTS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
DASHES = (5.0, 3.0)  # pixels drawn and left out


class Curve(NamedTuple):
    """A line through points.

    Attributes
    ----------
    name : str
        The run.
    x, y : array (N,)
        Points that are not finite are left out.
    colour : (int, int, int)
    part : str
        The part of the data that was measured, such as ``"validation"``.
    dashed : bool
    marker : int, optional
        Index into `MARKERS`.
    """

    name: str
    x: Array
    y: Array
    colour: RGB = LINES[0]
    part: str = ""
    dashed: bool = False
    marker: int | None = None


class CanvasConsole(Console):
    """The console of a picture in a file: plots leave their area blank and attach themselves to it, to become lines."""


class Sample(NamedTuple):
    """An entry of a legend: a label and how its line looks; without a colour it stands for lines of all colours."""

    label: str
    colour: RGB | None
    dashed: bool
    marker: int | None

    @property
    def columns(self) -> int:
        """The width of the entry: the line, the label, and a gap."""
        return SAMPLE_COLUMNS + cell_len(self.label) + 3


SAMPLE_COLUMNS = 5


class Plot(NamedTuple):
    """Curves over common axes.

    Attributes
    ----------
    title : str
        What the vertical axis measures.
    curves : sequence of Curve
    limits : (float, float)
        Ends of the vertical axis.
    horizontal : (float, float)
        Ends of the horizontal axis, of epochs.
    log : bool
        Whether the vertical axis is logarithmic.
    percent : bool
        Whether the vertical axis is labelled in percent.
    rows : int
        Lines of the vertical axis.
    """

    title: str
    curves: Sequence[Curve]
    limits: tuple[float, float]
    horizontal: tuple[float, float]
    log: bool = False
    percent: bool = False
    rows: int = 12

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not isinstance(console, CanvasConsole):
            yield from self._in_characters(console, options)
            return
        width = options.max_width
        yield Segment(" " * width, Style(meta={"plot": self}))
        yield Segment.line()
        for _ in range(self.rows + 4 + len(_legend_lines(self.curves, width - _left_margin(self)))):
            yield Segment(" " * width)
            yield Segment.line()

    def _in_characters(self, console: Console, options: ConsoleOptions) -> RenderResult:
        braille = has_braille(options)
        frame = "│┤─┬└" if encodable("│┤─┬└", options.encoding) else "|+-++"
        upright, upright_tick, level, level_tick, corner = tuple(frame)
        labels: dict[int, str] = {}
        for value, label in zip(*self.vertical_ticks(), strict=True):
            labels.setdefault(round(float(self._height(value)) * (self.rows - 1)), label)
        margin = max(map(len, labels.values()), default=0) + 1
        columns = max(options.max_width - margin - 1, 4)
        yield Text(self.title, "bold")
        for k, line in enumerate(self._braille(columns) if braille else self._ascii(columns)):
            start = labels.get(k, "").rjust(margin - 1) + " " + (upright_tick if k in labels else upright)
            whole = Text.assemble((start, "dim"), line)
            whole.rstrip()
            yield whole
        axis, below = [level] * columns, [" "] * (columns + margin + 1)
        for value, label in zip(*self.horizontal_ticks(columns // 8), strict=True):
            at = round(float(self._across(value)) * (columns - 1))
            left = min(max(margin + 1 + at - len(label) // 2, 0), len(below) - len(label))
            axis[at], below[left : left + len(label)] = level_tick, label
        yield Text(" " * margin + corner + "".join(axis), "dim")
        yield Text("".join(below).rstrip(), "dim")
        yield Text(" " * (margin + 1) + "epoch".center(columns).rstrip(), "dim")
        for samples in _legend_lines(self.curves, options.max_width - margin - 1):
            text = Text(" " * (margin + 1))
            for sample in samples:
                style = Style(color=Color.from_rgb(*sample.colour)) if sample.colour else Style()
                text.append(_line_sample(sample, options), style)
                text.append(f" {sample.label}   ")
            text.rstrip()
            yield text
        yield Text()

    def vertical_ticks(self) -> tuple[list[float], list[str]]:
        """Return values and labels of the vertical axis."""
        return ticks(*self.limits, max(self.rows // 3 + 1, 2), log=self.log, percent=self.percent)

    def horizontal_ticks(self, count: int) -> tuple[list[float], list[str]]:
        """Return values and labels of the horizontal axis, at most about ``count``."""
        return ticks(*self.horizontal, max(count, 2), whole=True)

    def points(self, curve: Curve) -> tuple[Array, Array]:
        """Return a curve's finite points: from the left and from the top, as fractions of the axes."""
        known = np.isfinite(curve.y) & ((curve.y > 0) | (not self.log))
        return self._across(curve.x[known]), self._height(curve.y[known])

    def _across(self, x: Array | float) -> Array:
        first, last = self.horizontal
        return (np.asarray(x, np.float64) - first) / ((last - first) or 1.0)

    def _height(self, y: Array | float) -> Array:
        scaled = np.log if self.log else np.asarray
        low, high = (float(scaled(limit)) for limit in self.limits)
        return (high - scaled(np.asarray(y, np.float64))) / ((high - low) or 1.0)

    def _braille(self, columns: int) -> Iterator[Text]:
        """Yield the lines of the plot's area, each cell 2x4 dots."""
        dots = np.zeros((4 * self.rows, 2 * columns), int)  # 0, or the number of the last curve there
        for number, curve in enumerate(self.curves, start=1):
            for row, column in self._cells(curve, *dots.shape):
                if not curve.dashed or column % 4 < 2:
                    dots[row, column] = number
        blocks = dots.reshape(self.rows, 4, columns, 2)
        bits = sum((blocks[:, j, :, i] > 0) << bit for bit, (i, j) in enumerate(DOTS))
        marks = [[chr(0x2800 + code) if code else " " for code in row] for row in np.asarray(bits).tolist()]
        yield from self._coloured(marks, blocks.max(axis=(1, 3)))

    def _ascii(self, columns: int) -> Iterator[Text]:
        """Yield the lines of the plot's area in ASCII marks."""
        numbers = np.zeros((self.rows, columns), int)
        for number, curve in enumerate(self.curves, start=1):
            for row, column in self._cells(curve, *numbers.shape):
                numbers[row, column] = number
        marks = [" ", *(_mark(curve.dashed) for curve in self.curves)]
        yield from self._coloured([[marks[number] for number in row] for row in numbers.tolist()], numbers)

    def _coloured(self, marks: list[list[str]], numbers: Array) -> Iterator[Text]:
        """Yield lines of marks in the colours of the curves that the numbers, from 1, refer to."""
        styles = [Style(), *(Style(color=Color.from_rgb(*curve.colour)) for curve in self.curves)]
        for row, numbers_of_row in zip(marks, numbers.tolist(), strict=True):
            yield Text.assemble(*((mark, styles[number]) for mark, number in zip(row, numbers_of_row, strict=True)))

    def _cells(self, curve: Curve, rows: int, columns: int) -> Iterator[tuple[int, int]]:
        """Yield (row, column) of the cells on a curve, vertically without gaps."""
        across, heights = self.points(curve)
        if not len(across):
            return
        at, down = across * (columns - 1), heights * (rows - 1)
        covered = np.arange(math.ceil(at.min()), math.floor(at.max()) + 1)
        if not len(covered):
            covered = np.rint(at[:1]).astype(int)
        path = np.clip(np.rint(np.interp(covered, at, down)).astype(int), 0, rows - 1)
        before = path[0]
        for column, row in zip(covered.tolist(), path.tolist(), strict=True):
            step = 1 if row > before else -1
            yield from ((between, column) for between in range(before + step, row, step))
            yield row, column
            before = row


def has_braille(options: ConsoleOptions) -> bool:
    """Return whether the encoding of the output has braille characters."""
    return encodable("⣿", options.encoding)


def _mark(dashed: bool) -> str:
    return "." if dashed else "*"


def _line_sample(sample: Sample, options: ConsoleOptions) -> str:
    if not has_braille(options):
        return _mark(sample.dashed) * (SAMPLE_COLUMNS - 1)
    return ("⠒ " * SAMPLE_COLUMNS if sample.dashed else "⠒" * SAMPLE_COLUMNS)[: SAMPLE_COLUMNS - 1]


def legend(curves: Sequence[Curve]) -> list[Sample]:
    """Return the entries of a legend: the parts of a single run; of several, the runs, then the parts."""
    parts = {curve.part: curve for curve in curves if curve.part}
    runs = {curve.name: curve for curve in curves if curve.name}
    if len(runs) <= 1:
        return [Sample(part, curve.colour, curve.dashed, curve.marker) for part, curve in parts.items()]
    entries = [Sample(name, curve.colour, False, curve.marker) for name, curve in runs.items()]
    if len(parts) > 1:
        entries += [Sample(part, None, curve.dashed, None) for part, curve in parts.items()]
    return entries


def _legend_lines(curves: Sequence[Curve], width: float) -> list[list[Sample]]:
    lines: list[list[Sample]] = []
    left = 0.0
    for sample in legend(curves):
        starts_parts = bool(lines) and sample.colour is None and lines[-1][-1].colour is not None
        if not lines or starts_parts or sample.columns - 3 > left:
            lines.append([])
            left = width
        lines[-1].append(sample)
        left -= sample.columns
    return lines


class Panels(NamedTuple):
    """Plots side by side where the console is wide enough.

    Attributes
    ----------
    plots : sequence of Plot
        One for each measure.
    single : sequence of Plot
        One for each measure and run, for a terminal without colour or without braille characters.
    """

    plots: Sequence[Plot]
    single: Sequence[Plot]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plots = self.plots if has_colour(console) and has_braille(options) else self.single
        for row in batched(plots, max(1, min(len(self.plots), options.max_width // NARROWEST_PLOT))):
            grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
            for _ in row:
                grid.add_column(ratio=1)
            grid.add_row(*row)
            yield grid


def limits(curves: Sequence[Curve], log: bool = False) -> tuple[float, float]:
    """Return the least and the greatest of the curves' finite values.

    On a logarithmic axis, of those above 0, rounded down and up to 1, 2 or 5 times a power of ten.
    """
    values = np.concatenate([curve.y for curve in curves])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = (low, high) if low < high else (low / 2, 2 * high)
        return max(_steps(low / 10, low)), min(_steps(high, 10 * high))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _steps(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2 or 5 times a power of ten from ``low`` to ``high``, whose ratio is 10."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = [m * 10.0**power if power >= 0 else m / 10.0**-power for power in powers for m in (1, 2, 5)]
    return [step for step in steps if low <= step * (1 + 1e-9) and step <= high * (1 + 1e-9)]


def ticks(
    low: float, high: float, count: int, *, log: bool = False, whole: bool = False, percent: bool = False
) -> tuple[list[float], list[str]]:
    """Return round numbers between two limits, and their labels.

    Parameters
    ----------
    low, high : float
    count : int
        Largest number of ticks, at least 2; it is exceeded only where a coarser step would leave fewer than 2.
    log : bool
        Powers of ten, with their double and fivefold where there are few; for limits above 0.
    whole : bool
        Whole numbers only.
    percent : bool
        Labels in percent.

    Returns
    -------
    values : list of float
        At equal distances of 1, 2 or 5 times a power of ten, unless ``log``.
    labels : list of str
    """
    if log:
        for multiples in ((1,), (1, 2, 5)):
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            values = [m * 10.0**power for power in powers for m in multiples]
            values = [value for value in values if low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9)]
            if len(values) >= 2:
                values = values[:: math.ceil(len(values) / count)]
                return values, [f"{value:.0%}" if percent else f"{value:g}" for value in values]
    span = (high - low) or 1.0
    step, finer = 1.0, 1.0
    for exponent in range(math.ceil(math.log10(span)), math.floor(math.log10(span / count)) - 2, -1):
        for multiple in (5, 2, 1):
            finer = multiple * 10.0**exponent
            enough = _multiples(low, high, step)
            if (whole and finer < 1) or (len(_multiples(low, high, finer)) > count and len(enough) >= 2):
                return enough, _labels(enough, step, percent)
            step = finer
    found = _multiples(low, high, step)
    return found, _labels(found, step, percent)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)] if last - first < 1000 else []


def _labels(values: Sequence[float], step: float, percent: bool) -> list[str]:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if percent:
        return [f"{value + 0.0:.{max(0, decimals - 2)}%}" for value in values]
    largest = max(map(abs, values), default=0.0)
    if not 1e-3 <= largest < 1e6:
        digits = math.floor(math.log10(largest or step) + 1e-9) - math.floor(math.log10(step) + 1e-9) + 1
        return [f"{value + 0.0:.{digits}g}" for value in values]
    return [f"{value + 0.0:.{decimals}f}" for value in values]


class Stroke(NamedTuple):
    """A line through points (x, y), its width in pixels; filled with its colour if it is a polygon."""

    points: list[tuple[float, float]]
    colour: RGB
    width: float = 1.0
    dashed: bool = False
    filled: bool = False


class Label(NamedTuple):
    """Text whose baseline is at (x, y); the anchor is ``"start"``, ``"middle"`` or ``"end"``."""

    x: float
    y: float
    text: str
    anchor: str
    colour: RGB
    bold: bool = False


def vector(plot: Plot, columns: int, ink: RGB, paper: RGB) -> tuple[list[Stroke], list[Label]]:
    """Return the lines and labels of a plot; positions are in columns and lines of the page, from the plot's corner."""
    grid: RGB = tuple((i + 4 * p) // 5 for i, p in zip(ink, paper, strict=True))  # type: ignore[assignment]
    values, labels = plot.vertical_ticks()
    left, right = _left_margin(plot), columns - 1.5
    top, bottom = 1.6, plot.rows + 1.0

    def at(across: Array | float, height: Array | float) -> list[tuple[float, float]]:
        xs = np.atleast_1d(left + np.asarray(across) * (right - left))
        ys = np.atleast_1d(top + np.asarray(height) * (bottom - top))
        return list(zip(*np.broadcast_arrays(xs, ys), strict=True))

    strokes, texts = [], [Label(0.0, 0.78, plot.title, "start", ink, bold=True)]
    for value, label in zip(values, labels, strict=True):
        height = float(plot._height(value))
        strokes.append(Stroke([*at(0.0, height), *at(1.0, height)], grid))
        texts.append(Label(left - 0.7, at(0.0, height)[0][1] + 0.28, label, "end", ink))
    for value, label in zip(*plot.horizontal_ticks(columns // 8), strict=True):
        ((x, _),) = at(float(plot._across(value)), 1.0)
        strokes.append(Stroke([(x, bottom), (x, bottom + 0.3)], ink))
        texts.append(Label(x, bottom + 1.2, label, "middle", ink))
    strokes.append(Stroke([*at(0.0, 0.0), *at(0.0, 1.0), *at(1.0, 1.0)], ink))
    texts.append(Label((left + right) / 2, bottom + 2.2, "epoch", "middle", ink))

    for curve in plot.curves:
        points = at(*plot.points(curve))
        if len(points) > 1:
            strokes.append(Stroke(points, curve.colour, 1.6, curve.dashed))
        if curve.marker is not None or len(points) == 1:
            every = max(1, len(points) // 6)
            strokes += [_marker(curve.marker or 0, *point, curve.colour) for point in points[every // 2 :: every]]
    y = bottom + 2.9
    for samples in _legend_lines(plot.curves, columns - left):
        x = left
        for sample in samples:
            colour = sample.colour or ink
            strokes.append(Stroke([(x, y + 0.5), (x + SAMPLE_COLUMNS - 1, y + 0.5)], colour, 1.6, sample.dashed))
            if sample.marker is not None:
                strokes.append(_marker(sample.marker, x + (SAMPLE_COLUMNS - 1) / 2, y + 0.5, colour))
            texts.append(Label(x + SAMPLE_COLUMNS, y + 0.78, sample.label, "start", ink))
            x += sample.columns
        y += 1
    return strokes, texts


def _left_margin(plot: Plot) -> float:
    """Return the columns left of the vertical axis."""
    return max(map(len, plot.vertical_ticks()[1]), default=0) + 1.5


def _marker(number: int, x: float, y: float, colour: RGB) -> Stroke:
    corners, first = MARKERS[number % len(MARKERS)]
    angles = math.radians(first) + 2 * math.pi * np.arange(corners) / corners
    radius = 0.45  # columns; a line is as high as two columns are wide
    points = [(x + radius * math.cos(angle), y + radius / 2 * math.sin(angle)) for angle in angles]
    return Stroke(points, colour, filled=True)
