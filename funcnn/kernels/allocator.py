"""Tuning of the memory allocator: freed memory is kept for the next training step instead of returned to the system."""

from __future__ import annotations

from functools import cache

import numpy as np

_THRESHOLD_MAX = 1 << 25  # bytes: glibc's limit on 64-bit systems; freeing larger blocks does not change its threshold


@cache
def keep_freed_memory() -> None:
    """Let glibc's allocator keep up to 64 MB of freed memory, from the first call on.

    A training step frees all its arrays, and the next one allocates arrays of the same sizes. By default the allocator
    returns the larger ones to the system immediately, and then every page of a new array causes a page fault, which
    takes up to a third of a step's time. glibc keeps freed blocks up to the size of the largest one freed so far, so
    this function allocates a large block and frees it; it never touches the block, which therefore uses no memory.
    Other allocators and memory in use are not affected. `funcnn.gradients.value_and_grad` and
    `funcnn.training.predict` call this function, importing funcnn does not.
    """
    np.empty(_THRESHOLD_MAX - (1 << 16), np.uint8)
