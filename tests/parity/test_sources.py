"""Arrays of h5py and zarr train as those of NumPy, bit for bit."""

import h5py
import numpy as np
import pytest
import zarr

from funcnn import losses, models, optim, training, tree
from funcnn.data import take

X = np.random.default_rng(0).random((20, 4, 4, 1), dtype=np.float32)
LABELS = np.arange(20) % 3


@pytest.fixture
def stored(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        in_hdf5 = file.create_dataset("x", data=X, chunks=(3, 4, 4, 1)), file.create_dataset("y", data=LABELS)
        in_zarr = (
            zarr.create_array(str(tmp_path / f"{name}.zarr"), data=data, chunks=(3, *data.shape[1:]))
            for name, data in (("x", X), ("y", LABELS))
        )
        yield in_hdf5, tuple(in_zarr)


@pytest.mark.parametrize("rows", [[3, 1, 2], [7, 7, 0], [4, 5, 6], [], slice(2, 5)])
def test_rows_in_any_order(stored, rows):
    rows = rows if isinstance(rows, slice) else np.array(rows, int)
    for x, _ in stored:
        np.testing.assert_array_equal(take(x, rows), X[rows])


@pytest.mark.parametrize("threads", [1, 2])
def test_training(stored, threads):
    def train(x, labels):
        options = {"epochs": 2, "batch_size": 6, "key": (0,), "threads": threads}
        *_, epoch = training.fit(models.mlp(3), losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, **options)
        return epoch.train_state.params

    expected = train(X, LABELS)
    for x, labels in stored:
        tree.map(np.testing.assert_array_equal, train(x, labels), expected)
