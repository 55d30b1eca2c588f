"""Checkpoints: what is saved is restored exactly, damage is reported, existing files are never lost."""

import errno
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import systems
from arrays import layouts, normal

from funcnn import checkpoint, models, tree
from funcnn.checkpoint import Checkpoint, CheckpointError
from funcnn.stopping import BestEpoch
from funcnn.training import TrainState

DESCRIPTION = {"model": {"name": "mlp", "arguments": {"outputs": 3, "hidden": [4]}}, "data": {"classes": ["a", "ß"]}}


def make(step=12, params=None, **opt_state):
    params = {"0_dense": {"w": normal(3, 2).astype(np.float32), "b": np.zeros(2)}} if params is None else params
    best = BestEpoch(1, 0.25, {"w": np.ones(2)}, {"mean": np.zeros(3)}, 2)
    training = TrainState(params, {"1_relu": {}}, opt_state, (0, 2**70), 3, step, np.array([0.1, 0.2]), None, "adam")
    return Checkpoint(training, DESCRIPTION, best, [{"epoch": 1, "loss": 0.1}])


def exactly(a, b):
    """Whether two trees have the same keys in the same order, and leaves of the same type, shape, dtype and bits."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(exactly(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


def round_trip(path, **opt_state):
    checkpoint.save(path, make(**opt_state))
    return checkpoint.load(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def test_everything_is_restored(path):
    saved = make(step=7, x=np.arange(3))
    checkpoint.save(path, saved)
    loaded = checkpoint.load(path)
    assert exactly(loaded.train_state._asdict(), saved.train_state._asdict())
    assert exactly(loaded.best._asdict(), saved.best._asdict())
    assert loaded.description == DESCRIPTION and loaded.history == saved.history
    assert all(leaf.flags.writeable for leaf in tree.leaves(loaded.train_state.params))
    checkpoint.save(path, loaded._replace(best=None, history=[]))
    assert checkpoint.load(path)[2:] == (None, [])


LEAVES = {
    "scalars": {"a": np.asarray(3), "b": np.asarray(0.1, np.float32), "c": np.float64(0.1), "d": np.int32(-7)},
    "empty": {"a": np.zeros((0, 4)), "b": np.zeros((3, 0, 2), np.float32), "c": {}, "d": {"e": {}}},
    "Python's": {"a": 3, "b": 0.1, "c": True, "d": None, "e": "text", "f": 10**30, "g": float("inf"), "h": -0.0},
    "not finite": {"a": np.array([np.nan, np.inf, -np.inf, -0.0]), "b": float("nan"), "c": np.float32("nan")},
    "other byte order": {"a": np.arange(5.0).astype(">f8"), "b": np.arange(5).astype(">i2")},
    "order of keys": {"z": np.ones(1), "a": np.ones(2), "m": {"y": 1, "b": 2}},
    "odd names": {'ä b.c\\"': np.ones(1), "__metadata__": {"x": np.ones(1)}},
    **{
        name: {"a": np.array([[0, 1, 2], [3, 4, 5]]).astype(name)}
        for name in ("f2", "f4", "f8", "c8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    },
}


@pytest.mark.parametrize("leaves", LEAVES.values(), ids=LEAVES)
def test_leaves_come_back_exactly(path, leaves):
    native = tree.map(
        lambda leaf: leaf.astype(leaf.dtype.newbyteorder("=")) if hasattr(leaf, "astype") else leaf, leaves
    )
    assert exactly(round_trip(path, **leaves).train_state.opt_state, native)


def test_any_memory_layout_is_restored(path):
    x = normal(3, 4, 5)
    odd = layouts(x) | {
        "broadcast": np.broadcast_to(normal(5), (3, 4, 5)),
        "broadcast scalar": np.broadcast_to(np.float32(2), (2, 2)),
        "reversed": x[::-1],
        "every axis reversed": x[::-1, ::-1, ::-1],
        "every second": x[:, ::2],
        "column": x[:, 1:2, 0],
        "diagonal": x[0].diagonal(),
        "axes swapped": x.transpose(1, 2, 0),
        "overlapping": np.lib.stride_tricks.sliding_window_view(x, 2, axis=1),
    }
    loaded = round_trip(path, **odd).train_state.opt_state
    assert exactly(loaded, odd)
    others = safetensors.numpy.load_file(path)  # as other programs read it
    for name, leaf in odd.items():
        assert np.array_equal(others[f"opt_state/{name}"], leaf)


def test_keys_are_paths(path):
    checkpoint.save(path, make())
    arrays = safetensors.numpy.load_file(path)
    trees = ["best/params/w", "best/state/mean", "losses", "params/0_dense/b", "params/0_dense/w"]
    assert sorted(arrays) == sorted([*trees, "history"])


@pytest.mark.parametrize(
    ("opt_state", "error", "message"),
    [
        ({"a/b": np.ones(1)}, ValueError, "keys must be strings without '/', not 'a/b' at opt_state"),
        ({"a": {1: np.ones(1)}}, ValueError, "not 1 at opt_state/a"),
        ({"a": np.array(["text"])}, TypeError, "opt_state/a, which is of dtype <U4"),
        ({"a": np.ones(1, np.complex128)}, TypeError, "opt_state/a, which is of dtype complex128"),
        ({"a": [1, 2]}, TypeError, "opt_state/a, which is a list"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_older_file_stays(path, opt_state, error, message):
    path.write_bytes(b"an older file")
    with pytest.raises(error, match=message):
        checkpoint.save(path, make()._replace(train_state=make().train_state._replace(opt_state=opt_state)))
    assert path.read_bytes() == b"an older file" and os.listdir(path.parent) == [path.name]


def test_a_history_of_any_length_and_content_comes_back_exactly(path):
    rows = [
        {"epoch": 1, "loss": 0.1, "validation_loss": None},
        {"epoch": 2, "loss": float("nan"), "text": "NaN", "more": [float("inf"), {"a": -float("inf")}]},
        {"epoch": 2**60 + 1, "loss": 5e-324, "ß": True},
        {},
    ]
    rows += [{"epoch": n, "text": "a" * 200} for n in range(100_000)]  # more than the header may have
    checkpoint.save(path, make()._replace(history=rows, description={"rate": float("nan")}))
    loaded = checkpoint.load(path)
    assert repr(loaded.history) == repr(rows) and repr(loaded.description) == "{'rate': nan}"
    with safetensors.safe_open(path, "np") as file:
        texts = [file.metadata()["funcnn"], file.get_tensor("history").tobytes()]
    for text in texts:  # strict JSON
        json.loads(text, parse_constant=pytest.fail)


def test_files_of_version_1_are_read(path):
    """Which had the history in the metadata, and NaN as it is."""
    arrays = {"params/w": np.ones(1), "losses": np.zeros(0)}
    path.write_bytes(signed({**WELL, "version": 1, "history": [{"loss": float("nan")}]}, arrays))
    assert repr(checkpoint.load(path).history) == "[{'loss': nan}]"


def test_any_flipped_bit_is_noticed(path):
    checkpoint.save(path, make())
    content = path.read_bytes()
    rng = random.Random(0)
    bits = [*range(8 * 16), *rng.sample(range(8 * len(content)), 500)]
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"net\.safetensors"):
            checkpoint.load(path)
    path.write_bytes(content)
    assert checkpoint.load(path).train_state.step == 12


def test_any_truncation_is_noticed(path):
    checkpoint.save(path, make())
    content = path.read_bytes()
    for end in [*range(20), *range(20, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match=r"net\.safetensors"):
            checkpoint.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        checkpoint.load(path)


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


HOSTILE = {
    "nothing": b"",
    "text": b"hello, this is no checkpoint at all, but long enough to have a header",
    "a header of 2^63 bytes": b"\xff" * 7 + b"\x7f" + b"{}",
    "a header of 80 MB": (80_000_000).to_bytes(8, "little") + b"{}",
    "an array of 2^60 numbers": with_header(
        {"a": {"dtype": "F64", "shape": [2**60], "data_offsets": [0, 8]}}, b"8" * 8
    ),
    "sizes that overflow": with_header({"a": {"dtype": "F64", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}),
    "offsets beyond the end": with_header({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}),
    "no arrays": with_header({}),
    "another program's": safetensors.numpy.save({"w": np.ones(3)}, {"format": "pt"}),
    "metadata of another kind": with_header({"__metadata__": {"funcnn": "1"}}),
    "metadata that are no text": with_header({"__metadata__": {"funcnn": {"checksum": 1}}}),
    "brackets, deeply nested": with_header(b"[" * 1_000_000),
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_foreign_files_are_the_typed_error(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        checkpoint.load(path)


def signed(metadata, arrays=None):
    """A file with the given content and the right checksum."""
    content = safetensors.numpy.save(
        arrays or {}, {"funcnn": json.dumps({"version": 1, "checksum": "0" * 64, **metadata})}
    )
    digest = checkpoint.hashlib.sha256(content).hexdigest().encode()
    return content.replace(b"0" * 64, digest, 1)


WELL = {
    "trees": {"params": {"w": "array"}, "state": {}, "opt_state": {}, "losses": "array"},
    "key": [0], "epoch": 1, "step": 2, "best": None, "description": {}, "history": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"trees": {}}, {"trees": []}, {"trees": {**WELL["trees"], "params": {"v": "array"}}}, {"key": None},
        {"trees": {**WELL["trees"], "params": 3}}, {"best": {"epoch": 1}}, {"best": 3}, {"version": 99},
        {"version": "1"}, {"epoch": "1"}, {"key": ["a"]}, {"history": 3}, {"description": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_right_checksum_of_wrong_content_is_the_typed_error(path, change):
    arrays = {"params/w": np.ones(1), "losses": np.zeros(0)}
    path.write_bytes(signed(WELL, arrays))
    assert checkpoint.load(path).train_state.step == 2
    path.write_bytes(signed({**WELL, **change}, arrays))
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        checkpoint.load(path)


def test_random_bytes_are_the_typed_error(path):
    checkpoint.save(path, make())
    good, rng = path.read_bytes(), random.Random(1)
    header = int.from_bytes(good[:8], "little")
    for _ in range(300):
        kind = rng.randrange(3)
        if kind == 0:
            content = rng.randbytes(rng.randrange(300))
        elif kind == 1:  # rubbish behind a length that fits
            content = (n := rng.randrange(200)).to_bytes(8, "little") + rng.randbytes(n)
        else:  # some of the header's characters changed
            changed = bytearray(good)
            for _ in range(rng.randrange(1, 10)):
                changed[8 + rng.randrange(header)] = rng.choice(b'0123456789[]{}",:ab')
            content = bytes(changed)
        path.write_bytes(content)
        if content != good:
            with pytest.raises(CheckpointError, match=r"net\.safetensors"):
                checkpoint.load(path)


@systems.needs_module("resource")
def test_reading_takes_no_more_memory_than_a_few_times_the_file(tmp_path):
    for number, content in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.safetensors").write_bytes(content)
    sparse = tmp_path / "large.safetensors"  # 8 GB of zeros, of which none is on the disk
    with open(sparse, "wb") as file:
        file.write(with_header({"a": {"dtype": "U8", "shape": [8 << 30], "data_offsets": [0, 8 << 30]}}))
        file.truncate(file.tell() + (8 << 30))
    probe = """
import resource, sys
from funcnn import checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        checkpoint.load(path)
    except checkpoint.CheckpointError:
        pass
    else:
        sys.exit(f"{path} was read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    files = sorted(map(str, tmp_path.iterdir()))
    run = subprocess.run([sys.executable, "-c", probe, *files], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 50_000  # kB


@systems.needs("mkfifo")
def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*missing: No such file or directory"):
        checkpoint.load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="it is a directory"):
        checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match="it is not a file"):
        checkpoint.load("/dev/zero")
    os.mkfifo(tmp_path / "pipe")  # opening it waits for ever
    for read in (checkpoint.load, checkpoint.run_id):
        with pytest.raises(CheckpointError, match="pipe: it is not a file"):
            read(tmp_path / "pipe")


def steps(folder):
    return sorted(int(name[5:-12]) for name in os.listdir(folder))


def test_the_newest_stay(tmp_path):
    folder = tmp_path / "new" / "run"
    for step in (1, 2, 10, 9, 1_000_000_000, 11):
        assert checkpoint.add(folder, make(step), keep=3).exists()
    assert steps(folder) == [10, 11, 1_000_000_000]
    assert checkpoint.latest(folder).checkpoint.train_state.step == 1_000_000_000
    with pytest.raises(ValueError, match="add: keep must be at least 1, got 0"):
        checkpoint.add(folder, make(12), keep=0)
    with pytest.raises(TypeError, match=r"keep must be an int, not 1\.5"):
        checkpoint.add(folder, make(12), keep=1.5)
    assert steps(folder) == [10, 11, 1_000_000_000]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"description": None}, "a checkpoint's description is a dict, not None"),
        ({"description": [1]}, r"a checkpoint's description is a dict, not \[1\]"),
        ({"history": {}}, "a checkpoint's history is a list, not {}"),
        ({"description": {"a": np.ones(2)}}, "description holds what JSON can: Object of type ndarray"),
        ({"history": [1]}, r"a checkpoint's history has a dict for each epoch, not \[1\]"),
        ({"history": [{"loss": np.float32(1)}]}, "history holds what JSON can: Object of type float32"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, changes, message):
    with pytest.raises(TypeError, match=message):
        checkpoint.save(tmp_path / "net.safetensors", make()._replace(**changes))
    assert os.listdir(tmp_path) == []


def test_numbers_of_the_best_epoch_may_be_numpys(tmp_path):
    best = BestEpoch(np.int64(3), np.float32(0.5), {}, {}, np.int64(1))
    checkpoint.save(tmp_path / "net.safetensors", make()._replace(best=best))
    assert checkpoint.load(tmp_path / "net.safetensors").best == (3, 0.5, {}, {}, 1)


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    for name in (".step-000000003.safetensors.1f2e3d4c.part", ".net.safetensors.1f2e3d4c.part", "notes.txt", "step-x"):
        (tmp_path / name).write_bytes(b"half of it")
    checkpoint.add(tmp_path, make(5), keep=1)
    names = [".net.safetensors.1f2e3d4c.part", "notes.txt", "step-000000005.safetensors", "step-x"]
    assert sorted(os.listdir(tmp_path)) == names
    assert checkpoint.latest(tmp_path).unreadable == []


def of(run, step):
    return make(step)._replace(description={**DESCRIPTION, "run_id": run} if run else DESCRIPTION)


def test_only_checkpoints_of_the_same_run_are_removed(tmp_path):
    runs = ("first", "second", None)
    for step, run in enumerate([*runs, *runs], start=1):
        checkpoint.add(tmp_path, of(run, step), keep=9)
    (tmp_path / "step-000000007.safetensors").write_bytes(b"somebody's")
    (tmp_path / "step-000000008.safetensors").mkdir()
    os.symlink("/mnt/gone", tmp_path / "step-000000009.safetensors")
    for step, run in enumerate(runs, start=11):
        checkpoint.add(tmp_path, of(run, step), keep=1)
        assert [path.name for path in checkpoint.of_run(tmp_path, run)] == [f"step-{step:09d}.safetensors"]
    assert steps(tmp_path) == [7, 8, 9, 11, 12, 13]
    assert checkpoint.latest(tmp_path).checkpoint.description == DESCRIPTION


def test_a_checkpoint_of_another_run_is_not_replaced(tmp_path):
    path = checkpoint.add(tmp_path, of("first", 5))
    content = path.read_bytes()
    for run in ("second", None):
        with pytest.raises(FileExistsError, match=r"cannot write .*5\.safetensors: it is a checkpoint of another run"):
            checkpoint.add(tmp_path, of(run, 5))
    assert path.read_bytes() == content and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("content", [b"", b"notes", (10**9).to_bytes(8, "little"), b"\xff" * 64])
def test_what_does_not_tell_whose_it_is_makes_room_and_stays(tmp_path, content):
    path = tmp_path / "step-000000005.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        checkpoint.run_id(path)
    assert checkpoint.of_run(tmp_path, None) == []
    checkpoint.add(tmp_path, of("first", 5))
    (aside,) = tmp_path.glob("step-000000005.safetensors.*.damaged")
    assert aside.read_bytes() == content and checkpoint.load(path).train_state.step == 5


def test_a_truncated_checkpoint_still_tells_whose_it_is(tmp_path):
    path = checkpoint.add(tmp_path, of("first", 5))
    path.write_bytes(path.read_bytes()[:-1])
    assert checkpoint.run_id(path) == "first"
    checkpoint.add(tmp_path, of("first", 6), keep=1)
    assert steps(tmp_path) == [6]


def test_the_one_that_is_replaced_goes_when_the_next_is_written_and_does_not_count(tmp_path):
    for step in (1, 2, 3):
        extra = checkpoint.add(tmp_path, of("first", step))
    checkpoint.add(tmp_path, of("first", 4), keep=3, replaces=extra)
    assert steps(tmp_path) == [1, 2, 4]
    checkpoint.add(tmp_path, of("first", 4), keep=3, replaces=tmp_path / "step-000000004.safetensors")
    assert steps(tmp_path) == [1, 2, 4]


def test_a_file_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch):
    checkpoint.add(tmp_path, make(1), keep=1)

    def busy(*args, **kwargs):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(checkpoint.os, "unlink", busy)
    with pytest.warns(UserWarning, match=r"cannot remove .*step-000000001\.safetensors: Device or resource busy"):
        checkpoint.add(tmp_path, make(2), keep=1)
    assert steps(tmp_path) == [1, 2]


def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(tmp_path):
    for step in (1, 2, 3):
        path = checkpoint.add(tmp_path, make(step))
    path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "step-000000002.safetensors").write_bytes(b"")
    found = checkpoint.latest(tmp_path)
    assert found.path.name == "step-000000001.safetensors" and found.checkpoint.train_state.step == 1
    assert ["step-000000003" in str(found.unreadable[0]), "step-000000002" in str(found.unreadable[1])] == [True] * 2
    found.path.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint that can be read; .*step-000000003.*step-000000002"):
        checkpoint.latest(tmp_path)
    with pytest.raises(CheckpointError, match="missing: No such file"):
        checkpoint.latest(tmp_path / "missing")


def fails_at(monkeypatch, name):
    """Let a function of the operating system fail as on a full disk."""

    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, name, fails)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_the_older_files(tmp_path, monkeypatch, name):
    older = checkpoint.add(tmp_path, make(1), keep=1)
    content = older.read_bytes()
    fails_at(monkeypatch, name)
    with pytest.raises(OSError, match=r"cannot write .*step-000000002\.safetensors: No space left on device"):
        checkpoint.add(tmp_path, make(2), keep=1)
    with pytest.raises(OSError, match=r"cannot write .*step-000000001\.safetensors: No space left on device"):
        checkpoint.save(older, make(3))
    assert os.listdir(tmp_path) == [older.name] and older.read_bytes() == content


@systems.needs_module("resource")
def test_a_file_larger_than_may_be_written_leaves_the_older_one(tmp_path):
    # the limit makes a real write fail in the middle, in its own process
    probe = f"""
import resource, signal, sys
import numpy as np
from funcnn import checkpoint
from funcnn.training import TrainState
def make(n):
    return checkpoint.Checkpoint(TrainState({{"w": np.ones(n)}}, {{}}, {{}}, (0,), 1, n), {{}})
checkpoint.add({str(tmp_path)!r}, make(1), keep=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
checkpoint.add({str(tmp_path)!r}, make(100000), keep=1)
"""
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "OSError: cannot write" in run.stderr and "File too large" in run.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == ["step-000000001.safetensors"]
    assert checkpoint.latest(tmp_path).checkpoint.train_state.step == 1


@systems.needs("mkfifo")
def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*: it is a directory"):
        checkpoint.save(tmp_path, make())
    with pytest.raises(OSError, match=r"cannot write .*net: No such file or directory"):
        checkpoint.save(tmp_path / "missing" / "net", make())
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot write .*pipe: it is not a file"):
        checkpoint.save(tmp_path / "pipe", make())
    (tmp_path / "pipe").unlink()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot make the folder .*file: "):
        checkpoint.add(tmp_path / "file", make())
    with pytest.raises(OSError, match=r"cannot make the folder /proc/run: "):  # where even root may not
        checkpoint.add("/proc/run", make())
    assert os.listdir(tmp_path) == ["file"]


def test_file_permissions_follow_the_umask(path):
    before = os.umask(0o027)
    try:
        checkpoint.save(path, make())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", sorted({*models.__all__} - {"fine_tuned", "network"}))
def test_every_model_is_rebuilt_from_json(name):
    arguments = {
        "vgg": {"outputs": 4, "blocks": [[4], [8]]},
        "mobilenet": {"outputs": 4, "stem": [4, 1], "blocks": [[8, 2]]},
        "network": {"nodes": [{"layer": "conv2d", "arguments": {"features": 2, "kernel_size": [3, 1]}}]},
        "described": {"layer": {"layer": "conv2d", "arguments": {"features": 2, "kernel_size": [3, 1]}}},
        "ensemble": {"member": {"name": "mlp", "arguments": {"outputs": 4}}, "members": 2},
        "inception_time": {"outputs": 4, "depth": 3, "channels": 4, "kernel_sizes": [8, 4], "masked": True},
    }.get(name, {"outputs": 4})
    built = getattr(models, name)(**arguments)
    rebuilt = checkpoint.rebuild(json.loads(json.dumps({"model": {"name": name, "arguments": arguments}})))
    in_shape = (16, 2) if name in ("fcn", "inception_time", "resnet1d") else (16, 16, 1)
    params, state, out_shape = built.init((0,), in_shape)
    again = rebuilt.init((0,), in_shape)
    assert out_shape == again[2] and exactly(params, again[0]) and exactly(state, again[1])


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "must have an entry 'model' with 'name'"),
        ({"model": {"name": "mlp"}}, "must have an entry 'model' with 'name'"),
        ({"model": {"name": "Sequence", "arguments": {}}}, "funcnn.models has no 'Sequence', only convnet,"),
        ({"model": {"name": "mlp", "arguments": {"width": 3}}}, r"models.mlp does not take \{'width': 3\}"),
    ],
)
def test_descriptions_of_no_model(description, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.rebuild(description)
