"""The loop of a run: what is on disk wherever Ctrl-C comes, and whatever cannot be written."""

import contextlib
import errno
import os
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

from funcnn import checkpoint, files
from funcnn.checkpoint import Checkpoint
from funcnn.cli import runs, training_loop
from funcnn.cli.training_loop import CheckpointPolicy
from funcnn.training import Epoch, TrainState


def states(count):
    for step in range(1, count + 1):
        train_state = TrainState({"w": np.full(2, step)}, {}, {}, (0,), 0, step, [0.5] * step)
        yield Checkpoint(train_state, {"model": {}})


def test_a_step_that_the_history_lacks_is_not_in_the_checkpoint(tmp_path, monkeypatch):
    """Ctrl-C just before a step's line is written: the run resumes from the step before, so that none is missing."""
    written = []

    class History:
        def write(self, current):
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(current.train_state.step)

        def flush(self):
            pass

    monkeypatch.setattr(training_loop, "history_writer", lambda *_: contextlib.nullcontext(History()))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    initial = Checkpoint(TrainState({"w": np.zeros(2)}, {}, {}, (0,), 0, 0), {"model": {}})
    with pytest.raises(training_loop.InterruptedRun):
        training_loop.store(initial, states(10), CheckpointPolicy(folder=tmp_path / "kept"))
    assert checkpoint.latest(tmp_path / "kept").checkpoint.train_state.step == 3
    assert written == [1, 2, 3]


INITIAL = Checkpoint(TrainState({"w": np.zeros(2)}, {}, {}, (0,), 0, 0), {"model": {}, "run_id": "this"})


def after(initial, last, interrupt=None):
    """The states of a run after each step that follows ``initial``; Ctrl-C comes instead of step ``interrupt``."""
    for step in range(initial.train_state.step + 1, last + 1):
        if step == interrupt:
            raise KeyboardInterrupt
        yield initial._replace(train_state=initial.train_state._replace(step=step, losses=[0.5]))


def steps(folder):
    return [int(path.name[5:-12]) for path in checkpoint.of_run(folder, "this")][::-1]


@pytest.fixture
def unwritable(monkeypatch):
    """Let no file be written in folders called "full" until the fixture's value is cleared."""
    full = ["full"]

    def write(path, content, original=files.write_atomic):
        if full and Path(path).parent.name in full:
            raise OSError(f"cannot write {path}: No space left on device")
        original(path, content)

    monkeypatch.setattr(files, "write_atomic", write)
    return full


def test_a_folder_that_is_full_is_one_warning_and_a_failure_at_the_end(tmp_path, unwritable):
    folder = tmp_path / "full"
    with pytest.warns(UserWarning) as warned:
        trained = training_loop.store(INITIAL, after(INITIAL, 10), CheckpointPolicy(folder, every=2))
    assert trained.checkpoint.train_state.step == 10
    message = f"cannot write {folder}/step-000000002.safetensors: No space left on device"
    assert [str(w.message) for w in warned] == [f"{message}; training goes on without checkpoints"]
    assert trained.failures == [message]


def test_checkpoints_are_written_again_when_there_is_room_again(tmp_path, unwritable):
    def freed():
        for state in after(INITIAL, 10):
            if state.train_state.step == 5:
                unwritable.clear()
            yield state

    with pytest.warns(UserWarning, match="training goes on without checkpoints"):
        trained = training_loop.store(INITIAL, freed(), CheckpointPolicy(tmp_path / "full", every=2))
    assert steps(tmp_path / "full") == [6, 8, 10] and len(trained.failures) == 1


def test_a_folder_that_could_not_be_locked_is_tried_again_and_locked_with_each_checkpoint(tmp_path):
    folder = tmp_path / "run"
    with files.locked(folder):
        with pytest.warns(UserWarning, match="^no room; training goes on without checkpoints$"):
            trained = training_loop.store(INITIAL, after(INITIAL, 4), CheckpointPolicy(folder, 2, not_held="no room"))
        assert steps(folder) == [] and trained.failures == ["no room"]
    with pytest.warns(UserWarning, match="^no room; training goes on without checkpoints$"):
        trained = training_loop.store(INITIAL, after(INITIAL, 4), CheckpointPolicy(folder, 2, not_held="no room"))
    assert steps(folder) == [2, 4] and trained.failures == ["no room"]


def make_nothing(path):
    pass


OBSTACLES = {
    "a file": lambda path: path.write_text("mine"),
    "a dangling link": lambda path: path.symlink_to("/mnt/gone/for ever"),
    "a circle of links": lambda path: path.symlink_to("checkpoints"),
    "a link to a file": lambda path: (path.with_name("file").write_text("mine"), path.symlink_to("file")),
    "a read-only file system": make_nothing,
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("every", [None, 2])
def test_where_no_folder_can_be_made_the_run_goes_on(tmp_path, monkeypatch, obstacle, every):
    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_loop, "INTERVAL", 0)  # due after each step, although nobody asked
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    OBSTACLES[obstacle](tmp_path / "checkpoints")
    if obstacle == "a read-only file system":
        monkeypatch.setattr(os, "mkdir", read_only)
    before = sorted(os.listdir(tmp_path))
    with pytest.warns(UserWarning, match="^cannot make the folder checkpoints: .*; training goes on") as warned:
        trained = training_loop.store(INITIAL, after(INITIAL, 10), CheckpointPolicy(every=every))
    assert len(warned) == 1 and trained.checkpoint.train_state.step == 10
    assert len(trained.failures) == (1 if every else 0)  # what nobody asked for is none
    with warnings.catch_warnings(), pytest.raises(training_loop.InterruptedRun) as interrupted:
        warnings.simplefilter("ignore")
        training_loop.store(INITIAL, after(INITIAL, 10, interrupt=4), CheckpointPolicy(every=every))
    assert interrupted.value.step == 3 and interrupted.value.source is None
    assert interrupted.value.failure.startswith("cannot make the folder checkpoints: ")
    assert sorted(os.listdir(tmp_path)) == before


def test_ctrl_c_where_the_disk_is_full_names_what_there_is_to_resume_from(tmp_path, monkeypatch, unwritable):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    unwritable.clear()
    folder = tmp_path / "full"
    path = checkpoint.add(folder, INITIAL._replace(train_state=INITIAL.train_state._replace(step=2)))
    initial = checkpoint.load(path)
    unwritable.append("full")
    for policy, source in (
        (CheckpointPolicy(folder, every=100, resumed=path, same_folder=True), folder),
        (CheckpointPolicy(tmp_path / "other" / "full", every=100, resumed=path), path),
    ):
        with pytest.raises(training_loop.InterruptedRun) as interrupted:
            training_loop.store(initial, after(initial, 10, interrupt=5), policy)
        assert interrupted.value.source == source and "No space left" in interrupted.value.failure


def test_ctrl_c_before_the_first_step_of_a_run_resumed_into_another_folder_leaves_a_checkpoint_there(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    initial = INITIAL._replace(train_state=INITIAL.train_state._replace(step=2))
    with pytest.raises(training_loop.InterruptedRun) as interrupted:
        policy = CheckpointPolicy(tmp_path / "B", resumed=tmp_path / "A" / "step-000000002.safetensors")
        training_loop.store(initial, after(initial, 10, interrupt=3), policy)
    assert interrupted.value.source == tmp_path / "B" and steps(tmp_path / "B") == [2]


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    def vanishing():
        for state in after(INITIAL, 10):
            if state.train_state.step == 7:
                shutil.rmtree(tmp_path / "run")
            yield state

    with files.locked(tmp_path / "run"):
        trained = training_loop.store(INITIAL, vanishing(), CheckpointPolicy(tmp_path / "run", every=2))
    assert steps(tmp_path / "run") == [8, 10] and trained.failures == []


def test_a_history_on_a_full_disk_does_not_end_the_run(tmp_path, monkeypatch):
    class History:
        def write(self, current):
            if current.train_state.step > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self):
            pass

    monkeypatch.setattr(training_loop, "history_writer", lambda *_: contextlib.nullcontext(History()))
    policy = CheckpointPolicy(tmp_path / "run", every=2, history=Path("h.jsonl"))
    with pytest.warns(UserWarning, match="cannot write h.jsonl: No space left on device; training goes on") as warned:
        trained = training_loop.store(INITIAL, after(INITIAL, 10), policy)
    assert len(warned) == 1 and trained.failures == ["cannot write h.jsonl: No space left on device"]
    assert steps(tmp_path / "run") == [6, 8, 10]


@pytest.mark.parametrize("interrupts", [(4,), (5, 6), (7, 8, 12), (9, 19), (10,), (11,), (20,)])
def test_runs_resumed_after_ctrl_c_leave_the_checkpoints_of_an_undisturbed_one(tmp_path, monkeypatch, interrupts):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    undisturbed = CheckpointPolicy(tmp_path / "undisturbed", every=3, keep=4)
    training_loop.store(INITIAL, after(INITIAL, 20), undisturbed)
    initial, policy = INITIAL, CheckpointPolicy(tmp_path / "run", every=3, keep=4)
    for interrupt in interrupts:
        with pytest.raises(training_loop.InterruptedRun):
            training_loop.store(initial, after(initial, 20, interrupt), policy)
        path, saved, _ = checkpoint.latest(tmp_path / "run")
        assert saved.train_state.step == interrupt - 1
        initial = saved._replace(description=INITIAL.description)
        replaces = path if saved.description.get("interrupted") else None
        policy = policy._replace(resumed=path, same_folder=True, replaces=replaces)
    training_loop.store(initial, after(initial, 20), policy)
    assert steps(tmp_path / "run") == steps(tmp_path / "undisturbed") == [12, 15, 18, 20]


def test_the_history_is_not_copied_each_epoch_and_a_checkpoint_has_its_own_rows():
    before = TrainState({}, {}, {"learning_rate": 0.1}, (0,), 2, 20)
    initial = Checkpoint(before, {}, None, [{"epoch": 1}, {"epoch": 2}])
    records = (Epoch(n, 0.5, np.ones(1), {}, {}, 0.1, before._replace(epoch=n, step=10 * n)) for n in (3, 4, 5))
    states = list(training_loop.checkpoints_of(runs.new_run(dict.fromkeys(runs.Run._fields)), initial, records))
    assert all(state.history is states[0].history for state in states)
    epochs = [[row["epoch"] for row in training_loop.snapshot(initial, state).history] for state in states]
    assert epochs == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5]] and len(initial.history) == 2
