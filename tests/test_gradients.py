"""value_and_grad: the gradient is that of the loss's value, with options and weights of the loss."""

import functools

import numpy as np
from arrays import normal

from funcnn import gradients, losses, tree
from funcnn.combinators import serial
from funcnn.layers import conv2d, dense, dropout, flatten, tanh

X = normal(23, 4, 4, 1).astype(np.float32)
LABELS = np.random.default_rng(0).integers(0, 3, 23)
MODEL = serial(conv2d(2, 3), tanh(), flatten(), dropout(0.2), dense(3))


def test_value_and_grad_is_the_gradient_of_the_value():
    grad_fn = gradients.value_and_grad(MODEL, losses.softmax_cross_entropy)
    params, state, _ = MODEL.init((0,), (4, 4, 1))
    params = tree.map(lambda p: p.astype(np.float64), params)
    weights = np.linspace(0.5, 2, 23)
    value, grads, new_state = grad_fn(params, state, X, LABELS, key=(1,), sample_weight=weights)
    assert new_state == state
    vector, unravel = tree.ravel(params)
    direction = normal(vector.size)
    moved, _, _ = grad_fn(unravel(vector + 1e-30j * direction), state, X, LABELS, key=(1,), sample_weight=weights)
    np.testing.assert_allclose(tree.ravel(grads)[0] @ direction, moved.imag / 1e-30, rtol=1e-12)

    outputs, _, _ = MODEL.forward(params, X, state, train=True, key=(1,))
    assert value == losses.softmax_cross_entropy(outputs, LABELS, sample_weight=weights)[0]


def test_value_and_grad_takes_a_loss_with_options():
    doubled = functools.partial(losses.mse, sample_weight=np.array([1.0, 3.0]))

    def loss(outputs, targets, *, sample_weight=None):
        return doubled(outputs, targets)

    grad_fn = gradients.value_and_grad(dense(1), loss)
    params = {"w": np.ones((2, 1)), "b": np.zeros(1)}
    value, _, _ = grad_fn(params, {}, np.eye(2), np.array([[0.0], [1.0]]))
    assert value == 0.25
