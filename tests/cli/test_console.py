"""Results on consoles of every kind: narrow, piped, without colour, in small encodings."""

import io
import re

import commands
import numpy as np
import pytest
from rich.console import Console

from funcnn.cli import console

NAMES = ["cat [old]", "b [/x]", "a class with a rather long name", ":smile: ß"]
CONFUSION = np.array([[101, 2, 3, 0], [4, 105, 0, 7], [0, 0, 0, 0], [12, 13, 14, 150]])
CONTROL = re.compile(r"\x1b\[[\d;]*m")


def printed(print_it, width, *, terminal=True, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    out = Console(
        file=file, width=width, force_terminal=terminal, highlight=False, markup=False, emoji=False, _environ={}
    )
    print_it(out)
    file.flush()
    return CONTROL.sub("", file.buffer.getvalue().decode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("width", [20, 50, 80, 200])
def test_a_report_of_any_width_has_every_figure(width, encoding):
    text = printed(lambda out: console.print_report(out, "test", CONFUSION, NAMES), width, encoding=encoding)
    for name in NAMES:
        assert name.encode(encoding, "backslashreplace").decode(encoding) in text
    assert "test accuracy 86.62% (356 of 411)" in text
    words = text.split()
    figures = console.report_figures(CONFUSION, NAMES)["classes"]
    for row in figures:
        assert str(row["examples"]) in words
        for name in ("precision", "recall"):
            assert ("-" if row[name] is None else f"{row[name]:.1%}") in words
    assert all(words.count(str(n)) >= 1 for n in CONFUSION[CONFUSION > 0])
    assert "…" not in text


def test_tables_fit_a_terminal_and_are_whole_in_a_pipe():
    table = console.new_table("layer", *(f"figure {i}" for i in range(9)))
    table.add_row("0_conv2d", *map(str, range(1000, 1009)))
    table.add_row("1_relu", *map(str, range(2000, 2009)))
    narrow = printed(lambda out: console.print_whole(out, table), 50)
    assert all(len(line) <= 50 for line in narrow.splitlines())
    assert [line.split() for line in narrow.splitlines()[:2]] == [["layer", "0_conv2d"], ["figure", "0", "1000"]]
    assert len(narrow.splitlines()) == 2 * 10
    wide = printed(lambda out: console.print_whole(out, table), 50, terminal=False)
    assert len(wide.splitlines()) == 4 and all(str(n) in wide for n in (*range(1000, 1009), *range(2000, 2009)))


def test_a_confusion_matrix_too_wide_for_its_names_numbers_the_columns():
    text = printed(lambda out: console.print_confusion(out, CONFUSION, NAMES), 60)
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["true", "1", "2", "3", "4"]
    assert rows[2] == ["1", "cat", "[old]", "101", "2", "3", "."]
    assert rows[5][:2] == ["4", ":smile:"] and rows[5][3:] == ["12", "13", "14", "150"]


def test_whether_an_encoding_has_a_character():
    assert console.encodable("█±", "utf-8") and console.encodable("±", "cp1252")
    assert not console.encodable("█", "cp1252") and not console.encodable("±", "ascii")


def test_every_command_on_a_narrow_terminal_in_small_encodings(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(["cat [old]", "b [/x]", "ß ≠ a class with a long name"]), 40)
    np.savez(tmp_path / "rows.npz", x=rng.standard_normal((120, 3)) + (y == "b [/x]")[:, None], y=y)
    for encoding in ("ascii", "cp1252"):
        environment = {"PYTHONIOENCODING": encoding, "LANG": "C", "NO_COLOR": "1"}
        options = ("--data", "rows.npz", "--model", "mlp", "--epochs", 2, "--output", "net.safetensors")
        names = [name.encode(encoding, "backslashreplace").decode(encoding) for name in np.unique(y)]
        for command in (
            ("train", *options),
            ("evaluate", "net.safetensors", "rows.npz"),
            ("export", "net.safetensors", "net.onnx"),
            ("predict", "net.safetensors", "rows.npz"),
        ):
            shown, code = commands.on_a_terminal(*command, columns=50, cwd=tmp_path, encoding=encoding, **environment)
            assert code == 0 and "Traceback" not in shown, shown
            assert command[0] == "export" or all(name in shown for name in names)
