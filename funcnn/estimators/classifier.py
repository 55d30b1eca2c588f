"""Classification by a convolutional network, with scikit-learn's interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y

from funcnn import data, losses
from funcnn.estimators.base import BaseConvNet, TrainingData, shape_of
from funcnn.keys import Key, generator
from funcnn.layer import Layer
from funcnn.losses import Loss
from funcnn.ops import log_sigmoid, log_softmax, sigmoid
from funcnn.tree import Array

__all__ = ["ConvNetClassifier"]


class ConvNetClassifier(ClassifierMixin, BaseConvNet):  # type: ignore[misc]
    """Convolutional network for classification, with scikit-learn's interface.

    Labels y are one class for each example or, as 0 and 1 in an array (n, labels), any number of them: multilabel, with
    a sigmoid for each label instead of one softmax.

    Parameters
    ----------
    channels : int, sequence of int or "auto"
        Output channels of each block of convolution, max pooling and activation; () for none, which makes a perceptron.
        "auto" is (32, 64) for images of at least 8x8, (16, 32, 64) from 16x16 on, and () for tables, whose neighbouring
        columns are unrelated.
    kernel_size, pool : int or tuple of two
        Of the convolutions, which are padded to keep the size, and of the max pools. Neither is larger than what is
        left of the image where it is applied: rows, which are images of height 1, have kernels of height 1. An int for
        ``pool`` applies to images of at least 8x8 only; smaller ones are not pooled.
    hidden_layer_sizes : int, sequence of int or "auto"
        Widths of the dense layers between the blocks and the outputs. "auto" is (64,) for images, (64, 64) for tables.
    activation : {"auto", "relu", "identity", "logistic", "tanh", "leaky_relu", "elu", "gelu", "silu"}
        "auto" is "relu" for images and "silu" for tables.
    dropout : float in [0, 1)
        Fraction dropped after each dense layer but the last.
    image_shape : tuple of int (h, w) or (h, w, c), optional
        The image that a flat row holds; (1, features) for a table. By default the data decide. Columns with names (of
        a DataFrame) are a table. Of 64, 81, 100, ... columns without names, those beside and below each other in the
        square are compared: if they are alike, as pixels are and features are not, rows are (side, side), else
        (1, features). Where the data do not tell (of fewer than five rows, they seldom do) this is a guess and a
        warning. Smaller squares are (side, side), but scaled and augmented as tables.
    model : Layer or callable, optional
        A network of your own that replaces the default network, `funcnn.models.convnet`, and all the parameters above
        but ``image_shape``: a Layer, or ``model(image_shape, n_outputs) -> Layer``. Both can be
        pickled, if a function is at the top level of a module. The initial parameters of a layer that
        `funcnn.onnx.from_onnx` or `funcnn.torchvision.from_torchvision` read are the file's.
    scaling : str, dict of "mean" and "std", or None
        How pixels were scaled in the training of ``model``, if it was trained before: a name or numbers as for
        `Features`. By default the data decide: see ``offset_``.
    solver : {"adamw", "adam", "sgd"}
        "sgd" has Nesterov momentum of 0.9.
    alpha : float >= 0 or "auto"
        Weight decay; "auto" is 0.5 for images and 1 for tables. For "adamw" it is decoupled from the gradient: each
        step shrinks the weights by alpha times the learning rate. For "adam" and "sgd" it is an L2 term: alpha times
        the weights is added to the gradient.
    batch_size : int or "auto"
        Examples in a step; "auto" is 32 for images and 64 for tables, or all examples if there are fewer.
    learning_rate : {"one_cycle", "cosine", "constant"}
        Schedule over the epochs of a fit.
    learning_rate_init : float > 0
        The highest learning rate.
    max_iter : int, optional
        The maximum number of epochs. By default, of images 8, or as many as make 345 updates (of several
        channels, 600) if that is more; of tables 40, but no more than make 10,000 updates (or 10), and no fewer than
        make 100.
    shuffle : bool
        Whether each epoch has the examples in a new order.
    augment : "auto", callable or None
        ``augment(key, x) -> x`` for each batch of scaled images (n, h, w, c). "auto" shifts half of them by up to a
        pixel (`funcnn.data.random_shift`) if they are at least 8x8.
    class_weight : dict, "balanced" or None
        As in scikit-learn: by class, >= 0; a class that is missing has 1. In multilabel classification the weight of a
        label, by its column, is that of the examples that have it, relative to those that have not; it does not count
        in the validation score. "balanced" gives both the same weight in all.
    early_stopping : bool
        Whether to stop when the score on validation data (held-out examples, or X_val and y_val) no longer rises, and
        to restore the parameters of the best epoch. Without it, training stops when the training loss no longer falls.
        The score is weighted by ``sample_weight`` and ``class_weight``.
    validation_fraction : float in (0, 1)
        The fraction of the examples to hold out, stratified by class where each class can be in both parts. Where not,
        each class keeps an example to train on.
    n_iter_no_change : int
        Training stops after this many epochs in a row without an improvement of more than ``tol``.
    tol : float >= 0
    warm_start : bool
        Whether a later fit, of the same classes, starts from the parameters of the one before.
    random_state : int, RandomState or None
        Determines initial weights, order, dropout, augmentation and the held-out examples.
    dtype : {"auto", "float32", "float64"}
        The dtype to train in. "auto" is float64 for data of up to 4,096 numbers, else float32.
    threads : int, optional
        The maximum number of threads, by default one for each core.
    verbose : bool
        Whether to show ``layout_`` and progress on stderr (`funcnn.progress.with_progress`).

    Attributes
    ----------
    classes_ : array (n_classes,)
        In multilabel classification, the columns: 0, 1, ...
    multilabel_ : bool
    n_features_in_ : int
        Number of features of a row; of an image, h * w * c.
    feature_names_in_ : array of str
        If X had names for its features.
    image_shape_ : tuple of int (h, w, c)
    layout_ : str
        What the features were taken for, and why; the decision is ``image_shape_``.
    offset_, scale_ : array (features,)
        Inputs are scaled to (x - offset_) / scale_. For images of at least 8x8 these are the median of the images'
        lowest values and the standard deviation of all pixels, by channel; for others, mean and standard deviation of
        each feature. What varies by no more than rounding has its magnitude for a scale.
    range_ : (array (features,), array (features,))
        Before that, images of at least 8x8 are clipped to this range, that of the training images but for a few that
        lie far outside of the others' (a warning says how many). Of others, it is infinite.
    params_, state_ : tree
    model_ : Layer
        With these, ``funcnn.training.predict(model_, params_, state_, x)`` gives the logits of scaled x (n, h, w, c).
    n_iter_ : int
        Number of epochs done.
    loss_, best_loss_ : float
        Mean cross-entropy of the last epoch, and the lowest of all epochs (None after early stopping).
    loss_curve_, validation_scores_ : list of float
        Of each epoch; without validation data, validation_scores_ is None.
    best_validation_score_ : float or None
        The score of the epoch that early stopping restored.

    Notes
    -----
    Inputs are scaled, so that their units do not matter. Predictions are computed in float64 by exact methods: a row's
    prediction does not depend on the other rows, up to rounding (1e-15).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> net = ConvNetClassifier(max_iter=3, random_state=0).fit(X[:1200], y[:1200])
    >>> net.image_shape_, net.score(X[1200:], y[1200:]) > 0.9
    ((8, 8, 1), True)
    """

    classes_: Array
    multilabel_: bool

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
        self.scaling = scaling
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
        """Train for one epoch with a constant learning rate, from the current parameters.

        Inputs are scaled as in the first call, which also decides whether rows are images. The range to which images
        are clipped widens with the data.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like (n_classes,)
            All classes that any call will have; needed in the first call only.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`; if ``classes`` is missing in the first call, differs in a later one, or lacks a class of y; if
            parameters of the network have changed since the first call.

        Examples
        --------
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
        >>> net = ConvNetClassifier(channels=(4,), random_state=0)
        >>> for first in (0, 2):
        ...     net = net.partial_fit(X[first : first + 2], [0, 1], classes=[0, 1])
        >>> len(net.loss_curve_)
        2
        """
        with self._unchanged_by_errors():
            if isinstance(self.class_weight, str):
                raise ValueError(
                    f"class_weight {self.class_weight!r} needs the whole of y, which partial_fit does not have; give "
                    "the weights as a dict"
                )
            if not hasattr(self, "params_"):
                if classes is None:
                    raise ValueError("classes must be passed on the first call to partial_fit.")
            elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}"
                )
            return self._partial_fit(X, y, sample_weight, classes=classes)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row or image, or 0 or 1 for each of its labels.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Of the shape that the estimator was fitted on.

        Returns
        -------
        array (n,)
            In multilabel classification (n, labels).

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> net.predict(X)
        array(['low', 'low', 'high', 'high'], dtype='<U4')
        """
        return self._decided(self._outputs(X))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each row or image.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Of the shape that the estimator was fitted on.

        Returns
        -------
        array (n, n_classes)
            In the order of ``classes_``. Of labels, each has its own probability: rows do not sum to 1.

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> net.classes_, net.predict_proba(X).sum(axis=1).round(6)
        (array(['high', 'low'], dtype='<U4'), array([1., 1., 1., 1.]))
        """
        outputs = self._outputs(X)
        return sigmoid(outputs)[0] if self.multilabel_ else np.exp(log_softmax(outputs)[0])

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class for each row or image.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Of the shape that the estimator was fitted on.

        Returns
        -------
        array (n, n_classes)
            In the order of ``classes_``.

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> np.allclose(np.exp(net.predict_log_proba(X)), net.predict_proba(X))
        True
        """
        outputs = self._outputs(X)
        return log_sigmoid(outputs)[0] if self.multilabel_ else log_softmax(outputs)[0]

    def decision_function(self, X: Any) -> Array:
        """Return the logits for each row or image.

        Parameters
        ----------
        X : array-like (n, features), (n, h, w) or (n, h, w, c)
            Of the shape that the estimator was fitted on.

        Returns
        -------
        array (n, n_classes)
            For two classes, array (n,): the logit of the second minus that of the first.

        Examples
        --------
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]), ["low", "low", "high", "high"]
        >>> net = ConvNetClassifier(channels=(4,), random_state=0).fit(X, y)
        >>> net.decision_function(X) > 0
        array([ True,  True, False, False])
        """
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 and not self.multilabel_ else outputs

    def _decided(self, outputs: Array) -> Array:
        """Return the predictions for outputs of the network."""
        return (outputs > 0).astype(np.int64) if self.multilabel_ else self.classes_[outputs.argmax(axis=1)]

    def _targets(self, y: Any) -> Array:
        if len(shape_of(y)) == 2 and type_of_target(y, input_name="y") == "multilabel-indicator":
            labels = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
            return labels.astype(np.int64)
        targets: Array = _check_y(y, estimator=self)
        check_classification_targets(targets)
        return targets

    def _count_outputs(self, targets: Array, first: bool, classes: Any) -> int:
        """Return the number of classes, which the first targets determine unless the classes are given."""
        multilabel = targets.ndim == 2
        goes_on = not first or (self.warm_start and hasattr(self, "classes_"))
        if goes_on and multilabel != self.multilabel_:
            kinds = ["one class for each example", "0 or 1 for each label"]
            raise ValueError(f"y has {kinds[multilabel]}, but was fitted on {kinds[self.multilabel_]}")
        if multilabel:
            return self._count_labels(targets.shape[1], goes_on, classes)
        if first:
            found = np.unique(targets if classes is None else classes)
            if goes_on and not np.array_equal(found, self.classes_):
                raise ValueError(
                    f"warm_start: y has the classes {found.tolist()}, the earlier fit {self.classes_.tolist()}"
                )
            self.classes_, self.multilabel_ = found, False
        unknown = np.setdiff1d(targets, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the classes {unknown.tolist()}, which are not among {self.classes_.tolist()}")
        return len(self.classes_)

    def _count_labels(self, labels: int, goes_on: bool, classes: Any) -> int:
        """Return the number of labels, which the first targets determine."""
        columns = np.arange(labels)
        if goes_on and labels != len(self.classes_):
            raise ValueError(f"y has {labels} labels, but was fitted on {len(self.classes_)}")
        if classes is not None and not np.array_equal(np.unique(classes), columns):
            raise ValueError(f"classes {np.unique(classes).tolist()} must be the columns of y, {columns.tolist()}")
        self.classes_, self.multilabel_ = columns, True
        return labels

    def _weights_of_labels(self, targets: Array, weight: Array | None) -> Array | None:
        """Return what the losses of positive labels are multiplied by."""
        if self.class_weight is None:
            return None
        if not isinstance(self.class_weight, str):
            return self._given_class_weights()
        having = np.average(targets, axis=0, weights=weight)
        return np.divide(1 - having, having, out=np.ones_like(having), where=having > 0)

    def _given_class_weights(self) -> Array:
        """Return the weight of each class that ``class_weight`` gives."""
        classes = self.classes_.tolist()
        unknown = [label for label in self.class_weight if label not in classes]
        if unknown:
            raise ValueError(f"class_weight has the classes {unknown}, which are not among {classes}")
        return np.array([self.class_weight.get(label, 1.0) for label in classes], np.float64)

    def _weighted(self, targets: Array, weight: Array | None) -> Array | None:
        if self.class_weight is None or self.multilabel_:
            return weight
        labels = np.searchsorted(self.classes_, targets)
        if isinstance(self.class_weight, str):
            counts = np.bincount(labels, weights=weight, minlength=len(self.classes_))
            of_classes = counts.sum() / np.count_nonzero(counts) / np.where(counts > 0, counts, np.inf)
        else:
            of_classes = self._given_class_weights()
        return of_classes[labels] if weight is None else weight * of_classes[labels]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        weights = self.class_weight
        if not (
            weights is None or isinstance(weights, Mapping) or (isinstance(weights, str) and weights == "balanced")
        ):
            raise self._invalid("class_weight", "a dict, 'balanced' or None", weights)
        for label, weight in weights.items() if isinstance(weights, Mapping) else ():
            if not isinstance(weight, Real) or not 0 <= float(weight) < math.inf:
                raise self._invalid("class_weight", f"finite and >= 0 for each class, also for {label!r}", weight)

    def _encoded(self, targets: Array, dtype: Any) -> Array:
        return targets.astype(dtype) if self.multilabel_ else np.searchsorted(self.classes_, targets)

    def _split(self, targets: Array, held_out: int, key: Key) -> tuple[Array, ...]:
        """Split indices, stratified if each class can be in both parts; else one of each class stays to train on."""
        n = len(targets)
        if self.multilabel_:
            return data.split(n, [held_out / n], key=key)
        counts = np.unique(targets, return_counts=True)[1]
        if counts.min() > 1 and len(counts) <= min(held_out, n - held_out):
            return data.split(n, [held_out / n], key=key, stratify=targets)
        order = generator(key).permutation(n)
        free = np.delete(order, np.unique(targets[order], return_index=True)[1])
        if len(free) < held_out:
            raise ValueError(
                f"validation_fraction {self.validation_fraction} of {n} examples holds out {held_out}, which leaves "
                f"some of the {len(counts)} classes without an example to train on"
            )
        return free[:held_out], np.setdiff1d(order, free[:held_out])

    def _outputs_described(self) -> dict[str, Any]:
        return {"kind": "labels" if self.multilabel_ else "classes", "classes": [str(name) for name in self.classes_]}

    def _loss(self, training_data: TrainingData) -> Loss:
        if self.multilabel_:
            pos_weight = self._weights_of_labels(training_data.targets, training_data.weight)
            return partial(losses.sigmoid_binary_cross_entropy, pos_weight=pos_weight)
        return losses.softmax_cross_entropy

    def _score(self, model: Layer, validation: TrainingData) -> float:
        x, y, weight = validation
        return float(accuracy_score(y, self._decided(self._forward(model, x)), sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = True
        tags.classifier_tags.multi_label = True
        return tags
