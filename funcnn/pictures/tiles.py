"""Images and heat maps for a terminal: pure functions from arrays to what rich prints.

With colour, a character cell is two pixels, one above the other. Without colour (in a pipe, or with NO_COLOR) a pixel
is two characters whose density shows its magnitude, the first of them the sign where values have one. Where the
encoding of the output lacks the block characters, spaces on coloured backgrounds or ASCII characters replace them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import numpy as np
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from funcnn.characters import encodable, printable
from funcnn.tree import Array

T = TypeVar("T")
RGB = tuple[int, int, int]

# Colours at equal distances, between which values are interpolated: viridis, in which a larger value is always lighter;
# and Moreland's cool to warm (Diverging Color Maps for Scientific Visualization, 2009), whose middle is grey, so that 0
# stands out neither on light nor on dark.
VIRIDIS = [(68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137), (53, 183, 121),
           (110, 206, 88), (181, 222, 43), (253, 231, 37)]  # fmt: skip
COOL_WARM = [(59, 76, 192), (98, 130, 234), (141, 176, 254), (184, 208, 249), (221, 221, 221), (245, 196, 173),
             (244, 154, 123), (222, 96, 77), (180, 4, 38)]  # fmt: skip
GREY = [(0, 0, 0), (255, 255, 255)]
SHADES, ASCII_SHADES = " ░▒▓█", " .:*#"  # from 0 to 1
GAP = 1  # columns between tiles
SMALLEST_IMAGE, SMALLEST_MAP = 16, 8  # pixels that an image, or a feature map, keeps in its width when it is shrunk


@lru_cache
def has_colour(console: Console) -> bool:
    """Return whether the console shows colours."""
    return console.color_system is not None and not console.no_color


def shades(encoding: str) -> str:
    """Return five characters of growing density that the encoding has."""
    return SHADES if encodable(SHADES, encoding) else ASCII_SHADES


class Tile(NamedTuple):
    """An image with a caption below.

    Attributes
    ----------
    pixels : array of uint8 (h, w, 3)
    shades : array (h, w), in [-1, 1]
        The values to print without colour.
    caption : str
        One or several lines.
    anchors : sequence of colours
        The colour scale that maps ``shades`` to ``pixels``; empty for an image in colour.
    """

    pixels: Array
    shades: Array
    caption: str = ""
    anchors: Sequence[RGB] = ()


def photograph(image: Array, low: float, high: float, caption: str = "") -> Tile:
    """Return a tile of an image (h, w, c) whose values go from ``low`` to ``high``; grey unless c is 3."""
    scaled = np.clip((image.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    grey = scaled.mean(axis=-1)
    return Tile(_to_bytes(255 * scaled), grey, caption) if image.shape[-1] == 3 else _scaled(grey, GREY, caption)


def heat(values: Array, top: float, caption: str = "") -> Tile:
    """Return a tile of values (h, w) from 0 to ``top``."""
    relative = np.clip(np.nan_to_num(values.astype(np.float64) / (top or 1.0)), 0, 1)
    return _scaled(relative, VIRIDIS, caption)


def signed(values: Array, top: float, caption: str = "") -> Tile:
    """Return a tile of values (h, w) from ``-top``, blue, to ``top``, red."""
    relative = np.clip(np.nan_to_num(values.astype(np.float64) / (top or 1.0)), -1, 1)
    return _scaled(relative, COOL_WARM, caption)


def _scaled(values: Array, anchors: Sequence[RGB], caption: str) -> Tile:
    return Tile(colours((values + 1) / 2 if anchors is COOL_WARM else values, anchors), values, caption, anchors)


def colours(values: Array, anchors: Sequence[RGB]) -> Array:
    """Return the colour of each value in [0, 1] on a scale, as uint8 (..., 3)."""
    positions = np.linspace(0, 1, len(anchors))
    return _to_bytes(np.stack([np.interp(values, positions, channel) for channel in zip(*anchors, strict=True)], -1))


def _to_bytes(x: Array) -> Array:
    return np.rint(x).astype(np.uint8)


class Layout(NamedTuple):
    """How a gallery fills a console.

    Attributes
    ----------
    scale, shrink : int
        Factors by which each tile is enlarged and shrunk; one of them is 1.
    cell : int
        Columns of a tile with its caption.
    in_a_row : int
        Tiles in each row.
    lines_each : int
        Lines of a row with its captions and the empty line below.
    """

    scale: int
    shrink: int
    cell: int
    in_a_row: int
    lines_each: int

    def lines(self, tiles: int) -> int:
        """Return the number of lines that tiles take."""
        return math.ceil(tiles / self.in_a_row) * self.lines_each

    def capacity(self, lines: int) -> int:
        """Return the number of tiles that fit into lines."""
        return lines // self.lines_each * self.in_a_row


class Gallery(NamedTuple):
    """Tiles in rows, as many in a row as fit, enlarged as long as the whole stays within a number of lines.

    Where it does not, tiles are shrunk, but not below `SMALLEST_IMAGE` pixels.

    Attributes
    ----------
    tiles : sequence of Tile
        All of one size.
    group : int
        This many neighbours stay in one row.
    lines : int
    relative : bool
        Whether each tile has its own scale: then averaging pixels keeps its largest magnitude.
    enough : int, optional
        Where not all tiles fit, choose the largest layout in which this number fits, shrunk to no less than
        `SMALLEST_MAP` pixels. The caller leaves out the others (`Layout.capacity`).
    """

    tiles: Sequence[Tile]
    group: int = 1
    lines: int = 30
    relative: bool = False
    enough: int | None = None

    def layout(self, console: Console, options: ConsoleOptions) -> Layout:
        """Return the largest layout that fits the lines, or else the smallest one."""
        half_blocks = _has_half_blocks(console, options)
        height, width = self.tiles[0].shades.shape
        across = 1 if half_blocks else 2  # characters for a pixel
        captions = [_caption_lines(tile, console) for tile in self.tiles]
        longest = max(cell_len(line) for lines in captions for line in lines)
        room = (options.max_width + GAP) // self.group - GAP
        if room < SMALLEST_MAP * across and self.group > 1:
            return self._replace(group=self.group // 2).layout(console, options)

        def laid_out(scale: int, shrink: int) -> Layout:
            cell = max(math.ceil(width / shrink) * scale * across, min(longest, room))
            fit = max((options.max_width + GAP) // (cell + GAP), 1)
            in_a_row = max(fit // self.group * self.group, min(fit, self.group))
            image_lines = math.ceil(math.ceil(height / shrink) * scale * across / 2)
            return Layout(scale, shrink, cell, in_a_row, image_lines + len(_wrapped(captions[0], cell)) + 1)

        for zoom in _zooms(width, SMALLEST_IMAGE, half_blocks):
            found = laid_out(*zoom)
            if found.cell <= room and found.lines(len(self.tiles)) <= self.lines:
                return found
        if self.enough is not None:
            for zoom in _zooms(width, SMALLEST_MAP, half_blocks):
                found = laid_out(*zoom)
                if found.cell <= room and found.capacity(self.lines) >= min(self.enough, len(self.tiles)):
                    return found
        if found.cell > room:
            found = laid_out(found.scale, math.ceil(width * across / room))
        return found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        scale, shrink, cell, in_a_row, _ = self.layout(console, options)
        for row in batched(self.tiles, in_a_row):
            images = [_enlarged(_shrunk(tile, shrink, self.relative), scale) for tile in row]
            for parts in zip(*(_rows(image, console, options) for image in images), strict=True):
                for part in parts[:-1]:
                    yield from part
                    yield Segment(" " * (cell + GAP - sum(segment.cell_length for segment in part)))
                yield from parts[-1]
                yield Segment.line()
            captions = [_wrapped(_caption_lines(tile, console), cell) for tile in row]
            for lines_of_captions in zip_longest(*captions, fillvalue=""):
                yield Segment("".join(set_cell_size(line, cell + GAP) for line in lines_of_captions).rstrip())
                yield Segment.line()
            yield Segment.line()


def _caption_lines(tile: Tile, console: Console) -> list[str]:
    return [printable(line, console.encoding) for line in tile.caption.split("\n")]


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    """Break lines between words; those with wide characters anywhere."""
    parts = [part for line in lines if line for part in textwrap.wrap(line, width)]
    return [line for part in parts for line in (chop_cells(part, width) if cell_len(part) > width else [part])]


def _zooms(width: int, smallest: int, half_blocks: bool) -> Iterator[tuple[int, int]]:
    """Yield the factors by which to enlarge and to shrink an image of that width, the largest first.

    Half blocks are enlarged up to 24 columns or pixels of 4x4.
    """
    least = 2 if width < 4 and half_blocks else 1
    for scale in range(max(min(24 // width, 4), least) if half_blocks else 1, least - 1, -1):
        yield scale, 1
    for shrink in range(2, width // smallest + 1):
        yield 1, shrink


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in groups of a size, the last group with what is left."""
    return (items[i : i + size] for i in range(0, len(items), size))


def _has_half_blocks(console: Console, options: ConsoleOptions) -> bool:
    return has_colour(console) and encodable("▀", options.encoding)


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

    values = averaged(tile.shades)
    if tile.anchors and relative:
        values = values * (np.abs(tile.shades).max() / (np.abs(values).max() or 1.0))
    if tile.anchors:  # the mean of the colours of numbers is not the colour of their mean
        return _scaled(values, tile.anchors, tile.caption)
    return tile._replace(pixels=_to_bytes(averaged(tile.pixels)), shades=values)


def _enlarged(tile: Tile, scale: int) -> Tile:
    pixels, values = (a.repeat(scale, axis=0).repeat(scale, axis=1) for a in (tile.pixels, tile.shades))
    return tile._replace(pixels=pixels, shades=values)


def _rows(tile: Tile, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
    """Return the segments of each line of an image."""
    if not has_colour(console):
        return _plain_rows(tile, shades(options.encoding))
    return _half_block_rows(tile) if _has_half_blocks(console, options) else _background_rows(tile)


def _half_block_rows(tile: Tile) -> list[list[Segment]]:
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


def _background_rows(tile: Tile) -> list[list[Segment]]:
    """Return two spaces on a coloured background for each pixel."""
    rows = [[Segment("  ", Style(bgcolor=Color.from_rgb(*pixel))) for pixel in row] for row in tile.pixels.tolist()]
    return [list(Segment.simplify(row)) for row in rows]


def _plain_rows(tile: Tile, densities: str) -> list[list[Segment]]:
    """Return two characters for each pixel: its sign, if any value has one, and its density."""
    levels = np.rint(np.abs(tile.shades) * (len(densities) - 1)).astype(int)
    has_signs = (tile.shades < 0).any()

    def pixel(level: int, value: float) -> str:
        sign = densities[level] if not has_signs or not level else "-" if value < 0 else "+"
        return sign + densities[level]

    return [[Segment("".join(map(pixel, *row)))] for row in zip(levels.tolist(), tile.shades.tolist(), strict=True)]


class Scale(NamedTuple):
    """The legend of coloured tiles: a bar from ``low`` to ``high``."""

    low: float
    high: float

    def text(self, console: Console, options: ConsoleOptions) -> Text:
        """Return the legend for a console."""
        negative = self.low < 0
        low, high = f"{self.low:.3g} ", f" {self.high:.3g}"
        if not has_colour(console):
            densities = shades(options.encoding)
            marks = [*(f"-{s}" for s in densities[:0:-1]), "0", *(f"+{s}" for s in densities[1:])]
            return Text(low + " ".join(marks if negative else [2 * s for s in densities[1:]]) + high)
        text = Text()
        text.append(low, "dim")
        for colour in colours(np.linspace(0, 1, 16), COOL_WARM if negative else VIRIDIS):
            rgb = Color.from_rgb(*colour.tolist())
            half_blocks = encodable("▀", options.encoding)
            text.append("▀" if half_blocks else " ", Style(color=rgb) if half_blocks else Style(bgcolor=rgb))
        text.append(high, "dim")
        return text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text(console, options)


def _shortened(text: str, width: int, encoding: str) -> str:
    ellipsis = "…" if encodable("…", encoding) else "~"
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)) + ellipsis


class HeatMap(NamedTuple):
    """A confusion matrix: a row for each true class, a column for each predicted one, coloured by the row's fractions.

    Colours show the square root of a fraction, so that rare mistakes are visible. Where the numbers do not fit, each
    cell is a pixel.
    """

    confusion: Array
    names: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts, names = self.confusion, [printable(name, console.encoding) for name in self.names]
        fractions = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
        label = min(max(cell_len(name) for name in names), max(options.max_width // 4, 4))
        digits = len(str(counts.max()))
        room = (options.max_width - label - 1) // len(names)
        preferred = max(digits, min(max(cell_len(name) for name in names), 10)) + 2
        cell = min(preferred, room)
        coloured = has_colour(console)
        if cell < digits + (not coloured):
            yield from _without_numbers(names, fractions)
            return
        short = [_shortened(name, cell - 1, options.encoding) for name in names]
        if len(set(short)) < len(short):  # shortened names that are equal do not identify a class
            short = [str(i) for i in range(len(short))]
        numbered = short != names
        yield Text(" " * (label + 1) + "".join(_centred(name, cell) for name in short), "bold")
        zero = "·" if encodable("·", options.encoding) else "."
        for i, row in enumerate(counts):
            name = f"{i} {names[i]}" if numbered and short[0] == "0" else names[i]
            line = Text(set_cell_size(_shortened(name, label, options.encoding), label) + " ", "bold")
            for j, count in enumerate(row):
                text = _centred(str(count) if count else zero, cell)
                line.append(text, _text_on(colours(fractions[i, j], VIRIDIS)) if coloured else "bold" if i == j else "")
            yield line


def _without_numbers(names: Sequence[str], fractions: Array) -> Iterator[RenderableType]:
    yield Gallery([heat(fractions, 1.0)], lines=len(names))
    yield Text(f"{len(names)} classes, from {names[0]} to {names[-1]}; widen the terminal to see numbers")


def _centred(text: str, width: int) -> str:
    left = (width - cell_len(text)) // 2
    return " " * left + text + " " * (width - cell_len(text) - left)


def _text_on(colour: Array) -> Style:
    """Return the style of text on a colour: black or white, whichever has more contrast."""
    lightness = float(colour @ [0.299, 0.587, 0.114])
    black_or_white = (0, 0, 0) if lightness > 128 else (255, 255, 255)
    return Style(color=Color.from_rgb(*black_or_white), bgcolor=Color.from_rgb(*colour.tolist()))


class Name(NamedTuple):
    """A name of anything, in characters that can be seen and that the encoding has, as wide as they are."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(printable(self.text, options.encoding))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(printable(self.text, options.encoding)))


class Bar(NamedTuple):
    """A bar that fills a fraction of ``width`` columns, to half a column."""

    fraction: float
    width: int
    style: str = ""

    def text(self, encoding: str) -> Text:
        """Return the bar in characters that the encoding has."""
        whole, half = "━╸" if encodable("━╸", encoding) else "=-"
        halves = round(min(max(self.fraction, 0.0), 1.0) * 2 * self.width)
        return Text(whole * (halves // 2) + half * (halves % 2), self.style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text(options.encoding)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)
