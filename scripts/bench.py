"""Time funcnn beside PyTorch and JAX: whole steps of training, predictions, and a cold start."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from multiprocessing import Pipe
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import methods as comparing
import overhead as keeping
import sweep as sweeping
import terminal
import typer
from contestants import jobs
from files import check_writable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

WORKER = Path(__file__).with_name("bench_worker.py")
# Threads of some frameworks spin on after their work before they sleep: the next turn waits until they do.
PAUSE = 0.05
# By how much losses after the first steps may differ: float32 in another order of summing, and no more.
AGREEMENT = 1e-3


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


class Contestant(StrEnum):
    """Values of --contestant."""

    funcnn = "funcnn"
    torch = "torch"
    torch_channels_last = "torch-channels-last"
    torch_compile = "torch-compile"
    jax = "jax"


NEEDS = {
    Contestant.funcnn: "numpy",
    Contestant.torch: "torch",
    Contestant.torch_channels_last: "torch",
    Contestant.torch_compile: "torch",
    Contestant.jax: "jax",
}
COLD_START = "cold start"


class Effort(NamedTuple):
    """How often and how long to measure, on which cores ("" for all)."""

    rounds: int
    processes: int
    seconds_per_round: float
    cores: str


class Outcome(NamedTuple):
    """What measuring a contestant gave.

    Attributes
    ----------
    status : str
        "ok", "not installed" or "failed".
    reason : str
        Of a failure.
    seconds : list of list of float
        For each process the time of a step in each round.
    peaks : list of int
        Each process' largest memory in bytes.
    epochs : list of int
        Of a cold start, until the network was good enough.
    """

    status: str
    reason: str = ""
    seconds: Sequence[Sequence[float]] = ()
    peaks: Sequence[int] = ()
    epochs: Sequence[int] = ()

    def median(self) -> float:
        """Return the median round's time."""
        return median(self.all())

    def best(self) -> float:
        """Return the best round's time."""
        return min(self.all())

    def all(self) -> list[float]:
        """Return the times of all rounds."""
        return [seconds for process in self.seconds for seconds in process]


class FailedError(Exception):
    """A contestant could not do a job."""


def is_installed(contestant: Contestant) -> bool:
    """Say whether a contestant's package is there, without importing it."""
    return importlib.util.find_spec(NEEDS[contestant]) is not None


@contextmanager
def worker(contestant: Contestant, cores: str) -> Iterator[Callable[[Any], Any]]:
    """Start a process with a contestant; give the function that sends it a message and returns its answer.

    The process leads a session of its own, so that Ctrl-C reaches this program alone, which then ends it with all that
    it has started.
    """
    ours, theirs = Pipe()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, WORKER, cores, contestant, "serve", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        theirs.close()

        def ask(message: Any) -> Any:
            try:
                ours.send(message)
                answer = ours.recv()
            except (EOFError, OSError):
                process.wait()
                errors.seek(0)
                raise FailedError(_last_line(errors.read().decode(errors="replace"), process.returncode)) from None
            if isinstance(answer, str):
                raise FailedError(answer.strip().split("\n")[0])
            return answer

        try:
            yield ask
        finally:
            ours.close()
            _kill(process)


def _last_line(errors: str, code: int) -> str:
    return next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"ended with {code}")


def _kill(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(
    job: jobs.Job, contestants: Sequence[Contestant], effort: Effort, advance: Callable[[], None]
) -> dict[Contestant, Outcome]:
    """Time a job: in each of several generations of fresh processes, rounds in which all contestants take turns."""
    task = jobs.make_task(job, len(effort.cores.split(",")) if effort.cores else len(available_cores()))
    seconds: dict[Contestant, list[list[float]]] = {c: [] for c in contestants}
    peaks: dict[Contestant, list[int]] = {c: [] for c in contestants}
    failures: dict[Contestant, str] = {}

    for _ in range(effort.processes):
        with ExitStack() as stack:
            asks: dict[Contestant, Callable[[Any], Any]] = {}
            losses: dict[Contestant, float] = {}

            @contextmanager
            def noted(contestant: Contestant) -> Iterator[None]:
                try:
                    yield
                except FailedError as failure:
                    failures[contestant] = str(failure)

            for contestant in contestants:
                if contestant in failures:
                    continue
                with noted(contestant):
                    ask = stack.enter_context(worker(contestant, effort.cores))
                    losses[contestant] = ask((task, effort.seconds_per_round))
                    check_loss(losses, contestant, task)
                    asks[contestant] = ask
                    seconds[contestant].append([])
            for i in range(effort.rounds + 1):
                for contestant in _rotated(list(asks), i):
                    if contestant not in failures:
                        time.sleep(PAUSE)
                        with noted(contestant):
                            seconds[contestant][-1].append(asks[contestant]("round"))
                advance()
            for contestant, ask in asks.items():
                if contestant not in failures:
                    with noted(contestant):
                        peaks[contestant].append(ask("stop"))
                        del seconds[contestant][-1][
                            0
                        ]  # most had sat idle for long, and take up to five times their time
    return {
        c: Outcome("failed", failures[c]) if c in failures else Outcome("ok", "", seconds[c], peaks[c])
        for c in contestants
    }


def _rotated(contestants: list[Contestant], i: int) -> list[Contestant]:
    """Let another one begin each round, so that nobody always follows the same neighbour."""
    start = i % max(1, len(contestants))
    return contestants[start:] + contestants[:start]


def check_loss(losses: dict[Contestant, float], contestant: Contestant, task: jobs.Task) -> None:
    """Refuse a contestant that gets another loss than the first one by the same steps from the same weights."""
    first = next(iter(losses))
    random = any(isinstance(layer, jobs.Dropout) for layer in jobs.NETWORKS[task.job.network].layers)
    if random or abs(losses[contestant] - losses[first]) <= AGREEMENT * (1 + abs(losses[first])):
        return
    raise FailedError(f"does other work: it gets {losses[contestant]:.6g} where {first} gets {losses[first]:.6g}")


def measure_cold_start(
    contestants: Sequence[Contestant], effort: Effort, advance: Callable[[], None]
) -> dict[Contestant, Outcome]:
    """Time whole processes: import, load the digits, train the default network until it is good enough, save it."""
    seconds: dict[Contestant, list[list[float]]] = {c: [] for c in contestants}
    epochs: dict[Contestant, list[int]] = {c: [] for c in contestants}
    failures: dict[Contestant, str] = {}
    for seed in range(effort.processes):
        for contestant in contestants:
            if contestant not in failures:
                time.sleep(PAUSE)
                try:
                    taken, count = cold_start(contestant, seed, effort.cores)
                except FailedError as failure:
                    failures[contestant] = str(failure)
                else:
                    seconds[contestant].append([taken])
                    epochs[contestant].append(count)
        advance()
    return {
        c: Outcome("failed", failures[c]) if c in failures else Outcome("ok", "", seconds[c], (), epochs[c])
        for c in contestants
    }


def cold_start(contestant: Contestant, seed: int, cores: str) -> tuple[float, int]:
    """Run one process; return its seconds, from before its start until after its end, and its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(WORKER), cores, contestant, "cold", str(seed), folder]
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        try:
            out, errors = process.communicate()
        finally:
            _kill(process)
        taken = time.perf_counter() - began
    if process.returncode:
        raise FailedError(_last_line(errors, process.returncode))
    epochs, accuracy = out.split()
    if float(accuracy) < jobs.ACCURACY:
        raise FailedError(f"reached {float(accuracy):.1%} in {epochs} epochs, not {jobs.ACCURACY:.0%}")
    return taken, int(epochs)


def measurements(chosen: Sequence[JobName]) -> list[str]:
    """Return the names of what to measure for the jobs, in the order of the jobs."""
    names = [*jobs.JOBS, COLD_START]
    wanted = {job.replace("-", " ") for job in chosen or JobName}
    return [name for name in names if name in wanted or name.split()[0] in wanted]


def versus_funcnn(outcomes: dict[Contestant, Outcome]) -> dict[Contestant, float]:
    """Return for each peer that was measured how many times funcnn's median time it takes."""
    own = outcomes.get(Contestant.funcnn)
    if own is None or own.status != "ok":
        return {}
    others = {c: o for c, o in outcomes.items() if c is not Contestant.funcnn and o.status == "ok"}
    return {c: o.median() / own.median() for c, o in others.items()}


def show(console: Console, name: str, outcomes: dict[Contestant, Outcome]) -> None:
    """Print the table of a job."""
    ratios = versus_funcnn(outcomes)
    cold = name == COLD_START
    job = jobs.JOBS.get(name)
    title = "a process" if job is None else f"a step of {job.batch}" if job.train else f"a call of {job.batch}"
    table = terminal.new_table(name, "s" if cold else "us", "best", "/ funcnn", "epochs" if cold else "MB")
    for contestant, outcome in outcomes.items():
        if outcome.status != "ok":
            table.add_row(contestant, outcome.status)
            continue
        last = median(outcome.epochs) if cold else max(outcome.peaks) / 1e6
        ratio = f"{ratios[contestant]:.2f}" if contestant in ratios else ""
        table.add_row(contestant, *(_time(t, cold) for t in (outcome.median(), outcome.best())), ratio, f"{last:.0f}")
    console.print(f"{name}, {title}: median and best round", style="bold")
    terminal.print_whole(console, table)
    for contestant, outcome in outcomes.items():
        if outcome.reason:
            console.print(f"{contestant}: {outcome.reason}", markup=False, soft_wrap=True)
    console.print()


def _time(seconds: float, cold: bool) -> str:
    return f"{seconds:.2f}" if cold else f"{1e6 * seconds:,.0f}"


def show_summary(console: Console, results: dict[str, dict[Contestant, Outcome]]) -> None:
    """Print for each job how funcnn stands to the fastest peer."""
    table = terminal.new_table("job", "funcnn", "fastest peer", "its time", "peer / funcnn")
    for name, outcomes in results.items():
        ratios, cold = versus_funcnn(outcomes), name == COLD_START
        if ratios:
            peer = min(ratios, key=lambda c: ratios[c])
            own, its = (_time(outcomes[c].median(), cold) for c in (Contestant.funcnn, peer))
            table.add_row(name, own, peer, its, f"{ratios[peer]:.2f}")
    if table.row_count:
        console.print("Medians; above 1, funcnn is the fastest", style="bold")
        terminal.print_whole(console, table)


def write(output: str, figures: dict[str, Any]) -> None:
    """Write figures where --json says."""
    text = json.dumps(figures, indent=1)
    if output == "-":
        print(text)
    elif output:
        Path(output).write_text(text + "\n", encoding="utf-8")


def as_json(results: dict[str, dict[Contestant, Outcome]], effort: Effort) -> dict[str, Any]:
    """Return all figures as what JSON can hold; times are in microseconds."""
    found: dict[str, Any] = {}
    for name, outcomes in results.items():
        ratios = versus_funcnn(outcomes)
        found[name] = {c.value: _figures(outcome, ratios.get(c)) for c, outcome in outcomes.items()}
    return {"machine": machine(), "effort": effort._asdict(), "jobs": found}


def machine() -> dict[str, Any]:
    """Say on what, and with which versions, the figures were measured."""
    versions = {}
    for package in ("numpy", "torch", "jax", "jaxlib"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"processor": _processor(), "cores": len(available_cores()), "python": platform.python_version(), **versions}


def _figures(outcome: Outcome, ratio: float | None) -> dict[str, Any]:
    if outcome.status != "ok":
        return {"status": outcome.status, **({"reason": outcome.reason} if outcome.reason else {})}
    return {
        "status": outcome.status,
        "median_us": 1e6 * outcome.median(),
        "best_us": 1e6 * outcome.best(),
        "times_funcnn": ratio,
        "rounds_us": [[1e6 * seconds for seconds in process] for process in outcome.seconds],
        **({"peak_bytes": list(outcome.peaks)} if outcome.peaks else {}),
        **({"epochs": list(outcome.epochs)} if outcome.epochs else {}),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def available_cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cores_for(threads: int | None) -> str:
    """Return the cores to use, "" for all."""
    if threads is None:
        return ""
    if not hasattr(os, "sched_setaffinity"):
        raise terminal.UsageError("--threads needs an operating system that binds processes to cores")
    available = available_cores()
    if threads > len(available):
        raise terminal.UsageError(f"--threads {threads}: there are {len(available)} cores")
    return ",".join(map(str, available[:threads]))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    job: Annotated[list[JobName] | None, typer.Option(help="Only this; may be repeated.")] = None,
    contestant: Annotated[list[Contestant] | None, typer.Option(help="Only this; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each process, in which contestants take turns.")] = 9,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes of each contestant, for each job.")] = 3,
    seconds_per_round: Annotated[
        float, typer.Option(min=0.001, max=60, help="About how long a round takes, in steps of the job.")
    ] = 0.2,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Instead: funcnn's own time against batch, side and channels.")
    ] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="Instead: each method of a convolution beside the choice, over a grid.")
    ] = False,
    overhead: Annotated[
        bool, typer.Option("--overhead", help="Instead: what checkpoints, history and progress add to the default job.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores for each contestant; all if not given.")] = None,
    output: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Write all figures to this file too; - for stdout alone.")
    ] = "",
) -> None:
    effort = Effort(rounds, processes, seconds_per_round, cores_for(threads))
    path = Path(output) if output not in ("", "-") else None
    if path:
        check_writable(path)
    console = Console(quiet=True) if output == "-" else terminal.results()
    if sweep or methods or overhead:
        if job or contestant or threads or sweep + methods + overhead > 1:
            raise terminal.UsageError(
                "--sweep, --methods and --overhead each go with --rounds, --seconds-per-round, --json alone"
            )
        if overhead:
            found = keeping.overhead(console, rounds, len(available_cores()))
            write(output, {"machine": machine(), "overhead": found})
        elif sweep:
            write(output, {"machine": machine(), "sweep": sweeping.sweep(console, rounds, seconds_per_round)})
        else:  # the grid is large, and a round of a single convolution can be short
            write(output, {"machine": machine(), "methods": comparing.methods(console, rounds, seconds_per_round / 10)})
        return
    chosen = list(dict.fromkeys(contestant or Contestant))
    names = measurements(job or [])
    results: dict[str, dict[Contestant, Outcome]] = {}
    present = [c for c in chosen if is_installed(c)]
    for name in names:
        with shown(name, effort) as advance:
            if name == COLD_START:
                measured = measure_cold_start(present, effort, advance)
            else:
                measured = measure(jobs.JOBS[name], present, effort, advance)
        results[name] = {c: measured.get(c, Outcome("not installed")) for c in chosen}
        show(console, name, results[name])
    if len(names) > 1:
        show_summary(console, results)
    write(output, as_json(results, effort))
    failed = [f"{c} ({name})" for name in names for c, o in results[name].items() if o.status == "failed"]
    if failed:
        raise ValueError(f"failed: {', '.join(failed)}")


@contextmanager
def shown(name: str, effort: Effort) -> Iterator[Callable[[], None]]:
    """Show the progress of a job on stderr, live on a terminal, else a line; give what tells of a round's end."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        terminal.echo(False)(f"measuring {name}")
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(name, total=effort.processes * (1 if name == COLD_START else effort.rounds + 1))
        yield lambda: progress.advance(task)


if __name__ == "__main__":
    terminal.run(app)
