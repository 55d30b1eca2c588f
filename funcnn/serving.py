"""A network's outputs computed by onnxruntime, from our own ONNX export (`funcnn.onnx`).

onnxruntime compiles a network once, and then takes a third to four fifths of NumPy's time. `start` exports the
network, and compares onnxruntime's outputs with ours before anything else is computed by it: they may differ by
`TOLERANCE`, relative to the largest output. It needs the extra ``serve``; nothing here imports it before `start`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from funcnn import checks, extras, training
from funcnn.data.lazy import Source, take
from funcnn.data_parallel import cores
from funcnn.layer import Layer
from funcnn.tree import Array, Tree

__all__ = ["Session", "compare", "start"]

# Largest difference between the outputs of onnxruntime and ours, relative to the largest output.
TOLERANCE = 1e-4
# Examples in a call of onnxruntime: more take memory and save no time.
_BATCH = 64


class Session:
    """A network in onnxruntime. It can be pickled, and all threads may share one.

    Attributes
    ----------
    graph : bytes
        The network's ONNX file.
    made_of : (Layer, tree, tree)
        The model, params and state that were exported.

    Examples
    --------
    See `start`.
    """

    __slots__ = ("_sessions", "graph", "made_of")

    def __init__(self, graph: bytes, made_of: tuple[Layer, Tree, Tree]) -> None:
        self.graph = graph
        self.made_of = made_of
        # by process, as a forked one has none of the threads, and by their number
        self._sessions: dict[tuple[int, int], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, (self.graph, self.made_of)

    def outputs(self, x: Array | Source, threads: int | None = None) -> Array:
        """Return the outputs for examples as the network takes them, float32 (N, *in_shape), at least one.

        ``threads`` is the number that onnxruntime computes with, by default and at most one for each core. With 1, it
        computes on the caller's thread.

        Examples
        --------
        See `start`.
        """
        if threads is not None:
            checks.count("predict", "threads", threads)
        threads = min(threads or cores(), cores())
        key = os.getpid(), threads
        if key not in self._sessions:  # two threads may each make one; either serves
            self._sessions[key] = inference_session(self.graph, threads)
        run = self._sessions[key].run
        batches = [run(None, {"x": take(x, slice(i, i + _BATCH))})[0] for i in range(0, len(x), _BATCH)]
        return batches[0] if len(batches) == 1 else np.concatenate(batches)


def start(model: Layer, params: Tree, state: Tree, examples: Array) -> Session:
    """Export a network to onnxruntime, and check that it computes the same.

    Parameters
    ----------
    model : Layer
    params, state : tree
    examples : array of float32 (N, *in_shape)
        The outputs for these are compared.

    Returns
    -------
    Session

    Raises
    ------
    ImportError
        If onnx or onnxruntime is not installed.
    ValueError
        If the network cannot be exported, onnxruntime refuses it or computes other outputs.

    Examples
    --------
    >>> from funcnn import models
    >>> model, x = models.mlp(outputs=3), np.ones((2, 4), np.float32)
    >>> params, state, _ = model.init((0,), (4,))
    >>> session = start(model, params, state, x)
    >>> bool(np.allclose(session.outputs(x), training.predict(model, params, state, x), atol=1e-6))
    True
    """
    try:
        import onnxruntime  # noqa: F401

        from funcnn.onnx import to_onnx
    except ImportError as error:
        raise extras.missing("onnxruntime and onnx are needed to serve by them", "serve", error) from None
    session = Session(to_onnx(model, params, state, examples.shape[1:]).SerializeToString(), (model, params, state))
    compare(session.outputs(examples), training.predict(model, params, state, examples))
    return session


def compare(outputs: Array, expected: Array) -> None:
    """Raise a ValueError if outputs of onnxruntime differ from ours by more than `TOLERANCE`.

    Examples
    --------
    >>> compare(np.array([1.00001, 2.0]), np.array([1.0, 2.0]))
    """
    if outputs.shape != expected.shape or not np.allclose(
        outputs, expected, rtol=TOLERANCE, atol=TOLERANCE * float(abs(expected).max())
    ):
        by = f", by up to {abs(outputs - expected).max():.3g}" if outputs.shape == expected.shape else ""
        raise ValueError(f"onnxruntime computes other outputs{by}")


def inference_session(graph: bytes, threads: int) -> Any:
    """Return onnxruntime's session of a graph, which computes on the CPU with so many threads and prints nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors are no ValueErrors
        reason = str(error).splitlines()[0]
        raise ValueError(f"onnxruntime {onnxruntime.__version__} refuses the network: {reason}") from None
