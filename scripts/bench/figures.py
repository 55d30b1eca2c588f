"""The figures as JSON: what was measured, on which machine, with which versions, when and by which command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import funcnn
from bench.measuring import Effort, Framework, Outcome, available_cores, times_funcnn

# What a file may hold, beside the circumstances: exactly one of these.
KINDS = ("jobs", "sweep", "methods", "overhead", "ranks")


def circumstances(command: str) -> dict[str, Any]:
    """Return the machine, the versions, today's date (UTC) and the command that measures the figures again."""
    return {"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "command": command}


def machine() -> dict[str, Any]:
    """Return the processor, the number of cores, the operating system and the versions of the packages."""
    versions = {"python": platform.python_version(), "funcnn": funcnn.__version__}
    for package in ("numpy", "numba", "torch", "jax", "jaxlib", "onnxruntime"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": _processor(),
        "cores": len(available_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": _blas(),
        **versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _blas() -> str:
    """Return name and version of the BLAS that NumPy was built with."""
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def of_jobs(results: dict[str, dict[Framework, Outcome]], effort: Effort) -> dict[str, Any]:
    """Return the figures of the jobs as JSON types; times are in microseconds."""
    found: dict[str, Any] = {}
    for name, outcomes in results.items():
        ratios = times_funcnn(outcomes)
        found[name] = {f.value: _of_outcome(outcome, ratios.get(f)) for f, outcome in outcomes.items()}
    return {"effort": effort._asdict(), "jobs": found}


def _of_outcome(outcome: Outcome, ratio: float | None) -> dict[str, Any]:
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


def as_text(figures: dict[str, Any]) -> str:
    """Return figures as the text of a JSON file."""
    return json.dumps(figures, indent=1) + "\n"


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read files that ``--json`` wrote.

    Raises
    ------
    ValueError
        For a file that holds something else.
    """
    return [_read(path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    required = ("machine", "date", "command")
    if not isinstance(figures, dict) or not all(name in figures for name in required):
        raise ValueError(f"{path} does not hold figures of the benchmarks: it needs {', '.join(required)}")
    if sum(kind in figures for kind in KINDS) != 1:
        raise ValueError(f"{path} does not hold figures of the benchmarks: it needs one of {', '.join(KINDS)}")
    return figures
