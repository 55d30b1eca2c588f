"""The best epoch so far, by which training is stopped early."""

from __future__ import annotations

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
        Of the measure watched, of which less is better.
    params, state : tree
        Of the model after that epoch.
    waited : int
        How many epochs have gone by since.
    """

    epoch: int
    value: float
    params: Tree
    state: Tree
    waited: int


def update_best(best: BestEpoch | None, value: float, train_state: TrainState) -> BestEpoch:
    """Return the best epoch so far, the one that has just ended included.

    Parameters
    ----------
    best : BestEpoch or None
        Of the epochs before; None if there are none.
    value : float
        Of the epoch that has ended: a measure of which less is better, such as a loss on validation data. One that is
        not a number is no improvement.
    train_state : TrainState
        After it.

    Returns
    -------
    BestEpoch

    Examples
    --------
    Stopping early is leaving the loop when the best epoch is long past:

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
    if best is None or value < best.value:
        return BestEpoch(train_state.epoch, value, train_state.params, train_state.state, 0)
    return best._replace(waited=best.waited + 1)
