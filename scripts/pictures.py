"""Pictures for a terminal: pure functions from arrays to what rich prints.

Where there is colour, a character cell is two pixels, one above the other. Where there is none, in a pipe or with
NO_COLOR, a pixel is two characters whose density is its value, with the sign before it where values have one.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.columns import Columns as RichColumns
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from funcnn.tree import Array

T = TypeVar("T")

# Colours at equal distances, between which values are interpolated: viridis, in which a larger value is always lighter;
# and Moreland's cool to warm (Diverging Color Maps for Scientific Visualization, 2009), whose middle is grey, so that 0
# stands out neither on light nor on dark.
VIRIDIS = [(68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137), (53, 183, 121),
           (110, 206, 88), (181, 222, 43), (253, 231, 37)]  # fmt: skip
COOL_WARM = [(59, 76, 192), (98, 130, 234), (141, 176, 254), (184, 208, 249), (221, 221, 221), (245, 196, 173),
             (244, 154, 123), (222, 96, 77), (180, 4, 38)]  # fmt: skip
GREY = [(0, 0, 0), (255, 255, 255)]
# for curves: M. Okabe and K. Ito, Color Universal Design, 2008; all of middle lightness
LINES = [(0, 134, 209), (213, 94, 0), (0, 158, 115), (204, 121, 167), (176, 134, 0), (130, 110, 220)]
SHADES = " ░▒▓█"


class Tile(NamedTuple):
    """An image with a caption below.

    Attributes
    ----------
    pixels : array of uint8 (h, w, 3)
    shades : array (h, w), in [-1, 1]
        What to print where there is no colour.
    caption : str
        Of one or several lines.
    anchors : sequence of colours
        Of the scale by which shades became pixels, if they did.
    """

    pixels: Array
    shades: Array
    caption: str = ""
    anchors: Sequence[tuple[int, int, int]] = ()


def photograph(image: Array, low: float, high: float, caption: str = "") -> Tile:
    """Return a tile of an image (h, w, c) whose values go from ``low`` to ``high``; grey unless c is 3."""
    scaled = np.clip((image.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    grey = scaled.mean(axis=-1)
    return Tile(_to_bytes(255 * scaled), grey, caption) if image.shape[-1] == 3 else _scaled(grey, GREY, caption)


def heat(values: Array, top: float, caption: str = "") -> Tile:
    """Return a tile of values (h, w) from 0 to ``top``."""
    shades = np.clip(np.nan_to_num(values.astype(np.float64) / (top or 1.0)), 0, 1)
    return _scaled(shades, VIRIDIS, caption)


def signed(values: Array, top: float, caption: str = "") -> Tile:
    """Return a tile of values (h, w) from ``-top``, blue, to ``top``, red."""
    shades = np.clip(np.nan_to_num(values.astype(np.float64) / (top or 1.0)), -1, 1)
    return _scaled(shades, COOL_WARM, caption)


def _scaled(shades: Array, anchors: Sequence[tuple[int, int, int]], caption: str) -> Tile:
    return Tile(colours((shades + 1) / 2 if anchors is COOL_WARM else shades, anchors), shades, caption, anchors)


def colours(values: Array, anchors: Sequence[tuple[int, int, int]]) -> Array:
    """Return the colour of each value in [0, 1] on a scale, as uint8 (..., 3)."""
    positions = np.linspace(0, 1, len(anchors))
    return _to_bytes(np.stack([np.interp(values, positions, channel) for channel in zip(*anchors, strict=True)], -1))


def _to_bytes(x: Array) -> Array:
    return np.rint(x).astype(np.uint8)


def resized(values: Array, shape: tuple[int, int]) -> Array:
    """Return values (h, w) on another grid over the same area, interpolated linearly between the cells' centres."""
    down, across = (_interpolation(*sizes) for sizes in zip(values.shape, shape, strict=True))
    return down @ values @ across.T


def _interpolation(old: int, new: int) -> Array:
    """Return the matrix (new, old) whose rows weigh the old cells."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(centres, np.arange(old), unit) for unit in np.eye(old)], axis=1)


class Gallery(NamedTuple):
    """Tiles in rows, as many in a row as fit, enlarged as long as the whole stays within so many lines.

    Attributes
    ----------
    tiles : sequence of Tile
        All of one size.
    together : int
        Tiles stay together by so many.
    lines : int
    relative : bool
        Whether each tile has a scale of its own, of which it keeps the whole where averages bring it nearer to 0.
    """

    tiles: Sequence[Tile]
    together: int = 1
    lines: int = 30
    relative: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        coloured = has_colour(console)
        height, width = self.tiles[0].shades.shape
        across = 1 if coloured else 2  # characters for a pixel
        longest = max(cell_len(line) for tile in self.tiles for line in tile.caption.split("\n"))
        room = (options.max_width + GAP) // self.together - GAP
        if room < SMALLEST * across and self.together > 1:
            yield from self._replace(together=self.together // 2).__rich_console__(console, options)
            return

        def laid_out(scale: int, shrink: int) -> tuple[int, int, int]:
            """Return a tile's width with its caption, how many of them are in a row, and the lines of all rows."""
            cell = max(math.ceil(width / shrink) * scale * across, min(longest, room))
            fit = max((options.max_width + GAP) // (cell + GAP), 1)
            in_a_row = max(fit // self.together * self.together, min(fit, self.together))
            each = math.ceil(height / shrink * scale * across / 2) + len(_caption(self.tiles[0], cell)) + 1
            return cell, in_a_row, math.ceil(len(self.tiles) / in_a_row) * each

        for scale, shrink in _zooms(width, coloured):
            cell, in_a_row, lines = laid_out(scale, shrink)
            if cell <= room and lines <= self.lines:
                break
        if cell > room:
            shrink = math.ceil(width * across / room)
            cell, in_a_row, _ = laid_out(scale, shrink)

        print_rows = _coloured_rows if coloured else _plain_rows
        for row in _batched(self.tiles, in_a_row):
            blocks = [print_rows(_enlarged(_shrunk(tile, shrink, self.relative), scale)) for tile in row]
            for parts in zip(*blocks, strict=True):
                for part in parts[:-1]:
                    yield from part
                    yield Segment(" " * (cell + GAP - sum(segment.cell_length for segment in part)))
                yield from parts[-1]
                yield Segment.line()
            for lines_of_captions in zip_longest(*(_caption(tile, cell) for tile in row), fillvalue=""):
                yield Segment("".join(set_cell_size(line, cell + GAP) for line in lines_of_captions).rstrip())
                yield Segment.line()
            yield Segment.line()


GAP, SMALLEST = 1, 8


def _caption(tile: Tile, width: int) -> list[str]:
    return [part for line in tile.caption.split("\n") if line for part in textwrap.wrap(line, width)]


def _zooms(width: int, coloured: bool) -> Iterator[tuple[int, int]]:
    """Yield by what factors to enlarge and to shrink an image so wide, the largest first.

    Half blocks are enlarged up to 24 columns or pixels of 4x4; an image is shrunk down to 16 pixels.
    """
    smallest = 2 if width < 4 and coloured else 1
    for scale in range(max(min(24 // width, 4), smallest) if coloured else 1, smallest - 1, -1):
        yield scale, 1
    for shrink in range(2, width // 16 + 1):
        yield 1, shrink


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def has_colour(console: Console) -> bool:
    """Say whether the console shows colours."""
    return console.color_system is not None and not console.no_color


def _shrunk(tile: Tile, factor: int, relative: bool) -> Tile:
    """Average blocks of pixels."""
    if factor == 1:
        return tile

    def averaged(x: Array) -> Array:
        for axis in (0, 1):
            starts = np.arange(0, x.shape[axis], factor)
            counts = np.diff(np.append(starts, x.shape[axis])).reshape((-1, 1) if axis == 0 else (1, -1))
            x = np.add.reduceat(x.astype(np.float64), starts, axis) / (counts[..., None] if x.ndim == 3 else counts)
        return x

    shades = averaged(tile.shades)
    if tile.anchors and relative:
        shades = shades * (np.abs(tile.shades).max() / (np.abs(shades).max() or 1.0))
    if tile.anchors:  # colours of numbers do not average to the colour of their mean
        return _scaled(shades, tile.anchors, tile.caption)
    return tile._replace(pixels=_to_bytes(averaged(tile.pixels)), shades=shades)


def _enlarged(tile: Tile, scale: int) -> Tile:
    pixels, shades = (a.repeat(scale, axis=0).repeat(scale, axis=1) for a in (tile.pixels, tile.shades))
    return tile._replace(pixels=pixels, shades=shades)


def _coloured_rows(tile: Tile) -> list[list[Segment]]:
    """Return a row of half blocks for each two rows of pixels."""
    pixels = [[tuple(pixel) for pixel in row] for row in tile.pixels.tolist()]
    if len(pixels) % 2:
        pixels.append([()] * len(pixels[0]))
    rows = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        pairs = [_half_block(top, bottom) for top, bottom in zip(upper, lower, strict=True)]
        rows.append(list(Segment.simplify(pairs)))
    return rows


@lru_cache(4096)
def _half_block(top: tuple[int, ...], bottom: tuple[int, ...]) -> Segment:
    if not bottom:
        return Segment("▀", Style(color=Color.from_rgb(*top)))
    if top == bottom:
        return Segment(" ", Style(bgcolor=Color.from_rgb(*top)))
    return Segment("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))


def _plain_rows(tile: Tile) -> list[list[Segment]]:
    """Return two characters for each pixel."""
    levels = np.rint(np.abs(tile.shades) * (len(SHADES) - 1)).astype(int)
    has_signs = (tile.shades < 0).any()

    def pixel(level: int, value: float) -> str:
        sign = SHADES[level] if not has_signs or not level else "-" if value < 0 else "+"
        return sign + SHADES[level]

    return [[Segment("".join(map(pixel, *row)))] for row in zip(levels.tolist(), tile.shades.tolist(), strict=True)]


class Scale(NamedTuple):
    """What the colours of tiles mean: a bar from ``low`` to ``high``."""

    low: float
    high: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        negative = self.low < 0
        low, high = f"{self.low:.3g} ", f" {self.high:.3g}"
        if has_colour(console):
            text = Text()
            text.append(low, "dim")
            for colour in colours(np.linspace(0, 1, 16), COOL_WARM if negative else VIRIDIS):
                text.append("▀", Style(color=Color.from_rgb(*colour.tolist())))
            yield text.append(high, "dim")
        else:
            marks = [*(f"-{s}" for s in SHADES[:0:-1]), "0", *(f"+{s}" for s in SHADES[1:])]
            yield Text(low + " ".join(marks if negative else [2 * s for s in SHADES[1:]]) + high)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)) + "…"


class Curve(NamedTuple):
    """A line through points, with the name that the legend gives it; none, and it is not listed."""

    name: str
    x: Array
    y: Array
    colour: tuple[int, int, int] = LINES[0]
    dotted: bool = False


class Plot(NamedTuple):
    """Curves over common axes, drawn in braille dots.

    Attributes
    ----------
    title : str
    curves : sequence of Curve
        Points that are not finite are left out.
    limits : (float, float)
        Of the vertical axis.
    horizontal : (float, float)
    log : bool
        Whether the vertical axis is logarithmic.
    style : callable
        ``style(value) -> str`` of the labels.
    rows : int
        Height.
    """

    title: str
    curves: Sequence[Curve]
    limits: tuple[float, float]
    horizontal: tuple[float, float]
    log: bool = False
    style: Callable[[float], str] = "{:.4g}".format
    rows: int = 12

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        low, high = self.limits
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        labels = {0: self.style(high), self.rows // 2: self.style(middle), self.rows - 1: self.style(low)}
        margin = max(map(len, labels.values())) + 1
        columns = max(options.max_width - margin - 1, 4)
        yield Text(self.title, "bold")
        dots = np.zeros((4 * self.rows, 2 * columns), int)  # 0, or the number of the last curve there
        for number, curve in enumerate(self.curves, start=1):
            for row, column in self._dots(curve, *dots.shape):
                dots[row, column] = number
        for k in range(self.rows):
            line = Text()
            line.append(labels.get(k, "").rjust(margin - 1) + " │", "dim")
            for c in range(columns):
                block = dots[4 * k : 4 * k + 4, 2 * c : 2 * c + 2]
                number = int(block.max())
                bits = sum(1 << bit for bit, (i, j) in enumerate(DOTS) if block[j, i])
                mark = chr(0x2800 + bits) if bits else " "
                line.append(mark, Style(color=Color.from_rgb(*self.curves[number - 1].colour)) if bits else "")
            line.rstrip()
            yield line
        yield Text(" " * margin + "└" + "─" * columns, "dim")
        left, right = (f"{value:g}" for value in self.horizontal)
        yield Text(" " * (margin + 1) + left + right.rjust(columns - len(left)), "dim")
        entries = [(curve, "┄┄ " if curve.dotted else "── ") for curve in self.curves if curve.name]
        legend = [Text.assemble((line, Style(color=Color.from_rgb(*c.colour))), c.name) for c, line in entries]
        yield Padding(RichColumns(legend, padding=(0, 3, 0, 0)), (0, 0, 1, margin + 1))

    def _dots(self, curve: Curve, rows: int, columns: int) -> Iterator[tuple[int, int]]:
        """Yield the dots of a curve, each column's from where the last one's ended."""
        scaled = np.log if self.log else np.asarray
        known = np.isfinite(curve.y) & ((curve.y > 0) | (not self.log))
        if not known.any():
            return
        low, high = (float(scaled(limit)) for limit in self.limits)
        first, last = self.horizontal
        at = (curve.x[known] - first) / ((last - first) or 1.0) * (columns - 1)
        heights = (high - scaled(curve.y[known])) / ((high - low) or 1.0) * (rows - 1)
        reached = np.arange(math.ceil(at.min()), math.floor(at.max()) + 1)
        if not len(reached):
            reached = np.rint(at[:1]).astype(int)
        path = np.clip(np.rint(np.interp(reached, at, heights)).astype(int), 0, rows - 1)
        before = path[0]
        for column, row in zip(reached.tolist(), path.tolist(), strict=True):
            if not curve.dotted or column % 4 < 2:
                step = 1 if row > before else -1
                yield from ((between, column) for between in range(before + step, row, step))
                yield row, column
            before = row


# (column, row) of the dot that each bit of a braille character from U+2800 on stands for
DOTS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]


class Panels(NamedTuple):
    """Plots next to each other where there is room; without colour, ``alone``, which leave no curves to tell apart."""

    plots: Sequence[Plot]
    alone: Sequence[Plot]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plots = self.plots if has_colour(console) else self.alone
        for row in _batched(plots, max(1, min(len(self.plots), options.max_width // NARROWEST_PLOT))):
            grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
            for _ in row:
                grid.add_column(ratio=1)
            grid.add_row(*row)
            yield grid


NARROWEST_PLOT = 48


def limits(curves: Sequence[Curve], log: bool = False) -> tuple[float, float]:
    """Return the least and the greatest of the curves' finite values, those above 0 for a logarithmic axis."""
    values = np.concatenate([curve.y for curve in curves])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low / 2, 2 * high) if log else (low - 0.5, high + 0.5)


class HeatMap(NamedTuple):
    """A confusion matrix: a row for each true class, a column for each predicted one, coloured by the row's fractions.

    Colours stand for the square root of a fraction, so that rare mistakes are seen. Where the numbers do not fit, each
    is a pixel.
    """

    confusion: Array
    names: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts = self.confusion
        fractions = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
        label = min(max(cell_len(name) for name in self.names), max(options.max_width // 4, 4))
        digits = len(str(counts.max()))
        room = (options.max_width - label - 1) // len(self.names)
        wanted = max(digits, min(max(cell_len(name) for name in self.names), 10)) + 2
        cell = min(wanted, room)
        coloured = has_colour(console)
        if cell < digits + (not coloured):
            yield from _without_numbers(self.names, fractions)
            return
        short = [_cut(name, cell - 1) for name in self.names]
        if len(set(short)) < len(short):  # cut names that are alike say nothing
            short = [str(i) for i in range(len(short))]
        numbered = short != list(self.names)
        yield Text(" " * (label + 1) + "".join(_centred(name, cell) for name in short), "bold")
        for i, row in enumerate(counts):
            name = f"{i} {self.names[i]}" if numbered and short[0] == "0" else self.names[i]
            line = Text(set_cell_size(_cut(name, label), label) + " ", "bold")
            for j, count in enumerate(row):
                text = _centred(str(count) if count else "·", cell)
                line.append(text, _on(colours(fractions[i, j], VIRIDIS)) if coloured else "bold" if i == j else "")
            yield line


def _without_numbers(names: Sequence[str], fractions: Array) -> Iterator[RenderableType]:
    yield Gallery([heat(fractions, 1.0)], lines=len(names))
    yield Text(f"{len(names)} classes, from {names[0]} to {names[-1]}; widen the terminal to see numbers")


def _centred(text: str, width: int) -> str:
    left = (width - cell_len(text)) // 2
    return " " * left + text + " " * (width - cell_len(text) - left)


def _on(colour: Array) -> Style:
    """Return the style of text on a colour: black or white, whichever is farther from it."""
    lightness = float(colour @ [0.299, 0.587, 0.114])
    black_or_white = (0, 0, 0) if lightness > 128 else (255, 255, 255)
    return Style(color=Color.from_rgb(*black_or_white), bgcolor=Color.from_rgb(*colour.tolist()))


def bar(fraction: float, width: int, style: str = "") -> Text:
    """Return a bar that fills a fraction of so many cells, to half a cell."""
    halves = round(min(max(fraction, 0.0), 1.0) * 2 * width)
    return Text("━" * (halves // 2) + "╸" * (halves % 2), style)
