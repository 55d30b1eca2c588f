"""Time funcnn beside PyTorch, JAX and, for predictions, onnxruntime: training steps, predictions, and a cold start."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import figures, jobs, report
from bench.measuring import (
    Effort,
    Framework,
    Outcome,
    available_cores,
    does,
    is_installed,
    measure,
    measure_cold_start,
)
from bench.methods import compare_methods
from bench.overhead import measure_overhead
from bench.page import page
from bench.ranks import measure_ranks
from bench.report import COLD_START
from bench.sweep import measure_sweep
from funcnn.cli.console import UsageError, results_console
from funcnn.cli.outputs import check_outputs
from funcnn.files import check_writable, write_atomic
from funcnn.kernels.compilation import compile_all

PROGRAM = ".venv/bin/python scripts/bench"


class JobName(StrEnum):
    """Values of --job."""

    seed = "seed"
    digits32 = "digits32"
    lenet = "lenet"
    vgg = "vgg"
    bnnet = "bnnet"
    resnet = "resnet"
    estimator = "estimator"
    predict = "predict"
    cold_start = "cold-start"
    resnet18 = "resnet18"
    mobilenet = "mobilenet"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    *,
    job: Annotated[
        list[JobName] | None,
        typer.Option(
            help="Measure only this job; may be repeated. By default all but resnet18 and mobilenet: minutes."
        ),
    ] = None,
    framework: Annotated[
        list[Framework] | None, typer.Option(help="Measure only this framework; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds per process; in each, the frameworks take turns.")] = 9,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes per framework and job.")] = 3,
    seconds_per_round: Annotated[
        float, typer.Option(min=0.001, max=60, help="About how many seconds a framework's turn takes.")
    ] = 0.2,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Measure instead how funcnn's time grows with batch, image size and channels."),
    ] = False,
    methods: Annotated[
        bool,
        typer.Option(
            "--methods", help="Measure instead every method of a convolution beside the one chosen, over many shapes."
        ),
    ] = False,
    overhead: Annotated[
        bool,
        typer.Option("--overhead", help="Measure instead what checkpoints, history and progress add to training."),
    ] = False,
    ranks: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Measure instead steps on these numbers of processes, beside as many threads, such as 1,2.",
        ),
    ] = "",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores for each framework.  [default: all]", show_default=False)
    ] = None,
    output: Annotated[
        str,
        typer.Option("--json", metavar="FILE", help="Write all figures to this file; - prints them instead of tables."),
    ] = "",
    page_file: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write the results as a Markdown page.")
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Measure nothing: write the page from a file of --json; may be repeated, a section for each.",
        ),
    ] = None,
) -> None:
    instead = sweep + methods + overhead + bool(ranks)
    numbers = numbers_of_ranks(ranks)
    if sources and (not page_file or job or framework or threads or instead or output):
        raise UsageError("--from measures nothing: it can only be combined with --page FILE")
    if instead and (job or framework or threads or instead > 1):
        raise UsageError(
            "--sweep, --methods, --ranks and --overhead can each be combined only with --rounds, --seconds-per-round, "
            "--json, --page"
        )
    figures_file = Path(output) if output not in ("", "-") else None
    measured = {f"--from {number}": path for number, path in enumerate(sources or [], start=1)}
    check_outputs({"--page": page_file, "--json": figures_file}, measured, {})
    for path in (page_file, figures_file):
        if path:
            check_writable(path)
    if sources and page_file:
        write_atomic(page_file, page(figures.read(sources)))
        return

    effort = Effort(rounds, processes, seconds_per_round, cores_for(threads))
    console = Console(quiet=True) if output == "-" else results_console()
    failed: list[str] = []
    found: dict[str, Any]
    if instead:
        option = "--sweep" if sweep else "--methods" if methods else f"--ranks={ranks}" if ranks else "--overhead"
        options = [option, *_option("rounds", rounds), *_option("seconds-per-round", seconds_per_round)]
        if sweep:
            found = {"sweep": measure_sweep(console, rounds, seconds_per_round)}
        elif methods:  # many shapes, each a single convolution: a tenth of the time is enough
            found = {"methods": compare_methods(console, rounds, seconds_per_round / 10)}
        elif ranks:
            found = {"ranks": measure_ranks(console, numbers, rounds, seconds_per_round)}
        else:
            found = {"overhead": measure_overhead(console, rounds, len(available_cores()))}
            options = [option, *_option("rounds", rounds)]
    else:
        if not hasattr(os, "killpg"):
            raise ValueError(f"processes of frameworks cannot be measured on {sys.platform}: they need a POSIX system")
        results = measure_jobs(console, job or [], framework or list(Framework), effort)
        failed = [
            f"{f} ({name})" for name, outcomes in results.items() for f, o in outcomes.items() if o.status == "failed"
        ]
        found = figures.of_jobs(results, effort)
        options = [
            *(part for name in job or [] for part in _option("job", name)),
            *(part for name in framework or [] for part in _option("framework", name)),
            *_option("rounds", rounds),
            *_option("processes", processes),
            *_option("seconds-per-round", seconds_per_round),
            *(_option("threads", threads) if threads else []),
        ]
    found = {**figures.circumstances(f"{PROGRAM} {shlex.join(options)}"), **found}
    if output == "-":
        print(figures.as_text(found), end="")
    elif output:
        write_atomic(Path(output), figures.as_text(found))
    if page_file:
        write_atomic(page_file, page([found]))
    if failed:
        raise ValueError(f"failed: {', '.join(failed)}")


def numbers_of_ranks(ranks: str) -> list[int]:
    """Return the numbers in --ranks."""
    try:
        numbers = [int(number) for number in ranks.split(",") if ranks]
    except ValueError:
        numbers = [0]
    if min(numbers, default=1) < 1:
        raise UsageError(f"--ranks must be numbers from 1, such as 1,2, not {ranks}")
    return numbers


def _option(name: str, value: object) -> list[str]:
    return [f"--{name}", str(value)]


def measure_jobs(
    console: Console, chosen: Sequence[JobName], frameworks: Sequence[Framework], effort: Effort
) -> dict[str, dict[Framework, Outcome]]:
    """Measure the jobs one after the other and print a table of each; return the outcomes."""
    frameworks = list(dict.fromkeys(frameworks))
    if Framework.funcnn_fast in frameworks and is_installed(Framework.funcnn_fast):
        compile_all(report.announce_compiling)
    results: dict[str, dict[Framework, Outcome]] = {}
    for name in measurements(chosen):
        able = [f for f in frameworks if does(f, name)]
        installed = [f for f in able if is_installed(f)]
        if not able:
            raise UsageError(f"{', '.join(frameworks)} cannot do {name}: it only predicts")
        turns = effort.processes * (1 if name == COLD_START else effort.rounds + 1)
        with report.part_progress(name, turns) as advance:
            if name == COLD_START:
                measured = measure_cold_start(installed, effort, advance)
            else:
                measured = measure(jobs.JOBS[name], installed, effort, advance)
        results[name] = {f: measured.get(f, Outcome("not installed")) for f in able}
        report.show_job(console, name, results[name])
    if len(results) > 1:
        report.show_summary(console, results)
    return results


def measurements(chosen: Sequence[JobName]) -> list[str]:
    """Return the names of what to measure for the jobs, in the order of the jobs; all but the large ones for none."""
    names = [*jobs.JOBS, COLD_START]
    wanted = {job.replace("-", " ") for job in chosen or set(JobName) - set(jobs.LARGE_NETWORKS)}
    return [name for name in names if name in wanted or name.split()[0] in wanted]


def cores_for(threads: int | None) -> str:
    """Return the cores to use, "" for all."""
    if threads is None:
        return ""
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("--threads needs an operating system that binds processes to cores")
    available = available_cores()
    if threads > len(available):
        raise UsageError(f"--threads {threads}: there are {len(available)} cores")
    return ",".join(map(str, available[:threads]))
