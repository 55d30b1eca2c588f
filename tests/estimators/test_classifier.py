"""ConvNetClassifier: accuracy without tuning, classes, and scikit-learn's other tools."""

import numpy as np
import pytest
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
    net = ConvNetClassifier(**{**SMALL, "max_iter": 30, "channels": (8,), "hidden_layer_sizes": (32,)})
    assert CalibratedClassifierCV(net, cv=2).fit(x, y).predict_proba(x).shape == (300, 10)
    assert VotingClassifier([("net", net), ("svc", SVC())]).fit(x, y).score(x, y) > 0.9
    importance = permutation_importance(net.fit(x, y), x, y, n_repeats=1, random_state=0).importances_mean
    assert importance.shape == (64,) and importance.max() > 0
    sizes, _, scores = learning_curve(net, x, y, train_sizes=[0.2, 1.0], cv=2)
    assert scores[0].mean() < scores[1].mean() and len(sizes) == 2
