"""Measure the frameworks: each in its own processes, which take turns round by round."""

from __future__ import annotations

import contextlib
import importlib.util
import os
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
from typing import Any, NamedTuple

from bench import jobs

SCRIPTS = Path(__file__).resolve().parents[1]
# Seconds. Threads of some frameworks spin for a while after their work before they sleep; the next turn waits for that.
PAUSE = 0.05
# By how much losses after the first steps may differ, relative to 1 + |loss|: float32 summed in another order.
AGREEMENT = 1e-3


class Framework(StrEnum):
    """Values of --framework."""

    funcnn = "funcnn"
    funcnn_fast = "funcnn-fast"
    torch = "torch"
    torch_channels_last = "torch-channels-last"
    torch_compile = "torch-compile"
    jax = "jax"
    onnxruntime = "onnxruntime"


PACKAGES = {
    Framework.funcnn: "numpy",
    Framework.funcnn_fast: "numba",
    Framework.torch: "torch",
    Framework.torch_channels_last: "torch",
    Framework.torch_compile: "torch",
    Framework.jax: "jax",
    Framework.onnxruntime: "onnxruntime",
}


class Effort(NamedTuple):
    """How often and how long to measure, on which cores ("" for all)."""

    rounds: int
    processes: int
    seconds_per_round: float
    cores: str


class Outcome(NamedTuple):
    """The result of measuring a framework on a job.

    Attributes
    ----------
    status : str
        "ok", "not installed" or "failed".
    reason : str
        Why it failed.
    seconds : list of list of float
        For each process, the time of a step in each round.
    peaks : list of int
        For each process, its largest resident memory in bytes.
    epochs : list of int
        For each process of a cold start, the epochs until the network reached the target accuracy.
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
    """A framework could not do a job."""


def is_installed(framework: Framework) -> bool:
    """Return whether a framework's package is installed, without importing it."""
    return importlib.util.find_spec(PACKAGES[framework]) is not None


def does(framework: Framework, name: str) -> bool:
    """Return whether a framework can do what is measured; onnxruntime only predicts."""
    return framework is not Framework.onnxruntime or (name in jobs.JOBS and not jobs.JOBS[name].train)


def worker_command(cores: str, framework: Framework, *arguments: str) -> list[str]:
    """Return the command that starts a worker process."""
    return [sys.executable, "-P", "-m", "bench.worker", cores, framework, *arguments]


def worker_environment(framework: Framework) -> dict[str, str]:
    """Return the environment in which a worker finds this package, and funcnn the kernels that its name says."""
    path = filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")])
    kernels = "auto" if framework is Framework.funcnn_fast else "numpy"
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "FUNCNN_KERNELS": kernels}


@contextmanager
def worker(framework: Framework, cores: str) -> Iterator[Callable[[Any], Any]]:
    """Start a process for a framework; yield the function that sends it a message and returns its answer.

    The process leads its own session, so that Ctrl-C reaches only this program, which then kills the process and
    all that it has started.
    """
    connection, of_worker = Pipe()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            worker_command(cores, framework, "serve", str(of_worker.fileno())),
            env=worker_environment(framework),
            pass_fds=[of_worker.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        of_worker.close()

        def ask(message: Any) -> Any:
            try:
                connection.send(message)
                answer = connection.recv()
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
            connection.close()
            _kill(process)


def _last_line(errors: str, code: int) -> str:
    return next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exited with code {code}")


def _kill(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(
    job: jobs.Job, frameworks: Sequence[Framework], effort: Effort, advance: Callable[[], None]
) -> dict[Framework, Outcome]:
    """Time a job in rounds in which all frameworks take turns, repeated with several fresh processes of each.

    Parameters
    ----------
    job : Job
    frameworks : sequence of Framework
    effort : Effort
    advance : callable
        Called after each round.

    Returns
    -------
    dict
        An outcome for each framework.
    """
    task = jobs.make_task(job, len(effort.cores.split(",")) if effort.cores else len(available_cores()))
    seconds: dict[Framework, list[list[float]]] = {f: [] for f in frameworks}
    peaks: dict[Framework, list[int]] = {f: [] for f in frameworks}
    failures: dict[Framework, str] = {}

    @contextmanager
    def failure_recorded(framework: Framework) -> Iterator[None]:
        try:
            yield
        except FailedError as failure:
            failures[framework] = str(failure)

    for _ in range(effort.processes):
        with ExitStack() as stack:
            asks: dict[Framework, Callable[[Any], Any]] = {}
            losses: dict[Framework, float] = {}
            for framework in frameworks:
                if framework in failures:
                    continue
                with failure_recorded(framework):
                    ask = stack.enter_context(worker(framework, effort.cores))
                    losses[framework] = ask((task, effort.seconds_per_round))
                    check_loss(losses, framework, task)
                    asks[framework] = ask
                    seconds[framework].append([])
            for i in range(effort.rounds + 1):
                for framework in _rotated(list(asks), i):
                    if framework not in failures:
                        time.sleep(PAUSE)
                        with failure_recorded(framework):
                            seconds[framework][-1].append(asks[framework]("round"))
                advance()
            for framework, ask in asks.items():
                if framework not in failures:
                    with failure_recorded(framework):
                        peaks[framework].append(ask("stop"))
                        # Most processes were idle for long before the first round, which takes up to five times as
                        # long as the others.
                        del seconds[framework][-1][0]
    return {
        f: Outcome("failed", failures[f]) if f in failures else Outcome("ok", "", seconds[f], peaks[f])
        for f in frameworks
    }


def _rotated(frameworks: list[Framework], i: int) -> list[Framework]:
    """Begin each round with another framework, so that none always follows the same neighbour."""
    start = i % max(1, len(frameworks))
    return frameworks[start:] + frameworks[:start]


def check_loss(losses: dict[Framework, float], framework: Framework, task: jobs.Task) -> None:
    """Refuse a framework that gets another loss than the first one by the same steps from the same weights."""
    first = next(iter(losses))
    random = any(isinstance(layer, jobs.Dropout) for layer in jobs.NETWORKS[task.job.network].layers)
    if random or abs(losses[framework] - losses[first]) <= AGREEMENT * (1 + abs(losses[first])):
        return
    raise FailedError(f"does other work: it gets {losses[framework]:.6g} where {first} gets {losses[first]:.6g}")


def measure_cold_start(
    frameworks: Sequence[Framework], effort: Effort, advance: Callable[[], None]
) -> dict[Framework, Outcome]:
    """Time whole processes: import, load the digits, train the default network to the target accuracy, save it."""
    seconds: dict[Framework, list[list[float]]] = {f: [] for f in frameworks}
    epochs: dict[Framework, list[int]] = {f: [] for f in frameworks}
    failures: dict[Framework, str] = {}
    for seed in range(effort.processes):
        for framework in frameworks:
            if framework not in failures:
                time.sleep(PAUSE)
                try:
                    elapsed, count = cold_start(framework, seed, effort.cores)
                except FailedError as failure:
                    failures[framework] = str(failure)
                else:
                    seconds[framework].append([elapsed])
                    epochs[framework].append(count)
        advance()
    return {
        f: Outcome("failed", failures[f]) if f in failures else Outcome("ok", "", seconds[f], (), epochs[f])
        for f in frameworks
    }


def cold_start(framework: Framework, seed: int, cores: str) -> tuple[float, int]:
    """Run one process; return its seconds, from before its start until after its end, and its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            worker_command(cores, framework, "cold", str(seed), folder),
            env=worker_environment(framework),
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
        elapsed = time.perf_counter() - start
    if process.returncode:
        raise FailedError(_last_line(errors, process.returncode))
    epochs, accuracy = out.split()
    if float(accuracy) < jobs.ACCURACY:
        raise FailedError(f"reached {float(accuracy):.1%} in {epochs} epochs, not {jobs.ACCURACY:.0%}")
    return elapsed, int(epochs)


def times_funcnn(outcomes: dict[Framework, Outcome]) -> dict[Framework, float]:
    """Return for each other framework that was measured its median time as a multiple of funcnn's."""
    own = outcomes.get(Framework.funcnn)
    if own is None or own.status != "ok":
        return {}
    others = {f: o for f, o in outcomes.items() if f is not Framework.funcnn and o.status == "ok"}
    return {f: o.median() / own.median() for f, o in others.items()}


def available_cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
