"""Mutate the mathematics, one expression at a time, and count how many of the mutants the tests detect."""

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
import typer
from rich.console import Console
from rich.progress import track

from funcnn.cli.console import UsageError, results_console
from funcnn.pictures.tables import table

ROOT = Path(__file__).resolve().parents[2]
# The modules and packages of funcnn that are mutated. Each is run against its own tests, tests/NAME/ and
# tests/test_NAME.py, and its own doctests.
MODULES = (
    "kernels", "ops", "losses", "optim", "layers", "combinators", "derivatives", "attribution", "intermediates",
    "initializers", "data", "metrics", "gradients", "data_parallel", "fusion",
)  # fmt: skip
# The tests elsewhere that check a module, too.
MORE_TESTS = {
    "kernels": ("tests/ops", "tests/test_data_parallel.py"),
    "ops": ("tests/test_data_parallel.py",),
    "losses": ("tests/ops/test_hard_values.py",),
    "layers": ("tests/ops/test_normalization.py", "tests/test_layer.py", "tests/test_combinators.py"),
    "combinators": ("tests/test_layer.py",),
}
# Seconds. A mutant that makes the tests run longer than this is detected, too.
TIMEOUT = 120.0
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


class Mutant(NamedTuple):
    """One change of a file: its line, the expression before and after it, and the source of the whole changed file."""

    path: Path
    number: int
    line: str
    before: str
    after: str
    source: str


def mutants(path: Path, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a source: a changed sign, operator, comparison or number.

    Error messages, docstrings, type hints and decorators are left alone.
    """
    tree, lines = ast.parse(source), source.splitlines()
    for node in list(_mathematics(tree)):
        for owner, name, old, new in _changes(node):
            before = ast.unparse(node)
            number = getattr(node, "lineno", 1)
            setattr(owner, name, new)
            yield Mutant(path, number, lines[number - 1].strip(), before, ast.unparse(node), ast.unparse(tree))
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


def module_of(path: Path) -> str:
    """Return the entry of `MODULES` that a file of funcnn/ belongs to."""
    return path.parts[1].removesuffix(".py")


def source_of(module: str) -> Path:
    """Return the module or package of a module, relative to the repository."""
    package = Path("funcnn", module)
    return package if (ROOT / package).is_dir() else package.with_suffix(".py")


def tests_for(module: str) -> list[str]:
    """Return the arguments of pytest for a module: its doctests and its tests.

    A package is given as a whole, since pytest would import the module ``funcnn.ops.conv`` over the function of the
    same name.
    """
    mirrored = [test for test in (f"tests/{module}", f"tests/test_{module}.py") if (ROOT / test).exists()]
    return [source_of(module).as_posix(), *mirrored, *MORE_TESTS.get(module, ())]


def is_detected(copy: Path, mutant: Mutant) -> bool:
    """Return whether the tests fail on a copy of the project with the mutant."""
    target = copy / mutant.path
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.source, encoding="utf-8")
    try:
        return not passes(copy, tests_for(module_of(mutant.path)))
    finally:
        target.write_text(original, encoding="utf-8")


def passes(copy: Path, tests: list[str]) -> bool:
    """Return whether the tests pass on a copy of the project."""
    # nothing compiled is kept: Python knows it by time and size, which two mutants of one second may share
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONPYCACHEPREFIX": os.devnull, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    *,
    sample: Annotated[int, typer.Option(min=1, help="How many mutants to try, drawn at random.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the random sample.")] = 0,
    only: Annotated[str, typer.Option(help="Mutate only files whose path contains this.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="How many test runs at the same time.")] = os.cpu_count() or 1,
) -> None:
    files = sorted(path for module in MODULES for path in sources(module) if only in path.as_posix())
    found = [mutant for path in files for mutant in mutants(path, (ROOT / path).read_text(encoding="utf-8"))]
    if not found:
        raise UsageError(f"no file to mutate has {only!r} in its path")
    sampled = [found[i] for i in np.sort(np.random.default_rng(seed).permutation(len(found))[:sample])]
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            copies.put(_copy_project(Path(folder) / str(job)))

        def detect(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                return is_detected(copy, mutant)
            finally:
                copies.put(copy)

        unchanged = _copy_project(Path(folder) / "unchanged")
        for module in sorted({module_of(mutant.path) for mutant in sampled}):
            if not passes(unchanged, tests_for(module)):
                raise ValueError(f"the tests of funcnn/{module} fail without any mutant: run make test")
        console = Console(stderr=True)
        with ThreadPoolExecutor(jobs) as pool:
            results = list(track(pool.map(detect, sampled), "mutants", total=len(sampled), console=console))
    _report(sampled, results, len(found))


def sources(module: str) -> list[Path]:
    """Return the files of a module, relative to the repository."""
    source = ROOT / source_of(module)
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    return [file.relative_to(ROOT) for file in files if file.name != "__init__.py"]


def _copy_project(copy: Path) -> Path:
    for part in ("funcnn", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _report(sampled: list[Mutant], results: list[bool], total: int) -> None:
    console, rows = results_console(), []
    for path in sorted({mutant.path for mutant in sampled}):
        of_file = [detected for mutant, detected in zip(sampled, results, strict=True) if mutant.path == path]
        rows.append((path.as_posix(), str(len(of_file)), str(sum(of_file))))
    console.print(table(("file", "mutants", "detected"), rows))
    console.print(f"{sum(results)} of {len(results)} mutants detected ({total} are possible)")
    for mutant, detected in zip(sampled, results, strict=True):
        if not detected:
            line = f"{mutant.path.as_posix()}:{mutant.number}"
            change = f"{mutant.before} -> {mutant.after} in {mutant.line}"
            console.print(f"not detected: {line}: {change}", soft_wrap=True)
