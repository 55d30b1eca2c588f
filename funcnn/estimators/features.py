"""Features of a trained network as a scikit-learn transformer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from funcnn import data
from funcnn import predictor as predictors
from funcnn.data.examples import warn_of_no_negatives, warn_of_other_range
from funcnn.data.scaling import pixel_mean_and_std
from funcnn.estimators.base import shape_of
from funcnn.estimators.scaling import EXPECTED, is_valid
from funcnn.estimators.warning import warn_caller
from funcnn.intermediates import up_to
from funcnn.layer import Layer, empty_batch, output
from funcnn.predictor import Predictor, preprocess, preprocessing_for
from funcnn.training import predict
from funcnn.tree import Array, Tree

__all__ = ["Features"]


class Features(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of images (or rows) by a trained network, for the classifiers and regressors of scikit-learn.

    With a network trained on many photographs, a linear classifier needs a few examples of each class.

    Parameters
    ----------
    model : path, Predictor or Layer
        An .onnx file (needs the extra ``onnx``); a .safetensors file that ``funcnn train`` or `Predictor.save` wrote,
        or what `funcnn.predictor.load` makes of it; or a layer whose ``init`` returns trained parameters, such as
        `funcnn.onnx.from_onnx` and `funcnn.torchvision.from_torchvision` return.
    output : str, optional
        The value to return. Of an .onnx file the name of a value or node, by default the input of the last layer with
        weights. Of others the path of a layer, as `funcnn.intermediates.activations` names them, by default what
        `funcnn.intermediates.up_to` takes: the input of the dense layer that is last, else the model's own output.
    image_shape : tuple of int (h, w) or (h, w, c), optional
        Of the images as the network takes them, where the file leaves it open; by default that of X. Images of other
        sizes are resized to it. Rows of pixels are images of this shape.
    batch_size : int
        Examples computed at once; the memory that is needed is proportional to it.
    scaling : "imagenet", "0..1", "0..255", "-1..1", dict of "mean" and "std", "raw", or None
        How pixels were scaled in the network's training. "imagenet" is what torchvision's networks and most others
        take: ``(pixel / full_scale_ - mean) / std``, with ImageNet's mean and standard deviation. A range is that in
        which the network takes black and white. A dict has another mean and standard deviation, each a number or one
        for each channel. "raw" passes X on as it is. None does what the file says: a .safetensors file has it all, and
        an .onnx file that ``funcnn export`` wrote says what it leaves to be done, the division by white. Where nothing
        says it, X is passed on as it is, with a warning if it has pixels above 1.
    threads : int, optional
        The maximum number of threads, by default one for each core.

    Attributes
    ----------
    in_shape_ : tuple of int
        Of an example as the network takes it.
    full_scale_ : float
        White: what pixels are divided by, whatever their dtype. It is the smallest of 1, 255 and 65535 that holds all
        pixels of the X that `fit` saw (1 where pixels are taken as they are).
    network_ : Layer
    params_, state_ : tree
        With these, ``funcnn.training.predict(network_, params_, state_, x)`` gives the features of prepared x.
    n_features_in_ : int
    feature_names_in_ : array of str
        If X had names for its features.

    Notes
    -----
    Nothing is fitted to the examples but white: `fit` reads the file. Maps of features (n, h, w, c) are averaged over
    their positions. An image's features do not depend on the other images, up to float32's rounding. Grey images get
    three equal channels for a network of colours, and colours become grey for a network of one channel.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from funcnn.models import convnet
    >>> X, y = load_digits(return_X_y=True)
    >>> features = Features(convnet(10), image_shape=(8, 8), scaling="raw")
    >>> pipe = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> pipe.fit(X[:500], y[:500]).score(X[500:], y[500:]) > 0.8  # of random weights
    True
    >>> pipe[0].get_feature_names_out()[:2]
    array(['features0', 'features1'], dtype=object)
    """

    in_shape_: tuple[int, ...]
    full_scale_: float
    network_: Layer
    params_: Tree
    state_: Tree
    _preprocessing: dict[str, Any] | None
    _white_of: str | None

    def __init__(
        self,
        model: str | os.PathLike[str] | Predictor | Layer,
        output: str | None = None,
        image_shape: tuple[int, ...] | None = None,
        batch_size: int = 32,
        scaling: str | Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.output = output
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.scaling = scaling
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> Features:
        """Read the network.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, OSError
            If the file cannot be read, or the network does not take such examples.

        Examples
        --------
        See `Features`.
        """
        self._check_parameters()
        x = self._checked(X, reset=True)
        source = _source(self.model, self.output, self._image_shape(), x.shape[1:])
        in_shape, params, state = source.in_shape, source.params, source.state
        if params is None or state is None:
            params, state, _ = source.model.init((0,), in_shape)
        preprocessing = self._preprocessing_for(source, x)
        self.network_, self.params_, self.state_, self.in_shape_ = source.model, params, state, in_shape
        self._preprocessing, self.full_scale_ = preprocessing, (preprocessing or {}).get("full_scale", 1.0)
        known_white = "fit saw" if self.full_scale_ != 1 else None
        self._white_of = known_white if source.preprocessing is None else "the network was trained on"
        out_shape = output(source.model, params, empty_batch(in_shape), state).shape[1:]
        self._n_features_out = int(out_shape[-1]) if out_shape else 1
        self._prepared(x[:1])  # raises now what transform would raise
        return self

    def transform(self, X: Any) -> Array:
        """Return the features.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Images may have other sizes than those that `fit` saw.

        Returns
        -------
        array of float32 (n, features)

        Raises
        ------
        ValueError
            If the examples do not fit the network, or a feature is not finite.

        Warns
        -----
        UserWarning
            If the pixels contradict ``full_scale_``, or those that a saved model was trained on.

        Examples
        --------
        See `Features`.
        """
        check_is_fitted(self, "params_")
        x = self._checked(X, reset=False)
        self._warn_of_other_pixels(x)
        features = np.empty((len(x), self._n_features_out), np.float32)
        for i in range(0, len(x), self.batch_size):
            prepared = self._prepared(x[i : i + self.batch_size])
            made = predict(
                self.network_, self.params_, self.state_, prepared, batch_size=self.batch_size, threads=self.threads
            )
            features[i : i + self.batch_size] = made.reshape(len(made), -1, self._n_features_out).mean(axis=1)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise ValueError(f"the features of example {finite.argmin()} are not finite: its numbers are too large")
        return features

    def _checked(self, X: Any, *, reset: bool) -> Array:
        """Return X as an array of real numbers, with an axis for channels if it is images."""
        if len(shape_of(X)) < 3:
            rows: Array = validate_data(self, X, reset=reset, dtype="numeric")
        else:
            rows = check_array(X, dtype="numeric", ensure_2d=False, allow_nd=True, estimator=self)
            if rows.ndim > 4:
                raise ValueError(f"X must be (n, features), (n, h, w) or (n, h, w, c), got shape {rows.shape}")
            if reset:
                self.n_features_in_ = math.prod(rows.shape[1:])
        if rows.dtype.kind not in "biuf":
            raise TypeError(f"X must be real numbers, not {rows.dtype}")
        return rows

    def _preprocessing_for(self, source: _Source, x: Array) -> dict[str, Any] | None:
        """Return the preprocessing of the network's examples; None if they are neither images nor rows."""
        if source.preprocessing is not None:
            if self.scaling is not None:
                raise ValueError("scaling: the saved model has its own preprocessing, leave it None")
            return source.preprocessing
        given = None if self.scaling == "raw" else self.scaling
        if len(source.in_shape) != 3:
            if given is not None:
                raise ValueError(f"scaling is for images, and the network takes examples of {source.in_shape}")
            return preprocessing_for(source.in_shape, None) if len(source.in_shape) == 1 else None
        standardize, full_scale = None, 1.0
        if given is not None:
            mean, std = pixel_mean_and_std(given, source.in_shape[2])
            standardize, full_scale = {"mean": mean, "std": std}, data.find_full_scale(x)
        elif self.scaling is None and source.white is not None:
            full_scale = source.white
        elif self.scaling is None and x.max() > 1:
            warn_caller(
                f"Features: pixels up to {x.max():g} are passed on as they are, for the model does not say how its "
                'images were scaled: give scaling="imagenet", or mean and std, or "raw" if this is right'
            )
        return preprocessing_for(source.in_shape, standardize, full_scale=full_scale, fit="stretch")

    def _prepared(self, x: Array) -> Array:
        """Return examples as the network takes them."""
        if self._preprocessing is not None:
            return preprocess(self._images(x), self._preprocessing, warn_of_range=False)
        if x.shape[1:] != self.in_shape_:
            raise ValueError(f"the network takes examples of {self.in_shape_}, X has {x.shape[1:]}")
        return x.astype(np.float32)

    def _images(self, x: Array) -> Array:
        """Return rows of pixels as the images that they are, if the network takes images."""
        if x.ndim > 2 or len(self.in_shape_) != 3:
            return x
        shape = self._image_shape() or self.in_shape_
        for image_shape in (shape, (*shape[:2], self.in_shape_[2]), (*shape[:2], 1)):
            if math.prod(image_shape) == x.shape[1]:
                return x.reshape(-1, *image_shape)
        raise ValueError(f"{x.shape[1]} pixels are no image of {shape}: give image_shape, or X as (n, h, w, c)")

    def _warn_of_other_pixels(self, x: Array) -> None:
        """Warn once of all examples, not for each batch."""
        known = self._preprocessing or {}
        if self._white_of is not None and "range" in known:
            white, extremes = self.full_scale_, np.array([x.min(), x.max()], np.float64) / self.full_scale_
            advice = f"(they are divided by {white:g}, the white of the images that {self._white_of})"
            warn_of_other_range(extremes, white, known["range"], "Features", advice=advice)
            warn_of_no_negatives(extremes, known["range"], "Features")

    # --- parameters -------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        if not isinstance(self.model, str | os.PathLike | Predictor | Layer):
            raise self._invalid("model", "a path, a Predictor or a Layer", self.model)
        if self.output is not None and not isinstance(self.output, str):
            raise self._invalid("output", "a name or None", self.output)
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            counts = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
            if not (counts or (name == "threads" and value is None)):
                raise self._invalid(name, "an int >= 1", value)
        shape = self.image_shape
        if shape is not None and not (
            isinstance(shape, Iterable)
            and len(list(shape)) in (2, 3)
            and all(isinstance(s, Integral) and int(s) >= 1 for s in shape)
        ):
            raise self._invalid("image_shape", "(h, w), (h, w, c) or None", shape)
        if not is_valid(self.scaling):
            raise self._invalid("scaling", EXPECTED, self.scaling)

    def _invalid(self, name: str, expected: str, value: Any) -> InvalidParameterError:
        return InvalidParameterError(f"The {name!r} parameter of Features must be {expected}. Got {value!r} instead.")

    def _image_shape(self) -> tuple[int, ...] | None:
        return None if self.image_shape is None else tuple(int(s) for s in self.image_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _Source(NamedTuple):
    """A network that was read: parameters are None if its ``init`` returns them.

    ``preprocessing`` is a saved model's own. ``white`` is what a file says that pixels are divided by.
    """

    model: Layer
    in_shape: tuple[int, ...]
    params: Tree | None = None
    state: Tree | None = None
    preprocessing: dict[str, Any] | None = None
    white: float | None = None


def _source(model: Any, name: str | None, image_shape: tuple[int, ...] | None, of_x: tuple[int, ...]) -> _Source:
    """Read a network up to the output of that name; ``of_x`` is the shape of an example of X."""
    if not isinstance(model, Layer | Predictor) and Path(model).suffix == ".onnx":
        return _onnx_source(model, name, image_shape, of_x)
    if not isinstance(model, Layer):
        made = model if isinstance(model, Predictor) else predictors.load(model)
        return _Source(up_to(made.model, name), made.in_shape, made.params, made.state, made.preprocessing)
    shape = (*of_x, 1) if len(of_x) == 2 else of_x
    if image_shape is not None:
        channels = shape[2] if len(shape) == 3 else math.prod(shape) // math.prod(image_shape) or 1
        shape = (*image_shape, channels)[:3]
    return _Source(up_to(model, name), shape)


def _onnx_source(
    file: str | os.PathLike[str], name: str | None, image_shape: tuple[int, ...] | None, of_x: tuple[int, ...]
) -> _Source:
    from funcnn.onnx.importer import import_network
    from funcnn.onnx.metadata import full_scale_of

    # Sizes that the file leaves open are image_shape's, else those of X, with as many channels as the file takes.
    size = of_x if image_shape is None else image_shape
    sized: list[Any] = [(*size[:2], channels) for channels in dict.fromkeys((*size[2:3], 3, 1))] if size[1:] else []
    errors: list[ValueError] = []
    for in_shape in [None, *sized] if image_shape is None else sized:
        try:
            network = import_network(file, in_shape=in_shape, output="features" if name is None else name)
        except ValueError as error:
            errors.append(error)
        else:
            return _Source(network.layer, network.in_shape, white=full_scale_of(network.metadata))
    raise errors[0]
