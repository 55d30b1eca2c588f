"""Built-in data: what the sets hold."""

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine

from funcnn import data


def test_digits():
    x, labels = data.digits()
    assert x.shape == (1797, 8, 8, 1) and x.dtype == np.float32
    assert x.min() == 0.0 and x.max() == 1.0
    assert np.array_equal(np.unique(labels), np.arange(10)) and labels.dtype == np.int64


def test_digits_are_those_that_scikit_learn_loads(monkeypatch):
    bunch = load_digits()
    for found in (True, False):  # read from scikit-learn's file, and where that is not found
        x, labels = data.digits()
        assert np.array_equal(x[..., 0] * 16, bunch.images) and np.array_equal(labels, bunch.target), found
        monkeypatch.setattr("pathlib.Path.is_file", lambda self: False)


def test_breast_cancer():
    x, labels = data.breast_cancer()
    assert x.shape == (569, 30) and x.dtype == np.float32
    assert np.bincount(labels).tolist() == [212, 357]


def test_iris_and_wine():
    for (x, labels), bunch in ((data.iris(), load_iris()), (data.wine(), load_wine())):
        np.testing.assert_array_equal(x, bunch.data.astype(np.float32))
        assert np.array_equal(labels, bunch.target) and labels.dtype == np.int64
