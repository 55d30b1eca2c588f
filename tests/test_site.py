"""The manual in scripts/site and the other Markdown files: what they show runs, and what they name exists.

The Python blocks of a page are pasted into a Python shell, one after the other, as a reader would. The lines of ``sh``
blocks are not run, but parsed by the commands that they name.
"""

import contextlib
import functools
import importlib
import re
import shlex
import sys
import tomllib
import types
from pathlib import Path

import pytest
import typer
from documents import blocks, paste

from funcnn import combinators, history, losses, models, ops, predictor
from funcnn.cli import app as command_line

ROOT = Path(__file__).parents[1]
SITE = ROOT / "scripts" / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for folder in (".", "start") for path in (SITE / folder).glob("*.md"))
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "scripts").rglob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in MARKDOWN]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split()


def without_code(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def run_page(name, directory):
    """Run all of a page's Python where the file of a model is; return its variables and what each block printed."""
    model = {"name": "convnet", "arguments": {"outputs": 10}}
    params, state, _ = models.convnet(10).init((1,), (8, 8, 1))
    description = predictor.describe(model, (8, 8, 1), [str(digit) for digit in range(10)], full_scale=16)
    predictor.from_description(description, params, state).save(directory / "digits.safetensors")
    variables = {}
    with contextlib.chdir(directory):
        return variables, [paste(block, variables) for block in blocks(SITE / name, "python")]


def test_every_page_is_in_the_index():
    index = (SITE / "index.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if name != "index.md" and f"({name})" not in index] == []


DERIVED = {
    name
    for page in (SITE / "gradients").glob("*.md")
    for name in re.findall(r"^```\{(?:derivation|gradient)\} ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}
WITHOUT_GRADIENT = {"map_layers", "split", "split_points"}  # combinators that are no layers


@pytest.mark.parametrize("package", [ops, losses, combinators], ids=lambda package: package.__name__)
def test_every_gradient_is_derived_on_a_page(package):
    public = {f"{package.__name__}.{name}" for name in package.__all__ if name not in WITHOUT_GRADIENT}
    assert public - DERIVED == set()


def test_every_page_of_derivations_is_in_their_index():
    index = (SITE / "gradients" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\w+$", index.partition("{toctree}")[2], re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(path.stem for path in (SITE / "gradients").glob("*.md"))


def test_the_first_network(tmp_path):
    after, printed = run_page("start/python.md", tmp_path)
    assert printed[0].startswith("(1797, 8, 8, 1)") and printed[1].startswith("(10,) {'0_conv2d'")
    before, stepped = map(float, re.findall(r"\d\.\d+", printed[2]))
    assert stepped < before
    assert float(re.search(r"8: .* ([\d.]+)%", printed[3])[1]) > 93
    assert after["logits"].shape == (359, 10) and "0_conv2d/w" in printed[5]


def test_training(tmp_path):
    after, printed = run_page("training.md", tmp_path)
    assert float(re.search(r"best \d+: ([\d.]+)", printed[0])[1]) > 0.9
    assert "53,002" in printed[3]
    assert after["saved"].train_state.step == 10 and after["epoch"].train_state.step == 16
    assert after["grads"].keys() == after["train_state"].params.keys()
    assert len(history.read(tmp_path / "run.jsonl")) == 2 == len((tmp_path / "run.csv").read_text().splitlines()) - 1


def test_examples_for_other_tools(tmp_path, monkeypatch):
    """With modules in their place, which record what they are told."""
    told = []

    class SummaryWriter(contextlib.nullcontext):
        def add_scalar(self, name, value, step):
            told.append((name, value, step))

    def log_metrics(values, step):
        told.extend((name, value, step) for name, value in values.items())

    tools = {
        "tensorboardX": types.SimpleNamespace(SummaryWriter=lambda folder: SummaryWriter(SummaryWriter())),
        "mlflow": types.SimpleNamespace(start_run=contextlib.nullcontext, log_metrics=log_metrics),
    }
    record = history.History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    epochs = [types.SimpleNamespace(epoch=row["epoch"], row=row) for row in record]
    variables = dict.fromkeys(["model", "loss", "x", "labels", "optim"], types.SimpleNamespace(adam=float))
    variables["training"] = types.SimpleNamespace(fit=lambda *_, **__: epochs)
    variables["epoch_row"] = lambda epoch: epoch.row
    for name, module in tools.items():
        monkeypatch.setitem(sys.modules, name, module)
    for block in blocks(SITE / "training.md", "py"):
        paste(block, variables)
    assert told == 2 * [("epoch", 1, 1), ("loss", 0.5, 1), ("epoch", 2, 2), ("loss", 0.25, 2)]


def test_predictor(tmp_path):
    after, printed = run_page("predictor.md", tmp_path)
    assert after["probabilities"].shape == (3, 10) and after["names"].shape == (3,)
    assert printed[1].count('"0"') == 1
    assert predictor.load(tmp_path / "mine.safetensors").in_shape == (8, 8, 1)
    assert (tmp_path / "mine.onnx").stat().st_size > 0


def test_estimators(tmp_path):
    after, printed = run_page("estimators.md", tmp_path)
    assert min(map(float, printed[0].strip("[] \n").split())) > 0.8
    assert after["logits"].shape == (1197, 10) and float(printed[1].split()[1]) > 0.8
    assert (tmp_path / "net.onnx").is_file() and printed[3] == "['label', 'probabilities']\n"


def test_time_series(tmp_path):
    _, printed = run_page("time_series.md", tmp_path)
    assert float(printed[0]) > 0.8


def test_features(tmp_path):
    _, printed = run_page("features.md", tmp_path)
    by_features, with_a_head = map(float, printed)
    assert by_features > 0.6 and with_a_head > 0.55


def test_layers(tmp_path):
    after, printed = run_page("layers.md", tmp_path)
    assert printed[0].startswith("(10,) ['0_conv2d', '1_relu', '2_residual', '3_parallel', '4_flatten', '5_dense']")
    assert printed[3:] == ["True (2, 2)\n", "conv2d identity relu\n", "(6, 3, 3, 1, 4)\n"]
    assert after["dy"].shape == after["x"].shape


def test_pictures(tmp_path):
    after, _ = run_page("pictures.md", tmp_path)
    assert (tmp_path / "kernels.svg").read_text().startswith("<svg")
    assert after["where"].shape == (3, 4, 4) and after["saliency"].shape == (3, 8, 8, 1)
    assert len(after["rows"]) == len(after["times"]) == len(after["maps"])


def test_proof(tmp_path):
    run_page("proof.md", tmp_path)


def test_speed(tmp_path):
    _, printed = run_page("speed.md", tmp_path)
    winograd, im2col, exact = map(float, printed[0].split())
    assert max(im2col, exact) < 1e-6 < winograd < 1e-5


def test_every_page_with_python_is_run():
    with_python = {name.removesuffix(".md") for name in PAGES if blocks(SITE / name, "python")}
    assert with_python == {
        "start/python", "training", "predictor", "estimators", "time_series", "features", "layers", "pictures", "proof",
        "speed",
    }  # fmt: skip


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_exist(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path)):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])  # which has the old names, too
def test_names_of_the_package_exist(name):
    for dotted in re.findall(r"`(funcnn(?:\.\w+)+)[`(]", (ROOT / name).read_text(encoding="utf-8")):
        module, *attributes = dotted.split(".")
        thing = importlib.import_module(module)
        for attribute in attributes:
            module = f"{module}.{attribute}"
            thing = getattr(thing, attribute) if hasattr(thing, attribute) else importlib.import_module(module)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == "CHANGELOG.md":
        sections = re.split(r"^##+ ", text.partition("## [0.1.0]")[0], flags=re.MULTILINE)
        text = "".join(section for section in sections if section.startswith(("Added", "Changed")))
    for file in re.findall(r"`((?:funcnn|tests|scripts)/[\w./]+)[` ]", text):
        assert (ROOT / file).exists(), file


def command_lines():
    for name, path in zip(NAMES, MARKDOWN, strict=True):
        for line in "\n".join(blocks(path, "sh")).splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield pytest.param(words, id=f"{name}: {' '.join(words)}")


command_of = functools.cache(typer.main.get_command)


def parse(app, words):
    """Parse a command line without running it: its sub-commands, options, and their values."""
    command = command_of(app)
    while hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no sub-command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {spelling for parameter in command.params for spelling in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}
    if not hasattr(command, "commands"):
        command.make_context("command", list(words))


def check_pip(words):
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(EXTRAS)
    assert words[:1] == ["install"] and words[1].startswith(".")  # it is on no index


def check_make(words):
    for word in words:
        assert word in TARGETS or word.startswith(("ARGS=", "PYTHON=")), word
        if word.startswith("ARGS=tests"):
            assert (ROOT / word.removeprefix("ARGS=")).exists()


@pytest.mark.parametrize("words", list(command_lines()))
def test_command_lines_parse(words, monkeypatch):
    for end in ("|", ">"):
        words = words[: words.index(end)] if end in words else words
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    if words[:2] == ["mpiexec", "-n"]:
        words = words[3:]
    if words[0] == "PYTHONPATH=tests":
        assert words[1:3] == ["python", "-m"] and (ROOT / "tests" / f"{words[3].replace('.', '/')}.py").exists()
        return
    program, *arguments = words
    if program.endswith("python") and arguments[0].startswith(("scripts/", "tests/")):
        program, *arguments = arguments
    if program == "scripts/train.py":
        program, arguments = "funcnn", ["train", *arguments]
    if program == "funcnn":
        parse(command_line.app, arguments)
    elif program in ("scripts/bench", "scripts/mutation"):
        parse(importlib.import_module(f"{Path(program).name}.app").app, arguments)
    elif program == "scripts/efficiency.py":
        app = typer.Typer()
        app.command()(importlib.import_module("efficiency").main)
        parse(app, arguments)
    elif program == "make":
        check_make(arguments)
    elif program == "pip":
        check_pip(arguments)
    else:
        assert program.startswith("tests/") and (ROOT / program).exists(), program
