"""Training and prediction.

`fit` trains for epochs, as an iterator over records. `update` is a single step, for your own loops. `predict` and
`evaluate` compute outputs and metrics in batches. All but `update` take sources (`funcnn.data.lazy`) as they take
arrays: memory maps, arrays of h5py and zarr, and what is prepared batch by batch. These are never read whole.
`lr_range` finds a learning rate.
"""

from funcnn.training.learning_rates import LearningRates, lr_range
from funcnn.training.loop import (
    Epoch,
    EpochIterator,
    EpochPlan,
    Metric,
    Mixing,
    Step,
    TrainState,
    evaluate,
    fit,
    start,
    update,
)
from funcnn.training.prediction import PreparedModel, predict, prepared

__all__ = [
    "Epoch",
    "EpochIterator",
    "EpochPlan",
    "LearningRates",
    "Metric",
    "Mixing",
    "PreparedModel",
    "Step",
    "TrainState",
    "evaluate",
    "fit",
    "lr_range",
    "predict",
    "prepared",
    "start",
    "update",
]
