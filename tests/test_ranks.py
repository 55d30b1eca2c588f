"""Ranks of an MPI job: they give what threads give, and end together whatever happens to one of them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from funcnn import data_parallel, gradients, losses, models

MPIEXEC = Path(sys.executable).parent / "mpiexec"  # of the wheel of MPICH
FOLDER = Path(__file__).parent
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIEXEC.exists(), reason="needs the packages of the extra mpi"
)
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@needs_mpi
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_give_what_threads_give_bit_for_bit(ranks):
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "mpi4py", FOLDER / "rank_cases.py"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    assert (run.returncode, run.stderr) == (0, "")
    for case in ("one_step", "shards_are_numbered_over_all_ranks", "epochs", "ranks_that_drift_apart"):
        for rank in range(ranks):
            assert f"rank {rank} of {ranks}: {case}" in run.stdout


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
