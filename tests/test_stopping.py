"""The best epoch so far, and how long there has been none better."""

import math

import numpy as np
import pytest

from funcnn.stopping import update_best
from funcnn.training import TrainState


def followed(values, **options):
    """The best epoch after each of the values; the epochs' parameters are their numbers."""
    best, path = None, []
    for number, value in enumerate(values, start=1):
        params, state = {"w": np.array([number])}, {"mean": np.array([-number])}
        best = update_best(best, value, TrainState(params, state, {}, (0,), number, 10 * number), **options)
        assert best.params["w"] == best.epoch == -best.state["mean"]
        path.append((best.epoch, best.value, best.waited))
    return path


def test_the_smallest_value_is_the_best_and_the_first_of_equals_stays():
    assert followed([3.0, 2.0, 2.0, 4.0, 1.0]) == [(1, 3.0, 0), (2, 2.0, 0), (2, 2.0, 1), (2, 2.0, 2), (5, 1.0, 0)]


def test_an_improvement_by_no_more_than_min_delta_is_kept_but_waited_increases():
    path = followed([3.0, 2.5, 2.25, 1.5, 1.25], min_delta=0.5)
    assert path == [(1, 3.0, 0), (2, 2.5, 1), (3, 2.25, 2), (4, 1.5, 0), (5, 1.25, 1)]


def test_small_improvements_do_not_add_up():
    # each is measured against the best value so far, which the one before has lowered
    assert [waited for *_, waited in followed([1.0, 0.75, 0.5, 0.25], min_delta=0.25)] == [0, 1, 2, 3]


@pytest.mark.parametrize("rest", [[math.nan, 2.0], [2.0, math.nan]])
def test_not_a_number_is_never_better_than_a_number(rest):
    assert followed([math.nan, *rest])[-1][1] == 2.0
    assert followed([3.0, math.nan, math.nan]) == [(1, 3.0, 0), (1, 3.0, 1), (1, 3.0, 2)]
