"""
Threads and ranks
=================

A batch in shards, on several threads or processes, has the gradient of the whole batch: the same numbers to rounding,
batch normalisation included.
"""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from funcnn import data, losses, models, tree, value_and_grad
from funcnn.data_parallel import over_threads

x, labels = data.digits()
x, labels = x[:64].repeat(4, axis=1).repeat(4, axis=2), labels[:64]
model = models.lenet5(10)
params, state, _ = model.init((0,), x.shape[1:])
grad_fn = value_and_grad(model, losses.softmax_cross_entropy)
threaded = over_threads(grad_fn, 2)

loss, grads, _ = grad_fn(params, state, x, labels)
loss2, grads2, _ = threaded(params, state, x, labels)
difference = tree.norm(tree.map(np.subtract, grads, grads2)) / tree.norm(grads)
print(f"loss {loss:.6f} and {loss2:.6f}, gradients differ by {difference:.0e}")

# %%
# Seconds of a gradient, on the machine that built this page:
for name, f in (("one thread", grad_fn), ("two threads", threaded)):
    begin = time.perf_counter()
    f(params, state, x, labels)
    print(f"{name}: {time.perf_counter() - begin:.2f} s, of {os.cpu_count()} cores")

# %%
# Ranks are processes, on one machine or several, joined by MPI (extra ``mpi``). The command starts them, and rank 0
# alone prints. Two ranks, two epochs:
arguments = ["train", "--processes", "2", "--epochs", "2", "--model", "mlp"]
run = subprocess.run(
    [sys.executable, "-m", "funcnn", *arguments], cwd=tempfile.mkdtemp(), capture_output=True, text=True, check=True
)
print(*[line for line in run.stdout.splitlines() if "%" in line or "ranks" in line], sep="\n")
