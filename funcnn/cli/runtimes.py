"""Which library computes a network: NumPy, or onnxruntime where it starts in less time than it saves."""

from __future__ import annotations

import importlib.util
import math

from funcnn import predictor
from funcnn.cli.options import ModelFile, RuntimeName
from funcnn.predictor import Predictor
from funcnn.summary import summary

# Multiply-adds that take NumPy about as much longer than onnxruntime as onnxruntime takes to start: to be imported, to
# get the network, and to be compared with NumPy. ``funcnn predict --runtime numpy`` beside ``--runtime onnxruntime``
# measures it again.
_WORTHWHILE = 3e10


def load(model: ModelFile, runtime: RuntimeName) -> tuple[Predictor, float]:
    """Return a trained model with its runtime, and the number of examples from which it should get "auto" instead."""
    trained = predictor.load(model, runtime="numpy" if runtime is RuntimeName.auto else runtime)
    if runtime is not RuntimeName.auto or importlib.util.find_spec("onnxruntime") is None:
        return trained, math.inf
    work = sum(row.multiply_adds for row in summary(trained.model, trained.in_shape))
    return trained, _WORTHWHILE / max(work, 1)
