"""Training steps on threads and on the ranks of an MPI job, a step split into computing and communicating.

Run as a module under mpiexec, it is one of the ranks: ``bench.ranks JOB THREADS SECONDS ROUNDS``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median
from typing import Any

from rich.console import Console

from bench import jobs
from bench.frameworks.with_funcnn import make_model, make_optimizer
from bench.measuring import Framework, worker_environment
from funcnn import gradients, keys, losses, optim
from funcnn.cli import jobs as launching
from funcnn.data_parallel import over_ranks
from funcnn.pictures.tables import table

NAMES = ("digits32", "lenet", "vgg", "bnnet", "resnet")
HEADER = ("step", "on", "ms", "computing", "communicating")


class TimedComm:
    """A communicator that counts the seconds of its exchanges, in which a rank also waits for the others."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.seconds = comm, 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.comm, name)

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def measure_ranks(
    console: Console, numbers: Sequence[int], rounds: int, seconds: float, names: Sequence[str] = NAMES
) -> list[dict[str, Any]]:
    """Time the jobs' steps on each number of ranks, beside as many threads of one process, and print a table.

    Returns
    -------
    list of dict
        For each job and way: the median milliseconds of a step, and of the exchanges in it, on rank 0.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        for number in numbers:
            ways = {"1 process": (1, 1)} if number == 1 else {}
            if number > 1:
                ways = {f"{number} threads": (1, number), f"{number} processes": (number, 1)}
            for way, (ranks, threads) in ways.items():
                rows.append({"job": name, "on": way, **_measure(name, ranks, threads, rounds, seconds)})
    console.print(f"Steps on threads and processes: medians of {rounds} rounds", style="bold")
    console.print(table(HEADER, [cells(row) for row in rows]))
    return rows


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row of the table."""
    step, communicating = row["ms"], row["communicating_ms"]
    return row["job"], row["on"], f"{step:.2f}", f"{step - communicating:.2f}", f"{communicating:.2f}"


def _measure(name: str, ranks: int, threads: int, rounds: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.ranks", name, str(threads), str(seconds), str(rounds)]
    if ranks > 1:
        command = [launching.mpiexec(), "-n", str(ranks), sys.executable, "-m", "mpi4py", *command[1:]]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=worker_environment(Framework.funcnn))
    if run.returncode:
        raise ValueError(f"{ranks} ranks ({name}): {run.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(run.stdout)
    return found


def time_steps(name: str, threads: int, seconds: float, rounds: int, comm: Any) -> dict[str, float]:
    """Return the median milliseconds of a step and of the exchanges in it, on this rank."""
    task = jobs.make_task(jobs.JOBS[name], threads)
    timed = None if comm is None else TimedComm(comm)
    model, optimizer = make_model(task.job), make_optimizer(task.job)
    params, state, _ = model.init((0,), jobs.NETWORKS[task.job.network].in_shape)
    opt_state, step = optimizer.init(params), 0
    grad_fn = over_ranks(gradients.value_and_grad(model, losses.softmax_cross_entropy), timed, threads)
    batches = cycle(task.batches)

    def run(steps: int) -> tuple[float, float]:
        nonlocal params, state, opt_state, step
        start, before = time.perf_counter(), timed.seconds if timed else 0.0
        for _ in range(steps):
            x, labels = next(batches)
            _, grads, state = grad_fn(params, state, x, labels, keys.fold_in((0,), step))
            params, opt_state = optim.step(optimizer, grads, opt_state, params)
            step += 1
        exchanges = timed.seconds - before if timed else 0.0
        return 1000 * (time.perf_counter() - start) / steps, 1000 * exchanges / steps

    run(2)
    steps = max(1, round(1000 * seconds / run(3)[0]))
    if comm is not None:
        steps = comm.allgather(steps)[0]
    times = [run(steps) for _ in range(rounds)]
    return {"ms": median(t for t, _ in times), "communicating_ms": median(c for _, c in times)}


def main() -> None:
    name, threads, seconds, rounds = sys.argv[1:]
    comm = None
    if launching.rank_and_size().size > 1:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    found = time_steps(name, int(threads), float(seconds), int(rounds), comm)
    if launching.rank_and_size().rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
