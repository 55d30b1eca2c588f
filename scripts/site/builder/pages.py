"""The pages as Sphinx reads them: copies of those in scripts/site, with what they quote from the code filled in.

In a page, fences stand for what is elsewhere. The first shows what the docstring of an op says that it computes, and
the derivation, for a function under a heading; the second functions of a file, without their docstrings unless it is a
test; the third both, with other functions of the op's file; the fourth a figure; the fifth the numbers of tests in a
report of pytest::

    ```{derivation} funcnn.ops.dense
    ```

    ```{code} funcnn/ops/dense.py dense _rows
    ```

    ```{gradient} funcnn.ops.dense _rows
    ```

    ```{drawing} windows
    ```

    ```{counts} build/tests.xml
    ```
"""

from __future__ import annotations

import inspect
import posixpath
import re
from pathlib import PurePosixPath

from builder import counts, docstrings
from builder.docstrings import ROOT
from builder.figures import FIGURES

FENCE = re.compile(r"^```\{(derivation|code|gradient|drawing|counts)\} (.*)\n```$", re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[\w./-]+\.md|[./]*gallery/\w+\.(?:py|rst))(?P<anchor>#[\w-]+)?\)")
# files of the repository that are pages of the site
ELSEWHERE = {"README.md": "readme.md", "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}
SITE = PurePosixPath("scripts/site")


def sources() -> dict[str, str]:
    """Return the text of each page by its file's name in the site."""
    pages = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / SITE).rglob("*.md") if "playground" not in path.parts
    ]
    return {_page(path): expanded(path, (ROOT / path).read_text("utf-8")) for path in [*pages, *ELSEWHERE]}


def expanded(path: str, text: str) -> str:
    """Return the text of a file of the repository as a page: with its quotations, and with links to other pages."""
    folder = PurePosixPath(path).parent

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(folder / found["target"])
        return f"](/{_page(target)}{found['anchor'] or ''})"

    return FENCE.sub(lambda fence: QUOTATIONS[fence[1]](fence[2]), LINK.sub(link, text))


def _page(path: str) -> str:
    """Return the file of the page in the site, for that in the repository."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    return PurePosixPath(path).relative_to(SITE).as_posix().replace(".py", ".rst").replace("GALLERY_HEADER", "index")


def _derivation(name: str) -> str:
    thing = docstrings.resolve(name)
    if inspect.ismodule(thing):
        head = f"{{py:obj}}`{name.removeprefix('funcnn.')} <{name}>`"
        scope = name
    else:
        head = f"## {{py:obj}}`{thing.__name__} <{name}>`"
        scope = thing.__module__
    lines = [f".. currentmodule:: {scope}", "", *docstrings.derivation(thing)]
    return "\n".join([head, "", "`````{eval-rst}", *lines, "`````"])


def _gradient(arguments: str) -> str:
    name, *others = arguments.split()
    thing = docstrings.resolve(name)
    path = f"{thing.__module__.replace('.', '/')}.py"
    return "\n".join([_derivation(name), "", _code(" ".join([path, thing.__name__, *others]))])


def _code(arguments: str) -> str:
    path, *names = arguments.split()
    source = docstrings.code(path, names, docstrings=path.startswith("tests/"))
    return "\n".join(["`````{code-block} python", f":caption: {path}", "", source, "`````"])


def _drawing(name: str) -> str:
    return "\n".join(["`````{raw} html", FIGURES[name]()._repr_html_(), "`````"])


QUOTATIONS = {
    "derivation": _derivation,
    "code": _code,
    "gradient": _gradient,
    "drawing": _drawing,
    "counts": counts.table,
}
