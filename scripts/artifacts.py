"""What the scripts make and read: trained models in files, and the data that go with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import terminal
from sources import Dataset, describe, open_data, resize

from funcnn import checkpoint, data, gradients, losses, ops, training
from funcnn.layer import Layer
from funcnn.tree import Array, Tree

__all__ = ["Dataset", "Trained", "loss_for", "matched", "open_data", "open_matching", "open_model", "probabilities"]

# What two kinds of channels become: the weights of red, green and blue in a grey that is as bright.
LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


class Trained(NamedTuple):
    """A model from a file, ready for use.

    Attributes
    ----------
    model : Layer
    params, state : tree
        Of the best epoch where early stopping looked for it, else of the last.
    in_shape : tuple of int
        Of an example as the network takes it: (height, width, channels) or (features,).
    classes : list of str
        Their names. Of two, the network's one output is the logit of the second; of more, each has its own.
    prepare : callable
        ``prepare(x) -> x``: examples as `open_data` gives them, made what the network takes.
    description : dict
        As in `funcnn.checkpoint.Checkpoint`.
    history : list of dict
        A record of each epoch.
    """

    model: Layer
    params: Tree
    state: Tree
    in_shape: tuple[int, ...]
    classes: list[str]
    prepare: Callable[[Array], Array]
    description: dict[str, Any]
    history: list[dict[str, Any]]


def open_model(path: Path) -> Trained:
    """Read a model.

    Parameters
    ----------
    path : Path
        A file that ``train.py --output`` wrote, a checkpoint, or a folder of checkpoints, whose newest counts.

    Returns
    -------
    Trained

    Raises
    ------
    funcnn.checkpoint.CheckpointError
        If there is none that can be read, or it was not written by ``train.py``.
    """
    if path.is_dir():
        path, saved, unreadable = checkpoint.latest(path)
        for error in unreadable:
            terminal.warn(f"{error}; taking the one before, {path}")
    else:
        saved = checkpoint.load(path)
    try:
        model = checkpoint.rebuild(saved.description)
        told = saved.description["data"]
        in_shape, classes = tuple(told["in_shape"]), list(told["classes"])
        prepare = preparation(in_shape, told["standardize"])
    except (LookupError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path} does not say what model and data it is of: {error}") from None
    reached = saved.best or saved.train_state
    return Trained(model, reached.params, reached.state, in_shape, classes, prepare, saved.description, saved.history)


def preparation(in_shape: tuple[int, ...], standardize: dict[str, Any] | None) -> Callable[[Array], Array]:
    """Return the function that makes examples as found what a network takes.

    Parameters
    ----------
    in_shape : tuple of int
    standardize : dict, optional
        ``mean`` and ``std`` to standardise by, as nested lists.
    """

    def prepare(x: Array) -> Array:
        if x.ndim != len(in_shape) + 1 or (x.ndim == 2 and x.shape[1:] != in_shape):
            raise ValueError(f"the network takes {describe(np.empty((0, *in_shape)))}, not {describe(x)}")
        if x.ndim == 4:
            x = resize(with_channels(x, in_shape[2]), (in_shape[0], in_shape[1]))
        if standardize is None:
            return x
        mean, std = (np.asarray(standardize[name], np.float32) for name in ("mean", "std"))
        return data.standardize(x, mean, std)

    return prepare


def with_channels(x: Array, channels: int) -> Array:
    """Return grey images in colour, or colour ones in grey, where the network wants it."""
    if x.shape[3] == channels:
        return x
    if (x.shape[3], channels) == (1, 3):
        return x.repeat(3, axis=3)
    if (x.shape[3], channels) == (3, 1):
        return x @ LUMA
    raise ValueError(f"the network takes images of {channels} channels, not {x.shape[3]}")


def open_matching(source: str, trained: Trained) -> Dataset:
    """Read a data set for a model: images in the size it takes, labels that count the model's classes.

    Raises
    ------
    ValueError, OSError, ImportError
        As `open_data` does; and if there are classes that the model does not know.
    """
    size, channels = (trained.in_shape[:2], trained.in_shape[2]) if len(trained.in_shape) == 3 else (None, None)
    return matched(source, open_data(source, image_size=size, channels=channels), trained.classes)


def matched(source: str, dataset: Dataset, classes: list[str]) -> Dataset:
    """Return the data set with labels that are indices into ``classes``, by the names of its own classes."""
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise ValueError(f"{source}: the model knows {', '.join(classes)}, and not {', '.join(unknown)}")
    to = np.array([classes.index(name) for name in dataset.classes])
    return dataset._replace(labels=to[dataset.labels], classes=classes)


def loss_for(classes: int) -> tuple[int, gradients.Loss]:
    """Return how many outputs a network for so many classes has, and its loss: a single logit for two."""
    return (1, losses.sigmoid_binary_cross_entropy) if classes == 2 else (classes, losses.softmax_cross_entropy)


def targets_for(labels: Array, classes: int) -> Array:
    """Return labels as that loss takes them."""
    return labels[:, None].astype(np.float32) if classes == 2 else labels


def probabilities(trained: Trained, x: Array, *, threads: int | None = None) -> Array:
    """Return the probability of each class, array (N, classes), for examples as `open_data` gives them."""
    outputs = training.predict(trained.model, trained.params, trained.state, trained.prepare(x), threads=threads)
    if outputs.shape[1] == 1:
        second, _ = ops.sigmoid(outputs.astype(np.float64))
        return np.concatenate([1 - second, second], axis=1)
    return ops.softmax(outputs.astype(np.float64))[0]
