"""ConvNetRegressor: accuracy without tuning, several outputs, weights."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes, make_regression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from funcnn.estimators import ConvNetRegressor

SMALL = {"channels": (4,), "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "threads": 1}


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


def test_several_outputs():
    x, y = make_regression(120, 12, n_targets=3, random_state=0)
    net = ConvNetRegressor(max_iter=60, random_state=0).fit(x, y * [1, 1e3, 1e-3])
    assert net.predict(x).shape == (120, 3) and net.score(x, y * [1, 1e3, 1e-3]) > 0.9
    assert ConvNetRegressor(**SMALL).fit(x, y[:, :1]).predict(x).shape == (120, 1)


def test_sample_weight_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), ConvNetRegressor(**SMALL).set_fit_request(sample_weight=True))
        x, y = make_regression(60, 5, random_state=0)
        weights = np.r_[np.ones(30), np.zeros(30)]
        routed = pipe[-1:].fit(x, y, sample_weight=weights).predict(x)
        assert np.allclose(routed, ConvNetRegressor(**SMALL).fit(x, y, sample_weight=weights).predict(x))
