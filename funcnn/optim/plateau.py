"""Reduction of the learning rate when a metric stops improving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from funcnn import checks
from funcnn.optim.optimizer import check_range
from funcnn.tree import Tree


class Plateau(NamedTuple):
    """A learning rate that depends on a metric: two pure functions.

    Attributes
    ----------
    init : callable
        ``init(rate) -> state``, a dict of arrays; ``state["learning_rate"]`` is the rate.
    update : callable
        ``update(state, value) -> state``, where ``value`` is the metric, such as an epoch's loss.

    Examples
    --------
    See `reduce_on_plateau`.
    """

    init: Callable[[float], Tree]
    update: Callable[[Tree, float], Tree]


def reduce_on_plateau(
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    mode: Literal["min", "max"] = "min",
    cooldown: int = 0,
    min_rate: float = 0.0,
) -> Plateau:
    """Multiply the learning rate by ``factor`` when a metric has not improved for more than ``patience`` updates.

    Parameters
    ----------
    factor : float in [0, 1)
    patience : int >= 0
    threshold : float in [0, 1)
        A value counts as an improvement if it is better than the best so far by more than this fraction of the best.
    mode : "min" or "max"
        Whether lower or higher values are better.
    cooldown : int >= 0
        The number of updates after a reduction that do not count towards ``patience``.
    min_rate : float >= 0
        Lower bound on the learning rate.

    Returns
    -------
    Plateau

    Notes
    -----
    This is PyTorch's ReduceLROnPlateau with its relative threshold, which is meant for values above 0. PyTorch also
    leaves the rate unchanged if it would change by less than 1e-8. NaN does not count as an improvement.

    Examples
    --------
    The caller sets the rate in the optimizer's state, in a loop that trains one epoch at a time:

    >>> from funcnn import data, losses, models, training
    >>> from funcnn.optim import set_learning_rate, sgd
    >>> x, labels = data.digits()
    >>> model, optimizer = models.mlp(), sgd(0.2, momentum=0.9)
    >>> plateau = reduce_on_plateau(factor=0.5, patience=0, threshold=0.5)
    >>> plateau_state, train_state = plateau.init(0.2), training.start(model, optimizer, x.shape[1:], key=(0,))
    >>> for epochs in range(1, 5):
    ...     loss = losses.softmax_cross_entropy
    ...     (epoch,) = training.fit(model, loss, optimizer, x, labels, epochs=epochs, resume=train_state)
    ...     plateau_state = plateau.update(plateau_state, epoch.loss)
    ...     opt_state = set_learning_rate(epoch.train_state.opt_state, plateau_state["learning_rate"])
    ...     train_state = epoch.train_state._replace(opt_state=opt_state)
    >>> float(plateau_state["learning_rate"])  # the fourth epoch did not halve the loss again
    0.1
    """
    name = "reduce_on_plateau"
    factor = check_range(name, "factor", factor, 1.0)
    threshold = check_range(name, "threshold", threshold, 1.0)
    min_rate = check_range(name, "min_rate", min_rate)
    checks.count(name, "patience", patience, least=0)
    checks.count(name, "cooldown", cooldown, least=0)
    if mode not in ("min", "max"):
        raise ValueError(f"{name}: mode must be 'min' or 'max', got {mode!r}")

    def init(rate: float) -> Tree:
        return _state(check_range(name, "the learning rate", rate), np.inf if mode == "min" else -np.inf, 0, 0)

    def update(state: Tree, value: float) -> Tree:
        rate, best, waited, cooling = (state[key].item() for key in ("learning_rate", "best", "waited", "cooling"))
        improved = value < best * (1 - threshold) if mode == "min" else value > best * (1 + threshold)
        best, waited = (value, 0) if improved else (best, waited + 1)
        if cooling:
            cooling, waited = cooling - 1, 0
        if waited > patience:
            rate, waited, cooling = max(rate * factor, min(min_rate, rate)), 0, cooldown
        return _state(rate, best, waited, cooling)

    return Plateau(init, update)


def _state(rate: float, best: float, waited: int, cooling: int) -> Tree:
    return {
        "learning_rate": np.asarray(rate, np.float64),
        "best": np.asarray(best, np.float64),
        "waited": np.asarray(waited),
        "cooling": np.asarray(cooling),
    }
