"""The gallery's thumbnails: the first drawing of each page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.drawing import Drawing


def scrape(_block: Any, block_vars: dict[str, Any], _gallery_conf: Any) -> str:
    """Write what a block shows as the page's next picture; the page itself has it already."""
    shown = block_vars["example_globals"].get("___")
    if isinstance(shown, Drawing):
        svg = shown._repr_html_().replace("currentColor", "#888")  # the colour of text means nothing in a file
        Path(next(block_vars["image_path_iterator"])).with_suffix(".svg").write_text(svg, "utf-8")
    return ""
