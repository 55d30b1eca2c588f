"""Losses of classes: labels and probabilities, class weights, smoothing, ignored labels, impossible classes."""

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
CLASS_WEIGHT = np.array([3.0, 0.0, 1.0])
CLASSIFICATION = [losses.softmax_cross_entropy, losses.focal, losses.nll, losses.cross_entropy]
by_class = pytest.mark.parametrize("loss", CLASSIFICATION)


@pytest.mark.parametrize("loss", CLASSIFICATION)
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.array([0, 1, 2, 3, 0]), ValueError, r"labels must lie in 0\.\.2 for 3 classes; got values from 0 to 3"),
        (np.array([0, 1, -1, 0, 0]), ValueError, "got values from -1 to 1"),
        (np.array([0.0, 1.0, 2.0, 0.0, 0.0]), TypeError, "labels must be integers, not float64"),
        (np.array([True, False, True, True, True]), TypeError, "labels must be integers, not bool"),
        (np.array([0, 1, 2, 0]), ValueError, r"labels must have shape \(5,\) for predictions \(5, 3\), got \(4,\)"),
        (SOFT[:, :2], ValueError, r"target probabilities must have the predictions' shape \(5, 3\), got \(5, 2\)"),
        (2 * SOFT, ValueError, "target probabilities must be >= 0 and sum to 1"),
        (np.array([[2.0, -1.0, 0.0]] * 5), ValueError, "target probabilities must be >= 0 and sum to 1"),
        (np.array(1), ValueError, r"labels must have shape \(5,\) .*, got \(\)"),
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
        check_vjp(lambda p: loss(p, labels, label_smoothing=0.1), SOFT, strict=True)  # noqa: B023 - called immediately


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
def test_neutral_options_change_no_bit(loss, dtype, options):
    for labels in (LABELS, SOFT[::-1]):
        if labels is not LABELS and "ignore_index" in options:
            continue
        value, vjp = loss(SOFT.astype(dtype), labels)
        same, same_vjp = loss(SOFT.astype(dtype), labels, **options)
        assert value == same and same.dtype == dtype
        assert np.array_equal(vjp(1.0), same_vjp(1.0)) and same_vjp(1.0).dtype == dtype


@by_class
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": np.ones(2)}, ValueError, r"class_weight must have shape \(3,\) for .*\(5, 3\), got \(2,\)"),
        ({"class_weight": [1.0, -2.0, 1.0]}, ValueError, "class_weight must be finite and >= 0, got -2.0"),
        ({"class_weight": [1.0, np.nan, 1.0]}, ValueError, "class_weight must be finite and >= 0, got nan"),
        ({"class_weight": ["a", "b", "c"]}, TypeError, "class_weight must be real numbers"),
        ({"class_weight": [1, 1, 0]}, ValueError, r"mean over 5 examples is undefined, as their weights sum to 0"),
        ({"label_smoothing": 1.0}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, ValueError, "got -0.1"),
        ({"label_smoothing": np.nan}, ValueError, "got nan"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index must be an int, not 1.0"),
        ({"ignore_index": True}, TypeError, "ignore_index must be an int, not True"),
        (
            {"ignore_index": 2},
            ValueError,
            r"mean over 5 examples is undefined.*\(5, 3\); 5 labels are ignore_index = 2",
        ),
    ],
)
def test_bad_options_are_named(loss, options, error, message):
    with pytest.raises(error, match=message) as caught:
        loss(SOFT, np.full(5, 2), **options)
    assert str(caught.value).startswith(f"{loss.__name__}: ")


@by_class
def test_labels_beside_the_ignored_ones_are_still_checked(loss):
    with pytest.raises(ValueError, match=r"0\.\.2 for 3 classes or be ignore_index = -1; got values from 1 to 3"):
        loss(SOFT, np.array([1, -1, 3, 2, -1]), ignore_index=-1)
    with pytest.raises(ValueError, match="labels must be integers for ignore_index = -1, not probabilities"):
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
        ValueError,
        match=r"log_probs \(5, 3\) and target_probs \(5,\) must have the same shape .*nll takes integer labels",
    ):
        losses.kl_divergence(np.log(SOFT), LABELS)
    with pytest.raises(ValueError, match="target probabilities must be >= 0 and sum to 1"):
        losses.kl_divergence(np.log(SOFT), np.log(SOFT))
