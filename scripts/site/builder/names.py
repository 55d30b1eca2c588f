"""Names in single backticks on the pages in Markdown: what they name is linked to its entry in the reference."""

from __future__ import annotations

import pkgutil
import re
from typing import Any

import funcnn

MODULES = {module.name for module in pkgutil.iter_modules(funcnn.__path__)}
DOTTED = re.compile(r"(\w+(?:\.\w+)+)(?:\(.*\))?")  # `funcnn.training.fit`, `training.fit(...)`
SINGLE = re.compile(r"([A-Z]\w*[a-z]\w*|\w+_\w+)(?:\(.*\))?")  # `Features`, `check_vjp(...)`; `fit` may be a method
SUFFIXES = (".csv", ".json", ".jsonl", ".md", ".npy", ".npz", ".onnx", ".py", ".safetensors", ".svg")
HAS_OLD_NAMES = "changes"


def refer(sphinx: Any, document: Any) -> None:
    """Make references of the literals of a page in Markdown that are names.

    The dotted names of the package must have a meaning: otherwise, Sphinx warns. Others may be names of anything.
    """
    from docutils import nodes
    from sphinx.addnodes import pending_xref

    page = sphinx.env.current_document.docname
    if not str(sphinx.env.doc2path(page)).endswith(".md"):
        return
    for literal in list(document.findall(nodes.literal)):
        text = literal.astext()
        inside_link = isinstance(literal.parent, nodes.reference | pending_xref | nodes.title)
        if inside_link or literal.get("classes"):
            continue
        target, must_exist = meaning(text)
        if not target:
            continue
        must_exist = must_exist and page != HAS_OLD_NAMES
        options = {"refdomain": "py", "reftype": "obj", "refexplicit": True, "refwarn": must_exist, "refdoc": page}
        reference = pending_xref("", reftarget=target, may_be_unknown=not must_exist, **options)
        literal.parent.replace(literal, reference)
        reference += literal


def meaning(text: str) -> tuple[str, bool]:
    """Return the name in the reference that words in backticks may mean, if any, and whether it must exist.

    Examples
    --------
    >>> meaning("training.fit(...)"), meaning("check_vjp"), meaning("training.md"), meaning("epochs")
    (('funcnn.training.fit', True), ('check_vjp', False), ('', False), ('', False))
    """
    dotted, single = DOTTED.fullmatch(text), SINGLE.fullmatch(text)
    if dotted and not text.endswith(SUFFIXES) and (name := _full(dotted[1])):
        return name, True
    return single[1] if single else "", False


def _full(name: str) -> str:
    """Return a dotted name from the package on, if it is one of the package."""
    first = name.partition(".")[0]
    return name if first == "funcnn" else f"funcnn.{name}" if first in MODULES else ""
