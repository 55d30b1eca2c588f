"""Small drawings as SVG within a page, in the page's own colour of text, so that they suit light and dark alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
COLOURS = ("#d9603b", "#3b82c4", "#4a9d5b", "#9a6bc7", "#b8860b", "#c2558f")


class Drawing(NamedTuple):
    """A drawing: SVG elements, and the size of the whole in pixels; notebooks and the gallery show it."""

    width: float
    height: float
    elements: tuple[str, ...]
    title: str

    def _repr_html_(self) -> str:
        return (
            f'<svg class="drawing" role="img" viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" '
            f'xmlns="http://www.w3.org/2000/svg"><title>{escape(self.title)}</title>{"".join(self.elements)}</svg>'
        )


def text(x: float, y: float, words: object, *, anchor: str = "middle", size: int = 12, colour: str = "") -> str:
    """Return a line of text."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour or "currentColor"}">{escape(str(words))}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = "", width: float = 1.5) -> str:
    """Return a line."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour or "currentColor"}" stroke-width="{width:g}"/>'


def box(x: float, y: float, width: float, height: float, *, fill: str = "none", stroke: str = "currentColor") -> str:
    """Return a rectangle."""
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} fill="{fill}" stroke="{stroke}"/>'


def tiles(images: Array, title: str, *, captions: Sequence[str] = (), columns: int = 8, side: int = 72) -> Drawing:
    """Draw images (n, height, width): blue below 0, orange above, each as strong as its part of the largest number."""
    top = float(np.abs(images).max()) or 1.0
    below = 18 if captions else 6
    elements = []
    pixel = side / max(images.shape[1:])
    for i, image in enumerate(images):
        left, above = (i % columns) * (side + 8), (i // columns) * (side + below)
        elements.append(box(left, above, image.shape[1] * pixel, image.shape[0] * pixel, stroke="#8888"))
        for (row, column), value in np.ndenumerate(image):
            if value:
                corner = f'x="{left + column * pixel:.1f}" y="{above + row * pixel:.1f}"'
                colour = f'fill="{COLOURS[int(value < 0)]}" fill-opacity="{abs(value) / top:.2f}"'
                elements.append(f'<rect {corner} width="{pixel:.1f}" height="{pixel:.1f}" {colour}/>')
        if captions:
            elements.append(text(left + side / 2, above + side + 13, captions[i], size=11))
    rows = -(-len(images) // columns)
    return Drawing(min(len(images), columns) * (side + 8), rows * (side + below), tuple(elements), title)


def curves(
    x: Array, ys: Mapping[str, Array], title: str, *, width: int = 520, height: int = 240, log: bool = False
) -> Drawing:
    """Draw curves over x with a legend, the y axis logarithmic if ``log``."""
    scaled = {name: np.log10(y) if log else np.asarray(y, float) for name, y in ys.items()}
    low, high = min(map(np.min, scaled.values())), max(map(np.max, scaled.values()))
    left, right, top, bottom = 56, width - 10, 24, height - 24

    def across(value: float) -> float:
        return left + (value - x[0]) / (x[-1] - x[0]) * (right - left)

    def up(value: float) -> float:
        return bottom - (value - low) / ((high - low) or 1) * (bottom - top)

    elements = [line(left, bottom, right, bottom, width=1), line(left, top, left, bottom, width=1)]
    for value in np.linspace(low, high, 4) if log else round_numbers(low, high):
        shown = f"{10**value:.3g}" if log else f"{value:.3g}"
        elements.append(text(left - 6, up(value) + 4, shown, anchor="end", size=11))
    elements += [
        text(across(value), height - 6, f"{value:.3g}", size=11) for value in (x[0], (x[0] + x[-1]) / 2, x[-1])
    ]
    for i, (name, y) in enumerate(scaled.items()):
        points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x, y, strict=True))
        elements.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>')
        elements.append(text(left + 8 + i * (right - left) / len(ys), 14, name, anchor="start", colour=COLOURS[i]))
    return Drawing(width, height, tuple(elements), title)


def round_numbers(low: float, high: float) -> Array:
    """Return the multiples of 1, 2 or 5 times a power of ten in a range: three to seven of them."""
    power = 10.0 ** np.floor(np.log10((high - low) / 3 or 1.0))
    step = next(power * k for k in (5, 2, 1) if power * k * 3 <= (high - low or 3 * power) * (1 + 1e-9))
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0  # not -0


def sticks(values: Array, title: str, *, width: int = 240, height: int = 110, colour: str = COLOURS[1]) -> Drawing:
    """Draw numbers as sticks up and down from 0."""
    middle, top = height / 2, float(np.abs(values).max()) or 1.0
    step = width / (len(values) + 1)
    elements = [line(0, middle, width, middle, width=1)]
    for i, value in enumerate(values):
        place, end = (i + 1) * step, middle - value / top * (middle - 8)
        elements += [line(place, middle, place, end, colour=colour, width=3)]
        elements += [f'<circle cx="{place:.1f}" cy="{end:.1f}" r="4" fill="{colour}"/>']
    return Drawing(width, height, tuple(elements), title)


def stacked(drawings: Mapping[str, Drawing], title: str) -> Drawing:
    """Draw several drawings below each other, each under its caption."""
    elements, below = [], 0.0
    for caption, drawing in drawings.items():
        elements.append(text(0, below + 14, caption, anchor="start", size=13))
        elements.append(f'<g transform="translate(0,{below + 24:g})">{"".join(drawing.elements)}</g>')
        below += drawing.height + 40
    widths = [max(drawing.width, 7 * len(caption)) for caption, drawing in drawings.items()]
    return Drawing(max(widths), below, tuple(elements), title)
