"""Names in single backticks on the pages in Markdown: what they name is linked to its entry in the reference."""

from __future__ import annotations

import pkgutil
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import funcnn

MODULES = {module.name for module in pkgutil.iter_modules(funcnn.__path__)}
DOTTED = re.compile(r"(\w+(?:\.\w+)+)(?:\(.*\))?")  # `funcnn.training.fit`, `training.fit(...)`
SINGLE = re.compile(r"([A-Z]\w*[a-z]\w*|\w+_\w+|\w+(?=\())(?:\(.*\))?")  # `Features`, `check_vjp`, `fit(...)`
SUFFIXES = (".csv", ".json", ".jsonl", ".md", ".npy", ".npz", ".onnx", ".py", ".safetensors", ".svg")
HAS_OLD_NAMES = "changes"


class Names(SphinxTransform):
    """Make references of the literals that are names. Dotted names of the package must have a meaning."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        """Replace the literals of a page in Markdown."""
        name = self.env.current_document.docname
        if not str(self.env.doc2path(name)).endswith(".md"):
            return
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            dotted, single = DOTTED.fullmatch(text), SINGLE.fullmatch(text)
            inside_link = isinstance(literal.parent, nodes.reference | addnodes.pending_xref | nodes.title)
            if inside_link or literal.get("classes"):
                continue
            if dotted and not text.endswith(SUFFIXES) and (target := _full(dotted[1])):
                _refer(literal, target, name, must_exist=name != HAS_OLD_NAMES)
            elif single:
                _refer(literal, single[1], name, must_exist=False)


def _full(name: str) -> str:
    """Return a dotted name from the package on, if it is one of the package."""
    first = name.partition(".")[0]
    return name if first == "funcnn" else f"funcnn.{name}" if first in MODULES else ""


def _refer(literal: nodes.Node, target: str, page: str, *, must_exist: bool) -> None:
    reference = addnodes.pending_xref(
        "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refwarn=must_exist, refdoc=page
    )
    reference["may_be_unknown"] = not must_exist
    literal.parent.replace(literal, reference)
    reference += literal
