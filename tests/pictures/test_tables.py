"""Tables that fold: at any width and encoding, every figure is there."""

import re

import numpy as np
import pytest
import screens
from rich.cells import cell_len
from rich.text import Text

from funcnn.cli.console import results_console
from funcnn.pictures.tables import Column, FoldingTable, table
from funcnn.pictures.tiles import Bar

NAMES = ["0_conv2d", "a/rather/deep/path/of/layers/in/blocks/in/blocks/10_dense", "total"]
TABLE = FoldingTable(
    "layer",
    NAMES,
    [
        Column("output", ["8x8x32", "128", ""]),
        Column("multiply-\nadds", ["18,432", "1,179,648", "1,198,080"]),
        Column("", [Bar(0.1, 8), Bar(1.0, 8), Bar(1.0, 8)]),
        Column("backward\nus", ["1", "22", Text("333", "bold")]),
    ],
)


def lines_of(width, encoding="utf-8"):
    rows = screens.printed([TABLE], width, file=screens.encoded(encoding))
    return ["".join(c for c, _, _ in row).rstrip() for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("width", [20, 30, 50, 95, 120])
def test_every_figure_at_any_width(width, encoding):
    lines = lines_of(width, encoding)
    assert max(map(cell_len, lines)) <= width
    whole = "".join(lines)
    whole.encode(encoding)
    for name in NAMES:
        assert name in re.sub(r"\s", "", whole)
    figures = re.findall(r"(?<!\S)(?:\d+x\d+x\d+|[\d,]+)(?!\S)", "\n".join(lines))
    expected = ["8x8x32", "128", "18,432", "1,179,648", "1,198,080", "1", "22", "333"]
    assert sorted(figures) == sorted(expected)


def test_wide_it_has_bars_then_none_then_it_is_a_list():
    bar = lines_of(120)
    assert bar[-1].count("━") == 8 and bar[1].split() == ["layer", "output", "adds", "us"]
    narrower = lines_of(91)
    assert len(narrower) == len(bar) and "━" not in "".join(narrower)
    listed = lines_of(50)
    assert listed[:3] == ["0_conv2d", "  output 8x8x32  multiply-adds 18,432 ━", "  backward us 1"]
    assert listed[-3:] == ["total", "  multiply-adds 1,198,080 ━━━━━━━━", "  backward us 333"]


def test_text_is_no_markup():
    table = FoldingTable("[bold]", ["[red]x"], [Column("[a]", ["[b]"])])
    for width in (5, 80):
        output = "".join(c for row in screens.printed([table], width) for c, _, _ in row)
        assert np.all([part in re.sub(r"\s", "", output) for part in ("[red]x", "[a]", "[b]")])


def test_rows_that_end_early_are_filled():
    filled = table(("job", "us", "MB"), [("funcnn", "1", "2"), ("torch", "failed")])
    assert filled == FoldingTable("job", ["funcnn", "torch"], [Column("us", ("1", "failed")), Column("MB", ("2", ""))])
    assert table(("job", "us"), []) == FoldingTable("job", [], [Column("us", ())])


def test_in_a_pipe_a_table_is_as_wide_as_it_needs_to_be(capsys):
    figures = [list(map(str, range(start, start + 99))) for start in (1000, 2000)]
    results_console().print(
        table(("layer", *(f"figure {i}" for i in range(99))), [("a", *figures[0]), ("b", *figures[1])])
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and [lines[2].split(), lines[3].split()] == [["a", *figures[0]], ["b", *figures[1]]]
