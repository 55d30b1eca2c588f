"""What holds for every loss: values against loops over single numbers, VJPs, weights, refused inputs."""

import functools
import math

import numpy as np
import oracles
import pytest
from arrays import layouts, normal

from funcnn import losses
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


def focal_definition(logits, labels, gamma=2.0):
    rows = [[(1 - p) ** gamma * math.log(p) for p in row] for row in oracles.softmax(logits)]
    return surprise(rows, labels)


def kl_definition(log_probs, probs):
    return [
        sum(t * (math.log(t) - q) for t, q in zip(ts, qs, strict=True) if t > 0)
        for ts, qs in zip(probs, log_probs, strict=True)
    ]


def huber_definition(p, t, delta=1.0):
    e = abs(p - t)
    return 0.5 * e * e if e <= delta else delta * (e - 0.5 * delta)


def weighted_log_loss(z, t, pos_weight):
    p = 1 / (1 + math.exp(-z))
    return -(pos_weight * t * math.log(p) + (1 - t) * math.log(1 - p))


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
CASES |= {
    "focal": (losses.focal, normal(5, 3), LABELS, focal_definition),
    "focal, probabilities": (losses.focal, normal(5, 3), SOFT, focal_definition),
    "kl_divergence": (losses.kl_divergence, np.log(SOFT[::-1]), SOFT, kl_definition),
    "kl_divergence, classes that never happen": (
        losses.kl_divergence,
        normal(5, 3),
        np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 1, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]]),
        kl_definition,
    ),
    "hinge": (
        losses.hinge,
        2 * normal(5),
        np.array([1, -1, -1, 1, 1]),
        lambda p, t: mean_over(lambda s, t: max(0, 1 - t * s), p, t),
    ),
    "hinge, several outcomes": (
        losses.hinge,
        2 * normal(5, 3),
        np.sign(normal(5, 3, seed=1)),
        lambda p, t: mean_over(lambda s, t: max(0, 1 - t * s), p, t),
    ),
    "mae": (losses.mae, normal(5, 2), normal(5, 2, seed=1), lambda p, t: mean_over(lambda a, b: abs(a - b), p, t)),
    "mae, one axis": (losses.mae, normal(5), normal(5, seed=1), lambda p, t: mean_over(lambda a, b: abs(a - b), p, t)),
    "huber": (losses.huber, 2 * normal(5, 3), normal(5, 3, seed=1), lambda p, t: mean_over(huber_definition, p, t)),
}
# the same with options
CASES |= {
    "focal, gamma of 0.5": (
        functools.partial(losses.focal, gamma=0.5),
        normal(5, 3),
        LABELS,
        functools.partial(focal_definition, gamma=0.5),
    ),
    "huber, delta of 0.3": (
        functools.partial(losses.huber, delta=0.3),
        normal(5, 3),
        normal(5, 3, seed=1),
        lambda p, t: mean_over(functools.partial(huber_definition, delta=0.3), p, t),
    ),
    "sigmoid_binary_cross_entropy, pos_weight": (
        functools.partial(losses.sigmoid_binary_cross_entropy, pos_weight=np.array([1.0, 3.0, 0.5])),
        normal(5, 3),
        SOFT,
        lambda p, t: [
            np.mean([weighted_log_loss(*outcome) for outcome in zip(z, y, [1.0, 3.0, 0.5], strict=True)])
            for z, y in zip(p, t, strict=True)
        ],
    ),
    "sigmoid_binary_cross_entropy, label_smoothing": (
        functools.partial(losses.sigmoid_binary_cross_entropy, label_smoothing=0.2),
        normal(5, 3),
        np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0]]),
        lambda p, t: mean_over(lambda z, y: log_loss(z, 0.9 if y else 0.1), p, t),
    ),
    "softmax_cross_entropy, label_smoothing": (
        functools.partial(losses.softmax_cross_entropy, label_smoothing=0.3),
        normal(5, 3),
        LABELS,
        lambda p, t: surprise(np.log(oracles.softmax(p)), [[0.8 if c == i else 0.1 for c in range(3)] for i in t]),
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
@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_only_the_ratios_of_weights_count(loss, predictions, targets, definition, scale):
    single = predictions.astype(np.float32)
    expected, expected_vjp = loss(single, targets, sample_weight=WEIGHTS)
    value, vjp = loss(single, targets, sample_weight=scale * WEIGHTS)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(vjp(1.0), expected_vjp(1.0), rtol=1e-4, atol=1e-7)


@every_case
def test_weight_k_counts_like_k_repetitions(loss, predictions, targets, definition):
    times = np.array([1, 3, 0, 2, 1])
    value, vjp = loss(predictions, targets, sample_weight=times)
    repeated, repeated_vjp = loss(predictions.repeat(times, axis=0), targets.repeat(times, axis=0))
    np.testing.assert_allclose(value, repeated, rtol=1e-12)
    parts = repeated_vjp(1.0)
    summed = [parts[end - k : end].sum(axis=0) for end, k in zip(times.cumsum(), times, strict=True)]
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
    with pytest.raises(ValueError, match="the mean over 0 examples is undefined"):
        loss(predictions[:0], targets[:0])
    with pytest.raises(ValueError, match="mean over 5 examples is undefined, as their weights sum to 0"):
        loss(predictions, targets, sample_weight=np.zeros(5))


@every_case
def test_bad_weights_are_named(loss, predictions, targets, definition):
    for weights, error, message in [
        (np.ones(4), ValueError, r"sample_weight must have shape \(5,\) .*, got \(4,\)"),
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


@every_case
def test_complex_numbers_are_ordered_by_the_real_part(loss, predictions, targets, definition):
    value, _ = loss(predictions, targets)
    upward, upward_vjp = loss(predictions + 1e-30j, targets)
    assert upward.dtype == np.complex128 and upward_vjp(1.0).dtype == np.complex128
    np.testing.assert_allclose(upward.real, value, rtol=1e-12)


@every_case
def test_memory_layout_does_not_matter(loss, predictions, targets, definition):
    value, vjp = loss(predictions, targets)
    for name, laid_out in layouts(predictions).items():
        other, other_vjp = loss(laid_out, targets)
        np.testing.assert_allclose(other, value, rtol=1e-13, err_msg=name)
        np.testing.assert_allclose(other_vjp(1.0), vjp(1.0), rtol=1e-12, err_msg=name)


@every_case
def test_nan_is_not_hidden_unless_it_has_no_weight(loss, predictions, targets, definition):
    for unusable in (np.nan, np.inf, -np.inf):
        spoiled = predictions.copy()
        spoiled[2] = unusable
        value, vjp = loss(spoiled, targets, sample_weight=WEIGHTS)  # WEIGHTS[2] is 0
        expected, expected_vjp = loss(predictions, targets, sample_weight=WEIGHTS)
        assert value == expected and np.array_equal(vjp(1.0), expected_vjp(1.0))
        assert not vjp(1.0)[2].any()
    spoiled[0] = np.nan
    spoiled[2] = predictions[2]
    assert np.isnan(loss(spoiled, targets)[0])


CLASSIFICATION = [losses.softmax_cross_entropy, losses.focal, losses.nll, losses.cross_entropy]
LOSSES_OF_NUMBERS = [losses.mse, losses.mae, losses.huber]


def test_targets_out_of_range_or_shape():
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 1\]; got values from 0.0 to 2.0"):
        losses.sigmoid_binary_cross_entropy(normal(2, 1), np.array([[0], [2]]))
    for loss in (losses.sigmoid_binary_cross_entropy, losses.hinge, *LOSSES_OF_NUMBERS):
        with pytest.raises(ValueError, match=r"predictions \(5, 1\) and targets \(5,\) must have the same shape"):
            loss(normal(5, 1), np.zeros(5))  # NumPy would make 5 x 5 of them
        with pytest.raises(ValueError, match=r"predictions \(5, 0\) and targets \(5, 0\) must have the same shape"):
            loss(normal(5, 0), np.zeros((5, 0)))
        with pytest.raises(TypeError, match="targets must be real numbers"):
            loss(normal(2), np.array(["a", "b"]))
    for loss in CLASSIFICATION:
        with pytest.raises(ValueError, match=r"predictions must be \(N, \.\.\., C\) with C >= 1, not \(3,\)"):
            loss(normal(3), np.array([0, 1, 2]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype):
    logits = np.array([[1e4, -1e4, 0.0]] * 2, dtype)
    value, vjp = losses.softmax_cross_entropy(logits, np.array([0, 1]))
    assert value == 1e4  # no loss for the first, 2e4 nats for the second
    np.testing.assert_allclose(vjp(1.0), [[0, 0, 0], [0.5, -0.5, 0]])
    value, vjp = losses.sigmoid_binary_cross_entropy(logits, np.array([[1, 1, 0]] * 2))
    np.testing.assert_allclose(value, (1e4 + math.log(2)) / 3, rtol=1e-6)
    assert np.isfinite(vjp(1.0)).all()
