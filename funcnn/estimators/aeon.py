"""The classifier of time series as one of aeon's, for its pipelines and benchmarks."""

from __future__ import annotations

from typing import Any, ClassVar

from sklearn.base import clone

from funcnn import extras
from funcnn.estimators.time_series import TimeSeriesConvClassifier
from funcnn.tree import Array

_missing: ImportError | None = None
try:
    from aeon.classification.base import BaseClassifier
except ImportError as error:
    BaseClassifier, _missing = object, extras.missing("AeonConvClassifier needs aeon", "aeon", error)

__all__ = ["AeonConvClassifier"]


class AeonConvClassifier(BaseClassifier):  # type: ignore[misc]
    """A `TimeSeriesConvClassifier` with aeon's interface.

    Parameters
    ----------
    classifier : TimeSeriesConvClassifier, optional
        Is cloned by each fit; by default one with its defaults.

    Attributes
    ----------
    classifier_ : TimeSeriesConvClassifier
        The fitted one.

    Raises
    ------
    ImportError
        If aeon is not installed.

    Examples
    --------
    In one of aeon's pipelines:

    >>> from aeon.pipeline import make_pipeline  # doctest: +SKIP
    >>> from aeon.transformations.collection import Normalizer  # doctest: +SKIP
    >>> make_pipeline(Normalizer(), AeonConvClassifier()).fit(X, y).predict(X_test)  # doctest: +SKIP
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": ["np-list", "numpy3D"],
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "algorithm_type": "deeplearning",
    }

    def __init__(self, classifier: TimeSeriesConvClassifier | None = None) -> None:
        if _missing is not None:
            raise _missing
        self.classifier = classifier
        super().__init__()

    def _fit(self, X: Any, y: Any) -> AeonConvClassifier:
        given = TimeSeriesConvClassifier() if self.classifier is None else self.classifier
        self.classifier_ = clone(given).fit(X, y)
        return self

    def _predict(self, X: Any) -> Array:
        return self.classifier_.predict(X)

    def _predict_proba(self, X: Any) -> Array:
        return self.classifier_.predict_proba(X)
