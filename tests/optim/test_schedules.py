"""Schedules at chosen steps and against their definitions."""

import math

import numpy as np
import pytest

from funcnn import optim


def rates(schedule, steps):
    return [schedule(step) for step in range(steps)]


def test_constant():
    assert [optim.constant(0.3)(s) for s in (0, 10)] == [0.3, 0.3]


def test_piecewise():
    assert rates(optim.piecewise([3.0, 2.0, 1.0], [2, 3]), 5) == [3.0, 3.0, 2.0, 1.0, 1.0]
    assert rates(optim.piecewise([3.0], []), 2) == [3.0, 3.0]


def test_exponential():
    np.testing.assert_allclose(rates(optim.exponential(2.0, 0.9), 4), [2, 1.8, 1.62, 1.458])
    np.testing.assert_allclose(rates(optim.exponential(2.0, 0.25, steps=2), 4), [2, 1, 0.5, 0.25])
    assert rates(optim.exponential(2.0, 0.5, steps=3, staircase=True), 7) == [2, 2, 2, 1, 1, 1, 0.5]


def test_inverse_time():
    np.testing.assert_allclose(rates(optim.inverse_time(2.0, 0.5), 4), [2, 2 / 1.5, 1, 2 / 2.5])
    np.testing.assert_allclose(optim.inverse_time(2.0, 0.5, steps=10)(5), 2 / 1.25)
    assert optim.inverse_time(2.0, 0.0)(1000) == 2.0


def test_polynomial():
    np.testing.assert_allclose(rates(optim.polynomial(2.0, steps=4, final=1.0), 6), [2, 1.75, 1.5, 1.25, 1, 1])
    np.testing.assert_allclose(rates(optim.polynomial(1.0, steps=3, power=3), 4), [1, 8 / 27, 1 / 27, 0])


def test_cosine():
    cosine = optim.cosine(2.0, steps=8, final=1.0)
    np.testing.assert_allclose([cosine(s) for s in (0, 2, 4, 8, 100)], [2, 1.5 + math.sqrt(0.125), 1.5, 1, 1])


@pytest.mark.parametrize(("factor", "periods"), [(1, [4] * 6), (2, [4, 8, 16]), (1.5, [4, 6, 9, 13.5]), (3.0, [4, 12])])
def test_cosine_restarts_is_one_cosine_after_the_other(factor, periods):
    schedule = optim.cosine_restarts(2.0, 4, factor, final=0.5)
    expected = []
    for step in range(int(sum(periods))):
        k = max(k for k in range(len(periods)) if sum(periods[:k]) <= step)
        fraction = (step - sum(periods[:k])) / periods[k]
        expected.append(0.5 + 1.5 * (1 + math.cos(math.pi * fraction)) / 2)
    np.testing.assert_allclose(rates(schedule, len(expected)), expected)
    assert schedule(4) == 2.0


def test_cosine_restarts_far_on():
    assert optim.cosine_restarts(2.0, 1, 1)(10**12) == 2.0
    assert 0 <= optim.cosine_restarts(2.0, 1, 2)(10**12) <= 2.0


def test_warmup_prefixes_a_schedule():
    after = optim.cosine(2.0, steps=5, final=1.0)
    schedule = optim.warmup(after, steps=4, initial=1.0)
    np.testing.assert_allclose(rates(schedule, 4), [1, 1.25, 1.5, 1.75])
    assert [schedule(step) for step in range(4, 12)] == rates(after, 8)
    assert rates(optim.warmup(after, steps=0), 8) == rates(after, 8)
    np.testing.assert_allclose(rates(optim.warmup(0.3, steps=3), 5), [0, 0.1, 0.2, 0.3, 0.3])


def test_warmup_cosine():
    warm = optim.warmup_cosine(2.0, warmup_steps=4, steps=12, final=1.0)
    np.testing.assert_allclose([warm(s) for s in (0, 1, 3, 4, 8, 12, 13)], [0, 0.5, 1.5, 2, 1.5, 1, 1])
    assert optim.warmup_cosine(2.0, warmup_steps=0, steps=12)(0) == 2.0


def test_one_cycle():
    # with 21 steps and warmup of 11/21 the top is at step 10, in the middle between 0 and 20
    cycle = optim.one_cycle(1.0, steps=21, warmup=11 / 21, initial_divisor=10, final_divisor=100)
    np.testing.assert_allclose([cycle(s) for s in (0, 5, 10, 15, 20, 30)], [0.1, 0.55, 1, 0.5005, 0.001, 0.001])
    path = rates(cycle, 21)
    assert path == sorted(path[:10]) + sorted(path[10:], reverse=True)
    assert optim.one_cycle(1.0, steps=1)(0) <= 1.0
    usual = optim.one_cycle(1.0, steps=100)
    np.testing.assert_allclose([usual(s) for s in (0, 29, 99)], [1 / 25, 1, 1 / 25e4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.cosine(0.1, steps=0), "cosine: steps must be at least 1, got 0"),
        (lambda: optim.warmup_cosine(0.1, 5, 5), r"warmup_steps must be in \[0, 5\), got 5"),
        (lambda: optim.one_cycle(0.1, 5, warmup=1.0), r"warmup must be a fraction in \(0, 1\), not 1.0"),
        (
            lambda: optim.piecewise([0.1, 0.2], [1, 2]),
            "piecewise: values must be one more than the 2 boundaries, not 2",
        ),
        (lambda: optim.piecewise([0.1, 0.2, 0.3], [2, 2]), r"piecewise: boundaries must increase, got \[2, 2\]"),
        (lambda: optim.exponential(0.1, 0.0), "exponential: decay must be > 0, got 0.0"),
        (lambda: optim.exponential(0.1, 0.5, steps=0), "exponential: steps must be at least 1, got 0"),
        (lambda: optim.inverse_time(0.1, -1.0), "inverse_time: decay must be >= 0, got -1.0"),
        (lambda: optim.inverse_time(0.1, 0.5, steps=0), "inverse_time: steps must be at least 1, got 0"),
        (lambda: optim.polynomial(0.1, 0), "polynomial: steps must be at least 1, got 0"),
        (lambda: optim.polynomial(0.1, 5, power=0.0), "polynomial: power must be > 0, got 0.0"),
        (lambda: optim.cosine_restarts(0.1, 0), "cosine_restarts: steps must be at least 1, got 0"),
        (lambda: optim.cosine_restarts(0.1, 5, 0.5), r"cosine_restarts: factor must be in \[1, inf\), got 0.5"),
        (lambda: optim.warmup(0.1, -1), "warmup: steps must be >= 0, got -1"),
        (lambda: optim.reduce_on_plateau(factor=1.0), r"reduce_on_plateau: factor must be in \[0, 1.0\), got 1.0"),
        (lambda: optim.reduce_on_plateau(patience=-1), "reduce_on_plateau: patience must be"),
        (lambda: optim.reduce_on_plateau(threshold=-1), "reduce_on_plateau: threshold must be"),
        (lambda: optim.reduce_on_plateau(cooldown=-1), "reduce_on_plateau: cooldown must be"),
        (lambda: optim.reduce_on_plateau(min_rate=-1), "reduce_on_plateau: min_rate must be"),
        (lambda: optim.reduce_on_plateau(mode="best"), "reduce_on_plateau: mode must be 'min' or 'max', got 'best'"),
        (lambda: optim.reduce_on_plateau().init(-0.1), "reduce_on_plateau: the learning rate must be"),
    ],
)
def test_numbers_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
