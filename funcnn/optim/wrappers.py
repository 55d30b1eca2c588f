"""Optimizers around optimizers: gradients gathered, gradients refused, parameters held still."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer
from funcnn.tree import Tree


def accumulate(optimizer: Optimizer, steps: int) -> Optimizer:
    """Let the optimizer make one step on the mean of ``steps`` gradients: large batches in little memory.

    The updates between are 0.

    Parameters
    ----------
    optimizer : Optimizer
        It sees, and its schedule counts, one step in ``steps``.
    steps : int >= 1

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If ``steps`` is less than 1.

    Notes
    -----
    All gradients weigh the same, whatever the sizes of their batches. Gradients gathered at the end of an epoch wait in
    the state for the next one. What is to count steps of the parameters, such as `average_params`, belongs inside.

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> optimizer, params = accumulate(sgd(0.5), 2), {"w": np.array([1.0])}
    >>> first, opt_state = optimizer.update({"w": np.array([2.0])}, optimizer.init(params), params)
    >>> first, optimizer.update({"w": np.array([4.0])}, opt_state, params)[0]
    ({'w': array([0.])}, {'w': array([-1.5])})
    """
    if steps < 1:
        raise ValueError(f"accumulate: steps must be at least 1, got {steps}")
    steps = int(steps)

    def init(params: Tree) -> Tree:
        return {"inner": optimizer.init(params), "count": np.asarray(0), "sum": tree.map(np.zeros_like, params)}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        count = int(opt_state["count"]) + 1
        total = tree.map(np.add, opt_state["sum"], grads)
        zeros = tree.map(np.zeros_like, total)
        if count < steps:
            return zeros, {"inner": opt_state["inner"], "count": np.asarray(count), "sum": total}
        updates, inner = optimizer.update(tree.map(lambda g: g / steps, total), opt_state["inner"], params)
        return updates, {"inner": inner, "count": np.asarray(0), "sum": zeros}

    return Optimizer(init, update)


def apply_if_finite(optimizer: Optimizer, max_consecutive: int = 5) -> Optimizer:
    """Leave out gradients that are not finite: updates of 0, and the optimizer's state as it was.

    Parameters
    ----------
    optimizer : Optimizer
    max_consecutive : int >= 0
        How many may be left out in a row; the next one is an error. Parameters that overflow on every batch will not
        recover, and should not look as if they were trained.

    Returns
    -------
    Optimizer
        Its state counts how many were left out in a row, ``consecutive``, and in all, ``skipped``. The update raises a
        ValueError if that makes more than ``max_consecutive`` in a row.

    Raises
    ------
    ValueError
        If ``max_consecutive`` is negative.

    Notes
    -----
    optax's wrapper of this name lets gradients through after ``max_consecutive``. A loss that is not finite ends
    `funcnn.training.fit` before any optimizer sees its gradient; this is for gradients that overflow on their own.

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> optimizer, params = apply_if_finite(sgd(0.5)), {"w": np.array([1.0])}
    >>> updates, opt_state = optimizer.update({"w": np.array([np.inf])}, optimizer.init(params), params)
    >>> updates, int(opt_state["skipped"])
    ({'w': array([0.])}, 1)
    """
    if max_consecutive < 0:
        raise ValueError(f"apply_if_finite: max_consecutive must be >= 0, got {max_consecutive}")

    def init(params: Tree) -> Tree:
        return {"inner": optimizer.init(params), "consecutive": np.asarray(0), "skipped": np.asarray(0)}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        if all(np.isfinite(g).all() for g in tree.leaves(grads)):
            updates, inner = optimizer.update(grads, opt_state["inner"], params)
            return updates, {"inner": inner, "consecutive": np.asarray(0), "skipped": opt_state["skipped"]}
        consecutive = int(opt_state["consecutive"]) + 1
        if consecutive > max_consecutive:
            where = [path for path, g in tree.flatten(grads).items() if not np.isfinite(g).all()]
            raise ValueError(f"apply_if_finite: {consecutive} gradients in a row were not finite, the last at {where}")
        skipped = np.asarray(int(opt_state["skipped"]) + 1)
        counts = {"consecutive": np.asarray(consecutive), "skipped": skipped}
        return tree.map(np.zeros_like, grads), {"inner": opt_state["inner"], **counts}

    return Optimizer(init, update)


def freeze(optimizer: Optimizer, frozen: Callable[[str], bool]) -> Optimizer:
    """Hold some parameters still: the optimizer sees the others alone, as if there were no more.

    The updates of frozen leaves are 0. They have no place in the optimizer's state, their gradients none in a norm, and
    they do not decay.

    Parameters
    ----------
    optimizer : Optimizer
    frozen : callable
        ``frozen(path) -> bool``: the leaves to hold still. Paths are those of `funcnn.tree.paths`, "0_conv2d/w".

    Returns
    -------
    Optimizer
        Its state is the optimizer's own, for the leaves that are not frozen.

    Notes
    -----
    An `average_params` inside averages only what moves; behind it in a chain, all leaves.

    Examples
    --------
    >>> from funcnn.optim import chain, clip_by_global_norm, sgd
    >>> optimizer = freeze(chain(clip_by_global_norm(1.0), sgd(0.5)), lambda path: path.startswith("0_"))
    >>> params = {"0_conv2d": {"w": np.array([1.0])}, "1_dense": {"w": np.array([1.0])}}
    >>> grads = {"0_conv2d": {"w": np.array([100.0])}, "1_dense": {"w": np.array([0.5])}}
    >>> optimizer.update(grads, optimizer.init(params), params)[0]
    {'0_conv2d': {'w': array([0.])}, '1_dense': {'w': array([-0.25])}}
    """

    def init(params: Tree) -> Tree:
        return optimizer.init(_thawed(params, frozen))

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        updates, opt_state = optimizer.update(_thawed(grads, frozen), opt_state, _thawed(params, frozen))
        moved = tree.flatten(updates)
        still = {path: np.zeros_like(g) for path, g in tree.flatten(grads).items() if frozen(path)}
        return tree.unflatten({**moved, **still}, like=params), opt_state

    return Optimizer(init, update)


def _thawed(part: Tree, frozen: Callable[[str], bool], above: str = "") -> Tree:
    """Return the tree without the leaves that are frozen."""
    kept: Tree = {}
    for key, child in part.items():
        path = above + key
        if isinstance(child, dict):
            kept[key] = _thawed(child, frozen, f"{path}/")
        elif not frozen(path):
            kept[key] = child
    return kept
