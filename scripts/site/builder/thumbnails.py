"""The gallery's pictures: those of `funcnn.show` and the site's own drawings; the first of a page is its thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.drawing import Drawing
from funcnn.show import Picture

COLUMNS = 64  # characters, which can be read on a phone


def scrape(_block: Any, block_vars: dict[str, Any], _gallery_conf: Any) -> str:
    """Write what a block shows as the page's next picture; return the lines that show it, if the page needs them."""
    shown = block_vars["example_globals"].get("___")
    if isinstance(shown, Drawing):  # which the page has already, as HTML
        svg = shown._repr_html_().replace("currentColor", "#888")  # the colour of text means nothing in a file
        _next_file(block_vars).write_text(svg, "utf-8")
        return ""
    if not isinstance(shown, Picture):
        return ""
    narrow = shown._replace(columns=min(shown.columns, COLUMNS))
    lines = []
    for light in (True, False):
        file = _next_file(block_vars)
        narrow._replace(light=light).save(file)
        mode = "light" if light else "dark"
        lines += [
            f".. image:: images/{file.name}",
            f"   :class: picture only-{mode}",
            f"   :alt: {_first_line(shown)}",
            "",
        ]
    return "\n".join(lines)


def _next_file(block_vars: dict[str, Any]) -> Path:
    return Path(next(block_vars["image_path_iterator"])).with_suffix(".svg")


def _first_line(picture: Picture) -> str:
    """Return the title of a picture, for readers who hear the page."""
    return str(picture).strip().splitlines()[0].strip()
