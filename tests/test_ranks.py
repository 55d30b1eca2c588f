"""Ranks of an MPI job: they give what threads give, and end together whatever happens to one of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrays import normal
from mpi import MPIEXEC, needs_mpi

from funcnn import data_parallel, gradients, losses, models, tree

FOLDER = Path(__file__).parent
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


CASES = (
    "one_step", "epochs", "each_rank_reads_and_augments_its_own_rows", "shards_are_numbered_over_all_ranks",
    "ranks_that_drift_apart",
)  # fmt: skip


@needs_mpi
@pytest.mark.parametrize("ranks, cases", [(2, CASES), (4, CASES[:3])])
def test_ranks_give_what_threads_give_bit_for_bit(ranks, cases):
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "mpi4py", FOLDER / "rank_cases.py", *cases]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    assert (run.returncode, run.stderr) == (0, "")
    for rank in range(ranks):
        assert "".join(f"rank {rank} of {ranks}: {case}\n" for case in cases) in run.stdout


class OneRank:
    """A communicator of a process alone, which has nobody to exchange anything with."""

    Allgatherv = None

    def Get_rank(self):  # noqa: N802
        return 0

    def Get_size(self):  # noqa: N802
        return 1


@pytest.mark.parametrize("threads", [1, 3])
def test_one_rank_is_this_process_with_its_threads(threads):
    model, x, labels = models.mlp(3), normal(7, 5), np.arange(7) % 3
    grad_fn, (params, state, _) = gradients.value_and_grad(model, losses.softmax_cross_entropy), model.init((0,), (5,))
    wanted = data_parallel.over_threads(grad_fn, threads, min_work=0)(params, state, x, labels)
    for comm in (None, OneRank()):
        value, grads, _ = data_parallel.over_ranks(grad_fn, comm, threads, min_work=0)(params, state, x, labels)
        assert value == wanted[0]
        tree.map(np.testing.assert_array_equal, grads, wanted[1])


@pytest.mark.parametrize(
    "grad_fn, comm, threads, error, message",
    [
        (print, None, 1, TypeError, "grad_fn must come from value_and_grad"),
        (gradients.value_and_grad(models.mlp(2), losses.mse), 4, 1, TypeError, "comm must be a communicator, .* not 4"),
        (gradients.value_and_grad(models.mlp(2), losses.mse), None, 0, ValueError, "threads must be"),
    ],
)
def test_wrong_arguments(grad_fn, comm, threads, error, message):
    with pytest.raises(error, match=f"over_ranks: {message}"):
        data_parallel.over_ranks(grad_fn, comm, threads)
