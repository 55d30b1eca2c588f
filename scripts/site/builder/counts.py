"""The table of how many tests a run had, from pytest's report."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from builder.docstrings import ROOT


def table(report: str) -> str:
    """Return a Markdown table of the tests that ran, by folder; without a report, how to make one.

    Parameters
    ----------
    report : str
        The path of a file that ``pytest --junitxml`` wrote, in the repository.
    """
    path = ROOT / report
    if not path.exists():
        return f'`make test ARGS="--junitxml {report}"`, before `make site`, counts them.'
    suite = next(ElementTree.parse(path).iter("testsuite"))
    passed: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for case in suite.iter("testcase"):
        if case.find("skipped") is None and case.find("failure") is None and case.find("error") is None:
            folder = _folder(case.get("classname") or "")
            passed[folder] += 1
            seconds[folder] += float(case.get("time") or 0)  # type: ignore[assignment]
    rows = [f"| {folder} | {passed[folder]:,} | {seconds[folder]:,.0f} |" for folder in sorted(passed)]
    day = (suite.get("timestamp") or "")[:10]
    total = f"| all | {passed.total():,} | {seconds.total():,.0f} |"
    return "\n".join([f"Passed on {day}:", "", "| in | tests | seconds |", "|---|---:|---:|", *rows, total])


def _folder(classname: str) -> str:
    """Return where a test is: a folder of tests, or the docstrings of the package."""
    first, second, *_ = [*classname.split("."), ""]
    if first != "tests":
        return f"docstrings of `{first}`"
    return "`tests`" if second.startswith("test_") else f"`tests/{second}`"
