"""
Threads and ranks
=================

A batch in shards, on several threads or processes, has the gradient of the whole batch: the same numbers to rounding,
batch normalisation included, whose statistics are those of all shards together.
"""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from funcnn import data, layers, losses, serial, tree, value_and_grad
from funcnn.data_parallel import over_threads

x, labels = data.digits()
x, labels = x[:256].repeat(4, axis=1).repeat(4, axis=2), labels[:256]
model = serial(
    layers.conv2d(16, 3), layers.batch_norm(), layers.relu(),
    layers.conv2d(32, 3, stride=2), layers.batch_norm(), layers.relu(),
    layers.global_avg_pool(), layers.dense(10),
)  # fmt: skip
params, state, _ = model.init((0,), x.shape[1:])
# in double precision, to see that nothing but rounding differs
x, params = x.astype(np.float64), tree.map(lambda leaf: leaf.astype(np.float64), params)
grad_fn = value_and_grad(model, losses.softmax_cross_entropy)
threaded = over_threads(grad_fn, 2)

loss, grads, _ = grad_fn(params, state, x, labels)
loss2, grads2, _ = threaded(params, state, x, labels)
difference = tree.norm(tree.map(np.subtract, grads, grads2)) / tree.norm(grads)
print(f"loss {loss:.6f} and {loss2:.6f}, gradients differ by {difference:.0e}")

# %%
# Seconds of a gradient, the best of three, on the machine that built this page. Each thread of the second has half of
# the batch; in the first, NumPy's matrix products may use all cores by themselves. Small batches gain nothing.
for name, f in (("whole batch", grad_fn), ("two shards", threaded)):
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        f(params, state, x, labels)
        times.append(time.perf_counter() - begin)
    print(f"{name}: {min(times):.3f} s, of {os.cpu_count()} cores")

# %%
# Ranks are processes, on one machine or several, joined by MPI (extra ``mpi``). The command starts them, and rank 0
# alone prints. Two ranks, two epochs:
arguments = ["train", "--processes", "2", "--epochs", "2", "--model", "mlp"]
run = subprocess.run(
    [sys.executable, "-m", "funcnn", *arguments], cwd=tempfile.mkdtemp(), capture_output=True, text=True, check=True
)
print(*[line for line in run.stdout.splitlines() if "accuracy" in line], sep="\n")
