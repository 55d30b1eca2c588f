"""scikit-learn estimators: convolutional networks for pipelines, grid search and cross-validation.

`ConvNetClassifier` and `ConvNetRegressor`, and for time series `TimeSeriesConvClassifier` and
`TimeSeriesConvRegressor`, turn scikit-learn's inputs into arrays and leave the rest to `funcnn.training`. A fitted
estimator holds a model, its parameters and its state (``model_``, ``params_``, ``state_``), which every other part of
funcnn can use.
"""

from funcnn import extras

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise extras.missing("funcnn.estimators needs scikit-learn", "estimators", error) from None

from funcnn.estimators.classifier import ConvNetClassifier
from funcnn.estimators.features import Features
from funcnn.estimators.regressor import ConvNetRegressor
from funcnn.estimators.time_series import TimeSeriesConvClassifier, TimeSeriesConvRegressor

__all__ = [
    "ConvNetClassifier",
    "ConvNetRegressor",
    "Features",
    "TimeSeriesConvClassifier",
    "TimeSeriesConvRegressor",
]
