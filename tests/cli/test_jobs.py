"""`funcnn train` on several processes: rank 0 alone writes, and whatever happens to one of them ends all."""

import contextlib
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import systems
from commands import ENVIRONMENT, run, start_on_a_terminal
from mpi import MPIEXEC, needs_mpi

from funcnn import checkpoint
from funcnn.cli import jobs, main

# Rank 1 fails in step 3 in the way that the first argument says; rank 0 then waits for it. An error is the command's to
# report; for the others, the run of `killed_run` is imported sooner.
FAILING = """
import os, signal, sys
from funcnn.training import loop

update = loop._update

def failing(grad_fn, optimizer, train_state, *arguments):
    if train_state.step == 2 and os.environ["PMI_RANK"] == "1":
        if sys.argv[1] == "raises":
            raise OSError("the disk is gone")
        if sys.argv[1] == "exits":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)
    return update(grad_fn, optimizer, train_state, *arguments)

loop._update = failing
if sys.argv[1] == "raises":
    from funcnn.cli import main
    main(["train", *sys.argv[2:]])
else:
    from mpi4py import MPI
    import killed_run
    killed_run.train(sys.argv[2], "adam", comm=MPI.COMM_WORLD)
"""


PATHS = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng, file = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(file, x=rng.random((60, 4)), y=np.arange(60) % 3)
    return file


def options(data, folder, **given):
    """Of a run of three steps an epoch."""
    words = {"--data": data, "--model": "mlp", "--batch-size": 16, "--schedule": "constant", "--checkpoints": folder}
    return [str(word) for pair in (words | given).items() for word in pair]


def all_end(folder):
    """Whether all processes end whose command line names a folder, shortly after their mpiexec."""
    deadline = time.monotonic() + 30
    while running(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(folder)


def running(folder):
    """The command lines that name a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            lines.append(path.read_bytes())
    return [line for line in lines if bytes(folder) in line]


@needs_mpi
def test_rank_0_writes_alone_and_another_number_resumes(data, tmp_path):
    history, model = tmp_path / "history.jsonl", tmp_path / "model.safetensors"
    files = {"--history": history, "--output": model, "--processes": 2, "--epochs": 2}
    trained = run("train", *options(data, tmp_path / "c", **files), "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["epochs"] == 2  # one object, of one rank
    assert trained.stderr.count("epoch 2/2") == 1
    assert [json.loads(line)["epoch"] for line in history.read_text().splitlines() if "epoch" in json.loads(line)] == [
        1,
        2,
    ]
    assert checkpoint.load(model).description["run"]["processes"] == 2
    assert checkpoint.load(model).description["run"]["threads"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "history.jsonl", "model.safetensors"]

    resumed = run("train", "--resume", tmp_path / "c", "--epochs", 3, "--json")
    assert resumed.returncode == 0 and json.loads(resumed.stdout)["epochs"] == 3
    assert "warning: the last bits will differ from those of an unbroken run, which began with 2 processes, now 1" in (
        resumed.stderr
    )
    assert checkpoint.latest(tmp_path / "c").checkpoint.description["run"]["processes"] == 1


@needs_mpi
@pytest.mark.parametrize(
    "how, code, message", [("raises", 1, "the disk is gone"), ("exits", 7, None), ("killed", 9, None)]
)
def test_a_rank_that_fails_ends_all(data, tmp_path, how, code, message):
    folder = tmp_path / "c"
    arguments = options(data, folder, **{"--checkpoint-every": 1, "--epochs": 3})
    folder.mkdir()
    arguments = [*arguments, "--quiet"] if how == "raises" else [folder]
    command = [MPIEXEC, "-n", "2", sys.executable, "-c", FAILING, how, *arguments]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=60, env=PATHS)
    assert failed.returncode == code
    if message is not None:  # else MPICH has much to say
        assert failed.stderr == f"funcnn train: {message}\n"
    assert checkpoint.latest(folder).unreadable == []
    assert checkpoint.latest(folder).checkpoint.train_state.step in (1, 2)  # rank 0 may be writing the second
    assert all_end(folder)


@needs_mpi
def test_ctrl_c_ends_all_and_keeps_a_checkpoint(data, tmp_path):
    folder = tmp_path / "c"
    arguments = options(data, folder, **{"--epochs": 1_000_000, "--checkpoint-every": 1_000_000})
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "funcnn", "train", *arguments]
    output, code = start_on_a_terminal(command, interrupt_at=b"  loss ", cwd=tmp_path)
    assert code == 130
    assert output.count("interrupted after step") == 1
    step = checkpoint.latest(folder).checkpoint.train_state.step
    assert f"interrupted after step {step}; to resume: mpiexec -n 2 " in output
    assert all_end(folder)


@needs_mpi
def test_an_error_of_all_ranks_is_reported_once():
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "funcnn", "train", "--data", "nowhere"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert failed.returncode == 2
    assert failed.stderr.startswith("funcnn train: --data nowhere is neither") and failed.stderr.count("\n") == 1


def launched(monkeypatch, size="2", rank="0", modules=None):
    monkeypatch.setenv("PMI_SIZE", size)
    monkeypatch.setenv("PMI_RANK", rank)
    monkeypatch.setitem(sys.modules, "mpi4py", modules)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    launched(monkeypatch)
    with pytest.raises(ImportError, match=r"^several processes need .*: pip install 'funcnn\[mpi\]'"):
        jobs.communicator(None)


def test_a_launcher_that_does_not_tell_its_size_starts_no_more_processes(monkeypatch, tmp_path):
    launcher = tmp_path / "mpiexec"
    launcher.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')  # runs the command once, in the same environment
    launcher.chmod(0o755)
    program = "import sys; from funcnn.cli import jobs; jobs.mpiexec = lambda: sys.argv[2]; jobs.communicator(2)"
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, tmp_path / "program.py", "--processes", launcher]
    result = subprocess.run(command, env=PATHS, capture_output=True, text=True, timeout=60, check=False)
    assert f"{launcher} does not tell its 2 processes how many they are" in result.stderr


def test_a_missing_mpiexec_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match=r"pip install 'funcnn\[mpi\]'.*\(no mpiexec\)"):
        jobs.communicator(2)


def mpi_that_sees(size):
    world = types.SimpleNamespace(Get_size=lambda: size)
    return types.SimpleNamespace(MPI=types.SimpleNamespace(COMM_WORLD=world, get_vendor=lambda: ("Own MPI", (1,))))


def test_the_launcher_of_another_mpi_is_refused(monkeypatch):
    launched(monkeypatch, modules=mpi_that_sees(1))
    with pytest.raises(
        ValueError, match=r"has started 2 processes, but mpi4py sees 1: it uses another MPI \(Own MPI\)"
    ):
        jobs.communicator(None)


def test_more_processes_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(jobs, "mpiexec", lambda: "mpiexec")
    monkeypatch.setattr(jobs, "cores", lambda: 3)
    with pytest.raises(ValueError, match="--processes 4 must be at most 3 on this machine of 3 cores"):
        jobs.communicator(4)


@needs_mpi
def test_the_variables_of_another_mpi_are_one_line():
    launcher = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    failed = run("train", "--data", "iris", "--model", "mlp", env=ENVIRONMENT | launcher)
    assert failed.returncode == 1
    assert failed.stderr.startswith("funcnn train: the launcher has started 2") and failed.stderr.count("\n") == 1


def test_another_number_than_the_launchers_is_refused(monkeypatch):
    launched(monkeypatch, modules=mpi_that_sees(2))
    with pytest.raises(ValueError, match="--processes 3 contradicts the launcher, which has started 2"):
        jobs.communicator(3)


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, (0, 1)),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, (0, 1)),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, (3, 4)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (1, 2)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, (5, 8)),
        ({"PMI_SIZE": "", "PMI_RANK": "0"}, (0, 1)),
        ({"PMI_SIZE": "many", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": ""}, (0, 2)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (0, 1)),  # in a batch script, before srun
    ],
)
def test_launchers(monkeypatch, variables, expected):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert jobs.rank_and_size() == expected


@systems.needs_shell()
def test_mpiexec_gets_a_stderr_where_it_is_closed():
    program = (
        "import os, sys; from funcnn.cli import jobs; jobs.mpiexec = lambda: 'mpiexec'; sys.stderr = sys.stdout; "
        "os.execve = lambda *_: print(os.get_inheritable(2), os.fstat(2) == os.stat(os.devnull)); jobs._start(2)"
    )
    shell = ["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "True True\n"


@pytest.mark.parametrize("rank, lines", [("0", 1), ("1", 0)])
def test_other_commands_run_in_one_process(monkeypatch, capsys, rank, lines):
    for variable in ("PMI_RANK", "MPI_LOCALRANKID"):
        monkeypatch.setenv(variable, rank)
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(jobs, "handle_signals", lambda: None)  # this process goes on to take Ctrl-C
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "model.safetensors", "digits"])
    assert capsys.readouterr().err.count("only train is a job of several") == lines
