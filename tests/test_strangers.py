"""Files from strangers: whatever a checkpoint says, it is loaded, or refused in a line that names it."""

import copy
import hashlib
import json
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import systems

from funcnn import checkpoint, keys, models, optim, predictor, training
from funcnn.checkpoint import Checkpoint, CheckpointError
from funcnn.stopping import BestEpoch

SIZES = {
    "mlp": ({"outputs": 3, "hidden": [8]}, (4,)),
    "convnet": ({"outputs": 3, "channels": [4], "hidden": [8], "image_shape": [8, 8, 1]}, (8, 8, 1)),
    "resnet": ({"outputs": 3, "blocks": [1, 1], "channels": [4, 8]}, (8, 8, 1)),
    "vgg": ({"outputs": 3, "blocks": [[4], [4]], "hidden": [4]}, (8, 8, 1)),
    "mobilenet": ({"outputs": 3, "stem": [4, 1], "blocks": [[8, 2]]}, (8, 8, 1)),
    "seed_convnet": ({"outputs": 3}, (8, 8, 1)),
    "lenet5": ({"outputs": 3}, (16, 16, 1)),
}


def written(path, name):
    """Write a checkpoint of a small model; return its JSON and its arrays."""
    arguments, in_shape = SIZES[name]
    scaling = {"mean": np.zeros(in_shape[-1]), "std": np.ones(in_shape[-1])}
    model = {"name": name, "arguments": arguments}
    description = predictor.describe(model, in_shape, ["a", "b", "c"], standardize=scaling, source="x", examples=9)
    state = training.start(models.build(model), optim.adam(1e-3), in_shape, key=(0,))
    best = BestEpoch(1, 0.5, state.params, state.state, 0)
    checkpoint.save(path, Checkpoint(state, description, best, [{"epoch": 1, "loss": 0.5}]))
    with safetensors.safe_open(path, "np") as file:
        return json.loads(file.metadata()["funcnn"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def sign(path, metadata, arrays):
    """Write a file of this content with the right checksum."""
    zeros = "0" * 64
    content = safetensors.numpy.save(arrays, {"funcnn": json.dumps({**metadata, "checksum": zeros})})
    path.write_bytes(content.replace(zeros.encode(), hashlib.sha256(content).hexdigest().encode(), 1))


def described(path, name, arguments, **data):
    """Write a checkpoint whose description has other arguments, or another entry of its data, than its arrays."""
    metadata, arrays = written(path, name)
    description = metadata["description"]
    description["model"]["arguments"].update(arguments)
    description["data"].update(data)
    if "in_shape" in data:
        description["preprocessing"].update(size=data["in_shape"][:2], channels=data["in_shape"][2])
    sign(path, metadata, arrays)


MORE_LAYERS = "more layers than the parameters have arrays"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet", {"blocks": [10**9, 1]}, MORE_LAYERS),
        ("resnet", {"blocks": [-(10**9), 10**9]}, MORE_LAYERS),
        ("resnet", {"blocks": [-1, 1]}, "blocks must be at least 0, got -1"),
        ("resnet", {"blocks": [True, 1]}, "blocks must be an int, not True"),
        ("resnet", {"channels": [10**9, 8]}, r"\(3, 3, 1, 1000000000\) has more than .*; in layer 0_conv2d"),
        ("resnet", {"channels": [4, 7]}, "parameters are .*4, 8.* and the model's .*4, 7.*; in layer 5_residual / "),
        ("mlp", {"hidden": [8] * 10**5}, MORE_LAYERS),
        ("mlp", {"hidden": [10**9]}, r"shape \(4, 1000000000\) has more than"),
        ("mlp", {"hidden": ["8"]}, "features must be an int, not '8'"),
        ("mlp", {"outputs": True}, "features must be an int, not True"),
        ("mlp", {"dropout_rate": float("nan")}, "rate"),
        ("mlp", {"hidden": []}, "the parameters are .* and the model's"),
        ("vgg", {"blocks": [[]] * 10**5}, MORE_LAYERS),
        ("mobilenet", {"blocks": [[1, 1]] * 10**5}, MORE_LAYERS),
        ("mobilenet", {"blocks": [[8, 10**9]]}, "strides must be at most 64, got 1000000000"),
        ("convnet", {"dropout_rate": [0.1] * 10**5}, MORE_LAYERS),
        ("convnet", {"kernel_size": 10**9, "image_shape": []}, "has more than"),
        ("convnet", {"pool": 10**9, "image_shape": []}, "the window spans 1000000000 positions"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_description_of_another_model_than_the_arrays_is_refused(tmp_path, name, arguments, message):
    path = tmp_path / "net.safetensors"
    described(path, name, arguments)
    with pytest.raises(CheckpointError, match=rf"net\.safetensors does not describe its model and data: .*{message}"):
        predictor.load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"in_shape": [10**6, 10**6, 1]}, "with a product of at most"),
        ({"in_shape": [4000, 4000, 1]}, "has more than .* numbers; in layer"),
        ({"in_shape": [8, True, 1]}, "must be ints"),
        ({"classes": [str(n) for n in range(10**5)]}, "does not fit 100000 classes"),
        ({"classes": ["a", "b", 3]}, "two or more different names"),
        ({"classes": ["a", "b", "a"]}, "two or more different names"),
        ({"source": 7}, "source is 7, not a str"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_data_of_another_kind_than_the_arrays_are_refused(tmp_path, data, message):
    path = tmp_path / "net.safetensors"
    described(path, "convnet", {}, **data)
    with pytest.raises(CheckpointError, match=rf"net\.safetensors does not describe its model and data: .*{message}"):
        predictor.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"full_scale": value}, "full_scale must be") for value in
          (0, -1, True, None, "255", [255], 1e-300, 1e300, 10**400, float("nan"))),
        *(({"range": value}, "range of the training pixels must be two numbers") for value in
          (None, 7, "ab", [], [1], [0, 1, 2], {"0": 0, "1": 1}, [0, None], [False, 1], [0, 1e300], [float("nan"), 1])),
        ({"range": [5, 3]}, "must be in order"),
        *(({"fit": value}, "fit must be one of pad, crop, stretch") for value in (None, "", "fill", 1, ["pad"], {})),
        ({"range": [0, 1e38], "full_scale": 1e-30}, "values that are not finite"),
        ({"std": [1e-30], "range": [0, 1e20]}, "values that are not finite"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_pixels_of_no_scale_range_or_fit_are_refused(tmp_path, changes, message):
    path = tmp_path / "net.safetensors"
    metadata, arrays = written(path, "convnet")
    metadata["description"]["preprocessing"].update(changes)
    sign(path, metadata, arrays)
    with pytest.raises(CheckpointError, match=rf"net\.safetensors does not describe its model and data: .*{message}"):
        predictor.load(path)


@pytest.mark.parametrize("name", ["full_scale", "range", "fit"])
def test_pixels_without_scale_range_or_fit_are_refused(tmp_path, name):
    path = tmp_path / "net.safetensors"
    metadata, arrays = written(path, "convnet")
    del metadata["description"]["preprocessing"][name]
    sign(path, metadata, arrays)
    with pytest.raises(CheckpointError, match=r"net\.safetensors does not describe its model and data: "):
        predictor.load(path)


@pytest.mark.parametrize("names", [["a"], [1, 2, 3, 4], "abcd", ["a", "b", "c", ["d"]]])
def test_columns_of_another_table_are_refused(tmp_path, names):
    path = tmp_path / "net.safetensors"
    described(path, "mlp", {}, feature_names=names)
    with pytest.raises(CheckpointError, match=r"net\.safetensors does not describe its .*feature_names"):
        predictor.load(path)


def nested(depth, name):
    names: dict = {}
    for _ in range(depth):
        names = {name: names}
    return names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trees": {"params": nested(900, "a" * 10000)}}, "paths have at most 1,000 characters and 100 names"),
        ({"trees": {"params": nested(101, "a")}}, "paths have at most 1,000 characters and 100 names"),
        ({"trees": {"params": {"w": [[1]]}}}, "params/w is a list"),
        ({"key": [-1]}, "key must be at least 0, got -1"),
        ({"epoch": True}, "epoch must be an int, not True"),
        ({"step": 10**30}, "step is at most"),
        ({"optimizer": ["adam"]}, "optimizer is a name, not "),
        ({"best": {"epoch": 1, "value": 0.5}}, "'waited' is missing"),
        ({"description": {"text": "a" * 2**24}}, "header has .* bytes, more than 16,777,216"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_trees_and_counts_are_limited(tmp_path, change, message):
    path = tmp_path / "net.safetensors"
    metadata, arrays = written(path, "mlp")
    trees = {**metadata["trees"], **change.pop("trees", {})}
    sign(path, {**metadata, "trees": trees, **change}, arrays)
    with pytest.raises(CheckpointError, match=rf"net\.safetensors is not a checkpoint .*{message}") as caught:
        checkpoint.load(path)
    assert len(str(caught.value)) < 1000


def test_what_would_be_refused_is_not_saved(tmp_path):
    state = training.TrainState({"w": np.ones(2)}, {}, {}, (0,), 1, 1)
    for broken, message in (
        (state._replace(params=nested(101, "a")), "paths have at most"),
        (state._replace(key=(-1,)), "key must be at least 0"),
        (state._replace(epoch=-1), "epoch must be at least 0"),
        (state._replace(losses=np.ones((2, 2))), "losses are numbers in a row"),
    ):
        with pytest.raises(ValueError, match=message):
            checkpoint.save(tmp_path / "net", Checkpoint(broken, {}))
    with pytest.raises(ValueError, match=r"header of .* bytes, more than 16,777,216"):
        checkpoint.save(tmp_path / "net", Checkpoint(state, {"text": "a" * 2**24}))
    assert list(tmp_path.iterdir()) == []


VALUES = [
    None, True, 0, -1, 2, 10**9, 10**30, 1.5, 1e308, float("nan"), "", "array", "scalar", "a" * 10000, [], [[]], [1],
    [10**9] * 3, [[1, 2]] * 300, {}, {"a": 1}, {"/float": "nan"}, {"/float": []}, ["array"], [[[[[1]]]]], "\x1b[31m\n",
]  # fmt: skip


def places(value, path=()):
    """Yield the path of each entry of nested dicts and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, entry in entries:
        yield (*path, name)
        yield from places(entry, (*path, name))


def mutated(rng, metadata):
    """Return the JSON with one or two entries replaced or removed, mostly of its description."""
    changed = copy.deepcopy(metadata)
    for _ in range(rng.choice([1, 1, 2])):
        every = list(places(changed))
        described = [path for path in every if path[0] == "description"]
        *above, name = rng.choice(described if described and rng.random() < 0.7 else every)
        entries = changed
        for part in above:
            entries = entries[part]
        if rng.random() < 0.8:
            entries[name] = copy.deepcopy(rng.choice(VALUES))
        else:
            del entries[name]
    return changed


@pytest.mark.parametrize("name", SIZES)
def test_every_mutation_is_loaded_or_refused_by_name(tmp_path, name):
    rng, path = random.Random(name), tmp_path / "net.safetensors"
    metadata, arrays = written(path, name)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            sign(path, mutated(rng, metadata), arrays)
            try:
                loaded = predictor.load(path)
            except CheckpointError as error:
                refused += 1
                assert str(path) in str(error) and len(str(error)) < 1000
            else:
                assert loaded.predict_proba(np.zeros((2, *loaded.in_shape))).shape == (2, len(loaded.classes))
    assert 20 < refused < 60


@systems.needs_module("resource")
def test_the_memory_is_that_of_the_file(tmp_path):
    """In a process that may have no more than 512 MB beside what it has after the imports."""
    for number, (name, arguments) in enumerate(
        [("resnet", {"blocks": [10**9, 1]}), ("resnet", {"channels": [10**9, 8]}), ("mlp", {"hidden": [10**9] * 2})]
    ):
        described(tmp_path / f"{number}.safetensors", name, arguments)
    probe = """
import resource, sys
from funcnn import checkpoint, predictor
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        predictor.load(path)
    except checkpoint.CheckpointError as error:
        print("MemoryError" in str(error))
"""
    files = sorted(map(str, tmp_path.iterdir()))
    run = subprocess.run([sys.executable, "-c", probe, *files], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"] * 3


def test_shapes_alone():
    """A key of shapes alone yields the shapes of a model, and no numbers that could be taken for a start."""
    for name, (arguments, in_shape) in SIZES.items():
        model = models.build({"name": name, "arguments": arguments})
        params, state, out_shape = model.init((0,), in_shape)
        blank = model.init(keys.shapes_only(10**6), in_shape)
        assert checkpoint.signature(blank[0]) == checkpoint.signature(params)
        assert checkpoint.signature(blank[1]) == checkpoint.signature(state) and blank[2] == out_shape
        assert checkpoint.check_fit(model, params, state, in_shape) == out_shape
    with pytest.raises(ValueError, match="ints >= 0"):
        keys.generator(keys.shapes_only(3))
