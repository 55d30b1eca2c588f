"""Compiled updates of optimizers against NumPy's, for sizes around those of vectors."""

import numpy as np
import pytest

from funcnn.kernels import updates
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba", reason="the extra fast is not installed")
SHAPES = [(), (0,), (1,), (5,), (3, 7), (17, 19), (4, 4, 8)]
ADAM, MOMENTUM = (0.9, 0.1, 0.999, 0.001, 1e-8, -0.01), (0.9, -0.01)


def given(shape, dtype, count, numbers):
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(count)]
    return arrays, [np.asarray(number, dtype) for number in numbers]


def both(kernel, *arguments):
    """The results of NumPy's kernel and of its twin, which is not to pass it on."""
    before = [np.array(a) for a in arguments]
    with use_kernels("compiled"):
        compiled = kernel(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    return kernel.__wrapped__(*arguments), compiled


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_adam(shape, dtype):
    (g, m, v), numbers = given(shape, dtype, 3, ADAM)
    expected, results = both(updates.adam_update, g, m, v * v, *numbers)
    for a, b in zip(expected, results, strict=True):
        assert b.dtype == dtype and b.shape == shape
        np.testing.assert_allclose(b, a, rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_momentum(shape, dtype, nesterov):
    (g, m), numbers = given(shape, dtype, 2, MOMENTUM)
    expected, results = both(updates.momentum_update, g, m, *numbers, nesterov)
    for a, b in zip(expected, results, strict=True):
        assert b.dtype == dtype and b.shape == shape
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=10 * np.finfo(dtype).eps)


def test_arrays_that_are_not_contiguous_and_numbers_that_are_not_finite():
    (g, m, v), numbers = given((6, 8), np.float32, 3, ADAM)
    g = g.T.copy().T
    g[0, :3] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected, results = both(updates.adam_update, g, m[::-1], v * v, *numbers)
    for a, b in zip(expected, results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5)


def test_what_is_not_compiled_numpy_computes():
    (g, m), numbers = given((4,), np.complex128, 2, MOMENTUM)
    expected, results = both(updates.momentum_update, g, m, *numbers, True)
    for a, b in zip(expected, results, strict=True):
        np.testing.assert_array_equal(a, b)
