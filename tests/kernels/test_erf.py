"""The error function, its derivative and its complex continuation."""

import math

import numpy as np
import oracles

from funcnn.kernels.erf import erf


def test_erf_is_that_of_the_math_module():
    x = np.concatenate([np.linspace(-7, 7, 20001), -(10.0 ** np.arange(-300, 1, 5)), [0.0, -0.0, 0.84375, 1.25, 6.0]])
    np.testing.assert_allclose(erf(x), oracles.elementwise(math.erf, x), rtol=1e-15, atol=0)
    assert erf(np.array([-np.inf, np.inf])).tolist() == [-1, 1] and np.isnan(erf(np.array([np.nan])))[0]
    np.testing.assert_allclose(erf(x.astype(np.float32)), oracles.elementwise(math.erf, x), atol=1e-7)
    derivative = erf(x + 1e-40j).imag / 1e-40
    np.testing.assert_allclose(derivative, 2 / math.sqrt(math.pi) * np.exp(-x * x), atol=1e-14)
