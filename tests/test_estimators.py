"""The estimators: certified by scikit-learn's own checks, at home in its tools, and good without tuning."""

import pickle
import re

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine, make_regression
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from threadpoolctl import threadpool_limits

from funcnn import layers, serial, training
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor

DIGITS, LABELS = load_digits(return_X_y=True)
SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "threads": 1}


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """Networks as small as these gain nothing from more, and lose a lot where other tests keep the cores busy."""
    with threadpool_limits(1, "blas"):
        yield


CHECKED = [ConvNetClassifier(), ConvNetRegressor()]


@parametrize_with_checks(CHECKED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda e: type(e).__name__)
def test_the_checks_are_not_hollow(estimator):
    assert estimator.__sklearn_tags__().input_tags.two_d_array
    assert len(list(estimator_checks_generator(estimator, mark=None))) >= 55


def test_digits_in_five_folds():
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    assert cross_val_score(ConvNetClassifier(random_state=0), DIGITS, LABELS, cv=folds).mean() >= 0.988


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # MLPClassifier's
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_iris])
def test_tables_are_classified_about_as_well_as_by_mlp_classifier(load):
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), classifier),
            *load(return_X_y=True),
            cv=StratifiedKFold(3, shuffle=True, random_state=0),
        ).mean()
        for classifier in (ConvNetClassifier(random_state=0), MLPClassifier(random_state=0, max_iter=200))
    ]
    assert scores[0] >= scores[1] - 0.01


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # MLPRegressor's
@pytest.mark.parametrize(
    "data",
    [load_diabetes(return_X_y=True), make_regression(300, 20, noise=10, random_state=0)],
    ids=["diabetes", "linear"],
)
def test_numbers_are_predicted_at_least_as_well_as_by_mlp_regressor(data):
    scores = [
        cross_val_score(make_pipeline(StandardScaler(), r), *data, cv=KFold(3, shuffle=True, random_state=0)).mean()
        for r in (ConvNetRegressor(random_state=0), MLPRegressor(random_state=0))
    ]
    assert scores[0] >= scores[1] - 0.01


@pytest.mark.parametrize(
    ("x", "image_shape"),
    [
        (DIGITS[:40], (8, 8, 1)),
        (DIGITS[:40, :30], (1, 30, 1)),
        (DIGITS[:40].reshape(-1, 8, 8), (8, 8, 1)),
        (DIGITS[:40].reshape(-1, 4, 8, 2), (4, 8, 2)),
        (DIGITS[:40].astype(np.uint8), (8, 8, 1)),
        (np.asfortranarray(DIGITS[:40], np.float16), (8, 8, 1)),
        (DIGITS[:40].tolist(), (8, 8, 1)),
        (DIGITS[:40, :1], (1, 1, 1)),
    ],
    ids=["square", "row", "images", "colours", "bytes", "columns first", "lists", "one feature"],
)
def test_shapes_and_kinds_of_input(x, image_shape):
    net = ConvNetClassifier(**SMALL).fit(x, LABELS[:40])
    assert net.image_shape_ == image_shape and net.n_features_in_ == np.prod(image_shape)
    assert net.predict_proba(x).shape == (40, 10)


def test_read_only_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", DIGITS[:50])
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert ConvNetClassifier(**SMALL).fit(x, LABELS[:50]).predict(x).shape == (50,)


def test_image_shape_can_be_said():
    net = ConvNetClassifier(image_shape=(4, 16), **SMALL).fit(DIGITS[:50], LABELS[:50])
    assert net.image_shape_ == (4, 16, 1)
    with pytest.raises(ValueError, match=r"image_shape \(3, 5\) does not fit the data, which has 64 features"):
        ConvNetClassifier(image_shape=(3, 5), **SMALL).fit(DIGITS[:50], LABELS[:50])
    with pytest.raises(ValueError, match=r"images of shape \(4, 4, 4\), but was fitted on \(4, 16, 1\)"):
        net.predict(DIGITS[:50].reshape(-1, 4, 4, 4))


def test_strings_two_classes_and_their_functions():
    two = LABELS < 2
    y = np.array(["zero", "one"])[LABELS[two]]
    net = ConvNetClassifier(**SMALL).fit(DIGITS[two], y)
    assert net.classes_.tolist() == ["one", "zero"] and net.score(DIGITS[two], y) > 0.95
    decision, proba = net.decision_function(DIGITS[two]), net.predict_proba(DIGITS[two])
    assert np.allclose(1 / (1 + np.exp(-decision)), proba[:, 1]) and np.allclose(proba.sum(axis=1), 1)
    assert np.allclose(np.exp(net.predict_log_proba(DIGITS[two])), proba)


def test_several_outputs():
    x, y = make_regression(120, 12, n_targets=3, random_state=0)
    net = ConvNetRegressor(max_iter=60, random_state=0).fit(x, y * [1, 1e3, 1e-3])
    assert net.predict(x).shape == (120, 3) and net.score(x, y * [1, 1e3, 1e-3]) > 0.9
    assert ConvNetRegressor(**SMALL).fit(x, y[:, :1]).predict(x).shape == (120, 1)


def test_one_random_state_one_result():
    fits = [ConvNetClassifier(**SMALL).fit(DIGITS[:200], LABELS[:200]).predict_proba(DIGITS[200:300]) for _ in "ab"]
    assert np.array_equal(*fits)
    other = ConvNetClassifier(**{**SMALL, "random_state": 1}).fit(DIGITS[:200], LABELS[:200])
    assert not np.allclose(other.predict_proba(DIGITS[200:300]), fits[0])


def test_rows_do_not_depend_on_each_other():
    net = ConvNetClassifier(max_iter=1, random_state=0).fit(DIGITS[:300], LABELS[:300])
    whole = net.predict_proba(DIGITS[:300])
    for rows in (slice(0, 1), slice(7, 300), slice(0, 299, 2)):
        assert np.allclose(net.predict_proba(DIGITS[rows]), whole[rows], rtol=1e-9, atol=0)


def test_the_functional_core_gives_the_same():
    net = ConvNetClassifier(**SMALL).fit(DIGITS[:200], LABELS[:200])
    x = ((DIGITS[:9] - net.offset_) / net.scale_).reshape(-1, 8, 8, 1).astype(np.float32)
    logits = training.predict(net.model_, net.params_, net.state_, x)
    assert np.allclose(logits, net.decision_function(DIGITS[:9]), rtol=1e-3, atol=1e-4)


def test_weights_count_as_repeats():
    x, y, weights = DIGITS[:20], LABELS[:20], np.arange(20) % 4
    settings = {**SMALL, "augment": None, "dtype": "float64", "batch_size": 100}
    weighted = ConvNetClassifier(**settings).fit(x, y, sample_weight=weights)
    repeated = ConvNetClassifier(**settings).fit(x.repeat(weights, axis=0), y.repeat(weights))
    kept = np.isin(weighted.classes_, repeated.classes_)
    assert kept.all() and np.allclose(weighted.predict_proba(x), repeated.predict_proba(x))


def test_class_weights():
    x, y = load_breast_cancer(return_X_y=True)
    plain, towards_one = (
        ConvNetClassifier(class_weight=w, **SMALL).fit(x, y).predict_proba(x)[:, 1].mean()
        for w in (None, {0: 1, 1: 50})
    )
    assert towards_one > plain + 0.02
    assert ConvNetClassifier(class_weight="balanced", **SMALL).fit(x, y).score(x, y) > 0.9


def test_early_stopping_puts_the_best_parameters_back():
    x, x_val, y, y_val = train_test_split(DIGITS, LABELS, test_size=300, random_state=0, stratify=LABELS)
    net = ConvNetClassifier(**{**SMALL, "max_iter": 40}, early_stopping=True, n_iter_no_change=2, tol=0.01)
    net.fit(x, y, X_val=x_val, y_val=y_val)
    assert net.n_iter_ == len(net.loss_curve_) == len(net.validation_scores_) < 40
    assert net.score(x_val, y_val) == net.best_validation_score_ == max(net.validation_scores_)
    assert max(net.validation_scores_[-2:]) <= max(net.validation_scores_[:-2]) + 0.01
    assert ConvNetRegressor(early_stopping=True, **SMALL).fit(x, y).validation_scores_ is not None


def test_a_validation_set_alone_stops_nothing():
    net = ConvNetClassifier(**SMALL).fit(DIGITS[:99], LABELS[:99], X_val=DIGITS[99:150], y_val=LABELS[99:150])
    assert len(net.validation_scores_) == net.n_iter_ == 4 and net.loss_ == net.loss_curve_[-1]
    with pytest.raises(ValueError, match="X_val and y_val belong together"):
        net.fit(DIGITS[:99], LABELS[:99], X_val=DIGITS[99:150])


def test_partial_fit_goes_on():
    net = ConvNetClassifier(**{**SMALL, "channels": (8,), "hidden_layer_sizes": (32,)})
    scores = [net.partial_fit(DIGITS, LABELS, classes=range(10)).score(DIGITS, LABELS) for _ in range(3)]
    assert scores[0] < scores[2] > 0.8 and net.n_iter_ == 3
    with pytest.raises(ValueError, match=r"\[11\], which are not among \[0, 1, 2"):
        net.partial_fit(DIGITS[:5], [1, 2, 3, 4, 11])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clone(net).partial_fit(DIGITS, LABELS)


def test_partial_fit_and_warm_start_after_fit():
    net = ConvNetClassifier(**SMALL, warm_start=True).fit(DIGITS, LABELS)
    first = net.loss_curve_[-1]
    assert net.fit(DIGITS, LABELS).loss_curve_[-1] < first
    before = net.params_["0_conv2d"]["w"].copy()
    assert not np.array_equal(net.partial_fit(DIGITS, LABELS).params_["0_conv2d"]["w"], before)


def small_net(image_shape, n_outputs):
    return serial(layers.flatten(), layers.dense(n_outputs))


def test_a_model_of_ones_own():
    for model in (small_net, small_net((8, 8, 1), 10)):
        net = clone(ConvNetClassifier(model=model, max_iter=5, random_state=0)).fit(DIGITS, LABELS)
        assert list(net.params_) == ["0_flatten", "1_dense"] and net.score(DIGITS, LABELS) > 0.9
    with pytest.raises(ValueError, match=r"output for images of \(8, 8, 1\) is \(3,\); expected \(10,\)"):
        ConvNetClassifier(model=serial(layers.flatten(), layers.dense(3))).fit(DIGITS, LABELS)
    with pytest.raises(TypeError, match="must return a funcnn Layer"):
        ConvNetClassifier(model=lambda image_shape, n_outputs: None).fit(DIGITS, LABELS)


def test_pickle_and_joblib(tmp_path):
    net = ConvNetClassifier(model=small_net, random_state=0, max_iter=2).fit(DIGITS[:99], LABELS[:99])
    joblib.dump(net, tmp_path / "net.joblib")
    for copy in (pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")):
        assert np.array_equal(copy.predict_proba(DIGITS[:9]), net.predict_proba(DIGITS[:9]))
        copy.partial_fit(DIGITS[:99], LABELS[:99])


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


def test_sample_weight_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), ConvNetRegressor(**SMALL).set_fit_request(sample_weight=True))
        x, y = make_regression(60, 5, random_state=0)
        weights = np.r_[np.ones(30), np.zeros(30)]
        routed = pipe[-1:].fit(x, y, sample_weight=weights).predict(x)
        assert np.allclose(routed, ConvNetRegressor(**SMALL).fit(x, y, sample_weight=weights).predict(x))


def test_html_shows_the_network():
    net = ConvNetClassifier(**SMALL)
    assert "0_conv2d" not in net._repr_html_()
    assert re.search(r"<pre>layer .*0_conv2d .*\(8, 8, 4\)", net.fit(DIGITS[:50], LABELS[:50])._repr_html_(), re.DOTALL)


def test_verbose_tells_of_every_epoch_on_stderr(capsys):
    ConvNetClassifier(**SMALL, verbose=True).fit(DIGITS[:50], LABELS[:50])
    out, err = capsys.readouterr()
    assert out == "" and re.findall(r"epoch (\d)/4  loss \d\.\d+\n", err) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"channels": (0,)}, r"'channels' parameter of ConvNetClassifier must be an int >= 1. Got 0"),
        ({"max_iter": 0}, "'max_iter'"),
        ({"batch_size": 2.5}, "'batch_size'"),
        ({"alpha": -1}, "'alpha'"),
        ({"learning_rate_init": 0}, "'learning_rate_init'"),
        ({"dropout": 1.0}, "'dropout'"),
        ({"activation": "step"}, "'activation'"),
        ({"solver": "lbfgs"}, "'solver'"),
        ({"augment": "flip"}, "'augment'"),
        ({"model": 3}, "'model'"),
        ({"kernel_size": (3, 3, 3)}, "a number or a pair"),
    ],
)
def test_parameters_out_of_range(parameters, words):
    with pytest.raises(ValueError, match=words):
        ConvNetClassifier(**parameters).fit(DIGITS[:20], LABELS[:20])


@pytest.mark.parametrize(
    ("x", "y", "weights", "words"),
    [
        (np.where(DIGITS[:20] > 3, np.nan, 0), LABELS[:20], None, "contains NaN"),
        (np.where(DIGITS[:20] > 3, np.inf, 0), LABELS[:20], None, "contains infinity"),
        (DIGITS[:20] + 1j, LABELS[:20], None, "Complex data not supported"),
        (DIGITS[:0], LABELS[:0], None, r"Found array with 0 sample\(s\)"),
        (DIGITS[:20], LABELS[:19], None, "inconsistent numbers of samples"),
        (DIGITS[:20], LABELS[:20] / 7, None, "Unknown label type: continuous"),
        (DIGITS[:20], LABELS[:20], np.ones(19), r"sample_weight.shape == \(19,\), expected \(20,\)"),
        (DIGITS[:20], LABELS[:20], np.zeros(20), "zero"),
        (DIGITS[:20], LABELS[:20], -np.ones(20), "[Nn]egative"),
        (np.zeros((2, 2, 2, 2, 2)), LABELS[:2], None, r"expected \(n, features\), \(n, h, w\) or"),
    ],
)
def test_bad_data(x, y, weights, words):
    with pytest.raises(ValueError, match=words):
        ConvNetClassifier(**SMALL).fit(x, y, sample_weight=weights)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        ConvNetClassifier().predict(DIGITS)
