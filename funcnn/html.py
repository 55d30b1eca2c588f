"""HTML for notebooks: tables that take their colours from the page, so that they are read in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["details", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """Return a table. All text is escaped; numbers are aligned to the right.

    Parameters
    ----------
    head : sequence of str
        The names of the columns; none for a table without them.
    rows : iterable of sequence
        Integers get separators of thousands, floats four digits, tuples of int are shapes.
    title : str

    Returns
    -------
    str

    Examples
    --------
    >>> table(["layer", "parameters"], [["<0>", 1234]])
    '<table><tr><th>layer</th><th>parameters</th></tr>\
<tr><td>&lt;0&gt;</td><td style="text-align:right">1,234</td></tr></table>'
    """
    lines = ["<table>", f"<caption>{_escaped(title)}</caption>" if title else ""]
    if head:
        lines.append("<tr>" + "".join(f"<th>{_escaped(name)}</th>" for name in head) + "</tr>")
    lines += ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows]
    return "".join([*lines, "</table>"])


def details(title: str, content: str) -> str:
    """Return HTML that is folded below a title.

    Parameters
    ----------
    title : str
    content : str
        HTML.

    Returns
    -------
    str

    Examples
    --------
    >>> details("a < b", table([], [["c"]]))
    '<details><summary>a &lt; b</summary><table><tr><td>c</td></tr></table></details>'
    """
    return f"<details><summary>{_escaped(title)}</summary>{content}</details>"


_RIGHT = ' style="text-align:right"'


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif number:
        text = f"{value:,}"
    else:
        text = "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"<td{_RIGHT if number else ''}>{_escaped(text)}</td>"


def _escaped(text: str) -> str:
    from html import escape  # takes a tenth of the time of importing funcnn

    return escape(text)
