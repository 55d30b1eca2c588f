"""scikit-learn estimators: a convolutional network wherever an estimator goes.

`ConvNetClassifier` and `ConvNetRegressor` are thin: they turn what scikit-learn hands over into arrays, and leave the
rest to `funcnn.training`. Fitted, they hold a model, its parameters and its state (``model_``, ``params_``,
``state_``), with which everything else in funcnn can be done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from funcnn import layers, losses, optim, tree
from funcnn.combinators import serial
from funcnn.data import random_shift
from funcnn.gradients import Loss
from funcnn.initializers import lecun_normal
from funcnn.kernels.conv.dispatch import exact
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.ops import log_softmax
from funcnn.progress import shown
from funcnn.summary import format_summary, summary
from funcnn.training import Epoch, TrainState, fit, predict, start
from funcnn.tree import Array

__all__ = ["ConvNetClassifier", "ConvNetRegressor"]

ACTIVATIONS: Mapping[str, Callable[[], Layer]] = {
    "identity": layers.identity,
    "logistic": layers.sigmoid,
    "tanh": layers.tanh,
    "relu": layers.relu,
    "leaky_relu": layers.leaky_relu,
    "elu": layers.elu,
    "gelu": layers.gelu,
    "silu": layers.silu,
}
SOLVERS = ("adamw", "adam", "sgd")
SCHEDULES = ("one_cycle", "cosine", "constant")
# Small sets are computed in float64, where float32 would gain nothing that anyone could see.
_SMALL_SET = 1 << 12
# Epochs if none are given: so many, and more where they would make fewer updates than that.
_EPOCHS, _UPDATES = 10, 450
_BATCH_SIZE = 32
_SMALLEST_PICTURE = 8


class Network(NamedTuple):
    """What a fitted estimator's network is made of: plain values, from which it can be made again anywhere.

    Attributes
    ----------
    image_shape : tuple of int
        (height, width, channels)
    outputs : int
    channels, hidden : tuple of int
    kernel_size, pool : int or tuple of two
    activation : str
    dropout : float
    custom : Layer, callable or None
        The user's own model, instead of all these.
    """

    image_shape: tuple[int, ...]
    outputs: int
    channels: tuple[int, ...]
    kernel_size: Any
    pool: Any
    hidden: tuple[int, ...]
    activation: str
    dropout: float
    custom: Any

    def build(self) -> Layer:
        """Make the network: blocks of convolution, max pooling and activation, then dense layers.

        Kernels and pools shrink to what the image is by then.
        """
        if isinstance(self.custom, Layer):
            return self.custom
        if self.custom is not None:
            model = self.custom(self.image_shape, self.outputs)
            if not isinstance(model, Layer):
                raise TypeError(f"model(image_shape, n_outputs) must return a funcnn Layer, not {model!r}")
            return model
        activation = ACTIVATIONS[self.activation]
        # neighbours in a table have nothing in common that a maximum would keep
        pool = self.pool if np.ndim(self.pool) or _is_picture(self.image_shape) else 1
        body, size = list[Layer](), self.image_shape[:2]
        for features in self.channels:
            kernel = tuple(min(k, s) for k, s in zip(_pair(self.kernel_size), size, strict=True))
            window = tuple(min(k, s) for k, s in zip(_pair(pool), size, strict=True))
            body.append(layers.conv2d(features, kernel, padding="same"))
            if window != (1, 1):
                body.append(layers.max_pool(window))
            body.append(activation())
            size = tuple(s // k for s, k in zip(size, window, strict=True))
        body.append(layers.flatten())
        for width in self.hidden:
            body += [layers.dense(width), activation()]
            body += [layers.dropout(self.dropout)] if self.dropout else []
        return serial(*body, layers.dense(self.outputs, w_init=lecun_normal))


class _ConvNet(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor have in common."""

    image_shape_: tuple[int, ...]
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
            A validation set of your own: its score after each epoch goes to ``validation_scores_``, and early stopping
            goes by it.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter does not fit; if the training diverges.
        """
        self._check_parameters()
        x, targets, weight, dtype = self._training_data(X, y, sample_weight, first=True)
        validation = self._validation_data(X_val, y_val)
        random = check_random_state(self.random_state)
        key = (int(random.randint(np.iinfo(np.int32).max)),)
        if self.early_stopping and validation is None:
            x, targets, weight, validation = self._hold_out(x, targets, weight, key[0])
        self._set_scaling(x, targets, weight)
        x, targets = self._scaled(x, dtype), self._encoded(targets, dtype)
        batch_size = self._batch_size(len(x))
        epochs = self.max_iter or max(_EPOCHS, -(-_UPDATES // -(-len(x) // batch_size)))
        optimizer = self._optimizer(epochs * -(-len(x) // batch_size))
        training = self._start(optimizer, dtype, key)
        self._begin_record(validation is not None)
        best: TrainState | None = None
        best_score, best_loss, waited = -math.inf, math.inf, 0
        records = self._epochs(optimizer, x, targets, weight, training, epochs, batch_size)
        for epoch in shown(records, epochs, self._describe, quiet=not self.verbose):
            self._record(epoch)
            training = epoch.train_state
            if validation is not None:
                score = self._score(*validation)
                self.validation_scores_ = [*(self.validation_scores_ or ()), score]
            if self.early_stopping:
                waited = 0 if score > best_score + self.tol else waited + 1
                if score > best_score or best is None:
                    best, best_score = training, score
            else:
                waited = 0 if epoch.loss < best_loss - self.tol else waited + 1
                best_loss = min(best_loss, epoch.loss)
            if waited >= self.n_iter_no_change:
                break
        if best is not None:
            training, self.best_loss_, self.best_validation_score_ = best, None, best_score
            self.params_, self.state_ = best.params, best.state
        # the momentum of a finished cycle is of no use to what comes next
        self._training = training._replace(opt_state={})
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, first: bool) -> Any:
        """Go through the data once."""
        self._check_parameters()
        x, targets, weight, dtype = self._training_data(X, y, sample_weight, first=first)
        if first:
            self._set_scaling(x, targets, weight)
        dtype = dtype if first else tree.leaves(self.params_)[0].dtype
        x, targets = self._scaled(x, dtype), self._encoded(targets, dtype)
        optimizer = self._optimizer(None)
        if first:
            random = check_random_state(self.random_state)
            training = start(self._model(), optimizer, self.image_shape_, key=(int(random.randint(2**31 - 1)),))
            training = _in_dtype(training, optimizer, dtype)
            self._begin_record(False)
        else:
            training = self._training
            if not training.opt_state:
                training = training._replace(opt_state=optimizer.init(training.params))
        epochs = training.epoch + 1
        for epoch in self._epochs(optimizer, x, targets, weight, training, epochs, self._batch_size(len(x))):
            self._record(epoch)
            self._training = epoch.train_state
        return self

    def _epochs(
        self,
        optimizer: optim.Optimizer,
        x: Array,
        targets: Array,
        weight: Array | None,
        training: TrainState,
        epochs: int,
        batch_size: int,
    ) -> Any:
        return fit(
            self._model(),
            self._loss(),
            optimizer,
            x,
            targets,
            epochs=epochs,
            batch_size=batch_size,
            resume=training,
            sample_weight=weight,
            augment=self._augment(),
            shuffle=self.shuffle,
            threads=self.threads,
        )

    def _start(self, optimizer: optim.Optimizer, dtype: Any, key: Key) -> TrainState:
        model = self._model()
        if not (self.warm_start and hasattr(self, "_training")):
            return _in_dtype(start(model, optimizer, self.image_shape_, key=key), optimizer, dtype)
        params = tree.map(lambda leaf: leaf.astype(dtype), self.params_)
        fresh = tree.map(np.shape, start(model, optimizer, self.image_shape_, key=key).params)
        if fresh != tree.map(np.shape, params):
            raise ValueError("warm_start: the network of the earlier fit has other sizes than this one would have")
        return TrainState(params, self.state_, optimizer.init(params), key, 0, 0)

    def _begin_record(self, validated: bool) -> None:
        self.loss_curve_ = []
        self.validation_scores_ = [] if validated else None
        self.best_validation_score_ = None
        self.best_loss_ = None

    def _record(self, epoch: Epoch) -> None:
        self.params_, self.state_ = epoch.train_state.params, epoch.train_state.state
        self.loss_curve_.append(epoch.loss)
        self.loss_, self.best_loss_ = epoch.loss, min(self.loss_curve_)
        self.n_iter_ = len(self.loss_curve_)

    def _describe(self, epoch: Epoch) -> str:
        scores = self.validation_scores_
        return f"loss {epoch.loss:.4f}" + (f"  validation {scores[-1]:.4f}" if scores else "")

    @property
    def model_(self) -> Layer:
        """The network, made anew from its plain description: so a fitted estimator can be pickled."""
        check_is_fitted(self, "network_")
        return self.network_.build()

    def _model(self) -> Layer:
        return self.network_.build()

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs (n, outputs), in float64.

        In float64 and by exact methods a row's outputs do not depend on the rows beside it.
        """
        check_is_fitted(self, "params_")
        return self._forward(self._rows(X, reset=False))

    def _forward(self, x: Array) -> Array:
        params, state = (tree.map(lambda leaf: leaf.astype(np.float64), part) for part in (self.params_, self.state_))
        with exact():
            return predict(self._model(), params, state, self._scaled(x, np.float64), threads=self.threads)

    # --- data -------------------------------------------------------------------------------------------------------

    def _training_data(self, X: Any, y: Any, sample_weight: Any, *, first: bool) -> tuple[Array, Array, Any, Any]:
        """Return rows, targets, weights (None if all are 1) and the dtype to compute in; describe the network."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        x = self._rows(X, reset=first)
        targets = self._targets(y)
        check_consistent_length(x, targets)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        targets, weight = self._register(targets, weight, first)
        if weight is not None and not weight.any():
            raise ValueError(f"all {len(weight)} sample weights are zero: there is nothing to learn from")
        if first:
            self.network_ = Network(
                self.image_shape_,
                self._n_outputs(targets),
                tuple(self.channels),
                self.kernel_size,
                self.pool,
                tuple(np.atleast_1d(self.hidden_layer_sizes).tolist()),
                self.activation,
                float(self.dropout),
                self.model,
            )
            _check_outputs(self.network_)
        dtype = np.dtype(np.float64 if x.size <= _SMALL_SET else np.float32) if self.dtype == "auto" else self.dtype
        return x, targets, weight, np.dtype(dtype)

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """Return X as rows (n, features) of real numbers, and on ``reset`` note the shape of an image."""
        shape = None
        if not hasattr(X, "iloc") and _ndim(X) > 2:
            images = check_array(X, allow_nd=True, dtype="numeric")
            if images.ndim > 4:
                raise ValueError(f"X has shape {images.shape}; expected (n, features), (n, h, w) or (n, h, w, c)")
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
                data = f"images of {found}" if found else f"{features} features"
                raise ValueError(f"image_shape {self.image_shape} does not fit the data, which has {data}")
            return given
        if found is not None:
            return found
        side = math.isqrt(features)
        return (side, side, 1) if side * side == features else (1, features, 1)

    def _validation_data(self, X_val: Any, y_val: Any) -> tuple[Array, Array] | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together; only one of them was given")
        if X_val is None:
            return None
        x, y = self._rows(X_val, reset=False), self._targets(y_val)
        check_consistent_length(x, y)
        return x, y

    def _hold_out(self, x: Array, targets: Array, weight: Any, seed: int) -> tuple[Array, Array, Any, Any]:
        trained, held = train_test_split(
            np.arange(len(x)),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=self._strata(targets),
        )
        return (
            x[trained],
            targets[trained],
            None if weight is None else weight[trained],
            (
                x[held],
                targets[held],
            ),
        )

    def _set_scaling(self, x: Array, targets: Array, weight: Any) -> None:
        """Note by what to scale: rows to mean 0, each feature for itself; pictures so that their background is 0.

        Padding and shifting put zeros at the edge, which should be the darkest there is, not a medium grey.
        """
        images = _is_picture(self.image_shape_)
        self.offset_, self.scale_ = _mean_and_scale(x, weight, None if images else 0)
        if images:
            self.offset_ = np.float64((x if weight is None else x[weight > 0]).min())

    def _scaled(self, x: Array, dtype: Any) -> Array:
        scaled = (np.asarray(x, np.float64) - self.offset_) / self.scale_
        return scaled.astype(dtype, copy=False).reshape(len(x), *self.image_shape_)

    # --- parameters -------------------------------------------------------------------------------------------------

    def _augment(self) -> Any:
        if self.augment != "auto":
            return self.augment
        return _shift if _is_picture(self.image_shape_) else None

    def _batch_size(self, n: int) -> int:
        return min(_BATCH_SIZE, n) if self.batch_size == "auto" else min(int(self.batch_size), n)

    def _optimizer(self, steps: int | None) -> optim.Optimizer:
        """Make the optimizer, with a constant learning rate where the number of steps is not known."""
        rate = float(self.learning_rate_init)
        schedule: Any = rate
        if steps is not None and self.learning_rate == "one_cycle":
            schedule = optim.one_cycle(rate, steps)
        elif steps is not None and self.learning_rate == "cosine":
            schedule = optim.cosine(rate, steps)
        alpha = float(self.alpha)
        if self.solver == "sgd":
            return optim.sgd(schedule, momentum=0.9, nesterov=True, weight_decay=alpha)
        return (optim.adamw if self.solver == "adamw" else optim.adam)(schedule, weight_decay=alpha)

    def _check_parameters(self) -> None:
        """Refuse parameters out of range, before any work is done."""
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
            for k in _pair(getattr(self, name)):
                self._check_count(name, k)
        self._check_range("learning_rate_init", math.ulp(0.0), math.inf)
        self._check_range("alpha", 0.0, math.inf)
        self._check_range("tol", 0.0, math.inf)
        self._check_range("dropout", 0.0, 1.0)
        if self.early_stopping:
            self._check_range("validation_fraction", math.ulp(0.0), 1.0)
        for name, choices in (
            ("activation", tuple(ACTIVATIONS)),
            ("solver", SOLVERS),
            ("learning_rate", SCHEDULES),
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

    def _html_repr(self) -> str:
        """Return scikit-learn's diagram, and below it, once fitted, the layers of the network."""
        diagram: str = super()._html_repr()
        if not hasattr(self, "params_"):
            return diagram
        table = escape(format_summary(summary(self._model(), self.image_shape_)))
        return f"{diagram}<details><summary>network</summary><pre>{table}</pre></details>"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class ConvNetClassifier(ClassifierMixin, _ConvNet):  # type: ignore[misc]
    """Convolutional network for classification, with scikit-learn's interface.

    Parameters
    ----------
    channels : sequence of int
        Output channels of each block of convolution, max pooling and activation.
    kernel_size, pool : int or tuple of two
        Of the convolutions, padded to keep the size, and of the pools; both shrink to what an image has by then, so
        rows, images of height 1, have kernels of height 1. An int for ``pool`` goes for images from 8x8 on alone.
    hidden_layer_sizes : int or sequence of int
        Widths of the dense layers between the blocks and the outputs.
    activation : {"relu", "identity", "logistic", "tanh", "leaky_relu", "elu", "gelu", "silu"}
    dropout : float in [0, 1)
        Fraction dropped behind each dense layer but the last.
    image_shape : tuple of int (h, w) or (h, w, c), optional
        What a flat row is an image of. By default a square of one channel if the number of features is one, else a row
        (1, features). Give (1, features) for a table whose number of features is a square by chance.
    model : Layer or callable, optional
        The network, instead of all of the above: a Layer, or ``model(image_shape, n_outputs) -> Layer``. A function of
        a module can be pickled, a Layer cannot.
    solver : {"adamw", "adam", "sgd"}
        "sgd" has Nesterov momentum of 0.9.
    alpha : float >= 0
        Weight decay: decoupled from the gradient for "adamw" (weights shrink by alpha times the learning rate a step),
        for "adam" and "sgd" an L2 term, alpha times the weights added to the gradient of the mean loss.
    batch_size : int or "auto"
        Examples a step; "auto" is 32, or all if there are fewer.
    learning_rate : {"one_cycle", "cosine", "constant"}
        Schedule over the epochs of a fit.
    learning_rate_init : float > 0
        The highest learning rate.
    max_iter : int, optional
        Epochs; by default 10, or as many as make 450 updates.
    shuffle : bool
        Whether each epoch has the examples in a new order.
    augment : "auto", callable or None
        ``augment(key, x) -> x`` for each batch of images (n, h, w, c), their lowest value at 0. "auto" shifts half of
        them by up to a pixel (`funcnn.data.random_shift`) if they are at least 8x8.
    class_weight : dict, "balanced" or None
        As in scikit-learn.
    early_stopping : bool
        Whether to hold out examples (or take X_val, y_val), stop when their score no longer rises, and put the best
        parameters back. Without it, training stops when its loss no longer falls.
    validation_fraction : float in (0, 1)
        To hold out.
    n_iter_no_change : int
        For so many epochs in a row without an improvement of more than ``tol``, training stops.
    tol : float >= 0
    warm_start : bool
        Whether a further fit begins with the parameters of the one before.
    random_state : int, RandomState or None
        Of initial weights, order, dropout, augmentation and what is held out.
    dtype : {"auto", "float32", "float64"}
        To train in. "auto" is float64 for sets of up to 4,096 numbers, else float32.
    threads : int, optional
        On how many threads to compute at most, by default one for each core.
    verbose : bool
        Show progress on stderr.

    Attributes
    ----------
    classes_ : array (n_classes,)
    n_features_in_ : int
        Of a row; of an image, h * w * c.
    feature_names_in_ : array of str
        If X had names for its features.
    image_shape_ : tuple of int (h, w, c)
    offset_, scale_ : float or array (features,)
        By which inputs are scaled, (x - offset_) / scale_: the lowest value and the standard deviation of all
        pixels of images from 8x8 on; mean and standard deviation of each feature of others and of rows.
    params_, state_ : tree
    model_ : Layer
        With these, ``funcnn.training.predict(model_, params_, state_, x)`` gives the logits of scaled x (n, h, w, c).
    n_iter_ : int
        Epochs.
    loss_, best_loss_ : float
        Mean cross-entropy of the last epoch, and the lowest (None after early stopping).
    loss_curve_, validation_scores_ : list of float
        Of all epochs; without a validation set, validation_scores_ is None.
    best_validation_score_ : float or None
        That early stopping went back to.

    Notes
    -----
    Inputs are scaled, so that their units do not matter. Predictions are computed in float64 and by exact
    methods: a row's prediction does not depend, but for rounding of 1e-15, on the rows beside it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> net = ConvNetClassifier(max_iter=3, random_state=0).fit(X[:1200], y[:1200])
    >>> net.image_shape_, net.score(X[1200:], y[1200:]) > 0.9
    ((8, 8, 1), True)
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        *,
        kernel_size: Any = 3,
        pool: Any = 2,
        hidden_layer_sizes: Any = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
        image_shape: Any = None,
        model: Any = None,
        solver: str = "adamw",
        alpha: float = 0.5,
        batch_size: Any = "auto",
        learning_rate: str = "one_cycle",
        learning_rate_init: float = 8e-3,
        max_iter: int | None = None,
        shuffle: bool = True,
        augment: Any = "auto",
        class_weight: Any = None,
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
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.augment = augment
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads
        self.verbose = verbose

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> ConvNetClassifier:
        """Go through the data once, with a constant learning rate, on from where the parameters are.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like (n_classes,)
            All classes that there will be; needed in the first call alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`; if the classes are missing in the first call, differ in a later one, or lack one that y has.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight {self.class_weight!r} needs all of y at once, which partial_fit never sees; give "
                "the weights as a dict"
            )
        first = not hasattr(self, "params_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if first:
            self._classes = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        try:
            return self._partial_fit(X, y, sample_weight, first)
        finally:
            self.__dict__.pop("_classes", None)

    def predict(self, X: Any) -> Array:
        """Return the likeliest class of each row or image, (n,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, (n, n_classes), in the order of ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, (n, n_classes)."""
        return log_softmax(self._outputs(X))[0]

    def decision_function(self, X: Any) -> Array:
        """Return the logits (n, n_classes); of two classes, the second's minus the first's, (n,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def _targets(self, y: Any) -> Array:
        targets: Array = _check_y(y, estimator=self)
        check_classification_targets(targets)
        return targets

    def _register(self, targets: Array, weight: Any, first: bool) -> tuple[Array, Any]:
        if first:
            self.classes_ = getattr(self, "_classes", np.unique(targets))
        unknown = np.setdiff1d(targets, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the classes {unknown.tolist()}, which are not among {self.classes_.tolist()}")
        if self.class_weight is not None:
            of_classes = compute_sample_weight(self.class_weight, targets)
            weight = of_classes if weight is None else weight * of_classes
        return targets, weight

    def _n_outputs(self, targets: Array) -> int:
        return len(self.classes_)

    def _encoded(self, targets: Array, dtype: Any) -> Array:
        return np.searchsorted(self.classes_, targets)

    def _strata(self, targets: Array) -> Array | None:
        counts = np.unique(targets, return_counts=True)[1]
        held = math.ceil(self.validation_fraction * len(targets))
        return targets if counts.min() > 1 and len(counts) <= min(held, len(targets) - held) else None

    def _loss(self) -> Loss:
        return losses.softmax_cross_entropy

    def _score(self, x: Array, y: Array) -> float:
        return float(accuracy_score(y, self.classes_[self._forward(x).argmax(axis=1)]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = True
        return tags


class ConvNetRegressor(RegressorMixin, _ConvNet):  # type: ignore[misc]
    """Convolutional network for regression by least squares, with scikit-learn's interface.

    Parameters
    ----------
    channels, kernel_size, pool, hidden_layer_sizes, activation, dropout, image_shape, model
        The network, as in `ConvNetClassifier`.
    solver, alpha, batch_size, learning_rate, learning_rate_init, max_iter, shuffle, augment, warm_start, random_state
        Its training, as there.
    early_stopping, validation_fraction, n_iter_no_change, tol
        When it ends, as there.
    dtype, threads, verbose
        As there.

    Attributes
    ----------
    n_features_in_, feature_names_in_, image_shape_, offset_, scale_, params_, state_, model_, n_iter_
        As in `ConvNetClassifier`.
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_
        As there, but losses are mean squared errors of standardised targets, and scores coefficients of determination.
    n_outputs_ : int
    target_mean_, target_scale_ : array (n_outputs_,)
        By which targets are standardised, so that their units do not matter.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ConvNetRegressor(random_state=0).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.3
    True
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        *,
        kernel_size: Any = 3,
        pool: Any = 2,
        hidden_layer_sizes: Any = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
        image_shape: Any = None,
        model: Any = None,
        solver: str = "adamw",
        alpha: float = 0.5,
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
        """Go through the data once, with a constant learning rate, on from where the parameters are.

        Inputs and targets stay standardised as in the first call.
        """
        return self._partial_fit(X, y, sample_weight, not hasattr(self, "params_"))

    def predict(self, X: Any) -> Array:
        """Return the prediction for each row or image: (n,), or (n, outputs) if y was of that shape."""
        return self._shaped(self._outputs(X))

    def _shaped(self, outputs: Array) -> Array:
        values = outputs * self.target_scale_ + self.target_mean_
        return values[:, 0] if self._flat else values

    def _targets(self, y: Any) -> Array:
        return np.asarray(_check_y(y, multi_output=True, y_numeric=True, estimator=self))

    def _register(self, targets: Array, weight: Any, first: bool) -> tuple[Array, Any]:
        outputs = math.prod(targets.shape[1:])
        if first:
            self.n_outputs_, self._flat = outputs, targets.ndim == 1
        elif outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, but was fitted on {self.n_outputs_}")
        return targets, weight

    def _n_outputs(self, targets: Array) -> int:
        return int(self.n_outputs_)

    def _set_scaling(self, x: Array, targets: Array, weight: Any) -> None:
        super()._set_scaling(x, targets, weight)
        self.target_mean_, self.target_scale_ = _mean_and_scale(targets.reshape(len(targets), -1), weight, 0)

    def _encoded(self, targets: Array, dtype: Any) -> Array:
        scaled = (targets.reshape(len(targets), -1) - self.target_mean_) / self.target_scale_
        return scaled.astype(dtype)

    def _strata(self, targets: Array) -> None:
        return None

    def _loss(self) -> Loss:
        return losses.mse

    def _score(self, x: Array, y: Array) -> float:
        return float(r2_score(y, self._shaped(self._forward(x))))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _is_picture(image_shape: tuple[int, ...]) -> bool:
    """Say whether to take images for pictures; smaller ones may well be tables with a square number of features."""
    return min(image_shape[:2]) >= _SMALLEST_PICTURE


def _shift(key: Key, images: Array) -> Array:
    return random_shift(key, images, 1, fraction=0.5)


def _pair(value: Any) -> tuple[Any, Any]:
    one = np.atleast_1d(value).tolist()
    if len(one) > 2:
        raise ValueError(f"kernel_size and pool are a number or a pair of them, not {value!r}")
    return (one[0], one[-1])


def _ndim(X: Any) -> int:
    try:
        return np.asarray(X).ndim
    except ValueError:  # rows of different lengths, which scikit-learn has its own words for
        return 2


def _mean_and_scale(a: Array, weight: Any, axis: int | None) -> tuple[Any, Any]:
    """Return weighted mean and standard deviation over ``axis``, or over all; 1 for what does not vary."""
    a = np.asarray(a, np.float64)
    if axis is None and weight is not None:
        weight = np.broadcast_to(weight[:, None], a.shape)
    mean = np.average(a, axis=axis, weights=weight)
    scale = np.sqrt(np.average((a - mean) ** 2, axis=axis, weights=weight))
    return mean, np.where(scale > 1e-12 * np.maximum(1.0, abs(mean)), scale, 1.0)


def _in_dtype(training: TrainState, optimizer: optim.Optimizer, dtype: Any) -> TrainState:
    params, state = (tree.map(lambda leaf: leaf.astype(dtype), part) for part in (training.params, training.state))
    return training._replace(params=params, state=state, opt_state=optimizer.init(params))


def _check_outputs(network: Network) -> None:
    if network.custom is not None:
        out_shape = network.build().init((0,), network.image_shape)[2]
        if out_shape != (network.outputs,):
            raise ValueError(
                f"the model's output for images of {network.image_shape} is {out_shape}; expected ({network.outputs},)"
            )
