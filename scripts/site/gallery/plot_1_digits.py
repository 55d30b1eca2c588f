"""
Digits, end to end
==================

Train the default network on scikit-learn's digits, look at the run, and use what was trained.
"""

# %%
# The data are 1797 images of 8x8 pixels. A fifth is kept for the end.
import numpy as np
from builder.drawing import curves, tiles

from funcnn import data, losses, metrics, models, optim, training

x, labels = data.digits()
test, train = data.split(len(x), [0.2], key=(0,))
tiles(x[:16, :, :, 0], "sixteen digits", captions=[str(label) for label in labels[:16]])

# %%
# Epochs come from an iterator, so what happens in between is code of the loop.
model = models.convnet(10)
epochs = 6
optimizer = optim.adamw(optim.one_cycle(8e-3, epochs * -(-len(train) // 32)), weight_decay=0.05)
history = []
for epoch in training.fit(
    model,
    losses.softmax_cross_entropy,
    optimizer,
    x[train],
    labels[train],
    epochs=epochs,
    batch_size=32,
    key=(0,),
    augment=data.random_shift,
    validation=(x[test], labels[test]),
    metrics={"accuracy": metrics.accuracy, "loss": lambda outputs, y: losses.softmax_cross_entropy(outputs, y)[0]},
):
    history.append((epoch.loss, epoch.validation["loss"]))
    print(f"{epoch.epoch}: loss {epoch.loss:.3f}, accuracy on the test images {epoch.validation['accuracy']:.4f}")

# %%
# Loss of the training images, with their random shifts, and of the test images.
of_training, of_test = np.array(history).T
curves(np.arange(1.0, epochs + 1), {"training": of_training, "test": of_test}, "loss by epoch", log=True)

# %%
# What it gets wrong:
params, state = epoch.train_state.params, epoch.train_state.state
predicted = training.predict(model, params, state, x[test]).argmax(axis=1)
wrong = test[predicted != labels[test]]
print(f"{len(wrong)} of {len(test)} wrong")
names = [f"{labels[i]}, read as {p}" for i, p in zip(wrong, predicted[predicted != labels[test]], strict=True)]
tiles(x[wrong, :, :, 0], "the mistakes", captions=names, side=88) if len(wrong) else None
