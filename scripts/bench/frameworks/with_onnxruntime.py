"""onnxruntime, which predicts and does not train: the graph that funcnn exports."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice

import onnxruntime

from bench import jobs
from bench.frameworks.with_funcnn import make_network
from bench.jobs import Task
from funcnn.onnx import to_onnx


def make_run(task: Task) -> Callable[[int], float]:
    """Return ``run(steps)``, which predicts so many times and returns the mean of the last output."""
    graph = to_onnx(*make_network(task), jobs.NETWORKS[task.job.network].in_shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batches = cycle(task.batches)

    def predict(steps: int) -> float:
        for x, _ in islice(batches, steps):
            (outputs,) = session.run(None, {"x": x})
        return float(outputs.mean())

    return predict
