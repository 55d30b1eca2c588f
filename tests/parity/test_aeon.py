"""The classifier of time series in aeon's and sktime's pipelines, on the data that these packages carry."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from funcnn.estimators import TimeSeriesConvClassifier

datasets = pytest.importorskip("aeon.datasets")
from aeon.pipeline import make_pipeline as make_aeon_pipeline  # noqa: E402
from aeon.transformations.collection import Normalizer  # noqa: E402

from funcnn.estimators.aeon import AeonConvClassifier  # noqa: E402


def small(**options):
    return TimeSeriesConvClassifier(max_iter=20, random_state=0, threads=1, **options)


@pytest.fixture(scope="module")
def motions():
    """Series (n, 6, 100) of four classes."""
    (X, y), (X_test, y_test) = (datasets.load_basic_motions(split=split) for split in ("train", "test"))
    return X, y, X_test, y_test


def test_the_adapter_is_one_of_aeons_classifiers(motions):
    X, y, X_test, y_test = motions
    net = AeonConvClassifier(small()).fit(X, y)
    assert net.score(X_test, y_test) > 0.9
    assert np.array_equal(net.predict(X_test), net.classifier_.predict(X_test))
    assert np.allclose(net.predict_proba(X_test).sum(axis=1), 1)


def test_the_adapter_takes_series_of_unequal_length():
    X, y = datasets.load_japanese_vowels(split="train")
    net = AeonConvClassifier(small()).fit(X, y)
    assert net.classifier_.masked_ and net.score(X, y) > 0.9


def test_pipelines_of_aeon_and_of_scikit_learn(motions):
    X, y, X_test, y_test = motions
    for pipeline in (
        make_aeon_pipeline(Normalizer(), AeonConvClassifier(small())),
        make_pipeline(Normalizer(), small()),
    ):
        assert pipeline.fit(X, y).score(X_test, y_test) > 0.9
    # around an estimator of scikit-learn, aeon's pipeline takes series of one channel
    assert make_aeon_pipeline(Normalizer(), small()).fit(X[:, :1], y).score(X_test[:, :1], y_test) > 0.5


def test_a_pipeline_of_sktime(motions):
    pytest.importorskip("sktime")
    from sktime.classification.compose import SklearnClassifierPipeline
    from sktime.transformations.series.difference import Differencer

    X, y, X_test, y_test = motions
    pipeline = SklearnClassifierPipeline(small(), [Differencer()]).fit(X[:, :1], y)
    assert np.mean(pipeline.predict(X_test[:, :1]) == y_test) > 0.5
