"""The builder of the site, as far as it works without Sphinx."""

import inspect
import re
import sys
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "scripts" / "site"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SITE))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "builder"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dx = dy w^T", r"dx = dy\,w^{T}"),
        ("<dy, x dw> + sum_n dy[n]", r"\langle dy, x\,dw\rangle  + \sum_{n}\,dy[n]"),
        ("o*stride - lo", r"o\cdot \mathrm{stride} - \mathrm{lo}"),
        ("s^-beta >= 0", r"s^{-\beta } \ge  0"),
        ("sum over the pairs (o, k)", r"\text{ sum over the pairs }\,(o, k)"),
        ("y = a (`affine_adjoint`)", r"y = a\,(\text{affine_adjoint})"),
        ("u_(t+1) <- 2", r"u_{t+1} \leftarrow  2"),
    ],
)
def test_formulas_of_docstrings_become_tex(line, expected):
    from builder.formulas import tex

    assert tex([line]) == expected


def test_a_docstring_becomes_restructuredtext():
    from builder.docstrings import as_rst

    lines = ["Max of |x|, `relu` and *xs.", "", "Notes", "-----", "With n,", "", "    dx = dy", "", "A. Author, 2016."]
    assert as_rst(lines) == [
        "Max of \\|x\\|, `relu` and \\*xs.", "", "Notes", "-----", "With n,", "", ".. math::", "", "    dx = dy", "",
        "A\\. Author, 2016.",
    ]  # fmt: skip


def test_a_derivation_is_the_beginning_and_the_notes():
    from builder.docstrings import derivation

    from funcnn import ops

    text = "\n".join(derivation(ops.dense))
    assert text.startswith("Affine map y = x w + b") and ".. math::" in text
    assert "Parameters" not in text and ">>>" not in text


def test_code_is_quoted_without_docstrings():
    from builder.docstrings import code

    from funcnn.ops import softmax

    shown = code("funcnn/ops/softmax.py", ["softmax"], docstrings=False)
    assert '"""' not in shown and shown.endswith("return y, softmax_vjp")
    assert code("funcnn/ops/softmax.py", ["softmax"], docstrings=True) == inspect.getsource(softmax).rstrip()
    with pytest.raises(ValueError, match=r"softmax\.py has no sofmax"):
        code("funcnn/ops/softmax.py", ["sofmax"], docstrings=False)
    vjp = code("funcnn/ops/softmax.py", ["softmax.softmax_vjp"], docstrings=False)
    assert vjp.startswith("def softmax_vjp(dy: Any) -> Array:\n    dy = ") and vjp.count("return") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("funcnn.ops", ("funcnn.ops", True)),
        ("training.fit(...)", ("funcnn.training.fit", True)),
        ("check_vjp", ("check_vjp", False)),
        ("ConvNetClassifier(max_iter=3)", ("ConvNetClassifier", False)),
        ("epoch.train_state", ("", False)),
        ("fit(X, y)", ("", False)),
        ("training.md", ("", False)),
        ("--epochs", ("", False)),
        ("epochs", ("", False)),
    ],
)
def test_names_of_the_package_on_pages_must_exist_and_others_may(text, expected):
    from builder.names import meaning

    assert meaning(text) == expected


def test_every_page_can_be_quoted_and_every_figure_drawn():
    from builder.pages import sources

    texts = sources()
    assert {"index.md", "readme.md", "changes.md", "gradients/conv.md"} <= texts.keys()
    assert not [name for name, text in texts.items() if re.search(r"\{(derivation|code|gradient|drawing)\} ", text)]
    assert "](/training.md)" in texts["index.md"] and "<svg" in texts["gradients/conv.md"]


def test_no_page_of_the_reference_is_empty():
    from builder.reference import pages

    entry = re.compile(r"^(- [:`]|\.\. (autofunction|autoclass|py:data)::)", re.MULTILINE)
    assert [name for name, text in pages().items() if not entry.search(text)] == []
