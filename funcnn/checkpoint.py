"""Checkpoints: one file holds everything needed to resume a training run and to rebuild its model.

The format is safetensors, which PyTorch, JAX and others open: each array is stored under its path in the tree, such as
``params/0_conv2d/w``. The history, which grows with the run, is an array as well: ``history``, the bytes of its JSON.
All else that is not an array is JSON in the file's metadata, under ``funcnn``, with a checksum of the whole file. A
file is written under a temporary name and renamed, so that there is always a complete file, old or new.

Files may come from strangers: nothing is made of a size that a file only says, without being as large itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import reprlib
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import funcnn
from funcnn import blas, checks, extras, files, keys, models, tree
from funcnn.combinators import map_layers
from funcnn.kernels import selection
from funcnn.layer import Layer
from funcnn.stopping import BestEpoch
from funcnn.training import EpochPlan, TrainState
from funcnn.tree import Array, Tree

try:
    import safetensors
    import safetensors.numpy
except ImportError as error:
    raise extras.missing("checkpoints need safetensors", "checkpoint", error) from None

__all__ = [
    *("Checkpoint", "CheckpointError", "Latest"),
    *("add", "check_fit", "latest", "layer_trees", "load", "of_run", "rebuild", "run_id", "save", "versions"),
]

# Version 1 had the history in the metadata, which safetensors limits to 100 MB.
_VERSION = 2
_NO_DIGEST = "0" * 64
# Limits of what is read and written: bytes of the header with its metadata, characters of an array's path, its depth.
_LARGEST_HEADER = 1 << 24
_LONGEST_PATH = 1000
_DEEPEST_PATH = 100
_NAME = re.compile(r"step-\d{9,}\.safetensors")
_UNFINISHED = re.compile(r"\.step-\d{9,}\.safetensors\.\w+\.part")


class CheckpointError(ValueError):
    """A file is not a checkpoint, is damaged, or cannot be read; the message names it.

    Examples
    --------
    >>> try:
    ...     load("missing.safetensors")
    ... except CheckpointError as error:
    ...     print(error)
    cannot read missing.safetensors: No such file or directory
    """


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes
    ----------
    train_state : TrainState
        From which `funcnn.training.fit` continues.
    description : dict
        What JSON can hold: at least ``model``, a dict of ``name`` and ``arguments`` of a function in `funcnn.models`,
        where the model is to be rebuilt; by convention also ``data``, ``run`` and ``versions``, and ``run_id``, a
        string that tells a run's checkpoints from those of others (`add`).
    best : funcnn.stopping.BestEpoch, optional
    history : list of dict
        A record of each epoch, of what JSON can hold.

    Examples
    --------
    >>> description = {"model": {"name": "mlp", "arguments": {"outputs": 3}}}
    >>> params, state, _ = rebuild(description).init((0,), (4,))
    >>> checkpoint = Checkpoint(TrainState(params, state, {}, (0,), epoch=0, step=0), description)
    >>> checkpoint.best, checkpoint.history
    (None, [])
    """

    train_state: TrainState
    description: dict[str, Any]
    best: BestEpoch | None = None
    history: list[dict[str, Any]] = []  # noqa: RUF012 never modified


class Latest(NamedTuple):
    """The newest checkpoint of a folder that can be read: its file, its content, and why newer ones were skipped.

    Attributes
    ----------
    path : Path
    checkpoint : Checkpoint
    unreadable : list of CheckpointError

    Examples
    --------
    See `latest`.
    """

    path: Path
    checkpoint: Checkpoint
    unreadable: list[CheckpointError]


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint. If that fails, the file that was there before is unchanged.

    Parameters
    ----------
    path : path
        Its folder must exist.
    checkpoint : Checkpoint
        The trees' leaves may be arrays of float16 to float64, complex64, bool and ints, NumPy's scalars of these, and
        Python's bools, ints, floats, strings and None. All are restored exactly; any memory layout is accepted.

    Raises
    ------
    TypeError, ValueError
        If a leaf is of another type, a key is not a string without ``/``, or ``description`` is not a dict or
        ``history`` not a list of what JSON can hold; nothing is written.
    OSError
        If the file cannot be written, naming it.

    Notes
    -----
    By `funcnn.files.write_atomic`: even a power cut leaves the old file or the new one. A process killed meanwhile
    leaves a hidden file, ``.{name}.{random}.part``, which `add` removes.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.eye(2).T[::-1]}, {}, {"step": 3, "mean": np.float32(0.1)}, (0,), 0, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.safetensors", Checkpoint(train_state, {}))
    ...     print(load(f"{folder}/net.safetensors").train_state.opt_state)
    {'step': 3, 'mean': np.float32(0.1)}
    """
    files.write_atomic(path, _encoded(checkpoint))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : path

    Returns
    -------
    Checkpoint
        Equal to the one saved, bit for bit; its arrays are in row-major order (C).

    Raises
    ------
    CheckpointError
        If the file cannot be read, is not a checkpoint of funcnn, or was damaged. No content
        of the file raises another error or takes more memory than a few times the file's size.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.safetensors", Checkpoint(train_state, {}))
    ...     loaded = load(f"{folder}/net.safetensors")
    >>> loaded.train_state.step, loaded.train_state.params
    (8, {'w': array([1., 1.])})
    """
    path = Path(path)
    try:
        if not path.is_file():
            path.stat()  # raises the right error if no such file exists
            raise CheckpointError(f"cannot read {path}: it is {'a directory' if path.is_dir() else 'not a file'}")
        return _decoded(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {error} in {size:,} bytes") from None
    except MALFORMED as error:
        raise CheckpointError(f"{path} is not a checkpoint as funcnn writes them: {brief(error)}") from None


# What reading raises where a file holds something else than funcnn writes.
MALFORMED = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def brief(error: BaseException) -> str:
    """Return an error's message with its notes, shortened: it may quote much of a file that is not to be trusted."""
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error) or repr(error)
    text = "; ".join([text, *getattr(error, "__notes__", [])])
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


_LONGEST_MESSAGE = 400


def add(folder: str | os.PathLike[str], checkpoint: Checkpoint, *, keep: int = 3, replaces: Path | None = None) -> Path:
    """Save a checkpoint in a run's folder, under its step, and remove all but the newest ones of this run.

    Parameters
    ----------
    folder : path
        It is created if it does not exist.
    checkpoint : Checkpoint
        Checkpoints of the same run have the same ``run_id`` in their description, or none. Nothing else in the folder
        is removed or changed.
    keep : int >= 1
        How many checkpoints of the run stay, this one included.
    replaces : Path, optional
        One of the run's checkpoints in the folder, to remove when this one is written.

    Returns
    -------
    Path
        Of the file, ``step-{step}.safetensors``.

    Raises
    ------
    TypeError, ValueError, OSError
        As `save` does, and if the file exists and is a checkpoint of another run; none of the
        ``keep`` newest is removed then.

    Notes
    -----
    A damaged file of that name, which does not tell whose it is, is renamed to ``{name}.{random}.damaged``. Whoever
    lets several processes write to a folder locks it (`funcnn.files.locked`).

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [add(folder, Checkpoint(train_state._replace(step=step), {}), keep=2) for step in (8, 16, 24)]
    ...     sorted(os.listdir(folder))
    ['step-000000016.safetensors', 'step-000000024.safetensors']
    """
    checks.count("add", "keep", keep)
    folder = Path(folder)
    content, this_run = _encoded(checkpoint), checkpoint.description.get("run_id")
    files.make_folder(folder)
    path = folder / f"step-{checkpoint.train_state.step:09d}.safetensors"
    if path.is_file():
        try:
            if run_id(path) != this_run:
                raise FileExistsError(f"cannot write {path}: it is a checkpoint of another run")
        except CheckpointError:
            path.rename(f"{path}.{secrets.token_hex(4)}.damaged")
    kept = (path.name, replaces and replaces.name)
    crowded = len(_checkpoint_files(folder)) >= keep  # otherwise there is no need to look into the others
    others = [other for other in of_run(folder, this_run) if other.name not in kept] if crowded else []
    _remove(others[keep:])  # a run that was killed may not have come to it
    files.write_atomic(path, content)
    for name in os.listdir(folder):
        if _UNFINISHED.fullmatch(name):
            files.remove_unfinished(folder / name)
    superseded = [folder / replaces.name] if replaces and replaces.name != path.name else []
    _remove([*others[keep - 1 : keep], *superseded])
    return path


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"cannot remove {path}: {error.strerror or error}", stacklevel=3)


def of_run(folder: str | os.PathLike[str], run: str | None) -> list[Path]:
    """List the checkpoints of one run in a folder, in descending order of their steps.

    Parameters
    ----------
    folder : path
    run : str, optional
        The ``run_id`` of their descriptions; None for those that have none.

    Returns
    -------
    list of Path
        Without files that do not tell whose they are.

    Raises
    ------
    OSError
        If the folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = add(folder, Checkpoint(train_state, {"run_id": "first"}))
    ...     _ = add(folder, Checkpoint(train_state._replace(step=16), {"run_id": "second"}), keep=1)
    ...     [path.name for path in of_run(folder, "first")]
    ['step-000000008.safetensors']
    """
    found = []
    for path in _checkpoint_files(Path(folder)):
        with suppress(CheckpointError, OSError):
            if run_id(path) == run:
                found.append(path)
    return found


def run_id(path: str | os.PathLike[str]) -> str | None:
    """Return the ``run_id`` of a checkpoint's description, or None if it has none, without reading its arrays.

    Parameters
    ----------
    path : path

    Raises
    ------
    CheckpointError
        If the file's header is damaged or not that of a checkpoint; what is behind it may be damaged.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_id(add(folder, Checkpoint(train_state, {"run_id": "first"})))
    'first'
    """
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait for ever
        raise CheckpointError(f"cannot read {path}: it is not a file")
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > os.fstat(file.fileno()).st_size:
                raise ValueError("its header is incomplete")
            header = json.loads(file.read(length))
        found = json.loads(header["__metadata__"]["funcnn"])["description"].get("run_id")
        return None if found is None else str(found)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is damaged or not a checkpoint") from None


def latest(folder: str | os.PathLike[str]) -> Latest:
    """Read the newest checkpoint of a run's folder, skipping those that cannot be read.

    Parameters
    ----------
    folder : path
        In which `add` has saved.

    Returns
    -------
    Latest

    Raises
    ------
    CheckpointError
        If no checkpoint in it can be read.

    Examples
    --------
    >>> import tempfile
    >>> train_state = TrainState({"w": np.ones(2)}, {}, {}, (0,), epoch=1, step=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = add(folder, Checkpoint(train_state, {}))
    ...     damaged = Path(folder, "step-000000016.safetensors")
    ...     damaged.touch()
    ...     found = latest(folder)
    >>> found.path.name, found.checkpoint.train_state.step, len(found.unreadable)
    ('step-000000008.safetensors', 8, 1)
    """
    folder = Path(folder)
    unreadable: list[CheckpointError] = []
    try:
        paths = _checkpoint_files(folder)
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror or error}") from None
    for path in paths:
        try:
            return Latest(path, load(path), unreadable)
        except CheckpointError as error:
            unreadable.append(error)
    raise CheckpointError("; ".join([f"{folder} has no checkpoint that can be read", *map(str, unreadable)]))


def _checkpoint_files(folder: Path) -> list[Path]:
    """List the files that `add` has saved, in descending order of their steps; folders of such a name are none."""
    names = [name for name in os.listdir(folder) if _NAME.fullmatch(name) and (folder / name).is_file()]
    return [folder / name for name in sorted(names, key=lambda name: int(name[5:-12]), reverse=True)]


def rebuild(description: Mapping[str, Any], trees: Tree | None = None) -> Layer:
    """Make the model that a description names.

    Parameters
    ----------
    description : dict
        Its entry ``model`` has the ``name`` of a function in `funcnn.models` and its ``arguments``.
    trees : tree, optional
        The model's parameters and its state, where frozen layers have theirs. If given, a description of more layers
        than they have arrays is refused first.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If there is no such function, or it does not take the arguments.

    Examples
    --------
    >>> rebuild({"model": {"name": "mlp", "arguments": {"outputs": 3, "hidden": [16]}}}).init((0,), (4,))[2]
    (3,)
    """
    return models.build(description.get("model"), arrays=None if trees is None else len(tree.leaves(trees)))


def check_fit(model: Layer, params: Tree, state: Tree, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Check that parameters and state have the names, shapes and kinds of numbers that a model has, layer by layer.

    The model may be larger than the memory: no array that is larger than the parameters is made.

    Parameters
    ----------
    model : Layer
        Of layers of funcnn.
    params, state : tree
    in_shape : tuple of int
        Of an example.

    Returns
    -------
    tuple of int
        The shape of the model's output for an example.

    Raises
    ------
    ValueError
        If they are of another model; a note names the layer.

    Examples
    --------
    >>> params, state, _ = models.mlp(3).init((0,), (4,))
    >>> check_fit(models.mlp(3), params, state, (4,))
    (3,)
    >>> try:
    ...     check_fit(models.mlp(3, hidden=(10**9,)), params, state, (4,))
    ... except ValueError as error:
    ...     print(error, error.__notes__)
    the parameters are not the model's: an array of shape (4, 1000000000) has more than 320 numbers ['in layer 1_dense']
    """

    def checked(path: str, layer: Layer) -> Layer:
        given = layer_trees(params, state, path)

        def init(key: keys.Key, shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
            try:
                *made, out_shape = layer.init(keys.shapes_only(sum(map(tree.size, given))), shape)
            except ValueError as error:
                raise ValueError(f"the parameters are not the model's: {error}") from None
            for old, new in zip(given, made, strict=True):
                if signature(old) != signature(new):
                    raise ValueError(f"the parameters are {signature(old)}, and the model's {signature(new)}")
            return given[0], given[1], out_shape

        return layer._replace(init=init)

    *made, out_shape = map_layers(checked, model).init((0,), in_shape)
    for name, old, new in zip(("params", "state"), (params, state), made, strict=True):
        if signature(old) != signature(new):
            unexpected = sorted(set(tree.paths(old)) - set(tree.paths(new)))
            raise ValueError(f"the {name} have entries that the model does not have, {', '.join(unexpected[:3])}")
    return out_shape


def layer_trees(params: Tree, state: Tree, path: str) -> tuple[Tree, Tree]:
    """Return parameters and state of a layer of a model, wherever they are kept.

    Parameters
    ----------
    params, state : tree
        Of the model.
    path : str
        Of the layer, as in `funcnn.summary`.

    Returns
    -------
    params, state : tree
        {} for those that are missing.

    Examples
    --------
    >>> from funcnn import frozen, serial
    >>> from funcnn.layers import dense
    >>> params, state, _ = serial(frozen(dense(2)), dense(3)).init((0,), (4,))
    >>> layer_trees(params, state, "0_frozen/0_dense")[0]["w"].shape
    (4, 2)
    """
    for name in path.split("/") if path else []:
        if isinstance(state, dict) and state.keys() == {"params", "state"}:  # of `frozen`, which names no child there
            params, state = state["params"], state["state"]
        else:
            params, state = (of.get(name, {}) if isinstance(of, dict) else {} for of in (params, state))
    return params, state


def signature(of: Tree) -> Any:
    """Return a tree with a text in the place of each array: its shape and kind of numbers."""
    if isinstance(of, dict):
        return {name: signature(child) for name, child in of.items()}
    dtype = np.asarray(of).dtype
    return f"{np.shape(of)} of {_NUMBERS.get(dtype.kind, dtype.name)}"


_NUMBERS = {"f": "floats", "i": "ints", "u": "ints"}


def versions() -> dict[str, Any]:
    """Return what a run's exact results depend on: versions of the software, the kernels, the BLAS with its threads.

    Returns
    -------
    dict of str and int
        ``funcnn``, ``numpy``, ``python``, ``processor``, ``kernels``, ``blas``; with threadpoolctl installed, ``blas``
        names the processor type of its routines. ``kernels`` are those that compute large arrays now, "numpy" or
        "compiled". ``blas_threads`` is how many threads the BLAS has in training, if that is known.

    Examples
    --------
    >>> versions()["numpy"] == np.__version__
    True
    """
    found: dict[str, Any] = {
        "funcnn": funcnn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "kernels": selection.current(),
    }
    return found | blas.description()


# In the JSON, one of these stands for each array; everything else is written as it is.
_ARRAY, _SCALAR = "array", "scalar"


def _encoded(checkpoint: Checkpoint) -> bytes:
    train_state, best = checkpoint.train_state, checkpoint.best
    trees: Tree = {"params": train_state.params, "state": train_state.state, "opt_state": train_state.opt_state}
    trees["losses"] = _losses(np.asarray(train_state.losses, np.float64))
    if best is not None:
        trees["best"] = {"params": best.params, "state": best.state}
    arrays: dict[str, Array] = {}
    metadata = {
        "version": _VERSION,
        "checksum": _NO_DIGEST,
        "trees": _to_json(trees, "", arrays),
        "key": [_natural("key", i) for i in train_state.key],
        "epoch": _natural("epoch", train_state.epoch),
        "step": _natural("step", train_state.step),
        "plan": train_state.plan,
        "optimizer": _optimizer(train_state.optimizer),
        "best": None
        if best is None
        else {
            "epoch": _natural("best epoch", best.epoch),
            "value": float(best.value),
            "waited": _natural("waited", best.waited),
        },
        "description": _description(checkpoint.description),
    }
    history = _dumps("history", _history(checkpoint.history)).encode()
    arrays["history"] = np.frombuffer(history, np.uint8)
    content = safetensors.numpy.save(arrays, {"funcnn": _dumps("description", metadata)})
    if (header := int.from_bytes(content[:8], "little")) > _LARGEST_HEADER:
        raise ValueError(
            f"a checkpoint of {len(arrays):,} arrays with this description has a header of {header:,} bytes, more than "
            f"{_LARGEST_HEADER:,}"
        )
    # The checksum is computed with zeros in the bytes that hold it.
    at = content.index(_NO_DIGEST.encode())
    digest = hashlib.sha256(content).hexdigest().encode()
    return b"".join([content[:at], digest, content[at + len(digest) :]])


# What a file may hold: these raise an error for anything else, when it is written and when it is read.


def _description(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a checkpoint's description is a dict, not {reprlib.repr(value)}")
    return value


def _history(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise TypeError(f"a checkpoint's history is a list, not {reprlib.repr(value)}")
    if not all(isinstance(row, dict) for row in value):
        raise TypeError(f"a checkpoint's history has a dict for each epoch, not {reprlib.repr(value)}")
    return value


def _losses(value: Any) -> Array:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype != np.float64:
        raise ValueError(f"a checkpoint's losses are numbers in a row, not {reprlib.repr(value)}")
    return value


def _natural(name: str, value: Any) -> int:
    checks.count("a checkpoint", name, value, least=0)
    if name != "key" and value > _LARGEST_COUNT:
        raise ValueError(f"a checkpoint's {name} is at most {_LARGEST_COUNT}, not {value}")
    return int(value)


def _plan(written: Any) -> EpochPlan | None:
    if written is None:
        return None
    examples, batch_size, shuffle, steps = written
    if not isinstance(shuffle, bool):
        raise TypeError(f"a checkpoint's plan shuffles or not, got {shuffle!r}")
    examples, batch_size, steps = (
        _natural(f"plan's {name}", n)
        for name, n in (("examples", examples), ("batch size", batch_size), ("steps", steps))
    )
    return EpochPlan(examples, batch_size, shuffle, steps)


def _optimizer(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a checkpoint's optimizer is a name, not {reprlib.repr(name)}")
    return name


_LARGEST_COUNT = 2**63 - 1
# JSON has no NaN and no infinity: this key, alone in a dict, has their name.
_NOT_FINITE = "/float"
_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _dumps(name: str, value: Any) -> str:
    """Return a value as strict JSON, which `_loads` restores exactly."""
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise TypeError(f"a checkpoint's {name} holds what JSON can: {error}") from None
    if f'"{_NOT_FINITE}"' in text:
        raise ValueError(f"a checkpoint's {name} cannot hold the text {_NOT_FINITE!r}, which marks NaN and infinity")
    # These may be in a string as well.
    return json.dumps(_named(value), allow_nan=False) if "NaN" in text or "Infinity" in text else text


def _named(value: Any) -> Any:
    """Return a value with numbers that are not finite replaced by their names."""
    if isinstance(value, dict):
        return {key: _named(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_named(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_NOT_FINITE: str(float(value))}
    return value


def _loads(text: str | bytes) -> Any:
    def restored(entries: dict[str, Any]) -> Any:
        return _NAMES[entries[_NOT_FINITE]] if entries.keys() == {_NOT_FINITE} else entries

    return json.loads(text, object_hook=restored)


def _to_json(tree: Any, path: str, arrays: dict[str, Array]) -> Any:
    """Return a tree as JSON, its arrays put under their paths into ``arrays``."""
    _check_path(path)
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str) or "/" in key or not key:
                raise ValueError(
                    f"a checkpoint's keys must be strings without '/', not {key!r} at {path or 'the root'}"
                )
        return {key: _to_json(child, f"{path}/{key}" if path else key, arrays) for key, child in tree.items()}
    if isinstance(tree, np.ndarray | np.generic):
        dtype = tree.dtype.newbyteorder("=")
        if dtype.name not in _DTYPES:
            raise TypeError(f"a checkpoint cannot hold {path}, which is of dtype {tree.dtype}")
        # safetensors 0.8 takes any array's memory as if it were in row-major order
        arrays[path] = np.asarray(tree, dtype, order="C")
        return _ARRAY if isinstance(tree, np.ndarray) else _SCALAR
    if tree is None or type(tree) in _LEAVES:
        return [tree]
    raise TypeError(f"a checkpoint cannot hold {path}, which is a {type(tree).__name__}")


def _check_path(path: str) -> None:
    if len(path) > _LONGEST_PATH or path.count("/") >= _DEEPEST_PATH:
        raise ValueError(
            f"a checkpoint's paths have at most {_LONGEST_PATH:,} characters and {_DEEPEST_PATH} names, not "
            f"{len(path):,} and {path.count('/') + 1} as {path[:50]}... has"
        )


# Python's types of leaves, beside None.
_LEAVES = (bool, int, float, str)
_DTYPES = {
    *("float16", "float32", "float64", "complex64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}


def _decoded(path: Path) -> Checkpoint:
    with open(path, "rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    if _LARGEST_HEADER < header < path.stat().st_size:
        raise ValueError(f"its header has {header:,} bytes, more than {_LARGEST_HEADER:,}")
    # It refuses a header that does not describe, array by array, exactly the bytes that are there.
    with safetensors.safe_open(path, framework="np") as file:
        written = (file.metadata() or {}).get("funcnn")
        if written is None:
            raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of funcnn")
        digest = re.search(r'"checksum": "([0-9a-f]{64})"', written)
        if digest is None or _digest(path, digest[1].encode()) != digest[1]:
            raise CheckpointError(f"{path} is damaged: its {path.stat().st_size:,} bytes do not have their checksum")
        metadata = _loads(written)
        if metadata["version"] > _VERSION:
            raise CheckpointError(
                f"{path} was written by a later funcnn, in version {metadata['version']} of the format"
            )
        names = set(file.keys())

        def array(name: str) -> Array:
            names.remove(name)  # an error if there is no such array
            return np.array(file.get_tensor(name))

        history = metadata["history"] if metadata["version"] == 1 else _loads(array("history").tobytes())
        trees, best = _from_json(metadata["trees"], "", array), metadata["best"]
    if names:
        raise ValueError(f"it has {len(names)} arrays that belong to no tree, such as {min(names)}")
    if best is not None:
        epoch, waited = _natural("best epoch", best["epoch"]), _natural("waited", best["waited"])
        best = BestEpoch(epoch, float(best["value"]), trees["best"]["params"], trees["best"]["state"], waited)
    params, state, opt_state = (_tree(name, trees[name]) for name in ("params", "state", "opt_state"))
    key = tuple(_natural("key", i) for i in metadata["key"])
    epoch, step = (_natural(name, metadata[name]) for name in ("epoch", "step"))
    plan, optimizer = _plan(metadata.get("plan")), _optimizer(metadata.get("optimizer", ""))
    train_state = TrainState(params, state, opt_state, key, epoch, step, _losses(trees["losses"]), plan, optimizer)
    return Checkpoint(train_state, _description(metadata["description"]), best, _history(history))


def _tree(name: str, value: Any) -> Tree:
    if not isinstance(value, dict):
        raise TypeError(f"a checkpoint's {name} are a tree, not {reprlib.repr(value)}")
    return value


def _digest(path: Path, digest: bytes) -> str:
    """Return the checksum of a file, computed with zeros in the bytes that hold the checksum."""
    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        total = hashlib.sha256(length + header.replace(digest, _NO_DIGEST.encode(), 1))
        return hashlib.file_digest(file, lambda: total).hexdigest()


def _from_json(written: Any, path: str, array: Callable[[str], Array]) -> Any:
    _check_path(path)
    if isinstance(written, dict):
        return {key: _from_json(child, f"{path}/{key}" if path else key, array) for key, child in written.items()}
    if written == _ARRAY:
        return array(path)
    if written == _SCALAR:
        return array(path)[()]
    (leaf,) = written
    if leaf is not None and type(leaf) not in _LEAVES:
        raise TypeError(f"{path} is a {type(leaf).__name__}")
    return leaf
