"""Arithmetic of one array against the math module, number by number, and outside of its domains."""

import math

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

NAN, INF = float("nan"), float("inf")
# the op, its definition, and a map of all numbers to its domain
DEFINITIONS = {
    "negative": (ops.negative, lambda v: 0 - v, np.array),
    "exp": (ops.exp, math.exp, np.array),
    "erf": (ops.erf, lambda v: 1 - math.erfc(v), np.array),
    "log": (ops.log, lambda v: math.log2(v) * math.log(2), np.exp),
    "sqrt": (ops.sqrt, lambda v: math.exp(math.log(v) / 2), np.exp),
    "power, 3": (lambda x: ops.power(x, 3), lambda v: v * v * v, np.array),
    "power, 1": (lambda x: ops.power(x, 1), lambda v: v, np.array),
    "power, 0": (lambda x: ops.power(x, 0), lambda v: 1.0, np.array),
    "power, -2": (lambda x: ops.power(x, -2), lambda v: 1 / (v * v), np.exp),
    "power, 0.4": (lambda x: ops.power(x, 0.4), lambda v: math.exp(0.4 * math.log(v)), np.exp),
}


@pytest.mark.parametrize(("f", "definition", "into"), DEFINITIONS.values(), ids=DEFINITIONS.keys())
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 2), (0, 3)])
def test_value_and_vjp(f, definition, into, shape):
    x = into(normal(*shape) if shape else np.array(0.7))
    np.testing.assert_allclose(f(x)[0], oracles.elementwise(definition, x), rtol=1e-12, atol=1e-15)
    check_vjp(f, x, strict=True)


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), (1, 4), (3, 4)])
def test_powers_by_an_array(shape):
    x, p = np.exp(normal(2, 3, 4)), normal(*shape, seed=1)
    y, _ = ops.power(x, p)
    each = np.broadcast_to(p, x.shape)
    expected = [math.exp(math.log(v) * e) for v, e in zip(x.ravel(), each.ravel(), strict=True)]
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-12)
    check_vjp(lambda x: ops.power(x, p.tolist()), x, strict=True)


def test_each_power_by_an_array_is_that_by_its_number():
    numbers = [0, 1, 2, 3, -1, -2]
    x = np.repeat(np.array([[-2.0, 0.5, 3.0]]), 6, axis=0).T
    y, vjp = ops.power(x, numbers)
    dx = vjp(np.ones_like(x))
    for i, p in enumerate(numbers):
        expected, expected_vjp = ops.power(x[:, i], p)
        np.testing.assert_allclose(y[:, i], expected, rtol=1e-14)
        np.testing.assert_allclose(dx[:, i], expected_vjp(np.ones(3)), rtol=1e-14)
    assert ops.power(np.zeros((1, 2)), [0, 1])[1](np.ones((1, 2))).tolist() == [[0.0, 1.0]]


# x, y, and dx for dy = 1, where a function or its derivative is not a number, or infinite
EDGES = {
    "log": (ops.log, [0.0, -1.0, INF, NAN], [-INF, NAN, INF, NAN], [INF, -1.0, 0.0, NAN]),
    "sqrt": (ops.sqrt, [0.0, -1.0, INF, NAN], [0.0, NAN, INF, NAN], [INF, NAN, 0.0, NAN]),
    "exp": (ops.exp, [-INF, 1e4, INF, NAN], [0.0, INF, INF, NAN], [0.0, INF, INF, NAN]),
    "erf": (ops.erf, [-INF, 1e200, INF, NAN], [-1.0, 1.0, 1.0, NAN], [0.0, 0.0, 0.0, NAN]),
    "negative": (ops.negative, [-INF, 0.0, INF, NAN], [INF, -0.0, -INF, NAN], [-1.0, -1.0, -1.0, -1.0]),
    "square": (lambda x: ops.power(x, 2), [-INF, 0.0, 1e200, NAN], [INF, 0.0, INF, NAN], [-INF, 0.0, 2e200, NAN]),
    "reciprocal": (lambda x: ops.power(x, -1), [0.0, -INF, INF, NAN], [INF, 0.0, 0.0, NAN], [-INF, 0.0, 0.0, NAN]),
    "root": (lambda x: ops.power(x, 0.5), [0.0, -1.0, INF, NAN], [0.0, NAN, INF, NAN], [INF, NAN, 0.0, NAN]),
    "first power": (lambda x: ops.power(x, 1), [0.0, -1.0, INF, 2.0], [0.0, -1.0, INF, 2.0], [1.0, 1.0, 1.0, 1.0]),
    "zeroth power": (lambda x: ops.power(x, 0), [0.0, -1.0, INF, 2.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize(("f", "x", "y", "dx"), EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outside_of_the_domain_there_is_no_warning(f, x, y, dx, dtype):
    with np.errstate(over="ignore"):  # 1e200 in single precision
        x, y, dx = (np.array(values).astype(dtype) for values in (x, y, dx))
    got, vjp = f(x)
    np.testing.assert_array_equal(got, y)
    np.testing.assert_array_equal(vjp(np.ones(4)), dx)


def test_exponents_that_do_not_fit_are_named():
    for x, exponent in ((normal(2, 4), normal(3)), (normal(3), normal(3)), (normal(2, 4), normal(2, 4))):
        with pytest.raises(ValueError, match=r"power: exponent \(.*\) does not broadcast to an example of x"):
            ops.power(x, exponent)
