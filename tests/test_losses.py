"""Losses: values against loops over single numbers, VJPs, weights, and inputs that a naive formula cannot take."""

import functools
import math

import numpy as np
import oracles
import pytest
from arrays import layouts, normal

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
by_class = pytest.mark.parametrize("loss", CLASSIFICATION)
LOSSES_OF_NUMBERS = [losses.mse, losses.mae, losses.huber]


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


@by_class
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
    for loss in (losses.sigmoid_binary_cross_entropy, losses.hinge, *LOSSES_OF_NUMBERS):
        with pytest.raises(ValueError, match=r"predictions \(5, 1\) and targets \(5,\) must have one shape"):
            loss(normal(5, 1), np.zeros(5))  # NumPy would make 5 x 5 of them
        with pytest.raises(ValueError, match=r"predictions \(5, 0\) and targets \(5, 0\) must have one shape"):
            loss(normal(5, 0), np.zeros((5, 0)))
        with pytest.raises(TypeError, match="targets must be real numbers"):
            loss(normal(2), np.array(["a", "b"]))
    for loss in CLASSIFICATION:
        with pytest.raises(ValueError, match=r"predictions must be \(N, \.\.\., C\) with C >= 1, not \(3,\)"):
            loss(normal(3), np.array([0, 1, 2]))


CLASS_WEIGHT = np.array([3.0, 0.0, 1.0])


@by_class
def test_a_class_weight_is_a_weight_of_the_class_s_examples(loss):
    value, vjp = loss(SOFT, LABELS, class_weight=CLASS_WEIGHT, sample_weight=WEIGHTS)
    expected, expected_vjp = loss(SOFT, LABELS, sample_weight=WEIGHTS * [1.0, 3.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(vjp(1.0), expected_vjp(1.0), rtol=1e-14)
    repeated, _ = loss(SOFT[[0, 1, 1, 1, 3, 4]], LABELS[[0, 1, 1, 1, 3, 4]])
    np.testing.assert_allclose(loss(SOFT, LABELS, class_weight=CLASS_WEIGHT)[0], repeated, rtol=1e-13)
    check_vjp(lambda p: loss(p, LABELS, class_weight=CLASS_WEIGHT, sample_weight=WEIGHTS), SOFT, strict=True)


@by_class
def test_probabilities_weigh_what_their_classes_weigh_on_average(loss):
    targets = SOFT[::-1]
    value, _ = loss(SOFT, targets, class_weight=CLASS_WEIGHT)
    mean_weights = [3.0 * t[0] + 1.0 * t[2] for t in targets]
    np.testing.assert_allclose(value, loss(SOFT, targets, sample_weight=np.array(mean_weights))[0], rtol=1e-13)
    check_vjp(lambda p: loss(p, targets, class_weight=CLASS_WEIGHT), SOFT, strict=True)


@by_class
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_one_hot_probabilities_equal_integer_labels(loss, smoothing):
    options = {"class_weight": CLASS_WEIGHT, "sample_weight": WEIGHTS, "label_smoothing": smoothing}
    value, vjp = loss(SOFT, LABELS, **options)
    one_hot_value, one_hot_vjp = loss(SOFT, np.eye(3)[LABELS], **options)
    assert value == one_hot_value
    np.testing.assert_allclose(vjp(1.0), one_hot_vjp(1.0), rtol=1e-12, atol=1e-16)


@by_class
def test_label_smoothing_mixes_in_the_uniform_distribution(loss):
    for labels, probs in ((LABELS, np.eye(3)[LABELS]), (SOFT[::-1], SOFT[::-1])):
        value, vjp = loss(SOFT, labels, label_smoothing=0.1, sample_weight=WEIGHTS)
        explicit, explicit_vjp = loss(SOFT, 0.9 * probs + 0.1 / 3, sample_weight=WEIGHTS)
        np.testing.assert_allclose(value, explicit, rtol=1e-14)
        np.testing.assert_allclose(vjp(1.0), explicit_vjp(1.0), rtol=1e-12)
        check_vjp(lambda p: loss(p, labels, label_smoothing=0.1), SOFT, strict=True)  # noqa: B023 - called at once


@by_class
def test_smoothing_leaves_an_example_the_weight_of_its_class(loss):
    weight_of_label = CLASS_WEIGHT[LABELS]
    both = loss(SOFT, LABELS, label_smoothing=0.1, class_weight=CLASS_WEIGHT)[0]
    np.testing.assert_allclose(both, loss(SOFT, LABELS, label_smoothing=0.1, sample_weight=weight_of_label)[0])


@by_class
@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 2, 255])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_positions_are_as_good_as_absent(loss, ignore_index, smoothing):
    scores, labels = oracles.softmax(normal(2, 3, 4, 3)), np.random.default_rng(0).integers(0, 3, (2, 3, 4))
    labels[:, 1:, ::2] = ignore_index
    kept = labels != ignore_index
    weights = np.broadcast_to(np.array([1.0, 3.0])[:, None, None], labels.shape)
    options = {"class_weight": np.array([1.0, 2.0, 0.5]), "label_smoothing": smoothing}
    for unusable in (0.5, 7.0, np.nan, -np.inf):
        scores[~kept] = unusable
        value, vjp = loss(scores, labels, ignore_index=ignore_index, sample_weight=np.array([1.0, 3.0]), **options)
        absent, absent_vjp = loss(scores[kept], labels[kept], sample_weight=weights[kept], **options)
        np.testing.assert_allclose(value, absent, rtol=1e-13)
        np.testing.assert_allclose(vjp(1.0)[kept], absent_vjp(1.0), rtol=1e-12)
        assert not vjp(1.0)[~kept].any()
    scores[~kept] = 0.5
    check_vjp(lambda p: loss(p, labels, ignore_index=ignore_index, **options), scores, strict=True)


def test_a_label_may_be_ignored_in_unsigned_integers():
    labels = np.array([2, 255, 1], np.uint8)
    value, _ = losses.nll(np.log(SOFT[:3]), labels, ignore_index=255)
    assert value == losses.nll(np.log(SOFT[:3:2]), labels[::2])[0]


@by_class
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [{"class_weight": np.ones(3)}, {"label_smoothing": 0.0}, {"ignore_index": -100}],
    ids=["class_weight", "label_smoothing", "ignore_index"],
)
def test_options_that_say_nothing_change_no_bit(loss, dtype, options):
    for labels in (LABELS, SOFT[::-1]):
        if labels is not LABELS and "ignore_index" in options:
            continue
        value, vjp = loss(SOFT.astype(dtype), labels)
        same, same_vjp = loss(SOFT.astype(dtype), labels, **options)
        assert value == same and same.dtype == dtype
        assert np.array_equal(vjp(1.0), same_vjp(1.0)) and same_vjp(1.0).dtype == dtype


def test_options_of_binary_outcomes_that_say_nothing_change_no_bit():
    for dtype in (np.float32, np.float64):
        z = normal(5, 3).astype(dtype)
        value, vjp = losses.sigmoid_binary_cross_entropy(z, SOFT)
        for options in ({"pos_weight": np.ones(3)}, {"pos_weight": 1}, {"label_smoothing": 0.0}):
            same, same_vjp = losses.sigmoid_binary_cross_entropy(z, SOFT, **options)
            assert value == same and np.array_equal(vjp(1.0), same_vjp(1.0)) and same.dtype == dtype


@by_class
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": np.ones(2)}, ValueError, r"class_weight has shape \(2,\); expected \(3,\) for .*\(5, 3\)"),
        ({"class_weight": [1.0, -2.0, 1.0]}, ValueError, "class_weight must be finite and >= 0, got -2.0"),
        ({"class_weight": [1.0, np.nan, 1.0]}, ValueError, "class_weight must be finite and >= 0, got nan"),
        ({"class_weight": ["a", "b", "c"]}, TypeError, "class_weight must be real numbers"),
        ({"class_weight": [1, 1, 0]}, ValueError, r"no mean over 5 examples whose weights sum to 0"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, ValueError, "got -0.1"),
        ({"label_smoothing": np.nan}, ValueError, "got nan"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index is an int, not 1.0"),
        ({"ignore_index": True}, TypeError, "ignore_index is an int, not True"),
        ({"ignore_index": 2}, ValueError, r"no mean over 5 examples .*\(5, 3\); 5 labels are ignore_index = 2"),
    ],
)
def test_bad_options_are_named(loss, options, error, message):
    with pytest.raises(error, match=message) as caught:
        loss(SOFT, np.full(5, 2), **options)
    assert str(caught.value).startswith(f"{loss.__name__}: ")


@by_class
def test_labels_beside_the_ignored_ones_are_still_checked(loss):
    with pytest.raises(ValueError, match=r"0\.\.2 for 3 classes besides ignore_index = -1; got values from 1 to 3"):
        loss(SOFT, np.array([1, -1, 3, 2, -1]), ignore_index=-1)
    with pytest.raises(ValueError, match="ignore_index = -1 needs integer labels, not probabilities"):
        loss(SOFT, SOFT, ignore_index=-1)


@by_class
def test_probabilities_may_sum_to_one_but_for_rounding(loss):
    targets = 0.9995 * SOFT[::-1]
    value, _ = loss(SOFT, targets, class_weight=CLASS_WEIGHT)
    np.testing.assert_allclose(value, 0.9995 * loss(SOFT, SOFT[::-1], class_weight=CLASS_WEIGHT)[0], rtol=1e-13)
    check_vjp(lambda p: loss(p, targets, class_weight=CLASS_WEIGHT), SOFT, strict=True)


def test_focal_without_gamma_is_cross_entropy():
    for labels in (LABELS, SOFT):
        for options in ({}, {"class_weight": CLASS_WEIGHT}, {"label_smoothing": 0.1}):
            value, vjp = losses.focal(normal(5, 3), labels, gamma=0, **options)
            expected, expected_vjp = losses.softmax_cross_entropy(normal(5, 3), labels, **options)
            np.testing.assert_allclose(value, expected, rtol=1e-13)
            np.testing.assert_allclose(vjp(1.0), expected_vjp(1.0), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_takes_logits_of_any_size(gamma, dtype):
    logits = np.array([[1e4, -1e4, 0.0], [0.0, 0.0, -np.inf]], dtype)
    sure, sure_vjp = losses.focal(logits[:1], np.array([0]), gamma=gamma)
    assert sure == 0 and not sure_vjp(1.0).any()
    wrong, wrong_vjp = losses.focal(logits[:1], np.array([1]), gamma=gamma)
    assert wrong == 2e4 and wrong_vjp(1.0).tolist() == [[1, -1, 0]]
    soft, soft_vjp = losses.focal(logits[:1], np.array([[0.5, 0.5, 0.0]]), gamma=gamma)
    assert soft == 1e4 and np.isfinite(soft_vjp(1.0)).all()
    # a class that cannot happen: harmless as long as it does not, infinitely bad if it does, with a finite gradient
    for label in (np.array([0]), np.array([[1.0, 0.0, 0.0]])):
        value, vjp = losses.focal(logits[1:], label, gamma=gamma)
        np.testing.assert_allclose(value, 0.5**gamma * math.log(2), rtol=1e-6)
        assert vjp(1.0)[0, 2] == 0 and np.isfinite(vjp(1.0)).all()
    value, vjp = losses.focal(logits[1:], np.array([2]), gamma=gamma)
    assert value == np.inf and np.isfinite(vjp(1.0)).all()


def test_focal_refuses_a_bad_gamma():
    for gamma in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"focal: gamma must be finite and >= 0, got {gamma}"):
            losses.focal(SOFT, LABELS, gamma=gamma)


def test_smoothing_makes_impossible_classes_cost_infinity():
    value, vjp = losses.softmax_cross_entropy(np.array([[0.0, 0.0, -np.inf]]), np.array([1]), label_smoothing=0.3)
    assert value == np.inf
    np.testing.assert_allclose(vjp(1.0), [[0.4, -0.3, -0.1]])


def test_divergence_is_cross_entropy_less_entropy():
    log_probs, probs = np.log(SOFT), SOFT[::-1]
    value, vjp = losses.kl_divergence(log_probs, probs, sample_weight=WEIGHTS)
    cross, cross_vjp = losses.nll(log_probs, probs, sample_weight=WEIGHTS)
    entropy, _ = losses.nll(np.log(probs), probs, sample_weight=WEIGHTS)
    np.testing.assert_allclose(value, cross - entropy, rtol=1e-12)
    assert np.array_equal(vjp(1.0), cross_vjp(1.0))
    assert losses.kl_divergence(np.log(probs), probs)[0] == 0


def test_divergence_where_classes_cannot_happen():
    log_probs = np.array([[math.log(0.5), math.log(0.5), -np.inf]])
    value, vjp = losses.kl_divergence(log_probs, np.array([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(value, math.log(2))
    assert np.array_equal(vjp(1.0), [[-1, 0, 0]])
    assert losses.kl_divergence(log_probs, np.array([[0.0, 0.5, 0.5]]))[0] == np.inf


def test_divergence_by_position():
    log_probs, probs = np.log(oracles.softmax(normal(2, 3, 4))), oracles.softmax(normal(2, 3, 4, seed=1))
    value, vjp = losses.kl_divergence(log_probs, probs, sample_weight=np.array([1.0, 3.0]))
    flat, flat_vjp = losses.kl_divergence(
        log_probs.reshape(6, 4), probs.reshape(6, 4), sample_weight=np.repeat([1.0, 3.0], 3)
    )
    np.testing.assert_allclose(value, flat, rtol=1e-13)
    np.testing.assert_allclose(vjp(1.0).reshape(6, 4), flat_vjp(1.0), rtol=1e-13)


def test_divergence_takes_probabilities():
    with pytest.raises(
        ValueError, match=r"log_probs \(5, 3\) and target_probs \(5,\) must have one shape .*nll takes integer labels"
    ):
        losses.kl_divergence(np.log(SOFT), LABELS)
    with pytest.raises(ValueError, match="target probabilities must be >= 0 and sum to 1"):
        losses.kl_divergence(np.log(SOFT), np.log(SOFT))


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
        ({"pos_weight": np.ones(2)}, ValueError, r"pos_weight \(2,\) does not go with logits \(5, 3\)"),
        ({"pos_weight": np.ones((5, 3))}, ValueError, r"pos_weight \(5, 3\) does not go with logits \(5, 3\)"),
        ({"pos_weight": -1.0}, ValueError, "pos_weight must be finite and >= 0, got -1.0"),
        ({"pos_weight": "a"}, TypeError, "pos_weight must be real numbers"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
    ]:
        with pytest.raises(error, match=message):
            losses.sigmoid_binary_cross_entropy(normal(5, 3), SOFT, **options)


def test_absolute_errors():
    value, vjp = losses.mae(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(value, 2 / 3)
    np.testing.assert_allclose(vjp(3.0), [-1, 0, 1])  # nothing pulls at the one that is right
    assert losses.mae(np.array([0.0, np.inf]), np.zeros(2))[0] == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huber_at_and_beyond_delta(dtype):
    value, vjp = losses.huber(np.array([2.0, -2.0, 1.0, 5.0], dtype), np.zeros(4), delta=2)
    assert value == (2 + 2 + 0.5 + 8) / 4
    assert vjp(4.0).tolist() == [2, -2, 1, 2]
    # the square of the error would overflow
    value, vjp = losses.huber(np.array([1e30, -np.inf], dtype), np.zeros(2))
    assert value == np.inf and vjp(2.0).tolist() == [1, -1]
    np.testing.assert_allclose(losses.huber(np.array([1e30], dtype), np.zeros(1))[0], 1e30, rtol=1e-6)


def test_huber_of_any_delta_up_to_squares():
    p, t = normal(5, 3), normal(5, 3, seed=1)
    for delta in (1e9, np.inf):
        np.testing.assert_allclose(losses.huber(p, t, delta=delta)[0], losses.mse(p, t)[0] / 2, rtol=1e-13)
    np.testing.assert_allclose(losses.huber(p, t, delta=1e-9)[0], 1e-9 * losses.mae(p, t)[0], rtol=1e-6)
    for delta in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=f"huber: delta must be above 0, got {delta}"):
            losses.huber(p, t, delta=delta)


def test_hinge_has_no_gradient_from_its_kink_on():
    scores = np.array([1.0, 1.0, -1.0, np.inf, 0.0])
    value, vjp = losses.hinge(scores, np.array([1, -1, -1, 1, -1]))
    assert value == 3 / 5
    np.testing.assert_allclose(vjp(5.0), [0, 1, 0, 0, 1])
    assert losses.hinge(np.array([np.inf]), np.array([-1]))[0] == np.inf


def test_hinge_says_how_to_convert_other_targets():
    scores = normal(3)
    for targets in (np.array([1, 0, 1]), np.array([True, True, True])):
        with pytest.raises(ValueError, match=r"hinge: targets must be -1 or 1.*np\.where\(targets.*, 1, -1\) converts"):
            losses.hinge(scores, targets)
        losses.hinge(scores, np.where(targets, 1, -1))
    with pytest.raises(ValueError, match=r"targets must be -1 or 1, got nan"):
        losses.hinge(scores, np.array([1.0, np.nan, 1.0]))


@pytest.mark.parametrize("loss", LOSSES_OF_NUMBERS)
def test_targets_without_weight_may_be_missing(loss):
    value, vjp = loss(normal(3, 2), np.array([[1.0, 2.0], [np.nan, np.nan], [0.0, 1.0]]), sample_weight=[1, 0, 1])
    assert value == loss(normal(3, 2)[::2], np.array([[1.0, 2.0], [0.0, 1.0]]))[0]
    assert not vjp(1.0)[1].any()
