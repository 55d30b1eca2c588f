"""The best epoch so far, by which training is stopped early."""

from __future__ import annotations

import math
from typing import NamedTuple

from funcnn.training import TrainState
from funcnn.tree import Tree

__all__ = ["BestEpoch", "update_best"]


class BestEpoch(NamedTuple):
    """The best epoch so far.

    Attributes
    ----------
    epoch : int
    value : float
        The monitored measure after that epoch; less is better.
    params, state : tree
        Of the model after that epoch.
    waited : int
        Number of epochs since the last improvement by more than ``min_delta``.

    Examples
    --------
    See `update_best`.
    """

    epoch: int
    value: float
    params: Tree
    state: Tree
    waited: int


def update_best(best: BestEpoch | None, value: float, train_state: TrainState, *, min_delta: float = 0.0) -> BestEpoch:
    """Return the best epoch so far, including the epoch that has just ended.

    Parameters
    ----------
    best : BestEpoch or None
        The best of the earlier epochs; None after the first epoch.
    value : float
        The monitored measure after the epoch that has just ended; less is better, as for a loss on validation data.
        For a score where larger is better, pass its negative. NaN never counts as an improvement.
    train_state : TrainState
        The training state after that epoch.
    min_delta : float >= 0
        Every improvement makes a new best epoch, but only one by more than this sets ``waited`` back to 0.

    Returns
    -------
    BestEpoch

    Examples
    --------
    To stop early, leave the loop when ``waited`` reaches the number of epochs without improvement that you allow:

    >>> from funcnn import data, losses, models, optim, training
    >>> x, labels = data.digits()
    >>> model, loss = models.mlp(), losses.softmax_cross_entropy
    >>> best = None
    >>> for epoch in training.fit(
    ...     model, loss, optim.adam(3e-2), x[:500], labels[:500], epochs=100, key=(0,),
    ...     validation=(x[500:], labels[500:]), metrics={"loss": lambda outputs, labels: loss(outputs, labels)[0]},
    ... ):
    ...     best = update_best(best, epoch.validation["loss"], epoch.train_state)
    ...     if best.waited == 3:
    ...         break
    >>> best.epoch == epoch.epoch - 3 < 97
    True
    """
    if best is None or (math.isnan(best.value) and not math.isnan(value)):
        return BestEpoch(train_state.epoch, value, train_state.params, train_state.state, 0)
    waited = 0 if value < best.value - min_delta else best.waited + 1
    if value < best.value:
        return BestEpoch(train_state.epoch, value, train_state.params, train_state.state, waited)
    return best._replace(waited=waited)
