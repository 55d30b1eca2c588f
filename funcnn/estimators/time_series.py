"""Classification and regression of time series by convolutional networks, with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from funcnn import checks, data, fitted
from funcnn.data import Mapped, Source, pad_series
from funcnn.data.examplewise import Augmentation, Examplewise, is_examplewise
from funcnn.data.series import as_series_list, check_finite_series, scale_series
from funcnn.estimators import scaling
from funcnn.estimators.base import BaseConvNet, Schedule, TrainingData, shape_of
from funcnn.estimators.classifier import ConvNetClassifier
from funcnn.estimators.network import Network, build
from funcnn.estimators.regressor import ConvNetRegressor
from funcnn.estimators.scaling import Scaling
from funcnn.estimators.warning import warn_caller
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer
from funcnn.models.description import mean_of
from funcnn.tree import Array

__all__ = ["TimeSeriesConvClassifier", "TimeSeriesConvRegressor"]

# The networks of `funcnn.models` that ``model`` names, and where they differ from those of the papers.
_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "narrow_fcn": ("fcn", {"channels": [32, 64, 64]}),
    "fcn": ("fcn", {}),
    "resnet1d": ("resnet1d", {}),
    "inception_time": ("inception_time", {}),
}
# scripts/time_series.py measures it.
_OF_SERIES = Schedule(alpha=0.5, batch_size=32, epochs=10, least_epochs=10, least=450, most=450)
# More channels than this, of fewer steps, are a warning: most likely the axes are meant the other way round.
_FEW_STEPS = 16
# A shift is by up to this fraction of the series' length.
_SHIFT = 0.05


class BaseTimeSeries(BaseConvNet):
    """The common part of classifier and regressor: what series are, and ensembles."""

    warm_start = False  # a fit starts afresh
    masked_: bool
    _member_key: Key

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
        """Train the network, or each one of an ensemble.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            The series of a list may have unequal lengths: then the estimator takes series of any length.
        y : array-like (n,)
            Classes, numbers or strings, or 0 and 1 for each label (n, labels); for the regressor real numbers, also
            (n, outputs).
        sample_weight : array-like (n,), optional
            >= 0, not all 0: of each series in the loss and in the validation score. A weight of 0 counts as absence.
        X_val, y_val : array-like, optional
            Validation data. ``validation_scores_`` gets their score after each epoch, and early stopping uses them
            instead of holding out examples.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter does not fit, or values are missing (NaN); if the training diverges. The
            estimator then stays what it was, as it does after Ctrl-C.

        Notes
        -----
        Batch normalisation takes its statistics of all series alike, so a weight of k is not quite the same as k
        repeats.

        Examples
        --------
        See `TimeSeriesConvClassifier` and `TimeSeriesConvRegressor`.
        """
        return super().fit(X, y, sample_weight, X_val=X_val, y_val=y_val)

    @property
    def partial_fit(self) -> Any:
        """Not available: a fit of series starts afresh."""
        raise AttributeError(f"{type(self).__name__} has no partial_fit: a fit starts afresh")

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Any:
        self._check_count("n_estimators", self.n_estimators)
        key, params, state = super()._key(), {}, {}
        for i in range(self.n_estimators):
            self._member_key = fold_in(key, i)
            super()._fit(X, y, sample_weight, X_val, y_val)
            name = f"{i}_{self.model_.name}"
            params[name], state[name] = self.params_, self.state_
        if self.n_estimators > 1:
            self.params_, self.state_ = (
                {"0_parallel": members, "1_reshape": {}, "2_reduce_mean": {}} for members in (params, state)
            )
            self.network_ = self.network_._replace(model=_ensemble(self.network_.model, self.n_estimators))
        self._train_state = self._train_state._replace(params=self.params_, state=self.state_)
        del self._member_key
        return self

    def _key(self) -> Key:
        return self._member_key

    def _model(self, outputs: int) -> Any:
        if not isinstance(self.model, str):
            return self.model
        name, arguments = _NETWORKS[self.model]
        described: dict[str, Any] = {"outputs": outputs, **arguments}
        if self.masked_:
            described["masked"] = True
        if name == "inception_time" and self.image_shape_[1] - self.masked_ > 1:
            described["multivariate"] = True
        return {"name": name, "arguments": described}

    # --- data -------------------------------------------------------------------------------------------------------

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """Return X as an array (n, time, channels), with ``masked_`` as one (n, time, 1 + channels)."""
        checks.unmasked(type(self).__name__, "X", X)
        _check_no_frames(X)
        series = as_series_list(X)
        if series is not None and len({entry.shape for entry in series}) == 1:
            X, series = np.stack(series), None
        if reset:
            self.masked_ = series is not None
        if self.masked_:
            if series is None:
                channels, shape = (0 if reset else self.image_shape_[1] - 1), shape_of(X)
                if len(shape) == 2 and shape[0] == channels > 1:
                    raise ValueError(f"X is one series of shape {shape}; a batch of this one series is X[None]")
                series = list(check_array(X, allow_nd=True, dtype="numeric", ensure_all_finite=False))
            return pad_series(series, None if reset else self.image_shape_[1] - 1)
        if series is not None:
            raise ValueError(
                f"X has series of unequal length, but was fitted on series of length {self.image_shape_[0]}; fit a "
                "list of series of unequal length to take any"
            )
        return self._stacked(X, reset)

    def _stacked(self, X: Any, reset: bool) -> Array:
        shape = shape_of(X)
        if len(shape) == 1:
            check_array(X)  # which says what to do
        if len(shape) > 3:
            raise ValueError(f"X must be (n, channels, time) or (n, time), got shape {shape}")
        channels = (shape[1] if len(shape) == 3 else 1) if reset else self.image_shape_[1]
        if not reset and len(shape) > 1 and (len(shape) == 3 or channels > 1):
            fitted = self.image_shape_[::-1]
            if shape == fitted:
                raise ValueError(f"X is one series of shape {shape}; a batch of this one series is X[None]")
            if len(shape) == 2 or shape[1:] != fitted:
                raise ValueError(f"X must be (n, {fitted[0]}, {fitted[1]}), as the estimator was fitted, got {shape}")
        if reset and len(shape) == 3 and shape[2] < _FEW_STEPS <= shape[1]:
            warn_caller(
                f"X {shape} is read as (n, channels, time): {shape[1]} channels of {shape[2]} steps; if the time comes "
                "first, give X.transpose(0, 2, 1)"
            )
        if len(shape) == 3:
            X = check_array(X, allow_nd=True, dtype="numeric", ensure_all_finite=False)
            check_finite_series(X)
            X = X.reshape(shape[0], -1)
        rows = super()._rows(X, reset=reset)
        return rows.reshape(len(rows), channels, -1).transpose(0, 2, 1)

    def _set_layout(self, found: Any, x: Source, earlier: Any) -> None:
        self.image_shape_ = x.shape[1:]
        channels = x.shape[2] - self.masked_
        self.layout_ = f"series of {channels} channel{'s' * (channels > 1)} and length " + (
            f"{x.shape[1]} or less, padded" if self.masked_ else str(x.shape[1])
        )

    def _measured_scaling(self, training_data: TrainingData) -> Scaling:
        x, weight = np.asarray(training_data.x), training_data.weight
        if self.masked_:
            inside = x[..., 0] > 0
            weight = None if weight is None else np.repeat(weight, inside.sum(axis=1))
            x = x[inside][:, 1:]
        mean, scale, _ = scaling.mean_and_scale(x, weight)
        return Scaling(mean, scale, np.full_like(mean, -np.inf), np.full_like(mean, np.inf))

    def _scaled(self, x: Source, dtype: Any) -> Source:
        scaled = partial(scale_series, offset=self.offset_, scale=self.scale_, masked=self.masked_, dtype=dtype)
        return Mapped(x, scaled)

    def _preprocessing(self) -> dict[str, Any]:
        time, channels = self.image_shape_
        return fitted.series_preprocessing_of(
            self.offset_, self.scale_, channels - self.masked_, time, masked=self.masked_
        )

    # --- parameters -------------------------------------------------------------------------------------------------

    def _schedule(self) -> Schedule:
        return _OF_SERIES

    def _augment(self) -> Augmentation | None:
        if self.augment is None:
            return None
        names = [self.augment] if callable(self.augment) or isinstance(self.augment, str) else self.augment
        shift = partial(data.random_shift, max_shift=max(1, round(_SHIFT * self.image_shape_[0])))
        functions: dict[Any, Any] = {"jitter": data.jitter, "scaling": data.random_scale, "shift": shift}
        composed = [functions.get(f, f) for f in names]
        augment = partial(_augmented, composed, self.masked_)
        return Examplewise(augment) if all(map(is_examplewise, composed)) else augment

    def _check_network(self) -> None:
        model, augment = self.model, self.augment
        if not (callable(model) or isinstance(model, Layer)):
            self._check_choice("model", tuple(_NETWORKS))
        known = ("jitter", "scaling", "shift")
        entries = augment if isinstance(augment, list | tuple) else [] if augment is None else [augment]
        if not all(callable(f) or (isinstance(f, str) and f in known) for f in entries):
            raise self._invalid("augment", f"one of {known}, a function, a list of these, or None", augment)


def _check_no_frames(X: Any) -> None:
    """Raise an error for sktime's series in DataFrames: one in each cell, by a MultiIndex, or one a frame."""
    found = ""
    if getattr(getattr(X, "index", None), "nlevels", 1) > 1:
        found = "a DataFrame of which the rows are steps, by a MultiIndex"
    elif hasattr(X, "iloc") and X.ndim == 2 and X.size and np.ndim(X.iloc[0, 0]) > 0:
        found = "a DataFrame of which each cell is a series"
    elif isinstance(X, list | tuple) and X and all(hasattr(entry, "iloc") for entry in X):
        found = "a list of DataFrames"
    if found:
        raise ValueError(
            f"X is {found}: pass an array (n, channels, time), sktime's numpy3D: "
            'sktime.datatypes.convert_to(X, "numpy3D"), or of unequal length a list of arrays (channels, time)'
        )


def _ensemble(model: Any, members: int) -> Any:
    """Return the entry ``model`` of the `Network` of an ensemble."""
    if isinstance(model, dict):
        return {"name": "ensemble", "arguments": {"member": model, "members": members}}
    return partial(_mean_of_own, model, members)


def _mean_of_own(model: Any, members: int, in_shape: tuple[int, ...], outputs: int) -> Layer:
    return mean_of([build(Network(in_shape, outputs, model))] * members)


def _augmented(functions: Sequence[Callable[..., Array]], masked: bool, key: Key, x: Array) -> Array:
    """Return the series after each of the functions; padding stays padding."""
    values = x[..., 1:] if masked else x
    for i, function in enumerate(functions):
        values = function(fold_in(key, i), values)
    return np.concatenate([x[..., :1], x[..., :1] * values], axis=-1) if masked else values


class TimeSeriesConvClassifier(BaseTimeSeries, ConvNetClassifier):
    """Convolutional network for the classification of time series, with scikit-learn's interface.

    Parameters
    ----------
    model : {"narrow_fcn", "fcn", "resnet1d", "inception_time"}, Layer or callable
        The network: one of `funcnn.models` (the default is `funcnn.models.fcn` of 32, 64 and 64 channels), or one of
        your own, a Layer or a function ``model(in_shape, n_outputs) -> Layer``, of series (time, channels). For series
        of unequal length it takes (time, 1 + channels) and has to regard the mask: see `funcnn.models.series`.
    n_estimators : int
        How many networks are trained, each from other initial weights. The outputs are the mean of theirs
        (`funcnn.models.ensemble`).
    augment : {"jitter", "scaling", "shift"}, callable, list of these, or None
        Random changes of each batch of scaled series: `funcnn.data.jitter`, `funcnn.data.random_scale`,
        `funcnn.data.random_shift` by up to a twentieth of the length, or ``augment(key, x) -> x`` of arrays
        (n, time, channels). Padding stays padding.
    n_iter_no_change : int
        As in `ConvNetClassifier`; by default so many that the schedule of the learning rate is completed, since epochs
        of few series are short.
    solver, alpha, batch_size, learning_rate, learning_rate_init, max_iter, shuffle, class_weight, early_stopping, \
validation_fraction, tol, random_state, dtype, threads, verbose
        As there.

    Attributes
    ----------
    classes_ : array (n_classes,)
    masked_ : bool
        Whether the series had unequal lengths. Then series of any length can be predicted; else those of the length of
        the training data.
    image_shape_ : (int, int)
        The shape of an example of the network: (time, channels), with ``masked_`` (time, 1 + channels).
    n_features_in_ : int
        The number of values of a series, unless ``masked_``.
    offset_, scale_ : array (channels,)
        Series are scaled to (x - offset_) / scale_, by the mean and the standard deviation of each channel over the
        training data.
    params_, state_, model_, n_iter_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As in `ConvNetClassifier`; of an ensemble, the numbers are those of its last network.

    Notes
    -----
    Series of unequal length are padded to the longest, with a mask. Padding has no influence, in training and in
    prediction: any amount of it gives the same, up to rounding (1e-12).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> X = np.sin(np.linspace(0, 6 + 6 * y, 20).T + rng.uniform(0, 6, (60, 1)))[:, None]
    >>> net = TimeSeriesConvClassifier(max_iter=10, random_state=0).fit(X[:40], y[:40])
    >>> net.score(X[40:], y[40:]) > 0.9
    True
    """

    def __init__(
        self,
        model: Any = "narrow_fcn",
        *,
        n_estimators: int = 1,
        augment: Any = None,
        solver: str = "adamw",
        alpha: float = 0.5,
        batch_size: Any = "auto",
        learning_rate: str = "one_cycle",
        learning_rate_init: float = 8e-3,
        max_iter: int | None = None,
        shuffle: bool = True,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 1000,
        tol: float = 1e-4,
        random_state: Any = None,
        dtype: str = "auto",
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.n_estimators = n_estimators
        self.augment = augment
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads
        self.verbose = verbose

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each series, or 0 or 1 for each of its labels.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            Of the channels and the length that the estimator was fitted on; with ``masked_``, of any length.

        Returns
        -------
        array (n,)
            In multilabel classification (n, labels).

        Examples
        --------
        >>> X, y = np.sin(np.outer(np.arange(1, 9), np.arange(20.0))), ["slow"] * 4 + ["fast"] * 4
        >>> net = TimeSeriesConvClassifier(max_iter=20, random_state=0).fit(X, y)
        >>> net.predict(X[:2]).shape
        (2,)
        """
        return super().predict(X)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each series.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            Of the channels and the length that the estimator was fitted on; with ``masked_``, of any length.

        Returns
        -------
        array (n, n_classes)
            In the order of ``classes_``. Of labels, each has its own probability: rows do not sum to 1.

        Examples
        --------
        >>> X, y = np.sin(np.outer(np.arange(1, 9), np.arange(20.0))), ["slow"] * 4 + ["fast"] * 4
        >>> net = TimeSeriesConvClassifier(max_iter=20, random_state=0).fit(X, y)
        >>> net.predict_proba(X).sum(axis=1).round(6).tolist() == [1.0] * 8
        True
        """
        return super().predict_proba(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class for each series.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            Of the channels and the length that the estimator was fitted on; with ``masked_``, of any length.

        Returns
        -------
        array (n, n_classes)
            In the order of ``classes_``.

        Examples
        --------
        >>> X, y = np.sin(np.outer(np.arange(1, 9), np.arange(20.0))), ["slow"] * 4 + ["fast"] * 4
        >>> net = TimeSeriesConvClassifier(max_iter=20, random_state=0).fit(X, y)
        >>> np.allclose(np.exp(net.predict_log_proba(X)), net.predict_proba(X))
        True
        """
        return super().predict_log_proba(X)

    def decision_function(self, X: Any) -> Array:
        """Return the logits for each series.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            Of the channels and the length that the estimator was fitted on; with ``masked_``, of any length.

        Returns
        -------
        array (n, n_classes)
            For two classes, array (n,): the logit of the second minus that of the first.

        Examples
        --------
        >>> X, y = np.sin(np.outer(np.arange(1, 9), np.arange(20.0))), ["slow"] * 4 + ["fast"] * 4
        >>> net = TimeSeriesConvClassifier(max_iter=20, random_state=0).fit(X, y)
        >>> bool(((net.decision_function(X) > 0) == (net.predict(X) == "slow")).all())
        True
        """
        return super().decision_function(X)


class TimeSeriesConvRegressor(BaseTimeSeries, ConvNetRegressor):
    """Convolutional network for regression on time series by least squares, with scikit-learn's interface.

    Parameters
    ----------
    model, n_estimators, augment, n_iter_no_change
        As in `TimeSeriesConvClassifier`.
    solver, alpha, batch_size, learning_rate, learning_rate_init, max_iter, shuffle, early_stopping, \
validation_fraction, tol, random_state, dtype, threads, verbose
        As in `ConvNetRegressor`.

    Attributes
    ----------
    masked_, image_shape_, n_features_in_, offset_, scale_
        As in `TimeSeriesConvClassifier`.
    n_outputs_, target_mean_, target_scale_
        As in `ConvNetRegressor`.
    params_, state_, model_, n_iter_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As there; of an ensemble, the numbers are those of its last network.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> speed = rng.uniform(1, 3, 80)
    >>> X = np.sin(np.linspace(0, 6 * speed, 20).T)[:, None]
    >>> net = TimeSeriesConvRegressor(max_iter=30, random_state=0).fit(X[:60], speed[:60])
    >>> net.score(X[60:], speed[60:]) > 0.8
    True
    """

    def __init__(
        self,
        model: Any = "narrow_fcn",
        *,
        n_estimators: int = 1,
        augment: Any = None,
        solver: str = "adamw",
        alpha: float = 0.5,
        batch_size: Any = "auto",
        learning_rate: str = "one_cycle",
        learning_rate_init: float = 8e-3,
        max_iter: int | None = None,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 1000,
        tol: float = 1e-4,
        random_state: Any = None,
        dtype: str = "auto",
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.n_estimators = n_estimators
        self.augment = augment
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads
        self.verbose = verbose

    def predict(self, X: Any) -> Array:
        """Return the prediction for each series.

        Parameters
        ----------
        X : array-like (n, channels, time) or (n, time), or a list of arrays (channels, time) or (time,)
            Of the channels and the length that the estimator was fitted on; with ``masked_``, of any length.

        Returns
        -------
        array (n,)
            If y had the shape (n, outputs), array (n, outputs).

        Examples
        --------
        >>> X, y = np.sin(np.outer(np.arange(1, 9), np.arange(20.0))), np.arange(1.0, 9.0)
        >>> net = TimeSeriesConvRegressor(max_iter=20, random_state=0).fit(X, y)
        >>> net.predict(X[:3]).shape
        (3,)
        """
        return super().predict(X)
