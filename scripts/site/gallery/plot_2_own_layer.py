"""
Your own layer, proven
======================

A layer is a function and its VJP. This one scales every channel by a parameter: y = s x.
"""

# %%
# The differential is ds x + s dx, and <dy, ds x + s dx> = <sum dy x, ds> + <s dy, dx>.
import numpy as np

from funcnn import layers, ops, serial
from funcnn.layer import parametric
from funcnn.testing import check_layer, check_vjp


def scale(params, x):
    """Return y = s x and its VJP."""
    if params.keys() != {"s"}:
        raise ValueError(f"scale: params must have the leaf 's', not {sorted(params)}")

    def scale_vjp(dy):
        if np.shape(dy) != x.shape:
            raise ValueError(f"scale_vjp: dy has shape {np.shape(dy)}, the output {x.shape}")
        return {"s": (dy * x).sum(axis=tuple(range(x.ndim - 1)))}, params["s"] * dy

    return params["s"] * x, scale_vjp


check_vjp(scale, {"s": np.array([2.0, 3.0])}, np.ones((4, 2)))

# %%
# A mistake does not pass. Here the gradient of s forgets x:


def wrong(params, x):
    """Return y = s x and a wrong VJP."""
    y, vjp = scale(params, x)
    return y, lambda dy: ({"s": dy.sum(axis=tuple(range(x.ndim - 1)))}, vjp(dy)[1])


try:
    check_vjp(wrong, {"s": np.array([2.0, 3.0])}, np.arange(8.0).reshape(4, 2))
except AssertionError as error:
    print(error)

# %%
# As a layer among others, checked with all that layers promise:
layer = parametric("scale", lambda key, in_shape: {"s": np.ones(in_shape[-1:], np.float32)}, scale)
model = serial(layers.conv2d(4, 3), layer, layers.tanh())
check_layer(model, (5, 5, 3))
params, state, out_shape = model.init((0,), (5, 5, 3))
print(out_shape, sorted(params))

# %%
# The check is a complex step: exact to rounding, where a difference quotient loses half of the digits.
x, h = 0.7, 1e-100
print("complex step:", ops.tanh(np.array(x + 1j * h))[0].imag / h)
print("difference:  ", (np.tanh(x + 1e-8) - np.tanh(x)) / 1e-8)
print("by the VJP:  ", ops.tanh(np.array(x))[1](np.array(1.0)))
