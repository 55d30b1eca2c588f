"""What rich prints, as a picture in a file: SVG, or PNG by Pillow.

Blocks and backgrounds become pixels, each character cell 8x16 of them; plots become lines; text stays text. In an SVG
the pixels are one embedded PNG, so that a picture of thousands of cells takes a few kilobytes, and the text is in the
reader's own monospaced font: the file refers to no other.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO
from itertools import groupby, pairwise
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

from funcnn import extras
from funcnn.pictures.curves import DASHES, CanvasConsole, Label, Stroke, vector
from funcnn.pictures.tiles import RGB
from funcnn.tree import Array

DARK = TerminalTheme(
    (16, 18, 22),
    (212, 214, 218),
    [(90, 94, 102), (224, 92, 92), (96, 186, 110), (208, 172, 80), (98, 148, 232), (190, 122, 214), (84, 184, 190),
     (212, 214, 218)],
)  # fmt: skip
LIGHT = TerminalTheme(
    (255, 255, 255),
    (36, 40, 46),
    [(36, 40, 46), (190, 36, 44), (28, 126, 56), (146, 104, 0), (24, 92, 190), (130, 60, 170), (0, 118, 128),
     (110, 114, 120)],
)  # fmt: skip
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8, 16, 12
FONTS = ("DejaVuSansMono.ttf", "Menlo.ttc", "consola.ttf", "LiberationMono-Regular.ttf")

ASCII_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")  # with single spaces


class Word(NamedTuple):
    """Text in consecutive cells: row and column of the first one, and how it looks."""

    row: int
    column: int
    text: str
    colour: RGB
    bold: bool


class Canvas(NamedTuple):
    """A printed page: pixels (height, width, 3) of uint8, the words and the lines over them, in units of cells."""

    pixels: Array
    words: list[Word]
    theme: TerminalTheme
    strokes: list[Stroke]
    labels: list[Label]


def draw(renderable: RenderableType, columns: int, theme: TerminalTheme = DARK) -> Canvas:
    """Print on a canvas of a width in columns (characters)."""
    console = CanvasConsole(
        file=StringIO(), width=columns, force_terminal=True, color_system="truecolor", no_color=False,
        legacy_windows=False, highlight=False, markup=False, emoji=False, _environ={},
    )  # fmt: skip
    lines = console.render_lines(renderable, console.options.update(width=columns, height=None), pad=False)
    width = max((Segment.get_line_length(line) for line in lines), default=0)
    pixels = np.empty((len(lines) * CELL_HEIGHT, width * CELL_WIDTH, 3), np.uint8)
    pixels[:] = theme.background_color
    words: list[Word] = []
    strokes: list[Stroke] = []
    labels: list[Label] = []
    for row, line in enumerate(lines):
        column = 0
        for text, style, _ in line:
            if style and "plot" in style.meta:
                ink, paper = theme.foreground_color, theme.background_color
                lines_of_plot, labels_of_plot = vector(style.meta["plot"], cell_len(text), ink, paper)
                strokes += [s._replace(points=[(column + x, row + y) for x, y in s.points]) for s in lines_of_plot]
                labels += [label._replace(x=column + label.x, y=row + label.y) for label in labels_of_plot]
            front, back = _colours(style or Style(), theme)
            cells = pixels[row * CELL_HEIGHT : (row + 1) * CELL_HEIGHT, column * CELL_WIDTH :]
            cells[:, : cell_len(text) * CELL_WIDTH] = back
            for at, word in _words(text):
                if not _paint(cells[:, at * CELL_WIDTH : (at + 1) * CELL_WIDTH], word, front):
                    words.append(Word(row, column + at, word, front, bool(style and style.bold)))
            column += cell_len(text)
    return Canvas(pixels, words, theme, strokes, labels)


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each word of a line begins, and the word: ASCII, or a single other character with its accents."""
    starts = [i for i, character in enumerate(text) if i == 0 or cell_len(character)]
    column = 0
    for is_ascii, letters in groupby((text[i:j] for i, j in pairwise([*starts, len(text)])), str.isascii):
        if is_ascii:
            run = "".join(letters)
            yield from ((column + found.start(), found[0]) for found in ASCII_WORDS.finditer(run))
            column += len(run)
        else:
            for letter in letters:
                yield column, letter
                column += cell_len(letter)


def svg(canvas: Canvas) -> bytes:
    """Return the canvas as an SVG document."""
    height, width = canvas.pixels.shape[:2]
    whole = f"{width + 2 * MARGIN} {height + 2 * MARGIN}"
    image = base64.b64encode(_png(canvas.pixels)).decode()
    background, text = (_hex(c) for c in (canvas.theme.background_color, canvas.theme.foreground_color))

    def look(colour: RGB, bold: bool) -> str:
        fill = f' fill="{_hex(colour)}"' if _hex(colour) != text else ""
        return fill + (' font-weight="bold"' if bold else "")

    words = [
        f'<text x="{word.column * CELL_WIDTH}" y="{(word.row + 0.78) * CELL_HEIGHT:g}" '
        f'textLength="{cell_len(word.text) * CELL_WIDTH}"{look(word.colour, word.bold)}>{escape(word.text)}</text>'
        for word in canvas.words
    ]
    labels = [
        f'<text x="{label.x * CELL_WIDTH:.4g}" y="{label.y * CELL_HEIGHT:.4g}" text-anchor="{label.anchor}"'
        f"{look(label.colour, label.bold)}>{escape(label.text)}</text>"
        for label in canvas.labels
    ]
    content = "\n".join([*map(_svg_stroke, canvas.strokes), *words, *labels])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {whole}" width="{whole.split()[0]}">
<rect x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%" rx="6" fill="{background}"/>
<image width="{width}" height="{height}" style="image-rendering:pixelated" href="data:image/png;base64,{image}"/>
<g font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="13" fill="{text}">
{content}
</g>
</svg>
""".encode()


def _svg_stroke(stroke: Stroke) -> str:
    points = " ".join(f"{x * CELL_WIDTH:.5g},{y * CELL_HEIGHT:.5g}" for x, y in stroke.points)
    if stroke.filled:
        return f'<polygon points="{points}" fill="{_hex(stroke.colour)}"/>'
    dashes = f' stroke-dasharray="{DASHES[0]:g} {DASHES[1]:g}"' if stroke.dashed else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{_hex(stroke.colour)}" stroke-width="{stroke.width:g}" '
        f'stroke-linejoin="round"{dashes}/>'
    )


def png(canvas: Canvas, enlarge: int = 2) -> bytes:
    """Return the canvas as a PNG file, its pixels enlarged."""
    file = BytesIO()
    _painted(canvas, enlarge).save(file, "PNG", optimize=True)
    return file.getvalue()


def pixels(canvas: Canvas) -> Array:
    """Return the canvas as an image (height, width, 3) of uint8, its pixels twice as large."""
    return np.asarray(_painted(canvas, 2))


def _painted(canvas: Canvas, enlarge: int) -> Any:
    """Return the canvas as an image of Pillow, its pixels enlarged."""
    check_pillow()
    from PIL import Image, ImageDraw

    margin = enlarge * MARGIN
    pixels = canvas.pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    height, width = pixels.shape[:2]
    background = tuple(canvas.theme.background_color)
    picture = Image.new("RGB", (width + 2 * margin, height + 2 * margin), background)
    picture.paste(Image.fromarray(pixels), (margin, margin))
    if canvas.strokes:
        # Pillow draws lines without smoothing: draw them twice as large, and average
        large = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
        for stroke in canvas.strokes:
            _png_stroke(ImageDraw.Draw(large), stroke, 2 * enlarge)
        picture = large.resize(picture.size, Image.Resampling.BOX)
    pen, font = ImageDraw.Draw(picture), _font(13 * enlarge)

    def write(x: float, y: float, text: str, colour: RGB, bold: bool, anchor: str) -> None:
        at = margin + enlarge * x * CELL_WIDTH, margin + enlarge * y * CELL_HEIGHT
        pen.text(at, text, colour, font, anchor=anchor, stroke_width=0.4 * enlarge if bold else 0)

    for word in canvas.words:
        letters = word.text if word.text.isascii() else [word.text]  # each in its cell, for any font
        for i, letter in enumerate(letters):
            write(word.column + i, word.row + 0.78, letter, word.colour, word.bold, "ls")
    for label in canvas.labels:
        write(label.x, label.y, label.text, label.colour, label.bold, PILLOW_ANCHORS[label.anchor])
    return picture


PILLOW_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def _png_stroke(pen: Any, stroke: Stroke, enlarge: int) -> None:
    points = [(enlarge * (x * CELL_WIDTH + MARGIN), enlarge * (y * CELL_HEIGHT + MARGIN)) for x, y in stroke.points]
    if stroke.filled:
        pen.polygon(points, stroke.colour)
        return
    lines = _dashes(points, [enlarge * length for length in DASHES]) if stroke.dashed else [points]
    for line in lines:
        pen.line(line, stroke.colour, round(enlarge * stroke.width), joint="curve")


def _dashes(points: Sequence[tuple[float, float]], lengths: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Cut a line into the dashes of a pattern (drawn, left out)."""
    x, y = np.array(points, np.float64).T
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    dashes = []
    for start in np.arange(0.0, along[-1], sum(lengths)):
        end = min(start + lengths[0], along[-1])
        inside = along[(along > start) & (along < end)]
        at = np.concatenate([[start], inside, [end]])
        dashes.append(list(zip(np.interp(at, along, x).tolist(), np.interp(at, along, y).tolist(), strict=True)))
    return dashes


def check_pillow() -> None:
    """Raise an ImportError that names the extra where Pillow is missing, which `png` needs."""
    try:
        import PIL.ImageDraw  # noqa: F401
    except ImportError as error:
        raise extras.missing("PNG needs Pillow (SVG does not: save as .svg)", "images", error) from None


def _font(size: int):  # type: ignore[no-untyped-def]  # Pillow's type, which need not be installed
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _colours(style: Style, theme: TerminalTheme) -> tuple[RGB, RGB]:
    def rgb(color: Color | None, foreground: bool) -> RGB:
        return tuple((color or Color.default()).get_truecolor(theme, foreground=foreground))  # type: ignore[return-value]

    front, back = rgb(style.color, True), rgb(style.bgcolor, False)
    if style.dim:
        front = tuple((3 * f + 2 * b) // 5 for f, b in zip(front, back, strict=True))  # type: ignore[assignment]
    return front, back


def _paint(cell: Array, character: str, colour: RGB) -> bool:
    """Draw a block or line character, and return whether it was one."""
    if character == "▀":
        cell[: CELL_HEIGHT // 2] = colour
    elif character == "─":
        cell[8] = colour
    elif character in "━╸":
        cell[6:11, : CELL_WIDTH if character == "━" else CELL_WIDTH // 2] = colour
    else:
        return False
    return True


def _png(pixels: Array) -> bytes:
    """Encode (height, width, 3) of uint8 as PNG; W3C, Portable Network Graphics Specification, sections 5 and 11."""
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, 3 * width)
    above = np.vstack([np.zeros_like(flat[:1]), flat[:-1]])
    rows = np.insert(flat - above, 0, 2, axis=1)  # filter 2, differences from the row above, which is mostly the same

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
