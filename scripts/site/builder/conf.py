"""Sphinx' configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import funcnn  # noqa: E402
from builder import docstrings, formulas, links, names  # noqa: E402

project = "funcnn"
author = "the authors of funcnn"
release = version = funcnn.__version__
html_title = f"funcnn {release}"
html_show_copyright = False

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
default_role = "py:obj"
nitpicky = True
smartquotes = False  # "same" and --from stay as one types them
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
toc_object_entries = False
exclude_patterns = ["gallery/*.py", "gallery/*.md", "**/sg_execution_times.rst", "sg_execution_times.rst"]

html_theme = "furo"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it is fetched, which a browser forbids for pages from files
html_theme_options: dict[str, Any] = {"top_of_page_buttons": []}
templates_path: list[str] = []

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "gallery")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "image_scrapers": ("builder.thumbnails.scrape",),
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": (),
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"funcnn\.show\.picture\.Picture",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "min_reported_time": 1000,
}


def _formulas(_sphinx: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = docstrings.as_rst(lines)


def _skip_foreign(_sphinx: Any, _what: str, name: str, thing: Any, skip: bool, _options: Any) -> bool:
    """Leave out members that a class has from another package, such as those of scikit-learn's estimators."""
    return skip or not (getattr(thing, "__module__", None) or "funcnn").startswith("funcnn")


def _inline(translator: Any, node: Any) -> None:
    translator.body.append(formulas.mathml(node.astext(), display=False))
    raise _skip()


def _display(translator: Any, node: Any) -> None:
    translator.body.append(f'<div class="formula">{formulas.mathml(node.astext(), display=True)}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(sphinx: Any) -> None:
    """Connect what the site needs with Sphinx' events; formulas come before numpydoc's, at 500."""
    sphinx.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    sphinx.connect("autodoc-process-docstring", _formulas, priority=400)
    sphinx.connect("autodoc-skip-member", _skip_foreign)
    sphinx.connect("doctree-read", names.refer)
    sphinx.connect("missing-reference", links.missing_reference)
