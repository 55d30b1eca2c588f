"""
Fine-tune an ONNX network
=========================

A network that was trained elsewhere comes as an ONNX file. Here we make one ourselves, which tells digits. With a
new head, it learns from a few examples which digits are odd.
"""

import tempfile
from pathlib import Path

import numpy as np
from builder.drawing import tiles

from funcnn import data, frozen, layers, losses, models, optim, serial, show, training
from funcnn.onnx import from_onnx, to_onnx

x, labels = data.digits()
file = Path(tempfile.mkdtemp()) / "digits.onnx"

donor = models.convnet(10)
*_, epoch = training.fit(
    donor, losses.softmax_cross_entropy, optim.adam(2e-3), x[:1000], labels[:1000], epochs=3, batch_size=32, key=(0,)
)
file.write_bytes(
    to_onnx(donor, epoch.train_state.params, epoch.train_state.state, in_shape=(8, 8, 1)).SerializeToString()
)
print(file.name, file.stat().st_size, "bytes")

# %%
# ``from_onnx`` reads it as a layer, with the file's weights.
body = from_onnx(file, in_shape=(8, 8, 1), output="features")
print(body)

# %%
# Two images of each digit to learn from, which the network has not seen. A head on the frozen body is one dense layer;
# all of it can be trained, too, with a smaller rate. Beside them, the same network from nothing.
few = np.concatenate([1000 + np.flatnonzero(labels[1000:] == digit)[:2] for digit in range(10)])
rest = np.setdiff1d(np.arange(1000, len(x)), few)
odd = labels % 2
tiles(x[few, :, :, 0], "the examples", captions=["odd" if one else "even" for one in odd[few]], columns=10, side=48)

# %%
ways = {
    "a head on the frozen body": (serial(frozen(body), layers.dense(2)), 1e-2),
    "all of it": (serial(body, layers.dense(2)), 1e-3),
    "from nothing": (models.convnet(2), 1e-3),
}
runs = {}
for name, (model, rate) in ways.items():
    loss, optimizer = losses.softmax_cross_entropy, optim.adam(rate)
    epochs = list(training.fit(model, loss, optimizer, x[few], odd[few], epochs=30, batch_size=5, key=(0,)))
    last = epochs[-1].train_state
    outputs = training.predict(model, last.params, last.state, x[rest])
    print(f"{name}: {np.mean(outputs.argmax(axis=1) == odd[rest]):.3f} right of {len(rest)}")
    runs[name] = epochs

# %%
# All three come to read the twenty examples right. On the other images, what the body knows of digits is worth more
# than a tenth of the accuracy.
show.curves(runs, log=True)
