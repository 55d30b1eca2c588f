"""A range test of the learning rate: which rates train a model well in its first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from funcnn import checks, extras, html, optim
from funcnn.data.examplewise import Augmentation
from funcnn.divergence import DivergenceError
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.losses import Loss
from funcnn.optim import Optimizer
from funcnn.training import loop
from funcnn.training.loop import Mixing, TrainState
from funcnn.tree import Array

__all__ = ["LearningRates", "lr_range"]

_BAD = 4.0  # a run is given up where its loss exceeds so many times the largest one without training
_SAFETY = 2.0  # the suggestion is so many times smaller than the best rate


class LearningRates(NamedTuple):
    """What `lr_range` found.

    Attributes
    ----------
    rates : array (R,)
        Ascending.
    losses : array (R,)
        Of each rate, the mean loss of the last quarter of its steps; infinite where it diverged.
    before : float
        The same mean without training: with the parameters that all runs start from.
    suggestion : float or None
        A rate for training; None if no rate reduced the loss.
    reason : str
        How the suggestion was found, in a sentence.

    Examples
    --------
    See `lr_range`.
    """

    rates: Array
    losses: Array
    before: float
    suggestion: float | None
    reason: str

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the rates with Matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default the current ones.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If ``ax`` is not given and Matplotlib is missing.

        Examples
        --------
        >>> class Axes:  # stands for Matplotlib's
        ...     def semilogx(self, x, y):
        ...         print(x, y)
        ...
        ...     def set(self, xlabel, ylabel):
        ...         pass
        >>> found = LearningRates(np.array([0.1, 1.0]), np.array([0.5, np.inf]), 0.7, 0.05, "half of the best")
        >>> axes = found.plot(Axes())
        [0.1] [0.5]
        """
        axes = extras.axes("LearningRates.plot", ax)
        finite = np.isfinite(self.losses)
        axes.semilogx(self.rates[finite], self.losses[finite])
        axes.set(xlabel="learning rate", ylabel="loss")
        return axes

    def _repr_html_(self) -> str:
        return html.table(
            ("learning rate", "loss"), zip(self.rates.tolist(), self.losses.tolist(), strict=True), self.reason
        )


def lr_range(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Array,
    targets: Array,
    *,
    rates: Sequence[float] | Array | None = None,
    steps: int = 32,
    batch_size: int = 64,
    key: Key | None = None,
    resume: TrainState | None = None,
    sample_weight: Array | None = None,
    augment: Augmentation | None = None,
    mix: Mixing | None = None,
    threads: int | None = None,
) -> LearningRates:
    """Train for a few steps at each of several learning rates, always from the same start, and suggest one of them.

    Parameters
    ----------
    model, loss, optimizer, x, targets, batch_size, key, resume, sample_weight, augment, mix, threads
        As in `funcnn.training.fit`. The optimizer is made with a number, not with a schedule; the number is not used.
        With ``resume``, all runs start from its parameters and state; it is not changed.
    rates : sequence of float > 0, optional
        By default 21 of them, from 1e-5 to about 10, each twice the one before.
    steps : int >= 4
        For each rate. All rates take them on the same batches.

    Returns
    -------
    LearningRates

    Raises
    ------
    TypeError, ValueError
        If the rates are not positive and different, the optimizer has no learning rate or is made with a schedule; and
        as `funcnn.training.fit`. A run that diverges is no error.

    Notes
    -----
    L. Smith, Cyclical Learning Rates for Training Neural Networks, 2015 (arXiv:1506.01186), raises the rate during one
    run, and the usual suggestion is where the loss falls most steeply. That depends on the noise of single batches, and
    on all rates before. Here each rate has a run of its own, which costs as many steps as there are rates times
    ``steps``, and the losses compare like with like. The suggestion is half of the rate with the lowest loss: for
    gradient descent on a quadratic loss with the largest curvature c, that rate is below the limit of stability, 2 / c,
    and half of it is at most 1 / c. It is the best for few steps: a schedule should fall from it.

    Examples
    --------
    >>> from funcnn import data, losses, models
    >>> x, labels = data.digits()
    >>> found = lr_range(
    ...     models.mlp(), losses.softmax_cross_entropy, optim.sgd(1.0), x, labels, rates=[0.001, 0.1, 10.0], key=(0,)
    ... )
    >>> found.suggestion, found.losses.round(1)
    (0.05, array([2.3, 1.7, inf]))
    """
    wanted = _checked_rates(rates)
    checks.count("lr_range", "steps", steps, least=4)
    first = resume
    if first is None:
        if key is None:
            raise ValueError("lr_range: needs a key such as (0,), or resume")
        first = loop.start(model, optimizer, np.shape(x)[1:], key=key)
    first = first._replace(opt_state=optimizer.init(first.params), losses=(), plan=None)

    def losses_at(rate: float, limit: float) -> list[float]:
        """Return the losses of the steps at a rate, which end early with one above a limit."""
        opt_state = optim.set_learning_rate(first.opt_state, rate)
        records = loop.fit(
            model, loss, optimizer, x, targets, epochs=first.epoch + steps, batch_size=batch_size, threads=threads,
            resume=first._replace(opt_state=opt_state), sample_weight=sample_weight, augment=augment, mix=mix,
        ).steps()  # fmt: skip
        losses: list[float] = []
        try:
            for record in islice((record for record in records if isinstance(record, loop.Step)), steps):
                if rate and not losses and optim.learning_rate(record.train_state.opt_state) != rate:
                    raise ValueError("lr_range: the optimizer has a schedule; make it with a number instead")
                losses.append(record.loss)
                if record.loss > limit:
                    break
        except DivergenceError:
            pass
        return losses

    def final(losses: list[float]) -> float:
        return float(np.mean(losses[-max(steps // 4, 1) :])) if len(losses) == steps else math.inf

    untrained = losses_at(0.0, math.inf)
    limit, before = _BAD * max(untrained), final(untrained)
    found = np.array([final(losses_at(float(rate), limit)) for rate in wanted])
    return LearningRates(wanted, found, before, *_suggestion(wanted, found, before, steps))


def _checked_rates(rates: Sequence[float] | Array | None) -> Array:
    if rates is None:
        return 1e-5 * 2.0 ** np.arange(21)
    try:
        wanted = np.sort(np.asarray(rates, np.float64))
    except (TypeError, ValueError):
        wanted = np.zeros(0)
    if wanted.ndim != 1 or not len(wanted) or not (np.isfinite(wanted) & (wanted > 0)).all():
        raise ValueError(f"lr_range: rates must be a sequence of positive numbers, got {rates!r}")
    if (np.diff(wanted) == 0).any():
        raise ValueError(f"lr_range: rates must be different, got {rates!r}")
    return wanted


def _suggestion(rates: Array, losses: Array, before: float, steps: int) -> tuple[float | None, str]:
    best = int(losses.argmin())
    if not losses[best] < before:
        return None, f"no rate from {rates[0]:.2g} to {rates[-1]:.2g} reduced the loss of {before:.4g} in {steps} steps"
    suggestion = float(rates[best]) / _SAFETY
    fell = f"from {before:.4g} to {losses[best]:.4g}"
    reason = f"half of {rates[best]:.2g}, which reduced the loss most in {steps} steps, {fell}"
    if best == len(rates) - 1:
        reason += "; it is the largest rate tried, a larger one may be better"
    return suggestion, reason
