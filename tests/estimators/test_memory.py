"""The memory that estimators take: that of a batch, beside the data."""

import numpy as np
import pytest

from funcnn.data import Selected
from funcnn.estimators import ConvNetClassifier, ConvNetRegressor, scaling
from funcnn.estimators.base import BaseConvNet

OPTIONS = {"channels": (1,), "hidden_layer_sizes": (2,), "max_iter": 1, "threads": 1, "random_state": 0}


@pytest.mark.parametrize("kind", [ConvNetClassifier, ConvNetRegressor])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_memory_map_is_not_copied_and_scaled_by_the_batch(kind, early_stopping, tmp_path, monkeypatch):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (600, 8, 8))
    x[:, 0, 0], y = np.arange(600) % 200, np.arange(600) % 2
    scaled, sources = [], []
    apply, measured = scaling.apply, BaseConvNet._measured_scaling
    monkeypatch.setattr(scaling, "apply", lambda by, rows, dtype: scaled.append(rows) or apply(by, rows, dtype))
    monkeypatch.setattr(
        BaseConvNet, "_measured_scaling", lambda self, data: sources.append(data.x) or measured(self, data)
    )
    estimator = kind(batch_size=50, early_stopping=early_stopping, **OPTIONS).fit(x, y)
    (source,) = sources
    assert isinstance(source, Selected) == early_stopping
    assert np.shares_memory(source.source if early_stopping else source, x)
    assert max(map(len, scaled)) <= 60  # a batch, or what is held out
    scaled.clear()
    estimator.predict(x)
    assert max(map(len, scaled)) == 256 and {rows.dtype for rows in scaled} == {np.dtype(np.uint8)}


def test_a_memory_map_is_learned_as_the_array(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    found, expected = (
        ConvNetClassifier(early_stopping=True, **OPTIONS).fit(data, np.arange(40) % 2).predict_proba(data)
        for data in (np.load(tmp_path / "x.npy", mmap_mode="r"), x)
    )
    np.testing.assert_array_equal(found, expected)
