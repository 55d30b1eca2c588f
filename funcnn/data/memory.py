"""How much memory there is."""

from __future__ import annotations

import math
from pathlib import Path

__all__ = ["available_memory"]


def available_memory() -> float:
    """Return how many bytes can be allocated without swapping, as far as the system tells (Linux); else infinity.

    Examples
    --------
    >>> available_memory() > 0
    True
    """
    available = math.inf
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        return available if limit == "max" else min(available, float(limit) - float(used))
    except (OSError, ValueError, LookupError, StopIteration):
        return available
