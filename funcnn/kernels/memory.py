"""Keeping freed memory for the next step, instead of giving it back to the system and asking for it again."""

from __future__ import annotations

import numpy as np

_THRESHOLD_MAX = 1 << 25  # glibc's, on 64-bit systems: larger blocks do not count


def keep_freed_memory() -> None:
    """Let glibc's allocator keep up to 64 MB of freed memory for the process.

    A training step frees all its arrays, and the next one allocates the same again. By default the allocator returns
    the larger ones to the system at once, and every page of a new array is then a page fault: up to a third of a step's
    time. It learns to keep them from the largest block that was ever freed, so one is freed here, never touched.
    Other allocators are not affected, nor is memory in use.
    """
    np.empty(_THRESHOLD_MAX - (1 << 16), np.uint8)
