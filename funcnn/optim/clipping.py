"""Limits on gradients."""

from __future__ import annotations

from funcnn import tree
from funcnn.optim.optimizer import Optimizer
from funcnn.tree import Tree


def clip_by_global_norm(max_norm: float) -> Optimizer:
    """Scale all gradients together so that their Euclidean norm is at most ``max_norm``.

    R. Pascanu et al., On the difficulty of training recurrent neural networks, 2012 (arXiv:1211.5063).

    Parameters
    ----------
    max_norm : float > 0

    Returns
    -------
    Optimizer
        To be put before another in `funcnn.optim.chain`.

    Raises
    ------
    ValueError
        If a hyperparameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> clip = clip_by_global_norm(1.0)
    >>> clip.update({"w": np.array([3.0]), "b": np.array([4.0])}, {}, {})[0]
    {'w': array([0.6]), 'b': array([0.8])}
    """
    if not max_norm > 0:
        raise ValueError(f"clip_by_global_norm: max_norm must be > 0, got {max_norm}")

    def init(params: Tree) -> Tree:
        return {}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        norm = tree.norm(grads)
        if norm <= max_norm:
            return grads, opt_state
        return tree.map(lambda g: g * (max_norm / norm), grads), opt_state

    return Optimizer(init, update)
