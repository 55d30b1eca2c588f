"""The file of --history: whole after each epoch and each flush, whatever its format, also when a run resumes."""

import numpy as np
import pytest

from funcnn import history
from funcnn.checkpoint import Checkpoint
from funcnn.cli.history import history_writer
from funcnn.training import TrainState

EPOCHS = [
    {"epoch": epoch, "step": 2 * epoch, "loss": 1 / epoch, "validation_loss": 2 / epoch, "seconds": 1.0}
    for epoch in (1, 2, 3)
]


def state(step):
    """The checkpoint after a step of a run of two steps an epoch."""
    losses = [1 / step] if step % 2 else []
    opt_state = {"learning_rate": np.float64(0.1), "step": np.int64(step)}
    train_state = TrainState({}, {}, opt_state, (0,), step // 2, step, losses)
    return Checkpoint(train_state, {}, history=EPOCHS[: step // 2])


@pytest.mark.parametrize("suffix", history.FORMATS)
@pytest.mark.parametrize("with_steps", [False, True])
def test_the_file_has_the_records_so_far_and_a_resumed_run_continues_it(tmp_path, suffix, with_steps):
    path = tmp_path / f"run{suffix}"

    def run(first, last):
        with history_writer(path, with_steps, state(first)) as writer:
            for step in range(first + 1, last + 1):
                writer.write(state(step))
                writer.flush()
                wanted = [("epoch", number) for number in range(2, step + 1, 2)]
                wanted += [("step", number) for number in range(1, step + 1, 2)] if with_steps else []
                rows = history.read(path)
                assert [(row["record"], row["step"]) for row in rows] == sorted(wanted, key=lambda pair: pair[1])

    run(0, 5)
    run(3, 6)  # killed after step 5, resumed from step 3
    assert [row for row in history.read(path) if row["record"] == "epoch"] == [
        {"record": "epoch", **row} for row in EPOCHS
    ]
