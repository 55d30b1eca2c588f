"""Twin of `funcnn.kernels.cross_entropy`."""

from __future__ import annotations

import numpy as np

from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array


def label_losses(logits: Array, labels: Array) -> tuple[Array, Array]:
    """See `funcnn.kernels.cross_entropy.label_losses`."""
    if not same_floats(logits):
        return NotImplemented
    loss, slope, classes = np.empty(labels.shape, logits.dtype), np.empty(logits.shape, logits.dtype), logits.shape[-1]
    _label_losses(
        np.ascontiguousarray(logits).reshape(-1, classes), np.ascontiguousarray(labels, np.int64).reshape(-1),
        loss.reshape(-1), slope.reshape(-1, classes),
    )  # fmt: skip
    return loss, slope


@routine("void(R[:,::1], Array(int64, 1, 'C', readonly=True, aligned=False), T[::1], T[:,::1])")
def _label_losses(logits: Array, labels: Array, loss: Array, slope: Array) -> None:
    one, classes = logits.dtype.type(1), logits.shape[1]
    for i in range(len(logits)):
        top = logits[i, 0]
        for c in range(1, classes):
            if logits[i, c] > top or np.isnan(logits[i, c]):  # NaN stays: nothing is above it
                top = logits[i, c]
        total = 0.0  # a float64, as there may be many classes
        for c in range(classes):
            slope[i, c] = np.exp(logits[i, c] - top)
            total += slope[i, c]
        z = logits.dtype.type(total)
        for c in range(classes):
            slope[i, c] *= one / z
        slope[i, labels[i]] -= one
        loss[i] = np.log(z) - (logits[i, labels[i]] - top)
