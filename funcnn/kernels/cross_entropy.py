"""Cross-entropy of the softmax of logits with labels, and its derivative (`funcnn.losses.softmax_cross_entropy`)."""

from __future__ import annotations

from functools import partial

import numpy as np

from funcnn.kernels.last_axis import flat_index, row_max, row_sum
from funcnn.kernels.selection import compilable
from funcnn.tree import Array


@partial(compilable, least=1)
def label_losses(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return -log softmax(logits) at the labels, and its derivative with respect to the logits.

    Of logits (N, ..., C) and labels (N, ...). The derivative is the softmax, less 1 at the label.
    """
    shifted = logits - row_max(logits.real)
    e = np.exp(shifted)
    z = row_sum(e)
    label_index = flat_index(labels, logits.shape[-1])
    slope = np.ascontiguousarray(e / z[..., None])
    slope.reshape(-1)[label_index] -= 1
    return np.log(z) - shifted.take(label_index), slope
