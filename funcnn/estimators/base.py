"""The common base of the estimators: checks of data and parameters, scaling, the training loop."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
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

from funcnn import checks, data, files, fitted, optim, streams, tree
from funcnn.data import Mapped, Selected, Source
from funcnn.data.examplewise import Augmentation
from funcnn.estimators import layout, scaling
from funcnn.estimators.callbacks import CallbackSupportMixin, begin_fit, with_callbacks
from funcnn.estimators.network import ACTIVATIONS, Network, build, check_outputs, default_model, is_image, pair
from funcnn.estimators.scaling import Scaling
from funcnn.estimators.warning import warn_caller
from funcnn.intermediates import up_to
from funcnn.kernels.conv.dispatch import exact
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.progress import with_progress
from funcnn.stopping import BestEpoch, update_best
from funcnn.summary import format_summary, summary
from funcnn.training import Epoch, EpochIterator, TrainState, fit, predict, start
from funcnn.tree import Array

# The estimators' names of optimizers and schedules, and those of `funcnn.optim.by_name`.
SOLVERS = {"adamw": "adamw", "adam": "adam", "sgd": "momentum"}
SCHEDULES = {"one_cycle": "one-cycle", "cosine": "cosine", "constant": "constant"}
# The arguments of the default network that are parameters of the estimators by another name.
_PARAMETERS = {"hidden": "hidden_layer_sizes", "dropout_rate": "dropout"}
# Data of at most so many numbers are trained in float64: float32 would hardly be faster.
_SMALL_SET = 1 << 12


class Schedule(NamedTuple):
    """The defaults of a training: ``epochs``, of at most ``most`` updates, unless those are ``least_epochs``."""

    alpha: float
    batch_size: int
    epochs: int
    least_epochs: int
    least: int  # updates; more epochs if there are fewer
    most: int

    def epochs_of(self, steps: int) -> int:
        """Return the number of epochs of so many steps each."""
        return max(self.least_epochs, min(self.epochs, self.most // steps), -(-self.least // steps))


# scripts/compare_estimators.py measures them: tables take more epochs of larger batches, and more decay.
_OF_IMAGES = Schedule(alpha=0.5, batch_size=32, epochs=8, least_epochs=8, least=345, most=345)
_OF_COLOURS = _OF_IMAGES._replace(least=600, most=600)
_OF_TABLES = Schedule(alpha=1.0, batch_size=64, epochs=40, least_epochs=10, least=100, most=10_000)
# Examples (h, w) of which one side is below _LEAST_SIDE and the other this many times as long are series, not pictures.
_LEAST_SIDE, _SERIES_RATIO = 16, 4


class TrainingData(NamedTuple):
    """Checked data to train or to validate on.

    Attributes
    ----------
    x : array or source (n, features)
        Of the dtype of the user's data, and the same memory where that has rows.
    targets : array (n,) or (n, outputs)
    weight : array (n,) or None
        All above 0; None if all are 1.
    """

    x: Source
    targets: Array
    weight: Array | None


class BaseConvNet(CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """The common part of classifier and regressor, which define targets, loss and score."""

    _least_to_validate = 1  # examples of which the score is defined

    image_shape_: tuple[int, ...]
    input_shape_: tuple[int, ...]
    layout_: str
    network_: Network
    offset_: Array
    scale_: Array
    range_: tuple[Array, Array]
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_loss_: float | None
    _train_state: TrainState

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Flat rows or images.
        y : array-like (n,)
            Classes, numbers or strings, or 0 and 1 for each label (n, labels); for the regressor real numbers, also
            (n, outputs).
        sample_weight : array-like (n,), optional
            >= 0, not all 0. A weight of k counts as k repeats, one of 0 as absence.
        X_val, y_val : array-like, optional
            Validation data. ``validation_scores_`` gets their score after each epoch, and early stopping uses them
            instead of holding out examples.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter does not fit; if the training diverges. The estimator then stays what it was, as
            it does after Ctrl-C.

        Examples
        --------
        See `ConvNetClassifier` and `ConvNetRegressor`.
        """
        with self._unchanged_by_errors():
            return self._fit(X, y, sample_weight, X_val, y_val)

    @with_callbacks  # type: ignore[untyped-decorator]
    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Any:
        self._check_parameters()
        training_data = self._training_data(X, y, sample_weight, first=True)
        dtype = self._dtype(training_data.x)
        model = build(self.network_)
        check_outputs(model, self.network_)
        validation = self._validation_data(X_val, y_val)
        key = self._key()
        if self.early_stopping and validation is None:
            training_data, validation = self._hold_out(training_data, key)
        if validation is not None:
            self._check_validation(validation)
        self._set_scaling(training_data, more=False)
        steps = -(-len(training_data.x) // self._batch_size(len(training_data.x)))
        epochs = self.max_iter or self._schedule().epochs_of(steps)
        optimizer = self._optimizer(epochs * steps)
        train_state = self._start(model, optimizer, dtype, key)
        self._clear_record(validation is not None)
        records = self._recorded(self._epochs(model, optimizer, training_data, train_state, epochs), model, validation)
        task = begin_fit(self, epochs, X, y, sample_weight)
        best: BestEpoch | None = None
        records = with_progress(task.epochs(records), epochs, quiet=not self.verbose, describe=self._progress)
        with closing(records) as progress:
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
        self._train_state = train_state._replace(opt_state={}, optimizer="")
        task.end()
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, *, classes: Any = None) -> Any:
        """Train for one epoch, with a constant learning rate."""
        self._check_parameters()
        first = not hasattr(self, "params_")
        training_data = self._training_data(X, y, sample_weight, first=first, classes=classes)
        model, optimizer = build(self.network_), self._optimizer(None)
        if first:
            check_outputs(model, self.network_)
            self._set_scaling(training_data, more=True)
            self._clear_record(False)
            train_state = start(model, optimizer, self.image_shape_, key=self._key())
            train_state = _in_dtype(train_state, optimizer, self._dtype(training_data.x))
        else:
            self._check_same_network()
            self._widen_range(training_data)
            self.loss_curve_ = list(self.loss_curve_)
            train_state = self._train_state
            if train_state.optimizer != optimizer.name:
                opt_state = optimizer.init(train_state.params)
                train_state = train_state._replace(opt_state=opt_state, optimizer=optimizer.name)
        epochs = self._epochs(model, optimizer, training_data, train_state, train_state.epoch + 1)
        for epoch in self._recorded(epochs, model, None):
            self._train_state = epoch.train_state
        return self

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """After an error or Ctrl-C, put back all attributes: the estimator stays what it was, whole."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

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
        leaves = tree.leaves(train_state.params)
        if not leaves:
            raise ValueError("the model has no parameters to train: all of its layers are frozen, or have none")
        dtype = leaves[0].dtype
        return fit(
            model,
            self._loss(training_data),
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
            raise ValueError(
                "warm_start: the network of the earlier fit has other layers or sizes than this one would have"
            )
        return _in_dtype(fresh._replace(params=self.params_, state=self.state_), optimizer, dtype)

    def _clear_record(self, validated: bool) -> None:
        self.loss_curve_ = []
        self.validation_scores_ = [] if validated else None
        self.best_validation_score_ = None
        self.best_loss_ = None

    def _recorded(self, epochs: Iterable[Epoch], model: Layer, validation: TrainingData | None) -> Iterator[Epoch]:
        """Yield the epochs, each after its parameters, loss and validation score are in the fitted attributes."""
        for epoch in epochs:
            self.params_, self.state_ = epoch.train_state.params, epoch.train_state.state
            self.loss_curve_.append(epoch.loss)
            self.loss_, self.best_loss_ = epoch.loss, min(self.loss_curve_)
            self.n_iter_ = len(self.loss_curve_)
            if validation is not None and self.validation_scores_ is not None:
                self.validation_scores_.append(self._score(model, validation))
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

    def _forward(self, model: Layer, x: Source) -> Array:
        """Return the outputs (n, ...) of the network, or of its first layers, in float64.

        In float64 and by exact methods a row's outputs do not depend on the other rows.
        """
        params, state = (tree.map(lambda leaf: leaf.astype(np.float64), part) for part in (self.params_, self.state_))
        with exact(), np.errstate(over="ignore", invalid="ignore"):
            outputs = predict(model, params, state, self._scaled(x, np.float64), threads=self.threads)
        finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the outputs of row {finite.argmin()} are not finite: its numbers lie too far outside of those of the "
                "training data"
            )
        return outputs

    # --- the fitted network, elsewhere ------------------------------------------------------------------------------

    def activations(self, X: Any, *, layer: str) -> Array:
        """Return what a layer of the network computes of raw examples.

        Parameters
        ----------
        X : array-like
            As `predict` takes it.
        layer : str
            The layer's path, such as "0_conv2d", as `funcnn.summary` names them.

        Returns
        -------
        array of float64 (n, ...)

        Raises
        ------
        ValueError
            If there is no such layer; the message names them.

        Examples
        --------
        >>> from funcnn.estimators import ConvNetClassifier
        >>> X, y = np.random.default_rng(0).normal(size=(20, 8, 8)), np.arange(20) % 2
        >>> net = ConvNetClassifier(channels=(4,), max_iter=1, random_state=0).fit(X, y)
        >>> net.activations(X[:3], layer="0_conv2d").shape
        (3, 8, 8, 4)
        """
        check_is_fitted(self, "params_")
        return self._forward(up_to(self.model_, layer), self._rows(X, reset=False))

    def to_onnx(self, file: str | os.PathLike[str] | None = None) -> Any:
        """Return the fitted estimator as an ONNX graph for other runtimes: scaling, network and probabilities.

        Parameters
        ----------
        file : path, optional
            Where to write it as well, completely or not at all.

        Returns
        -------
        onnx.ModelProto
            Of opset 17. Its input "x" is float32 (N, ...), raw examples in the shape in which `fit` took them; where
            that took series of unequal length, (N, channels, time) of any time, and behind its end a series is NaN. The
            outputs of a classifier are "label" and "probabilities", float32 (N, n_classes), in the order of
            ``classes_``; that of a regressor is "y".

        Raises
        ------
        ValueError
            If ``model`` has a layer that ONNX does not have, such as your own; a note has its path.
        OSError
            If the file cannot be written, naming it.
        ImportError
            If onnx is missing, naming the extra ``onnx``.

        Notes
        -----
        skl2onnx converts pipelines with the estimator in them, without anything to register.

        Examples
        --------
        >>> from funcnn.estimators import ConvNetClassifier
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> [output.name for output in net.to_onnx().graph.output]
        ['label', 'probabilities']
        """
        from funcnn.estimators.onnx_graph import graph_of  # needs onnx, an extra

        check_is_fitted(self, "params_")
        proto = graph_of(self, self.input_shape_)
        if file is not None:
            files.write_atomic(file, proto.SerializeToString())
        return proto

    def onnx_parser(self) -> Any:
        """Return what skl2onnx, which calls this, needs to know of the outputs."""
        from funcnn.estimators import onnx_graph

        return onnx_graph.parser_of(self)

    def onnx_shape_calculator(self) -> Any:
        """Return what skl2onnx, which calls this, needs to know of the outputs' shapes."""
        from funcnn.estimators import onnx_graph

        return onnx_graph.shape_calculator_of(self)

    def onnx_converter(self) -> Any:
        """Return the converter for skl2onnx, which calls this."""
        from funcnn.estimators import onnx_graph

        return onnx_graph.converter_of(self)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one file, a safetensors file without pickle; completely, or not at all.

        `load` gives the estimator back. `funcnn.predictor.load` makes a predictor of the file, which needs NumPy and
        safetensors, no scikit-learn, and predicts in float32.

        Parameters
        ----------
        file : path
            Its folder must exist.

        Raises
        ------
        ValueError
            If a layer of ``model`` or a parameter is code of your own, such as a function for ``augment``; the message
            says what to do.
        OSError
            If the file cannot be written, naming it.
        ImportError
            If safetensors is missing, naming the extra ``checkpoint``.

        Notes
        -----
        The state of the optimizer is in the file as well, so that `partial_fit` goes on exactly. What is not: initial
        parameters by functions or files of your own, which a later `fit` without ``warm_start`` would start from; it
        starts from those of the layers. A function for ``model`` is loaded as the layer that it returned.

        Examples
        --------
        >>> import tempfile
        >>> from funcnn import predictor
        >>> from funcnn.estimators import ConvNetClassifier
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(f"{folder}/net.safetensors")
        ...     again = ConvNetClassifier.load(f"{folder}/net.safetensors")
        ...     served = predictor.load(f"{folder}/net.safetensors")
        >>> bool((again.predict_proba(X) == net.predict_proba(X)).all()), served.predict(X)
        (True, array(['low', 'low', 'high', 'high'], dtype='<U4'))
        """
        from funcnn.estimators import saving  # needs safetensors, an extra

        saving.save(self, file)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Any:
        """Read an estimator that `save` wrote, by any version of Python, scikit-learn and, up to this one, funcnn.

        Parameters
        ----------
        file : path

        Returns
        -------
        estimator
            Fitted, with the same parameters and attributes; its predictions are equal bit for bit.

        Raises
        ------
        funcnn.checkpoint.CheckpointError
            If the file cannot be read, is damaged, holds another estimator, or was written by a later version.

        Examples
        --------
        See `save`.
        """
        from funcnn.estimators import saving  # needs safetensors, an extra

        return saving.load(cls, file)

    # --- data -------------------------------------------------------------------------------------------------------

    def _training_data(self, X: Any, y: Any, sample_weight: Any, *, first: bool, classes: Any = None) -> TrainingData:
        """Check the data; the ``first`` data determine the shape of an image, the outputs and the network."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        # A warm start goes on with the network of the earlier fit, so with its images.
        warm = first and self.warm_start and hasattr(self, "_train_state")
        earlier = (self.image_shape_, self.layout_) if warm else None
        for name, array in (("y", y), ("sample_weight", sample_weight)):
            checks.unmasked(type(self).__name__, name, array)
        x = self._rows(X, reset=first)
        targets = self._targets(y)
        check_consistent_length(x, targets)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
            weight = _below_one(weight)
        outputs = self._count_outputs(targets, first, classes)
        weight = self._weighted(targets, weight)
        training_data = _weighed(x, targets, weight, "sample")
        if first:
            self.input_shape_ = shape_of(X)[1:]
            self._set_layout(_found_image_shape(shape_of(X)), training_data.x, earlier)
            self.network_ = Network(self.image_shape_, outputs, self._model(outputs))
        return training_data

    def _model(self, outputs: int) -> Any:
        """Return the entry ``model`` of the network."""
        if self.model is not None:
            return self.model
        return default_model(
            self.image_shape_,
            outputs,
            channels=self.channels,
            kernel_size=self.kernel_size,
            pool=self.pool,
            hidden=self.hidden_layer_sizes,
            activation=self.activation,
            dropout=self.dropout,
        )

    def _check_same_network(self) -> None:
        """Raise an error for parameters that ask for another network than the one that is trained further."""
        trained, asked = self.network_.model, self._model(self.network_.outputs)
        changed = []
        if isinstance(trained, dict) and isinstance(asked, dict):
            had, arguments = trained["arguments"], asked["arguments"]
            changed = [_PARAMETERS.get(name, name) for name in arguments if arguments[name] != had.get(name)]
        elif trained != asked:
            changed = ["model"]
        if self.image_shape is not None and _completed(self.image_shape) != self.image_shape_:
            changed.append("image_shape")
        if self.dtype != "auto" and any(leaf.dtype != self.dtype for leaf in tree.leaves(self.params_)):
            changed.append("dtype")
        if changed:
            raise ValueError(
                f"partial_fit trains the network further that it has, and {' and '.join(changed)} "
                f"{'has' if len(changed) == 1 else 'have'} changed since: fit makes another network, and so does the "
                "first partial_fit of a clone"
            )

    def _weighted(self, targets: Array, weight: Array | None) -> Array | None:
        """Return the weights, multiplied with those that a parameter of the estimator gives."""
        return weight

    def _dtype(self, x: Source) -> Any:
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        return np.dtype(np.float64 if math.prod(x.shape) <= _SMALL_SET else np.float32)

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """Return X as rows (n, features) of real numbers."""
        checks.unmasked(type(self).__name__, "X", X)
        shape = shape_of(X)
        if len(shape) > 4:
            raise ValueError(f"X must be (n, features), (n, h, w) or (n, h, w, c), got shape {shape}")
        if not reset and math.prod(shape[1:]) != self.n_features_in_ and (*shape, 1)[:3] == self.image_shape_:
            raise ValueError(f"X is one image of shape {shape}; a batch of this one image is X[None]")
        shapes = [np.shape(entry) for entry in X] if _is_list_of_arrays(X) else []
        if len({*shapes}) > 1:
            other = next(i for i, found in enumerate(shapes) if found != shapes[0])
            series = type(self).__name__.replace("ConvNet", "TimeSeriesConv")
            raise ValueError(
                f"X has examples of unequal shapes, {shapes[0]} and {shapes[other]} (number {other}): resize images "
                f"(funcnn.data.resize); series of unequal length are for {series}"
            )
        found = _found_image_shape(shape)
        if found is not None:
            if not reset and found != self.image_shape_:
                raise ValueError(f"X has images of shape {found}, but was fitted on {self.image_shape_}")
            X = check_array(X, allow_nd=True, dtype="numeric").reshape(shape[0], -1)
        try:
            rows: Array = validate_data(self, X, reset=reset, dtype="numeric")
        except OverflowError as error:
            raise ValueError(f"X has a number that float64 cannot hold: {error}") from None
        if rows.dtype.kind not in "biuf":
            raise TypeError(
                f"X must be real numbers, not {rows.dtype}; dates can be given as numbers of days or seconds"
            )
        # float64 may not hold the numbers of a wider dtype
        return check_array(rows, dtype=np.float64) if rows.dtype.itemsize > 8 else rows

    def _set_layout(
        self, found: tuple[int, ...] | None, x: Source, earlier: tuple[tuple[int, ...], str] | None
    ) -> None:
        """Set ``image_shape_`` and ``layout_``: what the features are, and why."""
        features = x.shape[1]
        if self.image_shape is not None:
            given = _completed(self.image_shape)
            if math.prod(given) != features or (found is not None and found != given):
                has = f"images of {found}" if found else f"{features} features"
                raise ValueError(f"image_shape {self.image_shape} does not fit the data, which has {has}")
            self.image_shape_, self.layout_ = given, f"{features} features are {given}, as image_shape says"
        elif found is not None:
            self._check_pictures(self.input_shape_)
            self.image_shape_, self.layout_ = found, f"{features} features are {found}, as X is"
        elif earlier is not None and math.prod(earlier[0]) == features:
            self.image_shape_, self.layout_ = earlier
        else:
            named = hasattr(self, "feature_names_in_")
            self.image_shape_, self.layout_, guess = layout.of_columns(x, named=named)
            if guess:
                side, _, channels = layout.square_of(features)
                square = (side, side) if channels == 1 else (side, side, channels)
                warn_caller(f"{self.layout_}. This is a guess: give image_shape={square} or (1, {features})")
        if self.verbose:
            with suppress(OSError, ValueError):  # as the progress, it is not worth a fit
                print(self.layout_, file=streams.guard(sys.stderr), flush=True)

    def _check_pictures(self, shape: tuple[int, ...]) -> None:
        """Raise an error that names the right call if examples of this shape are series, or have channels first."""
        meant = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
            channels = f"{shape[0]} channel{'s' * (shape[0] > 1)}"
            meant = f"has its {channels} before {shape[1]}x{shape[2]} pixels: pass X.transpose(0, 2, 3, 1)"
        elif len(shape) == 2 and min(shape) < _LEAST_SIDE and max(shape) >= _SERIES_RATIO * min(shape):
            series = type(self).__name__.replace("ConvNet", "TimeSeriesConv")
            turned = "" if shape[0] < shape[1] else ".transpose(0, 2, 1)"
            meant = (
                f"looks like series of {max(shape)} steps in {min(shape)} channel{'s' * (min(shape) > 1)}: "
                f"{series}().fit(X{turned}, y) takes those"
            )
        if meant:
            raise ValueError(
                f"X (n, {', '.join(map(str, shape))}) {meant}; if it is images of {shape[0]}x{shape[1]}, "
                f"image_shape={shape} says so"
            )

    def _check_validation(self, validation: TrainingData) -> None:
        """Raise an error if the score of these data is not defined."""

    def _validation_data(self, X_val: Any, y_val: Any) -> TrainingData | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together; only one of them was")
        if X_val is None:
            return None
        checks.unmasked(type(self).__name__, "y_val", y_val)
        x, y = self._rows(X_val, reset=False), self._targets(y_val)
        check_consistent_length(x, y)
        self._count_outputs(y, False, None)
        return _weighed(x, y, self._weighted(y, None), "validation")

    def _hold_out(self, training_data: TrainingData, key: Key) -> tuple[TrainingData, TrainingData]:
        """Split the data into those to train on and those to validate on."""
        x, targets, weight = training_data
        size = max(math.ceil(self.validation_fraction * len(x)), self._least_to_validate)
        if size >= len(x):
            raise ValueError(
                f"validation_fraction {self.validation_fraction} of {len(x)} examples leaves none to train on: "
                f"{size} must be held out"
            )
        held_out, trained = (
            TrainingData(Selected(x, part), targets[part], None if weight is None else weight[part])
            for part in self._split(targets, size, key)
        )
        return trained, held_out

    def _set_scaling(self, training_data: TrainingData, *, more: bool) -> None:
        """Set ``offset_``, ``scale_`` and ``range_``, by which inputs are scaled; ``more``: other data will follow."""
        self.offset_, self.scale_, *limits = self._measured_scaling(training_data)
        self.range_ = (limits[0], limits[1])

    def _measured_scaling(self, training_data: TrainingData) -> Scaling:
        x, _, weight = training_data
        if self.scaling is not None:
            return scaling.of_trained_network(x, self.scaling, self.image_shape_)
        if not is_image(self.image_shape_):
            return scaling.of_rows(x, weight)
        measured = scaling.of_images(x, weight, self.image_shape_[2])
        odd = scaling.count_clipped(measured, x)
        if odd:
            warn_caller(
                f"{odd} of {len(x)} images have pixels outside of the range that the others keep to, "
                f"{measured.low.min():g} to {measured.high.max():g}; these are clipped to it"
            )
        return measured

    def _widen_range(self, training_data: TrainingData) -> None:
        """Let ``range_`` include that of later training data."""
        _, _, *measured = self._measured_scaling(training_data)
        (low, high), (new_low, new_high) = self.range_, measured
        known = np.isfinite(new_low)
        self.range_ = (
            np.where(known, np.minimum(low, new_low), low),
            np.where(known, np.maximum(high, new_high), high),
        )

    def _scaled(self, x: Source, dtype: Any) -> Source:
        """Return rows as the network takes them, scaled when they are read."""
        measured, shape = Scaling(self.offset_, self.scale_, *self.range_), self.image_shape_
        return Mapped(x, lambda rows: scaling.apply(measured, rows, dtype).reshape(len(rows), *shape))

    def _preprocessing(self) -> dict[str, Any]:
        """Return the scaling as `funcnn.fitted` has it."""
        return fitted.preprocessing_of(self.offset_, self.scale_, *self.range_, self.image_shape_)

    # --- parameters -------------------------------------------------------------------------------------------------

    def _key(self) -> Key:
        return (int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),)

    def _augment(self) -> Augmentation | None:
        if self.augment != "auto":
            augment: Augmentation | None = self.augment
            return augment
        return partial(data.random_shift, max_shift=1, fraction=0.5) if is_image(self.image_shape_) else None

    def _batch_size(self, n: int) -> int:
        return min(self._schedule().batch_size if self.batch_size == "auto" else int(self.batch_size), n)

    def _schedule(self) -> Schedule:
        if not is_image(self.image_shape_):
            return _OF_TABLES
        return _OF_COLOURS if self.image_shape_[2] > 1 else _OF_IMAGES

    def _optimizer(self, steps: int | None) -> optim.Optimizer:
        """Make the optimizer, with a constant learning rate where the number of steps is not known."""
        return optim.by_name(
            SOLVERS[self.solver],
            float(self.learning_rate_init),
            schedule="constant" if steps is None else SCHEDULES[self.learning_rate],
            steps=steps,
            weight_decay=self._schedule().alpha if isinstance(self.alpha, str) else float(self.alpha),
        )

    def _check_parameters(self) -> None:
        """Raise an error for parameters out of range, before any computation."""
        self._check_network()
        self._check_count("n_iter_no_change", self.n_iter_no_change)
        if self.max_iter is not None:
            self._check_count("max_iter", self.max_iter)
        if self.batch_size != "auto":
            self._check_count("batch_size", self.batch_size)
        if self.threads is not None:
            self._check_count("threads", self.threads)
        for name in ("shuffle", "early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise self._invalid(name, "a bool", getattr(self, name))
        self._check_range("learning_rate_init", math.ulp(0.0), math.inf)
        if not (isinstance(self.alpha, str) and self.alpha == "auto"):
            self._check_range("alpha", 0.0, math.inf)
        self._check_range("tol", 0.0, math.inf)
        if self.early_stopping:
            self._check_range("validation_fraction", math.ulp(0.0), 1.0)
        self._check_choice("solver", tuple(SOLVERS))
        self._check_choice("learning_rate", tuple(SCHEDULES))
        self._check_choice("dtype", ("auto", "float32", "float64"))

    def _check_network(self) -> None:
        """Raise an error for parameters of the network, its inputs and their augmentation that are out of range."""
        for name in ("channels", "hidden_layer_sizes"):
            value = getattr(self, name)
            if isinstance(value, str) and value != "auto":
                raise self._invalid(name, "an int >= 1, a sequence of these, or 'auto'", value)
            for width in () if isinstance(value, str) else value if isinstance(value, Iterable) else (value,):
                self._check_count(name, width)
        for name in ("kernel_size", "pool"):
            for k in pair(getattr(self, name)):
                self._check_count(name, k)
        if self.image_shape is not None:
            if not isinstance(self.image_shape, Iterable) or len(list(self.image_shape)) not in (2, 3):
                raise self._invalid("image_shape", "(h, w), (h, w, c) or None", self.image_shape)
            for size in self.image_shape:
                self._check_count("image_shape", size)
        self._check_range("dropout", 0.0, 1.0)
        self._check_choice("activation", ("auto", *ACTIVATIONS))
        if not scaling.is_valid(self.scaling):
            raise self._invalid("scaling", scaling.EXPECTED, self.scaling)
        for name in ("augment", "model"):
            value = getattr(self, name)
            special = isinstance(value, Layer) if name == "model" else isinstance(value, str) and value == "auto"
            if not (value is None or callable(value) or special):
                expected = "a funcnn Layer or a function" if name == "model" else "'auto' or a function"
                raise self._invalid(name, f"{expected}, or None", value)

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or value not in choices:
            raise self._invalid(name, f"one of {choices}", value)

    def _check_count(self, name: str, value: Any) -> None:
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise self._invalid(name, "an int >= 1", value)

    def _check_range(self, name: str, low: float, below: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) < below:
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


def _is_list_of_arrays(X: Any) -> bool:
    return isinstance(X, list | tuple) and all(isinstance(entry, np.ndarray) for entry in X)


def shape_of(X: Any) -> tuple[int, ...]:
    try:
        return tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
    except ValueError:  # rows of different lengths, for which scikit-learn has its own error message
        return ()


def _completed(image_shape: Iterable[Any]) -> tuple[int, ...]:
    """Return a parameter ``image_shape``, (h, w) or (h, w, c), as (h, w, c)."""
    return (*(int(size) for size in image_shape), 1)[:3]


def _found_image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the (h, w, c) of X of a shape (n, h, w) or (n, h, w, c); None if X are rows."""
    return (*shape[1:], 1)[:3] if len(shape) > 2 else None


def _weighed(x: Source, targets: Array, weight: Array | None, kind: str) -> TrainingData:
    """Return the data without those of weight 0, which count as absent."""
    if weight is None:
        return TrainingData(x, targets, None)
    used = weight > 0
    if not used.any():
        raise ValueError(f"all {len(weight)} {kind} weights are zero: there is nothing to learn from")
    return TrainingData(x if used.all() else Selected(x, np.flatnonzero(used)), targets[used], _below_one(weight[used]))


def _below_one(weight: Array) -> Array:
    """Return the weights divided by a power of 2, which rounds nothing, so that their products and sums are finite."""
    below_one: Array = np.ldexp(weight, -np.frexp(weight.max())[1])
    return below_one


def _in_dtype(train_state: TrainState, optimizer: optim.Optimizer, dtype: Any) -> TrainState:
    """Return the state with parameters and state in a dtype, and the optimizer's state made for these."""
    params, state = (
        tree.map(lambda leaf: leaf.astype(dtype), part) for part in (train_state.params, train_state.state)
    )
    return train_state._replace(params=params, state=state, opt_state=optimizer.init(params))
