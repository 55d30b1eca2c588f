"""Break the mathematics on purpose, one place at a time, and count how many of the breaks the tests notice."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, NamedTuple

import numpy as np
import terminal
import typer
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parents[1]
# What is broken, and the tests that are to notice. The place's own doctests are run as well.
TESTS = {
    "funcnn/kernels": ("tests/ops", "tests/test_laws.py", "tests/test_hard_values.py", "tests/test_parallel.py"),
    "funcnn/ops": ("tests/ops", "tests/test_laws.py", "tests/test_hard_values.py", "tests/test_parallel.py"),
    "funcnn/losses": ("tests/test_losses.py", "tests/test_hard_values.py"),
    "funcnn/optim": ("tests/test_optim.py", "tests/test_schedules.py"),
    "funcnn/layers": ("tests/test_layers.py", "tests/ops/test_normalization.py"),
    "funcnn/combinators.py": ("tests/test_layers.py",),
    "funcnn/derivatives.py": ("tests/test_derivatives.py",),
    "funcnn/attribution.py": ("tests/test_attribution.py",),
    "funcnn/intermediates.py": ("tests/test_attribution.py",),
    "funcnn/initializers.py": ("tests/test_initializers.py",),
    "funcnn/data.py": ("tests/test_data.py",),
    "funcnn/metrics.py": ("tests/test_metrics.py",),
    "funcnn/data_parallel.py": ("tests/test_parallel.py",),
}
# A break that makes the tests run on and on is noticed, too.
LONGEST = 120.0
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Break(NamedTuple):
    """One change of a file: the line, what stood in it and what stands there now, and the whole file with it."""

    path: Path
    number: int
    line: str
    before: str
    after: str
    source: str


def breaks(path: Path, source: str) -> Iterator[Break]:
    """Yield every break of a source: a sign, an operator, a comparison, a number.

    Messages of errors, docstrings, type hints and decorators are passed over.
    """
    tree, lines = ast.parse(source), source.splitlines()
    for node in list(_mathematics(tree)):
        for owner, name, old, new in _changes(node):
            before = ast.unparse(node)
            number = getattr(node, "lineno", 1)
            setattr(owner, name, new)
            yield Break(path, number, lines[number - 1].strip(), before, ast.unparse(node), ast.unparse(tree))
            setattr(owner, name, old)


def _mathematics(node: ast.AST) -> Iterator[ast.AST]:
    skipped = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, skipped):
                yield child
                yield from _mathematics(child)


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str, object, object]]:
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in SWAPS:
        yield node, "op", node.op, SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield node, "ops", node.ops, [SWAPS[type(node.ops[0])](), *node.ops[1:]]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, "op", node.op, ast.UAdd()
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield node, "value", node.value, node.value + 1
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        yield node, "value", node.value, 1.5 * node.value + 0.25


def tests_for(path: Path) -> list[str]:
    """Return what pytest is to run for a file: the doctests and the tests of its place.

    A place is given as a whole: pytest would put the module ``funcnn.ops.conv`` where the function of that name is.
    """
    place = next(place for place in TESTS if path.as_posix().startswith(place))
    return [place, *TESTS[place]]


def noticed(copy: Path, change: Break) -> bool:
    """Say whether the tests fail on a copy of the project with the change."""
    target = copy / change.path
    original = target.read_text(encoding="utf-8")
    target.write_text(change.source, encoding="utf-8")
    try:
        return not passes(copy, tests_for(change.path))
    finally:
        target.write_text(original, encoding="utf-8")


def passes(copy: Path, tests: list[str]) -> bool:
    """Say whether the tests pass on a copy of the project."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


app = typer.Typer(add_completion=False)


@app.command()
def main(
    sample: Annotated[int, typer.Option(min=1, help="How many breaks to try, drawn at random.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choice.")] = 0,
    only: Annotated[str, typer.Option(help="Try files alone whose path contains this.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Test runs at the same time.")] = os.cpu_count() or 1,
) -> None:
    """Break the mathematics on purpose, one place at a time, and count how many of the breaks the tests notice."""
    files = sorted(path for place in TESTS for path in _sources(place) if only in path.as_posix())
    found = [change for path in files for change in breaks(path, (ROOT / path).read_text(encoding="utf-8"))]
    if not found:
        raise terminal.UsageError(f"no file to break has {only!r} in its path")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:sample])
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            copies.put(_copied(Path(folder) / str(job)))

        def judged(change: Break) -> bool:
            copy = copies.get()
            try:
                return noticed(copy, change)
            finally:
                copies.put(copy)

        whole = _copied(Path(folder) / "whole")
        runs = {tuple(tests_for(found[i].path)) for i in chosen}
        if not all(passes(whole, list(tests)) for tests in sorted(runs)):
            raise ValueError("the tests fail before anything is broken: run make test")
        console = Console(stderr=True)
        with ThreadPoolExecutor(jobs) as pool:
            outcomes = pool.map(judged, [found[i] for i in chosen])
            results = list(track(outcomes, "breaking", total=len(chosen), console=console))
    _report([found[i] for i in chosen], results, len(found))


def _sources(place: str) -> list[Path]:
    there = ROOT / place
    files = sorted(there.glob("*.py")) if there.is_dir() else [there]
    return [file.relative_to(ROOT) for file in files if file.name != "__init__.py"]


def _copied(copy: Path) -> Path:
    for part in ("funcnn", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _report(changes: list[Break], results: list[bool], total: int) -> None:
    console = Console()
    table = Table("file", "breaks", "noticed", box=box.SIMPLE)
    for path in sorted({change.path for change in changes}):
        of_file = [caught for change, caught in zip(changes, results, strict=True) if change.path == path]
        table.add_row(path.as_posix(), str(len(of_file)), str(sum(of_file)))
    console.print(table)
    console.print(f"{sum(results)} of {len(results)} breaks noticed ({total} are possible)")
    for change, caught in zip(changes, results, strict=True):
        if not caught:
            place = f"{change.path.as_posix()}:{change.number}"
            console.print(
                f"not noticed: {place}: {change.before} -> {change.after} in {change.line}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    terminal.run(app)
