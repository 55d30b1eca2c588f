"""A trained model with everything needed to use it: its parameters, its preprocessing and its classes.

`load` reads what ``funcnn train`` wrote; it needs NumPy and safetensors, nothing else, unless onnxruntime computes the
network (`Predictor.with_runtime`). The file is a checkpoint
(`funcnn.checkpoint`), and what is not an array is in its description, a dict of what JSON can hold:

- ``model``: ``name`` of a function in `funcnn.models` and its ``arguments``, from which the network is rebuilt.
- ``data``: ``in_shape`` of an example as the network takes it, (height, width, channels) or (features,); ``classes``,
  their names; ``standardize``, None or ``mean`` and ``std`` as nested lists; where they are a table, ``feature_names``
  and ``target``, the names of its columns; and, to know the data again, their
  ``source``, number of ``examples`` and ``fingerprint``.
- ``preprocessing``: what `preprocess` does to a raw array, in this order. Images: the pixels, whatever their dtype, are
  divided by ``full_scale``, the value of white in the training data (255 for 8 bits), the colours are converted to
  ``channels``, and images resized to ``size`` (height, width), those of another aspect as ``fit`` says ("pad", "crop"
  or "stretch": `funcnn.data.resize`); ``range`` has the least and the largest pixel of the training data. Rows:
  ``features`` is their length. Then both are standardised by ``mean`` and ``std``, unless these are None.
- ``estimator``: what gives a scikit-learn estimator back. The ``data`` and ``preprocessing`` of its file are as
  `funcnn.fitted` says.
- ``run``: the options of the command; ``versions``: of the software (`funcnn.checkpoint.versions`).

A network for two classes has one output, the logit of the second class; for more classes it has one logit each.
"""

from __future__ import annotations

import math
import os
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnn import checkpoint, checks, data, fitted, html, losses, ops, serving, training
from funcnn.checkpoint import Checkpoint, CheckpointError
from funcnn.data.examples import as_floats, check_finite, examples_and_scale, warn_of_no_negatives
from funcnn.data.images import FITS
from funcnn.data.lazy import as_source, extent
from funcnn.layer import Layer
from funcnn.serving import Session
from funcnn.summary import summary
from funcnn.training import TrainState
from funcnn.tree import Array, Tree

__all__ = [
    "Predictor",
    "describe",
    "from_description",
    "load",
    "loss_for",
    "preprocess",
    "preprocessing_for",
    "targets_for",
]


# The numbers of an example: above it, a file's description is nonsense that would take the memory.
_LARGEST_EXAMPLE = 2**24

RUNTIMES = ("numpy", "onnxruntime", "auto")


class Predictor(NamedTuple):
    """A trained model, ready for use.

    Attributes
    ----------
    model : Layer
    params, state : tree
        Of the best epoch where early stopping kept one, else of the last.
    in_shape : tuple of int
        Of an example as the network takes it: (height, width, channels) or (features,).
    classes : list of str
        Their names; none for a regressor.
    preprocessing : dict
        What `preprocess` does to raw arrays.
    description : dict
        As this module's docstring says. `save` needs its entry ``model``.
    history : list of dict
        A record of each epoch.
    session : funcnn.serving.Session, optional
        What computes the network's outputs instead of NumPy; see `with_runtime`.
    prepared : funcnn.training.PreparedModel, optional
        What computes them by NumPy in less time, if it is of this model, params and state.

    Examples
    --------
    >>> import tempfile
    >>> from funcnn import models
    >>> model = {"name": "mlp", "arguments": {"outputs": 3, "hidden": [8]}}
    >>> description = describe(model, (4, 4, 1), ["circle", "square", "triangle"], full_scale=255)
    >>> params, state, _ = models.mlp(outputs=3, hidden=[8]).init((0,), (4, 4, 1))
    >>> predictor = from_description(description, params, state)
    >>> images = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
    >>> predictor.predict_proba(images).shape, predictor.predict(images).shape
    ((5, 3), (5,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predictor.save(f"{folder}/net.safetensors")
    ...     again = load(f"{folder}/net.safetensors")
    >>> bool((again.predict_proba(images) == predictor.predict_proba(images)).all())
    True
    """

    model: Layer
    params: Tree
    state: Tree
    in_shape: tuple[int, ...]
    classes: list[str]
    preprocessing: dict[str, Any]
    description: dict[str, Any]
    history: list[dict[str, Any]] = []  # noqa: RUF012 never modified
    session: Session | None = None
    prepared: training.PreparedModel | None = None

    def with_runtime(self, runtime: str) -> Predictor:
        """Return the same predictor, whose network another library computes, or NumPy again.

        Parameters
        ----------
        runtime : "numpy", "onnxruntime" or "auto"
            "onnxruntime" (extra ``serve``) takes a third to four fifths of the time. It gets the network by our ONNX
            export, and its outputs for four random examples in the range of the training are compared with ours.
            "auto" takes it where it is installed, the network can be exported and the outputs agree; NumPy otherwise.

        Returns
        -------
        Predictor
            It can be pickled. Results differ from NumPy's by rounding.

        Raises
        ------
        ImportError
            For "onnxruntime", if it or onnx is not installed.
        ValueError
            For another ``runtime``. For "onnxruntime", if the network cannot be exported, naming the layer, or an
            output differs by more than `funcnn.serving.TOLERANCE` of the largest.

        Warns
        -----
        UserWarning
            For "auto", in the cases of such a ValueError.

        Examples
        --------
        >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
        >>> fast = predictor.with_runtime("onnxruntime")
        >>> bool(np.allclose(fast.outputs([[0.5, 1.0]]), predictor.outputs([[0.5, 1.0]]), atol=1e-6))
        True
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, not {runtime!r}")
        session = None
        if runtime != "numpy":
            try:
                session = serving.start(self.model, self.params, self.state, self._random_examples())
            except (ImportError, ValueError) as error:
                if runtime == "onnxruntime":
                    raise
                if isinstance(error, ValueError):
                    message = f"NumPy computes the network, as onnxruntime cannot: {checkpoint.brief(error)}"
                    warnings.warn(message, stacklevel=2)
        return self._replace(session=session)

    def _random_examples(self) -> Array:
        """Return examples as the network takes them, in the range of the training."""
        rng, known = np.random.default_rng(0), self.preprocessing
        if "range" in known:
            least, largest = known["range"]
            return self.prepare(rng.uniform(least, largest, (4, *self.in_shape)), warn_of_range=False)
        return rng.standard_normal((4, *self.in_shape), np.float32)

    def _repr_html_(self) -> str:
        model = self.description.get("model") or {}
        classes = reprlib.repr(list(self.classes)).strip("[]") if self.classes else "none: it predicts numbers"
        rows = [("network", model.get("name", self.model.name)), ("input", self.in_shape), ("classes", classes)]
        rows += [(name, reprlib.repr(value)) for name, value in self.preprocessing.items()]
        rows.append(("epochs", len(self.history)))
        layers = html.details("layers", summary(self.model, self.in_shape)._repr_html_())
        return html.table((), rows, "trained network") + layers

    def prepare(self, x: Any, *, full_scale: float | None = None, warn_of_range: bool = True) -> Any:
        """Return raw examples as the network takes them.

        Parameters
        ----------
        x : array-like or source (N, height, width), (N, height, width, channels) or (N, features)
            Images of any size and dtype, in the units of the training data: from 0 to 255 if these were of 8 bits. Or
            rows of features.
        full_scale : float, optional
            What images are divided by, by default ``preprocessing["full_scale"]``, that of the training data. 1 for
            images from 0 to 1, as `funcnn.data.open` and `funcnn.data.open_images` return them.
        warn_of_range : bool
            False where the pixels' range was compared with that of the training before.

        Returns
        -------
        array of float32 (N, *in_shape)
            Of a source that is no array, such as of h5py, a source whose rows are prepared when they are read; their
            values are not checked.

        Raises
        ------
        ValueError
            If ``x`` is not of numbers, its shape does not fit, or it has values that are not finite.

        Warns
        -----
        UserWarning
            If the range of the pixels contradicts that of the training data (`funcnn.data.warn_of_other_range`).

        Examples
        --------
        >>> model = {"name": "mlp", "arguments": {"outputs": 3}}
        >>> description = describe(model, (4, 4, 1), ["circle", "square", "triangle"], full_scale=255)
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (4, 4, 1))[:2])
        >>> x = predictor.prepare(np.full((2, 8, 8), 255))
        >>> x.shape, float(x.max())
        ((2, 4, 4, 1), 1.0)
        """
        return preprocess(x, self.preprocessing, full_scale=full_scale, warn_of_range=warn_of_range)

    def outputs(
        self, x: Any, *, full_scale: float | None = None, warn_of_range: bool = True, threads: int | None = None
    ) -> Array:
        """Return the network's outputs, logits, for raw examples.

        Parameters
        ----------
        x : array-like
            As for `prepare`.
        full_scale, warn_of_range : optional
            As for `prepare`.
        threads : int, optional
            The maximum number of threads, by default one for each core.

        Returns
        -------
        array of float32 (N, classes), (N, 1) for two classes

        Raises
        ------
        ValueError
            As `prepare` does; if an output is not finite, as of a network whose weights are not.

        Examples
        --------
        >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
        >>> predictor.outputs([[0.5, 1.0], [1.5, 2.0]]).shape
        (2, 3)
        """
        x = self.prepare(x, full_scale=full_scale, warn_of_range=warn_of_range)
        session, network = self.session, (self.model, self.params, self.state)
        if session is None or not len(x):
            predict = self.prepared
            if predict is None or not all(map(is_, predict.made_of, network)):
                predict = training.prepared(*network)
            outputs = predict(x, threads=threads)
        elif all(map(is_, session.made_of, network)):
            outputs = session.outputs(x, threads)
        else:
            raise ValueError("the predictor's session is of another network or other parameters: call with_runtime")
        broken = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if broken.size:
            raise ValueError(
                f"the network's outputs are not finite for {broken.size} of {len(outputs)} examples, the first is "
                f"number {broken[0]}: its weights are not finite, or too large"
            )
        return outputs

    def predict_proba(
        self, x: Any, *, full_scale: float | None = None, warn_of_range: bool = True, threads: int | None = None
    ) -> Array:
        """Return the probability of each class for raw examples.

        Parameters
        ----------
        x : array-like
            As for `prepare`.
        full_scale, warn_of_range : optional
            As for `prepare`.
        threads : int, optional
            The maximum number of threads, by default one for each core.

        Returns
        -------
        array of float64 (N, classes)
            Each row sums to 1, and the smallest are still exact to float64's relative precision. Where an estimator was
            fitted on any number of labels for each example, each has its own probability.

        Raises
        ------
        ValueError
            As `prepare` does; if the model predicts numbers.

        Examples
        --------
        >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
        >>> predictor.predict_proba([[0.5, 1.0], [1.5, 2.0]]).sum(axis=1).round(6)
        array([1., 1.])
        """
        if self._kind == "numbers":
            raise ValueError("predict_proba: the model is a regressor's, which predicts numbers; call predict")
        logits = self.outputs(x, full_scale=full_scale, warn_of_range=warn_of_range, threads=threads).astype(np.float64)
        if self._kind == "labels":
            return ops.sigmoid(logits)[0]
        if logits.shape[1] == 1 and len(self.classes) == 2:
            # not 1 - p, which is 0 or noise where p is nearly 1
            return np.concatenate([ops.sigmoid(-logits)[0], ops.sigmoid(logits)[0]], axis=1)
        return ops.softmax(logits)[0]

    def predict(self, x: Any, *, full_scale: float | None = None, threads: int | None = None) -> Array:
        """Return the name of the most probable class for raw examples; of other estimators what these predict.

        Parameters
        ----------
        x : array-like
            As for `prepare`.
        full_scale : float, optional
            As for `prepare`.
        threads : int, optional
            The maximum number of threads, by default one for each core.

        Returns
        -------
        array of str (N,)
            Of labels, array of int (N, labels), 0 or 1; of a regressor, array of float64 (N,) or (N, outputs).

        Raises
        ------
        ValueError
            As `prepare` does.

        Examples
        --------
        >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
        >>> names = predictor.predict([[0.5, 1.0], [1.5, 2.0]])
        >>> names.shape, set(names.tolist()) <= {"a", "b", "c"}
        ((2,), True)
        """
        if self._kind == "numbers":
            outputs = self.outputs(x, full_scale=full_scale, threads=threads)
            return fitted.numbers(outputs.astype(np.float64), self.description["data"])
        probabilities = self.predict_proba(x, full_scale=full_scale, threads=threads)
        if self._kind == "labels":
            return (probabilities > 0.5).astype(np.int64)
        return np.array(self.classes)[probabilities.argmax(axis=1)]

    @property
    def _kind(self) -> str:
        """What the outputs are, as `funcnn.fitted` says."""
        kind: str = self.description.get("data", {}).get("kind", "classes")
        return kind

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that `load` reads: completely, or not at all.

        Parameters
        ----------
        path : path
            Its folder must exist.

        Raises
        ------
        ValueError, TypeError
            If the description does not name a model of `funcnn.models` that has these parameters, or holds what JSON
            cannot.
        OSError
            If the file cannot be written, naming it.

        Examples
        --------
        >>> import tempfile
        >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
        >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     predictor.save(f"{folder}/net.safetensors")
        ...     os.listdir(folder)
        ['net.safetensors']
        """
        about = {**self.description.get("data", {}), "in_shape": list(self.in_shape), "classes": list(self.classes)}
        about["standardize"] = _standardize(self.preprocessing)
        description = {**self.description, "data": about, "preprocessing": self.preprocessing}
        # raises here what `load` would raise later
        saved = from_description(description, self.params, self.state, self.history)
        epoch, step = (int(saved.history[-1].get(name, 0)) if saved.history else 0 for name in ("epoch", "step"))
        train_state = TrainState(saved.params, saved.state, {}, (0,), epoch, step)
        checkpoint.save(path, Checkpoint(train_state, description, None, saved.history))


def load(path: str | os.PathLike[str], *, runtime: str = "numpy") -> Predictor:
    """Read a trained model.

    Parameters
    ----------
    path : path
        A file that ``funcnn train --output`` or `Predictor.save` wrote, a checkpoint, or a folder of checkpoints, of
        which the newest counts. If that cannot be read, the one before is taken, with a warning.
    runtime : "numpy", "onnxruntime" or "auto"
        What computes the network, as in `Predictor.with_runtime`.

    Returns
    -------
    Predictor

    Raises
    ------
    funcnn.checkpoint.CheckpointError
        If no checkpoint can be read, or its description lacks the model or the data.
    ImportError, ValueError
        As `Predictor.with_runtime` does.

    Examples
    --------
    >>> import tempfile
    >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
    >>> predictor = from_description(description, *checkpoint.rebuild(description).init((0,), (2,))[:2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predictor.save(f"{folder}/net.safetensors")
    ...     loaded = load(f"{folder}/net.safetensors")
    >>> loaded.in_shape, loaded.classes
    ((2,), ['a', 'b', 'c'])
    """
    path = Path(path)
    if path.is_dir():
        path, saved, unreadable = checkpoint.latest(path)
        for error in unreadable:
            warnings.warn(f"{error}; taking the one before, {path}", stacklevel=2)
    else:
        saved = checkpoint.load(path)
    trained = saved.best or saved.train_state
    try:
        predictor = from_description(saved.description, trained.params, trained.state, saved.history)
    except checkpoint.MALFORMED as error:
        raise CheckpointError(f"{path} does not describe its model and data: {checkpoint.brief(error)}") from None
    return predictor.with_runtime(runtime)


def from_description(
    description: Mapping[str, Any], params: Tree, state: Tree, history: Sequence[dict[str, Any]] = ()
) -> Predictor:
    """Make a predictor from a description, as `describe` returns it, and trained parameters.

    Parameters
    ----------
    description : dict
    params, state : tree
        Of the model that the description names.
    history : sequence of dict

    Returns
    -------
    Predictor

    Raises
    ------
    ValueError, LookupError, TypeError
        If the description lacks an entry, or the parameters are of another model.

    Examples
    --------
    >>> description = describe({"name": "mlp", "arguments": {"outputs": 3}}, (2,), ["a", "b", "c"])
    >>> params, state, _ = checkpoint.rebuild(description).init((0,), (2,))
    >>> predictor = from_description(description, params, state)
    >>> predictor.classes, predictor.preprocessing
    (['a', 'b', 'c'], {'features': 2, 'mean': None, 'std': None})
    """
    _check_entries(description)
    about = description["data"]
    preprocessing = description.get("preprocessing") or {}
    scaled, least = "offset" in preprocessing, {"numbers": 0}.get(about.get("kind"), 1)
    in_shape, classes = _in_shape(about["in_shape"]), _classes(about["classes"], least if scaled else 2)
    # The arrays say how large the model is, before anything is made of the size that the description says.
    model = checkpoint.rebuild(description, {"params": params, "state": state})
    out_shape = checkpoint.check_fit(model, params, state, in_shape)
    if out_shape != (fitted.output_count(about) if scaled else loss_for(len(classes))[0],):
        output = (1, *out_shape)
        raise ValueError(f"the network's output {output} does not fit {len(classes)} classes, {', '.join(classes)}")
    if not preprocessing and len(in_shape) == 1:
        preprocessing = preprocessing_for(in_shape, about["standardize"])
    if len(in_shape) == 3 and not scaled and "full_scale" not in preprocessing:
        raise ValueError(
            "an older version of funcnn wrote it and did not record the full scale of the pixels; train it again"
        )
    _check_columns(about.get("feature_names"), in_shape)
    (fitted.check_preprocessing if scaled else _check_preprocessing)(preprocessing, in_shape)
    _check_history(history)
    return Predictor(
        model, params, state, in_shape, classes, preprocessing, dict(description), list(history),
        prepared=training.prepared(model, params, state),
    )  # fmt: skip


def describe(
    model: Mapping[str, Any],
    in_shape: Sequence[int],
    classes: Sequence[str],
    *,
    standardize: Mapping[str, Any] | None = None,
    full_scale: float = 1.0,
    pixel_range: Sequence[float] | None = None,
    feature_names: Sequence[str] = (),
    target: str = "",
    source: str | None = None,
    examples: int | None = None,
    fingerprint: str | None = None,
    run: Mapping[str, Any] | None = None,
    fit: str = "pad",
) -> dict[str, Any]:
    """Return the description of a model that is about to be trained, for its checkpoints.

    Parameters
    ----------
    model : dict
        ``name`` of a function in `funcnn.models`, and its ``arguments``.
    in_shape : sequence of int
        Of an example as the network takes it: (height, width, channels) or (features,).
    classes : sequence of str
    standardize : dict, optional
        ``mean`` and ``std`` of the training examples: arrays or nested lists that broadcast against an example, such as
        one number for each feature or channel.
    full_scale : float
        Of images: the value of white, which the raw pixels of the training data were divided by, such as
        ``Dataset.full_scale``.
    pixel_range : (least, largest), optional
        Of images: of all raw pixels of the training data, by default 0 and the full scale.
    feature_names, target : optional
        Of a table: names of its columns of numbers, and of the column of labels.
    source, examples, fingerprint : optional
        Of the data: where they are from, how many examples, and a checksum of them.
    run : dict, optional
        The options of the training.
    fit : "pad", "crop" or "stretch"
        What becomes of images of another aspect than that of ``in_shape``.

    Returns
    -------
    dict
        As this module's docstring says.

    Raises
    ------
    ValueError
        If ``in_shape`` is neither that of an image nor that of a row of features.

    Examples
    --------
    >>> model = {"name": "mlp", "arguments": {"outputs": 1}}
    >>> scaling = {"mean": np.array([1.5, 2.0]), "std": np.array([0.5, 1.0])}
    >>> describe(model, (2,), ["no", "yes"], standardize=scaling)["preprocessing"]
    {'features': 2, 'mean': [1.5, 2.0], 'std': [0.5, 1.0]}
    """
    scaling = (
        None if standardize is None else {name: np.asarray(standardize[name]).tolist() for name in ("mean", "std")}
    )
    columns = {"feature_names": list(feature_names), "target": target} if feature_names else {}
    return {
        "model": dict(model),
        "data": {
            "source": source,
            "examples": examples,
            "in_shape": [int(s) for s in in_shape],
            "classes": list(classes),
            "standardize": scaling,
            "fingerprint": fingerprint,
            **columns,
        },
        "preprocessing": preprocessing_for(in_shape, scaling, full_scale=full_scale, pixel_range=pixel_range, fit=fit),
        "run": None if run is None else dict(run),
        "versions": checkpoint.versions(),
    }


def preprocessing_for(
    in_shape: Sequence[int],
    standardize: Mapping[str, Any] | None,
    *,
    full_scale: float = 1.0,
    pixel_range: Sequence[float] | None = None,
    fit: str = "pad",
) -> dict[str, Any]:
    """Return the preprocessing of a network's examples.

    Parameters
    ----------
    in_shape : sequence of int
        (height, width, channels) or (features,)
    standardize : dict, optional
        ``mean`` and ``std``, as nested lists.
    full_scale, pixel_range
        As for `describe`.
    fit : "pad", "crop" or "stretch"
        What becomes of images of another aspect.

    Returns
    -------
    dict
        As this module's docstring says.

    Raises
    ------
    ValueError
        If ``in_shape`` is neither.

    Examples
    --------
    >>> made = preprocessing_for((8, 6, 3), {"mean": [0.5], "std": [0.25]}, full_scale=255, pixel_range=(3, 250))
    >>> made["full_scale"], made["range"], made["channels"], made["size"], made["fit"], made["mean"], made["std"]
    (255.0, [3.0, 250.0], 3, [8, 6], 'pad', [0.5], [0.25])
    """
    scaling = {name: None if standardize is None else standardize[name] for name in ("mean", "std")}
    if len(in_shape) == 3:
        height, width, channels = map(int, in_shape)
        least, largest = (0, full_scale) if pixel_range is None else pixel_range
        pixels = {"full_scale": float(full_scale), "range": [float(least), float(largest)]}
        return {**pixels, "channels": channels, "size": [height, width], "fit": fit, **scaling}
    if len(in_shape) == 1:
        return {"features": int(in_shape[0]), **scaling}
    raise ValueError(f"in_shape {tuple(in_shape)} must be (height, width, channels) or (features,)")


# The kinds of entries of a description and of its "data" that may be missing or None.
_OPTIONAL_ENTRIES = {"preprocessing": dict, "run": dict, "split": dict, "versions": dict}
_OPTIONAL_DATA = {"standardize": dict, "source": str, "examples": int, "fingerprint": str,
    "target": str, "feature_names": list,
}  # fmt: skip


def _check_entries(description: Mapping[str, Any]) -> None:
    """Raise an error unless a description's entries are of the right kind."""
    about = description["data"]
    if not isinstance(about, dict):
        raise TypeError(f"data is {reprlib.repr(about)}, not a dict")
    for entries, kinds in ((description, _OPTIONAL_ENTRIES), (about, _OPTIONAL_DATA)):
        for name, kind in kinds.items():
            value = entries.get(name)
            if value is not None and type(value) is not kind:
                raise TypeError(f"{name} is {reprlib.repr(value)}, not a {kind.__name__}")


# What the commands read of a history.
_MEASURES = ("epoch", "step", "loss", "train_accuracy", "validation_accuracy", "validation_loss")


def _check_history(history: Sequence[dict[str, Any]]) -> None:
    """Raise an error unless the figures of a history are numbers."""
    for row in history:
        for name in _MEASURES:
            value = row.get(name, 0)
            if value is not None and not (type(value) is float or (type(value) is int and abs(value) < 2**63)):
                raise TypeError(f"a record of its history has {name} {reprlib.repr(value)}, not a number")


def _in_shape(value: Any) -> tuple[int, ...]:
    if not all(checks.is_int(s) and s >= 1 for s in value) or math.prod(value) > _LARGEST_EXAMPLE:
        shape = reprlib.repr(tuple(value))
        raise ValueError(f"in_shape {shape} must be ints >= 1 with a product of at most {_LARGEST_EXAMPLE:,}")
    return tuple(value)


def _classes(value: Any, least: int) -> list[str]:
    classes = list(value)
    if not all(isinstance(name, str) for name in classes) or len(set(classes)) != len(classes) or len(classes) < least:
        count = "two" if least == 2 else least
        raise ValueError(f"classes must be {count} or more different names, not {reprlib.repr(classes)}")
    return classes


def _check_preprocessing(preprocessing: Mapping[str, Any], in_shape: tuple[int, ...]) -> None:
    """Raise an error if `preprocess` fails with these settings, by preprocessing a small example."""
    images = "features" not in preprocessing
    made = (*preprocessing["size"], preprocessing["channels"]) if images else (preprocessing["features"],)
    if made != in_shape or not all(map(checks.is_int, made)):
        raise ValueError(f"the preprocessing makes {made} of examples, and the network takes {in_shape}")
    # An example as small as mean and std allow, not one of the size that the file says.
    shapes = [np.shape(preprocessing[name]) for name in ("mean", "std")]
    if len({*shapes} - {()}) > 1 or np.broadcast_shapes(*shapes, in_shape) != in_shape:
        raise ValueError(f"mean and std of shapes {shapes[0]} and {shapes[1]} do not fit examples of {in_shape}")
    if images:
        _check_pixels(preprocessing)
    small = np.broadcast_shapes(*shapes, (1,) * len(in_shape)) if images else in_shape
    settings = {**preprocessing, "size": small[:2], "channels": small[2]} if images else preprocessing
    try:
        with np.errstate(all="ignore"):
            for value in (0, *preprocessing["range"]) if images else (0, 1):
                preprocess(np.full((1, *small), value, np.float64), settings, warn_of_range=False)
    except ValueError as error:
        numbers = {name: preprocessing.get(name) for name in ("full_scale", "mean", "std")}
        raise ValueError(f"the preprocessing makes values that are not finite, with {numbers}: {error}") from None


def _check_pixels(preprocessing: Mapping[str, Any]) -> None:
    """Raise an error unless the entries that say what becomes of pixels are of the right kind."""
    scale, pixel_range, fit = (preprocessing[name] for name in ("full_scale", "range", "fit"))
    if not _is_float32(scale) or scale < np.finfo(np.float32).tiny:
        raise ValueError(f"full_scale must be a positive number, not {reprlib.repr(scale)}")
    if not isinstance(pixel_range, list | tuple) or len(pixel_range) != 2 or not all(map(_is_float32, pixel_range)):
        raise ValueError(f"the range of the training pixels must be two numbers, not {reprlib.repr(pixel_range)}")
    if pixel_range[0] > pixel_range[1]:
        raise ValueError(f"the range of the training pixels must be in order, not {pixel_range[0]}, {pixel_range[1]}")
    if not all(_is_float32(float(value) / scale) for value in pixel_range):
        raise ValueError(f"full_scale {scale} makes values that are not finite of the range {pixel_range}")
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, not {reprlib.repr(fit)}")


def _is_float32(value: Any) -> bool:
    """Return whether a value of JSON is a number that float32 holds."""
    return type(value) in (int, float) and abs(value) <= float(np.finfo(np.float32).max)


def _check_columns(names: Any, in_shape: tuple[int, ...]) -> None:
    """Raise an error unless the columns of a table, if there are any, are one for each feature."""
    if names is None:
        return
    if (len(names),) != in_shape or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names must be one for each feature of {in_shape}, not {reprlib.repr(names)}")


def preprocess(
    x: Any, preprocessing: Mapping[str, Any], *, full_scale: float | None = None, warn_of_range: bool = True
) -> Any:
    """Return raw examples as a network takes them. Training and `Predictor.prepare` both call this function.

    Parameters
    ----------
    x : array-like or source (N, height, width), (N, height, width, channels) or (N, features)
    preprocessing : dict
        As `preprocessing_for` makes it.
    full_scale : float, optional
        What images are divided by, by default that of the training data. 1 for images from 0 to 1.
    warn_of_range : bool
        False where the pixels' range was compared with that of the training before.

    Returns
    -------
    array of float32 (N, height, width, channels) or (N, features)
        Of a source that is no array (`funcnn.data.Source`), a source whose rows are prepared when they are read. Its
        shape is checked, and its values are not.

    Raises
    ------
    ValueError
        If ``x`` is not of numbers, its shape does not fit, or it has values that are not finite.

    Warns
    -----
    UserWarning
        If the range of the pixels contradicts that of the training data (`funcnn.data.warn_of_other_range`).

    Examples
    --------
    >>> images = np.full((2, 4, 4, 3), 51)
    >>> x = preprocess(images, preprocessing_for((8, 8, 1), {"mean": [0.1], "std": [0.5]}, full_scale=255))
    >>> x.shape, round(float(x[0, 0, 0, 0]), 4)
    ((2, 8, 8, 1), 0.2)
    """
    if "offset" in preprocessing:
        if full_scale is not None:
            raise ValueError("prepare: full_scale is for networks of `funcnn train`; an estimator's takes X as it is")
        return fitted.prepare(x, preprocessing)
    x = as_source(x)
    is_array, shape, divisor = isinstance(x, np.ndarray), tuple(x.shape), 1.0
    if "features" in preprocessing:
        wanted: tuple[int, ...] = (preprocessing["features"],)
        if is_array and len(shape) == 2:
            examples_and_scale(x, "prepare", None)
        if shape[1:] != wanted:
            raise _refused(wanted, shape)
    else:
        channels, size = preprocessing["channels"], tuple(preprocessing["size"])
        # (height, width, 3) would pass for `height` grey images three pixels wide
        if len(shape) not in (3, 4) or (len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[-1] != size[1]):
            raise _refused((*size, channels), shape)
        divisor = preprocessing["full_scale"] if full_scale is None else full_scale
        ends = np.array(extent(examples_and_scale(x, "prepare", divisor)[0])) if is_array else None
        found = shape[3] if len(shape) == 4 else 1
        if found != channels and {found, channels} != {1, 3}:
            raise ValueError(f"the network takes images of {channels} channels, not {found}: x {shape}")
        if ends is not None and warn_of_range:
            data.warn_of_other_range(ends, preprocessing["full_scale"], preprocessing["range"], "prepare")
            if full_scale is None:  # what the files of an x in parts say is compared where they are read
                warn_of_no_negatives(ends, preprocessing["range"], "prepare")
    prepare = partial(_prepare, preprocessing=preprocessing, full_scale=divisor)
    if not is_array:
        return data.Mapped(x, prepare)
    prepared = prepare(np.asarray(x))
    check_finite(prepared, "prepare: in float32")
    return prepared


def _prepare(x: Array, preprocessing: Mapping[str, Any], full_scale: float) -> Array:
    """Return examples of a shape that fits as a network takes them."""
    x = as_floats(x, full_scale)
    if "features" not in preprocessing:
        channels, size = preprocessing["channels"], tuple(preprocessing["size"])
        x = data.resize(data.to_channels(x, channels), size, fit=preprocessing["fit"])
    if preprocessing["mean"] is not None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            x = data.standardize(x, *(np.asarray(preprocessing[name], x.dtype) for name in ("mean", "std")))
    with np.errstate(over="ignore"):  # rows are of float64 up to here: a time in seconds has more digits than float32
        return x.astype(np.float32, copy=False)


def _refused(wanted: tuple[int, ...], shape: tuple[int, ...]) -> ValueError:
    found = data.describe_shape(shape[1:]) if len(shape) in (2, 4) else f"an array with {len(shape)} axes"
    is_one = len(shape) == len(wanted) or (len(wanted) == 3 and shape == wanted[:2])
    one = "; one example is x[None]" if is_one else ""
    return ValueError(f"the network takes {data.describe_shape(wanted)}, not {found}: x {shape}{one}")


def _standardize(preprocessing: Mapping[str, Any]) -> dict[str, Any] | None:
    scaling = {name: preprocessing.get(name) for name in ("mean", "std")}
    return None if scaling["mean"] is None else scaling


def loss_for(classes: int) -> tuple[int, losses.Loss]:
    """Return how many outputs a network for a number of classes has, and its loss.

    Parameters
    ----------
    classes : int >= 2

    Returns
    -------
    outputs : int
        1 for two classes, the logit of the second; else one for each class.
    loss : callable
        `funcnn.losses.sigmoid_binary_cross_entropy` for two classes, else `funcnn.losses.softmax_cross_entropy`.

    Examples
    --------
    >>> loss_for(2)[0], loss_for(3)[0]
    (1, 3)
    """
    return (1, losses.sigmoid_binary_cross_entropy) if classes == 2 else (classes, losses.softmax_cross_entropy)


def targets_for(labels: Array, classes: int) -> Array:
    """Return labels as the loss of `loss_for` takes them.

    Parameters
    ----------
    labels : array of int (N,)
    classes : int >= 2

    Returns
    -------
    array
        Of float32 (N, 1) for two classes, else the labels.

    Examples
    --------
    >>> targets_for(np.array([1, 0]), 2)
    array([[1.],
           [0.]], dtype=float32)
    """
    return labels[:, None].astype(np.float32) if classes == 2 else labels
