"""Why training diverged: the error of a step whose loss or parameters are not finite.

The usual causes are looked for in the order in which one follows from another: data that are not finite, an
augmentation that makes them so, parameters that are not finite, and only then the learning rate and the scale of the
data. Nothing here is computed while training goes well. Sources are read by blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from funcnn import tree
from funcnn.data.lazy import Source, as_source, blocks
from funcnn.tree import Array, Tree

_LARGE = 100  # the largest value of data that nobody would call unscaled


class DivergenceError(ValueError):
    """Training diverged although the data were finite: mostly, the learning rate was too high."""


def diverged(
    what: str,
    where: str,
    data: Mapping[str, Source | None],
    *,
    changed: Mapping[str, Source] | None = None,
    numbers: Array | None = None,
    trees: Mapping[str, Tree] | None = None,
) -> ValueError:
    """Return the error of a step.

    Parameters
    ----------
    what, where : str
        What is not finite, and at which epoch and step.
    data : dict of array or source
        All that the caller gave, by name, not only the step's batch: an example of weight 0 leaves the loss of its
        batch finite but not the gradient. None is skipped.
    changed : dict of array or source, optional
        The batch after the augmentation.
    numbers : array of int, optional
        The indices of the batch's examples in ``data``; by default 0, 1, ...
    trees : dict of tree, optional
        The parameters and the state before the step, by name.

    Returns
    -------
    ValueError
        A `DivergenceError` unless an array of the data has entries that are not finite.
    """
    cause = _first_bad(data) or _first_bad(changed or {}, numbers)
    if cause:
        return ValueError(f"training diverged: {what} {where}: {cause}")
    already = _bad_leaf(trees or {})
    return DivergenceError(f"training diverged: {what} {where}{already}; try a lower learning rate{_unscaled(data)}")


def _first_bad(arrays: Mapping[str, Source | None], numbers: Array | None = None) -> str | None:
    """Say which array is the first that is not finite, at which example, with which value; None if all are finite."""
    for name, array in arrays.items():
        count, first = 0, None
        for start, rows in _rows(array):
            bad = ~np.isfinite(rows).all(axis=1)
            if first is None and bad.any():
                i = int(bad.argmax())
                first = start + i, rows[i][~np.isfinite(rows[i])][0]
            count += int(bad.sum())
        if first is not None:
            others = f", and values that are not finite at {count - 1} more" if count > 1 else ""
            return f"{name} has {first[1]} at example {first[0] if numbers is None else numbers[first[0]]}{others}"
    return None


def _bad_leaf(trees: Mapping[str, Tree]) -> str:
    """Say which array was not finite before the step."""
    for name, arrays in trees.items():
        for path, leaf in tree.flatten(arrays).items():
            if np.asarray(leaf).dtype.kind in "fc" and not np.isfinite(leaf).all():
                return f": the {name} had values that are not finite at {path} before this step"
    return ""


def _unscaled(arrays: Mapping[str, Source | None]) -> str:
    """Advise to scale the first array that has large values."""
    for name, array in arrays.items():
        largest, example = 0, 0
        for start, rows in _rows(array):
            sizes = abs(rows).max(axis=1)
            if sizes.max() > largest:
                largest, example = sizes.max(), start + int(sizes.argmax())
        if largest > _LARGE:
            return f", or scale {name}, which is as large as {largest:g} at example {example}"
    return ""


def _rows(array: Source | None) -> Iterator[tuple[int, Array]]:
    """Yield numbers as one row per example, by blocks, each with the index of its first; nothing if there are none."""
    source = as_source(array)
    if array is not None and source.shape:
        for start, block in blocks(source):
            if block.size and block.dtype.kind in "iufc":
                yield start, block.reshape(len(block), -1)
