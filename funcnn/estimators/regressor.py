"""Regression by a convolutional network, with scikit-learn's interface."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import _check_y, check_consistent_length

from funcnn import data, losses
from funcnn.estimators.base import BaseConvNet, TrainingData
from funcnn.estimators.scaling import mean_and_scale
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.losses import Loss
from funcnn.tree import Array

__all__ = ["ConvNetRegressor"]


class ConvNetRegressor(RegressorMixin, BaseConvNet):  # type: ignore[misc]
    """Convolutional network for regression by least squares, with scikit-learn's interface.

    Parameters
    ----------
    channels, kernel_size, pool, hidden_layer_sizes, activation, dropout, image_shape, model, scaling
        The network; as in `ConvNetClassifier`.
    solver, alpha, batch_size, learning_rate, learning_rate_init, max_iter, shuffle, augment, warm_start, random_state
        Its training; as there.
    early_stopping, validation_fraction, n_iter_no_change, tol
        When training stops; as there.
    dtype, threads, verbose
        As there.

    Attributes
    ----------
    n_features_in_, feature_names_in_, image_shape_, layout_, offset_, scale_, range_, params_, state_, model_, n_iter_
        As in `ConvNetClassifier`.
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As there. Losses are mean squared errors of standardised targets, scores are coefficients of determination.
    n_outputs_ : int
    flat_ : bool
        Whether y was (n,), as predictions are then.
    target_mean_, target_scale_ : array (n_outputs_,)
        Mean and standard deviation, by which targets are standardised, so that their units do not matter. A target that
        does not vary is predicted as it is.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ConvNetRegressor(random_state=0).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.3
    True
    """

    def __init__(
        self,
        channels: Any = "auto",
        *,
        kernel_size: Any = 3,
        pool: Any = 2,
        hidden_layer_sizes: Any = "auto",
        activation: str = "auto",
        dropout: float = 0.0,
        image_shape: Any = None,
        model: Any = None,
        scaling: Any = None,
        solver: str = "adamw",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate: str = "one_cycle",
        learning_rate_init: float = 8e-3,
        max_iter: int | None = None,
        shuffle: bool = True,
        augment: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str = "auto",
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool = pool
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.image_shape = image_shape
        self.model = model
        self.scaling = scaling
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.augment = augment
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads
        self.verbose = verbose

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> ConvNetRegressor:
        """Train for one epoch with a constant learning rate, from the current parameters.

        Inputs and targets are scaled as in the first call, which also decides whether rows are images. The range to
        which images are clipped widens with the data.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), np.arange(4.0)
        >>> net = ConvNetRegressor(channels=(4,), random_state=0)
        >>> for first in (0, 2):
        ...     net = net.partial_fit(X[first : first + 2], y[first : first + 2])
        >>> len(net.loss_curve_)
        2
        """
        with self._unchanged_by_errors():
            return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """Return the prediction for each row or image.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Of the shape that the estimator was fitted on.

        Returns
        -------
        array (n,)
            If y had the shape (n, outputs), array (n, outputs).

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), [0.0, 1.0, 2.0, 3.0]
        >>> net = ConvNetRegressor(random_state=0).fit(X, y)
        >>> net.predict(X).round()
        array([0., 1., 2., 3.])
        """
        return self._shaped(self._outputs(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination R2, in any unit of the targets.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        float
            Of several outputs, the mean of theirs.

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), np.arange(4.0) * 1e-200
        >>> ConvNetRegressor(random_state=0).fit(X, y).score(X, y) > 0.9
        True
        """
        outputs, targets = self._outputs(X), self._targets(y)
        check_consistent_length(outputs, targets)
        self._count_outputs(targets, False, None)
        return self._r2(targets, outputs, sample_weight)

    def _shaped(self, outputs: Array) -> Array:
        values = outputs * self.target_scale_ + self.target_mean_
        return values[:, 0] if self.flat_ else values

    def _targets(self, y: Any) -> Array:
        targets = np.asarray(_check_y(y, multi_output=True, y_numeric=True, estimator=self))
        if targets.dtype.kind not in "biuf":
            raise ValueError(f"y must be real numbers, not {targets.dtype}")
        return targets

    def _count_outputs(self, targets: Array, first: bool, classes: Any) -> int:
        """Return the number of outputs, which the first targets determine."""
        outputs = math.prod(targets.shape[1:])
        if first:
            self.n_outputs_, self.flat_ = outputs, targets.ndim == 1
        elif outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, but was fitted on {self.n_outputs_}")
        return outputs

    def _set_scaling(self, training_data: TrainingData, *, more: bool) -> None:
        super()._set_scaling(training_data, more=more)
        _, targets, weight = training_data
        columns = targets.reshape(len(targets), -1)
        self.target_mean_, scale, varies = mean_and_scale(columns, weight)
        # A target that does not vary is predicted as it is, but for rounding, unless there is more of it to come.
        self.target_scale_ = scale if more else np.where(varies, scale, scale * np.finfo(np.float64).eps)

    def _encoded(self, targets: Array, dtype: Any) -> Array:
        scaled = (targets.reshape(len(targets), -1) - self.target_mean_) / self.target_scale_
        return scaled.astype(dtype)

    def _split(self, targets: Array, held_out: int, key: Key) -> tuple[Array, ...]:
        return data.split(len(targets), [held_out / len(targets)], key=key)

    def _outputs_described(self) -> dict[str, Any]:
        target = {"target_mean": self.target_mean_.tolist(), "target_scale": self.target_scale_.tolist()}
        return {"kind": "numbers", "classes": [], **target, "flat": self.flat_}

    def _loss(self, training_data: TrainingData) -> Loss:
        return losses.mse

    _least_to_validate = 2  # R2 needs so many

    def _check_validation(self, validation: TrainingData) -> None:
        if len(validation.x) < self._least_to_validate:
            raise ValueError("R2 needs at least two examples to validate on, and there is one")

    def _score(self, model: Layer, validation: TrainingData) -> float:
        x, y, weight = validation
        return self._r2(y, self._forward(model, x), weight)

    def _r2(self, y: Array, outputs: Array, weight: Array | None) -> float:
        """Return R2 of standardised targets, whose squares neither overflow nor vanish."""
        return float(r2_score(self._encoded(y, np.float64), outputs, sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
