"""Losses: values against loops over single numbers, VJPs, weights, and inputs that a naive formula cannot take."""

import math

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import losses, ops
from funcnn.testing import check_vjp

LABELS = np.array([2, 0, 1, 2, 2])
SOFT = oracles.softmax(normal(5, 3, seed=1))
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0])


def surprise(rows, labels):
    """Each example's loss from rows of log-probabilities, for labels or probabilities."""
    hard = np.ndim(labels) == 1
    return [
        -row[t] if hard else -sum(p * v for p, v in zip(t, row, strict=True))
        for row, t in zip(rows, labels, strict=True)
    ]


def log_loss(z, t):
    p = 1 / (1 + math.exp(-z))
    return -(t * math.log(p) + (1 - t) * math.log(1 - p))


def mean_over(f, predictions, targets):
    return [
        np.mean([f(p, t) for p, t in zip(np.ravel(a), np.ravel(b), strict=True)])
        for a, b in zip(predictions, targets, strict=True)
    ]


# loss, predictions, targets, the examples' losses by definition
CASES = {
    "softmax_cross_entropy": (
        losses.softmax_cross_entropy,
        normal(5, 3),
        LABELS,
        lambda p, t: surprise(np.log(oracles.softmax(p)), t),
    ),
    "softmax_cross_entropy, probabilities": (
        losses.softmax_cross_entropy,
        normal(5, 3),
        SOFT,
        lambda p, t: surprise(np.log(oracles.softmax(p)), t),
    ),
    "nll": (losses.nll, np.log(SOFT), LABELS, surprise),
    "nll, probabilities": (losses.nll, normal(5, 3), SOFT, surprise),
    "cross_entropy": (losses.cross_entropy, SOFT, LABELS, lambda p, t: surprise(np.log(p), t)),
    "cross_entropy, probabilities": (losses.cross_entropy, SOFT, SOFT[::-1], lambda p, t: surprise(np.log(p), t)),
    "sigmoid_binary_cross_entropy": (
        losses.sigmoid_binary_cross_entropy,
        normal(5, 1),
        np.array([[1], [0], [1], [1], [0]]),
        lambda p, t: mean_over(log_loss, p, t),
    ),
    "sigmoid_binary_cross_entropy, several outcomes": (
        losses.sigmoid_binary_cross_entropy,
        normal(5, 3),
        SOFT,
        lambda p, t: mean_over(log_loss, p, t),
    ),
    "sigmoid_binary_cross_entropy, one axis": (
        losses.sigmoid_binary_cross_entropy,
        normal(5),
        np.array([True, False, True, True, False]),
        lambda p, t: mean_over(log_loss, p, t),
    ),
    "mse": (losses.mse, normal(5, 2), normal(5, 2, seed=1), lambda p, t: mean_over(lambda a, b: (a - b) ** 2, p, t)),
    "mse, one axis": (
        losses.mse,
        normal(5),
        normal(5, seed=1),
        lambda p, t: mean_over(lambda a, b: (a - b) ** 2, p, t),
    ),
    "mse, images": (
        losses.mse,
        normal(5, 2, 2, 1),
        normal(5, 2, 2, 1, seed=1),
        lambda p, t: mean_over(lambda a, b: (a - b) ** 2, p, t),
    ),
}
every_case = pytest.mark.parametrize(("loss", "predictions", "targets", "definition"), CASES.values(), ids=CASES.keys())


def test_every_public_loss_is_here():
    assert {name.partition(",")[0] for name in CASES} == set(losses.__all__)


@every_case
def test_value_is_the_mean(loss, predictions, targets, definition):
    value, _ = loss(predictions, targets)
    np.testing.assert_allclose(value, np.mean(definition(predictions, targets)), rtol=1e-12)


@every_case
def test_value_is_the_weighted_mean(loss, predictions, targets, definition):
    value, _ = loss(predictions, targets, sample_weight=WEIGHTS)
    np.testing.assert_allclose(value, np.average(definition(predictions, targets), weights=WEIGHTS), rtol=1e-12)


@every_case
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_vjp(loss, predictions, targets, definition, weights):
    check_vjp(lambda predictions: loss(predictions, targets, sample_weight=weights), predictions, strict=True)


@every_case
def test_one_example(loss, predictions, targets, definition):
    np.testing.assert_allclose(loss(predictions[:1], targets[:1])[0], definition(predictions, targets)[0], rtol=1e-12)
    check_vjp(lambda predictions: loss(predictions, targets[:1]), predictions[:1], strict=True)


@every_case
def test_weight_k_counts_like_k_repetitions(loss, predictions, targets, definition):
    times = np.array([1, 3, 0, 2, 1])
    value, vjp = loss(predictions, targets, sample_weight=times)
    repeated, repeated_vjp = loss(predictions.repeat(times, axis=0), targets.repeat(times, axis=0))
    np.testing.assert_allclose(value, repeated, rtol=1e-12)
    shares = repeated_vjp(1.0)
    summed = [shares[end - k : end].sum(axis=0) for end, k in zip(times.cumsum(), times, strict=True)]
    np.testing.assert_allclose(vjp(1.0), summed, rtol=1e-12)


@every_case
def test_weight_one_changes_no_bit(loss, predictions, targets, definition):
    for dtype in (np.float32, np.float64):
        value, vjp = loss(predictions.astype(dtype), targets)
        ones_value, ones_vjp = loss(predictions.astype(dtype), targets, sample_weight=np.ones(5))
        assert value == ones_value and value.dtype == dtype
        assert np.array_equal(vjp(1.0), ones_vjp(1.0)) and vjp(1.0).dtype == dtype


@every_case
def test_no_examples_and_no_weight_have_no_mean(loss, predictions, targets, definition):
    with pytest.raises(ValueError, match="no mean over 0 examples"):
        loss(predictions[:0], targets[:0])
    with pytest.raises(ValueError, match="no mean over 5 examples whose weights sum to 0"):
        loss(predictions, targets, sample_weight=np.zeros(5))


@every_case
def test_bad_weights_are_named(loss, predictions, targets, definition):
    for weights, error, message in [
        (np.ones(4), ValueError, r"sample_weight has shape \(4,\); expected \(5,\)"),
        (-np.ones(5), ValueError, "must be finite and >= 0"),
        (np.full(5, np.inf), ValueError, "must be finite and >= 0"),
        (np.array(["a"] * 5), TypeError, "must be real numbers"),
    ]:
        with pytest.raises(error, match=message):
            loss(predictions, targets, sample_weight=weights)


@every_case
def test_integer_predictions_are_refused(loss, predictions, targets, definition):
    with pytest.raises(TypeError, match="predictions has dtype int64"):
        loss(np.zeros(predictions.shape, int), targets)


CLASSIFICATION = [losses.softmax_cross_entropy, losses.nll, losses.cross_entropy]


@pytest.mark.parametrize("loss", CLASSIFICATION)
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.array([0, 1, 2, 3, 0]), ValueError, r"labels must lie in 0\.\.2 for 3 classes; got values from 0 to 3"),
        (np.array([0, 1, -1, 0, 0]), ValueError, "got values from -1 to 1"),
        (np.array([0.0, 1.0, 2.0, 0.0, 0.0]), TypeError, "labels must be integers, not float64"),
        (np.array([True, False, True, True, True]), TypeError, "labels must be integers, not bool"),
        (np.array([0, 1, 2, 0]), ValueError, r"labels \(4,\) do not go with predictions \(5, 3\); expected \(5,\)"),
        (SOFT[:, :2], ValueError, r"predictions \(5, 3\) and target probabilities \(5, 2\) differ"),
        (2 * SOFT, ValueError, "target probabilities must be >= 0 and sum to 1"),
        (np.array([[2.0, -1.0, 0.0]] * 5), ValueError, "target probabilities must be >= 0 and sum to 1"),
        (np.array(1), ValueError, r"labels \(\)"),
    ],
)
def test_bad_labels_are_named(loss, labels, error, message):
    with pytest.raises(error, match=message):
        loss(SOFT, labels)


@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_an_example_may_have_several_positions(loss):
    scores, labels = oracles.softmax(normal(2, 3, 4, 5)), np.random.default_rng(0).integers(0, 5, (2, 3, 4))
    value, vjp = loss(scores, labels)
    flat_value, flat_vjp = loss(scores.reshape(24, 5), labels.ravel())
    np.testing.assert_allclose(value, flat_value, rtol=1e-13)
    np.testing.assert_allclose(vjp(1.0), flat_vjp(1.0).reshape(scores.shape), rtol=1e-13)
    # a weight for each example, or for each position
    weights = np.array([1.0, 3.0])
    by_position = np.broadcast_to(weights[:, None, None], (2, 3, 4))
    assert loss(scores, labels, sample_weight=weights)[0] == loss(scores, labels, sample_weight=by_position)[0]
    check_vjp(lambda scores: loss(scores, labels, sample_weight=weights), scores, strict=True)


def test_the_three_classification_losses_are_one():
    logits = normal(5, 3)
    value, vjp = losses.softmax_cross_entropy(logits, LABELS)
    for first, second in ((ops.softmax, losses.cross_entropy), (ops.log_softmax, losses.nll)):
        outputs, outputs_vjp = first(logits)
        composed, composed_vjp = second(outputs, LABELS)
        np.testing.assert_allclose(composed, value, rtol=1e-13)
        np.testing.assert_allclose(outputs_vjp(composed_vjp(1.0)), vjp(1.0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype):
    logits = np.array([[1e4, -1e4, 0.0]] * 2, dtype)
    value, vjp = losses.softmax_cross_entropy(logits, np.array([0, 1]))
    assert value == 1e4  # no loss for the first, 2e4 nats for the second
    np.testing.assert_allclose(vjp(1.0), [[0, 0, 0], [0.5, -0.5, 0]])
    value, vjp = losses.sigmoid_binary_cross_entropy(logits, np.array([[1, 1, 0]] * 2))
    np.testing.assert_allclose(value, (1e4 + math.log(2)) / 3, rtol=1e-6)
    assert np.isfinite(vjp(1.0)).all()


def test_impossible_classes_cost_nothing_unless_they_happen():
    logits = np.array([[0.0, 0.0, -np.inf]])
    value, vjp = losses.softmax_cross_entropy(logits, np.array([1]))
    np.testing.assert_allclose(value, math.log(2))
    assert vjp(1.0).tolist() == [[0.5, -0.5, 0.0]]
    assert losses.softmax_cross_entropy(logits, np.array([2]))[0] == np.inf
    soft, _ = losses.softmax_cross_entropy(logits, np.array([[0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(soft, math.log(2))


def test_a_probability_of_zero_costs_infinity():
    probs = np.array([[1.0, 0.0]])
    assert losses.cross_entropy(probs, np.array([1]))[0] == np.inf
    value, vjp = losses.cross_entropy(probs, np.array([0]))
    assert value == 0 and vjp(1.0).tolist() == [[-1.0, 0.0]]


def test_probabilities_may_be_off_by_rounding_and_no_more():
    probs = np.array([[1.0005, 0.0]])
    np.testing.assert_allclose(losses.cross_entropy(probs, np.array([0]))[0], -math.log(1.0005))
    for outside in ([[1.002, 0.0]], [[1.0, -1e-9]]):
        with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
            losses.cross_entropy(np.array(outside), np.array([0]))


def test_logits_handed_over_as_probabilities_are_noticed():
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]; got values from -2.0 to 3.0 .*takes logits"):
        losses.cross_entropy(np.array([[-2.0, 3.0]]), np.array([0]))


def test_targets_out_of_range_or_shape():
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 1\]; got values from 0.0 to 2.0"):
        losses.sigmoid_binary_cross_entropy(normal(2, 1), np.array([[0], [2]]))
    for loss in (losses.sigmoid_binary_cross_entropy, losses.mse):
        with pytest.raises(ValueError, match=r"predictions \(5, 1\) and targets \(5,\) must have one shape"):
            loss(normal(5, 1), np.zeros(5))  # NumPy would make 5 x 5 of them
        with pytest.raises(ValueError, match=r"predictions \(5, 0\) and targets \(5, 0\) must have one shape"):
            loss(normal(5, 0), np.zeros((5, 0)))
        with pytest.raises(TypeError, match="targets must be real numbers"):
            loss(normal(2), np.array(["a", "b"]))
    for loss in CLASSIFICATION:
        with pytest.raises(ValueError, match=r"predictions must be \(N, \.\.\., C\) with C >= 1, not \(3,\)"):
            loss(normal(3), np.array([0, 1, 2]))
