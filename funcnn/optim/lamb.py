"""LAMB."""

from __future__ import annotations

from funcnn import tree
from funcnn.optim.adam import adamw, check_adam
from funcnn.optim.optimizer import Optimizer, current_rate, next_rate, rate_state
from funcnn.optim.schedules import Schedule
from funcnn.optim.weight_decay import Mask
from funcnn.tree import Array, Tree


def lamb(
    learning_rate: float | Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """LAMB, for large batches: each leaf steps in AdamW's direction, by learning_rate times the norm of the leaf.

    Parameters
    ----------
    learning_rate : float or schedule
    b1, b2, eps : float
        As in `adam`.
    weight_decay : float
    mask : callable, optional
        Which leaves decay; by default all. The norms of the steps are adapted in all leaves.

    Notes
    -----
    With m' and v' as in `adam`, r = m' / (sqrt(v') + eps) + weight_decay * p, which is the step of `adamw` with a
    learning rate of 1;  p <- p - learning_rate * |p| / |r| * r for each leaf, or - learning_rate * r where |p| or |r|
    is 0. Y. You et al., Large Batch Optimization for Deep Learning, 2019 (arXiv:1904.00962).

    Examples
    --------
    >>> import numpy as np
    >>> optimizer, params = lamb(0.1), {"w": np.array([3.0, 4.0])}
    >>> updates, _ = optimizer.update({"w": np.array([5.0, -0.01])}, optimizer.init(params), params)
    >>> updates["w"].round(3), round(tree.norm(updates), 6)
    (array([-0.354,  0.354]), 0.5)
    """
    b1, b2, eps, weight_decay = check_adam("lamb", learning_rate, b1, b2, eps, weight_decay)
    unscaled = adamw(1.0, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask)

    def init(params: Tree) -> Tree:
        return {**rate_state(learning_rate, 0), "adamw": unscaled.init(params)}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = current_rate(opt_state)

        def scaled(u: Array, p: Array) -> Array:
            p_norm, u_norm = tree.norm(p), tree.norm(u)
            return u * (rate * (p_norm / u_norm if p_norm and u_norm else 1.0))

        directions, adamw_state = unscaled.update(grads, opt_state["adamw"], params)
        return tree.map(scaled, directions, params), {**next_rate(learning_rate, opt_state), "adamw": adamw_state}

    return Optimizer(init, update, "lamb")
