"""Docstrings for Sphinx: their formulas, what derives a gradient in them, and the code below them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.formulas import tex

ROOT = Path(__file__).parents[3]
UNDERLINE = re.compile(r"-{3,}")
MARKUP = re.compile(r"\||\*(?! )|(?<=\w)_(?!\w)")
PROSE = {"", "Notes"}  # sections with paragraphs; in the others an indent belongs to a parameter or an error


def as_rst(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText.

    Docstrings are plain text with names in backticks. Their formulas, the indented paragraphs, become ``math``
    directives, and what stands for itself in plain text (``|x|``, ``a *b``, ``classes_``) is escaped.
    """
    result: list[str] = []
    section = ""
    verbatim = False
    i = 0
    while i < len(lines):
        if i + 1 < len(lines) and UNDERLINE.fullmatch(lines[i + 1]):
            section = lines[i]
        if lines[i] and not lines[i].startswith(" "):
            verbatim = section == "Examples"
        end = i
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
        text = next((line for line in reversed(result) if line), "")
        if end > i and section in PROSE and result and not result[-1] and _introduces_formula(text):
            result += [".. math::", "", f"    {tex(lines[i:end])}"]
            i = end
        else:
            name, colon, kind = lines[i].partition(" : ")
            named = colon and section not in PROSE and not lines[i].startswith(" ")  # numpydoc escapes names itself
            result.append(lines[i] if verbatim else name + colon + escaped(kind) if named else escaped(lines[i]))
            verbatim = verbatim or lines[i].endswith("::")
            i += 1
    return result


def escaped(line: str) -> str:
    """Escape, outside of backticks, what reStructuredText would take for markup."""
    line = re.sub(r"^( *[A-Za-z])\. ", r"\1\\. ", line)  # no enumeration, but the initial of an author
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    return "".join(part if part.startswith("`") else MARKUP.sub(r"\\\g<0>", part) for part in parts)


def _introduces_formula(text: str) -> bool:
    """Whether an indented paragraph below this line is a formula: not what belongs to a list, and no code."""
    return not text.endswith("::") and not text.startswith((" ", "- ", "* ", "..", ">>>"))


def derivation(thing: Any) -> list[str]:
    """Return the lines of a docstring that say what is computed, and how its gradient: its beginning and its notes."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    heads = [i for i in range(len(lines) - 1) if UNDERLINE.fullmatch(lines[i + 1])]
    ends = [*heads[1:], len(lines)]
    kept = lines[: heads[0]] if heads else lines
    for head, end in zip(heads, ends, strict=False):
        if lines[head] == "Notes":
            kept = [*kept, "", *lines[head + 2 : end]]
    return as_rst(kept)


def resolve(name: str) -> Any:
    """Return the object of a dotted name; an attribute comes before a module of its name (`funcnn.ops.conv`)."""
    first, *rest = name.split(".")
    thing, path = importlib.import_module(first), first
    for part in rest:
        path = f"{path}.{part}"
        thing = getattr(thing, part) if hasattr(thing, part) else importlib.import_module(path)
    return thing


def code(path: str, names: list[str], *, docstrings: bool) -> str:
    """Return the source of functions of a file, without their docstrings unless these are wanted.

    ``graph.call`` names the function ``call`` inside of ``graph``.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    found = dict(_functions(ast.parse(source)))
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}")
    return "\n\n".join(_lines(source.splitlines(), found[name], docstrings) for name in names)


def _functions(inside: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in ast.iter_child_nodes(inside):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield outer + node.name, node
            yield from _functions(node, f"{outer}{node.name}.")


def _lines(lines: list[str], node: ast.FunctionDef | ast.ClassDef, docstrings: bool) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    kept = lines[first : node.end_lineno]
    if ast.get_docstring(node) and not docstrings:
        begin, end = node.body[0].lineno - 1 - first, (node.body[0].end_lineno or 0) - first
        del kept[begin:end]
    return textwrap.dedent("\n".join(kept))
