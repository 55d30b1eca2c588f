"""No output of a command destroys what it reads, another output, or somebody else's file."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from funcnn import checkpoint
from funcnn.checkpoint import Checkpoint
from funcnn.cli import console, main
from funcnn.cli.outputs import check_history, check_outputs, check_picture, check_replaceable
from funcnn.history import read
from funcnn.training import TrainState


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a data set, its aliases, a folder of images, and a run's checkpoint."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.random((60, 8, 8)), y=np.arange(60) % 3)
    os.link("own.npz", "hard.npz")
    os.symlink("own.npz", "soft.npz")
    for name in ("cat", "dog"):
        os.makedirs(f"photos/{name}")
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(f"photos/{name}/1.png")
    checkpoint.add("run", Checkpoint(TrainState({"w": np.ones(2)}, {}, {}, (0,), 1, 8), {"run_id": "first"}))
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("option", ["--output", "--history", "--checkpoints"])
@pytest.mark.parametrize("alias", ["own.npz", "./own.npz", "run/../own.npz", "hard.npz", "soft.npz"])
def test_data_are_never_replaced(folder, capsys, option, alias):
    before = contents(folder)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "own.npz", "--epochs", "1", option, alias])
    assert ended.value.code == 2
    assert f"{option} {alias.removeprefix('./')} would replace --data own.npz" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--output", "new", "--history", "new"), 2, "--output new and --history new are the same file"),
        (("--output", "new", "--history", "photos/../new"), 2, "are the same file"),
        (("--output", "new", "--checkpoints", "new"), 2, "--output new and --checkpoints new are the same file"),
        (("--data", "photos", "--output", "photos/cat/net.safetensors"), 2, "is among the data of --data photos"),
        (("--data", "photos", "--history", "photos/cat/1.png"), 2, "is among the data of --data photos"),
        (("--data", "photos", "--checkpoints", "photos/run"), 2, "is among the data of --data photos"),
        (("--output", "notes.txt"), 1, "notes.txt exists and is not a model of funcnn"),
        (("--output", "hard.npz"), 1, "hard.npz exists and is not a model of funcnn"),
        (("--history", "notes.txt"), 2, "--history notes.txt: the name of a history ends in .jsonl (JSON lines)"),
        (("--history", "notes.csv"), 1, "notes.csv is not a history of a run: row 1 has no record and step"),
        (("--output", "run/step-000000008.safetensors"), 1, "has the name of a checkpoint of a run"),
        (("--output", "run/step-000000009.safetensors"), 1, "has the name of a checkpoint of a run"),
        (("--output", "copy.safetensors"), 1, "copy.safetensors is a checkpoint from which a run can be resumed"),
        (("--resume", "copy.safetensors", "--checkpoints", "copy.safetensors"), 1, "copy.safetensors"),
        (("--checkpoints", "run"), 1, "run has checkpoints of another run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_would_lose_something_is_refused_before_any_work(folder, capsys, options, code, message):
    for name in ("notes.txt", "notes.csv"):
        (folder / name).write_text("years of work")
    (folder / "copy.safetensors").write_bytes((folder / "run" / "step-000000008.safetensors").read_bytes())
    before = contents(folder)
    with pytest.raises(SystemExit) as ended:
        main(["train", *options, "--epochs", "1"])
    error = capsys.readouterr().err
    assert ended.value.code == code and message in error and len(error.splitlines()) == 1
    assert contents(folder) == before


def test_an_output_may_be_a_link_and_may_lie_beside_the_classes(folder):
    (folder / "models").mkdir()
    os.symlink("models/real.safetensors", "link.safetensors")
    check_outputs({"--output": folder / "link.safetensors"}, {}, {"--data": "photos"})
    check_outputs({"--output": folder / "photos" / "net.safetensors"}, {}, {"--data": "photos"})
    (folder / "digits").mkdir()
    check_outputs({"--output": folder / "digits" / "net"}, {}, {"--data": "digits"})  # the built-in data set
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["train", "--data", "own.npz", "--epochs", "1", "--output", "link.safetensors", "--quiet"])
        assert ended.value.code == 0
        assert os.readlink("link.safetensors") == "models/real.safetensors"
        assert "run_id" not in checkpoint.load("models/real.safetensors").description


def test_models_and_what_is_empty_or_damaged_are_replaced(folder):
    checkpoint.save("model.dat", Checkpoint(TrainState({"w": np.ones(2)}, {}, {}, (0,), 1, 8), {}))
    (folder / "empty.dat").touch()
    (folder / "half.safetensors").write_bytes(b"half of it")
    for name in ("model.dat", "empty.dat", "half.safetensors", "new.dat"):
        check_replaceable(folder / name)


def test_a_history_without_an_end_of_line_is_told_from_other_files(folder):
    path = folder / "h.jsonl"
    for unfinished in ("", "{", '{"record": "ep'):
        path.write_text('{"record": "epoch", "step": 1}\n' + unfinished)
        assert [row["step"] for row in read(path)] == [1]
    path.write_text('{"recording": 1')
    with pytest.raises(ValueError, match="is not a history of a run: line 1"):
        read(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "m.onnx", "./m.onnx"),
        ("show", "kernels", "m.png", "--save", "m.png"),
        ("show", "curves", "h.jsonl", "m.png", "--save", "m.png"),
        *(("show", what, "net", "photos", "--save", "photos/cat/1.png") for what in ("features", "attribution")),
        *(("show", what, "net", "photos", "--save", "photos/cat/1.png") for what in ("confusion", "mistakes")),
        ("show", "statistics", "net", "photos", "--save", "photos/new/a.svg"),
        ("show", "features", "net", "photos/cat/1.png", "--save", "photos/dog/../cat/1.png"),
    ],
    ids=" ".join,
)
def test_other_commands_keep_their_inputs(folder, capsys, arguments):
    (folder / "photos" / "new").mkdir()
    for name in ("m.onnx", "m.png", "h.jsonl"):
        (folder / name).write_bytes(b"a model")
    before = contents(folder)
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    error = capsys.readouterr().err
    assert ended.value.code == 2 and ("would replace" in error or "is among the data" in error)
    assert contents(folder) == before


def test_picture_among_pictures_is_kept_and_a_new_one_written(folder):
    Image.new("L", (8, 8)).save("photos/flat.png")
    with pytest.raises(console.UsageError, match="is among the data"):
        check_outputs({"--save": folder / "photos" / "flat.png"}, {}, {"DATA": "photos"})
    check_outputs({"--save": folder / "photos" / "picture.png"}, {}, {"DATA": "photos"})


NO_PICTURES = {
    "an archive": b"PK\x03\x04 years of work",
    "text": b"years of work",
    "a page": b"<!DOCTYPE html><p><svg></svg>",
    "a feed": b'<?xml version="1.0"?><feed></feed>',
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES.keys())
@pytest.mark.parametrize("name", ["link.svg", "pic.png"])
def test_a_picture_replaces_no_other_file(folder, capsys, name, content):
    (folder / "pic.png").write_bytes(content)
    (folder / "link.svg").symlink_to("pic.png")
    for arguments in (("curves", "net"), ("kernels", "net"), ("confusion", "net", "own.npz")):
        with pytest.raises(SystemExit) as ended:
            main(["show", *arguments, "--save", name])
        assert ended.value.code == 1
        assert f"{name} exists and is not a picture: remove it or name another file\n" in capsys.readouterr().err
    assert (folder / "pic.png").read_bytes() == content


def test_pictures_and_what_is_empty_are_replaced_by_pictures(folder):
    for name in ("a.png", "a.gif"):
        Image.new("L", (8, 8)).save(name)
    (folder / "a.svg").write_text('<?xml version="1.0"?>\n<!-- drawn -->\n<!DOCTYPE svg>\n<svg></svg>')
    (folder / "own.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "empty.svg").touch()
    for name in ("a.png", "a.gif", "a.svg", "own.svg", "empty.svg", "new.svg"):
        check_picture(folder / name)


def test_the_history_of_another_run_is_kept_when_a_run_resumes(tmp_path):
    rows = [{"epoch": 1, "step": 5, "loss": 0.5}, {"epoch": 2, "step": 10, "loss": 0.25}]
    path = tmp_path / "h.jsonl"
    saved = Checkpoint(TrainState({}, {}, {}, (0,), 2, 10), {}, history=rows)
    unfinished = '{"record": "epo'
    later = {"epoch": 3, "step": 10, "loss": 0.125}  # written after the checkpoint: the run writes it again
    step = {"step": 7, "loss": 0.4}
    lines = [
        json.dumps({"record": "step" if row is step else "epoch", **row}) for row in (rows[0], step, *rows[1:], later)
    ]
    for text in ("", *("\n".join([*lines[:n], unfinished]) for n in range(5))):
        path.write_text(text)
        check_history(path, saved)
        check_history(path, None)
    path.write_text(lines[0].replace("0.5", "0.75") + "\n")
    check_history(path, None)  # a new run replaces the history of an older one
    with pytest.raises(ValueError, match=r"h\.jsonl is the history of another run: its epoch 1 has another loss"):
        check_history(path, saved)
