"""A process of scripts/bench.py, with one contestant in it.

``CORES CONTESTANT serve HANDLE``: does rounds of a job, as the messages that come by a pipe ask.
``CORES CONTESTANT cold SEED FOLDER``: trains the default network from nothing, saves it, prints epochs and accuracy.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MODULES = {
    "funcnn": "with_funcnn",
    "torch": "with_torch",
    "torch-channels-last": "with_torch",
    "torch-compile": "with_torch",
    "jax": "with_jax",
}
# Steps before any timing, after which contestants that do the same work have the same loss.
CHECKED_STEPS = 3


def serve(contestant: str, connection: Connection) -> None:
    """Take a task and the seconds of a round, prepare it, then time a round whenever asked, until asked to stop.

    The answers: a loss, by which to check what is timed; seconds per step; the peak of memory in bytes. A string
    instead of any of them says what went wrong.
    """
    try:
        task, seconds = connection.recv()
        run = bound(contestant, "make_run")(task)
        connection.send(run(CHECKED_STEPS))
        steps = steps_taking(run, seconds)
        while connection.recv() == "round":
            gc.collect()
            run(1 + steps // 10)  # threads wake up, caches fill
            began = time.perf_counter()
            run(steps)
            connection.send((time.perf_counter() - began) / steps)
        connection.send(peak_memory())
    except EOFError:  # nobody is asking any more
        pass
    except Exception as error:  # whatever fails here is the contestant's result, and the others go on
        connection.send(f"{type(error).__name__}: {error}")


def bound(contestant: str, name: str) -> Any:
    """Import what a contestant needs and nothing else; return its function of that name."""
    function = getattr(importlib.import_module(f"contestants.{MODULES[contestant]}"), name)
    if contestant == "torch-channels-last":
        import torch

        return partial(function, memory_format=torch.channels_last)
    return partial(function, compiled=True) if contestant == "torch-compile" else function


def steps_taking(run: Any, seconds: float) -> int:
    """Return how many steps take about so long, found by running them for at least as long."""
    steps, began = 1, time.perf_counter()
    while True:
        start = time.perf_counter()
        run(steps)
        end = time.perf_counter()
        wanted = max(1, round(seconds * steps / (end - start)))
        if end - began >= seconds and wanted <= 2 * steps:
            return wanted
        steps = min(wanted, 4 * steps)


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure would begin with that of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    cores, contestant, mode, *rest = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if mode == "serve":
        serve(contestant, Connection(int(rest[0])))
    else:
        epochs, accuracy = bound(contestant, "train_digits")(int(rest[0]), Path(rest[1]) / "digits.npz")
        print(epochs, accuracy)


if __name__ == "__main__":
    main()
