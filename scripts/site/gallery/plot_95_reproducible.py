"""
Reproducible to the bit
=======================

A key is a tuple of ints, and nothing else is random. The same key gives the same bits; a run that stopped goes on as if
it had not.
"""

import hashlib

from funcnn import data, keys, losses, models, optim, training, tree

x, labels = data.digits()
model, optimizer = models.convnet(10), optim.adam(2e-3)


def digest(params):
    """Return a digest of all bits of the parameters."""
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in tree.leaves(params))).hexdigest()[:16]


def run(epochs, resume=None):
    """Return the last epoch of training."""
    loss = losses.softmax_cross_entropy
    options = {"epochs": epochs, "batch_size": 64, "key": (0,), "augment": data.random_shift}
    *_, last = training.fit(model, loss, optimizer, x[:512], labels[:512], resume=resume, **options)
    return last


whole = run(3)
print("three epochs:          ", digest(whole.train_state.params))
print("the same again:        ", digest(run(3).train_state.params))

# %%
# Stopped after the first epoch, and gone on:
first = run(1)
print("one, then two:         ", digest(run(3, resume=first.train_state).train_state.params))

# %%
# Keys are folded, not consumed: what a part of a program draws does not depend on what others drew.
print(keys.fold_in((0,), 7), keys.generator(keys.fold_in((0,), 7)).normal(size=2))
print(keys.fold_in((0,), 7), keys.generator(keys.fold_in((0,), 7)).normal(size=2))
