"""Activations against the math module, number by number, and at values where a naive formula fails."""

import math

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

DEFINITIONS = {
    "relu": (ops.relu, lambda v: v if v > 0 else 0.0),
    "leaky_relu": (ops.leaky_relu, lambda v: v if v > 0 else 0.01 * v),
    "leaky_relu, slope": (lambda x: ops.leaky_relu(x, slope=0.3), lambda v: v if v > 0 else 0.3 * v),
    "leaky_relu, negative slope": (lambda x: ops.leaky_relu(x, slope=-2.0), lambda v: v if v > 0 else -2.0 * v),
    "tanh": (ops.tanh, math.tanh),
    "sigmoid": (ops.sigmoid, lambda v: 1 / (1 + math.exp(-v))),
    "relu6": (ops.relu6, lambda v: min(max(v, 0.0), 6.0)),
    "hard_tanh": (ops.hard_tanh, lambda v: min(max(v, -1.0), 1.0)),
    "hard_sigmoid": (ops.hard_sigmoid, lambda v: min(max(v / 6 + 0.5, 0.0), 1.0)),
    "hard_sigmoid, slope": (
        lambda x: ops.hard_sigmoid(x, alpha=0.2, beta=0.4),
        lambda v: min(max(0.2 * v + 0.4, 0.0), 1.0),
    ),
    "clip": (lambda x: ops.clip(x, -0.5, 1.5), lambda v: min(max(v, -0.5), 1.5)),
    "clip, above": (lambda x: ops.clip(x, upper=1.5), lambda v: min(v, 1.5)),
    "clip, below": (lambda x: ops.clip(x, 0.5), lambda v: max(v, 0.5)),
    "clip, not at all": (ops.clip, lambda v: v),
    "hard_swish": (ops.hard_swish, lambda v: v * min(max(v / 6 + 0.5, 0.0), 1.0)),
    "elu": (ops.elu, lambda v: v if v > 0 else math.exp(v) - 1),
    "elu, alpha": (lambda x: ops.elu(x, alpha=0.3), lambda v: v if v > 0 else 0.3 * (math.exp(v) - 1)),
    "celu": (ops.celu, lambda v: v if v > 0 else math.exp(v) - 1),
    "celu, alpha": (lambda x: ops.celu(x, alpha=0.3), lambda v: v if v > 0 else 0.3 * (math.exp(v / 0.3) - 1)),
    "selu": (ops.selu, lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * (math.exp(v) - 1))),
    "gelu": (ops.gelu, lambda v: v * math.erfc(-v / math.sqrt(2)) / 2),
    "gelu, approximate": (
        lambda x: ops.gelu(x, approximate=True),
        lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2,
    ),
    "silu": (ops.silu, lambda v: v / (1 + math.exp(-v))),
    "mish": (ops.mish, lambda v: v * math.tanh(math.log(1 + math.exp(v)))),
    "softplus": (ops.softplus, lambda v: math.log(1 + math.exp(v))),
    "softsign": (ops.softsign, lambda v: v / (1 + abs(v))),
    "log_sigmoid": (ops.log_sigmoid, lambda v: -math.log(1 + math.exp(-v))),
}
SMOOTH = [ops.tanh, ops.sigmoid, ops.gelu, ops.silu, ops.mish, ops.softplus, ops.softsign, ops.log_sigmoid]
KINKED = [
    ops.relu,
    ops.leaky_relu,
    ops.relu6,
    ops.hard_tanh,
    ops.hard_sigmoid,
    ops.hard_swish,
    ops.elu,
    ops.celu,
    ops.selu,
]
ELEMENTWISE = [*SMOOTH, *KINKED]


@pytest.mark.parametrize(("f", "definition"), DEFINITIONS.values(), ids=DEFINITIONS.keys())
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 2), (0, 3)])
def test_value_and_vjp(f, definition, shape):
    x = 3 * normal(*shape) if shape else np.array(0.7)
    for scaled in (x, 3 * x):
        np.testing.assert_allclose(f(scaled)[0], oracles.elementwise(definition, scaled), rtol=1e-12, atol=1e-14)
        check_vjp(f, scaled, strict=True)


KINKS = {"relu6": [0.0, 6.0], "hard_tanh": [-1.0, 1.0], "hard_sigmoid": [-3.0, 3.0], "hard_swish": [-3.0, 3.0]}


@pytest.mark.parametrize("f", KINKED, ids=lambda f: f.__name__)
def test_a_kink_belongs_to_the_left_branch(f):
    for kink in KINKS.get(f.__name__, [0.0]):
        _, vjp = f(np.full(2, kink))
        _, vjp_left = f(np.full(2, kink - 1e-9))
        np.testing.assert_allclose(vjp(np.ones(2)), vjp_left(np.ones(2)), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("f", ELEMENTWISE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_values_neither_overflow_nor_warn(f, dtype):
    x = np.array([-1e4, -800.0, -100.0, 100.0, 800.0, 1e4], dtype)
    y, vjp = f(x)
    assert np.isfinite(y).all() and np.isfinite(vjp(np.ones_like(x))).all()


@pytest.mark.parametrize("f", [ops.hard_swish, ops.relu6, ops.elu, ops.softplus, ops.hard_sigmoid, ops.hard_tanh])
def test_infinity_has_its_limit(f):
    y, _ = f(np.array([-np.inf, np.inf]))
    near, _ = f(np.array([-1e300, 1e300]))
    np.testing.assert_allclose(np.minimum(y, 1e300), near, rtol=1e-12)


@pytest.mark.parametrize("f", [ops.hard_sigmoid, ops.clip])
def test_options_of_kinked_functions_move_the_kinks(f):
    at, options = (-2.0, 3.0), {"alpha": 0.2, "beta": 0.4} if f is ops.hard_sigmoid else {"lower": -2.0, "upper": 3.0}
    dx = f(np.array([*at, -2.0 + 1e-9, 3.0 - 1e-9, 3.0 + 1e-9]), **options)[1](np.ones(5))
    slope = options.get("alpha", 1.0)
    np.testing.assert_allclose(dx, [0, slope, slope, slope, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.clip(normal(2), 2, 1), r"clip: lower must not be above upper, got 2\.0 and 1\.0"),
        (lambda: ops.clip(normal(2), upper=math.nan), "got -inf and nan"),
        (lambda: ops.hard_sigmoid(normal(2), alpha=0), r"hard_sigmoid: alpha must be above 0, got 0\.0"),
    ],
)
def test_bounds_and_slopes_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_celu_needs_a_scale():
    with pytest.raises(ValueError, match=r"alpha must be above 0, got 0\.0"):
        ops.celu(normal(2), alpha=0)


def test_far_out_values_stay_finite():
    x = np.array([-np.inf, -1e4, -745.0, 0.0, 745.0, 1e4, np.inf])
    assert ops.sigmoid(x)[0].tolist() == [0.0, 0.0, math.exp(-745.0), 0.5, 1.0, 1.0, 1.0]
    assert ops.tanh(x)[0].tolist() == [-1, -1, -1, 0, 1, 1, 1]
    assert ops.relu(x)[0].tolist() == [0, 0, 0, 0, 745, 1e4, np.inf]
    for f in (ops.sigmoid, ops.tanh, ops.relu):
        _, vjp = f(x)
        assert np.isfinite(vjp(np.ones(7))).all()


def test_sigmoid_derivative_keeps_its_digits_far_out():
    _, vjp = ops.sigmoid(np.array([40.0, -40.0]))
    np.testing.assert_allclose(vjp(np.ones(2)), math.exp(-40.0), rtol=1e-12)


@pytest.mark.parametrize("f", [*ELEMENTWISE, ops.softmax, ops.log_softmax])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_nan_in_shows_nan_out(f, dtype):
    with np.errstate(invalid="ignore"):  # NumPy may warn of it
        assert np.isnan(f(np.array([1.0, np.nan], dtype))[0][1])


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_softmax_and_its_logarithm(axis):
    x = normal(3, 4, 5)
    expected = oracles.softmax(x, axis)
    np.testing.assert_allclose(ops.softmax(x, axis)[0], expected, rtol=1e-13)
    np.testing.assert_allclose(ops.log_softmax(x, axis)[0], np.log(expected), rtol=1e-12, atol=1e-14)
    check_vjp(lambda x: ops.softmax(x, axis), x, strict=True)
    check_vjp(lambda x: ops.log_softmax(x, axis), x, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_large_logits(dtype):
    x = np.array([[1e4, 0.0, -1e4], [1e4, 1e4, -1e4]], dtype)
    y, vjp = ops.softmax(x)
    assert y.tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert np.isfinite(vjp(np.ones_like(x))).all()
    logs, vjp = ops.log_softmax(x)
    np.testing.assert_allclose(logs, [[0, -1e4, -2e4], [-math.log(2), -math.log(2), -2e4 - math.log(2)]], rtol=1e-6)
    assert np.isfinite(vjp(np.ones_like(x))).all()


def test_softmax_with_an_impossible_class():
    assert ops.softmax(np.array([[0.0, 0.0, -np.inf]]))[0].tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize("f", [ops.softmax, ops.log_softmax])
def test_softmax_refuses_what_has_no_classes(f):
    with pytest.raises(ValueError, match="axis 2 is out of range for an array with 2 axes"):
        f(normal(2, 3), 2)
    with pytest.raises(ValueError, match=r"x \(2, 0\) is empty along axis 1"):
        f(np.zeros((2, 0)))
