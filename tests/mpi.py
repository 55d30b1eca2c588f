"""The MPI that tests start ranks by."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

MPIEXEC = Path(sys.executable).parent / "mpiexec"  # of the wheel of MPICH
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIEXEC.exists(), reason="needs the packages of the extra mpi"
)
