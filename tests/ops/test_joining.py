"""Ops of several arrays."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp


@pytest.mark.parametrize("n", [1, 2, 4])
def test_add(n):
    xs = [normal(2, 3, seed=i) for i in range(n)]
    np.testing.assert_allclose(ops.add(*xs)[0], np.stack(xs).sum(0), rtol=1e-14)
    check_vjp(ops.add, *xs, strict=True)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_multiply(n):
    xs = [normal(2, 3, seed=i) for i in range(n)]
    xs[0][0, 0] = 0.0  # where a gradient by division would fail
    np.testing.assert_allclose(ops.multiply(*xs)[0], np.stack(xs).prod(0), rtol=1e-14)
    check_vjp(ops.multiply, *xs, strict=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("n", [1, 3])
def test_concat(axis, n):
    xs = [normal(*(i + 1 if a == axis % 3 else 2 for a in range(3))) for i in range(n)]
    assert np.array_equal(ops.concat(*xs, axis=axis)[0], np.concatenate(xs, axis))
    check_vjp(lambda *xs: ops.concat(*xs, axis=axis), *xs, strict=True)


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"add: the arrays' shapes must be equal; got \(2, 3\), \(3,\)"):
        ops.add(normal(2, 3), normal(3))
    with pytest.raises(ValueError, match=r"multiply: the arrays' shapes must be equal; got \(2, 3\), \(3,\)"):
        ops.multiply(normal(2, 3), normal(3))
    with pytest.raises(ValueError, match=r"concat: .* equal on all axes but 1; got \(2, 3\), \(3, 3\)"):
        ops.concat(normal(2, 3), normal(3, 3))
    with pytest.raises(ValueError, match=r"concat: .* got \(2, 3\), \(2, 3, 1\)"):
        ops.concat(normal(2, 3), normal(2, 3, 1))


@pytest.mark.parametrize("f", [ops.add, ops.concat, ops.multiply])
def test_nothing_to_join(f):
    with pytest.raises(ValueError, match="needs at least one array"):
        f()
