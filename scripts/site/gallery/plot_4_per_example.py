"""
Per-example gradients
=====================

The gradient of a batch is the mean over its examples. Which examples does it come from?
"""

import numpy as np
from builder.drawing import sticks, tiles

from funcnn import data, derivatives, losses, models, optim, training, tree

x, labels = data.digits()
model = models.convnet(10)
*_, epoch = training.fit(
    model, losses.softmax_cross_entropy, optim.adam(2e-3), x, labels, epochs=2, batch_size=32, key=(0,)
)
params, state = epoch.train_state.params, epoch.train_state.state

# %%
# A framework that differentiates the loss of a batch has added up the examples before one can look at them. Here one
# pass gives the gradient of every example: each leaf has a leading axis N.
few = np.arange(256)
grads = derivatives.per_example_gradients(model, losses.softmax_cross_entropy, params, state, x[few], labels[few])
norms = np.sqrt(sum((leaf.reshape(len(few), -1) ** 2).sum(axis=1) for leaf in tree.leaves(grads)))
print({path: leaf.shape for path, leaf in zip(tree.paths(grads), tree.leaves(grads), strict=True)})

# %%
# Few examples make most of the gradient. The norms of the largest forty:
order = np.argsort(-norms)
print(f"the largest tenth has {norms[order[:26]].sum() / norms.sum():.0%} of the sum of all norms")
sticks(norms[order[:40]], "norms of gradients", width=520)

# %%
# They are the hard ones, and labels that one may doubt:
tiles(x[order[:8], :, :, 0], "examples of large gradients", captions=[str(label) for label in labels[order[:8]]])

# %%
# Clipping each example's gradient to a norm of 0.1 before the mean bounds what any single one can do, as private
# training needs it:
clipped = tree.map(
    lambda leaf: (leaf * np.minimum(1, 0.1 / norms).reshape(-1, *[1] * (leaf.ndim - 1))).mean(axis=0), grads
)
mean = tree.map(lambda leaf: leaf.mean(axis=0), grads)
print(f"norm of the mean: {tree.norm(mean):.3f}, clipped: {tree.norm(clipped):.3f}")
