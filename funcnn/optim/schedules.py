"""Schedules: the learning rate as a function of the step, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step.

    Parameters
    ----------
    value : float

    Returns
    -------
    schedule

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    def constant_schedule(step: int) -> float:
        return value

    return constant_schedule


def cosine(value: float, steps: int, final: float = 0.0) -> Schedule:
    """Half a cosine from ``value`` at step 0 down to ``final`` at step ``steps`` and after.

    I. Loshchilov and F. Hutter, SGDR, 2016 (arXiv:1608.03983), without restarts.

    Parameters
    ----------
    value, final : float
    steps : int >= 1

    Returns
    -------
    schedule

    Raises
    ------
    ValueError
        If the numbers of steps make no sense.

    Examples
    --------
    >>> rate = cosine(1.0, steps=10)
    >>> rate(0), round(rate(5), 6), rate(10), rate(11)
    (1.0, 0.5, 0.0, 0.0)
    """
    _check_steps("cosine", steps)

    def cosine_schedule(step: int) -> float:
        return _half_cosine(value, final, step / steps)

    return cosine_schedule


def warmup_cosine(peak: float, warmup_steps: int, steps: int, final: float = 0.0) -> Schedule:
    """A straight line from 0 to ``peak`` at step ``warmup_steps``, then half a cosine to ``final`` at step ``steps``.

    Parameters
    ----------
    peak, final : float
    warmup_steps : int >= 0
    steps : int > warmup_steps

    Returns
    -------
    schedule

    Raises
    ------
    ValueError
        If the numbers of steps make no sense.

    Examples
    --------
    >>> rate = warmup_cosine(1.0, warmup_steps=4, steps=12)
    >>> rate(0), rate(1), rate(4), round(rate(8), 6), rate(12)
    (0.0, 0.25, 1.0, 0.5, 0.0)
    """
    _check_steps("warmup_cosine", steps)
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_cosine: warmup_steps must be in [0, {steps}), got {warmup_steps}")

    def warmup_cosine_schedule(step: int) -> float:
        if step < warmup_steps:
            return peak * step / warmup_steps
        return _half_cosine(peak, final, (step - warmup_steps) / (steps - warmup_steps))

    return warmup_cosine_schedule


def one_cycle(
    peak: float, steps: int, *, warmup: float = 0.3, initial_divisor: float = 25.0, final_divisor: float = 1e4
) -> Schedule:
    """Half a cosine up from ``peak / initial_divisor``, then half a cosine down, far below the start.

    L. Smith and N. Topin, Super-convergence, 2017 (arXiv:1708.07120), with the cosine shape and the defaults of
    common use.

    Parameters
    ----------
    peak : float
    steps : int
        The last step is ``steps - 1``; later ones keep its rate.
    warmup : float in (0, 1)
        The fraction of the steps that rises.
    initial_divisor, final_divisor : float
        The cycle starts at peak / initial_divisor and ends at that start / final_divisor.

    Returns
    -------
    schedule

    Raises
    ------
    ValueError
        If the numbers of steps make no sense.

    Examples
    --------
    >>> rate = one_cycle(1.0, steps=11, warmup=0.5)
    >>> rate(0), round(rate(3), 6), round(rate(5), 6), rate(10)
    (0.04, 0.76, 0.979747, 4e-06)
    """
    _check_steps("one_cycle", steps)
    if not 0 < warmup < 1:
        raise ValueError(f"one_cycle: warmup is a fraction in (0, 1), not {warmup}")
    initial = peak / initial_divisor
    top = warmup * steps - 1
    last = steps - 1

    def one_cycle_schedule(step: int) -> float:
        if step < top:
            return _half_cosine(initial, peak, step / top)
        return _half_cosine(peak, initial / final_divisor, (step - top) / (last - top))

    return one_cycle_schedule


def _half_cosine(start: float, end: float, fraction: float) -> float:
    if fraction <= 0:
        return start
    if fraction >= 1:
        return end
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * fraction))


def _check_steps(schedule: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{schedule}: steps must be at least 1, got {steps}")
