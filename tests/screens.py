"""What rich prints on a console, read back."""

import io
import re
import sys

import numpy as np
import pytest
from rich.console import Console

from funcnn.cli import app, console
from funcnn.pictures import tiles


def encoded(encoding):
    """A file of that encoding, as stdout is one."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def printed(renderables, width, **options):
    """What a console of that width shows, as rows of (character, colour, background)."""
    console = Console(width=width, **{"force_terminal": True, "color_system": "truecolor", "_environ": {}, **options})
    rows = [console.render_lines(r, console.options.update(width=width), pad=False) for r in renderables]
    return [
        [(c, style and style.color, style and style.bgcolor) for text, style, _ in line for c in text]
        for lines in rows
        for line in lines
    ]


def pixels(rows):
    """The colours of half blocks, two rows of them for each row of characters."""

    def rgb(color, none=(-1, -1, -1)):
        return tuple(color.triplet) if color else none

    pairs = [[(rgb(front if c == "▀" else back), rgb(back)) for c, front, back in row] for row in rows]
    return np.array([[pair[half] for pair in row] for row in pairs for half in (0, 1)])


def values(colours, anchors):
    """The numbers in [0, 1] whose colours these are."""
    scale = tiles.colours(np.linspace(0, 1, 2001), anchors).astype(int)
    return np.abs(colours[..., None, :] - scale).sum(axis=-1).argmin(axis=-1) / 2000


def command(monkeypatch, *options, width=80, encoding="utf-8", mode="pipe"):
    """Run ``funcnn`` in this process with an output of some encoding: exit code, and what stdout and stderr show.

    ``mode`` is "pipe", "terminal" (in true colour; its control sequences are left out of the result), or "NO_COLOR".
    """
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    terminal_of = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}
    environment = {"pipe": {}, "terminal": terminal_of, "NO_COLOR": {**terminal_of, "NO_COLOR": "1"}}[mode]
    for name, value in {"COLUMNS": str(width), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["funcnn", *map(str, options)])
    with monkeypatch.context() as streams:
        outputs = encoded(encoding), encoded(encoding)
        streams.setattr(sys, "stdout", outputs[0])
        streams.setattr(sys, "stderr", outputs[1])
        with pytest.raises(SystemExit) as ended:
            console.run(app.app)
        for stream in outputs:
            stream.flush()
    output, errors = (stream.buffer.getvalue().decode(encoding) for stream in outputs)
    assert mode != "NO_COLOR" or not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", output)
    assert mode != "pipe" or "\x1b" not in output
    return ended.value.code, re.sub(r"\x1b\[[\d;]*m", "", output), errors
