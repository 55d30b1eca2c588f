"""Ops of several arrays."""

import math
import re

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


BROADCAST = [
    (f, numpy_f, shapes)
    for f, numpy_f in (
        (ops.add, np.add), (ops.multiply, np.multiply), (ops.subtract, np.subtract), (ops.divide, np.divide),
        (ops.maximum, np.maximum), (ops.minimum, np.minimum),
    )
    for shapes in (((2, 3), (2, 3)), ((2, 3, 4), (2, 1, 4)), ((2, 1, 4), (2, 3, 1)), ((1, 1), (2, 3)))
]  # fmt: skip


@pytest.mark.parametrize(("f", "numpy_f", "shapes"), BROADCAST)
def test_two_arrays_as_numpy_joins_them(f, numpy_f, shapes):
    xs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    assert np.array_equal(f(*xs, broadcast=True)[0], numpy_f(*xs))
    check_vjp(lambda *xs: f(*xs, broadcast=True), *xs, strict=True)


@pytest.mark.parametrize("f", [ops.maximum, ops.minimum])
def test_ties_go_to_the_first_and_nan_shows(f):
    xs = [np.array([1.0, np.nan, 2.0]), np.array([1.0, 0.0, np.nan]), np.array([1.0, 0.0, 1.0])]
    y, vjp = f(*xs)
    assert y[0] == 1.0 and np.isnan(y[1:]).all()
    assert [dx.tolist() for dx in vjp(np.ones(3))] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    check_vjp(f, normal(2, 3), strict=True)  # of one array


@pytest.mark.parametrize("shapes", [((2, 3), (2, 2)), ((2, 3), (3,)), ((2, 3), (2, 3, 1))])
def test_what_cannot_be_broadcast_is_named(shapes):
    with pytest.raises(ValueError, match=r"add: .* equally many axes, and sizes that are equal or 1; got \(2, 3\), "):
        ops.add(*map(np.zeros, shapes), broadcast=True)


def test_nothing_is_broadcast_unasked():
    with pytest.raises(ValueError, match=r"add: the arrays' shapes must be equal; got \(2, 3\), \(3,\)"):
        ops.add(normal(2, 3), normal(3))
    with pytest.raises(ValueError, match=r"multiply: the arrays' shapes must be equal; got \(2, 3\), \(3,\)"):
        ops.multiply(normal(2, 3), normal(3))
    with pytest.raises(ValueError, match=r"concat: .* equal on all axes but 1; got \(2, 3\), \(3, 3\)"):
        ops.concat(normal(2, 3), normal(3, 3))
    with pytest.raises(ValueError, match=r"concat: .* got \(2, 3\), \(2, 3, 1\)"):
        ops.concat(normal(2, 3), normal(2, 3, 1))


@pytest.mark.parametrize("shape", [(2,), (2, 3), (1, 2, 1), (0,), (2, 0)])
@pytest.mark.parametrize(("i", "k", "j"), [(3, 4, 2), (1, 1, 1), (1, 5, 3), (2, 0, 3)])
def test_matmul(shape, i, k, j):
    a, b = normal(*shape, i, k), normal(*shape, k, j, seed=1)
    y, _ = ops.matmul(a, b)
    assert y.shape == (*shape, i, j)
    for *stack, row, column in np.ndindex(*y.shape):
        products = [p * q for p, q in zip(a[*stack, row], b[*stack, :, column], strict=True)]
        np.testing.assert_allclose(y[*stack, row, column], math.fsum(products), rtol=1e-13, atol=1e-14)
    check_vjp(ops.matmul, a, b, strict=True)


def test_matmul_with_the_same_matrix_for_each_example_is_dense():
    x, w = normal(2, 3, 4), normal(4, 5)
    y, vjp = ops.matmul(x, np.broadcast_to(w, (2, 4, 5)))
    expected, dense_vjp = ops.dense({"w": w}, x, bias=False)
    dw, dx = dense_vjp(y)[0]["w"], dense_vjp(y)[1]
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    np.testing.assert_allclose(vjp(y)[0], dx, rtol=1e-13)
    np.testing.assert_allclose(vjp(y)[1].sum(0), dw, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (1, 3)), ((2, 1), (2, 4)), ((1, 3), (2, 1)), ((2, 1, 3), (2, 4, 1))])
def test_stacks_of_matrices_are_repeated(a, b):
    a, b = normal(*a, 3, 4), normal(*b, 4, 2, seed=1)
    y, _ = ops.matmul(a, b, broadcast=True)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    expected = ops.matmul(np.broadcast_to(a, (*stack, 3, 4)), np.broadcast_to(b, (*stack, 4, 2)))[0]
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    check_vjp(lambda a, b: ops.matmul(a, b, broadcast=True), a, b, strict=True)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (3, 4, 3)), ((2, 3, 4), (2, 1, 4, 3)), ((2, 3, 4), (1, 1, 3))])
def test_stacks_that_cannot_be_repeated_are_named(shapes):
    with pytest.raises(ValueError, match=rf"got a {re.escape(str(shapes[0]))} and b {re.escape(str(shapes[1]))}"):
        ops.matmul(*map(np.zeros, shapes), broadcast=True)


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3, 2)), ((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (1, 4, 3)), ((2, 3, 4), (4, 3))]
)
def test_matrices_that_do_not_fit_are_named(shapes):
    message = (
        rf"matmul: a \(N, \.\.\., I, K\) needs .* got a {re.escape(str(shapes[0]))} and b {re.escape(str(shapes[1]))}"
    )
    with pytest.raises(ValueError, match=message):
        ops.matmul(*map(np.zeros, shapes))


@pytest.mark.parametrize("f", [ops.add, ops.concat, ops.multiply])
def test_nothing_to_join(f):
    with pytest.raises(ValueError, match="needs at least one array"):
        f()
