"""The dense op: values against loops, all gradients, bad shapes."""

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp


@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (0, 3), (2, 5, 3), (2, 2, 2, 3), (1, 1)])
def test_value_and_vjp(shape):
    x, w, b = normal(*shape), normal(shape[-1], 4), normal(4)
    np.testing.assert_allclose(ops.dense({"w": w, "b": b}, x)[0], oracles.dense(x, w, b), rtol=1e-13, atol=1e-14)
    check_vjp(ops.dense, {"w": w, "b": b}, x, strict=True)
    check_vjp(ops.dense, {"w": w, "b": b}, x, method="central", step=1.0, rtol=1e-12, strict=True)


def test_mixed_precision_is_promoted():
    y, vjp = ops.dense({"w": normal(3, 2).astype(np.float32), "b": normal(2)}, normal(4, 3).astype(np.float32))
    assert y.dtype == np.float64
    assert vjp(np.ones((4, 2)))[1].shape == (4, 3)


def test_input_gradient_can_be_left_out():
    _, vjp = ops.dense({"w": normal(3, 2), "b": normal(2)}, normal(4, 3))
    assert vjp(np.ones((4, 2)), input_gradient=False)[1] is None


@pytest.mark.parametrize(
    ("params", "x", "error", "message"),
    [
        (
            {"w": normal(64, 10), "b": normal(10)},
            normal(5, 63),
            ValueError,
            r"x has shape \(5, 63\), but w \(64, 10\) takes",
        ),
        ({"w": normal(64, 10), "b": normal(10)}, normal(64), ValueError, r"x has shape \(64,\)"),
        ({"w": normal(64, 10), "b": normal(9)}, normal(5, 64), ValueError, r"got w \(64, 10\) and b \(9,\)"),
        ({"w": normal(64), "b": normal(10)}, normal(5, 64), ValueError, r"got w \(64,\)"),
        ({"w": normal(64, 10)}, normal(5, 64), ValueError, r"missing \['b'\]"),
        (
            {"w": normal(64, 10), "b": normal(10), "scale": normal(1)},
            normal(5, 64),
            ValueError,
            r"unexpected \['scale'\]",
        ),
        (normal(64, 10), normal(5, 64), TypeError, "params must be a dict with the leaves"),
    ],
)
def test_bad_input_is_named(params, x, error, message):
    with pytest.raises(error, match=message):
        ops.dense(params, x)
