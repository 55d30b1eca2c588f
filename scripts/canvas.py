"""What rich prints, as a picture in a file: SVG, or PNG by Pillow.

Blocks, braille dots and backgrounds become pixels, each character cell 8x16 of them; letters stay letters. In an SVG
the pixels are one embedded PNG, so that a picture of thousands of cells takes a few kilobytes, and the letters are text
in whatever monospaced font the reader has: the file needs nothing else.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

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

WORDS = re.compile(r"[!-~]+(?: [!-~]+)*|[^ ]")  # ASCII with single spaces, or a single other character

RGB = tuple[int, int, int]


class Letters(NamedTuple):
    """Words: row and column of their first cell, and how they look."""

    row: int
    column: int
    text: str
    colour: RGB
    bold: bool


class Canvas(NamedTuple):
    """What was printed: pixels (height, width, 3) of uint8, and the words to write over them."""

    pixels: Array
    words: list[Letters]
    theme: TerminalTheme


def draw(renderable: RenderableType, columns: int, theme: TerminalTheme = DARK) -> Canvas:
    """Print on a canvas so many columns wide."""
    console = Console(
        file=None, width=columns, force_terminal=True, color_system="truecolor", no_color=False, legacy_windows=False,
        highlight=False, _environ={},
    )  # fmt: skip
    lines = console.render_lines(renderable, console.options.update(width=columns, height=None), pad=False)
    width = max((Segment.get_line_length(line) for line in lines), default=0)
    pixels = np.empty((len(lines) * CELL_HEIGHT, width * CELL_WIDTH, 3), np.uint8)
    pixels[:] = theme.background_color
    words = []
    for row, line in enumerate(lines):
        column = 0
        for text, style, _ in line:
            front, back = _colours(style or Style(), theme)
            cells = pixels[row * CELL_HEIGHT : (row + 1) * CELL_HEIGHT, column * CELL_WIDTH :]
            cells[:, : cell_len(text) * CELL_WIDTH] = back
            for found in WORDS.finditer(text):
                at = cell_len(text[: found.start()])
                if not _paint(cells[:, at * CELL_WIDTH : (at + 1) * CELL_WIDTH], found[0], front):
                    words.append(Letters(row, column + at, found[0], front, bool(style and style.bold)))
            column += cell_len(text)
    return Canvas(pixels, words, theme)


def svg(canvas: Canvas) -> bytes:
    """Return the canvas as an SVG document."""
    height, width = canvas.pixels.shape[:2]
    whole = f"{width + 2 * MARGIN} {height + 2 * MARGIN}"
    image = base64.b64encode(_png(canvas.pixels)).decode()
    background, text = (_hex(c) for c in (canvas.theme.background_color, canvas.theme.foreground_color))
    words = "\n".join(
        f'<text x="{word.column * CELL_WIDTH}" y="{(word.row + 0.78) * CELL_HEIGHT:g}" '
        f'textLength="{cell_len(word.text) * CELL_WIDTH}"'
        + (f' fill="{_hex(word.colour)}"' if _hex(word.colour) != text else "")
        + (' font-weight="bold"' if word.bold else "")
        + f">{escape(word.text)}</text>"
        for word in canvas.words
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {whole}" width="{whole.split()[0]}">
<rect x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%" rx="6" fill="{background}"/>
<image width="{width}" height="{height}" style="image-rendering:pixelated" href="data:image/png;base64,{image}"/>
<g font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="13" fill="{text}">
{words}
</g>
</svg>
""".encode()


def png(canvas: Canvas, enlarge: int = 2) -> bytes:
    """Return the canvas as a PNG file, its pixels enlarged."""
    check_pillow()
    from PIL import Image, ImageDraw

    margin = enlarge * MARGIN
    pixels = canvas.pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    height, width = pixels.shape[:2]
    background = tuple(canvas.theme.background_color)
    picture = Image.new("RGB", (width + 2 * margin, height + 2 * margin), background)
    picture.paste(Image.fromarray(pixels), (margin, margin))
    pen, font = ImageDraw.Draw(picture), _font(13 * enlarge)
    for word in canvas.words:
        for i, letter in enumerate(word.text):  # one by one, each in its cell, whatever the font
            at = margin + enlarge * (word.column + i) * CELL_WIDTH, margin + enlarge * (word.row + 0.78) * CELL_HEIGHT
            pen.text(at, letter, word.colour, font, anchor="ls", stroke_width=0.4 * enlarge if word.bold else 0)
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def check_pillow() -> None:
    """Say what to install where Pillow is missing, which `png` needs."""
    try:
        import PIL.ImageDraw  # noqa: F401
    except ImportError as error:
        raise ImportError(f"PNG needs Pillow: pip install 'funcnn[images]'; or save as .svg ({error})") from None


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
    """Draw a character that is a drawing, and say whether it was one."""
    code = ord(character[0])
    if character == "▀":
        cell[: CELL_HEIGHT // 2] = colour
    elif 0x2800 < code <= 0x28FF:
        for bit, (column, row) in enumerate(BRAILLE_DOTS):
            if (code - 0x2800) >> bit & 1:
                cell[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = colour
    elif character == "─":
        cell[8] = colour
    elif character in "━╸":
        cell[6:11, : CELL_WIDTH if character == "━" else CELL_WIDTH // 2] = colour
    elif character == "│":
        cell[:, 4] = colour
    elif character == "└":
        cell[:9, 4], cell[8, 4:] = colour, colour
    else:
        return False
    return True


# (column, row) of the dot that each bit of a braille character from U+2800 on stands for
BRAILLE_DOTS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]


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
