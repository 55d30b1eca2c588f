"""What the metadata of an exported network say of its inputs: what divides pixels before the graph takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping


def of_full_scale(full_scale: float) -> dict[str, str]:
    """Return the entry of the metadata of a network whose images are parts of a full scale.

    Examples
    --------
    >>> of_full_scale(255.0)
    {'inputs': 'pixels divided by 255'}
    """
    return {"inputs": f"pixels divided by {full_scale:g}"}


def full_scale_of(metadata: Mapping[str, str]) -> float | None:
    """Return the full scale that `of_full_scale` wrote; None if there is none.

    Examples
    --------
    >>> full_scale_of(of_full_scale(255.0)), full_scale_of({})
    (255.0, None)
    """
    found = re.fullmatch(r"pixels divided by (\d+(?:\.\d+)?(?:e[+-]?\d+)?)", metadata.get("inputs", ""))
    return float(found[1]) or None if found else None
