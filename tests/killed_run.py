"""A run of training that keeps a checkpoint after every step, in its own processes, to be killed.

Importing NumPy takes longer than the run: so this program imports once and then, for each line on its standard input,
forks a process that trains and prints its id; after one more line it waits for the process and prints its exit status.
Until then no other process has the id. With a folder and an optimizer as arguments, it trains as one of the ranks of a
job.
"""

import os
import signal
import sys
import traceback

import numpy as np

from funcnn import checkpoint, data, losses, metrics, optim, serial, training
from funcnn.layers import batch_norm, conv2d, dense, dropout, flatten, relu
from funcnn.stopping import update_best

MODEL = serial(conv2d(3, 3), batch_norm(), relu(), flatten(), dropout(0.2), dense(8), relu(), dense(3))
X = np.random.default_rng(0).standard_normal((23, 6, 6, 1)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 23)
EPOCHS, BATCH = 4, 5
STEPS = EPOCHS * 5
OPTIMIZERS = {
    "momentum": optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(optim.cosine(0.1, STEPS), momentum=0.9)),
    "adam": optim.adamw(optim.one_cycle(1e-2, STEPS), weight_decay=0.05),
}


def fresh(optimizer):
    return training.start(MODEL, OPTIMIZERS[optimizer], X.shape[1:], key=(7,))


def train(folder, optimizer, stop="", lost="", comm=None):
    """Train from the newest checkpoint in the folder, or the start, to the end, or after step ``stop`` kill itself.

    What is ``lost`` of a checkpoint is as it was at the start. Of several ranks, the first writes.
    """
    initial = checkpoint.Checkpoint(fresh(optimizer), {"model": {"name": "none", "arguments": {}}})
    if any(name.startswith("step-") for name in os.listdir(folder)):
        started, initial = initial, checkpoint.latest(folder).checkpoint
        if lost in training.TrainState._fields:
            initial = initial._replace(
                train_state=initial.train_state._replace(**{lost: getattr(started.train_state, lost)})
            )
        elif lost:
            initial = initial._replace(**{lost: getattr(started, lost)})
    current = initial
    for record in training.fit(
        MODEL,
        losses.softmax_cross_entropy,
        OPTIMIZERS[optimizer],
        X,
        LABELS,
        epochs=EPOCHS,
        batch_size=BATCH,
        resume=initial.train_state,
        augment=data.random_shift,
        validation=(X, LABELS),
        metrics={"accuracy": metrics.accuracy},
        threads=1,
        comm=comm,
    ).steps():
        current = current._replace(train_state=record.train_state)
        if isinstance(record, training.Epoch):
            best = update_best(current.best, record.epoch, record.train_state)  # it is the first in any case
            history = [*current.history, {"epoch": record.epoch, "loss": record.loss, **record.validation}]
            current = current._replace(best=best, history=history)
        if comm is None or comm.Get_rank() == 0:
            checkpoint.add(folder, current, keep=2)
        if stop and record.train_state.step == int(stop):
            os.kill(os.getpid(), signal.SIGKILL)


def serve():
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                train(*line.rstrip("\n").split("\t"))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:  # a rank of a job
        from mpi4py import MPI

        train(*sys.argv[1:], comm=MPI.COMM_WORLD)
    else:
        serve()
