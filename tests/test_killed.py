"""A run of training that is killed, at any moment, loses no more than a step, and ends as if it had not been killed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import systems
from mpi import MPIEXEC, needs_mpi

from funcnn import checkpoint, tree

pytestmark = systems.needs("fork")
KILLS = int(os.environ.get("FUNCNN_KILLS", "30"))
FOLDER = Path(__file__).parent


class Runs:
    """What starts runs of `killed_run`, and ends them."""

    def __init__(self):
        self.server = subprocess.Popen(
            [sys.executable, FOLDER / "killed_run.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def start(self, folder, optimizer, stop="", lost=""):
        folder.mkdir(exist_ok=True)
        print(folder, optimizer, stop, lost, sep="\t", file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def end(self):
        print(file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def whole(self, *options):
        self.start(*options)
        return self.end()


@pytest.fixture(scope="module")
def runs():
    runs = Runs()
    with runs.server:  # which waits for its end when its input is closed
        yield runs


@pytest.fixture(scope="module")
def uninterrupted(runs, tmp_path_factory):
    """The end of each run that is not killed, and how many seconds it takes."""
    ends = {}
    for optimizer in ("momentum", "adam"):
        folder, began = tmp_path_factory.mktemp(optimizer), time.perf_counter()
        assert runs.whole(folder, optimizer) == 0
        ends[optimizer] = checkpoint.latest(folder).checkpoint, time.perf_counter() - began
    return ends


def same(a, b):
    """Whether two checkpoints are the same, bit for bit."""
    if (a.history, a.train_state.key, a.train_state.epoch, a.train_state.step) != (
        b.history, b.train_state.key, b.train_state.epoch, b.train_state.step,
    ):  # fmt: skip
        return False
    trees = [
        {"train_state": {**c.train_state._asdict(), "key": None, "epoch": 0, "step": 0}, "best": c.best._asdict()}
        for c in (a, b)
    ]
    flat = [tree.flatten(t) for t in trees]
    return flat[0].keys() == flat[1].keys() and all(
        np.asarray(flat[0][path]).tobytes() == np.asarray(flat[1][path]).tobytes() for path in flat[0]
    )


def unfinished(folder):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def test_a_run_killed_repeatedly_ends_like_an_uninterrupted_one(runs, uninterrupted, tmp_path, closing_lines):
    rng = random.Random(0)
    kills = during_writes = ends = 0
    while kills < KILLS:
        optimizer = rng.choice(["momentum", "adam"])
        expected, seconds = uninterrupted[optimizer]
        folder = tmp_path / str(ends)
        while True:
            pid = runs.start(folder, optimizer)
            if rng.random() < 0.5:  # a moment of the run, or one while a file is written
                time.sleep(rng.uniform(0, seconds / 2))
            else:
                deadline = time.monotonic() + rng.uniform(0, seconds / 2)
                while time.monotonic() < deadline or (not unfinished(folder) and time.monotonic() < deadline + 1):
                    time.sleep(1e-4)
            os.kill(pid, signal.SIGKILL)
            if runs.end() == 0:
                break
            kills += 1
            during_writes += bool(unfinished(folder))
            saved = sorted(folder.glob("step-*"))
            assert len(saved) <= 3  # two, and one more until the oldest is removed
            steps = [checkpoint.load(path).train_state.step for path in saved]
            assert [f"step-{step:09d}.safetensors" for step in steps] == [path.name for path in saved]
            if saved:
                assert checkpoint.latest(folder).unreadable == []
        ends += 1
        assert same(checkpoint.latest(folder).checkpoint, expected)
    closing_lines.append(f"killed {kills} times in {ends} runs, {during_writes} times while a file was written")
    assert during_writes > kills / 10


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("lost", ["", "params", "state", "opt_state", "epoch", "step", "losses", "best", "history"])
def test_nothing_of_a_checkpoint_could_be_left_out(runs, uninterrupted, tmp_path, optimizer, lost):
    # in the second epoch, the best being the first one's
    assert runs.whole(tmp_path, optimizer, 8) == -signal.SIGKILL
    assert checkpoint.latest(tmp_path).checkpoint.train_state.step == 8
    runs.whole(tmp_path, optimizer, "", lost)
    assert same(checkpoint.latest(tmp_path).checkpoint, uninterrupted[optimizer][0]) == (not lost)


def start_ranks(folder):
    folder.mkdir(exist_ok=True)
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "mpi4py", FOLDER / "killed_run.py", folder, "adam"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ranks_of(folder):
    """The ids of the running ranks that train in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if bytes(folder) in words and os.fsencode(sys.executable) == words[0]:
                found.append(int(path.parent.name))
    return found


@needs_mpi
@pytest.mark.skipif("FUNCNN_KILLS" not in os.environ, reason="make soak kills ranks")
def test_ranks_killed_repeatedly_end_like_uninterrupted_ones(tmp_path, closing_lines):
    began = time.perf_counter()
    assert start_ranks(tmp_path / "whole").wait(60) == 0
    seconds, expected = time.perf_counter() - began, checkpoint.latest(tmp_path / "whole").checkpoint
    rng, kills, ends = random.Random(0), 0, 0
    while kills < KILLS / 10:
        folder = tmp_path / str(ends)
        while True:
            job = start_ranks(folder)
            time.sleep(rng.uniform(seconds / 2, seconds))  # starting takes the first half
            if ranks := ranks_of(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(ranks), signal.SIGKILL)
            if job.wait(60) == 0:
                break
            kills += 1
            deadline = time.monotonic() + 30
            while ranks_of(folder) and time.monotonic() < deadline:  # they end shortly after mpiexec
                time.sleep(0.01)
            assert ranks_of(folder) == []
            if any(folder.glob("step-*")):
                assert checkpoint.latest(folder).unreadable == []
        ends += 1
        assert same(checkpoint.latest(folder).checkpoint, expected)
    closing_lines.append(f"killed a rank {kills} times in {ends} runs")
