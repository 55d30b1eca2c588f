"""Weight decay, and the choice of leaves that decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, check_range
from funcnn.tree import Tree

Mask: TypeAlias = Callable[[str], bool]


def weights_only(path: str) -> bool:
    """Return whether a path ends in a weight ``w``, not in a bias, scale or slope: the usual mask for weight decay.

    Parameters
    ----------
    path : str
        As in `funcnn.tree.paths`.

    Returns
    -------
    bool

    Examples
    --------
    >>> weights_only("0_conv2d/w"), weights_only("0_conv2d/b"), weights_only("1_batch_norm/scale")
    (True, False, False)
    """
    return path.rpartition("/")[2] == "w"


def add_weight_decay(weight_decay: float, mask: Mask | None = None) -> Optimizer:
    """Add ``weight_decay`` times the parameters to the gradients.

    In a chain before an optimizer, this is L2 regularisation: the ``weight_decay`` of `sgd` and `adam`, but with a
    mask. `adamw`, `lamb` and `lion` have decoupled weight decay and a ``mask`` argument.

    Parameters
    ----------
    weight_decay : float >= 0
    mask : callable, optional
        Which leaves decay; by default all.

    Examples
    --------
    >>> import numpy as np
    >>> params, grads = {"w": np.array([10.0]), "b": np.array([10.0])}, {"w": np.array([1.0]), "b": np.array([1.0])}
    >>> add_weight_decay(0.5, mask=weights_only).update(grads, {}, params)[0]
    {'w': array([6.]), 'b': array([1.])}
    """
    weight_decay = check_range("add_weight_decay", "weight_decay", weight_decay)

    def init(params: Tree) -> Tree:
        return {}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return add_params(grads, weight_decay, params, mask), opt_state

    return Optimizer(init, update, "add_weight_decay")


def add_params(grads: Tree, factor: float, params: Tree, mask: Mask | None = None) -> Tree:
    """Return grads + factor * params, where the mask is true."""
    if not factor:
        return grads
    if mask is None:
        return tree.map(lambda g, p: g + factor * p, grads, params)
    return tree.map(lambda g, p, decay: g + factor * p if decay else g, grads, params, where_decay(mask, params))


def where_decay(mask: Mask, params: Tree) -> Tree:
    """Return a tree that says of each parameter whether the mask is true."""
    return tree.unflatten({path: mask(path) for path in tree.paths(params)}, like=params)
