"""What a name in single backticks links to.

Sphinx resolves the names that have an entry in the reference as they are written there. The other names must at least
exist in Python: they stand without a link if they have no entry, such as a private function of the same file.
On the pages in Markdown, `builder.names` finds the names; words there may be names of anything else, too.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes

from builder.docstrings import resolve

DOCSTRING_OF = re.compile(r":docstring of ([\w.]+)")
OTHER_PACKAGES = ("numpy", "np", "sklearn", "scipy", "torch", "torchvision", "onnx", "onnxruntime", "pandas", "jax")
# what is said in backticks and is no name of Python: words of a command, and Python's own
PHRASES = ("help", "with", "yield", "None", "True", "False", "@")


def missing_reference(sphinx: Any, env: Any, node: Any, contnode: nodes.Element) -> nodes.Element | None:
    """Return a link to the entry of an object under its other name, its plain text if it has none, None if unknown."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    target = node["reftarget"].partition("(")[0]
    if node.get("may_be_unknown"):
        entry = _only(target, domain.objects)
        return contnode if entry is None else _link(sphinx, node, contnode, entry)
    written = DOCSTRING_OF.search(node.source or getattr(node.parent, "source", None) or "")
    owner = written[1] if written else ""
    thing = _find(target, [owner, node.get("py:module")], domain.objects)
    if thing is None:
        return contnode if _is_foreign(target) or target in _variables(owner or node.get("py:module") or "") else None
    module = getattr(thing, "__module__", None) or ""
    qualified = getattr(thing, "__qualname__", "")
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        entry = domain.objects.get(".".join([*parts[:end], qualified]))
        if entry is not None:
            return _link(sphinx, node, contnode, entry)
    return contnode


def _only(target: str, entries: dict[str, Any]) -> Any:
    """Return the entry of the only function or class of a name; if there are several, of the op or loss among them."""
    found = [
        name for name, entry in entries.items()
        if name.rpartition(".")[2] == target and not entry.aliased
        and entry.objtype in ("function", "class", "exception", "data")
    ]  # fmt: skip
    found = found if len(found) == 1 else [name for name in found if name.startswith(("funcnn.ops.", "funcnn.losses."))]
    return entries[found[0]] if found else None


def _link(sphinx: Any, node: Any, contnode: nodes.Element, entry: Any) -> nodes.Element:
    uri = f"{sphinx.builder.get_relative_uri(node['refdoc'], entry.docname)}#{entry.node_id}"
    return nodes.reference("", "", contnode, internal=True, refuri=uri)


def _is_foreign(target: str) -> bool:
    if target.startswith("funcnn "):
        return True  # a command line
    return target.split(".")[0] in OTHER_PACKAGES or target in PHRASES or hasattr(builtins, target.split(".")[0])


def _find(target: str, contexts: Iterable[str | None], documented: Iterable[str]) -> Any:
    """Return the object that a name means in one of these objects or what they are in, by itself, or elsewhere."""
    for context in [outer for name in contexts if name for outer in _outwards(name)]:
        module = sys.modules.get(context)
        found = _resolve(f"{context}.{target}") if module is None else getattr(module, target, None)
        if found is not None:
            return found
    # the name of an op is more often meant than that of the layer of the same name
    others = sorted((name for name in documented if name.endswith(f".{target}")), key=lambda name: ".ops." not in name)
    return _resolve(target) or (_resolve(others[0]) if others else None)


def _resolve(name: str) -> Any:
    try:
        return resolve(name)
    except (ImportError, AttributeError, ValueError):
        return None


def _outwards(name: str) -> Iterator[str]:
    """Yield a dotted name, and those of what it is in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _variables(owner: str) -> set[str]:
    """Return the names of a function's variables, which its docstring may speak of; of all functions of a module."""
    module, _, name = owner.rpartition(".")
    things = (
        vars(sys.modules[owner]).values() if owner in sys.modules else [getattr(sys.modules.get(module), name, None)]
    )
    codes = [code for thing in things if (code := getattr(thing, "__code__", None))]
    return {name for code in codes for name in (*code.co_varnames, *code.co_cellvars)}
