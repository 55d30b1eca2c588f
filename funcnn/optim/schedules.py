"""Schedules: the learning rate as a function of the step, counted from 0.

Each function here returns a schedule, and raises a ValueError if its arguments are out of the range given. ``steps`` is
a number of steps, at least 1; ``value``, ``initial``, ``final`` and ``peak`` are learning rates.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step.

    Parameters
    ----------
    value : float

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    def constant_schedule(step: int) -> float:
        return value

    return constant_schedule


def piecewise(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Piecewise constant: the first value, and the next one from each boundary on.

    Parameters
    ----------
    values : sequence of float
        One more than ``boundaries``.
    boundaries : sequence of int
        The steps at which the next value begins, in increasing order. As in PyTorch's MultiStepLR; in Keras, it begins
        one step later.

    Examples
    --------
    >>> rate = piecewise([1.0, 0.1, 0.01], boundaries=[10, 20])
    >>> rate(9), rate(10), rate(20)
    (1.0, 0.1, 0.01)
    """
    values, boundaries = list(values), list(boundaries)
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"piecewise: values must be one more than the {len(boundaries)} boundaries, not {len(values)}")
    if any(later <= earlier for earlier, later in pairwise(boundaries)):
        raise ValueError(f"piecewise: boundaries must increase, got {boundaries}")

    def piecewise_schedule(step: int) -> float:
        return values[bisect_right(boundaries, step)]

    return piecewise_schedule


def exponential(value: float, decay: float, steps: int = 1, staircase: bool = False) -> Schedule:
    """Exponential decay: value * decay ** (step / steps).

    Parameters
    ----------
    value : float
    decay : float > 0
        The factor by which the rate changes in ``steps`` steps.
    steps : int >= 1
    staircase : bool
        Use step // steps, so that the rate changes only every ``steps`` steps.

    Examples
    --------
    >>> rate, stairs = exponential(1.0, decay=0.25, steps=2), exponential(1.0, decay=0.25, steps=2, staircase=True)
    >>> [rate(step) for step in range(4)], [stairs(step) for step in range(4)]
    ([1.0, 0.5, 0.25, 0.125], [1.0, 1.0, 0.25, 0.25])
    """
    _check_steps("exponential", steps)
    if not decay > 0:
        raise ValueError(f"exponential: decay must be > 0, got {decay}")

    def exponential_schedule(step: int) -> float:
        return value * decay ** (step // steps if staircase else step / steps)

    return exponential_schedule


def inverse_time(value: float, decay: float, steps: int = 1) -> Schedule:
    """Inverse time decay: value / (1 + decay * step / steps).

    Parameters
    ----------
    value : float
    decay : float >= 0
    steps : int >= 1

    Examples
    --------
    >>> rate = inverse_time(1.0, decay=0.5, steps=10)
    >>> rate(0), rate(20), rate(60)
    (1.0, 0.5, 0.25)
    """
    _check_steps("inverse_time", steps)
    if not decay >= 0:
        raise ValueError(f"inverse_time: decay must be >= 0, got {decay}")

    def inverse_time_schedule(step: int) -> float:
        return value / (1 + decay * step / steps)

    return inverse_time_schedule


def polynomial(value: float, steps: int, final: float = 0.0, power: float = 1.0) -> Schedule:
    """Polynomial decay: final + (value - final) * (1 - step / steps) ** power, and ``final`` after step ``steps``.

    Parameters
    ----------
    value, final : float
    steps : int >= 1
    power : float > 0
        1 is a straight line.

    Examples
    --------
    >>> line, curve = polynomial(1.0, steps=4), polynomial(1.0, steps=4, power=2.0)
    >>> [line(step) for step in (0, 1, 2, 4, 5)], [curve(step) for step in (0, 1, 2, 4, 5)]
    ([1.0, 0.75, 0.5, 0.0, 0.0], [1.0, 0.5625, 0.25, 0.0, 0.0])
    """
    _check_steps("polynomial", steps)
    if not power > 0:
        raise ValueError(f"polynomial: power must be > 0, got {power}")

    def polynomial_schedule(step: int) -> float:
        return final + (value - final) * (1 - min(step, steps) / steps) ** power

    return polynomial_schedule


def cosine(value: float, steps: int, final: float = 0.0) -> Schedule:
    """Cosine decay: half a cosine from ``value`` at step 0 to ``final`` at step ``steps``, and ``final`` after that.

    I. Loshchilov and F. Hutter, SGDR, 2016 (arXiv:1608.03983), without restarts.

    Parameters
    ----------
    value, final : float
    steps : int >= 1

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


def cosine_restarts(value: float, steps: int, factor: float = 2.0, final: float = 0.0) -> Schedule:
    """Cosine decay with restarts: half cosines from ``value`` to ``final``, each ``factor`` times as long as the last.

    I. Loshchilov and F. Hutter, SGDR, 2016 (arXiv:1608.03983).

    Parameters
    ----------
    value, final : float
    steps : int >= 1
        The length of the first half cosine. Step ``steps`` has ``value`` again.
    factor : float >= 1

    Examples
    --------
    >>> rate = cosine_restarts(1.0, steps=2)
    >>> [round(rate(step), 3) for step in range(8)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0, 0.962]
    """
    _check_steps("cosine_restarts", steps)
    if not 1 <= factor < math.inf:
        raise ValueError(f"cosine_restarts: factor must be in [1, inf), got {factor}")

    def cosine_restarts_schedule(step: int) -> float:
        elapsed: float = step % steps if factor == 1 else step  # periods of equal length need no loop
        period: float = steps
        while elapsed >= period:
            elapsed -= period
            period *= factor
        return _half_cosine(value, final, elapsed / period)

    return cosine_restarts_schedule


def warmup(schedule: Schedule | float, steps: int, initial: float = 0.0) -> Schedule:
    """Linear warm-up: a straight line from ``initial`` to the initial rate of another schedule, then that schedule.

    Parameters
    ----------
    schedule : schedule or float
        The schedule after the warm-up, or a constant rate. Its step 0 is step ``steps``.
    steps : int >= 0
    initial : float

    Examples
    --------
    >>> rate = warmup(exponential(1.0, decay=0.5), steps=4)
    >>> [rate(step) for step in range(7)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.25]
    """
    if steps < 0:
        raise ValueError(f"warmup: steps must be >= 0, got {steps}")
    after = schedule if callable(schedule) else constant(schedule)

    def warmup_schedule(step: int) -> float:
        if step < steps:
            return initial + (after(0) - initial) * step / steps
        return after(step - steps)

    return warmup_schedule


def warmup_cosine(peak: float, warmup_steps: int, steps: int, final: float = 0.0) -> Schedule:
    """Linear warm-up from 0 to ``peak`` at step ``warmup_steps``, then cosine decay to ``final`` at step ``steps``.

    Parameters
    ----------
    peak, final : float
    warmup_steps : int >= 0
    steps : int > warmup_steps

    Examples
    --------
    >>> rate = warmup_cosine(1.0, warmup_steps=4, steps=12)
    >>> rate(0), rate(1), rate(4), round(rate(8), 6), rate(12)
    (0.0, 0.25, 1.0, 0.5, 0.0)
    """
    _check_steps("warmup_cosine", steps)
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_cosine: warmup_steps must be in [0, {steps}), got {warmup_steps}")

    return warmup(cosine(peak, steps - warmup_steps, final), warmup_steps)


def one_cycle(
    peak: float, steps: int, *, warmup: float = 0.3, initial_divisor: float = 25.0, final_divisor: float = 1e4
) -> Schedule:
    """One-cycle schedule: half a cosine up to ``peak``, then half a cosine down to far below the initial rate.

    L. Smith and N. Topin, Super-convergence, 2017 (arXiv:1708.07120), with cosines instead of lines, and with
    the usual default values (PyTorch's).

    Parameters
    ----------
    peak : float
    steps : int
        The length of the cycle. Its last step is ``steps - 1``; later steps keep the rate of that step.
    warmup : float in (0, 1)
        The fraction of the steps in which the rate increases.
    initial_divisor, final_divisor : float
        The initial rate is peak / initial_divisor, the final one peak / initial_divisor / final_divisor.

    Examples
    --------
    >>> rate = one_cycle(1.0, steps=11, warmup=0.5)
    >>> rate(0), round(rate(3), 6), round(rate(5), 6), rate(10)
    (0.04, 0.76, 0.979747, 4e-06)
    """
    _check_steps("one_cycle", steps)
    if not 0 < warmup < 1:
        raise ValueError(f"one_cycle: warmup must be a fraction in (0, 1), not {warmup}")
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
