"""What classifier and regressor have in common: scikit-learn's checks, data, parameters, the training loop."""

import io
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from funcnn import layers, serial, training
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
    few, labels = DIGITS[:900], LABELS[:900]
    x, x_val, y, y_val = train_test_split(few, labels, test_size=300, random_state=0, stratify=labels)
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
    net = ConvNetClassifier(**SMALL, warm_start=True).fit(DIGITS[:400], LABELS[:400])
    first = net.loss_curve_[-1]
    assert net.fit(DIGITS[:400], LABELS[:400]).loss_curve_[-1] < first
    before = net.params_["0_conv2d"]["w"].copy()
    assert not np.array_equal(net.partial_fit(DIGITS[:400], LABELS[:400]).params_["0_conv2d"]["w"], before)


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
        ({"pool": ()}, "a number or a pair"),
        ({"channels": (True,)}, "'channels'"),
        ({"channels": "ab"}, "'channels'"),
        ({"n_iter_no_change": np.inf}, "'n_iter_no_change'"),
        ({"tol": np.inf}, "'tol'"),
        ({"tol": True}, "'tol'"),
        ({"image_shape": 8}, "'image_shape'"),
        ({"image_shape": (-8, -8)}, "'image_shape'"),
        ({"image_shape": (8.5, 8)}, "'image_shape'"),
        ({"shuffle": "no"}, "'shuffle'"),
        ({"early_stopping": "no"}, "'early_stopping'"),
        ({"early_stopping": True, "validation_fraction": np.nan}, "'validation_fraction'"),
        ({"class_weight": [1, 2]}, "'class_weight'"),
        ({"class_weight": {0: -1}}, "'class_weight'.*also for 0. Got -1"),
        ({"class_weight": {0: np.nan}}, "'class_weight'"),
        ({"class_weight": {"cat": 1}}, r"class_weight has the classes \['cat'\], which are not among \[0, 1"),
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
        (np.array([[10**400], [1]], object), LABELS[:2], None, "a number that float64 cannot hold"),
        (np.zeros((2, 2, 2, 2, 2)), LABELS[:2], None, r"must be \(n, features\), \(n, h, w\) or"),
    ],
)
def test_bad_data(x, y, weights, words):
    with pytest.raises(ValueError, match=words):
        ConvNetClassifier(**SMALL).fit(x, y, sample_weight=weights)


def test_dates_are_no_numbers():
    with pytest.raises(TypeError, match=r"must be real numbers, not datetime64\[D\]"):
        ConvNetClassifier(**SMALL).fit(np.array([["2026-01-01"], ["NaT"]], "M8[D]"), [0, 1])


@pytest.mark.parametrize("image", [DIGITS[0].reshape(8, 8), DIGITS[0].reshape(8, 8, 1)], ids=["grey", "one channel"])
def test_one_image_is_no_batch(image):
    net = ConvNetClassifier(**SMALL).fit(DIGITS[:50], LABELS[:50])
    with pytest.raises(ValueError, match=r"X is one image of shape \(8, 8.*\); a batch of this one image is X\[None\]"):
        net.predict(image)
    assert net.predict(image[None]).shape == (1,)


SERIES, COLOURS = np.zeros((9, 3, 100)), np.zeros((9, 3, 32, 32))


@pytest.mark.parametrize(
    ("estimator", "x", "words"),
    [
        (
            ConvNetClassifier,
            SERIES,
            r"\(n, 3, 100\) looks like series of 100 .* TimeSeriesConvClassifier\(\).fit\(X, y\)",
        ),
        (ConvNetRegressor, SERIES.transpose(0, 2, 1), r"TimeSeriesConvRegressor\(\).fit\(X.transpose\(0, 2, 1\), y\)"),
        (ConvNetClassifier, COLOURS, r"has its 3 channels before 32x32 pixels: pass X.transpose\(0, 2, 3, 1\)"),
    ],
    ids=["series", "time first", "channels first"],
)
def test_series_and_channels_first_are_no_pictures(estimator, x, words):
    with pytest.raises(ValueError, match=words):
        estimator(**SMALL).fit(x, LABELS[:9])
    assert estimator(**SMALL, image_shape=x.shape[1:]).fit(x, LABELS[:9]).image_shape_[:2] == x.shape[1:3]


def test_examples_of_unequal_shapes_are_no_pictures():
    words = r"unequal shapes, \(3, 8\) and \(3, 9\) \(number 2\): resize .* TimeSeriesConvRegressor"
    with pytest.raises(ValueError, match=words):
        ConvNetRegressor(**SMALL).fit([np.zeros((3, 8)), np.zeros((3, 8)), np.zeros((3, 9))], LABELS[:3])


@pytest.mark.parametrize("channels", [4, ()])
def test_one_convolution_or_none(channels):
    net = ConvNetClassifier(**{**SMALL, "channels": channels}).fit(DIGITS[:50], LABELS[:50])
    assert [name.split("_")[1] for name in net.params_].count("conv2d") == (channels == 4)


def test_examples_of_weight_zero_count_as_absent():
    used = np.arange(200) % 3 > 0
    settings = {**SMALL, "early_stopping": True, "class_weight": "balanced"}
    weighted = ConvNetClassifier(**settings).fit(DIGITS[:200], LABELS[:200], sample_weight=used)
    removed = ConvNetClassifier(**settings).fit(DIGITS[:200][used], LABELS[:200][used])
    assert np.array_equal(weighted.predict_proba(DIGITS), removed.predict_proba(DIGITS))
    with pytest.raises(ValueError, match=r"validation_fraction 0.1 of 1 examples leaves none to train on"):
        ConvNetClassifier(**settings, image_shape=(8, 8)).fit(DIGITS, LABELS, sample_weight=np.arange(len(LABELS)) == 3)


@pytest.mark.parametrize("scale", [1.0, 1e308, 1e-308])
def test_only_the_ratios_of_weights_count(scale):
    nets = [ConvNetClassifier(**SMALL).fit(DIGITS[:50], LABELS[:50], np.full(50, weight)) for weight in (1, scale)]
    assert np.allclose(*(net.predict_proba(DIGITS) for net in nets))


@pytest.mark.parametrize("estimator", [ConvNetClassifier, ConvNetRegressor])
def test_the_validation_score_is_weighted(estimator):
    x, y, weight = DIGITS[:400], LABELS[:400], np.where(LABELS[:400] < 5, 1.0, 1e-6)
    settings = {**SMALL, "hidden_layer_sizes": (32,), "max_iter": 1, "validation_fraction": 0.5, "early_stopping": True}
    seen = []

    class Watched(estimator):
        def _score(self, model, validation):
            seen.append(validation)
            return super()._score(model, validation)

    watched = Watched(**settings).fit(x, y, sample_weight=weight)
    ((x_val, y_val, weights),) = seen
    assert watched.validation_scores_ == pytest.approx([watched.score(x_val, y_val, weights)])
    assert watched.score(x_val, y_val) != pytest.approx(watched.validation_scores_[0])


def test_class_weights_count_in_the_validation_score():
    net = ConvNetClassifier(**{**SMALL, "max_iter": 1}, early_stopping=True, class_weight={0: 0.0, 1: 3.0})
    net.fit(DIGITS[:200], LABELS[:200], X_val=DIGITS[200:300], y_val=LABELS[200:300])
    weights = np.choose(np.minimum(LABELS[200:300], 2), [0.0, 3.0, 1.0])
    assert net.validation_scores_ == [pytest.approx(net.score(DIGITS[200:300], LABELS[200:300], weights))]
    with pytest.raises(ValueError, match="all 100 validation weights are zero"):
        net.fit(DIGITS[:200], LABELS[:200], X_val=DIGITS[:100], y_val=np.zeros(100, int))


def test_validation_data_that_give_no_score():
    with pytest.raises(ValueError, match="R2 needs at least two examples to validate on, and there is one"):
        ConvNetRegressor(**SMALL).fit(DIGITS[:10], LABELS[:10], X_val=DIGITS[:1], y_val=LABELS[:1])
    with pytest.raises(ValueError, match=r"y has the classes \[10\], which are not among"):
        ConvNetClassifier(**SMALL).fit(DIGITS, LABELS, X_val=DIGITS, y_val=LABELS + 1)


def test_a_regressor_holds_out_two_examples_at_least():
    net = ConvNetRegressor(**SMALL, early_stopping=True, image_shape=(8, 8)).fit(DIGITS[:10], LABELS[:10])
    assert len(net.validation_scores_) == net.n_iter_ and np.isfinite(net.validation_scores_).all()
    with pytest.raises(ValueError, match=r"0.1 of 2 examples leaves none to train on: 2 must be held out"):
        net.fit(DIGITS[:2], LABELS[:2])


def test_each_class_keeps_an_example_to_train_on():
    y = np.r_[np.zeros(30), np.ones(18), 2, 3]  # two classes of one example
    for seed in range(9):
        net = ConvNetClassifier(**{**SMALL, "random_state": seed, "validation_fraction": 0.9}, early_stopping=True)
        net.multilabel_ = False  # as `fit` finds it
        trained = net._split(y, 45, (seed,))[1]
        assert set(y[trained]) == {0, 1, 2, 3} and len(trained) == 5
    with pytest.raises(
        ValueError, match=r"0.9 of 20 examples holds out 18, which leaves some of the 20 classes without"
    ):
        net.fit(DIGITS[:20], np.arange(20))


def diverge(key, x):
    return x * np.float32(np.nan)


def fail(key, x):
    raise ZeroDivisionError


def interrupt(key, x):
    raise KeyboardInterrupt


@pytest.mark.parametrize("augment", [diverge, fail, interrupt])
@pytest.mark.parametrize("estimator", [ConvNetClassifier, ConvNetRegressor])
def test_a_fit_that_fails_leaves_the_estimator_what_it_was(estimator, augment):
    net = estimator(**SMALL).fit(DIGITS[:99], LABELS[:99]).partial_fit(DIGITS[:99], LABELS[:99])
    net.set_params(augment=augment)
    before = pickle.dumps(net)
    for again in (
        lambda: net.fit(DIGITS[:99, :30].reshape(99, 5, 6), LABELS[:99] + 100),
        lambda: net.partial_fit(DIGITS[99:], LABELS[99:]),
    ):
        with pytest.raises((ValueError, ZeroDivisionError, KeyboardInterrupt)):
            again()
        assert pickle.dumps(net) == before
    fresh = estimator(**SMALL, augment=augment, image_shape=(8, 8))
    with pytest.raises((ValueError, ZeroDivisionError, KeyboardInterrupt)):
        fresh.fit(DIGITS[:99], LABELS[:99])
    assert vars(fresh) == fresh.get_params()


def test_a_warm_start_with_other_classes_is_refused():
    net = ConvNetClassifier(**SMALL, warm_start=True).fit(DIGITS[:99], LABELS[:99])
    with pytest.raises(ValueError, match=r"warm_start: y has the classes \[100, .*, the earlier fit \[0, 1"):
        net.fit(DIGITS[:99], LABELS[:99] + 100)
    assert net.predict(DIGITS[:99]).max() < 10


def test_partial_fit_with_another_solver_starts_its_own_optimizer():
    net = ConvNetClassifier(**SMALL).partial_fit(DIGITS[:99], LABELS[:99], classes=range(10))
    for solver, alpha in (("sgd", 0.5), ("adam", 0.5), ("adam", 0.0)):
        net.set_params(solver=solver, alpha=alpha).partial_fit(DIGITS[:99], LABELS[:99])
    assert len(net.loss_curve_) == 4


@pytest.mark.parametrize(
    "changed",
    [
        {"channels": (5,)},
        {"kernel_size": 1},
        {"pool": 1},
        {"hidden_layer_sizes": (9,), "activation": "tanh"},
        {"dropout": 0.5},
        {"image_shape": (1, 64)},
        {"dtype": "float64"},
        {"model": serial(layers.flatten(), layers.dense(10))},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_partial_fit_refuses_parameters_of_another_network(changed):
    net = ConvNetClassifier(**SMALL).partial_fit(DIGITS[:99], LABELS[:99], classes=range(10))
    before = net.predict_proba(DIGITS[:9])
    with pytest.raises(ValueError, match=f"trains the network further that it has, and .*{list(changed)[-1]} ha"):
        net.set_params(**changed).partial_fit(DIGITS[:99], LABELS[:99])
    assert np.array_equal(net.predict_proba(DIGITS[:9]), before) and len(net.loss_curve_) == 1


def test_partial_fit_goes_on_with_a_network_of_the_users_own(tmp_path):
    own = serial(layers.flatten(), layers.dense(10))
    net = ConvNetClassifier(**SMALL, model=own).partial_fit(DIGITS[:99], LABELS[:99], classes=range(10))
    net.save(tmp_path / "net.safetensors")
    for same in (net, pickle.loads(pickle.dumps(net)), ConvNetClassifier.load(tmp_path / "net.safetensors")):
        assert len(same.partial_fit(DIGITS[:99], LABELS[:99]).loss_curve_) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda net, x, y: net.fit(x, y),
        lambda net, x, y: net.partial_fit(x, y, classes=[0, 1]),
        lambda net, x, y: make_pipeline(StandardScaler(), net).fit(x, y),
    ],
    ids=["fit", "partial_fit", "pipeline"],
)
def test_a_warning_points_at_the_caller(call):
    guess = np.random.default_rng(0).uniform(size=(4, 64))  # too few rows to know whether they are images
    with pytest.warns(UserWarning, match="This is a guess") as caught:
        call(ConvNetClassifier(**SMALL), guess, [0, 1, 0, 1])
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "X_val", "y_val"])
def test_masked_entries_are_refused(name):
    """NumPy, and with it scikit-learn, would compute with the numbers under the mask."""
    given = {"X": DIGITS[:99], "y": LABELS[:99], "sample_weight": np.ones(99), "X_val": DIGITS[:9], "y_val": LABELS[:9]}
    given[name] = np.ma.array(given[name], copy=True)
    given[name][2] = np.ma.masked
    with pytest.raises(ValueError, match=rf"ConvNetClassifier: {name[:1]}\w* has \d+ masked entries"):
        ConvNetClassifier(**SMALL).fit(**given)


@pytest.mark.parametrize("stream", ["closed", "missing", "closed in a notebook"])
def test_verbose_is_never_worth_a_fit(monkeypatch, stream):
    with open(os.devnull, "w") as closed, io.StringIO() as closed_in_a_notebook:
        pass
    stderr = {"closed": closed, "missing": None, "closed in a notebook": closed_in_a_notebook}[stream]
    monkeypatch.setattr(sys, "stderr", stderr)
    net = ConvNetClassifier(**SMALL, verbose=True).fit(DIGITS[:99], LABELS[:99])
    assert len(net.loss_curve_) == 4


def test_not_fitted():
    with pytest.raises(NotFittedError):
        ConvNetClassifier().predict(DIGITS)


def test_without_scikit_learn_the_error_names_the_extra():
    probe = "import sys; sys.modules['sklearn'] = None; import funcnn.estimators"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert run.returncode == 1 and last.startswith("ImportError") and "funcnn[estimators]" in last
