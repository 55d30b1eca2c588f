"""The common base of the estimators: checks of data and parameters, scaling, the training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from html import escape
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from funcnn import data, optim, tree
from funcnn.estimators.network import ACTIVATIONS, Network, build, check_outputs, default_model, is_image, pair
from funcnn.kernels.conv.dispatch import exact
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.progress import with_progress
from funcnn.stopping import BestEpoch, update_best
from funcnn.summary import format_summary, summary
from funcnn.training import Augmentation, Epoch, EpochIterator, TrainState, fit, predict, start
from funcnn.tree import Array

# The estimators' names of optimizers and schedules, and those of `funcnn.optim.by_name`.
SOLVERS = {"adamw": "adamw", "adam": "adam", "sgd": "momentum"}
SCHEDULES = {"one_cycle": "one-cycle", "cosine": "cosine", "constant": "constant"}
# Data of at most so many numbers are trained in float64: float32 would hardly be faster.
_SMALL_SET = 1 << 12
# The default number of epochs: _EPOCHS, or more if those are fewer than _UPDATES steps.
_EPOCHS, _UPDATES = 10, 450
_BATCH_SIZE = 32


class TrainingData(NamedTuple):
    """Checked training data.

    Attributes
    ----------
    x : array (n, features)
    targets : array (n,) or (n, outputs)
    weight : array (n,) or None
        None if all weights are 1.
    """

    x: Array
    targets: Array
    weight: Array | None


class BaseConvNet(BaseEstimator):  # type: ignore[misc]
    """The common part of classifier and regressor, which define targets, loss and score."""

    image_shape_: tuple[int, ...]
    network_: Network
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_loss_: float | None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Flat rows or images.
        y : array-like (n,)
            Classes, numbers or strings; for the regressor real numbers, also (n, outputs).
        sample_weight : array-like (n,), optional
            >= 0, not all 0. A weight of k counts as k repeats.
        X_val, y_val : array-like, optional
            Validation data. ``validation_scores_`` gets their score after each epoch, and early stopping uses them
            instead of holding out examples.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter does not fit; if the training diverges.

        Examples
        --------
        See `ConvNetClassifier` and `ConvNetRegressor`.
        """
        self._check_parameters()
        training_data = self._training_data(X, y, sample_weight, first=True)
        dtype = self._dtype(training_data.x)
        model = build(self.network_)
        check_outputs(model, self.network_)
        validation = self._validation_data(X_val, y_val)
        key = self._key()
        if self.early_stopping and validation is None:
            training_data, validation = self._hold_out(training_data, key)
        self._set_scaling(training_data)
        steps = -(-len(training_data.x) // self._batch_size(len(training_data.x)))
        epochs = self.max_iter or max(_EPOCHS, -(-_UPDATES // steps))
        optimizer = self._optimizer(epochs * steps)
        train_state = self._start(model, optimizer, dtype, key)
        self._clear_record(validation is not None)
        records = self._recorded(self._epochs(model, optimizer, training_data, train_state, epochs), model, validation)
        best: BestEpoch | None = None
        with closing(with_progress(records, epochs, quiet=not self.verbose, describe=self._progress)) as progress:
            for epoch in progress:
                train_state = epoch.train_state
                value = -self.validation_scores_[-1] if self.early_stopping and self.validation_scores_ else epoch.loss
                best = update_best(best, value, train_state, min_delta=self.tol)
                if best.waited >= self.n_iter_no_change:
                    break
        if self.early_stopping and best is not None:
            train_state = train_state._replace(params=best.params, state=best.state)
            self.params_, self.state_ = best.params, best.state
            self.best_loss_, self.best_validation_score_ = None, -best.value
        # A later partial_fit or fit starts its own optimizer: momentum at the end of a schedule is of no use to it.
        self._train_state = train_state._replace(opt_state={})
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, *, classes: Any = None) -> Any:
        """Train for one epoch, with a constant learning rate."""
        self._check_parameters()
        first = not hasattr(self, "params_")
        training_data = self._training_data(X, y, sample_weight, first=first, classes=classes)
        model, optimizer = build(self.network_), self._optimizer(None)
        if first:
            check_outputs(model, self.network_)
            self._set_scaling(training_data)
            self._clear_record(False)
            train_state = start(model, optimizer, self.image_shape_, key=self._key())
            train_state = _in_dtype(train_state, optimizer, self._dtype(training_data.x))
        else:
            train_state = self._train_state
            if not train_state.opt_state:
                train_state = train_state._replace(opt_state=optimizer.init(train_state.params))
        epochs = self._epochs(model, optimizer, training_data, train_state, train_state.epoch + 1)
        for epoch in self._recorded(epochs, model, None):
            self._train_state = epoch.train_state
        return self

    # --- training ---------------------------------------------------------------------------------------------------

    def _epochs(
        self,
        model: Layer,
        optimizer: optim.Optimizer,
        training_data: TrainingData,
        train_state: TrainState,
        epochs: int,
    ) -> EpochIterator:
        """Return the iterator over the epochs that are left to train."""
        x, targets, weight = training_data
        dtype = tree.leaves(train_state.params)[0].dtype
        return fit(
            model,
            self._loss(),
            optimizer,
            self._scaled(x, dtype),
            self._encoded(targets, dtype),
            epochs=epochs,
            batch_size=self._batch_size(len(x)),
            resume=train_state,
            sample_weight=weight,
            augment=self._augment(),
            shuffle=self.shuffle,
            threads=self.threads,
        )

    def _start(self, model: Layer, optimizer: optim.Optimizer, dtype: Any, key: Key) -> TrainState:
        """Return the state before the first epoch: fresh, or with the parameters of an earlier fit."""
        fresh = start(model, optimizer, self.image_shape_, key=key)
        if not (self.warm_start and hasattr(self, "_train_state")):
            return _in_dtype(fresh, optimizer, dtype)
        if tree.map(np.shape, fresh.params) != tree.map(np.shape, self.params_):
            raise ValueError("warm_start: the network of the earlier fit has other sizes than this one would have")
        return _in_dtype(fresh._replace(params=self.params_, state=self.state_), optimizer, dtype)

    def _clear_record(self, validated: bool) -> None:
        self.loss_curve_ = []
        self.validation_scores_ = [] if validated else None
        self.best_validation_score_ = None
        self.best_loss_ = None

    def _recorded(
        self, epochs: Iterable[Epoch], model: Layer, validation: tuple[Array, Array] | None
    ) -> Iterator[Epoch]:
        """Yield the epochs, each after its parameters, loss and validation score are in the fitted attributes."""
        for epoch in epochs:
            self.params_, self.state_ = epoch.train_state.params, epoch.train_state.state
            self.loss_curve_.append(epoch.loss)
            self.loss_, self.best_loss_ = epoch.loss, min(self.loss_curve_)
            self.n_iter_ = len(self.loss_curve_)
            if validation is not None and self.validation_scores_ is not None:
                self.validation_scores_.append(self._score(model, *validation))
            yield epoch

    def _progress(self, epoch: Epoch) -> dict[str, str]:
        """Return what ``verbose`` shows of an epoch."""
        parts = {"loss": f"loss {epoch.loss:.4f}"}
        if self.validation_scores_:
            parts["validation"] = f"validation {self.validation_scores_[-1]:.4f}"
        return parts

    @property
    def model_(self) -> Layer:
        """The network, built from its plain description ``network_``, so that a fitted estimator can be pickled."""
        check_is_fitted(self, "network_")
        return build(self.network_)

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs (n, outputs) for new data."""
        check_is_fitted(self, "params_")
        return self._forward(self.model_, self._rows(X, reset=False))

    def _forward(self, model: Layer, x: Array) -> Array:
        """Return the network's outputs (n, outputs), in float64.

        In float64 and by exact methods a row's outputs do not depend on the other rows.
        """
        params, state = (tree.map(lambda leaf: leaf.astype(np.float64), part) for part in (self.params_, self.state_))
        with exact():
            return predict(model, params, state, self._scaled(x, np.float64), threads=self.threads)

    # --- data -------------------------------------------------------------------------------------------------------

    def _training_data(self, X: Any, y: Any, sample_weight: Any, *, first: bool, classes: Any = None) -> TrainingData:
        """Check the data; the ``first`` data determine the shape of an image, the outputs and the network."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        x = self._rows(X, reset=first)
        targets = self._targets(y)
        check_consistent_length(x, targets)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        outputs = self._count_outputs(targets, first, classes)
        weight = self._weighted(targets, weight)
        if weight is not None and not weight.any():
            raise ValueError(f"all {len(weight)} sample weights are zero: there is nothing to learn from")
        if first:
            model = self.model
            if model is None:
                model = default_model(
                    self.image_shape_,
                    outputs,
                    channels=self.channels,
                    kernel_size=self.kernel_size,
                    pool=self.pool,
                    hidden=self.hidden_layer_sizes,
                    activation=self.activation,
                    dropout=self.dropout,
                )
            self.network_ = Network(self.image_shape_, outputs, model)
        return TrainingData(x, targets, weight)

    def _weighted(self, targets: Array, weight: Array | None) -> Array | None:
        """Return the weights, multiplied with those that a parameter of the estimator gives."""
        return weight

    def _dtype(self, x: Array) -> Any:
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        return np.dtype(np.float64 if x.size <= _SMALL_SET else np.float32)

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """Return X as rows (n, features) of real numbers; with ``reset``, set ``image_shape_``."""
        shape = None
        if not hasattr(X, "iloc") and _ndim(X) > 2:
            images = check_array(X, allow_nd=True, dtype="numeric")
            if images.ndim > 4:
                raise ValueError(f"X must be (n, features), (n, h, w) or (n, h, w, c), got shape {images.shape}")
            shape = (*images.shape[1:], 1)[:3]
            if not reset and shape != self.image_shape_:
                raise ValueError(f"X has images of shape {shape}, but was fitted on {self.image_shape_}")
            X = images.reshape(len(images), -1)
        rows: Array = validate_data(self, X, reset=reset, dtype="numeric")
        if reset:
            self.image_shape_ = self._image_shape(shape, rows.shape[1])
        return rows

    def _image_shape(self, found: tuple[int, ...] | None, features: int) -> tuple[int, ...]:
        if self.image_shape is not None:
            given = tuple(int(s) for s in self.image_shape)
            given = (*given, 1)[:3] if len(given) in (2, 3) else ()
            if not given or math.prod(given) != features or (found is not None and found != given):
                has = f"images of {found}" if found else f"{features} features"
                raise ValueError(f"image_shape {self.image_shape} does not fit the data, which has {has}")
            return given
        if found is not None:
            return found
        side = math.isqrt(features)
        return (side, side, 1) if side * side == features else (1, features, 1)

    def _validation_data(self, X_val: Any, y_val: Any) -> tuple[Array, Array] | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together; only one of them was")
        if X_val is None:
            return None
        x, y = self._rows(X_val, reset=False), self._targets(y_val)
        check_consistent_length(x, y)
        return x, y

    def _hold_out(self, training_data: TrainingData, key: Key) -> tuple[TrainingData, tuple[Array, Array]]:
        """Split the data into those to train on and those to validate on."""
        x, targets, weight = training_data
        size = math.ceil(self.validation_fraction * len(x))
        if size == len(x):
            raise ValueError(
                f"validation_fraction {self.validation_fraction} of {len(x)} examples leaves none to train on"
            )
        held_out, trained = data.split(len(x), [size / len(x)], key=key, stratify=self._strata(targets, size))
        weight = None if weight is None else weight[trained]
        return TrainingData(x[trained], targets[trained], weight), (x[held_out], targets[held_out])

    def _set_scaling(self, training_data: TrainingData) -> None:
        """Set ``offset_`` and ``scale_``: each feature of rows gets mean 0, images get a background of 0.

        Padding and shifting put zeros at the edge of an image, which should be its lowest value rather than its mean.
        """
        x, _, weight = training_data
        if is_image(self.image_shape_):
            self.offset_ = np.float64((x if weight is None else x[weight > 0]).min())
            self.scale_ = mean_and_scale(x, weight, None)[1]
        else:
            self.offset_, self.scale_ = mean_and_scale(x, weight, 0)

    def _scaled(self, x: Array, dtype: Any) -> Array:
        scaled = (np.asarray(x, np.float64) - self.offset_) / self.scale_
        return scaled.astype(dtype, copy=False).reshape(len(x), *self.image_shape_)

    # --- parameters -------------------------------------------------------------------------------------------------

    def _key(self) -> Key:
        return (int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),)

    def _augment(self) -> Augmentation | None:
        if self.augment != "auto":
            augment: Augmentation | None = self.augment
            return augment
        return partial(data.random_shift, max_shift=1, fraction=0.5) if is_image(self.image_shape_) else None

    def _batch_size(self, n: int) -> int:
        return min(_BATCH_SIZE if self.batch_size == "auto" else int(self.batch_size), n)

    def _optimizer(self, steps: int | None) -> optim.Optimizer:
        """Make the optimizer, with a constant learning rate where the number of steps is not known."""
        return optim.by_name(
            SOLVERS[self.solver],
            float(self.learning_rate_init),
            schedule="constant" if steps is None else SCHEDULES[self.learning_rate],
            steps=steps,
            weight_decay=float(self.alpha),
        )

    def _check_parameters(self) -> None:
        """Raise an error for parameters out of range, before any computation."""
        self._check_count("n_iter_no_change", self.n_iter_no_change)
        if self.max_iter is not None:
            self._check_count("max_iter", self.max_iter)
        if self.batch_size != "auto":
            self._check_count("batch_size", self.batch_size)
        if self.threads is not None:
            self._check_count("threads", self.threads)
        for name in ("channels", "hidden_layer_sizes"):
            for width in np.atleast_1d(getattr(self, name)).tolist():
                self._check_count(name, width)
        for name in ("kernel_size", "pool"):
            for k in pair(getattr(self, name)):
                self._check_count(name, k)
        self._check_range("learning_rate_init", math.ulp(0.0), math.inf)
        self._check_range("alpha", 0.0, math.inf)
        self._check_range("tol", 0.0, math.inf)
        self._check_range("dropout", 0.0, 1.0)
        if self.early_stopping:
            self._check_range("validation_fraction", math.ulp(0.0), 1.0)
        for name, choices in (
            ("activation", tuple(ACTIVATIONS)),
            ("solver", tuple(SOLVERS)),
            ("learning_rate", tuple(SCHEDULES)),
            ("dtype", ("auto", "float32", "float64")),
        ):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise self._invalid(name, f"one of {choices}", value)
        for name in ("augment", "model"):
            value = getattr(self, name)
            special = isinstance(value, Layer) if name == "model" else isinstance(value, str) and value == "auto"
            if not (value is None or callable(value) or special):
                expected = "a funcnn Layer or a function" if name == "model" else "'auto' or a function"
                raise self._invalid(name, f"{expected}, or None", value)

    def _check_count(self, name: str, value: Any) -> None:
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise self._invalid(name, "an int >= 1", value)

    def _check_range(self, name: str, low: float, below: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, Real) or not low <= float(value) < below:
            raise self._invalid(name, f"a number in [{low:g}, {below:g})", value)

    def _invalid(self, name: str, expected: str, value: Any) -> InvalidParameterError:
        return InvalidParameterError(
            f"The {name!r} parameter of {type(self).__name__} must be {expected}. Got {value!r} instead."
        )

    # --- scikit-learn -----------------------------------------------------------------------------------------------

    def _html_repr(self) -> str:
        """Return scikit-learn's diagram and, if fitted, the layers of the network below it."""
        diagram: str = super()._html_repr()
        if not hasattr(self, "params_"):
            return diagram
        table = escape(format_summary(summary(self.model_, self.image_shape_)))
        return f"{diagram}<details><summary>network</summary><pre>{table}</pre></details>"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def mean_and_scale(x: Array, weight: Array | None, axis: int | None) -> tuple[Any, Any]:
    """Return mean and standard deviation of the columns (``axis`` 0) or of all numbers (None); 1 instead of 0."""
    mean, std = data.mean_and_std(np.asarray(x, np.float64), axis, sample_weight=weight)
    scale = np.where(std == 0, 1.0, std)
    return (mean[0], scale[0]) if axis == 0 else (np.float64(mean.item()), np.float64(scale.item()))


def _ndim(X: Any) -> int:
    try:
        return np.asarray(X).ndim
    except ValueError:  # rows of different lengths, for which scikit-learn has its own error message
        return 2


def _in_dtype(train_state: TrainState, optimizer: optim.Optimizer, dtype: Any) -> TrainState:
    """Return the state with parameters and state in a dtype, and the optimizer's state made for these."""
    params, state = (
        tree.map(lambda leaf: leaf.astype(dtype), part) for part in (train_state.params, train_state.state)
    )
    return train_state._replace(params=params, state=state, opt_state=optimizer.init(params))
