"""Initial values: the variance each formula promises, the key's stream, shapes and dtypes."""

import math

import numpy as np
import pytest

from funcnn import initializers

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 9 * 40, 9 * 60
VARIANCES = {
    "he_normal": 2 / FAN_IN,
    "he_uniform": 2 / FAN_IN,
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "lecun_normal": 1 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
}
EVERY = [*VARIANCES, "orthogonal", "standard_normal", "zeros", "ones"]


def test_every_public_initializer_is_here():
    assert sorted([*EVERY, "Initializer"]) == sorted(initializers.__all__)


@pytest.mark.parametrize("name", VARIANCES)
def test_mean_and_variance(name):
    w = getattr(initializers, name)((0,), SHAPE, np.float64)
    deviation = math.sqrt(VARIANCES[name])
    assert abs(w.mean()) < 5 * deviation / math.sqrt(w.size)
    np.testing.assert_allclose(w.var(), VARIANCES[name], rtol=0.05)
    largest = abs(w).max() / deviation
    assert largest < math.sqrt(3) + 1e-9 if name.endswith("uniform") else 4 < largest < 7


def test_standard_normal_does_not_depend_on_the_shape():
    for shape in ((10_000,), (20, 500), (5, 10, 200)):
        w = initializers.standard_normal((0,), shape, np.float64)
        assert abs(w.mean()) < 0.05 and abs(w.var() - 1) < 0.05


@pytest.mark.parametrize("name", EVERY)
def test_key_shape_and_dtype(name):
    initializer = getattr(initializers, name)
    for dtype in (np.float32, np.float64):
        w = initializer((5,), SHAPE, dtype)
        assert w.shape == SHAPE and w.dtype == dtype
        assert np.array_equal(w, initializer((5,), SHAPE, dtype))
    assert initializer((5,), SHAPE).dtype == np.float32
    if name not in ("zeros", "ones"):
        assert not np.array_equal(initializer((5,), SHAPE), initializer((6,), SHAPE))


def test_zeros_and_ones():
    assert not initializers.zeros(None, (4,)).any()
    assert (initializers.ones(None, (4,)) == 1).all()


@pytest.mark.parametrize("shape", [(3, 3, 2, 7), (20, 5), (5, 20), (4, 4)])
def test_orthogonal(shape):
    w = initializers.orthogonal((0,), shape, np.float64).reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-14)


@pytest.mark.parametrize("name", [*VARIANCES, "orthogonal"])
@pytest.mark.parametrize("shape", [(), (3,), (3, 0)])
def test_shapes_that_are_no_weights(name, shape):
    with pytest.raises(ValueError, match=r"a weight's shape must be \(kernel\.\.\., in, out\)"):
        getattr(initializers, name)((0,), shape)
