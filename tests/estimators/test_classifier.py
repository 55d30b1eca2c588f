"""ConvNetClassifier: accuracy without tuning, classes, and scikit-learn's other tools."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, learning_curve
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from funcnn.estimators import ConvNetClassifier

DIGITS, LABELS = load_digits(return_X_y=True)
SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "threads": 1}


def test_digits_in_five_folds():
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    assert cross_val_score(ConvNetClassifier(random_state=0), DIGITS, LABELS, cv=folds).mean() >= 0.988


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # MLPClassifier's
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_iris])
def test_accuracy_on_tables_is_about_that_of_mlp_classifier(load):
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), classifier),
            *load(return_X_y=True),
            cv=StratifiedKFold(3, shuffle=True, random_state=0),
        ).mean()
        for classifier in (ConvNetClassifier(random_state=0), MLPClassifier(random_state=0, max_iter=200))
    ]
    assert scores[0] >= scores[1] - 0.01


def test_strings_two_classes_and_their_functions():
    two = LABELS < 2
    y = np.array(["zero", "one"])[LABELS[two]]
    net = ConvNetClassifier(**SMALL).fit(DIGITS[two], y)
    assert net.classes_.tolist() == ["one", "zero"] and net.score(DIGITS[two], y) > 0.95
    decision, proba = net.decision_function(DIGITS[two]), net.predict_proba(DIGITS[two])
    assert np.allclose(1 / (1 + np.exp(-decision)), proba[:, 1]) and np.allclose(proba.sum(axis=1), 1)
    assert np.allclose(np.exp(net.predict_log_proba(DIGITS[two])), proba)


def test_class_weights():
    x, y = load_breast_cancer(return_X_y=True)
    plain, towards_one = (
        ConvNetClassifier(class_weight=w, **SMALL).fit(x, y).predict_proba(x)[:, 1].mean()
        for w in (None, {0: 1, 1: 50})
    )
    assert towards_one > plain + 0.02
    assert ConvNetClassifier(class_weight="balanced", **SMALL).fit(x, y).score(x, y) > 0.9


def test_grid_search_in_processes():
    search = GridSearchCV(ConvNetClassifier(**SMALL), {"channels": [(2,), (4,)], "alpha": [0.0, 0.5]}, cv=2, n_jobs=2)
    search.fit(DIGITS[:200], LABELS[:200])
    assert len(search.cv_results_["mean_test_score"]) == 4 and np.isfinite(search.best_score_)


def test_other_company():
    x, y = DIGITS[:300], LABELS[:300]
    net = ConvNetClassifier(**{**SMALL, "max_iter": 12, "channels": (8,), "hidden_layer_sizes": (32,)})
    assert CalibratedClassifierCV(net, cv=2).fit(x, y).predict_proba(x).shape == (300, 10)
    assert VotingClassifier([("net", net), ("svc", SVC())]).fit(x, y).score(x, y) > 0.9
    importance = permutation_importance(net.fit(x, y), x, y, n_repeats=1, random_state=0).importances_mean
    assert importance.shape == (64,) and importance.max() > 0
    sizes, _, scores = learning_curve(net, x, y, train_sizes=[0.2, 1.0], cv=2)
    assert scores[0].mean() < scores[1].mean() and len(sizes) == 2


SEVERAL = (LABELS[:, None] % [2, 3, 5] == 0).astype(int)  # divisible by 2, by 3, by 5


def test_multilabel():
    settings = {**SMALL, "channels": (8,), "hidden_layer_sizes": (32,)}
    net = ConvNetClassifier(**settings, early_stopping=True).fit(DIGITS[:900], SEVERAL[:900])
    proba = net.predict_proba(DIGITS[900:])
    assert net.multilabel_ and net.classes_.tolist() == [0, 1, 2] and proba.shape == (897, 3)
    assert np.array_equal(net.predict(DIGITS[900:]), proba > 0.5)
    assert np.array_equal(net.decision_function(DIGITS[900:]) > 0, proba > 0.5)
    assert np.allclose(np.exp(net.predict_log_proba(DIGITS[900:])), proba)
    assert ((proba > 0.5) == SEVERAL[900:]).mean() > 0.85 and len(net.validation_scores_) == net.n_iter_
    sparse = ConvNetClassifier(**settings, early_stopping=True).fit(DIGITS[:900], csr_array(SEVERAL[:900]))
    assert np.array_equal(sparse.predict_proba(DIGITS[900:]), proba)


def test_weights_of_labels():
    x, y = DIGITS[:100], SEVERAL[:100]
    plain, towards_5, balanced = (
        ConvNetClassifier(class_weight=weight, **SMALL).fit(x, y).predict_proba(x).mean(axis=0)
        for weight in (None, {2: 20.0}, "balanced")
    )
    assert towards_5[2] > plain[2] + 0.2 and balanced[2] > plain[2] + 0.1
    with pytest.raises(ValueError, match=r"class_weight has the classes \[3\], which are not among \[0, 1, 2\]"):
        ConvNetClassifier(class_weight={3: 1}, **SMALL).fit(x, y)


def test_labels_that_do_not_fit_the_earlier_ones():
    net = ConvNetClassifier(**SMALL).partial_fit(DIGITS[:100], SEVERAL[:100], classes=range(3))
    with pytest.raises(ValueError, match="y has one class for each example, but was fitted on 0 or 1 for each label"):
        net.partial_fit(DIGITS[:100], LABELS[:100])
    with pytest.raises(ValueError, match="y has 2 labels, but was fitted on 3"):
        net.partial_fit(DIGITS[:100], SEVERAL[:100, :2])
    with pytest.raises(ValueError, match="y has 2 labels, but was fitted on 3"):
        net.set_params(warm_start=True).fit(DIGITS[:100], SEVERAL[:100, :2])
    with pytest.raises(ValueError, match="y has one class for each example, but was fitted on 0 or 1 for each label"):
        net.fit(DIGITS[:100], LABELS[:100] % 3)
    with pytest.raises(ValueError, match=r"classes \[0, 1\] must be the columns of y, \[0, 1, 2\]"):
        ConvNetClassifier(**SMALL).partial_fit(DIGITS[:100], SEVERAL[:100], classes=range(2))
