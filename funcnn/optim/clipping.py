"""Gradient clipping. In a `funcnn.optim.chain`, put these before the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, number
from funcnn.tree import Array, Tree


def clip_by_value(limit: float) -> Optimizer:
    """Clip each entry of the gradients to [-limit, limit].

    Parameters
    ----------
    limit : float > 0

    Examples
    --------
    >>> clip_by_value(1.0).update({"w": np.array([3.0, -0.5])}, {}, {})[0]
    {'w': array([ 1. , -0.5])}
    """
    limit = _positive("clip_by_value", "limit", limit)

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return tree.map(lambda g: np.clip(g, -limit, limit), grads), opt_state

    return _stateless("clip_by_value", update)


def clip_by_norm(max_norm: float) -> Optimizer:
    """Scale each leaf of the gradients whose Euclidean norm exceeds ``max_norm`` down to that norm.

    Parameters
    ----------
    max_norm : float > 0

    Examples
    --------
    >>> clip_by_norm(1.0).update({"w": np.array([3.0, 4.0]), "b": np.array([0.5])}, {}, {})[0]
    {'w': array([0.6, 0.8]), 'b': array([0.5])}
    """
    max_norm = _positive("clip_by_norm", "max_norm", max_norm)

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return tree.map(lambda g: _limit_norm(g, max_norm), grads), opt_state

    return _stateless("clip_by_norm", update)


def clip_by_global_norm(max_norm: float) -> Optimizer:
    """Scale all gradients by one factor if their Euclidean norm over all leaves exceeds ``max_norm``.

    R. Pascanu et al., On the difficulty of training recurrent neural networks, 2012 (arXiv:1211.5063).

    Parameters
    ----------
    max_norm : float > 0

    Examples
    --------
    >>> clip = clip_by_global_norm(1.0)
    >>> clip.update({"w": np.array([3.0]), "b": np.array([4.0])}, {}, {})[0]
    {'w': array([0.6]), 'b': array([0.8])}
    """
    max_norm = _positive("clip_by_global_norm", "max_norm", max_norm)

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return _limit_norm(grads, max_norm), opt_state

    return _stateless("clip_by_global_norm", update)


def adaptive_clip(clipping: float = 0.01, eps: float = 1e-3) -> Optimizer:
    """Scale the gradient of each unit so that its norm is at most ``clipping`` times the norm of the unit's weights.

    Parameters
    ----------
    clipping : float > 0
    eps : float > 0
        Lower bound on the norm of a unit's weights, so that units that start at 0 can be trained.

    Notes
    -----
    A unit is all entries of a weight (..., in, out) with the same last index, which feed one output; a bias or another
    vector is a single unit. (For `funcnn.ops.conv_transpose`, the last index of the weight is the input.) A. Brock et
    al., High-Performance Large-Scale Image Recognition Without Normalization, 2021 (arXiv:2102.06171). The paper does
    not clip the last linear layer.

    Examples
    --------
    >>> params, grads = {"w": np.array([[3.0, 0.0], [4.0, 1.0]])}, {"w": np.array([[0.0, 0.0], [2.0, 0.1]])}
    >>> adaptive_clip(0.2).update(grads, {}, params)[0]
    {'w': array([[0. , 0. ], [1. , 0.1]])}
    """
    clipping, eps = _positive("adaptive_clip", "clipping", clipping), _positive("adaptive_clip", "eps", eps)

    def clipped(g: Array, p: Array) -> Array:
        limit = clipping * np.maximum(_unit_norms(p), eps)
        return g * (limit / np.maximum(_unit_norms(g), limit))

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return tree.map(clipped, grads, params), opt_state

    return _stateless("adaptive_clip", update)


def _unit_norms(w: Array) -> Array:
    axes = tuple(range(w.ndim - 1)) if w.ndim > 1 else None
    norms = np.sqrt((w * w).sum(axis=axes, keepdims=True))
    if np.isfinite(norms).all():
        return norms
    wide = w.astype(np.float64)  # finite squares, if w is finite
    return np.sqrt((wide * wide).sum(axis=axes, keepdims=True)).astype(w.dtype)


def _limit_norm(grads: Any, max_norm: float) -> Any:
    """Scale a tree, or a single leaf, down to ``max_norm`` if its norm is larger."""
    norm = tree.norm(grads)
    return grads if norm <= max_norm else tree.map(lambda g: g * (max_norm / norm), grads)


def _stateless(name: str, update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]) -> Optimizer:
    def init(params: Tree) -> Tree:
        return {}

    return Optimizer(init, update, name)


def _positive(clip: str, name: str, value: float) -> float:
    if not number(clip, name, value) > 0:
        raise ValueError(f"{clip}: {name} must be > 0, got {value}")
    return float(value)
