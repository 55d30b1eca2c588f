"""Data that do not fit into the memory, by command: the same models and results, bit for bit."""

import json
import subprocess
import sys
from functools import lru_cache

import commands
import numpy as np
import pytest
from PIL import Image

from funcnn import checkpoint, tree

# The process may allocate `free` bytes more than it has after its imports and with the work space of the BLAS, which
# takes 32 MB. A memory map is not counted, an array is.
LIMITED = """
import re, resource, sys
import numpy as np
from funcnn.cli import app, console, evaluate, train
from funcnn.kernels.allocator import keep_freed_memory
keep_freed_memory()
np.ones((999, 999)) @ np.ones((999, 999))
file, free, *arguments = sys.argv[1:]
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + int(free),) * 2)
try:
    np.load(file)
except MemoryError:
    sys.argv[1:] = arguments
    console.run(app.app)
"""
LABELS = np.arange(60) % 2
PIXELS = (
    np.random.default_rng(0).integers(0, 200, (60, 9, 9)) + np.where(np.arange(9) < 4, 55, 0) * LABELS[:, None, None]
)
OPTIONS = ("--model", "mlp", "--epochs", 1, "--image-size", 12, "--threads", 1, "--quiet", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same images as .npz, as .npy, as a folder of these two, and as image files."""
    folder, x = tmp_path_factory.mktemp("large"), PIXELS.astype(np.uint8)
    np.savez(folder / "own.npz", x=x, y=LABELS)
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "x.npy", x)
    np.save(folder / "arrays" / "y.npy", LABELS)
    for i, image in enumerate(x):
        file = folder / "images" / str(LABELS[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


@lru_cache
def trained(folder, data, cache):
    output = f"{data.replace('/', '-')}-{cache}.safetensors"
    result = commands.run("train", "--data", data, "--cache", cache, "--output", output, *OPTIONS, cwd=folder)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    model = checkpoint.load(folder / output)
    about = model.description["data"]["fingerprint"], model.description["preprocessing"]
    return result.stdout, about, tree.flatten(model.train_state.params)


def assert_same(found, expected):
    assert found[:2] == expected[:2]
    for path, leaf in expected[2].items():
        np.testing.assert_array_equal(found[2][path], leaf)


def test_arrays_train_the_same_model_wherever_they_are(folder):
    expected = trained(folder, "own.npz", "memory")
    for data, cache in (("own.npz", "auto"), ("arrays", "none"), ("arrays/x.npy", "auto")):
        assert_same(trained(folder, data, cache), expected)


def test_images_decoded_by_the_batch_train_the_same_model_as_those_in_memory(folder):
    assert_same(trained(folder, "images", "none"), trained(folder, "images", "memory"))


def test_images_decoded_by_the_batch_are_cropped(folder):
    result = commands.run("train", "--data", "images", "--cache", "none", "--fit", "crop", *OPTIONS, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")


def test_models_are_used_on_all_of_them(folder):
    trained(folder, "arrays", "none")
    evaluated, predicted = [], []
    for data in ("own.npz", "arrays", "arrays/x.npy"):
        evaluated.append(commands.run("evaluate", "arrays-none.safetensors", data, "--json", cwd=folder).stdout)
        table = commands.run("predict", "arrays-none.safetensors", data, cwd=folder).stdout
        predicted.append([line.split(",")[1:] for line in table.splitlines()])
    assert evaluated[1:] == evaluated[:1] * 2 and json.loads(evaluated[0])["examples"] == 60
    assert predicted[1:] == predicted[:1] * 2 and len(predicted[0]) == 61


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts maps of memory only on Linux")
def test_a_file_five_times_as_large_as_the_memory(tmp_path):
    free, n = 24_000_000, 30_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (n, 25, 40, 1))
    y = np.arange(n) % 2
    x[::100, 0, 0, 0] = np.arange(n // 100) % 2  # the rest is a hole in the file
    np.save(tmp_path / "y.npy", y)
    assert x.nbytes == 5 * free
    options = ("--data", "x.npy", "--model", "mlp", "--epochs", 1, "--batch-size", 500, "--threads", 1, "--quiet")
    arguments = ("train", *options, "--json", "--output", "net.safetensors")
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, "x.npy", *map(str, (free, *arguments))],
        cwd=tmp_path,
        env=commands.ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["examples"] == n // 5
