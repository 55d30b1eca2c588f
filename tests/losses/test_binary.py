"""Losses of binary outcomes: infinite logits, pos_weight, smoothing, and hinge at its kink."""

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import losses

SOFT = oracles.softmax(normal(5, 3, seed=1))


def test_neutral_options_of_binary_losses_change_no_bit():
    for dtype in (np.float32, np.float64):
        z = normal(5, 3).astype(dtype)
        value, vjp = losses.sigmoid_binary_cross_entropy(z, SOFT)
        for options in ({"pos_weight": np.ones(3)}, {"pos_weight": 1}, {"label_smoothing": 0.0}):
            same, same_vjp = losses.sigmoid_binary_cross_entropy(z, SOFT, **options)
            assert value == same and np.array_equal(vjp(1.0), same_vjp(1.0)) and same.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_logits_of_binary_outcomes(dtype):
    z = np.array([np.inf, -np.inf], dtype)
    value, vjp = losses.sigmoid_binary_cross_entropy(z, np.array([1, 0]))
    assert value == 0 and not vjp(1.0).any()
    value, vjp = losses.sigmoid_binary_cross_entropy(z, np.array([0, 1]))
    assert value == np.inf and vjp(1.0).tolist() == [0.5, -0.5]


def test_pos_weight_counts_positives_like_repetitions_but_in_the_divisor():
    z, t = normal(4), np.array([1, 0, 1, 0])
    value, vjp = losses.sigmoid_binary_cross_entropy(z, t, pos_weight=2.0)
    repeated, repeated_vjp = losses.sigmoid_binary_cross_entropy(z[[0, 0, 1, 2, 2, 3]], t[[0, 0, 1, 2, 2, 3]])
    np.testing.assert_allclose(4 * value, 6 * repeated, rtol=1e-13)
    np.testing.assert_allclose(4 * vjp(1.0), 6 * repeated_vjp(1.0)[[0, 2, 3, 5]] * [2, 1, 2, 1], rtol=1e-13)


def test_bad_options_of_binary_outcomes_are_named():
    for options, error, message in [
        ({"pos_weight": np.ones(2)}, ValueError, r"pos_weight \(2,\) does not broadcast to \(3,\), logits \(5, 3\)"),
        (
            {"pos_weight": np.ones((5, 3))},
            ValueError,
            r"pos_weight \(5, 3\) does not broadcast to \(3,\), logits \(5, 3\)",
        ),
        ({"pos_weight": -1.0}, ValueError, "pos_weight must be finite and >= 0, got -1.0"),
        ({"pos_weight": "a"}, TypeError, "pos_weight must be real numbers"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
    ]:
        with pytest.raises(error, match=message):
            losses.sigmoid_binary_cross_entropy(normal(5, 3), SOFT, **options)


def test_hinge_has_no_gradient_from_its_kink_on():
    scores = np.array([1.0, 1.0, -1.0, np.inf, 0.0])
    value, vjp = losses.hinge(scores, np.array([1, -1, -1, 1, -1]))
    assert value == 3 / 5
    np.testing.assert_allclose(vjp(5.0), [0, 1, 0, 0, 1])
    assert losses.hinge(np.array([np.inf]), np.array([-1]))[0] == np.inf


def test_the_error_of_hinge_tells_how_to_convert_other_targets():
    scores = normal(3)
    for targets in (np.array([1, 0, 1]), np.array([True, True, True])):
        with pytest.raises(ValueError, match=r"hinge: targets must be -1 or 1.*np\.where\(targets.*, 1, -1\) converts"):
            losses.hinge(scores, targets)
        losses.hinge(scores, np.where(targets, 1, -1))
    with pytest.raises(ValueError, match=r"targets must be -1 or 1, got nan"):
        losses.hinge(scores, np.array([1.0, np.nan, 1.0]))
