"""Pictures of trained models: from the arrays, in the terminal, in files."""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import commands
import numpy as np
import pytest
import screens
from rich.cells import cell_len
from saved_models import CLASSES, EPOCHS, save

from funcnn import attribution, files, metrics, predictor, show, tree
from funcnn.cli import app, console, runs
from funcnn.pictures import tiles


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and data of every kind: grey 8x8, coloured 20x20, and tabular with two classes."""
    folder, rng = tmp_path_factory.mktemp("show"), np.random.default_rng(0)
    small = {"channels": [4, 40], "hidden": [8]}
    save(folder / "grey.safetensors", "convnet", {"outputs": 3, **small}, (8, 8, 1), CLASSES)
    save(
        folder / "colour.safetensors",
        "resnet",
        {"outputs": 3, "blocks": [1], "channels": [4]},
        (20, 20, 3),
        CLASSES,
    )
    save(folder / "mlp.safetensors", "mlp", {"outputs": 1}, (5,), CLASSES[:2])
    save(folder / "dense.safetensors", "mlp", {"outputs": 3, "hidden": [7]}, (8, 8, 1), CLASSES)

    def dying(path, leaf):
        return leaf - 1e3 if path == "0_conv2d/b" else leaf

    save(folder / "dead.safetensors", "convnet", {"outputs": 3, **small}, (8, 8, 1), CLASSES, dying)
    for name, shape, classes in (("grey", (8, 8, 1), 3), ("colour", (20, 20, 3), 3), ("mlp", (5,), 2)):
        x, y = rng.uniform(0, 1, (30, *shape)).astype(np.float32), np.arange(30) % classes
        np.savez(folder / f"{name}.npz", x=x, y=y, classes=np.array(CLASSES[:classes]))
    (folder / "run.jsonl").write_text(
        "".join(json.dumps({"record": "epoch", **row}) + "\n" for row in EPOCHS) + '{"rec'
    )
    return folder


def opened(folder, name, data=None):
    trained = predictor.load(folder / f"{name}.safetensors")
    return trained, runs.open_matching(str(folder / f"{data or name}.npz"), trained)


COMMANDS = {
    "kernels": ["kernels", "grey.safetensors", "--layer", "3_conv2d"],
    "coloured kernels": ["kernels", "colour.safetensors"],
    "weights of a dense layer": ["kernels", "dense.safetensors"],
    "features": ["features", "grey.safetensors", "grey.npz"],
    "features of a table": ["features", "mlp.safetensors", "mlp.npz"],
    "attribution": ["attribution", "grey.safetensors", "grey.npz", "--example", "7"],
    "attribution in colour": ["attribution", "colour.safetensors", "colour.npz", "--class", "a rather long name"],
    "confusion": ["confusion", "grey.safetensors", "grey.npz"],
    "mistakes": ["mistakes", "grey.safetensors", "grey.npz"],
    "curves": ["curves", "run.jsonl"],
    "curves of several": ["curves", "run.jsonl", "grey.safetensors", "--log"],
    "statistics": ["statistics", "grey.safetensors", "grey.npz"],
    "statistics of blocks": ["statistics", "colour.safetensors", "colour.npz"],
}


def command(monkeypatch, capsys, *options, columns=80, **environment):
    """Run the script in this process; return exit code and what was printed."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(columns), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["funcnn", "show", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        console.run(app.app)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize("options", COMMANDS.values(), ids=COMMANDS)
def test_every_picture_at_any_width(options, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for columns in (40, 80, 120):
        code, plain, errors = command(monkeypatch, capsys, *options, columns=columns)
        assert code == 0 and not errors and "\x1b" not in plain and len(plain) > 100
        terminal_of = {"columns": columns, "FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}
        _, coloured, _ = command(monkeypatch, capsys, *options, **terminal_of)
        assert re.search(r"\x1b\[[\d;]*[34]8;2;\d+;\d+;\d+", coloured) or "statistics" in options
        for text in (plain, re.sub(r"\x1b\[[\d;]*m", "", coloured)):
            assert max(map(cell_len, text.splitlines())) <= columns
    _, uncoloured, _ = command(monkeypatch, capsys, *options, NO_COLOR="1", FORCE_COLOR="1", TERM="xterm")
    assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", uncoloured) and "▀" not in uncoloured


@pytest.mark.parametrize("options", COMMANDS.values(), ids=COMMANDS)
def test_every_picture_on_any_output(options, folder, monkeypatch):
    monkeypatch.chdir(folder)
    figures = re.compile(r"(?<![\w.])-?\d[\d.,]*(?:e[+-]\d+)?%?")
    expected = figures.findall(screens.command(monkeypatch, "show", *options, width=300)[1])
    # each encoding in each mode, and each of both at each width
    for i, encoding in enumerate(("utf-8", "cp1252", "ascii")):
        for j, mode in enumerate(("terminal", "pipe", "NO_COLOR")):
            width = (50, 100)[(i + j) % 2]
            code, out, errors = screens.command(
                monkeypatch, "show", *options, width=width, encoding=encoding, mode=mode
            )
            assert code == 0 and not errors and len(out) > 100
            assert max(map(cell_len, out.splitlines())) <= width
            if options[0] == "statistics":  # a table of figures has all of them anywhere
                assert sorted(figures.findall(out)) == sorted(expected)
            if encoding != "utf-8" or mode != "terminal":
                assert "▀" not in out


def test_colours_without_block_characters_are_backgrounds():
    tile = tiles.heat(np.linspace(0, 1, 16).reshape(4, 4), 1.0)
    rows = screens.printed([tiles.Gallery([tile])], 40, file=screens.encoded("ascii"))[:4]
    colours = np.array([[tuple(background.triplet) for _, _, background in row] for row in rows])
    np.testing.assert_array_equal(colours[:, ::2], tile.pixels)
    np.testing.assert_array_equal(colours[:, 1::2], tile.pixels)
    assert {c for row in rows for c, _, _ in row} == {" "}
    rows = screens.printed([tiles.Gallery([tile])], 40, file=screens.encoded("ascii"), color_system=None)[:4]
    densities = [[tiles.ASCII_SHADES.index(c) / 4 for c, _, _ in row[::2]] for row in rows]
    np.testing.assert_allclose(densities, tile.shades, atol=0.13)


@pytest.mark.parametrize("mode", ["terminal", "pipe"])
def test_features_of_large_images_fit_a_page(mode, tmp_path, monkeypatch):
    rng, arguments = np.random.default_rng(0), {"outputs": 3, "channels": [32, 64, 128]}
    save(tmp_path / "large.safetensors", "convnet", arguments, (64, 64, 3), CLASSES)
    x, y = rng.uniform(0, 1, (6, 64, 64, 3)).astype(np.float32), np.arange(6) % 3
    np.savez(tmp_path / "large.npz", x=x, y=y, classes=np.array(CLASSES))
    options = ["show", "features", tmp_path / "large.safetensors", tmp_path / "large.npz"]
    _, out, _ = screens.command(monkeypatch, *options, width=100, mode=mode)
    lines = out.splitlines()
    assert 40 <= len(lines) <= 60 and max(map(cell_len, lines)) <= 100
    shown = re.findall(r"^(\d+_\w+)  \d", out, re.MULTILINE)
    assert shown[0] == "0_conv2d" and "14_dense" in shown
    assert re.search(r"^0_conv2d  64x64x32, the first [4-8] of 32 maps ", out, re.MULTILINE)
    more = re.search(r"^(\d+) more layers, with --layer: ([\w, \n]+)$", out, re.MULTILINE)
    left_out = more[2].split("largest")[0].replace(",", " ").split()
    assert int(more[1]) == len(left_out) and not set(left_out) & set(shown) and "1_max_pool" in left_out
    _, out, _ = screens.command(monkeypatch, *options, "--layer", "1_max_pool", width=100, mode=mode)
    count = re.search(r"^1_max_pool  32x32x32, the first (\d+) of 32 maps ", out, re.MULTILINE)[1]
    assert int(count) >= (10 if mode == "terminal" else 6)
    assert "more layers" not in out and len(out.splitlines()) <= 60


def test_a_model_is_judged_by_what_it_has_not_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", 1, "--output", "digits.safetensors", "--quiet"]
    assert screens.command(monkeypatch, "train", "--model", "seed", *options)[0] == 0
    files = ["digits.safetensors", "digits"]
    _, test, _ = screens.command(monkeypatch, "evaluate", *files, "--part", "test", "--json")
    record = json.loads(test)
    _, shown, _ = screens.command(monkeypatch, "show", "confusion", *files)
    assert shown.startswith(
        f"test part of digits: accuracy {record['accuracy']:.2%} ({record['right']} of {record['examples']})"
    )
    wrong = record["examples"] - record["right"]
    _, shown, _ = screens.command(monkeypatch, "show", "mistakes", *files)
    assert shown.startswith(f"test part of digits: {wrong} mistakes in {record['examples']} examples; the")
    trained = predictor.load(Path(files[0]))
    dataset = runs.open_matching("digits", trained)
    for number in re.findall(r"#(\d+)", shown):  # numbers are those of the whole data, as --example takes them
        p = trained.predict_proba(dataset.x[[int(number)]], full_scale=1)[0]
        assert p.argmax() != dataset.labels[int(number)] and f"predicted {p.argmax()} ({p.max():.0%})" in shown
    sizes = {"test": record["examples"]}
    for part in ("all", "train", "validation"):
        _, shown, _ = screens.command(monkeypatch, "show", "confusion", *files, "--part", part)
        title = "all of digits" if part == "all" else f"{part} part of digits"
        sizes[part] = int(re.match(rf"{title}: accuracy [\d.]+% \(\d+ of (\d+)\)", shown)[1])
    assert sizes["all"] == 1797 == sizes["train"] + sizes["validation"] + sizes["test"]
    assert sizes["train"] > 1200 and sizes["validation"] > 150 and 350 < sizes["test"] < 370


def test_kernels_are_the_weights(folder):
    trained, _ = opened(folder, "grey")
    w = trained.params["0_conv2d"]["w"]
    gallery = next(r for r in show.kernels(trained).content if isinstance(r, tiles.Gallery))
    for k, tile in enumerate(gallery.tiles):
        np.testing.assert_allclose(tile.shades * np.abs(w).max(), w[:, :, 0, k], rtol=1e-5, atol=1e-7)

    w = trained.params["3_conv2d"]["w"]
    gallery = next(r for r in show.kernels(trained, "3_conv2d", limit=5).content if isinstance(r, tiles.Gallery))
    norms = {f"{i}>{o}": np.linalg.norm(w[:, :, i, o]) for i in range(4) for o in range(40)}
    assert {tile.caption for tile in gallery.tiles} == set(sorted(norms, key=norms.get)[-5:])


def test_attributions_are_those_of_the_methods(folder):
    trained, dataset = opened(folder, "grey")
    network, x = (trained.model, trained.params, trained.state), dataset.x[[3, 4]]
    *_, gallery = show.attribution(trained, dataset, [3, 4], target="dog", layer="0_conv2d").content
    assert len(gallery.tiles) == 2 * 4
    product = attribution.gradient_times_input(*network, x, 1)[1, :, :, 0]
    top = np.quantile(np.abs(product), 0.99)
    np.testing.assert_allclose(gallery.tiles[6].shades, np.clip(product / top, -1, 1), rtol=1e-5, atol=1e-6)
    cam = attribution.grad_cam(*network, x, "0_conv2d", 1)[0]
    np.testing.assert_allclose(gallery.tiles[3].shades, cam / cam.max(), rtol=1e-5, atol=1e-6)
    probability = trained.predict_proba(x, full_scale=1)[0, 1]
    assert gallery.tiles[0].caption == f"true {CLASSES[0]} (#3)\nscore of dog ({probability:.0%})"


def test_confusions_and_mistakes_are_the_model_s(folder, monkeypatch, capsys):
    trained, dataset = opened(folder, "grey")
    p = trained.predict_proba(dataset.x, full_scale=1)
    counts = metrics.confusion_matrix(p, dataset.labels)
    _, out, _ = command(monkeypatch, capsys, "confusion", folder / "grey.safetensors", folder / "grey.npz", columns=120)
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines() if line.startswith(tuple(CLASSES))]
    shown = [[0 if n == "·" else int(n) for n in row[1:]] for row in rows[:3]]
    assert shown == counts.tolist()
    assert f"accuracy {counts.trace() / 30:.2%} ({counts.trace()} of 30)" in out

    says, wrong = p.argmax(axis=1), p.argmax(axis=1) != dataset.labels
    expected = sorted(np.flatnonzero(wrong), key=lambda n: -p[n, says[n]])[:4]
    *_, gallery = show.mistakes(trained, dataset, limit=4).content
    assert [int(re.search(r"#(\d+)", tile.caption)[1]) for tile in gallery.tiles] == expected
    predicted = CLASSES[says[expected[0]]]
    assert f"predicted {predicted} ({p[expected[0]].max():.0%})" in gallery.tiles[0].caption
    right = dataset._replace(labels=says)
    assert show.mistakes(trained, right).content[0].plain == "no mistakes in 30 examples"


def test_a_table_of_runs_says_how_they_ended(folder, monkeypatch, capsys):
    _, out, _ = command(monkeypatch, capsys, "curves", folder / "run.jsonl", folder / "grey.safetensors")
    for name in ("run", "grey"):
        assert re.search(rf"^{name} +3 +0\.6667 +80\.00% +3 *$", out, re.MULTILINE)


def test_statistics_tell_what_died_and_what_explodes(folder):
    trained, dataset = opened(folder, "dead", "grey")
    warnings = [text.plain for text in show.statistics(trained, dataset, limit=30).content[3:]]
    assert warnings[0] == "2_relu: 100% of the units are dead"
    assert re.fullmatch(r"activations \(std\) go from [\d.]+ at 0_conv2d to 0 at 3_conv2d", warnings[1])
    assert warnings[2].startswith("gradients (norm) go from 0 at 0_conv2d to ")
    trained, dataset = opened(folder, "grey")  # that of dead units stays finite: its numbers do not grow
    with np.errstate(over="ignore"):
        huge = trained._replace(params=tree.map(lambda leaf: leaf * np.float32(1e30), trained.params))
    *_, worry = show.statistics(huge, dataset, limit=30).content
    assert worry.plain.endswith("not finite any more")


def test_a_picture_is_saved_in_the_format_of_its_file(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for suffix in ("svg", "PNG"):
        path = tmp_path / f"confusion.{suffix}"
        path.write_bytes(b"GIF89a an older picture")
        code, out, errors = command(monkeypatch, capsys, *COMMANDS["confusion"], "--save", path, "--light")
        content = path.read_bytes()
        assert code == 0 and not out and errors == f"wrote {path}: {len(content):,} bytes\n"
        assert len(content) < 40_000
    text = ElementTree.fromstring((tmp_path / "confusion.svg").read_text())
    assert "a row for each true class, a column for each predicted one" in list(text.itertext())
    assert "http" not in (tmp_path / "confusion.svg").read_text().replace("http://www.w3.org/2000/svg", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.PNG", "confusion.svg"]


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "scripts" / "site" / "gallery").glob("*.svg")),
    ids=lambda path: path.name,
)
def test_the_gallery_is_small_and_needs_nothing_else(path):
    text = path.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert len(text) < 30_000 and text.count("http") == 1 and 'href="data:image/png;base64,' in text


def test_the_curves_of_the_gallery_are_lines():
    picture = ElementTree.parse(Path(__file__).parents[2] / "scripts" / "site" / "gallery" / "curves.svg")
    lines = [e for e in picture.iter("{http://www.w3.org/2000/svg}polyline") if len(e.get("points").split()) == 30]
    assert len(lines) == 2 * 2 * 3  # two measures, two parts, three runs
    assert sum(bool(e.get("stroke-dasharray")) for e in lines) == 6


def test_without_pillow_it_says_what_to_install(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.ImageDraw", raising=False)
    code, _, errors = command(monkeypatch, capsys, "kernels", folder / "no.safetensors", "--save", tmp_path / "k.png")
    assert (
        code == 1
        and "save as .svg): pip install 'funcnn[images]', or '.[images]' in a clone" in errors
        and len(errors.splitlines()) == 1
    )
    code, _, _ = command(monkeypatch, capsys, "kernels", folder / "grey.safetensors", "--save", tmp_path / "k.svg")
    assert code == 0 and [path.name for path in tmp_path.iterdir()] == ["k.svg"]


def test_a_full_disk_leaves_the_older_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.svg"
    path.write_bytes(b"GIF89a an older picture")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"^cannot write .*picture.svg: No space left on device$"):
        files.write_atomic(path, b"half of it")
    assert [p.name for p in tmp_path.iterdir()] == ["picture.svg"] and path.read_bytes() == b"GIF89a an older picture"


GREY = ["grey.safetensors", "grey.npz"]
FAILURES = {
    "no command": ([], 2, "Missing command"),
    "unknown command": (["weights"], 2, "No such command 'weights'"),
    "no model": (["kernels"], 2, "Missing argument 'MODEL'"),
    "unknown suffix": (
        ["confusion", *GREY, "--save", "c.gif"],
        2,
        "--save c.gif: the name of a picture ends in .svg or",
    ),
    "a directory": (["confusion", *GREY, "--save", "folder.svg"], 1, "cannot write folder.svg: it is a directory"),
    "a missing folder": (
        ["confusion", *GREY, "--save", "no/c.svg"],
        1,
        "cannot write no/c.svg: No such file or directory",
    ),
    "a missing model": (["kernels", "no.safetensors"], 1, "no.safetensors"),
    "data for a model": (["kernels", "grey.npz"], 1, "grey.npz"),
    "no such data": (["mistakes", "grey.safetensors", "nothing"], 1, "no data nothing"),
    "other data": (
        ["confusion", "grey.safetensors", "mlp.npz"],
        1,
        "the network takes images of 8x8, 1 channel, not",
    ),
    "no kernels": (["kernels", "mlp.safetensors"], 1, "the model has neither convolutions of images nor"),
    "kernels elsewhere": (["kernels", GREY[0], "--layer", "2_relu"], 2, "no kernels there, but at 0_conv2d, 3_conv2d"),
    "no such layer": (["features", *GREY, "--layer", "9"], 2, "--layer 9: no such layer; the model has 0_conv2d, "),
    "no such example": (["features", *GREY, "--example", "30"], 2, "--example 30: the data has 30, from 0"),
    "no such class": (["attribution", *GREY, "--class", "cow"], 2, "--class cow: the model's are cat, dog, a rather"),
    "no such method": (["attribution", *GREY, "--method", "guess"], 2, "'guess' is not one of"),
    "no maps": (
        ["attribution", "dense.safetensors", "grey.npz"],
        2,
        "--method grad-cam: the model has no layers with maps",
    ),
    "no maps there": (
        ["attribution", *GREY, "--layer", "8_dense"],
        2,
        "no maps at 8_dense, but at 0_conv2d, 1_max_pool",
    ),
    "no images": (["mistakes", "mlp.safetensors", "mlp.npz"], 1, "mistakes are shown as images; these examples have"),
    "no history": (["curves", "broken.jsonl"], 1, "broken.jsonl is not a history of a run: line 1"),
    "no file": (["curves", "no.jsonl"], 1, "cannot read no.jsonl: No such file or directory"),
    "a part of other data": (
        ["confusion", *GREY, "--part", "test"],
        1,
        "--part test of grey.safetensors: grey.npz is not what the model was trained on",
    ),
    "no such part": (["mistakes", *GREY, "--part", "half"], 2, "'half' is not one of"),
    "empty history": (["curves", "steps.jsonl"], 1, "steps.jsonl has no history of loss or accuracy"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_on_stderr(options, code, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "folder.svg").mkdir(exist_ok=True)
    (folder / "broken.jsonl").write_text('{"epoch": 1}\nnonsense\n')
    (folder / "steps.jsonl").write_text('{"record": "step", "step": 1, "loss": 2.0}\n')
    before = sorted(folder.iterdir())
    ended, out, errors = command(monkeypatch, capsys, *options)
    assert (ended, out) == (code, "") and message in errors and errors.startswith("funcnn show")
    assert len(errors.splitlines()) == 1 and sorted(folder.iterdir()) == before


def test_as_a_program(folder):
    shown, code = commands.on_a_terminal("show", "kernels", folder / "grey.safetensors", COLORTERM="truecolor")
    assert code == 0 and re.search(r"\x1b\[48;2;\d+;\d+;\d+m ", shown)
    shown, code = commands.on_a_terminal(
        "show", "kernels", folder / "grey.safetensors", columns=50, PYTHONIOENCODING="ascii", NO_COLOR="1"
    )
    assert code == 0 and shown.isascii() and "+#" in shown and max(map(len, shown.splitlines())) <= 50
    piped = commands.run("show", "--help")
    assert piped.returncode == 0
    for name in ("kernels", "features", "attribution", "confusion", "mistakes", "curves", "statistics"):
        assert re.search(rf"^\W+{name} +The|^\W+{name} +\w", piped.stdout, re.MULTILINE)
