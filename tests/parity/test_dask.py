"""A search of scikit-learn on a Dask cluster finds what it finds in this process."""

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from funcnn.estimators import ConvNetClassifier

distributed = pytest.importorskip("dask.distributed")


def test_a_search_on_a_local_cluster():
    x, labels = np.random.default_rng(0).random((24, 4, 4, 1)), np.arange(24) % 2
    network = ConvNetClassifier(
        channels=(2,), hidden_layer_sizes=(4,), max_iter=2, random_state=0, augment=None, threads=1
    )
    searches = [GridSearchCV(network, {"learning_rate_init": [1e-3, 1e-1]}, cv=2, n_jobs=2) for _ in range(2)]
    searches[0].set_params(n_jobs=1).fit(x, labels)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None), joblib.parallel_backend("dask"):
        searches[1].fit(x, labels)
    here, there = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(here, there)
