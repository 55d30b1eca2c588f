"""Predictions: a model's outputs in evaluation, computed in batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.data.lazy import Source, as_source
from funcnn.data_parallel import cores, map_batches
from funcnn.inference import Kept
from funcnn.kernels import selection
from funcnn.kernels.allocator import keep_freed_memory
from funcnn.kernels.conv.dispatch import preference
from funcnn.layer import Layer, output
from funcnn.process_groups import ProcessGroup, process_group
from funcnn.tree import Array, Tree

__all__ = ["PreparedModel", "predict", "prepared"]

# Shapes of batches for which a prepared model keeps arrays: these may be several times as large as its weights.
_SHAPES = 4


def predict(
    model: Layer,
    params: Tree,
    state: Tree,
    x: Array | Source,
    batch_size: int = 256,
    *,
    threads: int | None = None,
    comm: Any = None,
) -> Array:
    """Return the model's outputs in evaluation mode, computed in batches.

    Parameters
    ----------
    model : Layer
    params, state : tree
    x : array or source (N, ...)
        A source is read by several threads at the same time, each a batch of its own.
    batch_size : int >= 1
    threads : int, optional
        The maximum number of threads, by default one per core. Each computes whole batches; a single large batch is
        split into shards. If the batches are too small for threads to save time, only one is used.
    comm : mpi4py.MPI.Comm, optional
        The ranks of an MPI job, of which each computes a part of the batches and returns all outputs, as in
        `funcnn.data_parallel.over_ranks`. ``threads`` is then by default 1.

    Returns
    -------
    array (N, ...)
        The same up to rounding for any ``batch_size`` and ``threads``.

    Raises
    ------
    TypeError, ValueError
        If ``batch_size`` or ``threads`` is not an int >= 1, or the shapes do not fit a layer; a note names its path.

    Examples
    --------
    >>> from funcnn.layers import relu
    >>> predict(relu(), {}, {}, np.array([[-1.0], [2.0], [3.0]]), batch_size=2).ravel()
    array([0., 2., 3.])
    """
    return _predict(partial(_output, model, params, state), (model, params, state), x, batch_size, threads, comm)


class PreparedModel:
    """The function that `prepared` returns. It can be pickled, and all threads may share one.

    Attributes
    ----------
    made_of : (Layer, tree, tree)
        The model, params and state.

    Examples
    --------
    See `prepared`.
    """

    __slots__ = ("_kept", "made_of")

    def __init__(self, model: Layer, params: Tree, state: Tree) -> None:
        self.made_of = model, params, state
        self._kept: dict[Any, Kept] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedModel, self.made_of

    def __call__(self, x: Array | Source, batch_size: int = 256, *, threads: int | None = None) -> Array:
        """Return the outputs for examples; see `predict`.

        Examples
        --------
        See `prepared`.
        """
        return _predict(self._outputs, self.made_of, x, batch_size, threads, None)

    def _outputs(self, x: Array) -> Array:
        model, params, state = self.made_of
        key = x.shape, x.dtype, preference("auto"), selection.deciding()
        kept = self._kept.get(key)
        if kept is not None:
            return output(model, params, x, state, kept)
        kept = {}
        y = output(model, params, x, state, kept)
        latest = list(self._kept.items())[1 - _SHAPES :]
        self._kept = dict([*latest, (key, kept)])  # replaced as a whole: other threads read it meanwhile
        return y


def prepared(model: Layer, params: Tree, state: Tree) -> PreparedModel:
    """Return `predict` of a model, for many calls: whatever depends on the parameters alone is computed once.

    Parameters
    ----------
    model : Layer
    params, state : tree
        They must not be written to afterwards, since arrays made of them are kept. (funcnn never does.)

    Returns
    -------
    callable
        ``predict(x, batch_size=256, *, threads=None) -> outputs``, equal to `predict` up to rounding.

    Notes
    -----
    The first batch of a shape is computed layer by layer as in `predict`, and for the next ones of that shape, the
    checks of the layers' arguments, their methods and what is made of their weights are kept: folded batch
    normalisations, Toeplitz matrices, weights in Winograd's transformed form. This is done for the last four shapes.
    A small network's prediction then takes half the time or less, a large one's somewhat less.

    Examples
    --------
    >>> from funcnn import models
    >>> model = models.lenet5(10)
    >>> params, state, _ = model.init((0,), (28, 28, 1))
    >>> predict_digits = prepared(model, params, state)
    >>> image = np.ones((1, 28, 28, 1), np.float32)
    >>> bool(np.allclose(predict_digits(image), predict(model, params, state, image), atol=1e-6))
    True
    """
    return PreparedModel(model, params, state)


def _output(model: Layer, params: Tree, state: Tree, x: Array) -> Array:
    return output(model, params, x, state)


def _predict(
    outputs: Callable[[Array], Array],
    made_of: tuple[Layer, Tree, Tree],
    x: Array | Source,
    batch_size: int,
    threads: int | None,
    comm: Any,
) -> Array:
    """Return ``outputs`` of all examples, computed in batches on several threads where they pay."""
    x = as_source(x)
    if not checks.is_int(batch_size):
        raise TypeError(f"predict: batch_size must be an int, not {batch_size!r}")
    if batch_size < 1 or not x.shape:
        raise ValueError(
            f"predict: x must be an array of examples and batch_size >= 1, got shape {x.shape} and {batch_size}"
        )
    group = process_group("predict", comm)
    threads = number_of_threads("predict", threads, group)
    keep_freed_memory()
    if group.size > 1:
        selection.agree(group.gather)

    results = map_batches(outputs, x, batch_size, *made_of, threads, group)
    return results[0] if len(results) == 1 else np.concatenate(results)


def number_of_threads(where: str, threads: int | None, group: ProcessGroup) -> int:
    if threads is None:
        return cores() if group.size == 1 else 1
    checks.count(where, "threads", threads)
    return threads
