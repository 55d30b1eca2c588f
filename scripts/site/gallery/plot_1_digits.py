"""
Digits, end to end
==================

Train the default network on scikit-learn's digits, look at the run, and use what was trained.
"""

# %%
# The data are 1797 images of 8x8 pixels, from 0 to 1, with their labels. A fifth is kept for the end.
import numpy as np
from builder.drawing import tiles

from funcnn import data, losses, metrics, models, optim, predictor, show, training

digits = data.open("digits")
x, labels = digits.x, digits.labels
test, train = data.split(len(x), [0.2], key=(0,))
print(f"{len(train)} images to learn from, {len(test)} to test with, {x.shape[1:]} each")
tiles(x[:16, :, :, 0], "sixteen digits", captions=[str(label) for label in labels[:16]])

# %%
# The network is two convolutions, each with a maximum over windows of 2x2 and a ReLU, and two dense layers. Dropout
# sets a tenth of the numbers before these to 0 in training.
model = models.convnet(10)
print(model)

# %%
# A step of training takes a batch of 32 images, computes the gradient of their loss, and moves the parameters against
# it: by Adam's rule, with a rate that rises and falls again within the run, and weights that decay a little. Each image
# is shifted by up to a pixel at random, so that the network does not learn where a digit lies. ``fit`` takes these
# steps and yields a record after each epoch, a pass over all images; what happens in between is code of the loop.
n_epochs, steps_per_epoch = 6, -(-len(train) // 32)
optimizer = optim.adamw(optim.one_cycle(8e-3, n_epochs * steps_per_epoch), weight_decay=0.05)
epochs = []
for epoch in training.fit(
    model,
    losses.softmax_cross_entropy,
    optimizer,
    x[train],
    labels[train],
    epochs=n_epochs,
    batch_size=32,
    key=(0,),
    augment=data.random_shift,
    validation=(x[test], labels[test]),
    metrics={"accuracy": metrics.accuracy, "loss": lambda outputs, y: losses.softmax_cross_entropy(outputs, y)[0]},
):
    epochs.append(epoch)
    print(f"{epoch.epoch}: loss {epoch.loss:.3f}, right on the test images {epoch.validation['accuracy']:.4f}")

# %%
# The loss of the training images is that with dropout and shifts, and while the network still learns: it is above that
# of the test images.
show.curves(epochs)

# %%
# A trained network with its preprocessing and the names of its classes is a `Predictor`, which can be saved to a file.
# Its pictures are those of the command ``funcnn show``. What does it get wrong? A row for each true class:
params, state = epoch.train_state.params, epoch.train_state.state
description = predictor.describe(
    {"name": "convnet", "arguments": {"outputs": 10}}, (8, 8, 1), digits.classes, full_scale=digits.full_scale
)
trained = predictor.from_description(description, params, state)
held_out = data.Dataset(x[test], labels[test], digits.classes, full_scale=digits.full_scale)
show.confusion(trained, held_out)

# %%
# The mistakes of which it was most sure. Some of them, one would have to ask the writer about.
show.mistakes(trained, held_out)

# %%
# Raw images, as someone else has them, with pixels from 0 to 16:
raw = np.round(16 * x[test[2:5], :, :, 0])
print(trained.predict(raw), "are", labels[test[2:5]])
print(trained.predict_proba(raw).max(axis=1).round(3))
