"""The loss of a model and its gradient with respect to the parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from funcnn.data.lazy import Source, as_source, take
from funcnn.kernels.allocator import keep_freed_memory
from funcnn.keys import Key
from funcnn.layer import Layer, pull_back
from funcnn.losses import Loss
from funcnn.tree import Array, Tree

__all__ = ["GradFn", "value_and_grad"]


class GradFn(NamedTuple):
    """The function that `value_and_grad` returns: it computes the loss of a model and its gradient.

    It keeps model and loss as attributes, so that a transformation such as `funcnn.data_parallel.over_threads` can
    combine them differently.

    Examples
    --------
    See `value_and_grad`.
    """

    model: Layer
    loss: Loss

    def __call__(
        self,
        params: Tree,
        state: Tree,
        x: Array | Source,
        targets: Array,
        key: Key | None = None,
        sample_weight: Array | None = None,
    ) -> tuple[Any, Tree, Tree]:
        """Return the loss, its gradient with respect to ``params``, and the new state."""
        outputs, vjp, new_state = self.model.forward(
            params, take(as_source(x), slice(None)), state, train=True, key=key
        )
        value, loss_vjp = self.loss(outputs, targets, sample_weight=sample_weight)
        grads, _ = pull_back(self.model, vjp, loss_vjp(1.0), input_gradient=False)
        return value, grads, new_state


def value_and_grad(model: Layer, loss: Loss) -> GradFn:
    """Return a function that computes a model's loss in training mode and its gradient with respect to the parameters.

    Parameters
    ----------
    model : Layer
    loss : callable
        ``loss(outputs, targets, *, sample_weight=None) -> value, vjp``, such as those of `funcnn.losses`. Bind other
        options with `functools.partial`.

    Returns
    -------
    grad_fn : callable
        ``grad_fn(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``, where ``grads`` has
        the structure of ``params``. The gradient with respect to x is not computed. Random layers, such as dropout,
        need ``key``.

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn.layers import dense
    >>> from funcnn.losses import mse
    >>> grad_fn = value_and_grad(dense(1), mse)
    >>> params = {"w": np.array([[2.0]]), "b": np.array([0.0])}
    >>> value, grads, state = grad_fn(params, {}, np.array([[3.0]]), np.array([[5.0]]))
    >>> float(value), grads
    (1.0, {'w': array([[6.]]), 'b': array([2.])})
    """
    keep_freed_memory()
    return GradFn(model, loss)
