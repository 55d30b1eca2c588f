"""Batch normalisation of the positions of a mask."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.ops.masking import masked_batch_norm
from funcnn.testing import check_vjp

PARAMS = {"scale": normal(3), "bias": normal(3, seed=1)}
X = normal(2, 5, 3, seed=2)
MASK = np.array([[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0]])[..., None]


@pytest.mark.parametrize("stats", [None, {"mean": normal(3), "var": np.array([0.5, 1.0, 2.0])}])
def test_vjp(stats):
    check_vjp(lambda params, x: masked_batch_norm(params, x, MASK, stats=stats), PARAMS, X, strict=True)


def test_a_full_mask_is_batch_norm():
    y, vjp, stats = masked_batch_norm(PARAMS, X, np.ones_like(MASK))
    expected, expected_vjp, expected_stats = ops.batch_norm(PARAMS, X)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(vjp(X)[1], expected_vjp(X)[1], rtol=1e-12)
    np.testing.assert_allclose(stats["var"], expected_stats["var"], rtol=1e-12)


def test_statistics_are_those_of_the_mask():
    x = np.where(MASK > 0, X, 1e6)
    y, _, stats = masked_batch_norm(PARAMS, x, MASK)
    np.testing.assert_allclose(stats["mean"], X[MASK[..., 0] > 0].mean(axis=0), rtol=1e-12)
    assert (y[MASK[..., 0] == 0] == 0).all()


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 4, 1)])
def test_a_mask_of_other_positions(shape):
    with pytest.raises(ValueError, match=r"masked_batch_norm: mask .* must be \(2, 5, 1\) for x \(2, 5, 3\)"):
        masked_batch_norm(PARAMS, X, np.ones(shape))
