"""Metrics against scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics
from arrays import normal

from funcnn import metrics

SCORES = normal(200, 5)
LABELS = np.random.default_rng(0).integers(0, 5, 200)


def test_accuracy_and_confusion_matrix():
    predicted = SCORES.argmax(1)
    assert metrics.accuracy(SCORES, LABELS) == sklearn.metrics.accuracy_score(LABELS, predicted)
    assert np.array_equal(metrics.confusion_matrix(SCORES, LABELS), sklearn.metrics.confusion_matrix(LABELS, predicted))


def test_binary_outputs_are_logits():
    logits, labels = normal(50, 1), np.random.default_rng(1).integers(0, 2, 50)
    predicted = (logits[:, 0] > 0).astype(int)
    for given in (labels, labels[:, None], labels[:, None].astype(np.float32)):
        assert metrics.accuracy(logits, given) == sklearn.metrics.accuracy_score(labels, predicted)
        assert np.array_equal(
            metrics.confusion_matrix(logits, given), sklearn.metrics.confusion_matrix(labels, predicted)
        )


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k(k):
    expected = sklearn.metrics.top_k_accuracy_score(LABELS, SCORES, k=k)
    np.testing.assert_allclose(metrics.top_k_accuracy(SCORES, LABELS, k), expected)
    assert metrics.top_k_accuracy(SCORES, LABELS, 5) == 1.0


def test_a_class_that_never_occurs_has_a_row():
    matrix = metrics.confusion_matrix(np.eye(3)[:2], np.array([0, 1]))
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert metrics.confusion_matrix(np.eye(3), np.array([0, 1, 2]), n_classes=4).shape == (4, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy(SCORES, LABELS[:3]), ValueError, r"one label per output.*200 outputs.*\(3,\)"),
        (lambda: metrics.accuracy(SCORES[:0], LABELS[:0]), ValueError, "at least one"),
        (lambda: metrics.accuracy(SCORES[:, 0], LABELS), ValueError, r"outputs must be \(N, C\).*\(200,\)"),
        (lambda: metrics.accuracy(SCORES, LABELS + 0.5), TypeError, "labels must be integers, not float64"),
        (lambda: metrics.top_k_accuracy(SCORES, LABELS, 6), ValueError, r"k must be in 1\.\.5 for 5 classes, got 6"),
        (lambda: metrics.confusion_matrix(SCORES, LABELS, 3), ValueError, "labels from 0 to 4 do not fit 3 classes"),
        (lambda: metrics.confusion_matrix(SCORES, LABELS - 1), ValueError, "labels from -1 to 3 do not fit 5 classes"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
