"""Trees: nested dicts whose leaves are arrays.

Parameters, gradients, layer state and optimizer state are all trees. Two trees have the same structure when their key
sets are equal at every level; the order of the keys does not matter. Functions of several trees raise a ValueError that
names the first path at which the structures differ. Functions that name leaves by their paths, or list them, raise a
ValueError if two leaves have the same path, which only a key with a ``/``, an empty key, or a number makes possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Tree: TypeAlias = dict[str, Any]

__all__ = ["Array", "Tree", "flatten", "leaves", "map", "norm", "paths", "ravel", "read_only", "size", "unflatten"]


def map(f: Callable[..., Any], *trees: Any) -> Any:
    """Apply ``f`` leaf by leaf to trees of the same structure.

    Parameters
    ----------
    f : callable
        Takes one leaf of each tree, returns the new leaf.
    *trees : tree
        At least one. A bare leaf is a tree, too.

    Returns
    -------
    tree
        Of the same structure, with the keys in the first tree's order.

    Raises
    ------
    ValueError
        If the trees' key sets differ; the message names the path and the keys.

    Examples
    --------
    >>> map(lambda p, g: p - 0.5 * g, {"a": {"w": 3.0}, "b": 1.0}, {"b": 2.0, "a": {"w": 4.0}})
    {'a': {'w': 1.0}, 'b': 0.0}
    """
    try:
        if len(trees) == 1:
            return _map_one(f, *trees)
        return _map_two(f, *trees) if len(trees) == 2 else _map(f, trees[0], trees[1:])
    except _StructureError:
        raise ValueError(_difference(trees, "")) from None


class _StructureError(Exception):
    """Two trees differ in structure. `_difference` finds the path afterwards, so that `_map` need not track it."""


# A training step mostly maps over one or two trees, often so small that a general loop takes longer than the
# arithmetic. Hence a specialised loop for each of these two cases.
def _map_one(f: Callable[[Any], Any], first: Any) -> Any:
    if not isinstance(first, dict):
        return f(first)
    mapped: Tree = {}
    for key, child in first.items():
        if isinstance(child, dict):
            mapped[key] = _map_one(f, child) if child else {}
        else:
            mapped[key] = f(child)
    return mapped


def _map_two(f: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    if not isinstance(first, dict):
        if isinstance(second, dict):
            raise _StructureError
        return f(first, second)
    # the key sets are equal if there are equally many keys, and each of the first dict's is in the second
    if not isinstance(second, dict) or len(first) != len(second):
        raise _StructureError
    mapped: Tree = {}
    for key, child in first.items():
        try:
            other = second[key]
        except KeyError:
            raise _StructureError from None
        if not isinstance(child, dict):
            if isinstance(other, dict):
                raise _StructureError
            mapped[key] = f(child, other)
        elif child:
            mapped[key] = _map_two(f, child, other)
        elif isinstance(other, dict) and not other:
            mapped[key] = {}
        else:
            raise _StructureError
    return mapped


def _map(f: Callable[..., Any], first: Any, others: Sequence[Any]) -> Any:
    if not isinstance(first, dict):
        for other in others:
            if isinstance(other, dict):
                raise _StructureError
        return f(first, *others)
    for other in others:
        if not isinstance(other, dict) or len(other) != len(first):
            raise _StructureError
    mapped: Tree = {}
    for key, child in first.items():
        try:
            children = [other[key] for other in others]
        except KeyError:
            raise _StructureError from None
        mapped[key] = _map(f, child, children)
    return mapped


def _difference(trees: tuple[Any, ...], path: str) -> str:
    """Return a message that says where and how the trees first differ, or an empty string if they do not."""
    first, where = trees[0], f"trees differ at {path or 'the root'}"
    for k, other in enumerate(trees[1:], start=1):
        if isinstance(first, dict) != isinstance(other, dict):
            kinds = ["a dict" if isinstance(t, dict) else "a leaf" for t in (first, other)]
            return f"{where}: {kinds[0]} in tree 0, {kinds[1]} in tree {k}"
        if isinstance(first, dict) and other.keys() != first.keys():
            missing, extra = sorted(first.keys() - other.keys()), sorted(other.keys() - first.keys())
            return f"{where}: tree {k} lacks {missing} and has unexpected keys {extra}"
    children = first if isinstance(first, dict) else {}
    found = (_difference(tuple(t[key] for t in trees), _join(path, key)) for key in children)
    return next(filter(None, found), "")


def _join(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def flatten(tree: Any) -> dict[str, Any]:
    """Return ``{path: leaf}``. A path is the keys from the root to the leaf, joined by ``/``.

    Keys are sorted at every level, so trees of the same structure give the same paths in the same order.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    dict of leaves

    Examples
    --------
    >>> flatten({"0_dense": {"w": 1, "b": 2}, "1_relu": {}})
    {'0_dense/b': 2, '0_dense/w': 1}
    """
    flat: dict[str, Any] = {}
    _flatten(tree, "", flat)
    return flat


def _flatten(tree: Any, path: str, flat: dict[str, Any]) -> None:
    if isinstance(tree, dict):
        for key in sorted(tree):
            _flatten(tree[key], _join(path, key), flat)
    elif path in flat:
        raise ValueError(f"two leaves of a tree have the same path {path!r}; use keys without '/'")
    else:
        flat[path] = tree


def unflatten(flat: dict[str, Any], like: Any) -> Any:
    """Build a tree of the structure of ``like`` from ``{path: leaf}``: the inverse of `flatten`.

    ``like`` is needed because ``flat`` does not record dicts without leaves.

    Parameters
    ----------
    flat : dict of leaves
    like : tree

    Returns
    -------
    tree
        With the keys in the order of ``like``.

    Raises
    ------
    ValueError
        If a path of ``like`` is missing in ``flat``, or ``flat`` has a path that ``like`` lacks.

    Examples
    --------
    >>> unflatten({"0_dense/b": 2, "0_dense/w": 1}, like={"0_dense": {"w": 0, "b": 0}, "1_relu": {}})
    {'0_dense': {'w': 1, 'b': 2}, '1_relu': {}}
    """
    expected = flatten(like).keys()
    if expected != flat.keys():
        raise ValueError(
            f"leaves missing: {sorted(expected - flat.keys())}, leaves not expected: {sorted(flat.keys() - expected)}"
        )
    return _unflatten(flat, like, "")


def _unflatten(flat: dict[str, Any], like: Any, path: str) -> Any:
    if not isinstance(like, dict):
        return flat[path]
    return {key: _unflatten(flat, child, _join(path, key)) for key, child in like.items()}


def leaves(tree: Any) -> list[Any]:
    """Return the leaves in the order of `paths`.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    list

    Examples
    --------
    >>> leaves({"w": 1, "b": 2})
    [2, 1]
    """
    return list(flatten(tree).values())


def read_only(tree: Any) -> Any:
    """Return a tree in new dicts, with the same arrays, which nothing can be written into from now on.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    tree

    Examples
    --------
    >>> params = read_only({"w": np.zeros(2)})
    >>> params["w"].flags.writeable
    False
    """

    def protected(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
        return leaf

    return map(protected, tree)


def paths(tree: Any) -> list[str]:
    """Return the paths of the leaves, with the keys sorted at every level; see `flatten`.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    list of str

    Examples
    --------
    >>> paths({"0_dense": {"w": 1, "b": 2}})
    ['0_dense/b', '0_dense/w']
    """
    return list(flatten(tree))


def size(tree: Any) -> int:
    """Return the total number of array elements in all leaves.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    int

    Examples
    --------
    >>> size({"w": np.zeros((3, 2)), "b": np.zeros(2)})
    8
    """
    return sum(np.size(leaf) for leaf in leaves(tree))


_SMALLEST_SQUARE = 1e-30  # in float32, below it the squares of the smaller leaves may have become 0


def norm(tree: Any) -> float:
    """Return the Euclidean norm over all elements of all leaves, also where their squares overflow or underflow.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    float

    Examples
    --------
    >>> norm({"w": np.array([3.0]), "b": np.array([4.0])})
    5.0
    """
    arrays = leaves(tree)
    squares = sum(float(np.vdot(leaf, leaf).real) for leaf in arrays)
    if _SMALLEST_SQUARE < squares < math.inf or not arrays:
        return math.sqrt(squares)
    largest = max(float(np.max(abs(np.asarray(leaf)), initial=0)) for leaf in arrays)
    if not 0 < largest < math.inf:
        return largest
    unit = [np.ravel(leaf) / largest for leaf in arrays]
    return largest * math.sqrt(sum(float(np.vdot(leaf, leaf).real) for leaf in unit))


def ravel(tree: Any) -> tuple[Array, Callable[[Array], Any]]:
    """Concatenate all leaves into one vector, in the order of `leaves`.

    Parameters
    ----------
    tree : tree

    Returns
    -------
    vector : array (size,)
        Its dtype is the leaves' common dtype by NumPy's promotion.
    unravel : callable
        ``unravel(v) -> tree`` turns a vector of the same length into a tree of the structure of ``tree``. If v has the
        dtype of ``vector``, the leaves get their own dtypes back; any other dtype (such as complex) is kept.

    Raises
    ------
    ValueError
        Raised by ``unravel`` if the vector has another length.

    Examples
    --------
    >>> vector, unravel = ravel({"w": np.ones((2, 2)), "b": np.zeros(1)})
    >>> vector
    array([0., 1., 1., 1., 1.])
    >>> unravel(2 * vector)["w"]
    array([[2., 2.],
           [2., 2.]])
    """
    flat = {path: np.asarray(leaf) for path, leaf in flatten(tree).items()}
    vector = np.concatenate([leaf.ravel() for leaf in flat.values()]) if flat else np.zeros(0)

    def unravel(v: Array) -> Any:
        if v.shape != vector.shape:
            raise ValueError(f"unravel: the vector must have shape {vector.shape}, got {v.shape}")
        parts, start = {}, 0
        for path, leaf in flat.items():
            part = v[start : start + leaf.size].reshape(leaf.shape)
            parts[path] = part.astype(leaf.dtype) if v.dtype == vector.dtype else part
            start += leaf.size
        return unflatten(parts, tree)

    return vector, unravel
