"""Checks of the models' arguments."""

from __future__ import annotations

from typing import Any


def check_sequence(where: str, value: Any, depth: int = 1) -> None:
    """Raise a TypeError unless an option is a sequence, with ``depth`` 2 one of sequences."""
    if isinstance(value, str) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        raise TypeError(f"{where} must be a sequence such as (16, 32), not {value!r}")
    for i, entry in enumerate(value if depth > 1 else ()):
        check_sequence(f"{where}[{i}]", entry, depth - 1)
