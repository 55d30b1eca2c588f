"""What combinators share: names of children, checks of their params and state, sums of cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcnn.fusion import Segment
from funcnn.kernels.addition import add_all
from funcnn.layer import Layer
from funcnn.tree import Tree


def child_names(combinator: str, layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Return the names that a combinator gives its children; raise unless there are some and all are layers."""
    if not layers:
        raise ValueError(f"{combinator}: needs at least one layer")
    for layer in layers:
        if not isinstance(layer, Layer):
            got = f"a list; write {combinator}(*layers)" if isinstance(layer, list) else repr(layer)
            raise TypeError(f"{combinator}: arguments must be layers such as relu(), not {got}")
        if not isinstance(layer.name, str) or "/" in layer.name:
            raise ValueError(
                f"{combinator}: a layer's name is a str without '/', which separates names in paths; got {layer.name!r}"
            )
    return tuple(f"{i}_{layer.name}" for i, layer in enumerate(layers))


def check_children(combinator: str, names: tuple[str, ...], params: Tree, state: Tree) -> None:
    """Raise unless params and state are dicts with the names of the children as keys."""
    for what, given in (("params", params), ("state", state)):
        if type(given) is not dict or tuple(given) != names:  # seldom: the order of the keys may differ
            check_keys(combinator, what, given, names)


def check_keys(combinator: str, what: str, given: Tree, names: tuple[str, ...]) -> None:
    """Raise unless ``given`` is a dict with exactly the keys ``names``."""
    if not isinstance(given, dict):
        raise TypeError(f"{combinator}: {what} must be a dict with the keys {list(names)}, not {type(given).__name__}")
    if given.keys() != set(names):
        missing, extra = sorted(set(names) - given.keys()), sorted(given.keys() - set(names))
        raise ValueError(
            f"{combinator}: {what} must have exactly the keys {list(names)}; missing {missing}, unexpected {extra}"
        )


def first_with_leaves(segments: Sequence[Segment], params: Tree) -> int:
    """Return the index of the first segment that has parameters; the number of segments if none has."""
    for i, segment in enumerate(segments):
        for name in segment.names:
            if _has_leaves(params[name]):
                return i
    return len(segments)


def backward(segments: Sequence[Segment], all_saved: Sequence[Any], dy: Any, dparams: Tree, first: int) -> Any:
    """Pull dy back to the segment ``first``, of which dx is not needed, or with -1 to dx, which is returned then."""
    for k in range(len(segments) - 1, max(first, 0) - 1, -1):
        dy = segments[k].backward(all_saved[k], dy, dparams, k > first)
    return dy if first < 0 else None


def _has_leaves(params: Any) -> bool:
    return not isinstance(params, dict) or any(map(_has_leaves, params.values()))


def sum_cotangents(dxs: Sequence[Any]) -> Any:
    """Return the sum of several cotangents of one x.

    They are arrays, or tuples of arrays if x is one, or None, if x holds ids.
    """
    known = [dx for dx in dxs if dx is not None]
    if not known:
        return None
    if isinstance(known[0], tuple):
        return tuple(sum_cotangents(parts) for parts in zip(*known, strict=True))
    return add_all(known)
