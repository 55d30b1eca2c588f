"""Tables of figures that stay complete on a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from funcnn.characters import encodable, printable
from funcnn.pictures.tiles import Bar

__all__ = ["Column", "FoldingTable", "table"]

INDENT = "  "
# box.SIMPLE in ASCII; rich's own choice would have bars between the columns.
ASCII_BOX = box.Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)


class Column(NamedTuple):
    """A column of figures.

    Attributes
    ----------
    name : str
        May have several lines. A column of bars has none: they show the figures of the column before.
    cells : sequence of str, Text or Bar
        One for each row; ``""`` where a row has no value.
    """

    name: str
    cells: Sequence[str | Text | Bar]


class FoldingTable(NamedTuple):
    """A table that becomes a list of lines where it is too wide.

    Without room for all columns, the bars are left out, the last column of them first. Without room for all figures,
    each row becomes its name on a line, and below it each figure after its column's name, as many in a line as fit.

    Attributes
    ----------
    head : str
        The name of the first column.
    rows : sequence of str
        The cells of the first column.
    columns : sequence of Column
    """

    head: str
    rows: Sequence[str]
    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = list(self.columns)
        while True:
            if self._width(columns, console) <= options.max_width:
                yield self._table(columns, options.encoding)
                return
            bars = [k for k, column in enumerate(columns) if not column.name]
            if not bars:
                break
            del columns[bars[-1]]
        yield from self._list(options)

    def fits(self, console: Console) -> bool:
        """Return whether the console is wide enough for all columns side by side."""
        return self._width(self.columns, console) <= console.width

    def _width(self, columns: Sequence[Column], console: Console) -> int:
        unlimited = console.options.update(max_width=1_000_000)
        return Measurement.get(console, unlimited, self._table(columns, console.encoding)).maximum

    def _table(self, columns: Sequence[Column], encoding: str) -> Table:
        has_lines = encoding.startswith("utf") and encodable("─", encoding)  # rich draws bars in other encodings
        lines = box.SIMPLE if has_lines else ASCII_BOX
        table = Table(box=lines, safe_box=False, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        table.add_column(Text(self.head), no_wrap=True, vertical="bottom")
        for column in columns:
            justify = "right" if column.name else "left"
            table.add_column(Text(column.name), justify=justify, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
        for k, name in enumerate(self.rows):
            table.add_row(Text(printable(name, encoding)), *(_text(column.cells[k], encoding) for column in columns))
        return table

    def _list(self, options: ConsoleOptions) -> RenderResult:
        for k, name in enumerate(self.rows):
            yield Text(printable(name, options.encoding), "bold", overflow="fold")
            pairs: list[Text] = []
            for column in self.columns:
                cell = _text(column.cells[k], options.encoding)
                if not cell.plain:
                    continue
                if column.name:
                    pairs.append(Text.assemble((column.name.replace("-\n", "-").replace("\n", " ") + " ", "dim"), cell))
                else:
                    pairs[-1] = Text.assemble(pairs[-1], " ", cell)
            line = Text(INDENT)
            for pair in pairs:
                if line.plain.strip() and cell_len(line.plain) + 2 + pair.cell_len > options.max_width:
                    yield line
                    line = Text(INDENT)
                if line.plain.strip():
                    line.append("  ")
                line.append_text(pair)
            yield line


def table(names: Sequence[str], rows: Sequence[Sequence[str | Text | Bar]]) -> FoldingTable:
    """Return a table of rows. ``names`` are those of the columns; a row that ends early is filled with ``""``."""
    columns = list(zip_longest(*rows, fillvalue="")) or [()]
    columns += [("",) * len(rows)] * (len(names) - len(columns))
    head, *others = names
    return FoldingTable(
        head, [str(name) for name in columns[0]], [Column(*column) for column in zip(others, columns[1:], strict=True)]
    )


def _text(cell: str | Text | Bar, encoding: str) -> Text:
    if isinstance(cell, Bar):
        return cell.text(encoding)
    return Text(printable(cell, encoding)) if isinstance(cell, str) else cell
