"""
From the article
================

This project began with a well-known exercise: a small convolutional network by hand, one 3x3 kernel and two linear
layers, on the 8x8 digits. Hand-written versions often go wrong in the same places. Here are these places, one by one,
each measured beside its remedy.
"""

import numpy as np

from funcnn import data, keys, losses, models, ops, show, tree, value_and_grad

x, labels = data.digits()
test, train = data.split(len(x), [0.2], key=(0,))

# %%
# **How many windows fit.** Along 8 positions a window of 3 has 6 places, not 8 - 3 = 5: the last one is easily lost,
# and a column of the image with it.
kernel = {"w": np.ones((3, 3, 1, 1), np.float32), "b": np.zeros(1, np.float32)}
print(ops.conv(kernel, x)[0].shape)

# %%
# **The softmax of large logits.** By its formula, single precision overflows from logits of about 90. The remedy is to
# subtract the maximum first, and to take the loss from the logits, never from a probability that became 0.
logits = np.array([[100.0, 0.0]], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    print("formula:", np.exp(logits) / np.exp(logits).sum(), " ops.softmax:", ops.softmax(logits)[0])
print("loss of the wrong label:", losses.softmax_cross_entropy(logits, np.array([1]))[0])

# %%
# **Sums over channels.** One filter on an image of three channels gives one map, not three: a convolution sums over the
# channels. One map per channel is the depthwise convolution, an option of its own.
colours = np.ones((1, 8, 8, 3), np.float32)
print("conv:     ", ops.conv({"w": np.ones((3, 3, 3, 1)), "b": np.zeros(1)}, colours)[0].shape)
print("depthwise:", ops.conv({"w": np.ones((3, 3, 1, 3)), "b": np.zeros(3)}, colours, groups=3)[0].shape)

# %%
# **Initial weights, scaling and order.** The article draws weights from the standard normal distribution: the sums of
# many of them saturate the softmax. It feeds pixels that are all positive: a kernel whose weights sum to less than 0
# then switches its ReLU off for ever. And it takes the examples in the same order in every epoch. Below,
# each remedy is added to the ones before: ten epochs of SGD (rate 0.1, batches of 64), the same network, five keys.
model = models.seed_convnet()
grad_fn = value_and_grad(model, losses.softmax_cross_entropy)
in_order = np.sort(train)


def run(key, fan_in, standardised, shuffled):
    """Return the mean loss of each epoch, and the accuracy on the test images after it."""
    params, state, _ = model.init(key, (8, 8, 1))
    if not fan_in:
        normal = keys.generator(key).normal
        params = tree.map(lambda leaf: normal(size=leaf.shape).astype(np.float32) if leaf.ndim > 1 else leaf, params)
    images = (x - x[train].mean()) / x[train].std() if standardised else x
    result = []
    for epoch in range(10):
        order = keys.generator((*key, epoch)).permutation(train) if shuffled else in_order
        of_batches = []
        for first in range(0, len(order), 64):
            batch = order[first : first + 64]
            loss, grads, state = grad_fn(params, state, images[batch], labels[batch])
            params = tree.map(lambda p, g: p - 0.1 * g, params, grads)
            of_batches.append(loss)
        outputs, _, _ = model.forward(params, images[test], state, train=False)
        result.append((np.mean(of_batches), np.mean(outputs.argmax(axis=1) == labels[test])))
    return result


remedies = {
    "as in the article": (False, False, False),
    "weights by fan-in": (True, False, False),
    "standardised pixels": (True, True, False),
    "shuffled": (True, True, True),
}
runs = {name: np.array([run((i,), *remedy) for i in range(5)]) for name, remedy in remedies.items()}
for name, of_keys in runs.items():
    last = of_keys[:, -1, 1]
    print(f"{name:20} {last.mean():.2f} (from {last.min():.2f} to {last.max():.2f})")

# %%
# Loss and accuracy by epoch, the mean of the five keys. Chance is an accuracy of 10 %, and a loss of log 10 = 2.3. With
# the article's weights, the network begins above that loss, sure of wrong answers, and stays near chance. The weights
# make most of the difference, the pixels most of the rest; the order hardly matters for so few examples.
show.curves({
    name: [
        {"epoch": epoch, "loss": loss, "validation_accuracy": accuracy}
        for epoch, (loss, accuracy) in enumerate(of_keys.mean(axis=0), start=1)
    ]
    for name, of_keys in runs.items()
})  # fmt: skip
