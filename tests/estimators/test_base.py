"""What classifier and regressor have in common: scikit-learn's checks, data, parameters, the training loop."""

import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from funcnn import training
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor

DIGITS, LABELS = load_digits(return_X_y=True)
SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "threads": 1}


CHECKED = [ConvNetClassifier(), ConvNetRegressor()]


@parametrize_with_checks(CHECKED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda e: type(e).__name__)
def test_the_checks_are_not_hollow(estimator):
    assert estimator.__sklearn_tags__().input_tags.two_d_array
    assert len(list(estimator_checks_generator(estimator, mark=None))) >= 55


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


def test_image_shape_can_be_given():
    net = ConvNetClassifier(image_shape=(4, 16), **SMALL).fit(DIGITS[:50], LABELS[:50])
    assert net.image_shape_ == (4, 16, 1)
    with pytest.raises(ValueError, match=r"image_shape \(3, 5\) does not fit the data, which has 64 features"):
        ConvNetClassifier(image_shape=(3, 5), **SMALL).fit(DIGITS[:50], LABELS[:50])
    with pytest.raises(ValueError, match=r"images of shape \(4, 4, 4\), but was fitted on \(4, 16, 1\)"):
        net.predict(DIGITS[:50].reshape(-1, 4, 4, 4))


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


def test_early_stopping_puts_the_best_parameters_back():
    x, x_val, y, y_val = train_test_split(DIGITS, LABELS, test_size=300, random_state=0, stratify=LABELS)
    net = ConvNetClassifier(**{**SMALL, "max_iter": 40}, early_stopping=True, n_iter_no_change=2, tol=0.01)
    net.fit(x, y, X_val=x_val, y_val=y_val)
    assert net.n_iter_ == len(net.loss_curve_) == len(net.validation_scores_) < 40
    assert net.score(x_val, y_val) == net.best_validation_score_ == max(net.validation_scores_)
    assert max(net.validation_scores_[-2:]) <= max(net.validation_scores_[:-2]) + 0.01
    assert ConvNetRegressor(early_stopping=True, **SMALL).fit(x, y).validation_scores_ is not None


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(200, 0.1, 20), (25, 0.3, 8), (3, 0.1, 1)])
def test_held_out_examples_are_a_stratified_part(n, fraction, held_out):
    seen = []

    class Watched(ConvNetClassifier):
        def _score(self, model, validation):
            seen.append(validation)
            return super()._score(model, validation)

    y = np.arange(n) % 2
    net = Watched(early_stopping=True, validation_fraction=fraction, **{**SMALL, "max_iter": 1})
    net.fit(DIGITS[:n], y)
    (x_val, y_val, _), *_ = seen
    assert len(x_val) == len(y_val) == held_out
    assert abs(np.bincount(y_val, minlength=2) - held_out / 2).max() <= 0.5
    rows = [np.flatnonzero((DIGITS[:n] == row).all(axis=1)).item() for row in x_val]
    assert np.array_equal(y[rows], y_val) and len(set(rows)) == held_out


def test_nothing_left_to_train_on():
    net = ConvNetRegressor(early_stopping=True, validation_fraction=0.9, **SMALL)
    with pytest.raises(ValueError, match=r"validation_fraction 0.9 of 3 examples leaves none"):
        net.fit(DIGITS[:3], LABELS[:3])


def test_early_stopping_after_the_first_epoch_without_improvement():
    net = ConvNetRegressor(**{**SMALL, "max_iter": 30}, early_stopping=True, n_iter_no_change=1, tol=1e6)
    net.fit(DIGITS[:99], LABELS[:99])
    assert net.n_iter_ == 2  # the first is better than none, and no later one is by so much
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.best_loss_ is None
    # without early stopping the training loss is what counts, and the last parameters stay
    plain = ConvNetRegressor(**{**SMALL, "max_iter": 30}, n_iter_no_change=2, tol=1e6).fit(DIGITS[:99], LABELS[:99])
    assert plain.n_iter_ == 3 and plain.best_loss_ == min(plain.loss_curve_)


def test_a_validation_set_without_early_stopping_stops_nothing():
    net = ConvNetClassifier(**SMALL).fit(DIGITS[:99], LABELS[:99], X_val=DIGITS[99:150], y_val=LABELS[99:150])
    assert len(net.validation_scores_) == net.n_iter_ == 4 and net.loss_ == net.loss_curve_[-1]
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        net.fit(DIGITS[:99], LABELS[:99], X_val=DIGITS[99:150])


def test_partial_fit_continues():
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


def test_html_shows_the_network():
    net = ConvNetClassifier(**SMALL)
    assert "0_conv2d" not in net._repr_html_()
    assert re.search(r"<pre>layer .*0_conv2d .*\(8, 8, 4\)", net.fit(DIGITS[:50], LABELS[:50])._repr_html_(), re.DOTALL)


def test_verbose_tells_of_every_epoch_on_stderr(capsys):
    ConvNetClassifier(**SMALL, verbose=True).fit(DIGITS[:50], LABELS[:50])
    out, err = capsys.readouterr()
    assert out == "" and re.findall(r"epoch (\d)/4  loss \d\.\d+\n", err) == ["1", "2", "3", "4"]


def test_verbose_shows_the_validation_score_and_the_epoch_that_stopped_it(capsys):
    net = ConvNetClassifier(**SMALL, verbose=True, early_stopping=True, n_iter_no_change=1, tol=10.0)
    net.fit(DIGITS[:50], LABELS[:50])
    printed = re.findall(r"epoch (\d)/4  loss \d\.\d+  validation (\d\.\d{4})\n", capsys.readouterr().err)
    assert printed == [(str(i), f"{score:.4f}") for i, score in enumerate(net.validation_scores_, start=1)]
    assert len(printed) == 2


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
        (np.zeros((2, 2, 2, 2, 2)), LABELS[:2], None, r"must be \(n, features\), \(n, h, w\) or"),
    ],
)
def test_bad_data(x, y, weights, words):
    with pytest.raises(ValueError, match=words):
        ConvNetClassifier(**SMALL).fit(x, y, sample_weight=weights)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        ConvNetClassifier().predict(DIGITS)


def test_without_scikit_learn_the_error_names_the_extra():
    probe = "import sys; sys.modules['sklearn'] = None; import funcnn.estimators"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert run.returncode == 1 and last.startswith("ImportError") and "funcnn[estimators]" in last
