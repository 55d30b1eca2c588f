"""Wrappers around optimizers: accumulate gradients, skip gradients that are not finite, freeze parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from funcnn import checks, tree
from funcnn.optim.optimizer import Optimizer, name_around
from funcnn.tree import Tree


def accumulate(optimizer: Optimizer, steps: int) -> Optimizer:
    """Pass the mean of ``steps`` gradients to the optimizer, for large batches in little memory.

    The updates of the other steps are 0.

    Parameters
    ----------
    optimizer : Optimizer
        It is called, and its schedule advances, once in ``steps`` steps.
    steps : int >= 1

    Raises
    ------
    TypeError, ValueError
        If ``steps`` is not an int >= 1.

    Notes
    -----
    All gradients have the same weight, also if their batches differ in size. Gradients accumulated at the end of an
    epoch stay in the state for the next epoch. Transformations that count updates of the parameters, such as
    `average_params`, must be inside: ``accumulate(chain(sgd(0.1), average_params(0.9)), 2)``.

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> optimizer, params = accumulate(sgd(0.5), 2), {"w": np.array([1.0])}
    >>> first, opt_state = optimizer.update({"w": np.array([2.0])}, optimizer.init(params), params)
    >>> first, optimizer.update({"w": np.array([4.0])}, opt_state, params)[0]
    ({'w': array([0.])}, {'w': array([-1.5])})
    """
    checks.count("accumulate", "steps", steps)

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

    return Optimizer(init, update, name_around("accumulate", optimizer))


def apply_if_finite(optimizer: Optimizer, max_consecutive: int = 5) -> Optimizer:
    """Skip gradients that are not finite: the updates are 0, and the optimizer's state does not change.

    Parameters
    ----------
    optimizer : Optimizer
    max_consecutive : int >= 0
        The number of gradients in a row that are skipped; one more is an error, because parameters that overflow on
        every batch will not recover.

    Returns
    -------
    Optimizer
        Its state counts the skipped gradients: ``consecutive`` in a row, ``skipped`` in total. ``update`` raises a
        ValueError after more than ``max_consecutive`` in a row.

    Raises
    ------
    ValueError
        If ``max_consecutive`` is negative.

    Notes
    -----
    optax's wrapper of this name applies gradients after ``max_consecutive``. If the loss is not finite,
    `funcnn.training.fit` raises an error before it calls the optimizer; this wrapper is for finite losses whose
    gradients overflow.

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

    return Optimizer(init, update, name_around("apply_if_finite", optimizer))


def freeze(optimizer: Optimizer, frozen: Callable[[str], bool]) -> Optimizer:
    """Do not train some of the parameters: the optimizer sees only the others.

    The updates of frozen leaves are 0. They are not in the optimizer's state, do not count in a norm of the gradients,
    and do not decay.

    Parameters
    ----------
    optimizer : Optimizer
    frozen : callable
        ``frozen(path) -> bool``, a mask of the leaves that are not trained.

    Returns
    -------
    Optimizer
        Its state is that of ``optimizer`` for the leaves that are not frozen.

    Notes
    -----
    An `average_params` inside averages only the trained leaves; after ``freeze`` in a chain, it averages all leaves.

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
        tree.paths(params)  # raises an error if two leaves have the same path, which ``frozen`` could not tell apart
        return optimizer.init(_without_frozen(params, frozen))

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        trained_grads, trained_params = _without_frozen(grads, frozen), _without_frozen(params, frozen)
        updates, opt_state = optimizer.update(trained_grads, opt_state, trained_params)
        zeros = {path: np.zeros_like(g) for path, g in tree.flatten(grads).items() if frozen(path)}
        return tree.unflatten({**tree.flatten(updates), **zeros}, like=params), opt_state

    return Optimizer(init, update, name_around("freeze", optimizer))


def _without_frozen(params: Tree, frozen: Callable[[str], bool], prefix: str = "") -> Tree:
    """Return the tree without its frozen leaves. ``prefix`` is the path of ``params``, with a slash at its end."""
    trained: Tree = {}
    for key, child in params.items():
        path = prefix + key
        if isinstance(child, dict):
            trained[key] = _without_frozen(child, frozen, f"{path}/")
        elif not frozen(path):
            trained[key] = child
    return trained
