"""A model's loss and its gradient in the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from funcnn.keys import Key
from funcnn.layer import Layer, pull_back
from funcnn.tree import Array, Tree

__all__ = ["GradFn", "Loss", "value_and_grad"]

Loss: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Array]]]


class GradFn(NamedTuple):
    """The function that evaluates a model's loss and its gradient in the parameters; see `value_and_grad`.

    It can be asked for the two functions that it is made of, so that a transformation such as
    `funcnn.data_parallel.over_threads` can put them together in another way.
    """

    model: Layer
    loss: Loss

    def __call__(
        self,
        params: Tree,
        state: Tree,
        x: Array,
        targets: Array,
        key: Key | None = None,
        sample_weight: Array | None = None,
    ) -> tuple[Any, Tree, Tree]:
        """Return the value, its gradient in ``params``, and the new state."""
        outputs, vjp, new_state = self.model.forward(params, x, state, train=True, key=key)
        value, loss_vjp = self.loss(outputs, targets, sample_weight=sample_weight)
        grads, _ = pull_back(vjp, loss_vjp(1.0), input_gradient=False)
        return value, grads, new_state


def value_and_grad(model: Layer, loss: Loss) -> GradFn:
    """Return the function that evaluates a model's loss in training mode and its gradient in the parameters.

    Parameters
    ----------
    model : Layer
    loss : callable
        ``loss(outputs, targets, *, sample_weight=None) -> value, vjp``, such as those of `funcnn.losses`; fix further
        options with `functools.partial`.

    Returns
    -------
    grad_fn : callable
        ``grad_fn(params, state, x, targets, key=None, sample_weight=None) -> value, grads, state``. The gradient in x
        is not computed.

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
    return GradFn(model, loss)
