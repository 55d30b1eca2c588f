"""The jobs' results on the console: a table for each job, a summary, and progress while measuring."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import jobs
from bench.measuring import Framework, Outcome, times_funcnn
from funcnn.pictures.tables import table

COLD_START = "cold start"


def show_job(console: Console, name: str, outcomes: dict[Framework, Outcome]) -> None:
    """Print the table of a job."""
    ratios = times_funcnn(outcomes)
    cold = name == COLD_START
    job = jobs.JOBS.get(name)
    unit = "a process" if job is None else f"a step of {job.batch}" if job.train else f"a call of {job.batch}"
    rows: list[tuple[str, ...]] = []
    for framework, outcome in outcomes.items():
        if outcome.status != "ok":
            rows.append((framework, outcome.status))
            continue
        last = median(outcome.epochs) if cold else max(outcome.peaks) / 1e6
        ratio = f"{ratios[framework]:.2f}" if framework in ratios else ""
        times = (_time(t, cold) for t in (outcome.median(), outcome.best()))
        rows.append((framework, *times, ratio, f"{last:.0f}"))
    console.print(f"{name}, {unit}: median and best round", style="bold")
    console.print(table((name, "s" if cold else "us", "best", "/ funcnn", "epochs" if cold else "MB"), rows))
    for framework, outcome in outcomes.items():
        if outcome.reason:
            console.print(f"{framework}: {outcome.reason}", markup=False, soft_wrap=True)
    console.print()


def _time(seconds: float, cold: bool) -> str:
    return f"{seconds:.2f}" if cold else f"{1e6 * seconds:,.0f}"


def show_summary(console: Console, results: dict[str, dict[Framework, Outcome]]) -> None:
    """Print for each job the times of funcnn and of the fastest other framework."""
    rows = []
    fast_measured = any(Framework.funcnn_fast in times_funcnn(outcomes) for outcomes in results.values())
    for name, outcomes in results.items():
        ratios, cold = times_funcnn(outcomes), name == COLD_START
        fast = ratios.pop(Framework.funcnn_fast, None)
        if ratios:
            other = min(ratios, key=lambda f: ratios[f])
            own, its = (_time(outcomes[f].median(), cold) for f in (Framework.funcnn, other))
            row = [name, own, other, its, f"{ratios[other]:.2f}"]
            if fast_measured:
                row[2:2] = [_time(outcomes[Framework.funcnn_fast].median(), cold) if fast else ""]
                row.append(f"{ratios[other] / fast:.2f}" if fast else "")
            rows.append(tuple(row))
    if rows:
        heads = ["job", "funcnn", "fastest other", "its time", "its time / funcnn's"]
        if fast_measured:
            heads[2:2] = ["funcnn-fast"]
            heads.append("/ funcnn-fast's")
        console.print("Medians; above 1, funcnn is the fastest", style="bold")
        console.print(table(tuple(heads), rows))


@contextmanager
def part_progress(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Show the progress of a part on stderr: a live bar on a terminal, else one line. Yield what advances the bar."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        announce(name)
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


def announce(name: str) -> None:
    """Print on stderr what is measured next."""
    print(f"measuring {name}", file=sys.stderr, flush=True)


def announce_compiling(_: str, done: int, modules: int) -> None:
    """Print on stderr that kernels are compiled, before the first module of them."""
    if not done:
        print(f"compiling {modules} modules of kernels, once: some 30 s", file=sys.stderr, flush=True)
