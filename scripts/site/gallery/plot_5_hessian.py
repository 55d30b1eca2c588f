"""
Hessian eigenvalues by complex step
===================================

A gradient function is ordinary array code, so it takes complex numbers: its value at params + i h v, divided by h, has
the Hessian times v as its imaginary part. No second derivation is needed.
"""

import numpy as np
from builder.drawing import curves

from funcnn import data, derivatives, keys, layers, losses, serial, tree, value_and_grad

x, labels = data.digits()
x, labels = x[:100].astype(np.float64), labels[:100]
model = serial(layers.conv2d(2, 3), layers.tanh(), layers.flatten(), layers.dense(10))
params, state, _ = model.init((0,), (8, 8, 1))
params = tree.map(lambda leaf: leaf.astype(np.float64), params)
both = value_and_grad(model, losses.softmax_cross_entropy)


def grad_fn(params):
    """Return the gradient of the loss of all examples."""
    return both(params, state, x, labels)[1]


# %%
# A product of the Hessian with a vector, and what a difference of two gradients makes of it: with a large h it is
# wrong as the gradient is curved, with a small one as nearly equal numbers cancel. The complex step subtracts
# nothing, so its h can be so small that the first error is gone:
v = tree.map(lambda leaf: keys.generator((1,)).normal(size=leaf.shape), params)
exact = derivatives.hvp(grad_fn, params, v)
for h in (1e-3, 1e-6, 1e-9, 1e-12):
    ahead = grad_fn(tree.map(lambda p, d, h=h: p + h * d, params, v))
    difference = tree.map(lambda a, b, h=h: (a - b) / h, ahead, grad_fn(params))
    print(f"h = {h:g}: error {tree.norm(tree.map(np.subtract, difference, exact)) / tree.norm(exact):.1e}")

# %%
# The three largest eigenvalues of the Hessian as gradient descent goes on: how strongly the loss curves, in the three
# directions where it does most. They say how large a step may be: beyond 2 over the largest, a step in its direction
# ends higher than it began.
rate, spectra = 0.5, []
for step in range(61):
    if step % 15 == 0:
        values, _ = derivatives.hessian_eigenvalues(grad_fn, params, 3, key=(0,), tolerance=1e-3)
        spectra.append(values)
        print(f"step {step}: {values.round(3)}, largest stable rate {2 / values[0]:.2f}")
    params = tree.map(lambda p, g: p - rate * g, params, grad_fn(params))
steps = np.arange(0.0, 61, 15)
curves(steps, {f"{i + 1}.": np.array(spectra)[:, i] for i in range(3)}, "eigenvalues by step", log=True)
