"""The loop of a run: what is on disk wherever Ctrl-C comes."""

import contextlib
import signal

import numpy as np
import pytest

from funcnn import checkpoint
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


def test_the_history_is_not_copied_each_epoch_and_a_checkpoint_has_its_own_rows():
    before = TrainState({}, {}, {"learning_rate": 0.1}, (0,), 2, 20)
    initial = Checkpoint(before, {}, None, [{"epoch": 1}, {"epoch": 2}])
    records = (Epoch(n, 0.5, np.ones(1), {}, {}, 0.1, before._replace(epoch=n, step=10 * n)) for n in (3, 4, 5))
    states = list(training_loop.checkpoints_of(runs.new_run(dict.fromkeys(runs.Run._fields)), initial, records))
    assert all(state.history is states[0].history for state in states)
    epochs = [[row["epoch"] for row in training_loop.snapshot(initial, state).history] for state in states]
    assert epochs == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5]] and len(initial.history) == 2
