"""Reductions against loops over single numbers, ties, NaN, and axes that are no axes."""

import math
import statistics
from itertools import product

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

REDUCTIONS = {
    "reduce_sum": (ops.reduce_sum, math.fsum),
    "reduce_mean": (ops.reduce_mean, statistics.fmean),
    "reduce_max": (ops.reduce_max, max),
}
every_reduction = pytest.mark.parametrize(("f", "definition"), REDUCTIONS.values(), ids=REDUCTIONS.keys())


@every_reduction
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [1, -1, (1, 3), (3, 1), (-2, 1), (1, 2, 3), (2,), ()])
def test_value_and_vjp(f, definition, axes, keepdims):
    x = normal(2, 3, 4, 2)
    over = {a % 4 for a in ((axes,) if isinstance(axes, int) else axes)}
    y, _ = f(x, axes, keepdims=keepdims)
    assert y.shape == tuple(1 if a in over else s for a, s in enumerate(x.shape) if keepdims or a not in over)
    for index in product(*([slice(None)] if a in over else range(s) for a, s in enumerate(x.shape))):
        position = [0 if a in over else i for a, i in enumerate(index) if keepdims or a not in over]
        np.testing.assert_allclose(y[*position], definition(x[index].ravel().tolist()), rtol=1e-13, atol=1e-15)
    check_vjp(lambda x: f(x, axes, keepdims=keepdims), x, strict=True)


@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (-1, -2)])
def test_the_gradient_goes_to_the_first_maximum_in_row_major_order(axes):
    x = np.array([[[1.0, 2.0, 7.0], [7.0, 7.0, 0.0]], [[np.nan, 9.0, 1.0], [9.0, np.nan, 9.0]]])
    y, vjp = ops.reduce_max(x, axes)
    np.testing.assert_array_equal(y, [7.0, np.nan])
    assert vjp(np.array([5.0, 3.0])).tolist() == [[[0, 0, 5], [0, 0, 0]], [[3, 0, 0], [0, 0, 0]]]


def test_the_largest_of_minus_infinity_and_of_infinity():
    y, vjp = ops.reduce_max(np.array([[-np.inf, -np.inf], [np.inf, 1.0]]), 1)
    assert y.tolist() == [-np.inf, np.inf]
    assert vjp(np.ones(2)).tolist() == [[1, 0], [1, 0]]


def test_a_sum_of_nothing_is_zero_and_a_mean_and_a_maximum_are_not_there():
    nothing = np.zeros((2, 0, 3))
    y, vjp = ops.reduce_sum(nothing, 1)
    assert not y.any() and vjp(y).shape == (2, 0, 3)
    for f in (ops.reduce_mean, ops.reduce_max):
        with pytest.raises(ValueError, match=rf"{f.__name__}: x \(2, 0, 3\) has no entry along axes \(1,\)"):
            f(nothing, 1)
        assert f(nothing, 2)[0].shape == (2, 0)


@every_reduction
def test_bad_axes_are_named(f, definition):
    name = f.__name__
    with pytest.raises(ValueError, match=rf"{name}: axis 4 is out of range for an array with 4 axes"):
        f(normal(2, 3, 4, 2), (1, 4))
    for axes in (0, (1, 0), (-4, 2)):
        with pytest.raises(ValueError, match=rf"{name}: axes .* include axis 0, but examples must not depend"):
            f(normal(2, 3, 4, 2), axes)


@every_reduction
def test_global_pools_are_reductions_over_the_positions(f, definition):
    pools = {ops.reduce_mean: ops.global_avg_pool, ops.reduce_max: ops.global_max_pool}
    x = normal(2, 3, 4, 5)
    y, vjp = f(x, (1, 2))
    pooled, pooled_vjp = pools.get(f, ops.global_avg_pool)(x)
    factor = 12 if f is ops.reduce_sum else 1
    np.testing.assert_allclose(y, factor * pooled, rtol=1e-13)
    np.testing.assert_allclose(vjp(y), factor * pooled_vjp(y), rtol=1e-13)
