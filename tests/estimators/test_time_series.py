"""Classifier and regressor of time series: scikit-learn's checks, shapes, unequal lengths, ensembles, augmentation."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

from funcnn import models, serial, training, tree
from funcnn.data.examplewise import is_examplewise
from funcnn.estimators import TimeSeriesConvClassifier, TimeSeriesConvRegressor
from funcnn.layers import conv1d, dense, global_avg_pool, relu

# So narrow that a fit takes a fraction of a second.
QUICK = {"max_iter": 3, "random_state": 0, "threads": 1}


def own(in_shape, outputs):
    """A network of the user's own, which can be pickled."""
    return serial(conv1d(4, 3, padding="same"), relu(), global_avg_pool(), dense(outputs))


def tiny(in_shape, outputs):
    """A network as the default, so small that scikit-learn's checks take seconds."""
    return models.fcn(outputs, channels=(8, 8), kernel_sizes=(5, 3))


def waves(n, length, channels=2, seed=0):
    """Sines of two frequencies and any phase, one sample a row: X (n, channels, length) and the classes 0 and 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    phase = rng.uniform(0, 6, (n, channels, 1))
    return np.sin(phase + (0.3 + 0.5 * y)[:, None, None] * np.arange(length)), y


X, Y = waves(24, 16)
UNEQUAL = [x[:, : 9 + i % 8] for i, x in enumerate(X)]
CHECKED = [
    TimeSeriesConvClassifier(tiny, max_iter=12, learning_rate_init=0.05, threads=1),
    TimeSeriesConvRegressor(tiny, max_iter=40, learning_rate_init=0.03, alpha=0.0, threads=1),
]


# Not `parametrize_with_checks`: its names of the checks have the address of the function `tiny`.
UNEQUAL_TO_REPEATS = {
    "check_sample_weight_equivalence_on_dense_data": "batch normalisation takes its statistics of all series alike"
}
CHECKS = [
    param
    for estimator in CHECKED
    for param in estimator_checks_generator(estimator, expected_failed_checks=UNEQUAL_TO_REPEATS, mark="xfail")
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=range(len(CHECKS)))
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CHECKED, ids=lambda e: type(e).__name__)
def test_the_checks_are_not_hollow(estimator):
    assert estimator.__sklearn_tags__().input_tags.two_d_array
    assert len(list(estimator_checks_generator(estimator, mark=None))) >= 50


@pytest.mark.parametrize(("model", "epochs"), [("narrow_fcn", 15), (own, 150)], ids=["narrow_fcn", "own"])
def test_waves_are_told_apart(model, epochs):
    net = TimeSeriesConvClassifier(model, max_iter=epochs, random_state=0, threads=1).fit(X, Y)
    test, classes = waves(20, 16, seed=1)
    assert net.score(test, classes) > 0.85 and net.image_shape_ == (16, 2)


def test_rows_are_series_of_one_channel():
    a, b = (TimeSeriesConvClassifier(**QUICK).fit(x, Y) for x in (X[:, 0], X[:, :1]))
    assert np.array_equal(a.predict_proba(X[:, 0]), b.predict_proba(X[:, :1]))
    assert a.n_features_in_ == 16


@pytest.mark.parametrize("model", ["fcn", "resnet1d", "inception_time"])
def test_networks_by_name(model):
    net = TimeSeriesConvClassifier(model, max_iter=1, random_state=0, threads=1).fit(X[:4], Y[:4])
    multivariate = {"multivariate": True} if model == "inception_time" else {}
    assert net.network_.model == {"name": model, "arguments": {"outputs": 2, **multivariate}}
    assert net.predict_proba(X).shape == (24, 2)


def test_the_functional_core_gives_the_same():
    net = TimeSeriesConvClassifier(n_estimators=2, **QUICK).fit(X, Y)
    x = (X.transpose(0, 2, 1) - net.offset_) / net.scale_
    outputs = training.predict(models.build(net.network_.model), net.params_, net.state_, x)
    np.testing.assert_allclose(outputs[:, 1] - outputs[:, 0], net.decision_function(X), rtol=1e-6)


def test_an_ensemble_is_the_mean_of_its_members():
    net = TimeSeriesConvRegressor(own, n_estimators=3, **QUICK).fit(X, Y + 0.5)
    members = list(net.params_["0_parallel"].values())
    assert len(members) == 3 and not np.array_equal(*(tree.ravel(member)[0] for member in members[:2]))
    x = (X.transpose(0, 2, 1) - net.offset_) / net.scale_
    outputs = [training.predict(own(None, 1), member, tree.map(lambda a: a, own(None, 1).init((0,), (16, 2))[1]), x)
               for member in members]  # fmt: skip
    predicted = np.mean(outputs, axis=0)[:, 0] * net.target_scale_ + net.target_mean_
    np.testing.assert_allclose(net.predict(X), predicted, rtol=1e-5)


@pytest.mark.parametrize("model", ["narrow_fcn", "resnet1d"])
def test_padding_has_no_influence(model):
    net = TimeSeriesConvClassifier(model, **QUICK | {"max_iter": 1}).fit(UNEQUAL, Y)
    assert net.masked_
    probabilities = net.predict_proba(UNEQUAL)
    longer = [*UNEQUAL, np.zeros((2, 50))]
    np.testing.assert_allclose(net.predict_proba(longer)[:-1], probabilities, rtol=1e-10)
    for i in (0, 7):
        np.testing.assert_allclose(net.predict_proba(UNEQUAL[i : i + 1])[0], probabilities[i], rtol=1e-10)


def test_series_of_unequal_length_are_learned():
    net = TimeSeriesConvClassifier(max_iter=15, random_state=0, threads=1).fit(UNEQUAL, Y)
    test, classes = waves(20, 30, seed=1)
    assert net.score(test, classes) > 0.8  # of a length that no training series has


def test_a_list_of_equal_series_is_an_array():
    a, b = (TimeSeriesConvClassifier(**QUICK).fit(x, Y) for x in (X, list(X)))
    assert not b.masked_ and np.array_equal(a.predict_proba(X), b.predict_proba(list(X)))


def test_lists_of_lists_are_lists_of_arrays():
    net = TimeSeriesConvClassifier(**QUICK).fit([x.tolist() for x in UNEQUAL], Y)
    same = TimeSeriesConvClassifier(**QUICK).fit(UNEQUAL, Y)
    assert net.masked_ and np.array_equal(net.predict_proba(UNEQUAL), same.predict_proba(UNEQUAL))
    with pytest.raises(ValueError, match=r"X is one series of shape \(2, 9\); a batch of this one series is X\[None\]"):
        net.predict(UNEQUAL[0])


class Frame(np.ndarray):
    """What tells a DataFrame of pandas from an array."""

    iloc = property(lambda self: self.view(np.ndarray))
    index = SimpleNamespace(nlevels=1)


class Panel(Frame):
    """A DataFrame with a MultiIndex."""

    index = SimpleNamespace(nlevels=2)


def frame(rows, columns, cell, kind=Frame):
    made = np.empty((rows, columns), object)
    for i in np.ndindex(rows, columns):
        made[i] = cell
    return made.view(kind)


@pytest.mark.parametrize(
    ("x", "found"),
    [
        (frame(24, 2, np.arange(9.0)), "a DataFrame of which each cell is a series"),
        (frame(24 * 9, 2, 0.5, Panel), "a DataFrame of which the rows are steps, by a MultiIndex"),
        ([frame(9, 2, 0.5)] * 24, "a list of DataFrames"),
    ],
    ids=["nested", "MultiIndex", "list"],
)
def test_sktime_s_data_frames_are_refused_with_what_to_pass(x, found):
    net = TimeSeriesConvClassifier(own, **QUICK).fit(X, Y)
    for call in (lambda: clone(net).fit(x, Y), lambda: net.predict(x)):
        with pytest.raises(ValueError, match=f'X is {found}: .* sktime.datatypes.convert_to.X, "numpy3D"'):
            call()


def test_time_before_channels_is_a_warning():
    long = np.random.default_rng(0).normal(size=(24, 40, 3))
    with pytest.warns(UserWarning, match=r"40 channels of 3 steps; .* give X.transpose\(0, 2, 1\)") as caught:
        TimeSeriesConvClassifier(own, **QUICK | {"max_iter": 1}).fit(long, Y)
    assert caught[0].filename == __file__


def test_unequal_rows_and_regression():
    net = TimeSeriesConvRegressor(**QUICK).fit([x[0] for x in UNEQUAL], Y.astype(float))
    assert net.predict([x[0] for x in UNEQUAL]).shape == (24,)


AUGMENTATIONS = ["jitter", ("scaling", "shift"), lambda key, x: x[:, ::-1]]


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids=["jitter", "two", "own"])
@pytest.mark.parametrize("x", [X, UNEQUAL], ids=["equal", "unequal"])
def test_augmentation_changes_the_series_and_no_padding(augment, x):
    net, plain = (TimeSeriesConvClassifier(augment=a, **QUICK).fit(x, Y) for a in (augment, None))
    assert not np.array_equal(net.predict_proba(x), plain.predict_proba(x))
    scaled = np.asarray(net._scaled(net._rows(x, reset=False), np.float32))
    augmented = net._augment()((0,), scaled)
    assert is_examplewise(net._augment()) == (not callable(augment))
    assert augmented.shape == scaled.shape and augmented.dtype == scaled.dtype
    if net.masked_:
        assert np.array_equal(augmented[..., 0], scaled[..., 0])
        assert (augmented[scaled[..., 0] == 0] == 0).all()


@pytest.mark.parametrize("x", [X, UNEQUAL], ids=["equal", "unequal"])
def test_weights_of_series_count_in_the_loss_and_0_is_absence(x):
    weight = np.where(np.arange(24) < 16, 1.0, 0.0)
    absent = TimeSeriesConvClassifier(own, **QUICK).fit(x, Y, weight)
    left_out = TimeSeriesConvClassifier(own, **QUICK).fit(x[:16], Y[:16])
    np.testing.assert_allclose(absent.predict_proba(x), left_out.predict_proba(x), rtol=1e-10)
    heavy = TimeSeriesConvClassifier(own, **QUICK | {"max_iter": 10}).fit(x, Y, np.where(Y == 1, 100.0, 1.0))
    even = TimeSeriesConvClassifier(own, **QUICK | {"max_iter": 10}).fit(x, Y)
    assert heavy.predict_proba(x)[:, 1].mean() > even.predict_proba(x)[:, 1].mean() + 0.03


def test_searches_pipelines_pickle_and_clone():
    grid = {"timeseriesconvclassifier__max_iter": [1, 2]}
    pipeline = make_pipeline(FunctionTransformer(), TimeSeriesConvClassifier(own, n_estimators=2, **QUICK))
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    again = pickle.loads(pickle.dumps(search))
    assert np.array_equal(again.predict_proba(X), search.predict_proba(X))
    assert clone(search.best_estimator_[-1]).get_params() == search.best_estimator_[-1].get_params()


def test_early_stopping_and_validation_data():
    net = TimeSeriesConvClassifier(early_stopping=True, **QUICK).fit(X, Y, X_val=X[:6], y_val=Y[:6])
    assert len(net.validation_scores_) == 3 and net.best_validation_score_ == max(net.validation_scores_)


def with_nan(x):
    x = x.copy()
    x[1, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.where(np.arange(16) == 3, np.nan, X), r"contains NaN: in X\[0\], at channel 0, time 3; fill missing"),
        (np.where(np.arange(16) == 3, np.nan, X[:, 0]), "Input X contains NaN"),
        ([UNEQUAL[0], with_nan(UNEQUAL[1]), *UNEQUAL[2:]], r"contains NaN: in X\[1\], at channel 1, time 3"),
        ([np.zeros((3, 4)), *UNEQUAL[1:]], r"X\[1\] must be a series \(3, time\) .*, got shape \(2, 10\)"),
        ([[1.0, None, 3.0], *([[1.0, 2.0]] * 23)], r"contains NaN: in X\[0\], at channel 0, time 1; fill missing"),
        ([[[1.0], [2.0, 3.0]]] * 24, r"X\[0\] must be a series of real numbers, its channels of one length"),
        ([np.zeros((2, 0)), *UNEQUAL[1:]], r"X\[0\] must be a series \(2, time\) of length 1 or more"),
        (X[None], r"X must be \(n, channels, time\) or \(n, time\), got shape \(1, 24, 2, 16\)"),
    ],
    ids=["NaN", "NaN in rows", "NaN in a list", "channels", "None in a list", "lists", "empty", "four axes"],
)  # fmt: skip
def test_bad_series(x, words):
    with pytest.raises(ValueError, match=words):
        TimeSeriesConvClassifier(**QUICK).fit(x, Y)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X[0], r"X is one series of shape \(2, 16\); a batch of this one series is X\[None\]"),
        (X[:, 0], r"X must be \(n, 2, 16\), as the estimator was fitted, got \(24, 16\)"),
        (X[..., :9], r"X must be \(n, 2, 16\), as the estimator was fitted, got \(24, 2, 9\)"),
        (UNEQUAL, "unequal length, but was fitted on series of length 16; fit a list of series of unequal length"),
    ],
    ids=["one series", "rows", "length", "unequal"],
)
def test_series_of_another_shape_than_fitted(x, words):
    net = TimeSeriesConvClassifier(own, **QUICK | {"max_iter": 1}).fit(X, Y)
    with pytest.raises(ValueError, match=words):
        net.predict(x)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n_estimators": 0}, "'n_estimators' .* must be an int >= 1"),
        ({"model": "lstm"}, "'model' .* must be one of .*inception_time"),
        ({"augment": "rotate"}, "'augment' .* must be one of .*jitter"),
        ({"solver": "newton"}, "'solver' .* must be one of"),
    ],
)
def test_parameters_out_of_range(parameters, words):
    with pytest.raises(ValueError, match=words):
        TimeSeriesConvClassifier(**parameters).fit(X, Y)


def test_there_is_no_partial_fit():
    assert not hasattr(TimeSeriesConvClassifier(), "partial_fit")
