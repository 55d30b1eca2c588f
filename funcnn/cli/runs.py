"""What determines a run of training: its options, the description that its checkpoints hold, and when it can resume."""

from __future__ import annotations

import hashlib
import json
import reprlib
import secrets
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from funcnn import checkpoint, checks, data, data_parallel, optim, predictor, training
from funcnn.checkpoint import Checkpoint
from funcnn.cli import console
from funcnn.cli.console import UsageError
from funcnn.cli.pretrained import Beginning, Pretrained
from funcnn.cli.recipes import RECIPES, ModelName, OptimizerName, ScheduleName, fine_tuning_recipe, model_for
from funcnn.data import BUILTIN, Dataset, Mapped, Selected, Source, Splits
from funcnn.data.examples import warn_of_other_range, warn_of_other_scale
from funcnn.data.lazy import blocks, extent
from funcnn.kernels import selection
from funcnn.layer import Layer
from funcnn.predictor import Predictor
from funcnn.training import TrainState
from funcnn.tree import Array

# The options that a resumed run may change, because what it computes does not depend on them, but for rounding.
CHANGEABLE = ("data", "threads", "processes")
# How `hold_out` splits, as descriptions record it: files of another method are not split again.
SPLIT_METHOD = "funcnn.data.hold_out"


class Run(NamedTuple):
    """Everything but the data that determines a run: numbers and strings, stored in its checkpoints.

    The names are those of the command line's options.
    """

    model: str
    data: str
    image_size: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    dropout: float
    shift: int
    seed: int
    threads: int
    validation: float
    test: float
    early_stopping: int
    target: str = ""
    fit: str = "pad"
    from_file: str = ""
    freeze: str = "none"
    scaling: str = ""
    processes: int = 1


def new_run(given: dict[str, Any], pretrained: Pretrained | None = None) -> Run:
    """Return a run with the given options; those that are None are the recipe's, or the defaults.

    A run that begins with a model of ours takes the split of its data from it, if it has the same data.
    """
    recipe = RECIPES[ModelName(given["model"] or ModelName.convnet)]
    defaults = {
        **recipe._asdict(), "model": ModelName.convnet, "data": "digits", "seed": 0, "threads": data_parallel.cores(),
        "validation": 0.1, "test": 0.2, "early_stopping": 0, "target": "", "fit": "pad", "from_file": "",
        "freeze": "none", "scaling": "", "processes": 1,
    }  # fmt: skip
    if pretrained:
        defaults |= {**fine_tuning_recipe(pretrained.in_shape, given["freeze"] or "none")._asdict(), "model": ""}
        known = pretrained.description.get("run") or {}
        defaults |= {name: known[name] for name in ("data", "fit") if name in known}
        if given["data"] in (None, defaults["data"]):
            defaults |= {name: known[name] for name in ("seed", "validation", "test", "target") if name in known}
    return Run(**{name: defaults[name] if value is None else value for name, value in given.items()})


def resumed_run(saved: Checkpoint, given: dict[str, Any]) -> Run:
    """Return the run of a checkpoint, and refuse options that would make it another run."""
    run = Run(**saved.description["run"])
    now = given.get("processes", run.processes)
    if now != run.processes:
        began = f"{run.processes} {'process' if run.processes == 1 else 'processes'}, now {now}"
        console.warn(f"the last bits will differ from those of an unbroken run, which began with {began}")
    for name, value in given.items():
        if value is None or value == getattr(run, name):
            continue
        longer = name == "epochs" and run.schedule == ScheduleName.constant
        if name not in CHANGEABLE and not longer:
            known = "none" if getattr(run, name) == "" else getattr(run, name)
            option = "from" if name == "from_file" else name.replace("_", "-")
            raise UsageError(f"--{option} {value} cannot be combined with --resume: the run has {known}")
        run = run._replace(**{name: value})
    return run


def read_checkpoint(path: Path) -> tuple[Path, Checkpoint]:
    """Read the checkpoint to resume from, and warn of what could make the resumed run differ from an uninterrupted one.

    Parameters
    ----------
    path : Path
        A checkpoint, or a folder, of which the newest that can be read is taken.

    Returns
    -------
    Path, Checkpoint
        The checkpoint and its file.

    Raises
    ------
    ValueError, OSError
        If no checkpoint can be read, or it has no optimizer state, or does not describe a run.
    """
    unreadable: list[checkpoint.CheckpointError] = []
    if path.is_dir():
        path, saved, unreadable = checkpoint.latest(path)
    else:
        saved = checkpoint.load(path)
    if not saved.train_state.opt_state:
        raise ValueError(
            f"{path} is a model file of --output, without the optimizer's state: a run cannot resume from it"
        )
    try:
        _check_run(saved.description)
    except checkpoint.MALFORMED as malformed:
        raise ValueError(f"{path}: a run cannot resume from it: {checkpoint.brief(malformed)}") from None
    for error in unreadable:
        console.warn(f"{error}; resuming from the one before, {path}")
    before, now = saved.description.get("versions") or {}, checkpoint.versions()
    warn_of_other_versions({name: (before[name], now.get(name)) for name in before if name != "kernels"})
    return path, saved


def warn_of_other_versions(versions: dict[str, tuple[Any, Any]]) -> None:
    """Warn where what a run began with is not what it goes on with, both given by name."""
    changed = [f"{name} {before}, now {now}" for name, (before, now) in versions.items() if before != now]
    if changed:
        console.warn(f"the last bits may differ from those of an unbroken run, which began with {'; '.join(changed)}")


def with_kernels(initial: Checkpoint) -> Checkpoint:
    """Return the first state of a run with the kernels that compute it in its description, or warn of others.

    It is known from the first step on: a long run compiles its kernels before.
    """
    versions, now = initial.description.get("versions") or {}, selection.current()
    if initial.train_state.step > 0:
        warn_of_other_versions({"kernels": (versions.get("kernels", now), now)})
        return initial
    return initial._replace(description={**initial.description, "versions": {**versions, "kernels": now}})


def _check_run(description: dict[str, Any]) -> None:
    """Raise an error unless a description has all that a run is resumed with: its options, the data, the preprocessing.

    The rest, such as a learning rate that is too large, is as it would be with options of the command line.
    """
    for name in ("run", "data", "preprocessing"):
        if not isinstance(description.get(name), dict):
            raise ValueError(f"its description has no entry {name!r}, which those of funcnn train have")
    if not description["data"].get("fingerprint"):
        raise ValueError("its description has no 'fingerprint' of the data, which those of funcnn train have")
    if not isinstance(description.get("versions") or {}, dict):
        raise ValueError(f"its versions are {reprlib.repr(description['versions'])}")
    given, kinds = description["run"], get_type_hints(Run)
    if given.keys() != kinds.keys():
        missing, unexpected = sorted(kinds.keys() - given.keys()), sorted(given.keys() - kinds.keys())
        raise ValueError(f"the options of its run are not those of this version: missing {missing}, more {unexpected}")
    for name, kind in kinds.items():
        value = given[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, kind) or (kind is float and is_number)) or (isinstance(value, bool) and kind is int):
            raise ValueError(f"its run has {name} {reprlib.repr(value)}, not of type {getattr(kind, '__name__', kind)}")
        if is_number and not 0 <= value < _LARGEST_OPTION:
            raise ValueError(f"its run has {name} {reprlib.repr(value)}, not from 0 to {_LARGEST_OPTION:,}")
    for name, names in (("model", ModelName), ("optimizer", OptimizerName), ("schedule", ScheduleName)):
        if name != "model" or not given["from_file"]:
            names(given[name])  # an error if there is none
    if min(given[name] for name in ("epochs", "batch_size", "threads", "processes")) < 1:
        raise ValueError("its run has epochs, batch_size, threads or processes below 1")


# Of a run's numbers: the command line's own largest is that of seeds.
_LARGEST_OPTION = 2**32


def open_data(
    run: Run,
    in_shape: tuple[int, ...],
    known: dict[str, Any],
    classes: list[str] | None = None,
    *,
    fit: str | None,
    skip_broken: bool,
    cache: str,
) -> Dataset:
    """Read the data of a run: for a trained network, images in its size and scale, columns and classes in its order.

    Parameters
    ----------
    run : Run
    in_shape : tuple of int
        Of the trained network that the run begins with; empty for a new one.
    known : dict
        The description of the trained network; empty where there is none.
    classes : list of str, optional
        Of the trained network. Where the data have the same, in another order, they get this one.
    fit, skip_broken, cache
        As for `funcnn.data.open`.
    """
    size: tuple[int, int] | None = (run.image_size, run.image_size) if run.image_size else None
    channels = None
    if len(in_shape) == 3:
        height, width, channels = in_shape
        size = height, width
        if channels not in (1, 3) and Path(run.data).is_dir():
            shape = data.describe_shape(in_shape)
            raise UsageError(f"--from {run.from_file} takes {shape}; --data {run.data} has images of 1 or 3 channels")
    preprocessing: dict[str, Any] = known.get("preprocessing") or {}
    scale: Any = preprocessing.get("full_scale")
    opened = data.open(
        run.data,
        size,
        channels,
        full_scale=scale,
        target=run.target or None,
        features=known.get("data", {}).get("feature_names"),
        fit=fit,
        skip_broken=skip_broken,
        cache=cache,
    )
    warn_of_other_pixels(opened.x, opened.full_scale, preprocessing, run.data)
    if classes and opened.classes != classes and set(opened.classes) == set(classes):
        return data.match_classes(opened, classes, run.data)
    return opened


def warn_of_other_pixels(x: Source, full_scale: float, preprocessing: dict[str, Any], where: str) -> bool:
    """Warn of a file whose pixels contradict those of the training: before the network is given them, without a name.

    Parameters
    ----------
    x : array or source
        Parts of the training's full scale.
    full_scale : float
        Of the file.
    preprocessing : dict
        Of the training; nothing is known of the pixels if it has no range, as for rows of features.
    where : str
        The file.

    Returns
    -------
    bool
        Whether there was something to warn of.
    """
    if "range" not in preprocessing or len(x.shape) <= 2 or not len(x):
        return False
    trained, pixel_range, ends = preprocessing["full_scale"], preprocessing["range"], np.array(extent(x))
    advice = "(convert those of the file, or train on such as these)"
    scale = warn_of_other_scale(ends, full_scale, trained, pixel_range, where)
    return warn_of_other_range(ends, trained, pixel_range, where, advice=advice) or scale


def open_matching(source: str, trained: Predictor, *, skip_broken: bool = False, cache: str = "auto") -> Dataset:
    """Read a data set for a trained model: folders of images in its size, labels that are indices into its classes."""
    size, channels = (trained.in_shape[:2], trained.in_shape[2]) if len(trained.in_shape) == 3 else (None, None)
    known, about = trained.preprocessing, trained.description["data"]
    if "offset" in known:
        raise ValueError(
            f"{source}: the model is an estimator's, and takes arrays in the units of its training, as funcnn predict "
            "does, no data sets: evaluate it in Python, by its load and score"
        )
    opened = data.open(
        source,
        size,
        channels,
        min_classes=1,
        full_scale=known.get("full_scale"),
        target=about.get("target"),
        features=about.get("feature_names"),
        fit=known.get("fit"),
        skip_broken=skip_broken,
        cache=cache,
    )
    if skip_broken and not opened.names:
        raise UsageError(f"--skip-broken leaves out image files; {source} has none")
    given, wanted = opened.x.shape[1:], trained.in_shape
    if len(given) != len(wanted) or (
        given[-1] != wanted[-1] and (len(wanted) == 1 or {given[-1], wanted[-1]} != {1, 3})
    ):
        raise ValueError(f"{source}: the network takes {data.describe_shape(wanted)}, not {data.describe_shape(given)}")
    warn_of_other_pixels(opened.x, opened.full_scale, known, source)
    return data.match_classes(opened, trained.classes, source)


def hold_out(run: Run, dataset: Dataset) -> Splits:
    """Split the data of a new run; parts that a folder names stay what they are."""
    return data.hold_out(
        dataset.labels, run.test, run.validation, key=(run.seed,), classes=dataset.classes, given=dataset.splits
    )


def split_record(run: Run, given: Splits | None = None) -> dict[str, Any]:
    """Return how a description records the split of the data: ``folders`` are the parts that these give."""
    folders = [name for name, part in zip(Splits._fields, given or (), strict=False) if len(part)]
    fractions = {name: None if name in folders else getattr(run, name) for name in ("test", "validation")}
    return {"method": SPLIT_METHOD, **fractions, "folders": folders, "key": [run.seed]}


def records_split(description: dict[str, Any]) -> bool:
    """Return whether `recorded_splits` can split data as the run did; files of older versions do not say how."""
    return (description.get("split") or {}).get("method") == SPLIT_METHOD


def recorded_splits(where: str, description: dict[str, Any], dataset: Dataset) -> Splits:
    """Split data as the run did that trained a model with them.

    Parameters
    ----------
    where : str
        Begins the message of the error.
    description : dict
        Of the model.
    dataset : Dataset

    Returns
    -------
    Splits

    Raises
    ------
    ValueError
        If the file does not say how the data were split, because an older version of funcnn wrote it.
    """
    if not records_split(description):
        raise ValueError(f"{where}: an older version of funcnn wrote the model; it does not record how data were split")
    split = description["split"]
    folders, key = split.get("folders", []), split.get("key")
    named = isinstance(folders, list) and isinstance(key, list) and all(checks.is_int(i) and i >= 0 for i in key)
    fractions = [0.0 if named and name in folders else split.get(name) for name in ("test", "validation")]
    if not named or not key or not all(isinstance(f, int | float) and 0 <= f < 1 for f in fractions):
        raise ValueError(f"{where}: the model's file has no split of data, but {reprlib.repr(split)}")
    test, validation = fractions
    return data.hold_out(
        dataset.labels, test, validation, key=tuple(key), classes=dataset.classes, given=dataset.splits
    )


def fold_splits(labels: Array, folds: int) -> list[Splits]:
    """Split the data into folds, stratified and shuffled, each of which is the test part once."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    return [Splits(trained, np.arange(0), tested) for trained, tested in splitter.split(labels, labels)]


def describe(run: Run, dataset: Dataset, splits: Splits, beginning: Beginning | None = None) -> dict[str, Any]:
    """Return what a checkpoint records about a run, in JSON's types: model, data, options and versions."""
    in_shape = beginning.in_shape if beginning else dataset.x.shape[1:]
    if run.image_size and len(in_shape) == 3:
        in_shape = (run.image_size, run.image_size, in_shape[2])
    checksum, (low, high) = _checksum_and_extent(dataset, splits.train)
    trained_on, scaling = Selected(dataset.x, splits.train), None
    if beginning and beginning.scaling:
        scaling = beginning.scaling if beginning.scaling["mean"] is not None else None
    elif beginning or RECIPES[ModelName(run.model)].standardize or run.data not in BUILTIN:
        # for a table, each feature; for images, each channel
        is_image = len(trained_on.shape) == 4
        x = Mapped(trained_on, partial(data.to_channels, channels=in_shape[2])) if is_image else trained_on
        mean, std = data.mean_and_std(x, axes=(0, 1, 2) if is_image else 0)
        scaling = {"mean": mean[0], "std": std[0]}
    outputs, _ = predictor.loss_for(len(dataset.classes))
    description = predictor.describe(
        beginning.model if beginning else model_for(ModelName(run.model), in_shape, outputs, run.dropout),
        in_shape,
        dataset.classes,
        standardize=scaling,
        full_scale=dataset.full_scale,
        pixel_range=[float(v * v.dtype.type(dataset.full_scale)) for v in (low, high)],
        feature_names=dataset.features,
        target=dataset.target,
        source=run.data,
        examples=len(dataset.x),
        fingerprint=checksum,
        run=run._asdict(),
        fit=run.fit,
    )
    return {**description, "split": split_record(run, dataset.splits)}


def fingerprint(dataset: Dataset) -> str:
    """Return a checksum of examples, labels, classes and the parts that the data name."""
    return _checksum_and_extent(dataset, slice(None))[0]


def _checksum_and_extent(dataset: Dataset, rows: Array | slice) -> tuple[str, tuple[Any, Any]]:
    """Return the fingerprint, and the least and the largest number of some rows: each pass may decode all images."""
    total, ends = hashlib.sha256(json.dumps([dataset.x.shape, dataset.classes]).encode()), []
    for _, block in blocks(dataset.x):
        total.update(np.ascontiguousarray(block).data)
        values = block.reshape(len(block), -1)
        ends.append((values.min(axis=1), values.max(axis=1)))
    total.update(np.ascontiguousarray(dataset.labels).data)
    for part in dataset.splits or ():
        total.update(json.dumps(part.tolist()).encode())
    lows, highs = (np.concatenate(part)[rows] for part in zip(*ends, strict=True))
    return total.hexdigest(), (lows.min(), highs.max())


def continued_folder(source: Path) -> Path | None:
    """Return the folder in which a run that resumes from a folder or file continues to write its checkpoints.

    It is none for a file that is not the run's newest checkpoint there: the run would write to a past of which the
    folder has the future, and remove it.
    """
    if source.is_dir():
        return source
    try:
        newest = checkpoint.of_run(source.parent, checkpoint.run_id(source))[:1]
    except (checkpoint.CheckpointError, OSError):  # which reading the file reports
        return None
    return source.parent if [path.name for path in newest] == [source.name] else None


def start(run: Run, dataset: Dataset, splits: Splits, beginning: Beginning | None = None) -> tuple[Layer, Checkpoint]:
    """Return the model of a new run, and the state before its first step."""
    description = {**describe(run, dataset, splits, beginning), "run_id": new_id()}
    model = checkpoint.rebuild(description)
    if beginning is None:
        return model, Checkpoint(_initial_state(run, model, description, splits), description)
    optimizer = optimizer_for(run, len(splits.train))
    opt_state = optimizer.init(beginning.params)
    train_state = TrainState(beginning.params, beginning.state, opt_state, (run.seed,), 0, 0, optimizer=optimizer.name)
    return model, Checkpoint(train_state, description)


def new_id() -> str:
    """Return what tells the checkpoints of a run in one folder from all others."""
    return secrets.token_hex(8)


def resume(
    path: Path, run: Run, saved: Checkpoint, dataset: Dataset, splits: Splits, *, same_folder: bool
) -> tuple[Layer, Checkpoint]:
    """Return the model of a checkpoint, and the state to resume from.

    In another folder the run is one of its own: it removes no checkpoint of the one that it resumes from.

    Raises
    ------
    ValueError
        If the checkpoint is one of other data, or its trees are not those of the model and the run.
    """
    train_state, best = saved.train_state, saved.best
    try:
        trained = predictor.from_description(saved.description, train_state.params, train_state.state, saved.history)
        model = trained.model
        if best:
            checkpoint.check_fit(model, best.params, best.state, trained.in_shape)
    except checkpoint.MALFORMED as malformed:
        raise ValueError(f"{path}: a run cannot resume from it: {checkpoint.brief(malformed)}") from None
    if saved.description["data"]["fingerprint"] != fingerprint(dataset):
        raise ValueError(
            f"{path} was trained on other data: {run.data} has {len(dataset.x)} examples, "
            f"{data.describe_shape(dataset.x.shape[1:])}, with other content"
        )
    expected = _initial_state(run, model, saved.description, splits)
    for name in ("params", "state", "opt_state"):
        if checkpoint.signature(getattr(expected, name)) != checkpoint.signature(getattr(saved.train_state, name)):
            raise ValueError(f"{path} has no {name} that fits the run")
    description = {name: value for name, value in saved.description.items() if name != "interrupted"}
    description |= {"run": run._asdict()} if same_folder else {"run": run._asdict(), "run_id": new_id()}
    return model, saved._replace(description=description)


def _initial_state(run: Run, model: Layer, description: dict[str, Any], splits: Splits) -> training.TrainState:
    optimizer = optimizer_for(run, len(splits.train))
    in_shape = tuple(description["data"]["in_shape"])
    try:
        return training.start(model, optimizer, in_shape, key=(run.seed,))
    except ValueError as error:
        larger = "--image-size 32 makes them larger, " if len(in_shape) == 3 else ""
        raise ValueError(
            f"{run.data}: --model {run.model} cannot take {data.describe_shape(in_shape)}: {larger}--model mlp takes "
            f"any ({error})"
        ) from None


def optimizer_for(run: Run, examples: int) -> optim.Optimizer:
    """Return the run's optimizer, for a number of training examples."""
    steps = run.epochs * -(-examples // run.batch_size)
    return optim.by_name(
        run.optimizer, run.learning_rate, schedule=run.schedule, steps=steps, weight_decay=run.weight_decay
    )
