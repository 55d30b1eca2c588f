"""The progress display: lines in a pipe, a live line on a terminal, and what a narrow or plain one gets."""

import io
import os
import re
import subprocess
import sys
import threading

import commands
import numpy as np
import pytest
import systems

from funcnn.progress import with_progress
from funcnn.training import Epoch, Step, TrainState


def state(epoch, losses=()):
    return TrainState({}, {}, {}, (0,), epoch, 10 * epoch, losses)


def epoch_record(number, train=None, validation=None, seconds=0.5):
    return Epoch(number, 1 / number, np.ones(10), train or {}, validation or {}, seconds, state(number))


def epochs(n, first=1, **measured):
    return [epoch_record(i, **measured) for i in range(first, n + 1)]


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_records_pass_unchanged_and_each_epoch_has_its_line(capsys):
    records = [Step(1, 0.5, state(0, (0.5,))), *epochs(2)]
    assert all(got is given for got, given in zip(with_progress(iter(records), 2), records, strict=True))
    assert [re.sub(r"\d:\d\d left", "left", line) for line in lines(capsys)] == [
        "epoch 1/2  loss 1.0000  20 steps/s  left",
        "epoch 2/2  loss 0.5000  20 steps/s  left",
    ]


def test_the_line_of_an_epoch_is_printed_before_it_is_yielded(capsys):
    for epoch in with_progress(epochs(3), 3):
        assert capsys.readouterr().err.startswith(f"epoch {epoch.epoch}/3")
        if epoch.epoch == 2:
            break
    assert lines(capsys) == []


@systems.needs_shell("/dev/full")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&-", "| true"])
def test_training_goes_on_where_stderr_cannot_be_written(redirection, tmp_path):
    program = "from test_progress import *; list(with_progress(epochs(3), 3)); open('done', 'x').close()"
    shell = f'exec 3>&2; "$0" -c "{program}" {redirection}'.replace("| true", "2>&1 >&3 | true")
    environment = commands.ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell, sys.executable], capture_output=True, env=environment, cwd=tmp_path
    )
    assert ended.returncode == 0 and ended.stdout + ended.stderr == b""
    assert [file.name for file in tmp_path.iterdir()] == ["done"]  # and it is empty
    assert (tmp_path / "done").stat().st_size == 0


def test_training_goes_on_without_a_stderr_or_with_a_broken_one_of_the_caller(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("full")

    for stream in (None, Full()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert len(list(with_progress(epochs(2), 2))) == 2


def test_training_goes_on_when_the_terminal_hangs_up(monkeypatch):
    control, terminal = systems.terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with open(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        for epoch in with_progress(epochs(3), 3):
            if epoch.epoch == 1:
                assert b"epoch" in os.read(control, 4096)
                os.close(control)
    assert epoch.epoch == 3 and not failed


def test_a_label_that_is_a_control_sequence_is_shown(capsys):
    list(with_progress(epochs(1), 1, label="\x1b[2J\n"))
    assert lines(capsys)[0].startswith(r"\x1b[2J\nepoch 1/1")


def test_accuracies_a_label_and_the_epochs_before(capsys):
    records = epochs(12, first=9, train={"accuracy": 0.5, "loss": 1.0}, validation={"accuracy": 0.98765})
    list(with_progress(records, 12, label="fold 2/3  ", epochs_done=8))
    output = lines(capsys)
    assert output[0].startswith("fold 2/3  epoch  9/12  loss 0.1111  train 50.00%  val 98.77%  20 steps/s  ")
    assert output[-1].endswith("0:00 left") and len(output) == 4


def test_steps_of_the_run_before_do_not_count_for_the_speed(capsys, monkeypatch):
    seconds = iter([0.0, 3.0, 9.0])
    monkeypatch.setattr("funcnn.progress.time.monotonic", lambda: next(seconds))
    list(with_progress(epochs(4, first=3), 4, epochs_done=2, steps_done=5))  # 10 steps an epoch, in 0.5 s
    assert lines(capsys) == [
        "epoch 3/4  loss 0.3333  10 steps/s  0:06 left",
        "epoch 4/4  loss 0.2500  20 steps/s  0:00 left",
    ]


def test_an_epoch_of_which_no_step_was_left_tells_no_speed(capsys):
    list(with_progress(epochs(3, first=3), 4, epochs_done=2, steps_done=10))
    assert lines(capsys) == ["epoch 3/4  loss 0.3333"]


def test_metrics_without_an_accuracy_and_epochs_without_time(capsys):
    list(with_progress(epochs(1, train={"mse": 0.5}, validation={"mse": 0.5}, seconds=0.0), 1))
    assert lines(capsys) == ["epoch 1/1  loss 1.0000  0:00 left"]


def test_a_description_of_ones_own(capsys):
    list(with_progress(epochs(1), 30, describe=lambda epoch: {"loss": f"mse {epoch.loss}", "rate": "rate 0.1"}))
    assert lines(capsys) == ["epoch  1/30  mse 1.0  rate 0.1"]


def test_quiet_shows_nothing(capsys):
    assert len(list(with_progress(epochs(3), 3, quiet=True))) == 3
    assert lines(capsys) == []


def test_without_rich_lines_are_plain(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    list(with_progress(epochs(2), 2))
    assert [line[:9] for line in lines(capsys)] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize(("encoding", "label"), [("ascii", "m?dle ? "), ("cp1252", "mödle ? "), ("utf-8", "mödle █ ")])
def test_what_the_encoding_lacks_is_a_question_mark(monkeypatch, encoding, label):
    stderr = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    monkeypatch.setattr(sys, "stderr", stderr)
    list(with_progress(epochs(1), 1, label="mödle █ "))
    stderr.seek(0)
    assert stderr.read().startswith(label + "epoch 1/1")


def test_the_import_brings_no_rich():
    probe = "import sys, funcnn.progress; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False\n"


PROGRAM = """
import sys, time
import numpy as np
from funcnn.progress import with_progress
from funcnn.training import Epoch, Step, TrainState

def records(n, pause=0.0, steps=4):
    for epoch in range(1, n + 1):
        for step in range(1, steps + 1):
            time.sleep(pause)
            yield Step(epoch, 0.25, TrainState({}, {}, {}, (0,), epoch - 1, 0, np.ones(step)))
        measured = {"accuracy": 0.75}
        yield Epoch(epoch, 0.5, np.ones(steps), measured, measured, 0.5, TrainState({}, {}, {}, (0,), epoch, 0))

"""


def on_a_terminal(program, **options):
    """Run a program with a terminal for its stderr (and stdout); return what the terminal got and the exit code."""
    return commands.bytes_on_a_terminal((sys.executable, "-c", PROGRAM + program), **options)


def texts(output, encoding="utf-8"):
    """The texts between control sequences."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", output.decode(encoding)).splitlines()


THREE_EPOCHS = "list(with_progress(records(3), 3, steps_per_epoch=4, label='fold 1/3  '))"
SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


def test_a_terminal_has_a_live_line_with_a_bar_in_colour():
    output, code = on_a_terminal(THREE_EPOCHS)
    assert code == 0 and "━" in output.decode() and re.search(rb"\x1b\[(3\d|38;5;\d+)m", output)
    assert any(
        re.match(r"fold 1/3  epoch 3/3  loss 0.5000  train 75.00%  val 75.00%  8 steps/s  0:00 left", line)
        for line in texts(output)
    )
    assert output.count(b"\n") <= 2  # one line, drawn again and again
    assert output.rindex(SHOW_CURSOR) > output.rindex(HIDE_CURSOR)


def test_no_color_is_honoured():
    output, _ = on_a_terminal(THREE_EPOCHS, NO_COLOR="1")
    assert b"epoch 3/3" in output and not re.search(rb"\x1b\[(\d+;)*[349]\d(;\d+)*m", output)


@pytest.mark.parametrize(
    ("columns", "last"),
    [
        (74, "fold 1/3  epoch 3/3  loss 0.5000  train 75.00%  val 75.00%  0:00 left"),
        (64, "fold 1/3  epoch 3/3  loss 0.5000  train 75.00%  val 75.00%"),
        (50, "fold 1/3  epoch 3/3  loss 0.5000  val 75.00%"),
        (40, "fold 1/3  epoch 3/3  val 75.00%"),
        (30, "epoch 3/3  val 75.00%"),
        (20, "epoch 3/3"),
        (6, "epoch"),
    ],
)
def test_a_narrow_terminal_leaves_out_the_less_important(columns, last):
    output, code = on_a_terminal(THREE_EPOCHS, columns=columns)
    found = [line.rstrip(" ━╸╺") for line in texts(output)]
    assert code == 0 and last in found and "…" not in output.decode()
    assert max(map(len, texts(output))) <= columns


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_utf_8_has_a_bar_it_can_show(encoding):
    program = "list(with_progress(records(3), 3, label='█ '))"
    output, code = on_a_terminal(program, PYTHONIOENCODING=f"{encoding}:strict")
    assert code == 0 and any(line.startswith("? epoch 3/3") for line in texts(output, encoding))
    assert output.isascii() and b"---" in output


def test_a_long_epoch_shows_its_steps():
    output, _ = on_a_terminal("list(with_progress(records(1, pause=0.6), 1, steps_per_epoch=4))")
    assert any(re.match(r"epoch 1/1  step [234]/4  loss 0.2500", line) for line in texts(output))
    output, _ = on_a_terminal("list(with_progress(records(1, pause=0.6), 1))")
    assert any(re.match(r"epoch 1/1  step [234]  loss 0.2500", line) for line in texts(output))


@pytest.mark.parametrize("where", ["in the training", "in the loop"])
def test_ctrl_c_leaves_cursor_and_line_clean(where):
    program = f"""
from contextlib import closing
try:
    with closing(with_progress(records(3000, pause={0.01 if where == "in the training" else 0}), 3000)) as progress:
        for record in progress:
            {"pass" if where == "in the training" else "time.sleep(0.01)"}
except KeyboardInterrupt as error:
    kept = error  # as an interactive session keeps the last error, and its frames with it
    sys.stderr.write("stopped\\n")
"""
    output, code = on_a_terminal(program, interrupt_at=b"loss")
    assert code == 0
    before, after = output[: output.index(b"stopped")], output[output.index(b"stopped") :]
    assert before.rindex(SHOW_CURSOR) > before.rindex(HIDE_CURSOR) and HIDE_CURSOR not in after
    assert re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", before).endswith(b"\n")


def test_what_the_loop_prints_to_a_file_reaches_the_file(tmp_path):
    program = "for record in with_progress(records(2), 2): print('seen', record.epoch)"
    with open(tmp_path / "out", "w") as stdout:
        output, code = on_a_terminal(program, stdout=stdout)
    assert code == 0 and b"seen" not in output and b"epoch 2/2" in output
    assert (tmp_path / "out").read_text().split("\n")[:2] == ["seen 1", "seen 1"]


def test_a_dumb_terminal_has_plain_lines():
    output, code = on_a_terminal(THREE_EPOCHS, TERM="dumb")
    assert code == 0 and b"\x1b" not in output
    assert [line[:19] for line in output.decode().splitlines()] == [f"fold 1/3  epoch {i}/3" for i in (1, 2, 3)]
