"""Pictures: colours that can be read back as the numbers they stand for, on any width, in files."""

import base64
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from funcnn import attribution, checkpoint, metrics, models, optim, training, tree

SCRIPT = Path(__file__).parents[1] / "scripts" / "show.py"
sys.path.insert(0, str(SCRIPT.parent))

import artifacts  # noqa: E402
import canvas  # noqa: E402
import files  # noqa: E402
import pictures  # noqa: E402
import show  # noqa: E402
import terminal  # noqa: E402

sys.path.remove(str(SCRIPT.parent))
CLASSES = ["cat", "dog", "a rather long name"]
EPOCHS = [
    {"epoch": n, "step": 5 * n, "loss": 2.0 / n, "train_accuracy": 1 - 0.5 / n, "validation_accuracy": 1 - 0.6 / n}
    for n in (1, 2, 3)
]


def save(path, name, arguments, in_shape, classes, change=lambda path, leaf: leaf):
    """Write a model with fresh parameters as train.py would."""
    description = {
        "model": {"name": name, "arguments": arguments},
        "data": {"in_shape": list(in_shape), "classes": classes, "standardize": None},
    }
    begun = training.start(getattr(models, name)(**arguments), optim.sgd(0.1), in_shape, key=(0,))
    params = {p: change(p, leaf) for p, leaf in tree.flatten(begun.params).items()}
    begun = begun._replace(params=tree.unflatten(params, begun.params))
    checkpoint.save(path, checkpoint.Checkpoint(begun, description, history=EPOCHS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and data of every kind: grey 8x8, coloured 20x20, and tabular with two classes."""
    folder, rng = tmp_path_factory.mktemp("show"), np.random.default_rng(0)
    small = {"channels": [4, 40], "hidden": [8]}
    save(folder / "grey.safetensors", "convnet", {"outputs": 3, **small}, (8, 8, 1), CLASSES)
    save(folder / "colour.safetensors", "resnet", {"outputs": 3, "blocks": [1], "channels": [4]}, (20, 20, 3), CLASSES)
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
    trained = artifacts.open_model(folder / f"{name}.safetensors")
    return trained, artifacts.open_matching(str(folder / f"{data or name}.npz"), trained)


def printed(renderables, width, **options):
    """What a console of that width shows, as rows of (character, colour, background)."""
    console = Console(width=width, **{"force_terminal": True, "color_system": "truecolor", "_environ": {}, **options})
    rows = [console.render_lines(r, console.options.update(width=width), pad=False) for r in renderables]
    return [
        [(c, style and style.color, style and style.bgcolor) for text, style, _ in line for c in text]
        for lines in rows
        for line in lines
    ]


def pixels(rows):
    """The colours of half blocks, two rows of them for each row of characters."""

    def rgb(color, none=(-1, -1, -1)):
        return tuple(color.triplet) if color else none

    pairs = [[(rgb(front if c == "▀" else back), rgb(back)) for c, front, back in row] for row in rows]
    return np.array([[pair[half] for pair in row] for row in pairs for half in (0, 1)])


def values(colours, anchors):
    """The numbers in [0, 1] whose colours these are."""
    scale = pictures.colours(np.linspace(0, 1, 2001), anchors).astype(int)
    return np.abs(colours[..., None, :] - scale).sum(axis=-1).argmin(axis=-1) / 2000


def test_colours_read_back_are_the_array():
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (5, 3), (20, 24)):  # an odd number of rows ends in the background
        height, width = shape
        scale = max(min(24 // width, 4), 1)
        for make, anchors, low in ((pictures.signed, pictures.COOL_WARM, -2.0), (pictures.heat, pictures.VIRIDIS, 0.0)):
            array = rng.uniform(low, 2.0, shape)
            (rows,) = [printed([pictures.Gallery([make(array, 2.0)])], 80)[:-1]]
            shown = values(pixels(rows)[: height * scale : scale, ::scale], anchors) * (2.0 - low) + low
            np.testing.assert_allclose(shown, array, atol=0.02)
            if height * scale % 2:
                assert rows[-1][0][1] and not rows[-1][0][2]

    image = rng.uniform(0, 1, (8, 9, 3))
    rows = printed([pictures.Gallery([pictures.photograph(image, 0.0, 1.0)])], 80)[:-1]
    np.testing.assert_array_equal(pixels(rows)[::2, ::2], np.rint(255 * image))
    # too wide, it is shrunk by the mean
    rows = printed([pictures.Gallery([pictures.heat(np.kron(np.eye(16), np.ones((4, 4))), 1.0)])], 16)[:-1]
    np.testing.assert_allclose(values(pixels(rows), pictures.VIRIDIS), np.eye(16), atol=0.01)


def test_viridis_gets_lighter_all_the_way_and_both_scales_differ_from_black_and_white():
    lightness = pictures.colours(np.linspace(0, 1, 100), pictures.VIRIDIS) @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all() and lightness[0] > 25 and lightness[-1] < 230
    middle = pictures.colours(np.array(0.5), pictures.COOL_WARM)
    assert len(set(middle.tolist())) == 1 and 128 < middle[0] < 230


def test_without_colour_density_and_sign_are_the_array():
    array = np.array([[0.0, 0.25, 0.5, 0.75, 1.0], [0.1, -0.25, -0.5, -0.75, -1.0]])
    rows = printed([pictures.Gallery([pictures.signed(array, 1.0, "both")])], 40, color_system=None)
    assert ["".join(c for c, _, _ in row) for row in rows[:3]] == ["  +░+▒+▓+█", "  -░-▒-▓-█", "both"]
    rows = printed([pictures.Gallery([pictures.heat(array[:1], 1.0)])], 40, no_color=True)
    assert "".join(c for c, _, _ in rows[0]) == "  ░░▒▒▓▓██"


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
    monkeypatch.setattr(sys, "argv", ["show.py", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        terminal.run(show.app)
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


def test_kernels_are_the_weights(folder):
    trained, _ = opened(folder, "grey")
    w = trained.params["0_conv2d"]["w"]
    gallery = next(r for r in show.kernels(trained, None, 64) if isinstance(r, pictures.Gallery))
    for k, tile in enumerate(gallery.tiles):
        np.testing.assert_allclose(tile.shades * np.abs(w).max(), w[:, :, 0, k], rtol=1e-5, atol=1e-7)

    w = trained.params["3_conv2d"]["w"]
    gallery = next(r for r in show.kernels(trained, "3_conv2d", 5) if isinstance(r, pictures.Gallery))
    norms = {f"{i}>{o}": np.linalg.norm(w[:, :, i, o]) for i in range(4) for o in range(40)}
    assert {tile.caption for tile in gallery.tiles} == set(sorted(norms, key=norms.get)[-5:])


def test_attributions_are_those_of_the_methods(folder):
    trained, dataset = opened(folder, "grey")
    network, x = show.network(trained), dataset.x[[3, 4]]
    *_, gallery = show.attributions(trained, dataset, [3, 4], list(show.Method), "dog", "0_conv2d")
    assert len(gallery.tiles) == 2 * 4
    product = attribution.gradient_times_input(*network, x, 1)[1, :, :, 0]
    top = np.quantile(np.abs(product), 0.99)
    np.testing.assert_allclose(gallery.tiles[6].shades, np.clip(product / top, -1, 1), rtol=1e-5, atol=1e-6)
    cam = attribution.grad_cam(*network, x, "0_conv2d", 1)[0]
    np.testing.assert_allclose(gallery.tiles[3].shades, cam / cam.max(), rtol=1e-5, atol=1e-6)
    probability = artifacts.probabilities(trained, x)[0, 1]
    assert gallery.tiles[0].caption == f"is {CLASSES[0]} (#3)\nfor dog ({probability:.0%})"


def test_confusions_and_mistakes_are_the_model_s(folder, monkeypatch, capsys):
    trained, dataset = opened(folder, "grey")
    p = artifacts.probabilities(trained, dataset.x)
    counts = metrics.confusion_matrix(p, dataset.labels)
    _, out, _ = command(monkeypatch, capsys, "confusion", folder / "grey.safetensors", folder / "grey.npz", columns=120)
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines() if line.startswith(tuple(CLASSES))]
    shown = [[0 if n == "·" else int(n) for n in row[1:]] for row in rows[:3]]
    assert shown == counts.tolist()
    assert f"accuracy {counts.trace() / 30:.2%} ({counts.trace()} of 30)" in out

    says, wrong = p.argmax(axis=1), p.argmax(axis=1) != dataset.labels
    expected = sorted(np.flatnonzero(wrong), key=lambda n: -p[n, says[n]])[:4]
    *_, gallery = show.mistakes(trained, dataset, 4)
    assert [int(re.search(r"#(\d+)", tile.caption)[1]) for tile in gallery.tiles] == expected
    assert f"says {CLASSES[says[expected[0]]]} ({p[expected[0]].max():.0%})" in gallery.tiles[0].caption
    right = dataset._replace(labels=says)
    assert show.mistakes(trained, right, 4)[0].plain == "no mistakes in 30 examples"


def test_many_classes_are_pixels():
    confusion = np.diag(np.arange(1, 61))
    rows = printed([pictures.HeatMap(confusion, [f"class {i}" for i in range(60)])], 80)
    np.testing.assert_allclose(values(pixels(rows[:30]), pictures.VIRIDIS), np.eye(60), atol=0.01)


def test_curves_go_through_their_points():
    x, y = np.arange(1.0, 6.0), np.array([5.0, 3.0, np.nan, 1.0, 2.0])
    plot = pictures.Plot("loss", [pictures.Curve("run", x, y)], (1.0, 5.0), (1.0, 5.0), rows=4)
    rows = printed([plot], 3 + 20)[1:5]
    dots = np.zeros((16, 40), bool)
    for i, row in enumerate(rows):
        for j, (character, _, _) in enumerate(row[3:]):
            bits = ord(character) - 0x2800 if character != " " else 0
            for bit, (column, k) in enumerate(pictures.DOTS):
                dots[4 * i + k, 2 * j + column] = bits >> bit & 1
    columns = (x[[0, 1, 3, 4]] - 1) / 4 * 39
    for at, value in zip(columns, y[[0, 1, 3, 4]], strict=True):
        near = np.flatnonzero(dots[:, round(at)])
        assert np.abs(near - (5 - value) / 4 * 15).min() <= 1.0
    assert dots.any(axis=0).all()  # without a gap
    flat = pictures.Curve("", x, np.ones(5))
    assert pictures.limits([flat]) == (0.5, 1.5) and pictures.limits([flat], log=True) == (0.5, 2.0)


def test_a_table_of_runs_says_how_they_ended(folder, monkeypatch, capsys):
    _, out, _ = command(monkeypatch, capsys, "curves", folder / "run.jsonl", folder / "grey.safetensors")
    for name in ("run", "grey"):
        assert re.search(rf"^{name} +3 +0\.6667 +80\.00% +3 *$", out, re.MULTILINE)


def test_statistics_tell_what_died_and_what_explodes(folder):
    trained, dataset = opened(folder, "dead", "grey")
    told = [text.plain for text in show.statistics(trained, dataset, 30)[3:]]
    assert told[0] == "2_relu: 100% of the units are dead"
    assert re.fullmatch(r"activations \(std\) go from [\d.]+ at 0_conv2d to 0 at 3_conv2d", told[1])
    assert told[2].startswith("gradients (norm) go from 0 at 0_conv2d to ")
    with np.errstate(over="ignore"):
        huge = trained._replace(params=tree.map(lambda leaf: leaf * np.float32(1e30), trained.params))
    *_, worry = show.statistics(huge, dataset, 30)
    assert worry.plain.endswith("not finite any more")


def test_a_picture_in_a_file_is_the_one_on_the_terminal(folder, tmp_path, monkeypatch, capsys):
    tile = pictures.heat(np.linspace(0, 1, 16).reshape(4, 4), 1.0)
    for theme in (canvas.DARK, canvas.LIGHT):
        drawn = canvas.draw(pictures.Gallery([tile]), 40, theme)
        half = canvas.CELL_HEIGHT // 2
        np.testing.assert_array_equal(drawn.pixels[: 16 * half : 4 * half, :: 4 * canvas.CELL_WIDTH], tile.pixels)
        picture = ElementTree.fromstring(canvas.svg(drawn))
        (image,) = picture.iter("{http://www.w3.org/2000/svg}image")
        embedded = Image.open(io.BytesIO(base64.b64decode(image.get("href").partition("base64,")[2])))
        np.testing.assert_array_equal(np.asarray(embedded), drawn.pixels)
        enlarged = np.asarray(Image.open(io.BytesIO(canvas.png(drawn, enlarge=2))))
        margin = 2 * canvas.MARGIN
        np.testing.assert_array_equal(enlarged[margin:-margin:2, margin:-margin:2], drawn.pixels)
        assert tuple(enlarged[0, 0]) == tuple(theme.background_color)

    monkeypatch.chdir(folder)
    for suffix in ("svg", "PNG"):
        path = tmp_path / f"confusion.{suffix}"
        path.write_text("an older file")
        code, out, errors = command(monkeypatch, capsys, *COMMANDS["confusion"], "--save", path, "--light")
        content = path.read_bytes()
        assert code == 0 and not out and errors == f"wrote {path}: {len(content):,} bytes\n"
        assert len(content) < 40_000
    text = ElementTree.fromstring((tmp_path / "confusion.svg").read_text())
    assert "a row for each true class, a column for each predicted one" in list(text.itertext())
    assert "http" not in (tmp_path / "confusion.svg").read_text().replace("http://www.w3.org/2000/svg", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.PNG", "confusion.svg"]


@pytest.mark.parametrize("path", sorted((SCRIPT.parent / "gallery").iterdir()), ids=lambda path: path.name)
def test_the_gallery_is_small_and_needs_nothing_else(path):
    text = path.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert len(text) < 30_000 and text.count("http") == 1 and 'href="data:image/png;base64,' in text


def test_without_pillow_it_says_what_to_install(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.ImageDraw", raising=False)
    code, _, errors = command(monkeypatch, capsys, "kernels", folder / "no.safetensors", "--save", tmp_path / "k.png")
    assert code == 1 and "pip install 'funcnn[images]'; or save as .svg" in errors and len(errors.splitlines()) == 1
    code, _, _ = command(monkeypatch, capsys, "kernels", folder / "grey.safetensors", "--save", tmp_path / "k.svg")
    assert code == 0 and [path.name for path in tmp_path.iterdir()] == ["k.svg"]


def test_a_full_disk_leaves_the_older_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.svg"
    path.write_text("an older file")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"^cannot write .*picture.svg: No space left on device$"):
        files.write_whole(path, b"half of it")
    assert [p.name for p in tmp_path.iterdir()] == ["picture.svg"] and path.read_text() == "an older file"


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
    "no history": (["curves", "broken.jsonl"], 1, "broken.jsonl is no history of a run: line 1"),
    "no file": (["curves", "no.jsonl"], 1, "cannot read no.jsonl: No such file or directory"),
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
    assert (ended, out) == (code, "") and message in errors and errors.startswith("show.py: ")
    assert len(errors.splitlines()) == 1 and sorted(folder.iterdir()) == before


def test_as_a_program(folder):
    shown, code = commands.on_a_terminal(SCRIPT, "kernels", folder / "grey.safetensors", COLORTERM="truecolor")
    assert code == 0 and re.search(r"\x1b\[48;2;\d+;\d+;\d+m ", shown)
    piped = commands.run(SCRIPT, "--help")
    assert piped.returncode == 0
    for name in ("kernels", "features", "attribution", "confusion", "mistakes", "curves", "statistics"):
        assert re.search(rf"^\W+{name} +The|^\W+{name} +\w", piped.stdout, re.MULTILINE)
