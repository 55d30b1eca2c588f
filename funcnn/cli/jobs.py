"""The command as one of several processes, the ranks of an MPI job: started by an mpiexec, or by itself.

Rank 0 alone writes. The others are quiet and ignore signals, so that rank 0 can write a checkpoint after Ctrl-C. An
error on any rank ends all of them: its message is printed once, and its exit code is that of the job.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import sysconfig
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from funcnn import extras
from funcnn.data_parallel import cores

# Variables in which launchers tell a process the number of ranks and its own rank: those of MPICH and its descendants
# (Intel MPI, MVAPICH), Open MPI, and Slurm's srun.
_LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
_LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")  # among those of its machine
# Set in the processes that `_start` starts: they start no more, where a launcher does not tell them how many they are.
_STARTED = "FUNCNN_PROCESSES"
# Seconds for the launcher to print what a rank has written: what it has not read when a rank aborts or exits is lost.
# The next rank goes on a second later.
_FORWARDING = 0.4
# Threads of a BLAS: ranks on the cores of one machine have one each.
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class RankAndSize(NamedTuple):
    """The rank of this process in its job, and the number of ranks; 0 and 1 if it is alone."""

    rank: int
    size: int


def rank_and_size() -> RankAndSize:
    """Return rank and size as the launcher of this process has told them."""
    for variables in _LAUNCHERS:
        size, rank = (os.environ.get(name, "") for name in variables)
        if size.isdecimal() and int(size) > 1:
            return RankAndSize(int(rank) if rank.isdecimal() else 0, int(size))
    return RankAndSize(0, 1)


def communicator(processes: int | None) -> Any:
    """Return the communicator of the job that this process belongs to, or None if it is alone.

    Parameters
    ----------
    processes : int, optional
        The number of ranks that are asked for. If this process is alone, it is replaced by an mpiexec that starts them.

    Raises
    ------
    ImportError
        If mpi4py or an MPI is missing.
    ValueError
        If more ranks are asked for than there are cores; if the launcher has started another number, or belongs to
        another MPI than mpi4py's, so that each process is alone in a job of its own.
    """
    size = rank_and_size().size
    if size == 1:
        if _STARTED in os.environ:
            raise ValueError(
                f"{mpiexec()} does not tell its {os.environ[_STARTED]} processes how many they are: it is neither of "
                "MPICH nor of Open MPI"
            )
        if (processes or 1) > 1:
            _start(processes or 1)
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mpi4py, about the variables of another MPI: an error below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise _missing(str(error).partition("\n")[0]) from None
    if MPI.COMM_WORLD.Get_size() != size:
        raise ValueError(
            f"the launcher has started {size} processes, but mpi4py sees {MPI.COMM_WORLD.Get_size()}: it uses another "
            f"MPI ({MPI.get_vendor()[0]}) than the launcher's; start them by its own mpiexec, or by --processes {size}"
        )
    if processes not in (None, size):
        raise ValueError(f"--processes {processes} contradicts the launcher, which has started {size}")
    return MPI.COMM_WORLD


def _start(processes: int) -> NoReturn:
    """Replace this process by an mpiexec that starts the same command ``processes`` times."""
    launcher = mpiexec()
    if processes > (most := max(2, cores())):  # two to try it with
        raise ValueError(
            f"--processes {processes} must be at most {most} on this machine of {cores()} cores: a process that waits "
            "keeps its core busy"
        )
    program = ["-m", "funcnn"] if Path(sys.argv[0]).name == "__main__.py" else [sys.argv[0]]
    command = [launcher, "-n", str(processes), sys.executable, *program, *sys.argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.__stderr__ is None:  # MPICH's mpiexec ends a job whose stderr is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.set_inheritable(2, True)
    os.execve(launcher, command, dict.fromkeys(_BLAS_THREADS, "1") | os.environ | {_STARTED: str(processes)})


def mpiexec() -> str:
    """Return the path of mpiexec: of the environment that this Python is in, where a wheel of MPI puts it, or of PATH.

    Raises
    ------
    ImportError
        If there is none, or no mpi4py.
    """
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("mpiexec", path=os.pathsep.join([scripts, os.environ.get("PATH", "")]))
    if found is None or find_spec("mpi4py") is None:
        raise _missing("no mpiexec" if found is None else "no mpi4py")
    return found


def _missing(found: str) -> ImportError:
    return extras.missing("several processes need mpi4py and an MPI library", "mpi", ImportError(found))


def handle_signals() -> None:
    """Leave Ctrl-C, and what else interrupts a run, to rank 0: it ends the job when it has written a checkpoint.

    On a terminal it comes twice, from there and from the launcher.
    """
    if rank_and_size().rank == 0:
        signal.signal(signal.SIGINT, _interrupt_once)
        return
    ignore_interrupts()


def ignore_interrupts() -> None:
    """Ignore all that interrupts a run, while it writes its last checkpoint after the first interruption."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _interrupt_once(*_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def reports() -> bool:
    """Return whether this process reports an error that the other ranks may have, too, when it is its turn.

    The first rank to report ends the job. Before they are connected, the first of each machine reports.
    """
    if rank_and_size().size == 1:
        return True
    if not _connected():
        first = all(os.environ.get(variable, "0") == "0" for variable in _LOCAL_RANKS)
        if not first:
            time.sleep(1)
        return first
    time.sleep(min(rank_and_size().rank, 5))
    return True


def abort(code: int) -> None:
    """End the job with this exit code, at once; nothing if this process is alone."""
    if rank_and_size().size > 1 and _connected():
        time.sleep(_FORWARDING)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI has something to say about it, too
        sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(code)


def abort_at_exit(code: int) -> None:
    """End the job with this exit code when this process exits, which may print a traceback before."""
    if rank_and_size().size > 1 and _connected():
        from mpi4py.run import set_abort_status

        set_abort_status(code)


def _connected() -> bool:
    return "mpi4py.MPI" in sys.modules and bool(sys.modules["mpi4py.MPI"].COMM_WORLD.Get_size() > 1)
