"""Formulas as MathML, which browsers show without a script: those of pages, in TeX, and of docstrings, in plain text.

A docstring's formula is an indented paragraph, as in::

    dw[k] = sum_{n,o} x[n, o*stride + k*dilation - lo]^T dy[n,o]

`help` shows it as it is; for the site, `tex` makes TeX of it.
"""

from __future__ import annotations

import re

FUNCTIONS = {"exp", "log", "max", "min", "tanh", "sqrt", "erf"}
GREEK = {"alpha", "beta", "gamma", "delta", "lambda", "sigma", "theta"}
# names of arrays and options; every other word of more than two letters is a word of English
NAMES = {"stride", "dilation", "lo", "mean", "var", "scale", "size", "eps", "bias", "dscale", "dbias"}
SHORT_WORDS = {"of", "if", "to", "on", "by", "is", "in", "or", "as", "at"}

TOKEN = re.compile(
    r"`(?P<code>[^`]+)`|(?P<gap> {3,})|(?P<word>[A-Za-z]+'?s?(?![A-Za-z]))"
    r"|(?P<arrow><-)|(?P<at_most><=)|(?P<at_least>>=)|(?P<open><(?=\S))|(?P<close>(?<=\S)>)"
    r"|(?P<product>(?<=[\w\])}']) (?=[A-Za-z(\[]))|(?P<dots>\.\.\.)|(?P<times> \* )|(?P<dot>\*)|(?P<other>.)"
)
SYMBOLS = {
    "gap": r"\qquad ", "arrow": r"\leftarrow ", "at_most": r"\le ", "at_least": r"\ge ", "open": r"\langle ",
    "close": r"\rangle ", "dots": r"\dots ", "times": r"\ast ", "dot": r"\cdot ", "product": r"\,",
}  # fmt: skip


def mathml(formula: str, *, display: bool) -> str:
    """Return the MathML of a formula in TeX."""
    from docutils.utils.math.latex2mathml import tex2mathml

    return tex2mathml(formula, as_block=display)


def tex(lines: list[str]) -> str:
    r"""Return the TeX of a formula of a docstring: a line of it for each of ``lines``, aligned at their first ``=``.

    Examples
    --------
    >>> tex(["y[n,o] = sum_i x[n,i] w[i,o]", "dw = x^T dy"])
    'y[n,o] &= \\sum_{i}\\,x[n,i]\\,w[i,o] \\\\ dw &= x^{T}\\,dy'
    """
    if len(lines) == 1:
        return _line(lines[0])
    return r" \\ ".join(_line(re.sub(r"\s+(=|<-) ", r" \1 ", line, count=1)).replace("= ", "&= ", 1) for line in lines)


def _line(line: str) -> str:
    line = re.sub(r"([_^])\(([^()]*)\)", r"\1{\2}", line.strip())
    line = re.sub(r"`[^`]+`|([_^])(-?\w+)", lambda found: f"{found[1]}{{{found[2]}}}" if found[1] else found[0], line)
    line = "".join(map(_token, TOKEN.finditer(line)))
    return re.sub(r" \}(\\,| )*\\text\{ ", " ", line)  # words next to each other are one text


def _token(found: re.Match[str]) -> str:
    kind, text = found.lastgroup or "other", found[0]
    if kind == "code":
        return rf"\text{{{found['code']}}}"  # in which docutils takes every character for itself
    if kind == "word":
        return _word(text, found.string[found.end() :])
    if text in "#$%&":
        return "\\" + text
    return SYMBOLS.get(kind, text)


def _word(word: str, rest: str) -> str:
    if word == "sum" and not re.match(r" (of|over)\b", rest):
        return r"\sum"
    if word in FUNCTIONS or word in GREEK:
        return rf"\operatorname{{{word}}} " if word in ("sqrt", "erf") else rf"\{word} "
    if word in NAMES:
        return rf"\mathrm{{{word}}}"
    if len(word.rstrip("'")) > 2 or word in SHORT_WORDS:
        return rf"\text{{ {word} }}"
    return word
