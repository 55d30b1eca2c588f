"""A process that runs one framework.

``CORES FRAMEWORK serve HANDLE``: runs rounds of a job, as the messages from a pipe ask.
``CORES FRAMEWORK cold SEED FOLDER``: trains the default network from scratch, saves it, prints epochs and accuracy.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MODULES = {
    "funcnn": "with_funcnn",
    "funcnn-fast": "with_funcnn",
    "torch": "with_torch",
    "torch-channels-last": "with_torch",
    "torch-compile": "with_torch",
    "jax": "with_jax",
    "onnxruntime": "with_onnxruntime",
}
# Steps before any timing, after which frameworks that do the same work have the same loss.
CHECKED_STEPS = 3


def serve(framework: str, connection: Connection) -> None:
    """Receive a task and the seconds of a round, prepare it, then time a round for each "round" received, until "stop".

    The answers are: the loss, to check that the frameworks do the same work; seconds per step; peak memory in bytes. A
    string instead of any of them is an error message.
    """
    try:
        task, seconds = connection.recv()
        run = load_function(framework, "make_run")(task)
        connection.send(run(CHECKED_STEPS))
        steps = steps_for(run, seconds)
        while connection.recv() == "round":
            gc.collect()
            run(1 + steps // 10)  # threads wake up, caches fill
            start = time.perf_counter()
            run(steps)
            connection.send((time.perf_counter() - start) / steps)
        connection.send(peak_memory())
    except EOFError:  # the parent process has ended
        pass
    except Exception as error:  # a failure is this framework's result; the others continue
        connection.send(f"{type(error).__name__}: {error}")


def load_function(framework: str, name: str) -> Any:
    """Import what a framework needs and nothing else; return its function of that name."""
    function = getattr(importlib.import_module(f"bench.frameworks.{MODULES[framework]}"), name)
    if framework == "torch-channels-last":
        import torch

        return partial(function, memory_format=torch.channels_last)
    if framework == "funcnn-fast" and name == "make_run":
        from funcnn.kernels.selection import current, prepare

        prepare(math.inf)  # as a long run of training does
        if current() != "compiled":  # an error if they cannot be loaded, and not NumPy's times
            raise ImportError("compiled kernels cannot be loaded")
    return partial(function, compiled=True) if framework == "torch-compile" else function


def steps_for(run: Any, seconds: float) -> int:
    """Return how many steps take about ``seconds``, found by running steps for at least that long."""
    steps, first_start = 1, time.perf_counter()
    while True:
        start = time.perf_counter()
        run(steps)
        end = time.perf_counter()
        wanted = max(1, round(seconds * steps / (end - start)))
        if end - first_start >= seconds and wanted <= 2 * steps:
            return wanted
        steps = min(wanted, 4 * steps)


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    cores, framework, mode, *rest = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if mode == "serve":
        serve(framework, Connection(int(rest[0])))
    else:
        epochs, accuracy = load_function(framework, "train_digits")(int(rest[0]), Path(rest[1]) / "digits.npz")
        print(epochs, accuracy)


if __name__ == "__main__":
    main()
