"""Tables of text (CSV): a column for each feature and one for the label, a line for each example."""

from __future__ import annotations

import csv
import io
import math
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from funcnn.data.examples import EXACT, TOO_MANY_DIGITS
from funcnn.data.labels import REGRESSION
from funcnn.tree import Array

__all__ = ["SUFFIXES", "Table", "read_table"]

# Of files that are read as tables.
SUFFIXES = {".csv", ".tsv"}
MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}


class Table(NamedTuple):
    """The numbers and the labels of a table.

    Attributes
    ----------
    x : array of float64 (N, features)
    labels : array of int (N,), or None
        Indices into ``classes``; None if there is no label column.
    classes : list of str
    features : list of str
        Names of the columns of ``x``.
    target : str
        Name of the column of labels.

    Examples
    --------
    See `read_table`.
    """

    x: Array
    labels: Array | None
    classes: list[str]
    features: list[str]
    target: str


def read_table(path: Path, target: str | None = None, features: Sequence[str] | None = None) -> Table:
    r"""Read a table in UTF-8 or UTF-16, whose fields are separated by commas, semicolons or tabs.

    Parameters
    ----------
    path : Path
    target : str, optional
        Name of the column of labels, by default the last one; "" for a table without labels. With ``features`` given
        it may be missing.
    features : sequence of str, optional
        Names of the columns to read as numbers, in any order in the file, by default all others.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If a column is missing or a field is wrong, naming the line and the column.
    OSError
        If the file cannot be read.

    Notes
    -----
    The separator is the one that occurs most in the first line. The first line has the names of the columns, unless
    its fields, the last aside, are numbers: then the columns are called column 1, column 2, ...

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pets.csv")
    ...     _ = path.write_text("age,kind,weight\n3,cat,4.5\n5,dog,20\n")
    ...     table = read_table(path, "kind")
    >>> table.features, table.x.tolist(), table.classes, table.labels
    (['age', 'weight'], [[3.0, 4.5], [5.0, 20.0]], ['cat', 'dog'], array([0, 1]))
    """
    names, rows = _header(path, _rows(path))
    if target is None and features is None:
        target = names[-1]
    if features is None:
        if target and target not in names:
            raise ValueError(f"{path}: has no column {target} for the labels; its columns are {_list(names)}")
        features = [name for name in names if name != target]
    place = {name: at for at, name in enumerate(names)}
    if missing := [name for name in features if name not in place]:
        raise ValueError(f"{path}: has no column {_list(missing)}; its columns are {_list(names)}")
    if not features:
        raise ValueError(
            f"{path}: needs a column of numbers beside the labels, {target}; its columns are separated by , ; or tabs"
        )
    if not rows:
        raise ValueError(f"{path}: has names of columns and no rows")
    x = np.empty((len(rows), len(features)))
    for column, name in enumerate(features):
        at = place[name]
        for i, (line, fields) in enumerate(rows):
            x[i, column] = _number(fields[at], f"{path} line {line}, column {name}")
    if target not in place:
        return Table(x, None, [], list(features), "")
    at = place[target]
    labels, classes = _labels([(line, fields[at]) for line, fields in rows], path, target)
    return Table(x, labels, classes, list(features), target)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the number of each line that is not empty, and its fields without blanks around them."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{path} line {line}: is not in UTF-8; save the table in UTF-8") from None
    if "\0" in text:
        raise ValueError(
            f"{path} line {text.partition(chr(0))[0].count(chr(10)) + 1}: has a NUL character, so it is no text"
        )
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows, line = [], 1
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path} line {line}: {error}") from None
    if not rows:
        raise ValueError(f"{path}: has no lines")
    width = len(rows[0][1])
    for line, fields in rows:
        if len(fields) != width:
            raise ValueError(f"{path} line {line}: has {len(fields)} fields, and line {rows[0][0]} has {width}")
    return rows


def _header(path: Path, rows: list[tuple[int, list[str]]]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the rows below them."""
    line, names = rows[0][0], [" ".join(name.split()) for name in rows[0][1]]
    first = [_is_number(name) for name in names[:-1]]
    if first and all(first):
        if names[:-1] == [str(i) for i in range(len(first))]:
            raise ValueError(f"{path} line {line}: are {', '.join(names)} names or numbers? Give the columns names")
        return [f"column {i}" for i in range(1, len(names) + 1)], rows
    first_at: dict[str, int] = {}
    for column, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"{path} line {line}: column {column} has no name (pandas: to_csv(index=False))")
        if first_at.setdefault(name, column) < column:
            raise ValueError(f"{path} line {line}: columns {first_at[name]} and {column} are both called {name}")
    return names, rows[1:]


def _is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field)) and "_" not in field
    except ValueError:
        return False


def _number(field: str, where: str) -> float:
    if _is_number(field):
        number = float(field)
        if abs(number) >= EXACT and number.is_integer() and field.lstrip("+-").isdigit() and int(field) != number:
            raise ValueError(f"{where}: {reprlib.repr(field)} {TOO_MANY_DIGITS}")
        return number
    if field.lower() in MISSING:
        raise ValueError(
            f"{where}: the value is missing{f' ({field})' if field else ''}; fill it in or leave the line out"
        )
    raise ValueError(
        f"{where}: {reprlib.repr(field)} is not a finite number; write numbers like 1234.5, yes and no as 1 and 0, or "
        "leave the column out"
    )


def _list(names: Sequence[str]) -> str:
    """Return names in one line that can be read: the first ten, and how many there are."""
    return ", ".join(names[:10]) + (f", ... ({len(names)})" if len(names) > 10 else "")


def _labels(fields: list[tuple[int, str]], path: Path, target: str) -> tuple[Array, list[str]]:
    """Return labels as indices, and the classes: whole numbers in their order, or names in the alphabet's."""
    for line, field in fields:
        if field.lower() in MISSING - {"none"}:  # a class, as of defects
            raise ValueError(
                f"{path} line {line}, column {target}: the label is missing; fill it in or leave the line out"
            )
    if all(_is_number(field) for _, field in fields):
        for line, field in fields:
            if float(field) != round(float(field)):
                raise ValueError(
                    f"{path} line {line}, column {target}: labels must be whole numbers or names, got {field}; "
                    f"{REGRESSION}"
                )
        numbers = [int(field) if field.lstrip("+-").isdigit() else int(float(field)) for _, field in fields]
        distinct: list[int] = sorted(set(numbers))
        at = {number: i for i, number in enumerate(distinct)}
        return np.array([at[number] for number in numbers]), [str(number) for number in distinct]
    classes, labels = np.unique([field for _, field in fields], return_inverse=True)
    return labels.astype(np.int64), classes.tolist()
