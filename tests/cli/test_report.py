"""The report of a model's scores on consoles of every kind: narrow, without colour, in small encodings."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from funcnn.cli import report

NAMES = ["cat [old]", "b [/x]", "a class with a rather long name", ":smile: ß"]
CONFUSION = np.array([[101, 2, 3, 0], [4, 105, 0, 7], [0, 0, 0, 0], [12, 13, 14, 150]])
CONTROL = re.compile(r"\x1b\[[\d;]*m")


def printed(print_it, width, *, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    out = Console(file=file, width=width, force_terminal=True, highlight=False, markup=False, emoji=False, _environ={})
    print_it(out)
    file.flush()
    return CONTROL.sub("", file.buffer.getvalue().decode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("width", [20, 50, 80, 200])
def test_a_report_of_any_width_has_every_figure(width, encoding):
    text = printed(lambda out: report.print_report(out, "test", CONFUSION, NAMES), width, encoding=encoding)
    for name in NAMES:  # long ones are folded
        assert re.sub(r"\s", "", name).encode(encoding, "backslashreplace").decode(encoding) in re.sub(r"\s", "", text)
    assert "test accuracy 86.62% (356 of 411)" in text
    words = text.split()
    figures = report.report_figures(CONFUSION, NAMES)["classes"]
    for row in figures:
        assert str(row["examples"]) in words
        for name in ("precision", "recall"):
            assert ("-" if row[name] is None else f"{row[name]:.1%}") in words
    assert all(words.count(str(n)) >= 1 for n in CONFUSION[CONFUSION > 0])
    assert "…" not in text
    assert width < 50 or all(len(line) <= width for line in text.splitlines())


def test_a_confusion_matrix_too_wide_for_its_names_numbers_the_columns():
    text = printed(lambda out: report.print_confusion(out, CONFUSION, NAMES), 60)
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["true", "1", "2", "3", "4"]
    assert rows[2] == ["1", "cat", "[old]", "101", "2", "3", "."]
    assert rows[5][:2] == ["4", ":smile:"] and rows[5][3:] == ["12", "13", "14", "150"]


def test_the_heading_of_the_confusion_matrix_wraps_between_words():
    lines = printed(lambda out: report.print_report(out, "test", CONFUSION, NAMES), 50).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Confusion matrix"))
    heading = [line.rstrip() for line in lines[start : start + 2]]
    assert " ".join(heading) == "Confusion matrix: a row for each true class, a column for each predicted one"
    assert max(map(len, heading)) <= 50
