"""Sums of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from funcnn.kernels.selection import compilable
from funcnn.tree import Array


def add_all(terms: Sequence[Any]) -> Any:
    """Return the sum of one or more terms, added up in their order. It may be the term itself if there is one."""
    return reduce(_add, terms)


def _add(x: Any, y: Any) -> Any:
    return add(x, y) if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) else x + y


@compilable
def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return np.asarray(x + y)
